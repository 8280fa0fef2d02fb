"""Cells strong enough for what lies beyond their module.

Mapped module by module, a design has drivers that were sized for a default load, although their net goes on into other
modules: an operand goes to all dot units of its row. Here every such net gets its true load, and where its edges would
be too slow a stronger cell or a buffer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from hwsim.cells import Cell
from hwsim.library import Library

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
            buffers = [c for c in library.usable_cells if c.computes(0b10, 1)]
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
