"""Cells that synthesis picks from a library by rule: inverter, buffer, flip-flop, tie cells."""

from __future__ import annotations

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
