"""The search for products: its gates, where it begins, and that what it gives is right."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from hwsim import products
from hwsim.base.errors import InputError
from hwsim.reports import choices
from hwsim.rtl.tile.gates import GATES, GateNetwork, arity
from hwsim.rtl.tile.products import E2M1, E2M1_NETWORK, MAGNITUDES, MIXED, Product
from hwsim.synthesis import product_search
from hwsim.technology.choice import gate_cell


@pytest.mark.parametrize("gate", GATES)
def test_compiled_gates_are_those_of_the_rtl(gate):
    words = [np.uint64(sum((row >> i & 1) << row for row in range(16))) for i in range(4)]
    kind = product_search.NAMES.index(gate)
    used = words[: arity(gate)] + [words[0]] * (4 - arity(gate))
    assert product_search.apply(kind, *used) & np.uint64(0xFFFF) == GATES[gate](*used[: arity(gate)]) & np.uint64(
        0xFFFF
    )


@pytest.mark.parametrize("technology", ["asap7", "sky130hd"])
def test_cells_of_gates_take_their_inputs_at_the_right_pins(technology, library):
    found = {gate: cell for gate in GATES if (cell := gate_cell(library(technology), GATES[gate], arity(gate)))}
    assert len(found) > 15
    for gate, (cell, pins) in found.items():
        for bits in itertools.product((0, 1), repeat=arity(gate)):
            row = sum(bit << cell.inputs.index(pin) for pin, bit in zip(pins, bits, strict=True))
            assert cell.tables()[0] >> row & 1 == GATES[gate](*bits) & 1, (gate, cell.name)


def begin(product=E2M1, text=E2M1_NETWORK):
    return product_search.start(product, text, MAGNITUDES, (4, 5), (1, 2))


def parsed(text):
    """Codes and network of a printed product."""
    *lines, columns = text.splitlines()
    codes = {"a": [], "b": []}
    for line in lines:
        if ": " in line:
            codes[line[0]].append(frozenset(map(int, line.split("[")[1].rstrip("]").split(","))))
    gates = "\n".join(line for line in [*lines, columns] if ": " not in line)
    return Product({side: tuple(bits) for side, bits in codes.items()}, GateNetwork(gates))


def test_what_is_found_is_printed_right_and_not_larger(library):
    areas = product_search.gate_areas(library("asap7"))
    first, _ = product_search.anneal(begin(), MAGNITUDES, areas, 20, 1, 1)
    area, found = product_search.anneal(begin(), MAGNITUDES, areas, 20, 300_000, 1)
    assert 20 < area <= first < 40
    assert choices.wrong_products(parsed(product_search.text_of(found, MAGNITUDES)), MAGNITUDES) == []


def test_a_wrong_or_deep_beginning_is_refused(library):
    areas = product_search.gate_areas(library("asap7"))
    wrong = E2M1_NETWORK.replace("n2 = nor2", "n2 = nand2")
    with pytest.raises(InputError, match="wrong, or deeper"):
        product_search.anneal(begin(text=wrong), MAGNITUDES, areas, 20, 10, 1)
    with pytest.raises(InputError, match="wrong, or deeper"):
        product_search.anneal(begin(), MAGNITUDES, areas, 5, 10, 1)
    with pytest.raises(InputError, match="4 code bits, got room for 3"):
        product_search.start(E2M1, E2M1_NETWORK, MAGNITUDES, (3, 4), (1, 2))


def test_kept_gates_are_cells_of_the_library(library, tmp_path):
    """What ABC leaves alone makes the product of MixFP4 smaller, and that of E2M1 not."""

    def area(product, keep):
        columns = replace(product.columns, keep=keep)
        return choices.measure(replace(product, columns=columns), library("asap7"), 870, tmp_path / str(keep))[0]

    assert area(MIXED, True) < area(MIXED, False)
    assert area(E2M1, True) > area(E2M1, False)


def test_bad_numbers_are_refused(capsys):
    with pytest.raises(InputError, match="--steps must be at least 1, got 0"):
        products.main(["--steps", "0"])
    with pytest.raises(SystemExit):
        products.main(["--seed", "-1"])
    assert "argument --seed: must be 0 to 2147483647, got -1" in capsys.readouterr().err


def test_the_command_searches(tmp_path, capsys):
    arguments = ["--operands", "mixed", "--seconds", "0", "--steps", "1000", "--limit", "16", "--build", str(tmp_path)]
    assert products.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "NAND2 equivalents" in printed and "columns " in printed
