"""Stronger cells between modules and on slow paths."""

import numpy as np
import pytest
from small_netlists import INV, NAND, module

from hwsim import units
from hwsim.analysis import activity, netlist_reader, timing
from hwsim.costs import flow
from hwsim.synthesis import mapping, recipes, sizing
from hwsim.synthesis.mapping import Options, map_design
from hwsim.synthesis.sizing import resize

BUFFERS, INVERTERS = "sky130_fd_sc_hd__buf_", ("sky130_fd_sc_hd__inv_", "sky130_fd_sc_hd__clkinv_")


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
        netlist = netlist_reader.build(modules, "top", sky)
        timed = timing.analyse(netlist, 10.0, netlist.loads(False))
        net = next(n for n in range(netlist.count) if netlist.fanout[n] == count)
        return timed.slew_ns[net].max(), activity.simulate(netlist, inputs).outputs["y"]

    before, expected = slew_and_outputs()
    found = sizing.strengthen(modules, "top", sky, wire_load=False)
    after, outputs = slew_and_outputs()
    limit = sizing.SLOWEST * sky.input_slew_ns
    # A cell is chosen at the nominal input slew; its own input may be a little slower.
    assert before > 1.5 * limit and after < 1.1 * limit
    assert (found.replaced, found.added) == ((1, 0) if kind == INV else (0, 1))
    assert any(cell["type"].startswith(strong) for cell in driver["cells"].values())
    assert np.array_equal(outputs, expected)
    assert sizing.strengthen(modules, "top", sky, wire_load=False) == sizing.Strengthened(0, 0)


def test_what_one_buffer_cannot_drive_several_share(sky):
    count = 600
    inner = module({"a": [2]}, {"y": [3]}, {"g": (INV, {"A": [2], "Y": [3]})})
    fans = {f"f{i}": ("inner", {"a": [9], "y": [10 + i]}) for i in range(count)}
    top = module({"a": [2], "b": [3]}, {"y": list(range(10, 10 + count)), "z": [9]},
                 {"d": (NAND, {"A": [2], "B": [3], "Y": [9]})} | fans)  # fmt: skip
    modules = {"inner": inner, "top": top}
    inputs = {n: np.random.default_rng(1).integers(0, 2, (256, 1), np.uint8) for n in "ab"}

    def slowest_and_outputs():
        netlist = netlist_reader.build(modules, "top", sky)
        timed = timing.analyse(netlist, 10.0, netlist.loads(False))
        driven = [n for n in range(netlist.count) if netlist.fanout[n] > 1]
        return timed.slew_ns[driven].max(), activity.simulate(netlist, inputs).outputs

    before, expected = slowest_and_outputs()
    found = sizing.strengthen(modules, "top", sky, wire_load=False)
    after, outputs = slowest_and_outputs()
    limit = sizing.SLOWEST * sky.input_slew_ns
    # There are two levels: with so many that share the net, the one in front has a little too much to drive.
    assert before > 100 * limit and after < 1.6 * limit
    # One in front, and at least three that share the net.
    assert found.replaced == 0 and found.added >= 4
    assert all(np.array_equal(outputs[name], expected[name]) for name in "yz")
    assert sizing.strengthen(modules, "top", sky, wire_load=False) == sizing.Strengthened(0, 0)


def test_a_slow_path_gets_stronger_cells_and_computes_the_same(sky):
    """A chain whose middle drives many cells off the path: what is chosen is re-timed, whole."""
    weak, load = f"{BUFFERS}1", {f"l{i}": (NAND, {"A": [5], "B": [2], "Y": [20 + i]}) for i in range(16)}
    chain = {f"g{i}": (weak, {"A": [3 + i], "X": [4 + i]}) for i in range(4)}
    top = module({"b": [2], "a": [3]}, {"y": [7], "z": list(range(20, 36))}, chain | load)
    inputs = {n: np.random.default_rng(1).integers(0, 2, (256, 1), np.uint8) for n in "ab"}

    def timing_and_outputs():
        netlist = netlist_reader.build({"top": top}, "top", sky)
        timed = timing.analyse(netlist, 1.0, netlist.loads(False))
        return timed, activity.simulate(netlist, inputs).outputs

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


@pytest.mark.slow
def test_cells_are_resized_where_modules_alone_do_not_meet_timing(library, tmp_path, monkeypatch):
    design = units.design("mxfp4_mma", {"m": 1, "n": 1, "k": 16, "block_size": 16})
    # With the smallest modules only, so that timing is left to the sizes.
    monkeypatch.setattr(mapping, "STRUCTURED", recipes.STRUCTURED[:1])

    def critical_path(folder):
        options = Options(0.95, hierarchical=True)
        mapped = map_design(design, library("asap7"), options, tmp_path / folder)
        netlist = netlist_reader.read(mapped.netlist_json, design.name, library("asap7"))
        flow.simulate(design, netlist, design.unit.stimulus(design.parameters, 2048, 3, None))  # equals golden
        return timing.analyse(netlist, 0.95, netlist.loads(True)).critical_path_ns

    resized = critical_path("resized")
    monkeypatch.setattr(mapping, "resize", lambda *_: {})
    assert resized < critical_path("mapped")
