"""Static timing by hand."""

import pytest
from small_netlists import INV, netlist_of

from hwsim.analysis import timing


def test_timing_of_two_inverters_is_the_sum_of_their_tables(sky):
    cells = {"g": (INV, {"A": 2, "Y": 3}), "h": (INV, {"A": 3, "Y": 4})}
    netlist = netlist_of(sky, cells, {"a": [2]}, {"y": [4]})
    loads = netlist.loads(wire_load=False)
    arc, cap = sky.cells[INV].timing[0], sky.cells[INV].pins["A"].capacitance
    worst = 0.0
    for first, second in (("rise", "fall"), ("fall", "rise")):
        slew = arc.slew[first].lookup(sky.input_slew_ns, cap)
        delay = arc.delay[first].lookup(sky.input_slew_ns, cap) + arc.delay[second].lookup(slew, sky.output_load_fF)
        worst = max(worst, float(delay))
    timed = timing.analyse(netlist, 1.0, loads)
    assert timed.arrival_ns == pytest.approx(worst, rel=1e-12)
    assert timed.slack_ns == pytest.approx(1.0 - worst, rel=1e-12)
    assert [step.instance for step in timed.path] == ["", "g", "h"]


def test_wire_load_adds_what_the_model_says(sky):
    cells = {"g": (INV, {"A": 2, "Y": 3}), "h": (INV, {"A": 3, "Y": 4})}
    netlist = netlist_of(sky, cells, {"a": [2]}, {"y": [4]})
    difference = netlist.loads(wire_load=True) - netlist.loads(wire_load=False)
    assert difference.max() == pytest.approx(sky.wire_load.capacitance(1)) and difference.max() > 0
