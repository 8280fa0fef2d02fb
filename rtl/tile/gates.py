"""Networks of named gates, written as text: what :mod:`hwsim.synthesis.product_search` finds and the RTL holds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.rtl.arith import ADDERS, Columns

#: Gates by name: their functions, of amaranth's values as of integers with ``~``, ``&``, ``|`` and ``^``.
GATES: dict[str, Callable[..., Value]] = {
    "inv": lambda a: ~a,
    "nand2": lambda a, b: ~(a & b),
    "nor2": lambda a, b: ~(a | b),
    "and2": lambda a, b: a & b,
    "or2": lambda a, b: a | b,
    "xor2": lambda a, b: a ^ b,
    "xnor2": lambda a, b: ~(a ^ b),
    "nand3": lambda a, b, c: ~(a & b & c),
    "nor3": lambda a, b, c: ~(a | b | c),
    "aoi21": lambda a, b, c: ~((a & b) | c),
    "oai21": lambda a, b, c: ~((a | b) & c),
    "aoi22": lambda a, b, c, d: ~((a & b) | (c & d)),
    "oai22": lambda a, b, c, d: ~((a | b) & (c | d)),
    "ao21": lambda a, b, c: (a & b) | c,
    "oa21": lambda a, b, c: (a | b) & c,
    "maji": lambda a, b, c: ~((a & b) | (c & (a | b))),
    "and3": lambda a, b, c: a & b & c,
    "or3": lambda a, b, c: a | b | c,
    "aoi211": lambda a, b, c, d: ~((a & b) | c | d),
    "oai211": lambda a, b, c, d: ~((a | b) & c & d),
    "nand4": lambda a, b, c, d: ~(a & b & c & d),
    "nor4": lambda a, b, c, d: ~(a | b | c | d),
    "aoai211": lambda a, b, c, d: ~(((a & b) | c) & d),
    "oaoi211": lambda a, b, c, d: ~(((a | b) & c) | d),
    "aoi31": lambda a, b, c, d: ~((a & b & c) | d),
    "oai31": lambda a, b, c, d: ~((a | b | c) & d),
}
_PINS = "abcd"
#: Gates that are never kept: mapping absorbs inverters, and finds exclusive ors itself.
_LEFT = ("inv", "xor2", "xnor2")


def arity(gate: str) -> int:
    """Inputs of a gate."""
    return GATES[gate].__code__.co_argcount


class NetworkGate(wiring.Component):
    """A gate of a network, combinational: inputs ``a``, ``b``, ... and output ``y``, 1 bit each.

    Parameters
    ----------
    gate : str
        Its name in :data:`GATES`.
    """

    def __init__(self, gate: str) -> None:
        super().__init__({pin: In(1) for pin in _PINS[: arity(gate)]} | {"y": Out(1)})
        self.gate = gate

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.y.eq(GATES[self.gate](*(getattr(self, pin) for pin in _PINS[: arity(self.gate)])))
        return m


#: Components that the RTL instantiates where mapping shall use the library's cells, by the names of their modules.
CELLS: dict[str, Callable[[], wiring.Component]] = ADDERS | {
    gate: functools.partial(NetworkGate, gate) for gate in GATES
}
#: A gate of a network: its name, the gate's, and the names of its inputs.
Gate = tuple[str, str, tuple[str, ...]]


def parse(text: str) -> tuple[list[Gate], list[str]]:
    """Gates and columns of a network.

    Parameters
    ----------
    text : str
        Lines ``n1 = nand2 a0 b3``, inputs before what they drive: ``a0`` is bit 0 of operand A, ``b3`` bit 3 of B. The
        last line, ``columns n4 ~n1 ...``, has the bit of every weight, from 1 on; ``~`` inverts it.
    """
    *lines, last = text.strip().splitlines()
    gates = [(name, gate, tuple(inputs)) for name, _, gate, *inputs in map(str.split, lines)]
    return gates, last.split()[1:]


@dataclass(frozen=True)
class GateNetwork:
    """Adds a network of gates to a module when called; see :class:`hwsim.rtl.tile.products.Product`.

    Attributes
    ----------
    text : str
        See :func:`parse`.
    keep : bool
        Whether most gates are instances of :class:`NetworkGate`, which become the library's cells where it has them.
    """

    text: str
    keep: bool = False

    def __call__(self, m: Module, a: Value, b: Value, name: str) -> Columns:
        """The columns of the product of two codes; signals and instances are called after ``name``."""
        gates, bits = parse(self.text)
        values: dict[str, Value] = {}
        for side, code in (("a", a), ("b", b)):
            values |= {f"{side}{i}": bit for i, bit in enumerate(code)}
        for signal, gate, inputs in gates:
            values[signal] = Signal(name=f"{name}_{signal}")
            operands = [values[i] for i in inputs]
            if self.keep and gate not in _LEFT:
                pins = {f"i_{pin}": value for pin, value in zip(_PINS, operands, strict=False)}
                m.submodules[f"{name}_{signal}_{gate}"] = Instance(gate, **pins, o_y=values[signal])
            else:
                m.d.comb += values[signal].eq(GATES[gate](*operands))
        return [[~values[bit[1:]] if bit[0] == "~" else values[bit]] for bit in bits]
