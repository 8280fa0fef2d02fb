"""Modules that are described once and instantiated many times.

Amaranth emits every submodule as a module of its own. A component that lists ``parts`` (module name to component)
instead refers to them as instances; the tools convert every part once and join the texts, so that a tile holds one dot
unit however many it instantiates, and mapping works on distinct modules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast, runtime_checkable

from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, Signal, Value
from amaranth.lib import wiring

Parts = dict[str, wiring.Component]


@runtime_checkable
class HasParts(Protocol):
    """What a component with parts offers."""

    parts: Parts


def all_parts(component: wiring.Component) -> Parts:
    """The parts of a component and of its parts, every module name once, those that others refer to first."""
    parts: Parts = {}
    for name, part in component.parts.items() if isinstance(component, HasParts) else ():
        parts |= all_parts(part) | {name: part}
    return parts


def instantiate(m: Module, owner: wiring.Component, module: str, name: str, **ports: Value) -> None:
    """Add part ``module`` of ``owner`` as an instance called ``name``; a port ``clk`` is connected by itself."""
    part = cast(HasParts, owner).parts[module]
    connections: dict[str, Value] = {}
    for port, member in part.signature.members.items():
        prefix = "o" if member.flow is wiring.Out else "i"
        connections[f"{prefix}_{port}"] = ClockSignal() if port == "clk" else ports.pop(port)
    assert not ports, f"{module} has no ports {sorted(ports)}"
    m.submodules[name] = Instance(module, **connections)


def clocked(m: Module, clk: Value) -> None:
    """Let the port ``clk`` be the clock of a module without reset."""
    m.domains.sync = ClockDomain(reset_less=True)
    m.d.comb += ClockSignal().eq(clk)


class Cuts:
    """Pipeline registers of a module, by the names of the places where they may stand.

    Parameters
    ----------
    places : iterable of str
        Every place, in the order of the data.
    chosen : str
        Those that have a register, separated by ``+``; ``none`` or empty: none.

    Raises
    ------
    ValueError
        For a place that does not exist, or is named twice.
    """

    def __init__(self, places: Iterable[str], chosen: str):
        self.places = tuple(places)
        self.chosen = () if chosen in ("", "none") else tuple(str(chosen).split("+"))
        for place in self.chosen:
            if place not in self.places:
                raise ValueError(f"pipeline must be none or places among {'+'.join(self.places)}, got {place!r}")
            if self.chosen.count(place) > 1:
                raise ValueError(f"pipeline must name a place once, got {chosen!r}")

    def count(self, *places: str) -> int:
        """Registers at these places; without arguments, at all."""
        return sum(place in self.chosen for place in places or self.places)

    def register(self, m: Module, place: str, value: Value, name: str) -> Value:
        """The value behind ``place``: registered if there is a cut. The data path needs no reset."""
        if place not in self.chosen:
            return value
        return registered(m, value, f"{name}_{place}")

    def delay(self, m: Module, value: Value, name: str, *places: str) -> Value:
        """The value behind several places."""
        for place in places:
            value = self.register(m, place, value, name)
        return value


def registered(m: Module, value: Value, name: str) -> Signal:
    """A register of ``value`` without reset."""
    register = Signal(len(value), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register
