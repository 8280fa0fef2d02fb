"""Which cells of a library a technology pack holds, and why each other one is left out."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from hwsim.cells import Cell
from hwsim.errors import InputError
from hwsim.expression import canonical_class, unateness
from hwsim.library import Library, fanout_of_4, smallest_inverter

MAX_GATE_INPUTS = 4
# Each further drive of a function has to be this much faster into a heavy load (8 fanout-of-4 loads).
FASTER = 0.75
HEAVY_LOAD = 8.0


def select(library: Library, patterns: Sequence[str] = ()) -> tuple[list[Cell], Mapping[str, str]]:
    """Cells for a pack, and why each other one is left out.

    With ``patterns`` (regular expressions that match whole names) those cells. Otherwise, per function up to
    the order of its inputs: gates of up to `MAX_GATE_INPUTS` inputs none of which is merely an inverted one,
    adders, ties, and D flip-flops on the rising edge without set, reset, scan or enable (or, if the library
    has none, with a reset alone); by rising area, each drive `FASTER` than the one before into a heavy load:
    which leaves out delay cells. As many drives as `_drives` says.

    Raises
    ------
    InputError
        If a pattern is no regular expression or matches nothing.
    """
    left_out: dict[str, str] = {}
    candidates = []
    for cell in library.cells.values():
        reason = cell.unusable or incomplete(cell)
        if not reason and patterns:
            reason = "" if any(_match(pattern, cell.name) for pattern in patterns) else "not asked for"
        elif not reason:
            reason = _unsuitable(cell)
        if reason:
            left_out[cell.name] = reason
        else:
            candidates.append(cell)
    for pattern in patterns:
        if not any(_match(pattern, name) for name in library.cells):
            raise InputError(f"--cells {pattern!r} matches no cell of {library.name}")
    chosen = candidates if patterns else _fastest_by_area(library, candidates, left_out)
    return sorted(chosen, key=lambda cell: cell.name), left_out


def _match(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise InputError(f"--cells {pattern!r} is not a regular expression: {error}") from None


def incomplete(cell: Cell) -> str:
    """Which arc a cell lacks for a fit, or ""."""
    arcs = {(arc.related_pin, arc.pin) for arc in cell.timing if {"rise", "fall"} <= arc.delay.keys()}
    for output in cell.outputs:
        function = cell.pins[output].function
        needed = function.pins if function else cell.flip_flop.clocked_on.pins if cell.flip_flop else ()
        for pin in needed:
            if (pin, output) not in arcs:
                return f"no arc {pin} -> {output} for both edges"
    return ""


def _unsuitable(cell: Cell) -> str:
    """Why a usable cell has no place in a pack, by its function; or ""."""
    if cell.flip_flop:
        return "" if cell.flip_flop.clocked_on.op == "pin" else "clocked by the falling edge"
    inputs, tables = len(cell.inputs), cell.tables()
    if not inputs:
        return "" if sorted(tables) in ([0], [1], [0, 1]) else "constant outputs beyond a tie cell"
    if inputs > MAX_GATE_INPUTS:
        return f"more than {MAX_GATE_INPUTS} inputs"
    if len(tables) > 1 and not _is_adder(tables, inputs):
        return "several outputs, not an adder"
    for table in tables:
        senses = {unateness(table, inputs, k) for k in range(inputs)}
        if {"positive_unate", "negative_unate"} <= senses:
            return "an inverter could do: some inputs inverted, some not"
    return ""


def _is_adder(tables: Sequence[int], inputs: int) -> bool:
    """Whether one of two outputs is the parity of the inputs or its complement."""
    parity = sum((i.bit_count() & 1) << i for i in range(1 << inputs))
    return len(tables) == 2 and any(t in (parity, parity ^ ((1 << (1 << inputs)) - 1)) for t in tables)


def _drives(cell: Cell) -> int:
    """How many drive strengths of a cell's function to take."""
    if cell.flip_flop:
        return 2
    if len(cell.outputs) > 1:
        return 1
    return {1: 5, 2: 2, 3: 2}.get(len(cell.inputs), 1)


def _fastest_by_area(library: Library, cells: list[Cell], left_out: dict[str, str]) -> list[Cell]:
    """Per function the smallest cell and those that buy speed with area; the others go to ``left_out``."""
    slew, load, _ = fanout_of_4(smallest_inverter(library))
    plain = any(cell.flip_flop and _asynchronous(cell) == 0 for cell in cells)
    groups: dict[tuple, list[tuple[float, float, Cell]]] = defaultdict(list)
    for cell in cells:
        if cell.flip_flop and _asynchronous(cell) > (0 if plain else 1):
            left_out[cell.name] = "flip-flop with set or reset"
            continue
        key = ("ff",) if cell.flip_flop else canonical_class(cell.tables(), len(cell.inputs))
        groups[key].append((cell.area, _worst_delay(cell, slew, HEAVY_LOAD * load), cell))
    chosen: list[Cell] = []
    for key, group in groups.items():
        if key[0] == 0:
            continue
        kept: list[float] = []
        for _, delay, cell in sorted(group, key=lambda entry: (*entry[:2], entry[2].name)):
            if kept and delay > FASTER * kept[-1]:
                left_out[cell.name] = "hardly faster than a smaller cell of the same function"
            elif len(kept) == _drives(cell):
                left_out[cell.name] = "stronger drive than needed"
            else:
                kept.append(delay)
                chosen.append(cell)
    ties = [cell for cell in cells if not cell.inputs]
    for constant in (0, 1):
        makers = [cell for cell in ties if constant in cell.tables()]
        if makers:
            chosen.append(min(makers, key=lambda cell: (cell.area, cell.name)))
    left_out.update((cell.name, "larger tie cell") for cell in ties if cell not in chosen)
    return list(dict.fromkeys(chosen))


def _asynchronous(cell: Cell) -> int:
    flip_flop = cell.flip_flop
    return 0 if flip_flop is None else (flip_flop.clear is not None) + 2 * (flip_flop.preset is not None)


def _worst_delay(cell: Cell, slew: float, load: float) -> float:
    """Worst delay in ns over the arcs of a cell; 0 for a tie cell."""
    delays = [float(table.lookup(slew, load)) for arc in cell.timing for table in arc.delay.values()]
    return max(delays, default=0.0)
