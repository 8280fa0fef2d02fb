"""Hierarchical netlists: read, driven and mapped, against Yosys' own flattening and hand-made cases."""

import json

import numpy as np
import pytest

from hwsim import activity, drive, elaborate, flow, mapping, power, sta, yosys
from hwsim.netlist import NetlistError
from hwsim.resize import resize
from hwsim.units import Design

INV, NAND = "sky130_fd_sc_hd__inv_2", "sky130_fd_sc_hd__nand2_1"
BUFFERS, INVERTERS = "sky130_fd_sc_hd__buf_", ("sky130_fd_sc_hd__inv_", "sky130_fd_sc_hd__clkinv_")


def module(inputs, outputs, cells):
    """What Yosys writes of a module: ports {name: [bits]}, cells {name: (type, {pin: [bits]})}."""
    ports = {n: {"direction": "input", "bits": b} for n, b in inputs.items()}
    ports |= {n: {"direction": "output", "bits": b} for n, b in outputs.items()}
    return {
        "ports": ports,
        "cells": {n: {"type": t, "connections": c} for n, (t, c) in cells.items()},
        "netnames": {n: {"hide_name": 0, "bits": p["bits"]} for n, p in ports.items()},
    }


@pytest.fixture
def sky(library):
    return library("sky130hd")


@pytest.fixture
def pair():
    """A module that inverts a and passes b through, twice in a chain."""
    inner = module({"a": [2], "b": [3]}, {"y": [4], "z": [3]}, {"g": (INV, {"A": [2], "Y": [4]})})
    top = module(
        {"p": [2], "q": [3]}, {"r": [6], "s": [7]},
        {"u": ("inner", {"a": [2], "b": [3], "y": [4], "z": [5]}),
         "v": ("inner", {"a": [4], "b": [5], "y": [6], "z": [7]})},
    )  # fmt: skip
    return {"inner": inner, "top": top}


def test_copies_of_a_module_have_nets_and_names_of_their_own(pair, sky):
    netlist = elaborate.build(pair, "top", sky)
    [inverters] = netlist.groups
    assert netlist.cells == 2 and [netlist.instance_name(inverters, i) for i in range(2)] == ["u.g", "v.g"]
    assert netlist.area == pytest.approx(2 * sky.cells[INV].area)
    # b passes through both copies: one net from q to s.
    assert netlist.inputs["q"] == netlist.outputs["s"]
    assert netlist.count == 4
    [middle] = set(inverters.pins["Y"]) & set(inverters.pins["A"])
    assert netlist.loads(wire_load=False)[middle, 2] == pytest.approx(sky.cells[INV].pins["A"].capacitance)
    timing = sta.analyse(netlist, 1.0, netlist.loads(False))
    assert [step.instance for step in timing.path] == ["", "u.g", "v.g"]


def test_a_module_that_does_not_exist_is_an_error_not_zero_area(pair, sky):
    del pair["inner"]
    with pytest.raises(NetlistError, match="cell u is a inner, which sky130hd does not have"):
        elaborate.build(pair, "top", sky)


def test_a_loop_through_modules_and_two_drivers_are_found(pair, sky):
    looped = json.loads(json.dumps(pair))
    looped["top"]["cells"]["u"]["connections"]["a"] = [6]
    with pytest.raises(NetlistError, match="combinational loop"):
        elaborate.build(looped, "top", sky)
    looped["top"]["cells"]["u"]["connections"] = {"a": [2], "b": [3], "y": [6], "z": [5]}
    with pytest.raises(NetlistError, match="two drivers|no driver"):
        elaborate.build(looped, "top", sky)


@pytest.fixture(scope="module")
def tile(library, tmp_path_factory):
    """A small tile of 2 x 1 dot units, mapped module by module, and the same flattened by Yosys."""
    design = Design.of("mxfp4_mma", {"m": 2, "n": 1, "k": 16, "block_size": 16})
    technology, build = library("asap7"), tmp_path_factory.mktemp("tile")
    mapped = flow.map_design(design, technology, flow.Options(1.0, hierarchical=True), build)
    read = ["read_json netlist.json", f"hierarchy -top {design.name}"]
    yosys.run([*read, "flatten -noscopeinfo", "write_json flat.json"], mapped.netlist.parent, "flatten")
    whole = elaborate.read(mapped.netlist_json, design.name, technology)
    return design, whole, elaborate.read(mapped.netlist.with_name("flat.json"), design.name, technology)


def test_analysis_of_a_hierarchy_equals_that_of_its_flattening(tile):
    design, *netlists = tile
    inputs = design.unit.stimulus(design.parameters, 4096, 3, None)
    figures = []
    for netlist in netlists:
        loads = netlist.loads(True)
        timing = sta.analyse(netlist, 1.0, loads)
        counted = flow.simulate(design, netlist, inputs)
        found = power.analyse(netlist, timing, loads, counted.toggle_rate(), counted.probability())
        figures.append((netlist.cells, netlist.area, timing.critical_path_ns, found.internal, found.switching,
                        found.leakage, int(counted.toggles.sum())))  # fmt: skip
    assert figures[0] == pytest.approx(figures[1], rel=1e-9)


def test_a_tile_meets_timing_with_its_true_loads(tile):
    _, netlist, _ = tile
    assert sta.analyse(netlist, 1.0, netlist.loads(True)).slack_ns >= 0


@pytest.mark.parametrize(
    ("kind", "pins", "strong", "count"),
    [(INV, {"A": [2]}, INVERTERS, 48), (NAND, {"A": [2], "B": [3]}, (BUFFERS,), 16)],
)
def test_a_driver_of_many_modules_gets_stronger_and_nothing_else_changes(sky, kind, pins, strong, count):
    inner = module({"a": [2]}, {"y": [3]}, {"g": (INV, {"A": [2], "Y": [3]})})
    driver = module({"a": [2], "b": [3]}, {"y": [4]}, {"g": (kind, pins | {"Y": [4]})})
    fans = {f"f{i}": ("inner", {"a": [9], "y": [10 + i]}) for i in range(count)}
    top = module({"a": [2], "b": [3]}, {"y": list(range(10, 10 + count))},
                 {"d": ("driver", {"a": [2], "b": [3], "y": [9]})} | fans)  # fmt: skip
    modules = {"inner": inner, "driver": driver, "top": top}
    inputs = {n: np.random.default_rng(1).integers(0, 2, (256, 1), np.uint8) for n in "ab"}

    def slew_and_outputs():
        netlist = elaborate.build(modules, "top", sky)
        timing = sta.analyse(netlist, 10.0, netlist.loads(False))
        net = next(n for n in range(netlist.count) if netlist.fanout[n] == count)
        return timing.slew_ns[net].max(), activity.simulate(netlist, inputs).outputs["y"]

    before, expected = slew_and_outputs()
    found = drive.strengthen(modules, "top", sky, wire_load=False)
    after, outputs = slew_and_outputs()
    limit = drive.SLOWEST * sky.input_slew_ns
    # A cell is chosen at the nominal input slew; its own input may be a little slower.
    assert before > 1.5 * limit and after < 1.1 * limit
    assert (found.replaced, found.added) == ((1, 0) if kind == INV else (0, 1))
    assert any(cell["type"].startswith(strong) for cell in driver["cells"].values())
    assert np.array_equal(outputs, expected)
    assert drive.strengthen(modules, "top", sky, wire_load=False) == drive.Strengthened(0, 0)


def test_a_slow_path_gets_stronger_cells_and_computes_the_same(sky):
    """A chain whose middle drives many cells off the path: what is chosen is re-timed, whole."""
    weak, load = f"{BUFFERS}1", {f"l{i}": (NAND, {"A": [5], "B": [2], "Y": [20 + i]}) for i in range(16)}
    chain = {f"g{i}": (weak, {"A": [3 + i], "X": [4 + i]}) for i in range(4)}
    top = module({"b": [2], "a": [3]}, {"y": [7], "z": list(range(20, 36))}, chain | load)
    inputs = {n: np.random.default_rng(1).integers(0, 2, (256, 1), np.uint8) for n in "ab"}

    def timing_and_outputs():
        netlist = elaborate.build({"top": top}, "top", sky)
        timing = sta.analyse(netlist, 1.0, netlist.loads(False))
        return timing, activity.simulate(netlist, inputs).outputs

    before, expected = timing_and_outputs()
    assert [step.instance for step in before.path][:3] == ["", "g0", "g1"]
    found = resize(before.path, sky, fixed=())
    assert "g1" in found and not {"g0", "g2"} & found.keys()  # of neighbours only one
    assert sky.cells[found["g1"]].area > sky.cells[weak].area
    assert "g1" not in resize(before.path, sky, fixed={"g1"})
    for instance, cell in found.items():
        assert cell.startswith(BUFFERS if instance.startswith("g") else NAND[:-1])
        top["cells"][instance]["type"] = cell
    after, outputs = timing_and_outputs()
    assert after.critical_path_ns < 0.8 * before.critical_path_ns
    assert all(np.array_equal(outputs[name], expected[name]) for name in expected)


def test_cells_are_resized_where_modules_alone_do_not_meet_timing(library, tmp_path, monkeypatch):
    design = Design.of("mxfp4_mma", {"m": 1, "n": 1, "k": 16, "block_size": 16})
    # With the smallest modules only, so that timing is left to the sizes.
    monkeypatch.setattr(mapping, "ABC_STRUCTURED", mapping.ABC_STRUCTURED[:1])

    def critical_path(folder):
        options = flow.Options(0.95, hierarchical=True)
        mapped = flow.map_design(design, library("asap7"), options, tmp_path / folder)
        netlist = elaborate.read(mapped.netlist_json, design.name, library("asap7"))
        flow.simulate(design, netlist, design.unit.stimulus(design.parameters, 2048, 3, None))  # equals golden
        return sta.analyse(netlist, 0.95, netlist.loads(True)).critical_path_ns

    resized = critical_path("resized")
    monkeypatch.setattr(mapping, "resize", lambda *_: {})
    assert resized < critical_path("mapped")
