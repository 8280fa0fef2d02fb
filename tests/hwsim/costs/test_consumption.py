"""Power with glitches: how it is sampled and what it is beside that of settled values."""

from dataclasses import replace

import numpy as np
import pytest

from hwsim import units
from hwsim.analysis import power
from hwsim.analysis.timed import Delays, Simulator
from hwsim.costs import consumption, flow
from hwsim.costs.flow import Workload
from hwsim.synthesis.mapping import Options, map_design


@pytest.fixture(scope="module")
def tile(build, library):
    """A small tile on asap7, measured."""
    lib = library("asap7")
    design = units.design("nvfp4_mma", {"m": 1, "n": 1, "k": 16, "fraction_bits": 13})
    return flow.measure(map_design(design, lib, Options(lib.clock_period_ns, hierarchical=True), build), Workload(4096))


def gated_mw(tile):
    """What charges the clocks behind clock gates: twice a cycle, as there is always an instruction."""
    charged = tile.library.voltage**2 * tile.loads[tile.netlist.gated, 2].sum()
    return 1e-3 * charged / tile.timing.period_ns


def test_glitches_add_power_and_nothing_else_does(tile):
    timed, settled = tile.busy.timed, tile.busy.settled
    assert timed.internal > settled.internal and timed.switching > settled.switching
    assert (timed.leakage, timed.clock) == (settled.leakage, settled.clock)
    assert timed.clock == pytest.approx(tile.tree.power_mw + gated_mw(tile)) and tile.tree.power_mw > 0
    assert timed.total == timed.internal + timed.switching + timed.leakage + timed.clock
    assert tile.busy.timed_toggles > tile.busy.settled_toggles > 0


def test_a_settled_sample_has_the_toggles_of_the_whole(tile):
    """The sample is of the same stimulus: between settled values it toggles as often as the whole does."""
    sample, netlist = tile.busy.sample, tile.netlist
    data = [net for net in range(netlist.count) if net not in netlist.clocks]
    assert sample.settled[data].sum() / sample.cycles == pytest.approx(tile.busy.settled_toggles, rel=0.02)


@pytest.mark.slow
def test_the_standard_error_is_that_of_repeated_samples(tile, monkeypatch):
    """By hand: samples with other seeds spread as the standard error says."""
    monkeypatch.setattr(consumption, "ERROR", 1.0)  # the first streams are enough
    design, netlist = tile.design, tile.netlist
    inputs = design.unit.stimulus(design.parameters, 4096, 1, None)
    simulator = Simulator(netlist, tile.timing.slew_ns, tile.loads)
    found = [
        consumption.consumption(
            netlist, tile.timing, tile.loads, tile.tree, tile.activity, inputs, 4, seed, simulator, lambda *sample: None
        )
        for seed in range(40)
    ]
    totals = [each.timed.total for each in found]
    stated = np.mean([each.standard_error for each in found])
    assert np.std(totals, ddof=1) / np.mean(totals) == pytest.approx(stated, rel=0.3)


def test_more_is_simulated_until_the_error_is_small(tile, monkeypatch):
    assert tile.busy.standard_error < consumption.ERROR
    monkeypatch.setattr(consumption, "ERROR", 0.0)
    design = tile.design
    inputs = design.unit.stimulus(design.parameters, 512, 1, None)
    calls = []

    def run():
        calls.clear()
        return consumption.consumption(
            tile.netlist, tile.timing, tile.loads, tile.tree, tile.activity, inputs, 4, 1,
            Simulator(tile.netlist, tile.timing.slew_ns, tile.loads),
            lambda ports, outputs, streams: calls.append(streams),
        )  # fmt: skip

    found = run()
    assert calls == [16, 16, 10] and found.sample.cycles == 42 * 8
    # A design of many parts begins with fewer.
    monkeypatch.setattr(consumption, "_LARGE", 100)
    assert (run().timed_toggles, calls) == (found.timed_toggles, [4, 4, 8, 16, 10])


@pytest.mark.parametrize("seed", range(1, 4))
def test_glitches_never_take_power_away(seed, mapped):
    """Whatever sample: a unit with few glitches has no less power with them than without."""
    result = flow.measure(mapped("nvfp4_decode", "sg13g2"), Workload(4096, seed))
    assert result.busy.timed.total >= result.busy.settled.total
    assert result.busy.timed_toggles >= result.busy.settled_toggles


def test_delays_that_are_off_may_be_late_and_say_so(mapped):
    m = mapped("nvfp4_decode")
    tight = replace(m, options=Options(0.129))
    result = flow.measure(tight, Workload(2048, delays=Delays(spread=0.9)))
    assert result.timing.slack_ns >= 0 and any("later than the period of 0.129 ns" in w for w in result.warnings)


def test_energies_add_up_to_the_power(tile):
    rate, high = tile.activity.toggle_rate(), tile.activity.probability()
    spent = power.energies(tile.netlist, tile.timing, tile.loads, rate, high)
    period = tile.timing.period_ns
    whole = spent.power(period)
    settled = tile.busy.settled
    assert whole.internal + whole.switching == pytest.approx(settled.internal + settled.switching + gated_mw(tile))
    # The same by instance and by net.
    by_instance = power.by_instance(tile.netlist, tile.timing, tile.loads, rate, high)
    assert sum(map(np.sum, by_instance)) == pytest.approx(spent.internal.sum() + spent.switching.sum())
    assert 1e-3 * (spent.internal.sum() + spent.switching.sum()) / period == pytest.approx(
        whole.internal + whole.switching
    )
    idle = spent.internal[list(tile.netlist.clocks)].sum()
    assert 0 < idle < spent.internal.sum()


def test_bubbles_and_idle_cycles_are_compared_with_golden_and_measured(tile):
    assert 0 < tile.idle.timed.total <= tile.bubbles.timed.total <= 1.02 * tile.busy.timed.total


def test_a_unit_without_valid_has_no_idle_power(mapped):
    result = flow.measure(mapped("nvfp4_decode"), Workload(4096))
    assert result.idle is None and result.bubbles is None
    assert result.busy.timed.total > 0
