"""Delays as SDF: by hand, complete, and in a timed simulation by Icarus."""

import re
import shutil

import numpy as np
import pytest
from small_netlists import INV, netlist_of

from hwsim import units
from hwsim.analysis import timing
from hwsim.analysis.sdf import to_sdf
from hwsim.costs import flow
from hwsim.costs.flow import Workload
from hwsim.peers import netlist_simulators
from hwsim.technology.choice import flip_flop

CELL = re.compile(r'\(CELL \(CELLTYPE "(\w+)"\) \(INSTANCE (\S+)\)(.*?)\n  \)', re.S)
PATH = re.compile(r"\(IOPATH (\(\w+ \w+\)|\w+) (\w+) \(([\d.]*)\) \(([\d.]*)\)\)")


def read_sdf(text):
    """By instance: the cell, and by input and output the two delays in ps as text."""
    found = {}
    for cell, instance, body in CELL.findall(text):
        assert instance not in found
        found[instance] = cell, {(source, pin): (rise, fall) for source, pin, rise, fall in PATH.findall(body)}
    return found


def test_delays_are_those_of_the_tables_at_the_slews_and_loads_of_the_nets(sky):
    """An inverter behind a flip-flop: the inverter's slew is that of the flip-flop's output."""
    flop = flip_flop(sky)
    (q,) = flop.outputs
    cells = {"f": (flop.name, {"CLK": 2, "D": 3, q: 4}), "g": (INV, {"A": 4, "Y": 5})}
    netlist = netlist_of(sky, cells, {"clk": [2], "d": [3]}, {"y": [5]})
    loads = netlist.loads(wire_load=False)
    timed = timing.analyse(netlist, 5.0, loads)
    found = read_sdf(to_sdf(netlist, timed, loads))
    assert {name: cell for name, (cell, _) in found.items()} == {"f": flop.name, "g": INV}
    (launch,) = (arc for arc in flop.timing if arc.pin == q)
    at_inverter = sky.cells[INV].pins["A"].capacitance
    expected = [1000 * float(launch.delay[e].lookup(sky.clock_slew_ns, at_inverter)) for e in ("rise", "fall")]
    assert [float(v) for v in found["f"][1]["(posedge CLK)", q]] == pytest.approx(expected, abs=6e-4)
    slew = {e: float(launch.slew[e].lookup(sky.clock_slew_ns, at_inverter)) for e in ("rise", "fall")}
    (arc,) = (a for a in sky.cells[INV].timing if a.related_pin == "A")
    # The output rises when the input falls.
    expected = [
        1000 * float(arc.delay[e].lookup(slew[cause], sky.output_load_fF))
        for e, cause in (("rise", "fall"), ("fall", "rise"))
    ]
    assert [float(v) for v in found["g"][1]["A", "Y"]] == pytest.approx(expected, abs=6e-4)


@pytest.fixture(scope="module")
def decoder(mapped):
    return flow.measure(mapped("mixfp4_decode", "asap7"), Workload(8192))


def test_every_path_of_every_cell_has_its_delays(decoder):
    netlist = decoder.netlist
    found = read_sdf(to_sdf(netlist, decoder.timing, decoder.loads))
    seen = set()
    for group in netlist.groups:
        arcs = {(arc.related_pin, arc.pin, arc.kind) for arc in group.cell.timing}
        expected = {(f"(posedge {a})" if kind == "rising_edge" else a, b) for a, b, kind in arcs}
        for i in range(len(group)):
            name = netlist.instance_name(group, i)
            seen.add(name)
            if expected:  # A tie cell has no paths.
                assert found[name][0] == group.cell.name and found[name][1].keys() == expected
                assert all(rise and fall for rise, fall in found[name][1].values())
    assert found.keys() <= seen


@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
def test_a_timed_simulation_settles_to_the_same_values_and_glitches(decoder):
    """Every cycle begins and ends settled: a net's toggles are as many more than without delays as an even number."""
    design, netlist = decoder.design, decoder.netlist
    inputs = design.unit.stimulus(design.parameters, 200, 3, None)
    period = 2 * round(500 * decoder.options.clock_period_ns)
    text = to_sdf(netlist, decoder.timing, decoder.loads)
    settled = netlist_simulators.toggles(decoder.mapped, netlist, inputs, 3, "icarus")
    timed = netlist_simulators.toggles(decoder.mapped, netlist, inputs, 3, "icarus", sdf=text, period_ps=period)
    data = np.array([net for net in range(netlist.count) if net not in netlist.clocks])
    # At the very end the last cycle's changes of nets that settle after the clock's fall are not cut off.
    glitches = timed[data] - settled[data]
    assert (glitches >= 0).all() and (glitches % 2 == 0).all() and glitches.sum() > 0


@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
def test_a_clock_that_is_too_fast_for_the_delays_gives_other_toggles(decoder):
    """The simulation above takes the delays from the SDF file, else it could not go wrong here."""
    design, netlist = decoder.design, decoder.netlist
    inputs = design.unit.stimulus(design.parameters, 200, 3, None)
    text = to_sdf(netlist, decoder.timing, decoder.loads)
    period = 2 * round(1000 * decoder.timing.critical_path_ns * 0.6 / 2)
    settled = netlist_simulators.toggles(decoder.mapped, netlist, inputs, 3, "icarus")
    late = netlist_simulators.toggles(decoder.mapped, netlist, inputs, 3, "icarus", sdf=text, period_ps=period)
    outputs = [net for bits in netlist.outputs.values() for net in bits]
    assert (late[outputs] != settled[outputs]).any()


def test_the_command_writes_it_and_refuses_a_file_named_twice(run_tool, tmp_path):
    options = ("synth", "--unit", "nvfp4_decode", "--set", "lanes=1", "--baseline", "none")
    result = run_tool(*options, "--sdf", "d.sdf", "--json", "d.json")
    assert result.returncode == 0 and (tmp_path / "d.sdf").read_text().startswith("(DELAYFILE")
    assert '"sdf": "d.sdf"' in (tmp_path / "d.json").read_text()
    result = run_tool(*options, "--sdf", "d", "--saif", "d")
    assert result.returncode == 2 and "--saif and --sdf name the same file, d" in result.stderr


def test_it_is_the_same_text_every_time(decoder):
    assert units.design("mixfp4_decode").name == decoder.design.name
    texts = {to_sdf(decoder.netlist, decoder.timing, decoder.loads) for _ in range(2)}
    assert len(texts) == 1
