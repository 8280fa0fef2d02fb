"""Adders of the RTL as cells of the library: trees of random shape add what they should."""

import numpy as np
import pytest

from hwsim.analysis import activity, netlist_reader
from hwsim.synthesis import adder_cells
from hwsim.technology.choice import full_adder, half_adder, smallest_inverter

#: Modules that add are called by these names here.
NAMES = {adder_cells.FULL: "full_adder", adder_cells.HALF: "half_adder"}


def tree(width, seed):
    """A module that adds ``width`` bits with full and half adders, in random order, and its JSON."""
    rng = np.random.default_rng(seed)
    columns = {0: list(range(2, 2 + width))}
    cells, following = {}, 2 + width
    position = 0
    while position in columns:
        column = columns[position]
        while len(column) > 1:
            inputs = [
                column.pop(int(rng.integers(len(column))))
                for _ in range(min(len(column), 3 if rng.random() < 0.9 else 2))
            ]
            kind = adder_cells.FULL if len(inputs) == 3 else adder_cells.HALF
            cells[f"adder_{len(cells)}"] = {
                "type": kind,
                "connections": {p: [b] for p, b in zip("abc", inputs, strict=False)}
                | {"s": [following], "co": [following + 1]},
            }
            column.append(following)
            columns.setdefault(position + 1, []).append(following + 1)
            following += 2
        position += 1
    outputs = [columns[i][0] for i in range(position)]
    ports = {
        "bits": {"direction": "input", "bits": list(range(2, 2 + width))},
        "total": {"direction": "output", "bits": outputs},
    }
    names = {f"n{b}": {"hide_name": 0, "bits": [b], "attributes": {}} for b in range(2, following)}
    return {"ports": ports, "cells": cells, "netnames": names}


def bound(module, library):
    count = adder_cells.bind({"top": module}, library, NAMES)
    inverter = smallest_inverter(library)
    inverters = 0
    for cell in module["cells"].values():
        if cell["type"] == "$_NOT_":
            inverters += 1
            cell["type"] = inverter.name
            cell["connections"] = {
                inverter.inputs[0]: cell["connections"]["A"], inverter.outputs[0]: cell["connections"]["Y"]
            }  # fmt: skip
    return count, inverters, netlist_reader.build({"top": module}, "top", library)


@pytest.mark.parametrize("technology", ["asap7", "sky130hd"])
@pytest.mark.parametrize("seed", range(4))
def test_a_bound_tree_adds(technology, seed, library):
    lib = library(technology)
    module = tree(23, seed)
    adders = len(module["cells"])
    count, inverters, netlist = bound(module, lib)
    assert count == adders and set(lib.cells) >= {cell["type"] for cell in module["cells"].values()}
    bits = np.random.default_rng(seed).integers(0, 2, (4096, 23), np.uint8)
    total = activity.simulate(netlist, {"bits": bits}).outputs["total"]
    found = total.astype(int) @ (1 << np.arange(total.shape[1]))
    np.testing.assert_array_equal(found, bits.sum(axis=1)[: len(found)])
    # True outputs need no inverter; of inverted ones, two a cell, more than half meet an adder that takes them so.
    assert inverters < adders if full_adder(lib).inverts else inverters == 0


def test_cells_are_the_smallest_that_add(library):
    names = {t: (full_adder(library(t)), half_adder(library(t))) for t in ("asap7", "sky130hd", "sg13g2")}
    assert [adder.cell.name for adder in names["asap7"]] == ["FAx1_ASAP7_75t_R", "HAxp5_ASAP7_75t_R"]
    assert all(adder.inverts for adder in names["asap7"]) and names["asap7"][0].carry == "CON"
    assert [adder.cell.name for adder in names["sky130hd"]] == ["sky130_fd_sc_hd__fa_1", "sky130_fd_sc_hd__ha_1"]
    assert not any(adder.inverts for adder in names["sky130hd"])
    assert names["sg13g2"] == (None, None)


def test_without_cells_adders_stay(library):
    module = tree(7, 1)
    assert adder_cells.bind({"top": module}, library("sg13g2"), NAMES) == 0
    assert {cell["type"] for cell in module["cells"].values()} <= {adder_cells.FULL, adder_cells.HALF}
