"""Stronger cells where a path is too slow."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from hwsim.cells import Cell
from hwsim.library import Library
from hwsim.sta import PathStep


def resize(path: list[PathStep], library: Library, fixed: Container[str]) -> dict[str, str]:
    """Cells that make a path faster.

    A stronger cell drives its load faster and loads the cell before it more: what counts is the delay of both and of
    the cell behind, which gets a steeper edge. Of two neighbours only one is replaced, so that the gains add up.

    Parameters
    ----------
    path : list of PathStep
    library : Library
    fixed : container of str
        Instances to leave alone.

    Returns
    -------
    dict of str to str
        Instance to the name of its new cell: the same function at the same pins.
    """
    found: list[tuple[float, int, str]] = []
    for at, step in enumerate(path):
        now = library.cells.get(step.cell)
        if at == 0 or now is None or step.instance in fixed:
            continue
        before = _delay(path, at, now, library)
        for cell in library.usable_cells:
            if cell.stands_in_for(now) and (gain := before - _delay(path, at, cell, library)) > 0:
                found.append((gain, at, cell.name))
    chosen: dict[int, str] = {}
    for _, at, name in sorted(found, reverse=True):
        if not chosen.keys() & {at - 1, at, at + 1}:
            chosen[at] = name
    return {path[at].instance: name for at, name in chosen.items()}


def _delay(path: list[PathStep], at: int, cell: Cell, library: Library) -> float:
    """ns through a cell in the place of step ``at``, the step before it and the step behind it."""
    pin = path[at].through.split(" ")[0]
    more = cell.pins[pin].capacitance - library.cells[path[at].cell].pins[pin].capacitance
    steps = path[max(at - 1, 1) : at + 2]
    changed = [
        replace(s, cell=cell.name) if s is path[at] else replace(s, load_fF=s.load_fF + more * (s is path[at - 1]))
        for s in steps
    ]
    total, slew = 0.0, path[max(at - 2, 0)].slew_ns
    for step in changed:
        delay, slew = _stage(step, slew, library)
        total += delay
    return total


def _stage(step: PathStep, slew: float, library: Library) -> tuple[float, float]:
    """Delay and slew (ns) of a step's cell for an edge of ``slew`` at its input."""
    source, sink = step.through.split(" -> ")
    arcs = [a for a in library.cells[step.cell].timing if (a.related_pin, a.pin) == (source, sink)]
    delays = [a.delay[step.edge].lookup(slew, step.load_fF) for a in arcs if step.edge in a.delay]
    slews = [a.slew[step.edge].lookup(slew, step.load_fF) for a in arcs if step.edge in a.slew]
    return float(max(delays)), float(max(slews))
