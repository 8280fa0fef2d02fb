"""Power by hand."""

from dataclasses import replace

import numpy as np
import pytest
from small_netlists import INV, inverter_power, netlist_of

from hwsim.analysis import power, timing
from hwsim.analysis.netlist import NetlistError
from hwsim.technology.cells import EnergyArc, Pin
from hwsim.technology.choice import flip_flop


def test_power_of_an_inverter_by_hand(sky):
    rate, period = 0.25, 5.0
    found = inverter_power(sky, rate)
    (arc,) = (a for a in sky.cells[INV].energy if a.related_pin == "A")
    load, slew = sky.output_load_fF, sky.input_slew_ns
    per_toggle = sum(float(arc.energy[edge].lookup(slew, load)) for edge in ("rise", "fall")) / 2
    assert found.internal == pytest.approx(rate * per_toggle / period * 1e-3)
    assert found.switching == pytest.approx(0.5 * load * sky.voltage**2 * rate / period * 1e-3)
    assert found.leakage == pytest.approx(sky.cells[INV].leakage * 1e-6)
    assert found.total == found.internal + found.switching + found.leakage


def test_power_without_toggles_is_leakage(sky):
    found = inverter_power(sky, 0.0)
    assert found.internal == found.switching == 0.0 < found.leakage


def test_a_net_without_activity_is_an_error(sky):
    with pytest.raises(NetlistError, match="2 nets have no activity"):
        inverter_power(sky, np.nan)


@pytest.mark.parametrize("resets", [0.0, 0.5])
def test_an_output_of_a_flip_flop_toggles_for_its_clock_and_not_for_a_reset_that_stays(sky, resets):
    """By hand: the energy of Q's toggles is shared by the toggle rates of CLK, 2 a cycle, and of the reset."""
    plain = flip_flop(sky)
    (q,) = plain.outputs
    (from_clock,) = (arc for arc in plain.energy if arc.pin == q and arc.related_pin)
    ten = {edge: replace(table, values=table.values * 10) for edge, table in from_clock.energy.items()}
    cell = replace(
        plain,
        name="with_reset",
        pins={**plain.pins, "R": Pin("R", "input", 1.0, None, None)},
        energy=(from_clock, EnergyArc(q, "R", "", ten)),
    )
    library = replace(sky, cells={**sky.cells, cell.name: cell})
    pins = {"CLK": 2, "D": 3, "R": 4, q: 5}
    netlist = netlist_of(library, {"f": (cell.name, pins)}, {"clk": [2], "d": [3], "r": [4]}, {"q": [5]})
    loads = netlist.loads(wire_load=False)
    timed = timing.analyse(netlist, 5.0, loads)
    rate = np.zeros(netlist.count)
    for name, value in (("clk", 2.0), ("r", resets)):
        rate[netlist.inputs[name][0]] = value
    rate[netlist.outputs["q"][0]] = 0.25
    found = power.energies(netlist, timed, loads, rate, np.full(netlist.count, 0.5)).power(5.0).internal
    slew = {pin: timed.slew_ns[netlist.inputs[name][0]].mean() for pin, name in (("CLK", "clk"), ("R", "r"))}
    load = loads[netlist.outputs["q"][0], 2]
    energy = {
        pin: sum(float(table.lookup(slew[pin], load)) for table in tables.values()) / 2
        for pin, tables in (("CLK", from_clock.energy), ("R", ten))
    }
    share = resets / (2 + resets)
    expected = 0.25 * ((1 - share) * energy["CLK"] + share * energy["R"]) / 5.0 * 1e-3
    assert found == pytest.approx(expected, rel=1e-9)
