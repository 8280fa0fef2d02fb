"""Select the cells of a library that a technology pack holds, and say why each other one is left out."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from hwsim.base.errors import InputError
from hwsim.technology.cells import BUFFER, Cell, fanout_of_4
from hwsim.technology.choice import smallest_inverter
from hwsim.technology.expression import canonical_class, unateness
from hwsim.technology.library import Library

MAX_GATE_INPUTS = 4
# A further drive strength of a function is taken if its delay into a heavy load is at most this share of the delay of
# the one before. A heavy load is this many fanout-of-4 loads.
FASTER = 0.75
HEAVY_LOAD = 8.0
# A buffer with more than this multiple of the smallest inverter's delay into a heavy load is there to fix hold times.
HOLDBUFFER = 1.5


def select(library: Library, patterns: Sequence[str] = ()) -> tuple[list[Cell], Mapping[str, str]]:
    """Cells for a pack, and why each other one is left out.

    With ``patterns``, regular expressions that match whole names, all usable cells of those names are taken.

    Without, a rule decides. It considers gates of up to `MAX_GATE_INPUTS` inputs unless some inputs are inverted
    and others not, adders, tie cells, and D flip-flops on the rising edge without scan or enable, of the kind with
    the fewest resets and then the least area, and clock gates, which libraries keep from logic synthesis. Hold
    buffers are left out (`HOLDBUFFER`). Of the cells of one
    function, whatever the order of their inputs, it takes the smallest and then, by increasing area, each that is
    faster by `FASTER` than the one taken before, which leaves out delay cells, up to the number that `_drives`
    allows.

    Raises
    ------
    InputError
        If a pattern is no regular expression or matches nothing.
    """
    left_out: dict[str, str] = {}
    candidates = []
    for cell in library.cells.values():
        reason = ("" if cell.clock_gate else cell.unusable) or incomplete(cell)
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
    """The arc that a cell lacks for a fit, in words, or ""."""
    arcs = {(arc.related_pin, arc.pin) for arc in cell.timing if {"rise", "fall"} <= arc.delay.keys()}
    for output in cell.outputs:
        function = cell.pins[output].function
        needed = function.pins if function else cell.clock_pins
        for pin in needed:
            if (pin, output) not in arcs:
                return f"no arc {pin} -> {output} for both edges"
    return ""


def _unsuitable(cell: Cell) -> str:
    """Why a usable cell has no place in a pack, by its function; or ""."""
    if cell.flip_flop:
        return "" if cell.flip_flop.clocked_on.op == "pin" else "clocked by the falling edge"
    if cell.clock_gate:
        return ""
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
    if cell.clock_gate:
        return 4
    if len(cell.outputs) > 1:
        return 1
    return {1: 5, 2: 2, 3: 2}.get(len(cell.inputs), 1)


def _fastest_by_area(library: Library, cells: list[Cell], left_out: dict[str, str]) -> list[Cell]:
    """Per function the smallest cell and those that buy speed with area; the others go to ``left_out``."""
    inverter = smallest_inverter(library)
    slew, load, _ = fanout_of_4(inverter)
    too_slow = HOLDBUFFER * _worst_delay(inverter, slew, HEAVY_LOAD * load)
    groups: dict[tuple, list[tuple[float, float, str, Cell]]] = defaultdict(list)
    pins_of_gates = min((len(cell.inputs) for cell in cells if cell.clock_gate), default=0)
    flops = [cell for cell in cells if cell.flip_flop]
    simplest = min((_flip_flop_key(cell)[0], cell.area, cell.name) for cell in flops)[2] if flops else ""
    for cell in cells:
        if cell.flip_flop and _flip_flop_key(cell) != _flip_flop_key(library.cells[simplest]):
            left_out[cell.name] = f"another kind of flip-flop than {simplest}"
        elif cell.clock_gate and len(cell.inputs) > pins_of_gates:
            left_out[cell.name] = "clock gate with a test pin"
        elif cell.computes(BUFFER, 1) and _worst_delay(cell, slew, HEAVY_LOAD * load) > too_slow:
            left_out[cell.name] = "hold buffer"
        elif cell.inputs:
            if cell.clock_gate:
                key: tuple = ("clock gate",)
            else:
                key = _flip_flop_key(cell) if cell.flip_flop else canonical_class(cell.tables(), len(cell.inputs))
            groups[key].append((cell.area, _worst_delay(cell, slew, HEAVY_LOAD * load), cell.name, cell))
    chosen: list[Cell] = []
    for group in groups.values():
        delays: list[float] = []
        for _, delay, _, cell in sorted(group, key=lambda entry: entry[:3]):
            if delays and delay > FASTER * delays[-1]:
                left_out[cell.name] = "hardly faster than a cell of the same function that is not larger"
            elif len(delays) == _drives(cell):
                left_out[cell.name] = "stronger drive than needed"
            else:
                delays.append(delay)
                chosen.append(cell)
    return chosen + _smallest_ties([cell for cell in cells if not cell.inputs], left_out)


def _smallest_ties(ties: list[Cell], left_out: dict[str, str]) -> list[Cell]:
    """The smallest tie cell for each constant; a single cell if it is the smallest for both."""
    makers = ([cell for cell in ties if constant in cell.tables()] for constant in (0, 1))
    chosen = {cell.name: cell for cells in makers if cells for cell in [min(cells, key=lambda c: (c.area, c.name))]}
    left_out.update((cell.name, "larger tie cell") for cell in ties if cell.name not in chosen)
    return list(chosen.values())


def _flip_flop_key(cell: Cell) -> tuple[int, tuple[bool, ...]]:
    """Kind of a flip-flop, equal for all its drive strengths: number of resets, and which outputs are inverted."""
    flip_flop = cell.flip_flop
    assert flip_flop is not None
    resets = (flip_flop.clear is not None) + (flip_flop.preset is not None)
    inverted = flip_flop.next_state.op == "not"
    return resets, tuple(sorted((state == "IQN") != inverted for state in flip_flop.outputs.values()))


def _worst_delay(cell: Cell, slew: float, load: float) -> float:
    """Worst delay in ns over the arcs of a cell; 0 for a tie cell."""
    delays = [float(table.lookup(slew, load)) for arc in cell.timing for table in arc.delay.values()]
    return max(delays, default=0.0)
