"""A block's sum times the significands of its scales: the term; and the fields of scales and elements."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import MiniFloat
from hwsim.rtl.arith import Arithmetic, Sum, add_constant, sized
from hwsim.rtl.tile.stage import Stage


class ScaleProduct(wiring.Component):
    """The product of the significands of two scales: the factor of a term.

    Combinational.

    Parameters
    ----------
    scale : MiniFloat
        Format of both scales, with fraction bits.
    arithmetic : Arithmetic

    Ports
    -----
    a, b : in
        Significands.
    factor : out
    """

    stage = Stage.SCALE

    def __init__(self, scale: MiniFloat, arithmetic: Arithmetic):
        width = scale.significand_width
        super().__init__({"a": In(width), "b": In(width), "factor": Out(2 * width)})
        self.arithmetic = arithmetic

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.arithmetic is Arithmetic.OPERATORS:
            m.d.comb += self.factor.eq(self.a * self.b)
            return m
        product = Sum(len(self.factor), self.arithmetic)
        for i, bit in enumerate(self.b):
            product.add(Cat(Const(0, i), self.a & bit.replicate(len(self.a))))
        m.d.comb += self.factor.eq(product.total(m, "product"))
        return m


class ScaledTerm(wiring.Component):
    """A block's sum times the factor of both scales, in one's complement as the alignment takes it.

    Combinational. Where the product is negative, its one's complement is its two's complement less one; structured, the
    tree of the multiplier subtracts that along with its own constants.

    Parameters
    ----------
    total_width : int
        Bits of the sum.
    magnitude_width : int
        Bits of the product's magnitude.
    scale : MiniFloat
        Format of both scales. Without fraction bits the factor is 1 and nothing is multiplied.
    arithmetic : Arithmetic

    Ports
    -----
    total : in
        Sum of the block, two's complement.
    factor : in
        Product of the scales' significands; only with fraction bits.
    q : out, ``magnitude_width + 1`` bits
        Magnitude, inverted where negative, and the sign above it.
    """

    stage = Stage.SCALE

    def __init__(self, total_width: int, magnitude_width: int, scale: MiniFloat, arithmetic: Arithmetic):
        ports = {"total": In(total_width), "q": Out(magnitude_width + 1)}
        if scale.fraction_width:
            ports["factor"] = In(2 * scale.significand_width)
        super().__init__(ports)
        self.scale, self.arithmetic = scale, arithmetic

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sign = self.total[-1]
        if not self.scale.fraction_width:
            m.d.comb += self.q.eq(self.total.as_signed() - sign)
            return m
        if self.arithmetic is Arithmetic.OPERATORS:
            product = sized(
                m, self.total.as_signed() * self.factor, len(self.q), "product", "The block's term, two's complement"
            )
            m.d.comb += self.q.eq(product - sign)
            return m
        product_sum = Sum(len(self.q), self.arithmetic)
        bits = product_sum.bits
        _multiply(bits, self.total, self.factor)
        # Subtract 1 where negative: -sign = ~sign - 1.
        bits[0].append(~sign)
        add_constant(bits, -1)
        low, high = product_sum.halves(m, "product")
        m.d.comb += self.q.eq(low + high)
        return m


def _multiply(to: list[list[Value]], signed: Value, unsigned: Value) -> None:
    """Add the partial products of a two's complement and an unsigned number to columns (Baugh and Wooley)."""
    top = len(signed) - 1
    for i in range(len(unsigned)):
        for j in range(top):
            if i + j < len(to):
                to[i + j].append(signed[j] & unsigned[i])
        # The sign's row has a negative weight: -bit = ~bit - 1.
        if i + top < len(to):
            to[i + top].append(~(signed[top] & unsigned[i]))
            add_constant(to, -(1 << (i + top)))


def significand(code: Value, scale: MiniFloat) -> Value:
    """Significand of a scale's magnitude code, hidden bit on top."""
    return Cat(code[: scale.fraction_width], code[scale.fraction_width : scale.magnitude_width].any())


def exponent_field(code: Value, scale: MiniFloat) -> Value:
    """Exponent field of a magnitude code; 1 for a subnormal, which has the exponent of the smallest normal number."""
    field = code[scale.fraction_width : scale.magnitude_width]
    if not scale.has_subnormals:
        return field
    return Cat(field[0] | ~field.any(), field[1:])
