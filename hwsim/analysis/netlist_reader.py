"""Read the JSON that Yosys writes of a mapped design, as a :class:`hwsim.analysis.netlist.Netlist`."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.analysis.netlist import Group, Netlist, NetlistError
from hwsim.technology.library import Library


@dataclass(frozen=True)
class _Module:
    """A module flattened with all its submodules; nets are numbered from 0, fields are as in :class:`Netlist`."""

    net_names: np.ndarray
    net_scopes: np.ndarray
    scopes: list[str]
    scope_modules: list[str]
    ports: dict[str, list[int]]
    groups: dict[str, Group]
    constants: dict[int, int]


def read(path: Path, top: str, library: Library) -> Netlist:
    """Read a mapped netlist, flat or hierarchical.

    Raises
    ------
    NetlistError
        If a cell is not in the library or has no function, a net has no driver or two, or cells form a loop.
    """
    return build(json.loads(path.read_text())["modules"], top, library)


def build(modules: dict[str, Any], top: str, library: Library) -> Netlist:
    """Build a netlist from the ``modules`` of Yosys' JSON; errors as :func:`read`."""
    module = _Reader(modules, library).module(top)
    directions = {name: port["direction"] for name, port in modules[top]["ports"].items()}
    return Netlist(
        top,
        library,
        module.net_names,
        module.net_scopes,
        module.scopes,
        module.scope_modules,
        {name: bits for name, bits in module.ports.items() if directions[name] == "input"},
        {name: bits for name, bits in module.ports.items() if directions[name] != "input"},
        list(module.groups.values()),
        module.constants,
    )


class _Reader:
    """Flattens modules, the submodules first."""

    def __init__(self, modules: dict[str, Any], library: Library):
        self.modules, self.library = modules, library
        self._flattened: dict[str, _Module] = {}

    def module(self, name: str) -> _Module:
        """The module called ``name``; flattened once, however often it is instantiated."""
        if name not in self._flattened:
            self._flattened[name] = self._make(name)
        return self._flattened[name]

    def _make(self, top: str) -> _Module:
        source = self.modules[top]
        nets = _Nets(top)
        ports = {name: [nets.number(b) for b in port["bits"]] for name, port in source["ports"].items()}
        leaves: dict[str, list[tuple[str, dict[str, int]]]] = defaultdict(list)
        children: list[tuple[str, _Module, dict[str, list[int]]]] = []
        for name, cell in source["cells"].items():
            kind, connections = cell["type"], cell["connections"]
            if kind in self.library.cells:
                leaves[kind].append((name, {pin: nets.number(bits[0]) for pin, bits in connections.items() if bits}))
            elif kind in self.modules and not int(self.modules[kind].get("attributes", {}).get("blackbox", "0"), 2):
                at = {port: [nets.number(b) for b in bits] for port, bits in connections.items()}
                children.append((name, self.module(kind), at))
            else:
                raise NetlistError(f"{top}: cell {name} is a {kind}, which {self.library.name} does not have")
        names = nets.names(source["netnames"])
        parts: dict[str, list[Group]] = {kind: [self._group(kind, cells)] for kind, cells in leaves.items()}
        all_names, all_scopes = [names], [np.zeros(len(names), np.int32)]
        scopes, scope_modules, count = [""], [top], len(names)
        for name, child, at in children:
            inside = nets.connect(child.ports, at, len(child.net_names))
            # Nets that reach no port of the child are new here.
            fresh = np.flatnonzero(inside < 0)
            inside[fresh] = count + np.arange(len(fresh))
            count += len(fresh)
            all_names.append(child.net_names[fresh])
            all_scopes.append(child.net_scopes[fresh] + len(scopes))
            nets.constants |= {int(inside[net]): value for net, value in child.constants.items()}
            # Unconnected pins have net -1, which indexes the last element: it must stay -1.
            inside = np.append(inside, -1).astype(np.int32)
            for kind, group in child.groups.items():
                pins = {pin: inside[n] for pin, n in group.pins.items()}
                moved = Group(group.cell, group.names, (group.scopes + len(scopes)).astype(np.int32), pins)
                parts.setdefault(kind, []).append(moved)
            scopes += [f"{name}.{scope}" if scope else name for scope in child.scopes]
            scope_modules += child.scope_modules
        merged = {kind: _joined(groups) for kind, groups in parts.items()}
        module = _Module(
            np.concatenate(all_names), np.concatenate(all_scopes), scopes, scope_modules, ports, merged, nets.constants
        )  # fmt: skip
        return nets.joined(module)

    def _group(self, kind: str, cells: list[tuple[str, dict[str, int]]]) -> Group:
        cell = self.library.cells[kind]
        names = np.array([name for name, _ in cells], object)
        pins = {pin: np.array([at.get(pin, -1) for _, at in cells], np.int32) for pin in cell.pins}
        for pin in cell.inputs:
            if (pins[pin] < 0).any():
                raise NetlistError(f"pin {pin} of {names[np.argmin(pins[pin])]}, a {kind}, is not connected")
        return Group(cell, names, np.zeros(len(cells), np.int32), pins)


def _joined(groups: list[Group]) -> Group:
    """Groups of one library cell as one group."""
    first = groups[0]
    return first if len(groups) == 1 else Group(
        first.cell,
        np.concatenate([g.names for g in groups]),
        np.concatenate([g.scopes for g in groups]),
        {pin: np.concatenate([g.pins[pin] for g in groups]) for pin in first.pins},
    )  # fmt: skip


class _Nets:
    """Numbers of the nets of one module, and the pairs of them that its submodules short together."""

    def __init__(self, top: str):
        self.top = top
        self._numbers: dict[int | str, int] = {}
        self.constants: dict[int, int] = {}
        self._same: list[tuple[int, int]] = []

    def number(self, bit: int | str) -> int:
        """Number of the net that Yosys' JSON gives as a bit: an integer, or ``"0"`` or ``"1"``."""
        if bit not in self._numbers:
            if isinstance(bit, str):
                if bit not in "01":
                    raise NetlistError(f"{self.top}: a pin is tied to {bit!r}, expected a net, 0 or 1")
                self.constants[len(self._numbers)] = int(bit)
            self._numbers[bit] = len(self._numbers)
        return self._numbers[bit]

    def names(self, netnames: dict[str, Any]) -> np.ndarray:
        """Names of the nets, object [nets]: public names before Yosys' own, and of several the first alphabetically."""
        by_number: dict[int, str] = {}
        for name, entry in sorted(netnames.items(), key=lambda item: (item[1]["hide_name"], item[0])):
            for position, bit in enumerate(entry["bits"]):
                if bit in self._numbers:
                    by_number.setdefault(self._numbers[bit], name if len(entry["bits"]) == 1 else f"{name}[{position}]")
        names = [
            f"constant_{bit}" if isinstance(bit, str) else by_number.get(number, f"net_{bit}")
            for bit, number in self._numbers.items()
        ]
        return np.array(names, object)

    def connect(self, ports: dict[str, list[int]], at: dict[str, list[int]], count: int) -> np.ndarray:
        """For every net of a submodule the net of this module that it is, -1 if it reaches no port; int64 [count].

        ``ports`` are the nets of the submodule at its ports, ``at`` those of this module, ``count`` is the number of
        nets of the submodule.
        """
        inside = np.full(count, -1)
        for port, nets in at.items():
            for net, outside in zip(ports[port], nets, strict=bool(nets)):
                if inside[net] >= 0 and inside[net] != outside:
                    self._same.append((int(inside[net]), outside))
                else:
                    inside[net] = outside
        return inside

    def joined(self, module: _Module) -> _Module:
        """The module, nets merged that a submodule shorts together by wiring an input port through to an output."""
        if not self._same:
            return module
        to = np.arange(len(module.net_names))
        for a, b in self._same:
            to[to == to[b]] = to[a]
        kept, to = np.unique(to, return_inverse=True)
        outside = np.append(to, -1).astype(np.int32)
        groups = {
            kind: Group(g.cell, g.names, g.scopes, {pin: outside[n] for pin, n in g.pins.items()})
            for kind, g in module.groups.items()
        }
        return _Module(
            module.net_names[kept], module.net_scopes[kept], module.scopes, module.scope_modules,
            {name: [int(to[n]) for n in bits] for name, bits in module.ports.items()},
            groups, {int(to[n]): value for n, value in module.constants.items()},
        )  # fmt: skip
