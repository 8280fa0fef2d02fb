"""Alignment of an accumulation step: the largest exponent, truncated terms, their exact sum."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.rtl.arith import Arithmetic, Sum, fast_add, maximum, saturated, shift_right, sized
from hwsim.rtl.hierarchy import clocked, registered
from hwsim.rtl.tile.stage import Stage

FP32_BIAS = 127
FP32_FRACTION = 23
FP32_WIDTH = 32


@dataclass(frozen=True)
class TermShape:
    """Widths of the terms of one accumulation step.

    P, E and q are those of ``golden/accumulate.py``. A term enters as P in one's complement (ports called ``q``): the
    sign above the magnitude, every bit of which is inverted where the sign is set. Dropping low bits of that truncates
    the magnitude towards zero, and adding the sign once makes it two's complement: nothing is negated before the sum.

    Attributes
    ----------
    terms : int
    magnitude_width : int
        Bits of |P|.
    fraction_width : int
        The contract's q: ``value = P * 2**(E - fraction_width)``, ``|P| < 4 * 2**fraction_width``.
    exponent_width, base_width, bias : int
        The raw exponent E is ``own + base - bias``: ``own`` belongs to the term and ``base`` is shared by all terms,
        both unsigned. With ``base_width`` 0 there is no base.
    least_exponent : int
        The smallest raw exponent E of a term that is not zero.
    wide, wide_fraction_width : int
        The first ``wide`` terms have this q instead, and as many more bits of magnitude.
    """

    terms: int
    magnitude_width: int
    fraction_width: int
    exponent_width: int
    bias: int
    least_exponent: int
    base_width: int = 0
    wide: int = 0
    wide_fraction_width: int = 0

    def fraction_of(self, term: int) -> int:
        """The q of a term."""
        return self.wide_fraction_width if term < self.wide else self.fraction_width

    def width_of(self, term: int) -> int:
        """Bits of a term's magnitude."""
        return self.magnitude_width + self.fraction_of(term) - self.fraction_width

    @property
    def q_width(self) -> int:
        """Bits of all terms with their signs."""
        return sum(self.width_of(i) + 1 for i in range(self.terms))

    @property
    def term_offset(self) -> int:
        """Added to exponents of terms to give them the common bias."""
        return max(0, FP32_BIAS - self.bias)

    @property
    def c_offset(self) -> int:
        """Added to exponents of C to give them the common bias."""
        return max(0, self.bias - FP32_BIAS)

    @property
    def common_bias(self) -> int:
        """Bias of the largest exponent."""
        return max(self.bias, FP32_BIAS)

    @property
    def common_width(self) -> int:
        """Bits of the largest exponent."""
        terms = (1 << self.exponent_width) - 1 + self.term_offset
        if self.base_width:
            terms += (1 << self.base_width) - 1
        return max(terms, 255 + self.c_offset).bit_length()

    def may_underflow(self, fraction_bits: int) -> bool:
        """Whether a sum with a term in it may be subnormal. Otherwise only C alone, without any term, may be."""
        return self.least_exponent - fraction_bits < 1 - FP32_BIAS

    def frame_width(self, fraction_bits: int) -> int:
        """Bits of a term in front of its right shift: the magnitude, extended down to the unit of the sum."""
        return max(self.width_of(i) + max(0, fraction_bits - self.fraction_of(i)) for i in range(self.terms))

    def distance_width(self, fraction_bits: int) -> int:
        """Bits of a term's shift distance; all ones shifts everything out."""
        return self.frame_width(fraction_bits).bit_length()


def c_frame_width(fraction_bits: int) -> int:
    """Bits of C's significand in front of its right shift, extended down to the unit of the sum."""
    return FP32_FRACTION + 1 + max(0, fraction_bits - FP32_FRACTION)


def c_distance_width(fraction_bits: int) -> int:
    """Bits of C's shift distance; all ones shifts everything out."""
    return c_frame_width(fraction_bits).bit_length()


def sum_width(terms: int, fraction_bits: int) -> int:
    """Bits of the aligned sum, sign included: |sum| <= (4 terms + 2) * 2**fraction_bits."""
    return fraction_bits + (4 * terms + 2).bit_length() + 1


class ExponentMaximum(wiring.Component):
    """Largest exponent of the terms and C, and how far each must be shifted right.

    Combinational. A term or C that is zero takes no part in the maximum; its distance means nothing.

    Parameters
    ----------
    shape : TermShape
    fraction_bits : int

    Ports
    -----
    exponents : in
        Terms' own exponents, term 0 in the lowest bits.
    nonzero : in, a bit a term
        Whether the term is not zero.
    base : in; only with ``base_width``
        Added to the exponent of every term.
    candidates : in; only with ``groups``
        Largest exponents of groups of terms, computed in the cycle before.
    c : in, 31 bits
        FP32 without its sign.
    largest : out
        Largest exponent, with the bias that terms and C have in common.
    distances, c_distance : out
        Right shifts before terms and C are summed; all ones shifts everything out.
    floats : out, 1 bit; only where terms cannot underflow
        Whether the sum must be normalised: a term is not zero, or C is normal. A subnormal C alone is not shifted.
    """

    stage = Stage.EXPONENTS

    def __init__(
        self, shape: TermShape, fraction_bits: int, groups: int = 0, further: dict[str, wiring.Member] | None = None
    ):
        ports = {
            "exponents": In(shape.terms * shape.exponent_width),
            "nonzero": In(shape.terms),
            "c": In(FP32_WIDTH - 1),
            "largest": Out(shape.common_width),
            "distances": Out(shape.terms * shape.distance_width(fraction_bits)),
            "c_distance": Out(c_distance_width(fraction_bits)),
        }
        if not shape.may_underflow(fraction_bits):
            ports["floats"] = Out(1)
        if shape.base_width:
            ports["base"] = In(shape.base_width)
        if groups:
            ports["candidates"] = In(groups * shape.exponent_width)
        super().__init__(ports | (further or {}))
        self.shape, self.fraction_bits, self.groups = shape, fraction_bits, groups

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape, width = self.shape, self.shape.common_width
        own = [self.exponents.word_select(i, shape.exponent_width) for i in range(shape.terms)]
        if self.groups:
            present = [self.candidates.word_select(i, shape.exponent_width) for i in range(self.groups)]
        else:
            present = [
                sized(
                    m,
                    present_exponent(e, self.nonzero[i]),
                    len(e),
                    f"present_{i}",
                    "Exponent, 0 where the term is zero",
                )
                for i, e in enumerate(own)
            ]
        most = maximum(m, present, "most")
        any_term = sized(m, self.nonzero.any(), 1, "any_term")
        offset: Value = Const(shape.term_offset, width)
        if shape.base_width:
            base = self.base + shape.term_offset if shape.term_offset else self.base
            offset = sized(m, base, width, "offset")
        # Without an offset there is no adder, which in Verilog would have an operand of zero bits.
        shifted = bool(shape.base_width or shape.term_offset)
        terms = sized(
            m,
            self.largest_with(m, Mux(any_term, most + offset if shifted else most, 0)),
            width,
            "terms_largest",
            "Largest exponent of the terms, with the bias that they have in common with C; 0 without terms",
        )
        field = self.c[FP32_FRACTION:]
        subnormal = sized(m, ~field.any(), 1, "c_subnormal")
        if not shape.may_underflow(self.fraction_bits):
            m.d.comb += self.floats.eq(any_term | ~subnormal)
        # A subnormal has the exponent field of the smallest normal number, 1.
        stored: Value = sized(
            m,
            Cat(field[0] | subnormal, field[1:]),
            len(field),
            "c_field",
            "Exponent field of C; a subnormal has that of the smallest normal number, 1",
        )
        stored = sized(m, stored + shape.c_offset, width, "c_stored") if shape.c_offset else stored
        c_zero = subnormal & ~self.c[:FP32_FRACTION].any()
        c_exponent = sized(m, Mux(c_zero, 0, stored), width, "c_present", "0 where C is zero")
        c_leads = sized(m, c_exponent > terms, 1, "c_leads")
        m.d.comb += self.largest.eq(Mux(c_leads, c_exponent, terms))
        # Both possible distances are computed in parallel with the comparison of C, which arrives last and only
        # selects.
        c_own = sized(
            m,
            c_exponent - offset if shifted else c_exponent,
            width,
            "c_own",
            "C's exponent with the bias of the terms' own: distances from C need no further adder",
        )
        count = shape.distance_width(self.fraction_bits)
        for i, exponent in enumerate(own):
            from_terms = sized(
                m,
                most - exponent,
                shape.exponent_width + 1,
                f"from_terms_{i}",
                "Distance if a term leads",
            )
            from_c = sized(m, c_own - exponent, width, f"from_c_{i}", "Distance if C leads")
            near = saturated(m, from_terms, count, f"from_terms_{i}")
            near, far = self.distances_with(m, i, near, saturated(m, from_c, count, f"from_c_{i}"), c_exponent)
            m.d.comb += self.distances.word_select(i, count).eq(Mux(c_leads, far, near))
        # C's distance is computed in parallel too. Where C has the largest exponent, the mask makes it 0.
        c_distance = sized(m, terms - stored, width, "c_distance_full", "Distance of C if a term leads")
        stays = c_leads.replicate(len(self.c_distance))
        m.d.comb += self.c_distance.eq(saturated(m, c_distance, len(self.c_distance), "c_distance") & ~stays)
        return m

    def largest_with(self, m: Module, largest: Value) -> Value:
        """The largest exponent of the terms and of what else a subclass has."""
        return largest

    def distances_with(self, m: Module, term: int, near: Value, far: Value, c_exponent: Value) -> tuple[Value, Value]:
        """The distance of a term if a term leads and if C leads, where a subclass has others too."""
        return near, far


def present_exponent(exponent: Value, nonzero: Value) -> Value:
    """The exponent, or 0 for a term that is zero."""
    return exponent & nonzero.replicate(len(exponent))


class AlignedSum(wiring.Component):
    """Terms and C, shifted and truncated to the unit of the sum, and summed exactly.

    Combinational, or with a register in front of the last addition (``registered``: latency 1). There it holds two
    numbers; in front of all additions it would be as wide as all terms.

    Parameters
    ----------
    shape : TermShape
    fraction_bits : int
        The sum is in units of ``2**(largest exponent - fraction_bits)``.
    registered : bool
    arithmetic : Arithmetic

    Ports
    -----
    clk, enable : in, 1 bit; only with ``registered``
        ``enable`` loads the register.
    q : in
        Terms in one's complement: magnitude, every bit inverted where the sign is set, and the sign above it.
    distances : in
        Right shifts of the terms.
    c : in, 25 bits
        C in one's complement: significand and sign.
    c_distance : in
        Right shift of C.
    total : out
        Two's complement.
    """

    stage = Stage.ALIGN

    def __init__(self, shape: TermShape, fraction_bits: int, registered: bool, arithmetic: Arithmetic):
        ports = {"clk": In(1), "enable": In(1)} if registered else {}
        super().__init__(ports | {
            "q": In(shape.q_width),
            "distances": In(shape.terms * shape.distance_width(fraction_bits)),
            "c": In(FP32_FRACTION + 2),
            "c_distance": In(c_distance_width(fraction_bits)),
            "total": Out(sum_width(shape.terms, fraction_bits)),
        })  # fmt: skip
        self.shape, self.fraction_bits, self.registered = shape, fraction_bits, registered
        self.arithmetic = arithmetic

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.registered:
            clocked(m, self.clk)
        shape, kept = self.shape, self.fraction_bits
        count, first, aligned = shape.distance_width(kept), 0, []
        for i in range(shape.terms):
            width = shape.width_of(i) + 1
            q, distance = self.q[first : first + width], self.distances.word_select(i, count)
            aligned.append(self._aligned(m, q, distance, kept - shape.fraction_of(i), kept + 2, f"term_{i}"))
            first += width
        aligned.append(self._aligned(m, self.c, self.c_distance, kept - FP32_FRACTION, kept + 1, "c"))
        total = Sum(len(self.total), self.arithmetic)
        for magnitude, sign in aligned:
            total.add_ones_complement(magnitude, sign)
        low, high = total.halves(m, "total_tree")
        if self.registered:
            low, high = (registered(m, row, name, self.enable) for row, name in ((low, "low"), (high, "high")))
        m.d.comb += self.total.eq(fast_add(m, low, high, "carry", self.arithmetic))
        return m

    def _aligned(self, m: Module, q: Value, distance: Value, up: int, width: int, name: str) -> tuple[Value, Value]:
        """Magnitude of a term in units of the sum, inverted where the sign is set, and the sign.

        ``up`` is the number of places by which the frame extends ``q`` downwards; if negative, -up places are dropped.
        """
        dropped = max(-up, 0)
        if dropped:
            # These bits lie below the unit of the sum even without a shift.
            m.d.comb += Signal(dropped, name=f"unused_{name}").eq(q[:dropped])
        frame = Cat(q[-1].replicate(max(up, 0)), q[dropped:])
        shifted = shift_right(m, frame, distance, name, self.arithmetic)
        above = len(shifted) - 1 - width
        if above > 0:
            # Copies of the sign.
            m.d.comb += Signal(above, name=f"unused_above_{name}").eq(shifted[width:-1])
            if self.arithmetic is Arithmetic.OPERATORS:
                shifted = sized(
                    m,
                    Cat(shifted[:width], shifted[-1]),
                    width + 1,
                    f"{name}_cut",
                    "Without the copies of the sign above",
                )
        return shifted[:-1][:width], shifted[-1]
