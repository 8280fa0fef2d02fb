"""An estimate of the clock tree: the buffers that bring the clock to all flip-flops, and what they take.

A netlist has one ideal clock net. Here it becomes levels of buffers, from flip-flops and clock gates up to one root.
The buffers of a level are equal and have an equal number of sinks; their wires are those of the library's wire-load
model at that number, as for all other nets. Every level takes the buffer and the number of sinks that cost least
energy, its own input pins included, of those whose edges are as fast as static timing takes the clock's to be.
Placement may need longer wires near the root and more buffers against skew: neither is known here.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.analysis.netlist import Netlist
from hwsim.technology.cells import BUFFER, Cell
from hwsim.technology.library import Library

#: Sinks of one buffer that are tried.
_SINKS = range(2, 65)


@dataclass(frozen=True)
class Level:
    """One level of buffers: how many of which cell, and the sinks of each at most."""

    count: int
    cell: str
    sinks: int


@dataclass(frozen=True)
class ClockTree:
    """A clock tree's cells and power.

    Attributes
    ----------
    flip_flops, clock_gates : int
        Cells at the leaves. Flip-flops behind clock gates are not among them.
    levels : tuple of Level
        From the leaves to the root; none without flip-flops.
    area_um2 : float
        Of the buffers.
    power_mw : float
        Internal and leakage power of the buffers, and what charges wires, buffers and clock pins.
    """

    flip_flops: int = 0
    clock_gates: int = 0
    levels: tuple[Level, ...] = ()
    area_um2: float = 0.0
    power_mw: float = 0.0

    def __str__(self) -> str:
        if not self.levels:
            return "none: no flip-flops"
        levels = " + ".join(f"{level.count} {level.cell}" for level in self.levels)
        gates = f" and {self.clock_gates} clock gates" if self.clock_gates else ""
        shown = f"{levels} for {self.flip_flops} flip-flops{gates}, wires by fanout"
        return f"estimate: {shown}, {self.area_um2:.4g} um2 not in the area"


def estimate(netlist: Netlist, period_ns: float, wire_load: bool) -> ClockTree:
    """The clock tree of a netlist.

    Parameters
    ----------
    netlist : Netlist
    period_ns : float
        Clock period; the clock toggles twice in it.
    wire_load : bool
        Whether wires have capacitance.
    """
    library = netlist.library
    clocked = [group for group in netlist.groups if group.cell.is_clocked]
    leaves = [int(netlist.clocked_freely(group).sum()) for group in clocked]
    gates = len(netlist.gated)
    below = sum(leaves)
    if not below:
        return ClockTree()
    buffers = [cell for cell in library.usable_cells if cell.computes(BUFFER, 1)]
    levels: list[Level] = []
    flip_flops = below - gates
    pins = (group.cell.pins[pin].capacitance for group in clocked for pin in group.cell.clock_pins)
    each = sum(count * fF for count, fF in zip(leaves, pins, strict=True)) / below
    energy = area = leakage = 0.0
    while not levels or below > 1:
        choices = [_level(library, cell, sinks, below, each, wire_load) for cell in buffers for sinks in _SINKS]
        # Where no buffer is fast enough, the fastest.
        _, spent, level = min(choices, key=lambda c: (max(c[0], library.clock_slew_ns), c[1], c[2].cell, c[2].sinks))
        cell = library.cells[level.cell]
        levels.append(level)
        below, each = level.count, cell.pins[cell.inputs[0]].capacitance
        # What drives these buffers charges their inputs: the next level, or, like every input port, nobody here.
        energy += spent - below * library.voltage**2 * each
        area += below * cell.area
        leakage += below * cell.leakage
    return ClockTree(flip_flops, gates, tuple(levels), area, 1e-3 * energy / period_ns + 1e-6 * leakage)


def _level(
    library: Library, cell: Cell, sinks: int, below: int, each_fF: float, wire_load: bool
) -> tuple[float, float, Level]:
    """Slowest slew (ns) and energy per cycle (fJ, with that of the buffers' input pins) of buffers for ``below`` sinks.

    ``each_fF`` is the capacitance of one sink.
    """
    (source,), (output,) = cell.inputs, cell.outputs
    count = -(-below // sinks)
    fanout = below / count
    load = fanout * each_fF + (library.wire_load.capacitance(round(fanout)) if wire_load else 0.0)
    slew = max(float(t.lookup(library.clock_slew_ns, load)) for arc in cell.timing for t in arc.slew.values())
    charged = library.voltage**2 * (load + cell.pins[source].capacitance)
    internal = sum(
        float(table.lookup(library.clock_slew_ns, load if arc.pin == output else 0.0))
        for arc in cell.energy if (arc.pin, arc.related_pin) in ((output, source), (source, None))
        for table in arc.energy.values()
    )  # fmt: skip
    return slew, count * (charged + internal), Level(count, cell.name, sinks)
