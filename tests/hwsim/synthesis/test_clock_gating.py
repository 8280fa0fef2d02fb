"""Clock gates: cells of every technology, flip-flops divided among them, a netlist that holds, and the same without."""

import numpy as np
import pytest
from small_netlists import module

from hwsim.analysis import activity, netlist_reader, timing
from hwsim.synthesis import clock_gating
from hwsim.technology.choice import clock_gates, flip_flop
from hwsim.technology.liberty import parse
from hwsim.technology.library import Library
from hwsim.technology.rendering import render

TECHNOLOGIES = ("asap7", "sg13g2", "sky130hd")


def gated_register(library, width):
    """A register of ``width`` bits behind one clock gate, in Yosys' JSON; and whether its outputs are inverted."""
    cell, gate = flip_flop(library), clock_gates(library)[0]
    enable, *tests = gate.clock_gate.enable.pins
    [data] = cell.flip_flop.next_state.pins
    shown = next(iter(cell.flip_flop.outputs))
    unused = {pin: ["1"] for pin in cell.inputs if pin not in (data, *cell.clock_pins)}
    first, out = 10, 10 + width
    cells = {
        f"r{i}": (cell.name, unused | {cell.clock_pins[0]: [4], data: [first + i], shown: [out + i]})
        for i in range(width)
    }
    pins = {gate.clock_gate.clock: [2], enable: [3], gate.clock_gate.output: [4]} | {test: ["0"] for test in tests}
    cells["gate"] = (gate.name, pins)
    made = module(
        {"clk": [2], "enable": [3], "d": list(range(first, out))}, {"q": list(range(out, out + width))}, cells
    )
    made["netnames"]["gated"] = {"hide_name": 0, "bits": [4]}
    inverted = (cell.flip_flop.outputs[shown] == "IQN") != (cell.flip_flop.next_state.op == "not")
    return {"top": made}, inverted


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_a_register_holds_while_its_clock_is_gated(technology, library):
    lib = library(technology)
    modules, inverted = gated_register(lib, 40)
    clock_gating.split(modules, lib, True)
    netlist = netlist_reader.build(modules, "top", lib)
    assert len(netlist.gated) > 1, "one gate is too weak for 40 flip-flops"
    # Every part is driven as fast as static timing takes the clock's edges to be, or has but eight flip-flops.
    loads = netlist.loads(True)
    for group in netlist.clock_gates:
        slews = [t.lookup(lib.clock_slew_ns, loads[group.pins[group.cell.clock_gate.output], 2])
                 for arc in group.cell.timing for t in arc.slew.values()]  # fmt: skip
        few = netlist.fanout[group.pins[group.cell.clock_gate.output]].max() <= 8
        assert few or np.max(slews) <= 1.001 * lib.clock_slew_ns
    rng = np.random.default_rng(1)
    cycles, streams = 30, 64
    given = {"enable": rng.integers(0, 2, (cycles * streams, 1), np.uint8),
             "d": rng.integers(0, 2, (cycles * streams, 40), np.uint8)}  # fmt: skip
    found = activity.simulate(netlist, given, streams)
    q = found.outputs["q"].reshape(streams, cycles, 40) ^ inverted
    enable, d = given["enable"].reshape(streams, cycles, 1), given["d"].reshape(streams, cycles, 40)
    held = q[:, 0]
    for cycle in range(cycles):
        np.testing.assert_array_equal(q[:, cycle], held)
        held = np.where(enable[:, cycle], d[:, cycle], held)
    # A gated clock has a pulse in every cycle behind one with the enable.
    pulses = int(enable[:, :-1].sum())
    assert (found.ones[netlist.gated] == pulses).all()
    assert found.toggle_rate()[netlist.gated] == pytest.approx(2 * pulses / found.cycles)


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_without_gates_the_same_is_held_by_multiplexers(technology, library):
    lib = library(technology)
    modules, inverted = gated_register(lib, 5)
    clock_gating.undo(modules, lib)
    kinds = [cell["type"] for cell in modules["top"]["cells"].values()]
    assert kinds.count("$_MUX_") == 5 and not set(kinds) & {gate.name for gate in clock_gates(lib)}
    [pin] = flip_flop(lib).clock_pins
    clocks = {tuple(c["connections"][pin]) for c in modules["top"]["cells"].values() if c["type"] in lib.cells}
    assert clocks == {(2,)}
    # What goes back is the state itself: the complement of an inverted output.
    assert kinds.count("$_NOT_") == 5 * inverted


def test_the_enable_has_a_setup_time_and_a_test_pin_has_none(library):
    lib = library("asap7")
    modules, _ = gated_register(lib, 4)
    netlist = netlist_reader.build(modules, "top", lib)
    timed = timing.analyse(netlist, 1.0, netlist.loads(True))
    assert timed.unconstrained == 0 and timed.slack_ns < 1.0


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_clock_gates_survive_rendering(technology, library, tmp_path):
    lib = library(technology)
    again = Library.from_groups([parse(render(lib), "rendered")], ["rendered"])
    assert [gate.name for gate in clock_gates(again)] == [gate.name for gate in clock_gates(lib)]
    for gate in clock_gates(lib):
        assert again.cells[gate.name].clock_gate == gate.clock_gate
        assert again.cells[gate.name].unusable == "clock gate"
