"""MBS: macro-blocks of 128 times a factor in [1, 2), then blocks of 16 with OAS's power-of-two scales.

The factor follows from the fraction of the macro-block's largest magnitude. Multiplication by it only moves the
thresholds that magnitudes are compared with, so that no lane multiplies: for each of the 128 fractions of BF16 there is
a row of thresholds, exact, because the products of a significand and a factor are.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden import oas
from hwsim.golden.formats import E2M1, E8M0
from hwsim.rtl.arith import sized
from hwsim.rtl.hierarchy import Pipeline, Registers, instantiate
from hwsim.rtl.quantise.engine import SCALE_WIDTH, QuantiserPath
from hwsim.rtl.quantise.floats import EXPONENT_WIDTH, INPUTS, Fields
from hwsim.rtl.quantise.stage import QuantiserStage
from hwsim.rtl.quantise.table_scale import Distance, MagnitudeMaximum, found_maximum, ladder_code, most_binades
from hwsim.rtl.quantise.tables import E2M1_LADDER

BLOCK = oas.BLOCK_SIZE
FACTOR_WIDTH = 8
FMT = INPUTS["bf16"]
_COLUMNS = len(E2M1_LADDER.columns)
#: Thresholds of E2M1's first codes in quarters; a tie goes to the even code.
_QUARTERS = (1, 3, 5, 7)
#: OAS takes the next scale for blocks whose largest scaled magnitude is above these, in units of its binade.
_CARRIES = (Fraction(7, 4), Fraction(7, 2))
#: The exponent of E2M1's first threshold in the scale's unit, 1/4 over a factor below 2, and of the highest binade.
_LOWEST, _HIGHEST = -3, E2M1.max_exponent
#: Exponent field of the highest binade: that of a value may grow by two.
HIGHEST_WIDTH = EXPONENT_WIDTH + 1


@dataclass(frozen=True)
class Row:
    """What follows from the fraction of a macro-block's largest magnitude.

    Attributes
    ----------
    factor : int
        As stored: the factor is ``1 + factor / 256``.
    carries : tuple of int
        Least fractions, 0 to 128, whose scaled values are above 1.75 and above 3.5 times their binade.
    fractions, extras : tuple of int
        By column of E2M1's thresholds: fraction, and binades above the least possible.
    """

    factor: int
    carries: tuple[int, ...]
    fractions: tuple[int, ...]
    extras: tuple[int, ...]


def row(fraction: int) -> Row:
    """The row of a fraction, 0 to 127: the factor is ``6 / (1 + fraction / 128)`` over its power of two, cut."""
    one = 1 << FMT.fraction_width
    quotient = Fraction(6 * one, one + fraction)
    while quotient >= 2:
        quotient /= 2
    factor = int((quotient - 1) * 256)
    scale = 1 + Fraction(factor, 256)
    carries = tuple(min(max(int(point / scale * one) + 1 - one, 0), one) for point in _CARRIES)
    fractions, extras = [], []
    for quarters, column in zip(_QUARTERS, E2M1_LADDER.columns, strict=True):
        point, exponent = Fraction(quarters, 4) / scale, _LOWEST + column
        if point >= Fraction(2) ** (exponent + 1):
            exponent += 1
        places = point / Fraction(2) ** exponent * one
        # Codes 1 and 3 begin above their threshold, 2 and 4 at it.
        significand = int(places) + 1 if quarters in (1, 5) else -int(-places // 1)
        if significand == 2 * one:
            significand, exponent = one, exponent + 1
        fractions.append(significand - one)
        extras.append(exponent - _LOWEST - column)
    assert set(extras) <= {0, 1}
    return Row(factor, carries, tuple(fractions), tuple(extras))


class FactorRow(wiring.Component):
    """The factor of a macro-block, and the thresholds that follow from it.

    Combinational: a table of 128 rows.

    Ports
    -----
    macro_max : in, 15 bits
        Magnitude bits of the macro-block's largest element.
    factor : out, 8 bits
    carry_1, carry_2 : out, 8 bits
        See :class:`Row`.
    fractions, extras : out
        See :class:`Row`.
    """

    stage = QuantiserStage.SCALE

    def __init__(self) -> None:
        width = FMT.fraction_width
        super().__init__({
            "macro_max": In(FMT.magnitude_width), "factor": Out(FACTOR_WIDTH), "carry_1": Out(width + 1),
            "carry_2": Out(width + 1), "fractions": Out(_COLUMNS * width), "extras": Out(_COLUMNS),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = FMT.fraction_width
        # Of what is below 1.5 * 2**-126, 6 / largest overflows in FP32: infinite, its fraction bits are those of a
        # largest magnitude of 1.5.
        half = 1 << (width - 1)
        overflows = sized(m, self.macro_max < (1 << width) + half, 1, "overflows")
        index = sized(m, Mux(overflows, half, self.macro_max[:width]), width, "index")
        with m.Switch(index):
            for fraction in range(1 << width):
                of = row(fraction)
                # The last one without a condition, so that there is none without a row.
                with m.Case(fraction) if fraction + 1 < 1 << width else m.Default():
                    m.d.comb += [
                        self.factor.eq(of.factor), self.carry_1.eq(of.carries[0]), self.carry_2.eq(of.carries[1]),
                        self.fractions.eq(sum(n << (width * i) for i, n in enumerate(of.fractions))),
                        self.extras.eq(sum(n << i for i, n in enumerate(of.extras))),
                    ]  # fmt: skip
        return m


class FactorScale(wiring.Component):
    """The scale byte of a block from its largest magnitude, before the factor.

    Combinational.

    Ports
    -----
    largest : in, 15 bits
    macro_special : in, 1 bit
        The macro-block's largest magnitude is infinite or NaN.
    carry_1, carry_2 : in, 8 bits
        See :class:`FactorRow`.
    scale : out, 8 bits
    highest : out, 9 bits
        Exponent field of the highest binade of scaled values.
    clear : out, 1 bit
        All codes are 0.
    special : out, 1 bit
        The scale is NaN.
    """

    stage = QuantiserStage.SCALE

    def __init__(self) -> None:
        width = FMT.fraction_width + 1
        super().__init__({
            "largest": In(FMT.magnitude_width), "macro_special": In(1), "carry_1": In(width), "carry_2": In(width),
            "scale": Out(SCALE_WIDTH), "highest": Out(HIGHEST_WIDTH), "clear": Out(1), "special": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fraction, exponent = self.largest[: FMT.fraction_width], self.largest[FMT.fraction_width :]
        above = [
            sized(m, fraction >= carry, 1, f"above_{i}") for i, carry in enumerate((self.carry_1, self.carry_2), 1)
        ]
        reference = sized(m, exponent + above[0] + above[1], HIGHEST_WIDTH, "reference", "Exponent field when scaled")
        low = sized(m, reference < _HIGHEST, 1, "low", "The block has the smallest scale")
        m.d.comb += self.highest.eq(Mux(low, _HIGHEST, reference))
        zero = sized(m, ~exponent.any(), 1, "zero", "All values are zero")
        m.d.comb += self.special.eq(exponent.all() | self.macro_special)
        common = Mux(low, 0, (reference - _HIGHEST)[:SCALE_WIDTH])
        m.d.comb += self.scale.eq(Mux(self.special, E8M0.nan_code, Mux(zero, oas.ZERO_SCALE, common)))
        m.d.comb += self.clear.eq(self.special | zero)
        return m


class FactorLane(wiring.Component):
    """The E2M1 code of a value times a factor, under a power of two.

    Combinational.

    Ports
    -----
    x : in
    highest : in, 9 bits
    clear : in, 1 bit
        See :class:`FactorScale`.
    fractions, extras : in
        See :class:`FactorRow`.
    code : out, 4 bits
    """

    stage = QuantiserStage.LANES

    def __init__(self) -> None:
        super().__init__({
            "x": In(FMT.width), "highest": In(HIGHEST_WIDTH), "clear": In(1),
            "fractions": In(_COLUMNS * FMT.fraction_width), "extras": In(_COLUMNS), "code": Out(E2M1.width),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Fields.of(self.x, FMT)
        below = sized(m, self.highest - x.exponent, HIGHEST_WIDTH, "below", "Binades below the highest")
        # From the other end: binades above that of the first threshold.
        most = most_binades(E2M1_LADDER, 1)
        last = _HIGHEST - _LOWEST
        level = [sized(m, below == last - n, 1, f"at_{n}") for n in range(most + 1)]
        # Nothing is beyond the highest binade.
        beyond = [sized(m, below < last - n if n < last else 0, 1, f"beyond_{n}") for n in range(most + 1)]
        distance = Distance(below, list(level), list(beyond))
        code = ladder_code(m, x, distance, E2M1_LADDER, self.fractions, list(self.extras), "")
        present = sized(m, x.exponent.any(), 1, "present", "The value is not zero")
        kept = ~self.clear
        magnitude = code & present.replicate(E2M1.magnitude_width)
        m.d.comb += self.code.eq(Cat(magnitude, x.sign) & kept.replicate(E2M1.width))
        return m


class FactorPath(QuantiserPath):
    """Blocks of 16 values to E2M1 codes, an E8M0 scale byte and the factor; ports: :class:`QuantiserPath`, and

    macro_max : in, 15 bits
        Magnitude bits of the largest element of the block's macro-block.
    factor : out, 8 bits
    block_max : out, 15 bits
        Bits of the block's largest magnitude.

    Parameters
    ----------
    pipeline : str
        Places of registers: ``maximum`` behind the largest magnitude and the row, ``scale`` behind the scale.
    """

    def __init__(self, pipeline: str):
        ports = {
            "macro_max": In(FMT.magnitude_width), "factor": Out(FACTOR_WIDTH), "block_max": Out(FMT.magnitude_width)
        }  # fmt: skip
        super().__init__(FMT, BLOCK, E2M1.width, Pipeline(("maximum", "scale"), pipeline), ports)
        self.parts = {
            "quantise_maximum": MagnitudeMaximum(FMT, BLOCK),
            "quantise_factor": FactorRow(),
            "quantise_scale": FactorScale(),
            "quantise_lane": FactorLane(),
        }

    def results(self, m: Module, registers: Registers, inputs: dict[str, Value]) -> dict[str, Value]:
        largest = found_maximum(m, self, registers, inputs)
        part = self.parts["quantise_factor"]
        names = ("factor", "carry_1", "carry_2", "fractions", "extras")
        made = {name: Signal(len(getattr(part, name)), name=f"{name}_now") for name in names}
        instantiate(m, self, "quantise_factor", "factors", macro_max=inputs["macro_max"], **made)
        of_row = {name: registers.at("maximum", value, name) for name, value in made.items()}
        special = registers.at("maximum", inputs["macro_max"][FMT.fraction_width :].all(), "macro_special")
        scale, highest, clear = Signal(SCALE_WIDTH), Signal(HIGHEST_WIDTH), Signal()
        nan = Signal(name="special")
        carries = {name: of_row[name] for name in ("carry_1", "carry_2")}
        instantiate(
            m, self, "quantise_scale", "scaling", largest=largest, macro_special=special, **carries, scale=scale,
            highest=highest, clear=clear, special=nan,
        )  # fmt: skip
        held = {"highest": highest, "clear": clear, "fractions": of_row["fractions"], "extras": of_row["extras"]}
        held = {name: registers.at("scale", value, name) for name, value in held.items()}
        late = registers.delay(inputs["x"], "x", "maximum", "scale")
        codes = []
        for i in range(BLOCK):
            codes.append(Signal(E2M1.width, name=f"code_{i}"))
            x = late.word_select(i, FMT.width)
            instantiate(m, self, "quantise_lane", f"lane_{i}", x=x, code=codes[-1], **held)
        factor = sized(m, Mux(nan, Const(0, FACTOR_WIDTH), of_row["factor"]), FACTOR_WIDTH, "kept_factor")
        return {
            "codes": Cat(*codes),
            "scale": registers.at("scale", scale, "scale"),
            "factor": registers.at("scale", factor, "factor"),
            "block_max": registers.at("scale", largest, "largest"),
        }
