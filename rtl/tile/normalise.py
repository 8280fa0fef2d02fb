"""Normalisation and the one rounding of an accumulation step."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.rtl.arith import Arithmetic, any_bit, leading_zeros, saturated, shift_left, shift_right, sized
from hwsim.rtl.hierarchy import clocked, registered
from hwsim.rtl.tile.align import FP32_BIAS, FP32_FRACTION, FP32_WIDTH, TermShape, sum_width
from hwsim.rtl.tile.stage import Stage

CANONICAL_NAN = 0x7FC00000
ROUNDINGS = ("rz", "rne")
#: Bits of the right shift of subnormal results: a shift of 25 or more leaves nothing.
LOWER_WIDTH = 5


class Normalise(wiring.Component):
    """The aligned sum as FP32: normalised and rounded once, with subnormals, overflow and special values.

    Combinational, or with a register behind magnitude and leading zeros (``registered``: latency 1).

    Parameters
    ----------
    shape : TermShape
    fraction_bits, result_bits : int
        As in :class:`hwsim.golden.accumulate.Accumulator`.
    rounding : str
        ``rz`` (truncated towards zero) or ``rne`` (to nearest, ties to even).
    registered : bool
    arithmetic : Arithmetic

    Ports
    -----
    clk, enable : in, 1 bit; only with ``registered``
        ``enable`` loads the register.
    total : in
        Two's complement, in units of ``2**(largest - common bias - fraction_bits)``.
    exponent : in
        Two's complement: the exponent field of a sum whose leading one is its top bit, see :meth:`prepare`.
    limit : in
        Largest left shift that leaves a normal number; only if results of terms may be subnormal.
    lower : in
        Right shift, if even the top bit of the sum lies below the normal numbers; only with ``limit``.
    floats : in, 1 bit; only without ``limit``
        Whether the sum must be normalised; else it is a subnormal C alone.
    nan : in, 1 bit
        Whether the result is NaN.
    infinite : in, 1 bit
        Whether the result, if it is not NaN, is an infinity.
    infinity_sign : in, 1 bit
        The sign of that infinity.
    d : out, 32 bits
        FP32; zero is +0.
    """

    stage = Stage.NORMALISE

    def __init__(
        self,
        shape: TermShape,
        fraction_bits: int,
        result_bits: int,
        rounding: str,
        registered: bool,
        arithmetic: Arithmetic,
    ):
        # Where the result of terms may be subnormal, the shift must stop at the smallest exponent.
        self.may_underflow = shape.may_underflow(fraction_bits)
        width = sum_width(shape.terms, fraction_bits) - 1
        self.shift_width = width.bit_length()
        super().__init__(({"clk": In(1), "enable": In(1)} if registered else {}) | {
            "total": In(width + 1),
            "exponent": In(shape.common_width + 2),
            **({"limit": In(self.shift_width), "lower": In(LOWER_WIDTH)} if self.may_underflow else {"floats": In(1)}),
            "nan": In(1),
            "infinite": In(1),
            "infinity_sign": In(1),
            "d": Out(FP32_WIDTH),
        })  # fmt: skip
        self.shape, self.fraction_bits, self.result_bits = shape, fraction_bits, result_bits
        self.rounding, self.registered, self.arithmetic = rounding, registered, arithmetic
        # A subnormal result is not normalised, so `_rounded` cannot count its result_bits from the top bit: they are
        # counted from the leading one, and the bits below masked, before the shift. This is not needed if only C alone
        # can be subnormal and the alignment keeps no more than result_bits of it.
        self.masked = result_bits < FP32_FRACTION and (self.may_underflow or result_bits < fraction_bits)
        if self.masked and rounding == "rne":
            raise ValueError(
                f"rounding rne needs result_bits {FP32_FRACTION}, or at least fraction_bits and no scale that "
                f"reaches subnormals, got result_bits {result_bits} with fraction_bits {fraction_bits}"
            )

    def prepare(self, m: Module, largest: Value) -> dict[str, Value]:
        """Values for the ports ``exponent``, ``limit`` and ``lower``, computed in ``m`` from the largest exponent.

        The dot unit does so in the cycle in which the terms are summed.
        """
        width = len(self.exponent)
        constant = FP32_BIAS - self.shape.common_bias + len(self.total) - 2 - self.fraction_bits
        exponent = sized(m, largest + constant, width, "exponent_at_top")
        if not self.may_underflow:
            return {"exponent": exponent}
        limit = sized(m, exponent - 1, width, "limit_full", "Left shifts that end at the smallest normal exponent")
        negative = limit[-1]
        left = saturated(m, limit[:-1], self.shift_width, "limit") & ~negative.replicate(self.shift_width)
        right = sized(
            m,
            1 - exponent,
            width - 1,
            "lower_full",
            "Right shifts that bring the top bit to the smallest normal exponent",
        )
        lower = saturated(m, right, LOWER_WIDTH, "lower") & negative.replicate(LOWER_WIDTH)
        return {
            "exponent": exponent,
            "limit": sized(m, left, self.shift_width, "limit_clamped"),
            "lower": sized(m, lower, LOWER_WIDTH, "lower_clamped"),
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.registered:
            clocked(m, self.clk)
        sign = self.total[-1]
        # A negative sum enters as its one's complement, which is abs(sum) - 1; `_rounded` adds the missing 1. ``below``
        # is every bit below its last place: 1 for a one's complement, else 0.
        below: Value = sign
        inverted = sized(
            m,
            self.total[:-1] ^ sign.replicate(len(self.total) - 1),
            len(self.total) - 1,
            "inverted",
            "Magnitude of the sum, less 1 where it is negative: no carry yet",
        )
        if self.masked:
            inverted = self._masked(m, sized(m, inverted + sign, len(inverted), "magnitude", "Magnitude of the sum"))
            below = Const(0, 1)
        if self.may_underflow:
            # At least as wide as a significand and a guard bit, which a right shift may fill.
            inverted = Cat(below.replicate(max(0, FP32_FRACTION + 2 - len(inverted))), inverted)
        zeros = leading_zeros(m, Cat(below, inverted), "zeros", self.arithmetic)
        values = {
            "inverted": self._lowered(m, inverted) if self.may_underflow else inverted,
            "zeros": zeros,
            "sign": sign,
            "below": below,
            "floats": Const(1, 1) if self.may_underflow else self.floats,
            "nan": self.nan,
            "infinite": self.infinite,
            "infinity_sign": self.infinity_sign,
            "exponent": self.exponent,
            "limit": self.limit if self.may_underflow else Const(0, 1),
            "tail": self._tail(m, inverted, below) if self.may_underflow else below,
        }
        if self.registered:
            # Constants need no register, and ``below``, where it is the sign, no second one.
            held = registered(m, sign, "sign_held", self.enable)
            values = {
                name: held if value is sign else value if isinstance(value, Const)
                else registered(m, value, f"{name}_held", self.enable)
                for name, value in values.items()
            }  # fmt: skip
        inverted, zeros, sign, below, floats, nan, infinite, infinity_sign, at_top, limit, tail = values.values()
        shift = self._shift(m, zeros, floats, limit)
        exponent = Signal(signed(len(self.exponent)))
        m.d.comb += exponent.eq((at_top - shift).as_signed())
        normal = shift_left(m, Cat(tail, inverted), shift, "normal", below, self.arithmetic)
        number, nonzero = self._rounded(m, normal, exponent, below)
        is_infinite = infinite | ((exponent >= 255) & nonzero)
        result = Cat(number[: FP32_WIDTH - 1], sign & nonzero)
        infinity = Cat(Const(0, FP32_FRACTION), Const(255, 8), Mux(infinite, infinity_sign, sign))
        m.d.comb += self.d.eq(Mux(nan, CANONICAL_NAN, Mux(is_infinite, infinity, result)))
        return m

    def _masked(self, m: Module, magnitude: Value) -> Value:
        """The magnitude truncated to ``result_bits`` below its leading one."""
        width = len(magnitude)
        above: list[Value] = [magnitude[-1]]
        for i in reversed(range(width - 1)):
            any_above = Signal(name=f"above_{i}")
            m.d.comb += any_above.eq(above[0] | magnitude[i])
            above.insert(0, any_above)
        distance = self.result_bits + 1
        mask = [~above[i + distance] if i + distance < width else Const(1, 1) for i in range(width)]
        return sized(
            m, magnitude & Cat(*mask), width, "masked", "Without the bits below the places that the result may keep"
        )

    def _shift(self, m: Module, zeros: Value, floats: Value, limit: Value) -> Value:
        """Left shift of the sum."""
        if not self.may_underflow:
            # A subnormal C alone keeps the exponent -126 of its hidden bit: a constant shift.
            alone = len(self.total) - 2 - self.fraction_bits
            return sized(
                m, Mux(floats, zeros, alone), self.shift_width, "shift", "A subnormal C alone is not normalised"
            )
        return sized(
            m, Mux(limit < zeros, limit, zeros), self.shift_width, "shift", "Not beyond the smallest normal exponent"
        )

    def _lowered(self, m: Module, inverted: Value) -> Value:
        """The sum shifted right by ``lower``, which is 0 unless even its top bit is below the normal numbers."""
        if self.arithmetic is Arithmetic.OPERATORS:
            return sized(m, inverted >> self.lower, len(inverted), "lowered")
        return shift_right(m, Cat(inverted, Const(0, 1)), self.lower, "lowered", self.arithmetic)[:-1]

    def _tail(self, m: Module, inverted: Value, below: Value) -> Value:
        """One bit for all bits that the right shift drops: whether any is 1 or, in an inverted sum, whether all are."""
        tail = below
        value = inverted
        for k in range(LOWER_WIDTH):
            lost, distance = value[: 1 << k], 1 << k
            together = Mux(below, lost.all() & tail, lost.any() | tail)
            tail = sized(m, Mux(self.lower[k], together, tail), 1, f"tail_{k}")
            # What shifts to come may drop.
            width = min(len(value), (1 << LOWER_WIDTH) - 2 * distance)
            if width:
                value = sized(m, Mux(self.lower[k], value[distance:], value), width, f"tail_of{distance}")
        return tail

    def _rounded(self, m: Module, normal: Value, exponent: Value, below: Value) -> tuple[Value, Value]:
        """Exponent field and fraction, rounded, 31 bits; and whether the number is not zero."""
        padded = Cat(below.replicate(max(0, FP32_FRACTION + 3 - len(normal))), normal)
        # A masked sum is rounded already: keep all places, since a subnormal has its result_bits further down.
        bits = FP32_FRACTION if self.masked else self.result_bits
        top = len(padded) - 1
        hidden, kept = padded[top], padded[top - bits : top]
        fraction = Cat(Const(0, FP32_FRACTION - bits), kept)
        field = exponent[:8] & hidden.replicate(8)
        guard, rest = padded[top - bits - 1], padded[: top - bits - 1]
        # Rounding looks at the dropped bits. An inverted magnitude lacks a 1 at its end, which carries into the kept
        # bits if all dropped bits are ones.
        if self.masked:
            # These bits are zero: masked.
            m.d.comb += Signal(top - bits, name="unused_places").eq(padded[: top - bits])
            up = Const(0, 1)
        elif self.rounding == "rz":
            up = below & guard & rest.all()
        else:
            up = Mux(below, guard | (rest.all() & kept[0]), guard & (any_bit(rest) | kept[0]))
        place = FP32_FRACTION - bits
        # A carry out of the fraction adds one to the exponent field; from the largest number it leads to infinity.
        number = sized(
            m,
            Cat(fraction, field) + (up << place),
            FP32_WIDTH - 1,
            "number",
            "Exponent field and fraction; a carry out of the fraction raises the field",
        )
        return number, sized(m, hidden | number.any(), 1, "is_nonzero")
