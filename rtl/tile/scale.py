"""Product of block scales and the scaled term."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import MiniFloat
from hwsim.rtl.arith import add_constant, columns, compress
from hwsim.rtl.tile.stage import Stage


class ScaledTerm(wiring.Component):
    """A block's sum times the significands of both scales, in the shape that the alignment takes.

    Combinational. ``q`` is the product, its magnitude inverted where the sum is negative: that is the two's complement
    product less one, which the tree of the multiplier subtracts along with its own constants.

    Parameters
    ----------
    total_width : int
        Bits of the sum.
    magnitude_width : int
        Bits of the product's magnitude.
    scale : MiniFloat
        Format of both scales. Without fraction bits there is nothing to multiply.

    Ports
    -----
    total : in
        Two's complement.
    a_significand, b_significand : in
        Of the scales; only with fraction bits.
    q : out, ``magnitude_width + 1`` bits
    """

    stage = Stage.SCALE

    def __init__(self, total_width: int, magnitude_width: int, scale: MiniFloat):
        ports = {"total": In(total_width), "q": Out(magnitude_width + 1)}
        if scale.fraction_width:
            ports |= {"a_significand": In(scale.significand_width), "b_significand": In(scale.significand_width)}
        super().__init__(ports)
        self.scale = scale

    def elaborate(self, platform) -> Module:
        m = Module()
        sign = self.total[-1]
        if not self.scale.fraction_width:
            m.d.comb += self.q.eq(self.total.as_signed() - sign)
            return m
        scale = Signal(2 * self.scale.significand_width)
        m.d.comb += scale.eq(self.a_significand * self.b_significand)
        bits = columns(len(self.q))
        _multiply(bits, self.total, scale)
        # Less one where negative: plus one where not, less one always.
        bits[0].append(~sign)
        add_constant(bits, -1)
        low, high = compress(m, bits, "product")
        m.d.comb += self.q.eq(low + high)
        return m


def _multiply(to: list[list[Value]], signed: Value, unsigned: Value) -> None:
    """Partial products of a two's complement and an unsigned number (Baugh and Wooley)."""
    top = len(signed) - 1
    for i in range(len(unsigned)):
        for j in range(top):
            if i + j < len(to):
                to[i + j].append(signed[j] & unsigned[i])
        # The sign's row counts negative: its complement, and a constant.
        if i + top < len(to):
            to[i + top].append(~(signed[top] & unsigned[i]))
            add_constant(to, -(1 << (i + top)))


def significand(code: Value, scale: MiniFloat) -> Value:
    """Significand of a scale's magnitude code, hidden bit on top."""
    return Cat(code[: scale.fraction_width], code[scale.fraction_width : scale.magnitude_width].any())


def exponent_field(code: Value, scale: MiniFloat) -> Value:
    """Exponent field of a magnitude code, that of a subnormal being 1."""
    field = code[scale.fraction_width : scale.magnitude_width]
    if not scale.has_subnormals:
        return field
    return Cat(field[0] | ~field.any(), field[1:])
