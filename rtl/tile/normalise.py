"""Normalisation and the one rounding of an accumulation step."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.rtl.arith import any_bit, leading_zeros, saturated, shift_left, shift_right, sized
from hwsim.rtl.hierarchy import clocked, registered
from hwsim.rtl.tile.align import FP32_BIAS, FP32_FRACTION, FP32_WIDTH, TermShape, sum_width
from hwsim.rtl.tile.stage import Stage

CANONICAL_NAN = 0x7FC00000
ROUNDINGS = ("rz", "rne")
#: Bits of a right shift: 25 and more leave nothing.
LOWER_WIDTH = 5


class Normalise(wiring.Component):
    """The aligned sum as FP32: leading one to the top, cut or rounded, subnormals, overflow and special values.

    Combinational, or with a register behind magnitude and leading zeros (``registered``: latency 1).

    Parameters
    ----------
    shape : TermShape
    fraction_bits, result_bits : int
    rounding : str
        ``rz`` (cut towards zero) or ``rne`` (to nearest, ties to even).
    registered : bool

    Ports
    -----
    clk : in, 1 bit; only with ``registered``
    total : in
        Two's complement, in units of ``2**(largest - common bias - fraction_bits)``.
    exponent : in
        Two's complement: the exponent field of a sum with its leading one at the top, see :meth:`prepare`.
    limit : in
        The largest shift that leaves a normal number; only if results of terms may be subnormal.
    lower : in
        How far even the top of the sum lies below the normal numbers; only with ``limit``.
    floats : in, 1 bit; only without ``limit``
        Whether the sum is to be normalised; else it is a subnormal C, in its place already.
    nan, infinite, infinity_sign : in, 1 bit
        The result is NaN; or else infinite.
    d : out, 32 bits
        FP32; zero is +0.
    """

    stage = Stage.NORMALISE

    def __init__(self, shape: TermShape, fraction_bits: int, result_bits: int, rounding: str, registered: bool = False):
        # Where the result of terms may be subnormal, the shift must stop at the smallest exponent.
        self.may_underflow = shape.may_underflow(fraction_bits)
        width = sum_width(shape.terms, fraction_bits) - 1
        self.shift_width = width.bit_length()
        super().__init__(({"clk": In(1)} if registered else {}) | {
            "total": In(width + 1),
            "exponent": In(shape.common_width + 2),
            **({"limit": In(self.shift_width), "lower": In(LOWER_WIDTH)} if self.may_underflow else {"floats": In(1)}),
            "nan": In(1),
            "infinite": In(1),
            "infinity_sign": In(1),
            "d": Out(FP32_WIDTH),
        })  # fmt: skip
        self.shape, self.fraction_bits, self.result_bits = shape, fraction_bits, result_bits
        self.rounding, self.registered = rounding, registered
        # The last kept place may lie below that of FP32's subnormals only if it is counted from the leading one.
        self.masked = result_bits < FP32_FRACTION and (self.may_underflow or result_bits < fraction_bits)
        if self.masked and rounding == "rne":
            raise ValueError(
                f"rounding rne needs result_bits {FP32_FRACTION}, or at least fraction_bits and no scale that "
                f"reaches subnormals, got result_bits {result_bits} with fraction_bits {fraction_bits}"
            )

    def prepare(self, m: Module, largest: Value) -> dict[str, Value]:
        """Ports ``exponent``, ``limit`` and ``lower``, from the largest exponent: in time while terms are summed."""
        width = len(self.exponent)
        constant = FP32_BIAS - self.shape.common_bias + len(self.total) - 2 - self.fraction_bits
        exponent = sized(m, largest + constant, width, "exponent_at_top")
        if not self.may_underflow:
            return {"exponent": exponent}
        limit = sized(m, exponent - 1, width, "limit_full")
        negative = limit[-1]
        left = saturated(limit[:-1], self.shift_width) & ~negative.replicate(self.shift_width)
        right = sized(m, 1 - exponent, width, "lower_full")
        lower = saturated(right[:-1], LOWER_WIDTH) & negative.replicate(LOWER_WIDTH)
        return {
            "exponent": exponent,
            "limit": sized(m, left, self.shift_width, "limit_clamped"),
            "lower": sized(m, lower, LOWER_WIDTH, "lower_clamped"),
        }

    def elaborate(self, platform) -> Module:
        m = Module()
        if self.registered:
            clocked(m, self.clk)
        sign = self.total[-1]
        # Where the sum is negative its complement: less by one than the magnitude, which the rounding makes up for.
        # The bit below stands for all the ones that would follow.
        below: Value = sign
        inverted = sized(m, self.total[:-1] ^ sign.replicate(len(self.total) - 1), len(self.total) - 1, "inverted")
        if self.masked:
            inverted = self._masked(m, sized(m, inverted + sign, len(inverted), "magnitude"))
            below = Const(0, 1)
        if self.may_underflow:
            # As wide as a significand and the place below it, which moving it right may bring into use.
            inverted = Cat(below.replicate(max(0, FP32_FRACTION + 2 - len(inverted))), inverted)
        zeros = leading_zeros(m, Cat(below, inverted), "zeros")
        held = [
            self._lowered(m, inverted) if self.may_underflow else inverted,
            zeros,
            sign,
            below,
            Const(1, 1) if self.may_underflow else self.floats,
            self.nan,
            self.infinite,
            self.infinity_sign,
            self.exponent,
            self.limit if self.may_underflow else Const(0, 1),
            self._tail(m, inverted, below) if self.may_underflow else below,
        ]
        if self.registered:
            held = [registered(m, value, f"held_{i}") for i, value in enumerate(held)]
        inverted, zeros, sign, below, floats, nan, infinite, infinity_sign, at_top, limit, tail = held
        shift = self._shift(m, zeros, floats, limit)
        exponent = Signal(signed(len(self.exponent)))
        m.d.comb += exponent.eq((at_top - shift).as_signed())
        normal = shift_left(m, Cat(tail, inverted), shift, "normal", below)
        number, nonzero = self._rounded(m, normal, exponent, below)
        is_infinite = infinite | ((exponent >= 255) & nonzero)
        result = Cat(number[: FP32_WIDTH - 1], sign & nonzero)
        infinity = Cat(Const(0, FP32_FRACTION), Const(255, 8), Mux(infinite, infinity_sign, sign))
        m.d.comb += self.d.eq(Mux(nan, CANONICAL_NAN, Mux(is_infinite, infinity, result)))
        return m

    def _masked(self, m: Module, magnitude: Value) -> Value:
        """The magnitude with ``result_bits`` below its leading one."""
        width = len(magnitude)
        above: list[Value] = [magnitude[-1]]
        for i in reversed(range(width - 1)):
            any_above = Signal(name=f"above_{i}")
            m.d.comb += any_above.eq(above[0] | magnitude[i])
            above.insert(0, any_above)
        cut = self.result_bits + 1
        mask = [~above[i + cut] if i + cut < width else Const(1, 1) for i in range(width)]
        return sized(m, magnitude & Cat(*mask), width, "masked")

    def _shift(self, m: Module, zeros: Value, floats: Value, limit: Value) -> Value:
        """How far the sum goes up."""
        if not self.may_underflow:
            alone = len(self.total) - 2 - self.fraction_bits
            return sized(m, Mux(floats, zeros, alone), self.shift_width, "shift")
        return sized(m, Mux(limit < zeros, limit, zeros), self.shift_width, "shift")

    def _lowered(self, m: Module, inverted: Value) -> Value:
        """The sum moved right, if all of it lies below the normal numbers."""
        return shift_right(m, inverted, self.lower, Const(0, 1), "lowered")

    def _tail(self, m: Module, inverted: Value, below: Value) -> Value:
        """One bit for all that a right shift cuts off: any of it, or where the sum is inverted all of it."""
        tail = below
        value = inverted
        for k in range(LOWER_WIDTH):
            lost, distance = value[: 1 << k], 1 << k
            together = Mux(below, lost.all() & tail, lost.any() | tail)
            tail = sized(m, Mux(self.lower[k], together, tail), 1, f"tail_{k}")
            value = sized(m, Mux(self.lower[k], value[distance:], value), len(value), f"tail_of_{k}")
        return tail

    def _rounded(self, m: Module, normal: Value, exponent: Value, below: Value) -> tuple[Value, Value]:
        """Exponent field and fraction, 31 bits; and whether that is not zero."""
        padded = Cat(below.replicate(max(0, FP32_FRACTION + 3 - len(normal))), normal)
        # Masked, the sum has no more bits than the result may have, which in subnormal numbers go further down.
        bits = FP32_FRACTION if self.masked else self.result_bits
        top = len(padded) - 1
        hidden, kept = padded[top], padded[top - bits : top]
        fraction = Cat(Const(0, FP32_FRACTION - bits), kept)
        field = exponent[:8] & hidden.replicate(8)
        guard, rest = padded[top - bits - 1], padded[: top - bits - 1]
        # What is cut off, with one more where the magnitude came inverted: a carry if it is all ones.
        if self.masked:
            # Nothing is left there.
            m.d.comb += Signal(top - bits, name="unused_places").eq(padded[: top - bits])
            up = Const(0, 1)
        elif self.rounding == "rz":
            up = below & guard & rest.all()
        else:
            up = Mux(below, guard | (rest.all() & kept[0]), guard & (any_bit(rest) | kept[0]))
        place = FP32_FRACTION - bits
        # A carry out of the fraction moves on into the exponent, from the largest to infinity.
        number = sized(m, Cat(fraction, field) + (up << place), FP32_WIDTH - 1, "number")
        return number, sized(m, hidden | number.any(), 1, "is_nonzero")
