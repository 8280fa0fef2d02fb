"""Products of decoded 4-bit operands, and the codes in which the operands come.

One decoder serves a whole row or column of dot units, so its output may be any code that makes the multipliers small.
Each bit of a code is defined by the set of magnitudes for which it is 1. Simulated annealing chose codes and gate
networks together, with the areas of ASAP7's gates as cost: every step kept the products of all magnitudes that occur;
codes that do not occur are don't-cares. The networks have no structure to read. ``hwsim.report mma_choices`` checks
every product and compares their size with arrays of partial products designed by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Signal, Value

from hwsim.rtl.arith import Columns

#: Magnitudes of E2M1 in half units, in the order of its codes.
MAGNITUDES = (0, 1, 2, 3, 4, 6, 8, 12)
MAGNITUDE_WIDTH = 4
#: Bits of a product of two magnitudes, at most 12 * 12.
PRODUCT_WIDTH = 8
#: A code: for each of its bits, the magnitudes that set it.
Code = tuple[frozenset[int], ...]


@dataclass(frozen=True)
class Product:
    """Codes of operands and the product of two.

    Attributes
    ----------
    codes : dict
        Code of the magnitudes of each side, ``a`` and ``b``.
    columns : function of a module, two codes and a name, or None
        The product's bits, by weight; None where the codes are the magnitudes themselves, to be multiplied by ``*``.
    """

    codes: dict[str, Code]
    columns: Callable[[Module, Value, Value, str], Columns] | None

    def width(self, side: str) -> int:
        """Bits of an operand: its code and its sign."""
        return len(self.codes[side]) + 1


_BINARY: Code = tuple(frozenset(n for n in range(1 << MAGNITUDE_WIDTH) if n >> i & 1) for i in range(MAGNITUDE_WIDTH))
#: Magnitudes as they are.
BINARY = Product({"a": _BINARY, "b": _BINARY}, None)


def _wires(m: Module, name: str) -> Callable[[Value], Signal]:
    """Function that drives a new named signal with its argument, so that a shared expression becomes one gate."""
    signals: list[Signal] = []

    def wire(value: Value) -> Signal:
        signals.append(Signal(name=f"{name}_{len(signals)}"))
        m.d.comb += signals[-1].eq(value)
        return signals[-1]

    return wire


_E2M1_A: Code = (
    frozenset({0, 1, 2, 3, 4, 6}),
    frozenset({0, 2, 3, 8}),
    frozenset({12}),
    frozenset({0, 1, 4, 8, 12}),
    frozenset({0, 2, 4, 6, 8, 12}),
)
_E2M1_B: Code = (
    frozenset({0, 1, 4, 6}),
    frozenset({0, 1, 2, 3, 8}),
    frozenset({12}),
    frozenset({0, 1, 4, 8, 12}),
    frozenset({0, 2, 4, 6, 8, 12}),
)


def _e2m1_columns(m: Module, a: Value, b: Value, name: str) -> Columns:
    wire = _wires(m, name)
    n0 = wire(~(a[4] | b[4]))
    n1 = wire(b[3] | a[4])
    n2 = wire(b[4] | a[3])
    n3 = wire(~(n1 ^ n2))
    n4 = wire(~(b[4] | a[1]))
    n5 = wire(~((b[3] | a[3]) & (b[1] | a[4])))
    n6 = wire(~((b[0] | a[1]) & (b[1] | a[0])))
    n7 = wire(~(b[2] & a[2]))
    n8 = wire(~((a[3] & b[4]) | (b[1] & a[0])))
    n9 = wire(~((n6 & n7) | n8))
    n10 = wire(~((n4 | n5) & (n9 | n3)))
    n11 = wire(~(n10 | n0))
    n12 = wire(~((b[0] | a[4]) & (b[3] | a[1])))
    n13 = wire(n12 ^ n8)
    n14 = wire(~(n13 & n3))
    n15 = wire(~((b[0] | a[3]) & (a[0] | b[3])))
    n16 = wire((n1 & a[1]) | b[1])
    n17 = wire(~(n15 ^ n16))
    n18 = wire(~(n17 & n10))
    n19 = wire(~(n13 | n9))
    n20 = wire((n16 & a[0]) | n17)
    n21 = wire(~((b[0] & b[3]) | n20))
    return [[n0], [~n3], [n11], [~n14], [~n18], [n19], [n21], [~n7]]


def e2m1_magnitude(code: Value) -> Value:
    """Magnitude in half units of an operand B in the code of :data:`E2M1`."""
    return Cat(~code[4], ~code[3], ~code[1], code[3] & ~code[0])


#: Products of magnitudes 0, 1, 2, 3, 4, 6, 8, 12.
E2M1 = Product({"a": _E2M1_A, "b": _E2M1_B}, _e2m1_columns)
#: Binary with every bit inverted, the most significant bit first.
_MIXED_CODE: Code = (
    frozenset({0, 1, 2, 3, 4, 5, 6, 7}),
    frozenset({0, 1, 2, 3, 8}),
    frozenset({0, 1, 4, 5, 8, 12}),
    frozenset({0, 2, 4, 6, 8, 12}),
)


def _mixed_columns(m: Module, a: Value, b: Value, name: str) -> Columns:
    wire = _wires(m, name)
    n0 = wire(~(a[3] | b[3]))
    n1 = wire(~((a[3] | b[1]) & (b[3] | a[1])))
    n2 = wire(~(a[2] | b[2]))
    n3 = wire(~((n1 | n0) & n2))
    n4 = wire(~n0)
    n5 = wire(~((b[2] | a[3]) & (b[3] | a[2])))
    n6 = wire(~((n3 | n4) & n5))
    n7 = wire(~((b[2] | a[0]) & (b[0] | a[2])))
    n8 = wire(b[1] | a[1])
    n9 = wire(~(n7 ^ n8))
    n10 = wire(b[0] | a[0])
    n11 = wire(~((a[2] | b[1]) & (b[3] | a[0])))
    n12 = wire(~((a[1] | b[2]) & (b[0] | a[3])))
    n13 = wire(~((n11 & n12) | (n0 & (n11 | n12))))
    n14 = wire(~((n9 & n10) | (n8 & n13)))
    n15 = wire((n8 | n4) & n3)
    n16 = wire(~((n14 | n15) & (n2 | n1)))
    n17 = wire(~((n13 | n0) & (n12 | n11)))
    n18 = wire(n17 ^ n15)
    n19 = wire(~((n10 & n8) | n9))
    n20 = wire(~((n19 & n1) | (n13 & n9)))
    n21 = wire(~((n17 | n3) & n20))
    n22 = wire((b[0] | a[1]) & n13)
    n23 = wire((n22 & b[1]) | n14)
    n24 = wire(~((n22 & a[0]) | n23))
    n25 = wire(~(n10 | n8))
    return [[n0], [~n6], [~n16], [n18], [n21], [n24], [n19], [n25]]


#: Products of magnitudes 0 to 8 and 12: those of E2M1 in half units, and the integers of E1M2.
MIXED = Product({"a": _MIXED_CODE, "b": _MIXED_CODE}, _mixed_columns)
