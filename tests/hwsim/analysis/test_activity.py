"""Toggle counts: by hand, and those of simulators."""

import numpy as np
import pytest
from small_netlists import INV, NAND, netlist_of

from hwsim.analysis import activity, netlist_reader
from hwsim.peers import netlist_simulators


def test_toggles_of_a_known_stream(sky):
    cells = {"g": (INV, {"A": 2, "Y": 4}), "h": (NAND, {"A": 2, "B": 3, "Y": 5})}
    netlist = netlist_of(sky, cells, {"a": [2], "b": [3]}, {"y": [4], "z": [5]})
    a, b = np.array([0, 1, 1, 0, 1], np.uint8), np.array([1, 1, 0, 0, 1], np.uint8)
    # 64 equal streams, one after the other.
    inputs = {"a": np.tile(a, 64)[:, None], "b": np.tile(b, 64)[:, None]}
    counted = activity.simulate(netlist, inputs, streams=64, warm_up=1)
    named = dict(zip(netlist.nets, (counted.toggles // 64).tolist(), strict=True))
    # z = nand: 1 0 1 1 0
    assert named == {"a": 3, "b": 2, "y": 3, "z": 3}
    ones = dict(zip(netlist.nets, (counted.ones // 64).tolist(), strict=True))
    assert ones == {"a": 3, "b": 2, "y": 1, "z": 2}
    assert counted.cycles == 64 * 4
    assert counted.outputs["z"].reshape(64, 5)[0].tolist() == [1, 0, 1, 1, 0]


@pytest.mark.parametrize("technology", ["asap7", "sg13g2", "sky130hd"])
@pytest.mark.parametrize(
    ("unit", "settings"),
    [("mixfp4_decode", {}), ("nvfp4_decode", {}), ("mxfp4_decode", {}), ("mixfp4_decode", {"registered": 0})],
)
def test_toggle_counts_are_those_of_a_simulator(unit, settings, technology, mapped, simulator, runtime):
    if simulator == "verilator" and (technology != "asap7" or unit != "mixfp4_decode" or settings):
        pytest.skip("compiling takes long: Verilator runs one unit, Icarus all")
    m = mapped(unit, technology, **settings)
    netlist = netlist_reader.read(m.netlist_json, unit, m.library)
    stream = m.design.unit.stimulus(m.design.parameters, 500, 3, None)
    counted = activity.simulate(netlist, {k: np.tile(v, (64, 1)) for k, v in stream.items()}, streams=64, warm_up=3)
    expected = netlist_simulators.toggles(m, netlist, stream, 3, simulator, runtime)
    ours = counted.toggles // 64
    for net in counted.clocks:
        ours[net] = expected[net]
    wrong = [(netlist.nets[i], ours[i], expected[i]) for i in np.flatnonzero(ours != expected)]
    assert wrong == []
    assert ours.sum() > 1000


def test_streams_are_independent_and_add_up(mapped):
    m = mapped("mixfp4_decode")
    netlist = netlist_reader.read(m.netlist_json, "mixfp4_decode", m.library)
    inputs = m.design.unit.stimulus(m.design.parameters, 64 * 20 * 9, 3, None)
    whole = activity.simulate(netlist, inputs, streams=64 * 9, warm_up=3)
    parts = [
        activity.simulate(netlist, {k: v[i * 1280 : (i + 1) * 1280] for k, v in inputs.items()}, 64, 3)
        for i in range(9)
    ]
    assert np.array_equal(whole.toggles, sum(p.toggles for p in parts))
    assert np.array_equal(whole.ones, sum(p.ones for p in parts))


def test_streams_must_fill_words(mapped):
    m = mapped("nvfp4_decode")
    netlist = netlist_reader.read(m.netlist_json, "nvfp4_decode", m.library)
    inputs = m.design.unit.stimulus(m.design.parameters, 1000, 3, None)
    with pytest.raises(ValueError, match="streams must be a positive multiple of 64, got 3"):
        activity.simulate(netlist, inputs, 3)
    with pytest.raises(ValueError, match="1000 vectors are too few for 512 streams"):
        activity.simulate(netlist, inputs, 512, 3)
