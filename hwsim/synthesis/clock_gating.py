"""Clock gates of a mapped design: which cell, and how many flip-flops each one clocks.

Yosys makes the enables of registers gates of their clock, one for all registers of a module that share an enable. Here
each becomes as many as it takes for the edges of their clocks to be as fast as static timing takes the clock's to be.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.synthesis.json_module import Additions
from hwsim.technology.cells import Cell, ClockGate
from hwsim.technology.choice import clock_gates
from hwsim.technology.library import Library

#: Least flip-flops that are worth a gate: fewer keep their state through a multiplexer each.
FEWEST = 3
#: Most flip-flops of one gate.
_MOST = 64
#: Flip-flops that a gate should be able to drive, be its edges as slow as that makes them.
_FEW = 8


def insertion(library: Library) -> list[str]:
    """Yosys commands that turn enables into clock gates; none if the library has no clock gate."""
    gates = clock_gates(library)
    if not gates:
        return []
    gate = gates[0].clock_gate
    assert gate is not None
    enable, *tests = gate.enable.pins
    ties = "".join(f" -tie_lo {pin}" for pin in tests)
    ports = f"{enable}:{gate.clock}:{gate.output}"
    return [f"clockgate -pos {gates[0].name} {ports}{ties} -min_net_size {FEWEST}"]


def boxes(library: Library) -> str:
    """Verilog of the clock gates' ports: Yosys does not read cells without a function from Liberty."""
    text = ""
    for cell in clock_gates(library):
        ports = ", ".join([*(f"input {pin}" for pin in cell.inputs), *(f"output {pin}" for pin in cell.outputs)])
        text += f"(* blackbox *) module {cell.name} ({ports}); endmodule\n"
    return text


def split(modules: dict[str, Any], library: Library, wire_load: bool) -> None:
    """Choose the cell of every clock gate, and divide its flip-flops among as many as they need, in place.

    Parameters
    ----------
    modules : dict
        The ``modules`` of Yosys' JSON.
    library : Library
    wire_load : bool
        Whether wires have capacitance.
    """
    names = {gate.name for gate in clock_gates(library)}
    for module in modules.values():
        for name in [name for name, cell in module["cells"].items() if cell["type"] in names]:
            _split(module, name, library, wire_load)


def _split(module: dict[str, Any], name: str, library: Library, wire_load: bool) -> None:
    instance = module["cells"][name]
    gate = library.cells[instance["type"]].clock_gate
    assert gate is not None
    [clock] = instance["connections"][gate.output]
    sinks = [
        (cell, pin)
        for cell in module["cells"].values()
        for pin in (library.cells[cell["type"]].clock_pins if cell["type"] in library.cells else ())
        if cell["connections"][pin] == [clock]
    ]
    each = max(library.cells[cell["type"]].pins[pin].capacitance for cell, pin in sinks)
    chosen, count = _chosen(library, len(sinks), each, wire_load)
    instance["type"] = chosen.name
    added = Additions(module)
    for copy in range(1, count):
        bit = added.net(f"{name}_clock{copy}")
        connections = instance["connections"] | {gate.output: [bit]}
        module["cells"][f"{name}_{copy}"] = instance | {"connections": connections}
        for cell, pin in sinks[copy * len(sinks) // count : (copy + 1) * len(sinks) // count]:
            cell["connections"][pin] = [bit]


def _chosen(library: Library, sinks: int, each_fF: float, wire_load: bool) -> tuple[Cell, int]:
    """The cell of a clock gate and how many share the sinks: of least area among those with edges as fast as needed.

    That is as fast as the ideal clock's or, where no gate drives a few flip-flops so fast, as fast as that is possible.
    """
    choices = []
    wire = library.wire_load.capacitance(_FEW) if wire_load else 0.0
    fastest = min(float(_slews(cell, library, np.array([_FEW * each_fF + wire]))[0]) for cell in clock_gates(library))
    slow = max(library.clock_slew_ns, fastest)
    counts = np.arange(-(-sinks // _MOST), sinks + 1)
    most = -(-sinks // counts)
    wires = np.array([library.wire_load.capacitance(n) if wire_load else 0.0 for n in most.tolist()])
    loads = most * each_fF + wires
    for cell in clock_gates(library):
        gate = cell.clock_gate
        assert gate is not None
        limit = cell.pins[gate.output].max_capacitance or np.inf
        slews = _slews(cell, library, loads)
        for count, load, slew in zip(counts.tolist(), loads.tolist(), slews.tolist(), strict=True):
            choices.append((max(slew, slow), load > limit, count * cell.area, cell.name, count))
    _, _, _, name, count = min(choices)
    return library.cells[name], count


def _slews(cell: Cell, library: Library, loads: np.ndarray) -> np.ndarray:
    """Slowest output slew of a clock gate for every load, ns."""
    tables = [table for arc in cell.timing for table in arc.slew.values()]
    return np.max([table.lookup(library.clock_slew_ns, loads) for table in tables], axis=0)


def undo(modules: dict[str, Any], library: Library) -> None:
    """Take away all clock gates, in place: the flip-flops behind them get the free clock, and a multiplexer each.

    Parameters
    ----------
    modules : dict
        The ``modules`` of Yosys' JSON of a mapped design; library cells among them are left out.
    library : Library
    """
    for name in modules.keys() & library.cells.keys():
        del modules[name]
    for module in modules.values():
        gates = {n: c for n, c in module["cells"].items() if (leaf := library.cells.get(c["type"])) and leaf.clock_gate}
        by_clock = {}
        for name, cell in gates.items():
            gate = library.cells[cell["type"]].clock_gate
            assert gate is not None
            by_clock[cell["connections"][gate.output][0]] = gate, cell["connections"]
            del module["cells"][name]
        if by_clock:
            _Holding(module, library, by_clock)


class _Holding:
    """Puts multiplexers in front of the flip-flops of one module whose clocks were gated."""

    def __init__(
        self, module: dict[str, Any], library: Library, by_clock: dict[int, tuple[ClockGate, dict[str, list]]]
    ):
        self._added, self._count = Additions(module), 0
        for cell in list(module["cells"].values()):
            flop = library.cells[cell["type"]].flip_flop if cell["type"] in library.cells else None
            pins = cell["connections"]
            if flop is None or (clock := pins[flop.clocked_on.pins[0]][0]) not in by_clock:
                continue
            gate, at = by_clock[clock]
            enable = at[gate.enable.pins[0]][0]
            for test in gate.enable.pins[1:]:
                enable = self._cell("$_OR_", A=enable, B=at[test][0])
            pins[flop.clocked_on.pins[0]] = at[gate.clock]
            shown = next((pin for pin in flop.outputs if pins.get(pin)), None)
            if shown is None:
                continue
            [data] = flop.next_state.pins
            # What keeps the state: the state, or its complement where the data are inverted.
            inverted = (flop.outputs[shown] == "IQN") != (flop.next_state.op == "not")
            state = self._cell("$_NOT_", A=pins[shown][0]) if inverted else pins[shown][0]
            pins[data] = [self._cell("$_MUX_", A=state, B=pins[data][0], S=enable)]

    def _cell(self, kind: str, **inputs: int | str) -> int:
        """Add a gate; the net of its output."""
        self._count += 1
        net = self._added.net(f"held_{self._count}")
        self._added.cell(f"hold_{self._count}", kind, inputs, {"Y": net})
        return net
