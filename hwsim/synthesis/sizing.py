"""Drive strengths that module-by-module mapping cannot choose: between modules, and along a critical path.

When a design is mapped module by module, drivers are sized for a default load, although their nets may go on into other
modules: an operand, for instance, goes to all dot-product units of its row. :func:`strengthen` finds the true load of
every such net and, where its edges would be too slow, puts in a stronger cell, a buffer or, where one buffer is not
strong enough, several behind one that share what the net drives. :func:`resize` chooses stronger cells for a path.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Any

from hwsim.analysis.timing import PathStep
from hwsim.synthesis.json_module import Additions
from hwsim.technology.cells import BUFFER, Cell
from hwsim.technology.library import Library

#: Slowest slew allowed on nets between modules, as a multiple of ``Library.input_slew_ns`` (fanout of 4).
SLOWEST = 2.0
_Load = tuple[float, int]  # capacitance of input pins in fF, and number of these pins


@dataclass(frozen=True)
class Strengthened:
    """How many cells of the whole design were replaced by stronger ones, and how many buffers were added."""

    replaced: int
    added: int


def strengthen(modules: dict[str, Any], top: str, library: Library, wire_load: bool) -> Strengthened:
    """Make the drivers of nets between modules strong enough; this changes a mapped, hierarchical design in place.

    Parameters
    ----------
    modules : dict
        The ``modules`` of Yosys' JSON.
    top : str
    library : Library
    wire_load : bool
        Whether wires have capacitance.
    """
    order = _children_first(modules, top, library)
    # Per module: ``inside`` is the load of every net in the module and below, ``outside`` the load of its outputs
    # in its parents, ``copies`` the number of its instances in the whole design.
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
            change = _strengthen(module, name, cell, crossing, inside, outside[name], modules, library, wire_load)
            replaced += copies[name] * change.replaced
            added += copies[name] * change.added
    return Strengthened(replaced, added)


def _children_first(modules: dict[str, Any], top: str, library: Library) -> list[str]:
    """Names of all modules of a design, each after those that it instantiates."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        for cell in modules[name]["cells"].values():
            if cell["type"] not in library.cells and cell["type"] not in order:
                visit(cell["type"])
        order[name] = None

    visit(top)
    return list(order)


def _sinks(
    module: dict[str, Any], library: Library, modules: dict[str, Any], inside: dict[str, dict[int, _Load]]
) -> dict[int, _Load]:
    """Load of every net of a module: the input pins on it, in the module and in those below."""
    loads: dict[int, _Load] = defaultdict(lambda: (0.0, 0))
    for cell in module["cells"].values():
        leaf = library.cells.get(cell["type"])
        for port, bits in cell["connections"].items():
            if leaf:
                pin = leaf.pins[port]
                added = [(pin.capacitance, 1)] if pin.direction == "input" else []
            else:
                child = modules[cell["type"]]["ports"][port]
                added = [inside[cell["type"]].get(b, (0.0, 0)) for b in child["bits"] if child["direction"] == "input"]
            for bit, load in zip(bits, added, strict=False):
                loads[bit] = loads[bit][0] + load[0], loads[bit][1] + load[1]
    return loads


def _pass_down(
    cell: dict[str, Any],
    child: dict[str, Any],
    inside: dict[int, _Load],
    outside: dict[int, _Load],
    below: dict[int, _Load],
) -> None:
    """Note in ``below`` the load that a module's outputs drive in the parent of one instance.

    Of several instances the largest load counts, since all share one module. ``inside`` and ``outside`` are the loads
    of the parent's nets.
    """
    for port, bits in cell["connections"].items():
        if child["ports"][port]["direction"] == "output":
            for bit, within in zip(bits, child["ports"][port]["bits"], strict=bool(bits)):
                near, far = inside.get(bit, (0.0, 0)), outside.get(bit, (0.0, 0))
                below[within] = max(below.get(within, (0.0, 0)), (near[0] + far[0], near[1] + far[1]))


def _crossing(module: dict[str, Any], outside: dict[int, _Load], parts: Container[str]) -> set[int]:
    """Nets that cross the border of a module: at instances of ``parts``, or at output ports that drive a load."""
    nets = {bit for bit, load in outside.items() if load[1]}
    for cell in module["cells"].values():
        if cell["type"] in parts:
            nets.update(bit for bits in cell["connections"].values() for bit in bits)
    return nets


def _strengthen(
    module: dict[str, Any],
    module_name: str,
    cell: tuple[str, dict[str, Any]],
    crossing: set[int],
    inside: dict[str, dict[int, _Load]],
    outside: dict[int, _Load],
    modules: dict[str, Any],
    library: Library,
    wire_load: bool,
) -> Strengthened:
    """Make one cell strong enough for its nets in ``crossing``."""
    name, instance = cell
    leaf = library.cells.get(instance["type"])
    replaced = added = 0
    within = inside[module_name]
    for pin in leaf.outputs if leaf else ():
        for bit in instance["connections"].get(pin, [])[:1]:
            if bit not in crossing:
                continue
            near, far = within.get(bit, (0.0, 0)), outside.get(bit, (0.0, 0))
            load = _with_wires((near[0] + far[0], near[1] + far[1]), library, wire_load)
            assert leaf is not None
            limit = SLOWEST * library.input_slew_ns
            if _slew(leaf, load, library) <= limit:
                continue
            # Inverters and buffers are replaced; all other cells get a buffer behind them.
            family = library.stand_ins[leaf.name] if len(leaf.inputs) == 1 else []
            if family:
                chosen = _strong_enough(family, load, limit, library)
                replaced += chosen is not leaf
                instance["type"] = chosen.name
                continue
            buffers = [c for c in library.usable_cells if c.computes(BUFFER, 1)]
            chosen = _strong_enough(buffers, load, limit, library, leaf)
            additions = Additions(module)
            between = additions.net(f"{name}_driven", hidden=False)
            instance["connections"][pin] = [between]
            nets = [bit]
            if _slew(chosen, load, library, leaf) > limit:
                sinks = _sinks_of(module, bit, library, modules, inside)
                nets = _shared(additions, name, bit, sinks, far, chosen, limit, library, wire_load)
                # One more buffer in front of those that share the net.
                tree = (len(nets) * chosen.pins[chosen.inputs[0]].capacitance, len(nets))
                root = _strong_enough(buffers, _with_wires(tree, library, wire_load), limit, library, leaf)
                if len(nets) > 1:
                    given, between = between, additions.net(f"{name}_branches", hidden=False)
                    pins = {root.inputs[0]: given}, {root.outputs[0]: between}
                    additions.cell(f"{name}_root", root.name, *pins, hidden=False)
                    added += 1
            for number, net in enumerate(nets):
                suffix = f"_{number}" if number else ""
                pins = {chosen.inputs[0]: between}, {chosen.outputs[0]: net}
                additions.cell(f"{name}_driver{suffix}", chosen.name, *pins, hidden=False)
            added += len(nets)
    return Strengthened(replaced, added)


def _with_wires(load: _Load, library: Library, wire_load: bool) -> float:
    """Capacitance of pins and of the wire to them, fF."""
    return load[0] + (library.wire_load.capacitance(load[1]) if wire_load else 0.0)


#: A reader of a net in a module: the connections of its instance, the port, the place in it, and the load behind.
_Sink = tuple[dict[str, list[int]], str, int, _Load]


def _sinks_of(
    module: dict[str, Any], bit: int, library: Library, modules: dict[str, Any], inside: dict[str, dict[int, _Load]]
) -> list[_Sink]:
    """Readers of a net in a module."""
    sinks: list[_Sink] = []
    for cell in module["cells"].values():
        leaf = library.cells.get(cell["type"])
        for port, bits in cell["connections"].items():
            for place, one in enumerate(bits):
                if one != bit:
                    continue
                if leaf and leaf.pins[port].direction == "input":
                    sinks.append((cell["connections"], port, place, (leaf.pins[port].capacitance, 1)))
                elif not leaf and modules[cell["type"]]["ports"][port]["direction"] == "input":
                    below = modules[cell["type"]]["ports"][port]["bits"][place]
                    sinks.append((cell["connections"], port, place, inside[cell["type"]].get(below, (0.0, 0))))
    return sinks


def _shared(
    additions: Additions,
    name: str,
    bit: int,
    sinks: list[_Sink],
    far: _Load,
    buffer: Cell,
    limit: float,
    library: Library,
    wire_load: bool,
) -> list[int]:
    """Divide a net among as many as ``buffer`` needs for fast edges, in place; the net itself stays the first.

    What the net drives outside the module (``far``) stays with it.
    """
    groups: list[tuple[_Load, list[_Sink]]] = [(far, [])]
    for sink in sinks:
        load, members = groups[-1]
        more = load[0] + sink[3][0], load[1] + sink[3][1]
        if members and _slew(buffer, _with_wires(more, library, wire_load), library) > limit:
            groups.append((sink[3], [sink]))
        else:
            groups[-1] = more, [*members, sink]
    nets = [bit]
    for number, (_, members) in enumerate(groups[1:], 1):
        nets.append(additions.net(f"{name}_branch{number}", hidden=False))
        for connections, port, place, _ in members:
            connections[port] = [*connections[port][:place], nets[-1], *connections[port][place + 1 :]]
    return nets


def _slew(cell: Cell, load: float, library: Library, driver: Cell | None = None) -> float:
    """Slowest output slew of a cell in ns; 0 for a tie cell.

    The input slew is the library's default, or the one that ``driver`` gives the cell if that is slower.
    """
    at = library.clock_slew_ns if cell.flip_flop else library.input_slew_ns
    if driver is not None:
        at = max(at, _slew(driver, cell.pins[cell.inputs[0]].capacitance, library))
    return _slowest_edge(cell, at, load)


@functools.lru_cache(1 << 16)
def _slowest_edge(cell: Cell, slew: float, load: float) -> float:
    # A design is looked at again and again while its modules are mapped anew: most loads come back.
    return max((float(t.lookup(slew, load)) for arc in cell.timing for t in arc.slew.values()), default=0.0)


def _strong_enough(cells: list[Cell], load: float, limit: float, library: Library, driver: Cell | None = None) -> Cell:
    """The smallest cell whose edges are fast enough; if none is, the strongest."""
    return min(cells, key=lambda c: (max(_slew(c, load, library, driver), limit), c.area, c.name))


def resize(path: list[PathStep], library: Library, fixed: Container[str]) -> dict[str, str]:
    """Choose stronger cells that make a path faster.

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
    gains: list[tuple[float, int, str]] = []
    for at, step in enumerate(path):
        now = library.cells.get(step.cell)
        if at == 0 or now is None or step.instance in fixed:
            continue
        before = _delay(path, at, now, library)
        for cell in library.stand_ins[now.name]:
            if (gain := before - _delay(path, at, cell, library)) > 0:
                gains.append((gain, at, cell.name))
    chosen: dict[int, str] = {}
    for _, at, name in sorted(gains, reverse=True):
        if not chosen.keys() & {at - 1, at, at + 1}:
            chosen[at] = name
    return {path[at].instance: name for at, name in chosen.items()}


def _delay(path: list[PathStep], at: int, cell: Cell, library: Library) -> float:
    """Delay in ns from the step before ``at`` to the step behind, with ``cell`` in the place of step ``at``."""
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
