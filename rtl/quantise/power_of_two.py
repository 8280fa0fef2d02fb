"""Blocks whose scale is a power of two: its exponent, and lanes of E2M1."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import E2M1, E8M0, MiniFloat
from hwsim.rtl.arith import maximum, select, sized
from hwsim.rtl.hierarchy import COMMENT, Pipeline, Registers, instantiate
from hwsim.rtl.quantise.engine import SCALE_WIDTH, QuantiserPath, fields
from hwsim.rtl.quantise.floats import INPUTS, Fields, ValueFormat
from hwsim.rtl.quantise.stage import QuantiserStage

#: Magnitudes of which each is compared with each: two levels of a tree of maxima in the time of one and a half.
AT_ONCE = 4
_FP32_FRACTION = INPUTS["fp32"].fraction_width


def _beyond_largest(x: Fields, element: MiniFloat) -> Value:
    """Whether the fraction is above that of the element format's largest value."""
    width = element.fraction_width
    fraction = element.max_code & ((1 << width) - 1)
    carry = x.above(fraction, width)
    below = len(x.fraction) - width
    if len(x.fraction) == _FP32_FRACTION:
        # One magnitude, the next above the largest element times 2**-127: FP32 rounds its quotient, a subnormal, down.
        carry = carry & ~((x.exponent == element.max_exponent) & (x.fraction == (fraction << below) + 1))
    return carry


#: By rule for the scale, whether a fraction carries into the exponent of the block. Every rule is
#: ``floor(log2(bmax / divisor + carry)) - emax``, as in :func:`hwsim.golden.e8m0_blocks.exponent_rule`; ``rceil``
#: divides by the largest element, which only moves where the fraction begins to carry. ``oas`` is for E2M1.
CARRIES: dict[str, Callable[[Fields, MiniFloat], Value]] = {
    "floor": lambda x, element: Const(0, 1),
    "ceil": lambda x, element: x.fraction.any(),
    "even": lambda x, element: x.at_least((2 << element.fraction_width) - 1, element.fraction_width + 1),
    "rceil": _beyond_largest,
    "oas": lambda x, element: x.above(3, 2),
}


def has_carry(scale_rule: str) -> bool:
    """Whether fractions matter to a rule."""
    return scale_rule != "floor"


def of_element(values: Sequence[int], width: int, element: Value | None) -> Value:
    """The constant of the element format that the port ``element`` chooses; the only one, without the port."""
    padded = [*values, *[values[-1]] * ((1 << (len(values) - 1).bit_length()) - len(values))]
    return select([Const(value, width) for value in padded], Const(0, 0) if element is None else element)


def element_port(elements: Sequence[MiniFloat]) -> dict[str, Any]:
    """The port ``element``, which chooses among several element formats."""
    return {"element": In((len(elements) - 1).bit_length())} if len(elements) > 1 else {}


def carry_groups(elements: Sequence[MiniFloat], scale_rule: str, fmt: ValueFormat) -> list[list[int]]:
    """Indices of element formats, together where fractions carry from one point on."""
    groups: dict[Any, list[int]] = {}
    for i, element in enumerate(elements):
        key: Any = None
        if scale_rule == "even":
            key = element.fraction_width
        elif scale_rule == "rceil":
            largest = np.frexp(element.max_finite)[0]
            # See _beyond_largest.
            key = largest, element.max_exponent if fmt.fraction_width == _FP32_FRACTION else None
        groups.setdefault(key, []).append(i)
    return list(groups.values())


class ReferenceExponent(wiring.Component):
    """The largest exponent field of a block and the carry of the rule; and what is special about the block.

    Combinational. An element's carry is compared as the bit below its exponent: the largest of such words has the
    largest sum of exponent and carry, which is so added once and not in every element.

    Parameters
    ----------
    fmt : ValueFormat
        Format of the values.
    block_size : int
    scale_rule : str
        One of :data:`CARRIES`.
    subnormals : bool
        Whether subnormal values count; otherwise they are zeros.
    zeros : bool
        Whether there is the port ``zero``.
    elements : sequence of MiniFloat
        Element formats.

    Ports
    -----
    x : in
        The values.
    takes : in, a bit for each of :func:`carry_groups`; only with several
        Which of them it is: one bit is 1.
    reference : out, 8 bits
        Means nothing in special blocks.
    carry : out, 1 bit; not with the rule ``floor``
        To be added to ``reference``.
    special : out, 1 bit
        Whether a value is infinite or NaN.
    zero : out, 1 bit; only with ``zeros``
        Whether all values are zero.
    """

    stage = QuantiserStage.MAXIMUM

    def __init__(
        self, fmt: ValueFormat, block_size: int, scale_rule: str, subnormals: bool, zeros: bool = True,
        elements: Sequence[MiniFloat] = (E2M1,),
    ):  # fmt: skip
        self.groups = carry_groups(elements, scale_rule, fmt)
        super().__init__({
            "x": In(block_size * fmt.width), **({"takes": In(len(self.groups))} if len(self.groups) > 1 else {}),
            "reference": Out(SCALE_WIDTH),
            **({"carry": Out(1)} if has_carry(scale_rule) else {}), "special": Out(1),
            **({"zero": Out(1)} if zeros else {}),
        })  # fmt: skip
        self.fmt, self.scale_rule, self.subnormals, self.zeros = fmt, scale_rule, subnormals, zeros
        #: One of each group.
        self.elements = tuple(elements[first] for first, *_ in self.groups)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        values = fields(self.x, self.fmt)
        m.d.comb += Signal(len(values), name="unused_signs").eq(Cat(*(x.sign for x in values)))
        if has_carry(self.scale_rule):
            words = [
                sized(
                    m,
                    Cat(self._carry(x), x.exponent),
                    SCALE_WIDTH + 1,
                    f"word_{i}",
                    "Exponent field above the carry",
                )
                for i, x in enumerate(values)
            ]
            m.d.comb += Cat(self.carry, self.reference).eq(maximum(m, words, "largest", AT_ONCE))
        else:
            m.d.comb += self.reference.eq(maximum(m, [x.exponent for x in values], "largest", AT_ONCE))
        if self.scale_rule == "floor" and not self.subnormals:
            # Without carries, the largest exponent says the rest.
            m.d.comb += self.special.eq(self.reference.all())
            if self.zeros:
                m.d.comb += self.zero.eq(~self.reference.any())
            return m
        m.d.comb += self.special.eq(Cat(*(x.exponent.all() for x in values)).any())
        if self.zeros:
            present = (Cat(x.fraction, x.exponent) if self.subnormals else x.exponent for x in values)
            m.d.comb += self.zero.eq(~Cat(*(value.any() for value in present)).any())
        return m

    def _carry(self, x: Fields) -> Value:
        carries = [CARRIES[self.scale_rule](x, element) for element in self.elements]
        if len(carries) == 1:
            return carries[0]
        # In this order ABC makes a faster network of it.
        taken = [c & t for c, t in zip(carries, self.takes, strict=True)][::-1]
        return functools.reduce(operator.or_, taken)


class PowerOfTwoScale(wiring.Component):
    """The scale byte of a block, and what its lanes compare exponents with.

    Combinational.

    Parameters
    ----------
    elements : sequence of MiniFloat
        Element formats.
    zero_scale : int
        Scale byte of a block of zeros.
    least : int
        Least exponent field that blocks are taken to have: at least the elements' largest exponent.
    signed_zeros : bool
        Whether elements of a block of zeros keep their signs.
    carries : bool
        Whether there is the port ``carry``.

    Ports
    -----
    reference, carry, special, zero : in
        See :class:`ReferenceExponent`; ``zero`` only without ``signed_zeros``.
    element : in; only with several formats
    scale : out, 8 bits
    highest : out, 8 bits
        Exponent field of values that the scale takes to the element format's highest binade.
    clear : out, 1 bit
        Whether all codes are 0.
    """

    stage = QuantiserStage.SCALE

    def __init__(
        self, elements: Sequence[MiniFloat] = (E2M1,), zero_scale: int = 0, least: int = 0, signed_zeros: bool = False,
        carries: bool = False,
    ):  # fmt: skip
        super().__init__({
            "reference": In(SCALE_WIDTH), **({"carry": In(1)} if carries else {}), "special": In(1),
            **({} if signed_zeros else {"zero": In(1)}),
            **element_port(elements), "scale": Out(SCALE_WIDTH), "highest": Out(SCALE_WIDTH), "clear": Out(1),
        })  # fmt: skip
        self.elements, self.zero_scale, self.signed_zeros = tuple(elements), zero_scale, signed_zeros
        self.carries = carries
        #: Least exponent field, by element format.
        self.least = [max(least, element.max_exponent) for element in elements]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chosen = self.element if len(self.elements) > 1 else None
        emax = of_element([element.max_exponent for element in self.elements], SCALE_WIDTH, chosen)
        least = of_element(self.least, SCALE_WIDTH, chosen)
        low = sized(m, self.reference < least, 1, "low", "The block has the smallest scale")
        raised: Value = self.reference
        if self.carries:
            raised = sized(m, self.reference + self.carry, SCALE_WIDTH, "raised", "Of a low block not above the least")
        m.d.comb += self.highest.eq(Mux(low, least, raised))
        number = sized(m, self.highest - emax, SCALE_WIDTH, "number", "The scale of a common block")
        of_zero = Mux(self.zero, self.zero_scale, number) if self.zero_scale else number
        m.d.comb += self.scale.eq(Mux(self.special, E8M0.nan_code, of_zero))
        m.d.comb += self.clear.eq(self.special if self.signed_zeros else self.special | self.zero)
        return m


def e2m1_code(m: Module, x: Fields, distance: Value) -> Signal:
    """The E2M1 code, without its sign, of a value that is ``distance`` binades below E2M1's highest; 0 for subnormals.

    The distance chooses a binade of E2M1, a few facts of the fraction the code in it.
    """
    above_quarter = sized(m, x.above(1, 2), 1, "above_quarter", "The fraction is above 1/4")
    three_quarters = x.at_least(3, 2)
    code = Signal(E2M1.magnitude_width, name="magnitude", attrs={COMMENT: "Code without its sign"})
    with m.If(x.exponent.any()), m.Switch(distance):
        with m.Case(0):
            # Values are 4 to 8 here, half of that one binade below, and so on.
            m.d.comb += code.eq(6 + above_quarter)
        with m.Case(1):
            m.d.comb += code.eq(Mux(three_quarters, 6, 4 + above_quarter))
        with m.Case(2):
            m.d.comb += code.eq(Mux(three_quarters, 4, 2 + above_quarter))
        with m.Case(3):
            m.d.comb += code.eq(1 + x.at_least(1, 1))
        with m.Case(4):
            m.d.comb += code.eq(x.fraction.any())
    return code


class E2M1Lane(wiring.Component):
    """The E2M1 code of a value under a power of two: round to nearest, ties to even, saturated.

    Combinational.

    Parameters
    ----------
    fmt : ValueFormat
        Format of the value.
    subnormals : bool
        Whether subnormal values count; otherwise they are zeros.

    Ports
    -----
    x : in
    highest : in, 8 bits
        At least the exponent field of ``x``: see :class:`PowerOfTwoScale`.
    clear : in, 1 bit
    code : out, 4 bits
    """

    stage = QuantiserStage.LANES

    def __init__(self, fmt: ValueFormat, subnormals: bool):
        super().__init__({"x": In(fmt.width), "highest": In(SCALE_WIDTH), "clear": In(1), "code": Out(E2M1.width)})
        self.fmt, self.subnormals = fmt, subnormals

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Fields.of(self.x, self.fmt)
        distance = sized(m, self.highest - x.exponent, SCALE_WIDTH, "distance", "Binades below E2M1's highest")
        code: Value = e2m1_code(m, x, distance)
        if self.subnormals:
            code = Mux(x.exponent.any(), code, self._subnormal(m, x))
        kept = ~self.clear
        m.d.comb += self.code.eq(Cat(code, x.sign) & kept.replicate(E2M1.width))
        return m

    def _subnormal(self, m: Module, x: Fields) -> Signal:
        """The code of a subnormal: its fraction counts from 2**-126, which only the lowest scales take to anything."""
        lowest = E2M1.max_exponent
        eighths = [x.above(1, 3), x.at_least(3, 3), x.above(5, 3), x.at_least(7, 3)]
        of_lowest = self._count(m, eighths, "of_lowest")
        of_second = self._count(m, [x.above(1, 2), x.at_least(3, 2)], "of_second")
        attributes = {COMMENT: "Code of a subnormal, without its sign"}
        code = Signal(E2M1.magnitude_width, name="subnormal", attrs=attributes)
        with m.Switch(self.highest):
            with m.Case(lowest):
                m.d.comb += code.eq(of_lowest)
            with m.Case(lowest + 1):
                m.d.comb += code.eq(of_second)
            with m.Case(lowest + 2):
                m.d.comb += code.eq(x.above(1, 1))
        return code

    @staticmethod
    def _count(m: Module, facts: list[Value], name: str) -> Signal:
        """How many of some bits are 1."""
        bits = [sized(m, fact, 1, f"{name}_{i}") for i, fact in enumerate(facts)]
        return sized(m, sum(bits, Const(0, 1)), E2M1.magnitude_width, name)


def scaled(
    m: Module, path: QuantiserPath, registers: Registers, values: Value, element: Value | None = None
) -> tuple[Value, Signal, Signal, Signal]:
    """Add the largest exponent and the scale to a path, with the registers at ``maximum`` between them.

    Parameters
    ----------
    m : Module
    path : QuantiserPath
        Has the parts ``quantise_maximum`` and ``quantise_scale``.
    registers : Registers
    values : Value
        The block.
    element : Value, optional
        Which element format it is, where there are several, behind registers at the inputs.

    Returns
    -------
    The values behind these registers, the scale, and ``highest`` and ``clear`` of :class:`PowerOfTwoScale`.
    """
    first = path.parts["quantise_maximum"]
    outputs = (name for name, member in first.signature.members.items() if member.flow is wiring.Out)
    found = {name: Signal(len(getattr(first, name)), name=name) for name in outputs}
    of_first = {}
    if "takes" in first.signature.members:
        # Decoded in front of the registers: the carries of all values wait for it.
        chosen, count = getattr(path, "element"), sum(map(len, first.groups))  # noqa: B009
        takes = Cat(*(_among(chosen, group, count) for group in first.groups))
        of_first["takes"] = registers.input(takes, "takes_q")
    of_second = {} if element is None else {"element": registers.at("maximum", element, "element")}
    instantiate(m, path, "quantise_maximum", "maximum", x=values, **found, **of_first)
    held = {name: registers.at("maximum", value, name) for name, value in found.items()}
    late = registers.at("maximum", values, "x")
    scale, highest, clear = Signal(SCALE_WIDTH), Signal(SCALE_WIDTH), Signal()
    instantiate(m, path, "quantise_scale", "scaling", **held, **of_second, scale=scale, highest=highest, clear=clear)
    return late, scale, highest, clear


def _among(element: Value, group: Sequence[int], count: int) -> Value:
    """Whether an element format, one of ``count``, is in a group; an unused index stands for the last."""
    indices = [*group, *(range(count, 1 << len(element)) if count - 1 in group else [])]
    return functools.reduce(operator.or_, (element == i for i in indices))


class E2M1Path(QuantiserPath):
    """Blocks of values to E2M1 codes and an E8M0 scale byte; ports: :class:`hwsim.rtl.quantise.engine.QuantiserPath`.

    Parameters
    ----------
    fmt : ValueFormat
    block_size : int
    scale_rule : str
        One of :data:`CARRIES`.
    zero_scale : int
        Scale byte of a block of zeros.
    subnormals : bool
        Whether subnormal values count; otherwise they are zeros.
    pipeline : str
        ``maximum`` for a register behind the largest exponent, or ``none``.
    """

    def __init__(
        self, fmt: ValueFormat, block_size: int, scale_rule: str, zero_scale: int, subnormals: bool, pipeline: str
    ):
        super().__init__(fmt, block_size, E2M1.width, Pipeline(("maximum",), pipeline))
        self.parts = {
            "quantise_maximum": ReferenceExponent(fmt, block_size, scale_rule, subnormals),
            "quantise_scale": PowerOfTwoScale(zero_scale=zero_scale, carries=has_carry(scale_rule)),
            "quantise_lane": E2M1Lane(fmt, subnormals),
        }

    def results(self, m: Module, registers: Registers, inputs: dict[str, Value]) -> dict[str, Value]:
        late, scale, highest, clear = scaled(m, self, registers, inputs["x"])
        codes = []
        for i in range(self.block_size):
            code = Signal(E2M1.width, name=f"code_{i}")
            x = late.word_select(i, self.fmt.width)
            instantiate(m, self, "quantise_lane", f"lane_{i}", x=x, highest=highest, clear=clear, code=code)
            codes.append(code)
        return {"codes": Cat(*codes), "scale": scale}
