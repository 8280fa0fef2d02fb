"""Timed activity beside Icarus with the same delays as SDF."""

import shutil

import numpy as np
import pytest
from small_netlists import INV, NAND, netlist_of

from hwsim import units
from hwsim.analysis import activity, netlist_reader, timed, timing
from hwsim.analysis.sdf import to_sdf
from hwsim.analysis.timed import Pulses
from hwsim.costs import flow
from hwsim.costs.flow import Workload
from hwsim.peers import netlist_simulators
from hwsim.synthesis.mapping import Options, map_design
from hwsim.technology.choice import flip_flop

WARM_UP = 3


def measured(mapped, unit, technology):
    result = flow.measure(mapped(unit, technology), Workload(8192))
    inputs = result.design.unit.stimulus(result.design.parameters, 256, 3, None)
    return result, inputs, [net for net in range(result.netlist.count) if net not in result.netlist.clocks]


@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
@pytest.mark.parametrize(
    ("unit", "technology"), [("mixfp4_decode", "asap7"), ("m2xfp_decode", "sky130hd"), ("nvfp4_decode", "sg13g2")]
)
def test_every_net_toggles_as_often_as_in_icarus_with_sdf(unit, technology, mapped):
    result, inputs, data = measured(mapped, unit, technology)
    netlist, slew = result.netlist, result.timing.slew_ns
    period = 2 * round(500 * result.options.clock_period_ns)
    sdf = to_sdf(netlist, result.timing, result.loads)
    expected = netlist_simulators.toggles(result.mapped, netlist, inputs, WARM_UP, "icarus", sdf=sdf, period_ps=period)
    found = timed.simulate(netlist, slew, result.loads, inputs, streams=1, warm_up=WARM_UP)
    np.testing.assert_array_equal(found.toggles[0][data], expected[data])
    assert 0 < found.latest_ns <= result.timing.arrival_ns + 1e-6


@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
@pytest.mark.parametrize(
    ("unit", "settings", "technology"),
    [
        ("nvfp4_mma", {"m": 1, "n": 1, "k": 16, "fraction_bits": 13}, "asap7"),
        pytest.param("m2xfp_mma", {"m": 1, "n": 1, "k": 32, "fraction_bits": 13}, "sg13g2", marks=pytest.mark.slow),
    ],
)
def test_every_net_of_a_tile_toggles_as_often_as_in_icarus_with_sdf(unit, settings, technology, library, build):
    lib, design = library(technology), units.design(unit, settings)
    mapped = map_design(design, lib, Options(lib.clock_period_ns, hierarchical=True), build)
    netlist = netlist_reader.read(mapped.netlist_json, design.name, lib)
    loads = netlist.loads(wire_load=True)
    timing_of = timing.analyse(netlist, lib.clock_period_ns, loads)
    inputs = design.unit.stimulus(design.parameters, 64, 3, None)
    warm_up = design.component().latency + 2
    period = 2 * round(500 * lib.clock_period_ns)
    sdf = to_sdf(netlist, timing_of, loads)
    expected = netlist_simulators.toggles(mapped, netlist, inputs, warm_up, "icarus", sdf=sdf, period_ps=period)
    found = timed.simulate(netlist, timing_of.slew_ns, loads, inputs, streams=1, warm_up=warm_up)
    data = [net for net in range(netlist.count) if net not in netlist.clocks]
    np.testing.assert_array_equal(found.toggles[0][data], expected[data])
    assert expected.sum() > 20 * netlist.count


def test_other_delays_give_other_glitches(mapped):
    """The agreement with Icarus is not that of two simulations without delays."""
    result, inputs, _ = measured(mapped, "mixfp4_decode", "asap7")
    found, heavier = (
        timed.simulate(result.netlist, result.timing.slew_ns, loads, inputs, 1, WARM_UP)
        for loads in (result.loads, result.loads * 1.5)
    )
    assert (heavier.toggles != found.toggles).any()


def test_streams_are_independent_and_settle_as_without_delays(mapped):
    result, inputs, data = measured(mapped, "mixfp4_decode", "asap7")
    netlist, slew, streams = result.netlist, result.timing.slew_ns, 64
    settled = activity.simulate(netlist, inputs, streams, 1)
    found = timed.simulate(netlist, slew, result.loads, inputs, streams, 1)
    for name, bits in settled.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], bits)
    more = found.toggles.sum(axis=0) - settled.toggles
    assert (more[data] >= 0).all() and more[data].sum() > 0
    np.testing.assert_array_equal(found.counts.settled[data], settled.toggles[data])
    np.testing.assert_array_equal(found.counts.ones[data], settled.ones[data])
    alone = timed.simulate(netlist, slew, result.loads, {n: v[4:8] for n, v in inputs.items()}, 1, 1)
    np.testing.assert_array_equal(alone.toggles[0], found.toggles[1])


def test_a_simulation_that_needs_more_room_begins_again(mapped, monkeypatch):
    result, inputs, _ = measured(mapped, "mixfp4_decode", "asap7")
    wide = timed.simulate(result.netlist, result.timing.slew_ns, result.loads, inputs, 4, 1)
    monkeypatch.setattr(timed, "_EVENTS_PER_NET", 1)
    narrow = timed.simulate(result.netlist, result.timing.slew_ns, result.loads, inputs, 4, 1)
    np.testing.assert_array_equal(narrow.toggles, wide.toggles)


def test_too_few_vectors_are_refused(mapped):
    result, inputs, _ = measured(mapped, "mixfp4_decode", "asap7")
    with pytest.raises(ValueError, match="1 vectors a stream are too few with a warm-up of 1 cycles"):
        timed.simulate(result.netlist, result.timing.slew_ns, result.loads, inputs, 256, 1)


@pytest.fixture
def pulse(sky):
    """A NAND makes a pulse as wide as three inverters are slow; an inverter behind it has as heavy a load as asked."""
    cells = {
        "i1": (INV, {"A": 2, "Y": 3}),
        "i2": (INV, {"A": 3, "Y": 4}),
        "i3": (INV, {"A": 4, "Y": 5}),
        "n": (NAND, {"A": 2, "B": 5, "Y": 6}),
        "o": (INV, {"A": 6, "Y": 7}),
    }
    netlist = netlist_of(sky, cells, {"a": [2]}, {"y": [7]})

    def toggles(output_load, **delays):
        loads = netlist.loads(wire_load=False)
        (y,) = netlist.outputs["y"]
        loads[y] = output_load
        slew = timing.analyse(netlist, 5.0, loads).slew_ns
        # The first cycle settles; then a rises, and the NAND pulses.
        inputs = {"a": np.array([[0], [1]], np.uint8)}
        found = timed.simulate(netlist, slew, loads, inputs, 1, 1, timed.Delays(**delays))
        return int(found.toggles[0][y]), int(found.counts.filtered[y]), found.latest_ns

    return toggles


@pytest.mark.parametrize(
    ("pulses", "light", "heavy"),
    [(Pulses.SPECIFY, (2, 0), (0, 2)), (Pulses.INERTIAL, (2, 0), (0, 2)), (Pulses.TRANSPORT, (2, 0), (2, 0))],
)
def test_a_pulse_comes_through_if_the_model_lets_it(pulses, light, heavy, pulse):
    assert pulse(1.0, pulses=pulses)[:2] == light
    assert pulse(30.0, pulses=pulses)[:2] == heavy
    # With a load so heavy, the pulse's end comes through before its begin would.
    assert pulse(150.0, pulses=pulses)[:2] == (0, 2)


def test_a_netlist_of_flip_flops_alone_is_simulated(sky):
    cell = flip_flop(sky)
    (q,) = cell.outputs
    netlist = netlist_of(sky, {"f": (cell.name, {"CLK": 2, "D": 3, q: 4})}, {"clk": [2], "d": [3]}, {"q": [4]})
    loads = netlist.loads(wire_load=False)
    slew = timing.analyse(netlist, 5.0, loads).slew_ns
    found = timed.simulate(netlist, slew, loads, {"d": np.array([[0], [1], [0], [0]], np.uint8)}, 1, 1)
    assert found.outputs["q"][:, 0].tolist() == [0, 0, 1, 0]
    assert found.toggles[0].tolist() == [0, 2, 2] and not found.glitches.any()


def test_delays_are_spread_by_the_seed(pulse):
    nominal = pulse(1.0)[2]
    found = [pulse(1.0, spread=0.15, seed=seed)[2] for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert all(0.85 * nominal < latest < 1.15 * nominal for latest in found)
