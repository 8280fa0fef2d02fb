"""Modules that are described once and instantiated many times.

Amaranth emits every submodule as a module of its own. A component that lists ``parts`` (module name to component)
instead refers to them as instances; the tools convert every part once and join the texts, so that a tile holds one dot
unit however many it instantiates, and mapping works on distinct modules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast, runtime_checkable

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring

Parts = dict[str, wiring.Component]
#: Attribute of a signal with a line that says what it holds, for readers of the Verilog.
COMMENT = "hwsim_comment"


@runtime_checkable
class HasParts(Protocol):
    """A component that instantiates parts: components that become modules of their own."""

    parts: Parts


def all_parts(component: wiring.Component) -> Parts:
    """All parts below a component, by module name, each before the parts that instantiate it."""
    parts: Parts = {}
    for name, part in component.parts.items() if isinstance(component, HasParts) else ():
        parts |= all_parts(part) | {name: part}
    return parts


def instantiate(m: Module, owner: wiring.Component, module: str, name: str, **ports: Value) -> None:
    """Add part ``module`` of ``owner`` as instance ``name``; a port ``clk`` gets ``m``'s clock."""
    part = cast(HasParts, owner).parts[module]
    connections: dict[str, Value] = {}
    for port, member in part.signature.members.items():
        prefix = "o" if member.flow is wiring.Out else "i"
        connections[f"{prefix}_{port}"] = ClockSignal() if port == "clk" else ports.pop(port)
    assert not ports, f"{module} has no ports {sorted(ports)}"
    m.submodules[name] = Instance(module, **connections)


def clocked(m: Module, clk: Value) -> None:
    """Make the port ``clk`` the clock of ``m``, a module without reset."""
    m.domains.sync = ClockDomain(reset_less=True)
    m.d.comb += ClockSignal().eq(clk)


class Pipeline:
    """Pipeline of a module: the named places of its data path where registers may stand, and which of them have one.

    Parameters
    ----------
    places : iterable of str
        Every place, in the order in which data flows.
    chosen : str
        Places with a register, separated by ``+``; ``none`` or empty for no registers.

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
        """Number of registers at ``places``; without arguments, in the whole pipeline."""
        return sum(place in self.chosen for place in places or self.places)

    def position(self, place: str) -> int:
        """Number of registers in front of ``place``, those at the inputs included."""
        return 1 + sum(before in self.chosen for before in self.places[: self.places.index(place)])


class Registers:
    """The registers of one module, without reset. An instruction loads them one after the other; in between they hold.

    Parameters
    ----------
    m : Module
    pipe : Pipeline
    enable : Value
        Bit 0 loads the registers at the inputs, bit i those at the i-th place that has any.
    """

    def __init__(self, m: Module, pipe: Pipeline, enable: Value):
        self._m, self._pipe, self._enable = m, pipe, enable

    def input(self, value: Value, name: str) -> Signal:
        """``value`` behind the registers at the inputs."""
        return registered(self._m, value, name, self._enable[0])

    def output(self, value: Value, name: str) -> Signal:
        """``value`` behind the registers at the outputs, which the last bit of ``enable`` loads."""
        return registered(self._m, value, name, self._enable[-1])

    def at(self, place: str, value: Value, name: str) -> Value:
        """``value`` behind ``place``: through a register, if ``place`` has one; else itself."""
        if place not in self._pipe.chosen:
            return value
        return registered(self._m, value, f"{name}_{place}", self._enable[self._pipe.position(place)])

    def delay(self, value: Value, name: str, *places: str) -> Value:
        """``value`` behind several places, delayed by the registers that they have."""
        for place in places:
            value = self.at(place, value, name)
        return value


def registered(m: Module, value: Value, name: str, enable: Value | None = None) -> Signal:
    """``value`` one cycle later, from a register without reset; where ``enable`` is 0, it holds what it has."""
    register = Signal(len(value), name=name, reset_less=True)
    with m.If(Const(1, 1) if enable is None else enable):
        m.d.sync += register.eq(value)
    return register
