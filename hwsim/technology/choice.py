"""Cells that synthesis picks from a library by rule: inverter, buffer, flip-flop, clock gates, adders, tie cells."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from hwsim.technology.cells import BUFFER, INVERTER, Cell, smallest
from hwsim.technology.library import Library


def smallest_inverter(library: Library) -> Cell:
    """The usable inverter of the least area."""
    return smallest(library.cells.values(), INVERTER, 1, f"inverter in {library.name}")


def flip_flop(library: Library) -> Cell:
    """The flip-flop to map to: on the rising edge if possible, with the fewest asynchronous controls, then smallest."""

    def key(cell: Cell) -> tuple[bool, int, int, float, str]:
        flop = cell.flip_flop
        assert flop is not None
        controls = (flop.clear is not None) + (flop.preset is not None)
        return flop.clocked_on.op != "pin", controls, len(flop.next_state.pins), cell.area, cell.name

    return min((cell for cell in library.usable_cells if cell.flip_flop), key=key)


def clock_gates(library: Library) -> list[Cell]:
    """The clock gates of a library, those with the fewest inputs, by area."""
    gates = [cell for cell in library.cells.values() if cell.clock_gate]
    fewest = min((len(cell.inputs) for cell in gates), default=0)
    return sorted((g for g in gates if len(g.inputs) == fewest), key=lambda cell: (cell.area, cell.name))


def smallest_buffer(library: Library) -> Cell:
    """The usable buffer of the least area."""
    return smallest(library.cells.values(), BUFFER, 1, f"buffer in {library.name}")


def tie_cells(library: Library) -> tuple[str, str]:
    """Tie-low and tie-high cell as ``"CELL PIN"``, for Yosys' hilomap; two empty strings unless both exist."""
    names: dict[str, str] = {}
    for cell in library.cells.values():
        if not cell.inputs and not cell.dont_use and not cell.flip_flop:
            for pin in cell.outputs:
                function = cell.pins[pin].function
                if function is not None and function.op in "01":
                    names.setdefault(function.op, f"{cell.name} {pin}")
    return (names["0"], names["1"]) if len(names) == 2 else ("", "")


@dataclass(frozen=True)
class AdderCell:
    """A cell that adds two or three bits.

    Attributes
    ----------
    cell : Cell
    sum, carry : str
        Output pins.
    inverts : bool
        Whether both outputs are inverted.
    """

    cell: Cell
    sum: str
    carry: str
    inverts: bool


#: Truth tables of sum and carry of three bits, and of two.
_FULL, _HALF = (0b10010110, 0b11101000), (0b0110, 0b1000)


def full_adder(library: Library) -> AdderCell | None:
    """The smallest usable cell that adds three bits, with both outputs true or both inverted; None if there is none."""
    return _adder(library, *_FULL, 3)


def half_adder(library: Library) -> AdderCell | None:
    """The smallest usable cell that adds two bits, as :func:`full_adder`."""
    return _adder(library, *_HALF, 2)


def gate_cell(library: Library, function: Callable[..., int], inputs: int) -> tuple[Cell, tuple[str, ...]] | None:
    """The smallest usable cell that computes a function of bits, and its pins in the order of the arguments."""
    found: list[tuple[float, str, Cell, tuple[str, ...]]] = []
    for order in itertools.permutations(range(inputs)):
        # Argument i is at pin order[i].
        rows = range(1 << inputs)
        table = sum((function(*(row >> pin & 1 for pin in order)) & 1) << row for row in rows)
        found += [
            (cell.area, cell.name, cell, tuple(cell.inputs[pin] for pin in order))
            for cell in library.usable_cells
            if cell.computes(table, inputs)
        ]
    return min(found)[2:] if found else None


def _adder(library: Library, total: int, carry: int, inputs: int) -> AdderCell | None:
    ones = (1 << (1 << inputs)) - 1
    found = []
    for cell in library.usable_cells:
        tables = dict(zip(cell.tables(), cell.outputs, strict=False))
        if len(cell.inputs) != inputs or len(tables) != 2:
            continue
        for inverts in (False, True):
            pins = tables.get(total ^ ones * inverts), tables.get(carry ^ ones * inverts)
            if pins[0] and pins[1]:
                found.append(AdderCell(cell, pins[0], pins[1], inverts))
    return min(found, key=lambda adder: (adder.cell.area, adder.cell.name), default=None)
