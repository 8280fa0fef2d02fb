"""Cells strong enough for what lies beyond their module.

Mapped module by module, a design has drivers that were sized for a default load, although their net goes on into other
modules: an operand goes to all dot units of its row. Here every such net gets its true load, and where its edges would
be too slow a stronger cell or a buffer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Any

from hwsim.analysis.timing import PathStep
from hwsim.technology.cells import BUFFER, Cell
from hwsim.technology.library import Library

#: Slowest edge between modules, in units of the slew that the inputs of a design have (an inverter that drives four).
SLOWEST = 2.0
_Load = tuple[float, int]  # fF of pins, and how many


@dataclass(frozen=True)
class Strengthened:
    """How many cells of the whole design were replaced by stronger ones, and how many buffers were added."""

    replaced: int
    added: int


def strengthen(modules: dict[str, Any], top: str, library: Library, wire_load: bool) -> Strengthened:
    """Change a mapped, hierarchical design in place.

    Parameters
    ----------
    modules : dict
        What Yosys writes as JSON, below ``modules``.
    top : str
    library : Library
    wire_load : bool
        Whether wires have capacitance.
    """
    order = _children_first(modules, top, library)
    inside: dict[str, dict[int, _Load]] = {}
    for name in order:
        inside[name] = _sinks(modules[name], library, modules, inside)
    outside: dict[str, dict[int, _Load]] = {name: {} for name in order}
    copies = dict.fromkeys(order, 0) | {top: 1}
    replaced = added = 0
    for name in reversed(order):
        module = modules[name]
        for cell in module["cells"].values():
            if cell["type"] in outside:
                copies[cell["type"]] += copies[name]
                _pass_down(cell, modules[cell["type"]], inside[name], outside[name], outside[cell["type"]])
        crossing = _crossing(module, outside[name], outside)
        for cell in list(module["cells"].items()):
            found = _strengthen(module, cell, crossing, inside[name], outside[name], library, wire_load)
            replaced += copies[name] * (found == "replaced")
            added += copies[name] * (found == "added")
    return Strengthened(replaced, added)


def _children_first(modules: dict[str, Any], top: str, library: Library) -> list[str]:
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        for cell in modules[name]["cells"].values():
            if cell["type"] not in library.cells and cell["type"] not in order:
                visit(cell["type"])
        order[name] = None

    visit(top)
    return list(order)


def _sinks(module, library: Library, modules, inside: dict[str, dict[int, _Load]]) -> dict[int, _Load]:
    """Load of every net of a module by what it drives there and below."""
    loads: dict[int, _Load] = defaultdict(lambda: (0.0, 0))
    for cell in module["cells"].values():
        leaf = library.cells.get(cell["type"])
        for port, bits in cell["connections"].items():
            if leaf:
                pin = leaf.pins[port]
                found = [(pin.capacitance, 1)] if pin.direction == "input" else []
            else:
                child = modules[cell["type"]]["ports"][port]
                found = [inside[cell["type"]].get(b, (0.0, 0)) for b in child["bits"] if child["direction"] == "input"]
            for bit, load in zip(bits, found, strict=False):
                loads[bit] = loads[bit][0] + load[0], loads[bit][1] + load[1]
    return loads


def _pass_down(cell, child, inside, outside, below: dict[int, _Load]) -> None:
    """Note for the outputs of one instance what they drive in its parent, keeping the largest of all instances."""
    for port, bits in cell["connections"].items():
        if child["ports"][port]["direction"] == "output":
            for bit, within in zip(bits, child["ports"][port]["bits"], strict=bool(bits)):
                near, far = inside.get(bit, (0.0, 0)), outside.get(bit, (0.0, 0))
                below[within] = max(below.get(within, (0.0, 0)), (near[0] + far[0], near[1] + far[1]))


def _crossing(module, outside: dict[int, _Load], parts: Container[str]) -> set[int]:
    """Nets that go into one of the parts or out to something that loads them."""
    found = {bit for bit, load in outside.items() if load[1]}
    for cell in module["cells"].values():
        if cell["type"] in parts:
            found.update(bit for bits in cell["connections"].values() for bit in bits)
    return found


def _strengthen(module, cell, crossing, inside, outside, library: Library, wire_load: bool) -> str:
    """What was done about the outputs of a cell: nothing, ``replaced`` or ``added``."""
    name, instance = cell
    leaf = library.cells.get(instance["type"])
    done = ""
    for pin in leaf.outputs if leaf else ():
        for bit in instance["connections"].get(pin, [])[:1]:
            if bit not in crossing:
                continue
            near, far = inside.get(bit, (0.0, 0)), outside.get(bit, (0.0, 0))
            count = near[1] + far[1]
            load = near[0] + far[0] + (library.wire_load.capacitance(count) if wire_load else 0.0)
            assert leaf is not None
            limit = SLOWEST * library.input_slew_ns
            if _slew(leaf, load, library) <= limit:
                continue
            family = [c for c in library.usable_cells if len(leaf.inputs) == 1 and c.stands_in_for(leaf)]
            if family:
                chosen = _strong_enough(family, load, limit, library)
                done = "replaced" if chosen is not leaf else done
                instance["type"] = chosen.name
                continue
            buffers = [c for c in library.usable_cells if c.computes(BUFFER, 1)]
            chosen = _strong_enough(buffers, load, limit, library, leaf)
            between = 1 + max(b for entry in module["netnames"].values() for b in entry["bits"] if isinstance(b, int))
            instance["connections"][pin] = [between]
            module["netnames"][f"{name}_driven"] = {"hide_name": 0, "bits": [between], "attributes": {}}
            module["cells"][f"{name}_driver"] = {
                "hide_name": 0, "type": chosen.name, "parameters": {}, "attributes": {},
                "port_directions": {chosen.inputs[0]: "input", chosen.outputs[0]: "output"},
                "connections": {chosen.inputs[0]: [between], chosen.outputs[0]: [bit]},
            }  # fmt: skip
            done = "added"
    return done


def _slew(cell: Cell, load: float, library: Library, driver: Cell | None = None) -> float:
    """Slowest edge at a cell's outputs, ns; 0 for a constant. With a driver, at the edges that it gives the cell."""
    at = library.clock_slew_ns if cell.flip_flop else library.input_slew_ns
    if driver is not None:
        at = max(at, _slew(driver, cell.pins[cell.inputs[0]].capacitance, library))
    return max((float(t.lookup(at, load)) for arc in cell.timing for t in arc.slew.values()), default=0.0)


def _strong_enough(cells: list[Cell], load: float, limit: float, library: Library, driver: Cell | None = None) -> Cell:
    """The smallest cell whose edges are fast enough; if none is, the strongest."""
    return min(cells, key=lambda c: (max(_slew(c, load, library, driver), limit), c.area, c.name))


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
