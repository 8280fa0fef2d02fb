"""A hierarchical netlist is analysed as its flattening."""

import json

import pytest
from small_netlists import INV, module

from hwsim import units
from hwsim.analysis import netlist_reader, power, timing
from hwsim.analysis.netlist import NetlistError
from hwsim.base import yosys
from hwsim.costs import flow
from hwsim.synthesis.mapping import Options, map_design


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
    netlist = netlist_reader.build(pair, "top", sky)
    [inverters] = netlist.groups
    assert netlist.cells == 2 and [netlist.instance_name(inverters, i) for i in range(2)] == ["u.g", "v.g"]
    assert netlist.area == pytest.approx(2 * sky.cells[INV].area)
    # b passes through both copies: one net from q to s.
    assert netlist.inputs["q"] == netlist.outputs["s"]
    assert netlist.count == 4
    [middle] = set(inverters.pins["Y"]) & set(inverters.pins["A"])
    assert netlist.loads(wire_load=False)[middle, 2] == pytest.approx(sky.cells[INV].pins["A"].capacitance)
    timed = timing.analyse(netlist, 1.0, netlist.loads(False))
    assert [step.instance for step in timed.path] == ["", "u.g", "v.g"]


def test_a_module_that_does_not_exist_is_an_error_not_zero_area(pair, sky):
    del pair["inner"]
    with pytest.raises(NetlistError, match="cell u is a inner, which sky130hd does not have"):
        netlist_reader.build(pair, "top", sky)


def test_a_loop_through_modules_and_two_drivers_are_found(pair, sky):
    looped = json.loads(json.dumps(pair))
    looped["top"]["cells"]["u"]["connections"]["a"] = [6]
    with pytest.raises(NetlistError, match="combinational loop"):
        netlist_reader.build(looped, "top", sky)
    looped["top"]["cells"]["u"]["connections"] = {"a": [2], "b": [3], "y": [6], "z": [5]}
    with pytest.raises(NetlistError, match="two drivers|no driver"):
        netlist_reader.build(looped, "top", sky)


@pytest.fixture(scope="module")
def tile(library, tmp_path_factory):
    """A small tile of 2 x 1 dot units, mapped module by module, and the same flattened by Yosys."""
    design = units.design("mxfp4_mma", {"m": 2, "n": 1, "k": 16, "block_size": 16})
    technology, build = library("asap7"), tmp_path_factory.mktemp("tile")
    mapped = map_design(design, technology, Options(1.25, hierarchical=True), build)
    read = ["read_json netlist.json", f"hierarchy -top {design.name}"]
    yosys.run([*read, "flatten -noscopeinfo", "write_json flat.json"], mapped.netlist.parent, "flatten")
    whole = netlist_reader.read(mapped.netlist_json, design.name, technology)
    return design, whole, netlist_reader.read(mapped.netlist.with_name("flat.json"), design.name, technology)


def test_analysis_of_a_hierarchy_equals_that_of_its_flattening(tile):
    design, *netlists = tile
    inputs = design.unit.stimulus(design.parameters, 4096, 3, None)
    figures = []
    for netlist in netlists:
        loads = netlist.loads(True)
        timed = timing.analyse(netlist, 1.0, loads)
        counted = flow.simulate(design, netlist, inputs)
        found = power.energies(netlist, timed, loads, counted.toggle_rate(), counted.probability()).power(
            timed.period_ns
        )
        figures.append((netlist.cells, netlist.area, timed.critical_path_ns, found.internal, found.switching,
                        found.leakage, int(counted.toggles.sum())))  # fmt: skip
    assert figures[0] == pytest.approx(figures[1], rel=1e-9)


def test_a_tile_meets_timing_with_its_true_loads(tile):
    _, netlist, _ = tile
    assert timing.analyse(netlist, 1.25, netlist.loads(True)).slack_ns >= 0
