"""NVFP4's family: block scales in UE4M3 under a tensor scale, by thresholds that are constants of the tensor.

For a fixed scale, the code of a value is the number of thresholds that its magnitude reaches, and magnitudes of a float
format compare as integers. Thresholds of scales that differ by a power of two differ by exponents only, so that eight
rows, one for each significand of a scale, are all there is (:func:`hwsim.golden.thresholds.thresholds`). Codes 5 and 7
begin one and two binades above code 3, code 6 one above code 4: four thresholds of a row give seven.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import E2M1, UE4M3
from hwsim.rtl.arith import maximum, select, sized
from hwsim.rtl.hierarchy import Pipeline, Registers, instantiate
from hwsim.rtl.quantise.engine import SCALE_WIDTH, QuantiserPath
from hwsim.rtl.quantise.floats import EXPONENT_WIDTH, Fields, ValueFormat
from hwsim.rtl.quantise.stage import QuantiserStage

#: Rows of thresholds, thresholds of a row: of codes 1, 2, 3 and 4.
ROWS, OF_ROW = 1 << UE4M3.fraction_width, 4
#: Scale codes of the first binade, which are compared with thresholds of their own: 1 to 8.
FIRST = ROWS
OFFSET_WIDTH = EXPONENT_WIDTH + UE4M3.fraction_width
#: Binades between the smallest scale's leading one and that of scale exponent field 1.
SUBNORMAL_BINADES = UE4M3.fraction_width


def table_ports(fmt: ValueFormat) -> dict[str, int]:
    """Widths of the ports that hold a tensor's thresholds; see :class:`TablePath`."""
    return {
        "live": 1,
        "element_base": EXPONENT_WIDTH,
        "element_fractions": ROWS * OF_ROW * fmt.fraction_width,
        "element_carries": ROWS * OF_ROW,
        "scale_fractions": FIRST * fmt.fraction_width,
        "scale_offset": OFFSET_WIDTH,
        "scale_thresholds": FIRST * fmt.magnitude_width,
    }


class MagnitudeMaximum(wiring.Component):
    """The largest magnitude of a block, as bits.

    Combinational.

    Parameters
    ----------
    fmt : ValueFormat
    block_size : int

    Ports
    -----
    x : in
    largest : out
        Magnitude of infinities and NaN included.
    """

    stage = QuantiserStage.MAXIMUM

    def __init__(self, fmt: ValueFormat, block_size: int):
        super().__init__({"x": In(block_size * fmt.width), "largest": Out(fmt.magnitude_width)})
        self.fmt, self.block_size = fmt, block_size

    def elaborate(self, platform: object) -> Module:
        m = Module()
        magnitudes = [self.x.word_select(i, self.fmt.width)[:-1] for i in range(self.block_size)]
        m.d.comb += self.largest.eq(maximum(m, magnitudes, "largest"))
        m.d.comb += Signal(self.block_size, name="unused_signs").eq(
            Cat(*(self.x.word_select(i, self.fmt.width)[-1] for i in range(self.block_size)))
        )
        return m


class ScaleFinder(wiring.Component):
    """The scale byte of a block from its largest magnitude.

    Combinational. From scale code 8 on there are eight codes a binade: the code is eight times the exponent and the
    number of fractions that the magnitude's reaches, less an offset. Smaller codes have thresholds of their own, and so
    has code 8, which begins lower than by that rule, because scales below it are as far apart as those above it.

    Parameters
    ----------
    fmt : ValueFormat

    Ports
    -----
    largest : in
    live, scale_fractions, scale_offset, scale_thresholds : in
        See :class:`TablePath`.
    scale : out, 8 bits
    """

    stage = QuantiserStage.SCALE

    def __init__(self, fmt: ValueFormat):
        ports = {name: In(width) for name, width in table_ports(fmt).items() if not name.startswith("element")}
        super().__init__({"largest": In(fmt.magnitude_width), **ports, "scale": Out(SCALE_WIDTH)})
        self.fmt = fmt

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fraction, exponent = self.largest[: self.fmt.fraction_width], self.largest[self.fmt.fraction_width :]
        above = [
            sized(m, fraction >= self.scale_fractions.word_select(i, self.fmt.fraction_width), 1, f"above_{i}")
            for i in range(FIRST)
        ]
        reached = [
            sized(m, self.largest >= self.scale_thresholds.word_select(i, self.fmt.magnitude_width), 1, f"reached_{i}")
            for i in range(FIRST)
        ]
        count = sized(m, sum(above, Const(0, 1)), FIRST.bit_length(), "count", "Fractions that the largest reaches")
        raised = sized(m, Cat(Const(0, UE4M3.fraction_width), exponent) + count, OFFSET_WIDTH + 1, "raised")
        code = sized(m, raised - self.scale_offset, OFFSET_WIDTH + 2, "code", "Code by binades, two's complement")
        most = UE4M3.max_code
        low = code[-1] | (code[: OFFSET_WIDTH + 1] < FIRST)
        high = ~code[-1] & (code[: OFFSET_WIDTH + 1] > most)
        held = sized(m, Mux(low, FIRST, Mux(high, most, code[:SCALE_WIDTH])), SCALE_WIDTH, "held")
        small = sized(m, sum(reached[:-1], Const(0, 1)), SCALE_WIDTH, "small", "Code below the first whole binade")
        finite = sized(m, Mux(reached[-1], held, small), SCALE_WIDTH, "finite")
        special = sized(m, exponent.all(), 1, "special", "A value is infinite or NaN")
        m.d.comb += self.scale.eq(Mux(special, UE4M3.nan_code, finite & self.live.replicate(SCALE_WIDTH)))
        return m


class RowSelect(wiring.Component):
    """The thresholds of a scale.

    Combinational.

    Parameters
    ----------
    fmt : ValueFormat

    Ports
    -----
    scale : in, 8 bits
    element_base, element_fractions, element_carries : in
        See :class:`TablePath`.
    fractions, carries : out
        The row of the scale's significand; carries of codes 2, 3 and 4 only.
    first : out, 8 bits
        Exponent field of the threshold of code 1.
    clear : out, 1 bit
        Whether all codes are 0: the scale is zero or NaN.
    """

    stage = QuantiserStage.SCALE

    def __init__(self, fmt: ValueFormat):
        ports = {name: In(width) for name, width in table_ports(fmt).items() if name.startswith("element")}
        super().__init__({
            "scale": In(SCALE_WIDTH), **ports, "fractions": Out(OF_ROW * fmt.fraction_width),
            "carries": Out(OF_ROW - 1), "first": Out(EXPONENT_WIDTH), "clear": Out(1),
        })  # fmt: skip
        self.fmt = fmt

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fraction, field = self.scale[: UE4M3.fraction_width], self.scale[UE4M3.fraction_width : UE4M3.magnitude_width]
        # A subnormal scale is normalised: its leading one goes, and the exponent counts from the smallest scale's.
        row = Signal(UE4M3.fraction_width)
        binades = Signal(UE4M3.exponent_width + 1)
        m.d.comb += [row.eq(fraction), binades.eq(field + (SUBNORMAL_BINADES - 1))]
        with m.If(~field.any()):
            for leading in range(UE4M3.fraction_width):
                with m.If(fraction[leading]):
                    shift = UE4M3.fraction_width - leading
                    m.d.comb += [row.eq(fraction << shift), binades.eq(leading)]
        rows = [self.element_fractions.word_select(i, len(self.fractions)) for i in range(ROWS)]
        m.d.comb += self.fractions.eq(select(rows, row))
        carries = sized(
            m, select([self.element_carries.word_select(i, OF_ROW) for i in range(ROWS)], row), OF_ROW, "row_carries"
        )
        m.d.comb += self.carries.eq(carries[1:])
        m.d.comb += self.first.eq(self.element_base + binades + carries[0])
        m.d.comb += self.clear.eq(~self.scale.any() | (self.scale == UE4M3.nan_code))
        return m


class ThresholdLane(wiring.Component):
    """The E2M1 code of a value under the thresholds of its block's scale.

    Combinational.

    Parameters
    ----------
    fmt : ValueFormat

    Ports
    -----
    x : in
    fractions, carries, first, clear : in
        See :class:`RowSelect`.
    code : out, 4 bits
    """

    stage = QuantiserStage.LANES

    def __init__(self, fmt: ValueFormat):
        super().__init__({
            "x": In(fmt.width), "fractions": In(OF_ROW * fmt.fraction_width), "carries": In(OF_ROW - 1),
            "first": In(EXPONENT_WIDTH), "clear": In(1), "code": Out(E2M1.width),
        })  # fmt: skip
        self.fmt = fmt

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Fields.of(self.x, self.fmt)
        above = sized(m, x.exponent - self.first, EXPONENT_WIDTH + 1, "above", "Binades above code 1's threshold")
        negative, distance = above[-1], above[:-1]
        at_least = [
            sized(m, x.fraction >= self.fractions.word_select(i, self.fmt.fraction_width), 1, f"fraction_{i}")
            for i in range(OF_ROW)
        ]
        # Whether the magnitude reaches a threshold that is ``n`` binades above code 1's.
        level = [sized(m, ~negative & (distance == n), 1, f"at_{n}") for n in range(6)]
        beyond = [sized(m, ~negative & (distance > n), 1, f"beyond_{n}") for n in range(6)]

        def reaches(threshold: int, binades: int, name: str) -> Signal:
            """Threshold ``threshold`` of the row, moved up by ``binades`` and by its carry."""
            plain, carried = (beyond[n] | (level[n] & at_least[threshold]) for n in (binades, binades + 1))
            whole = Mux(self.carries[threshold - 1], carried, plain) if threshold else plain
            return sized(m, whole, 1, f"reaches_{name}")

        r1, r2, r3, r4 = (reaches(i, n, str(i + 1)) for i, n in enumerate((0, 1, 2, 2)))
        r5, r6, r7 = reaches(2, 3, "5"), reaches(3, 3, "6"), reaches(2, 4, "7")
        # Thresholds ascend: the code is their number.
        code = Cat(r7 | (r5 & ~r6) | (r3 & ~r4) | (r1 & ~r2), r6 | (r2 & ~r4), r4)
        kept = ~self.clear
        m.d.comb += self.code.eq(Cat(code, x.sign) & kept.replicate(E2M1.width))
        return m


class TablePath(QuantiserPath):
    """Blocks of values to E2M1 codes and a UE4M3 scale byte; ports: :class:`QuantiserPath` and

    block_max : out
        Bits of the block's largest magnitude: what a running maximum of the tensor needs.
    live : in, 1 bit
        0 for a tensor of zeros.
    element_base : in, 8 bits
        Exponent field of code 1's threshold under the smallest scale, less the carry of row 0.
    element_fractions, element_carries : in
        By row, of codes 1 to 4: fraction of the threshold, and whether its exponent is one more than ``element_base``
        for code 1, and one more than that of code 1 plus 1, 2 and 2 for the others.
    scale_fractions : in
        Fractions of the thresholds of scale codes 16 to 23, and so of all further binades.
    scale_offset : in, 11 bits
        Eight times the exponent field of code 16's threshold, plus the number of those fractions that its own reaches,
        less 16.
    scale_thresholds : in
        Least largest magnitude of scale codes 1 to 8.

    Parameters
    ----------
    fmt : ValueFormat
    block_size : int
    pipeline : str
        Places of registers: ``maximum`` behind the largest magnitude, ``scale`` behind the scale and its thresholds.
    """

    def __init__(self, fmt: ValueFormat, block_size: int, pipeline: str):
        ports = {name: In(width) for name, width in table_ports(fmt).items()} | {"block_max": Out(fmt.magnitude_width)}
        super().__init__(fmt, block_size, E2M1.width, Pipeline(("maximum", "scale"), pipeline), ports)
        self.parts = {
            "quantise_maximum": MagnitudeMaximum(fmt, block_size),
            "quantise_scale": ScaleFinder(fmt),
            "quantise_row": RowSelect(fmt),
            "quantise_lane": ThresholdLane(fmt),
        }

    def results(self, m: Module, registers: Registers, values: Value) -> dict[str, Value]:
        largest_now = Signal(self.fmt.magnitude_width)
        instantiate(m, self, "quantise_maximum", "maximum", x=values, largest=largest_now)
        largest = registers.at("maximum", largest_now, "largest")
        ports = {name: getattr(self, name) for name in table_ports(self.fmt)}
        scale = Signal(SCALE_WIDTH)
        finder, row = (
            {name: value for name, value in ports.items() if name.startswith("element") == of_elements}
            for of_elements in (False, True)
        )
        instantiate(m, self, "quantise_scale", "scaling", largest=largest, scale=scale, **finder)
        widths = {name: len(getattr(self.parts["quantise_row"], name)) for name in ("fractions", "carries", "first")}
        found = {name: Signal(width, name=f"{name}_now") for name, width in widths.items()} | {"clear": Signal()}
        instantiate(m, self, "quantise_row", "row", scale=scale, **row, **found)
        held = {name: registers.at("scale", value, name) for name, value in found.items()}
        late = registers.delay(values, "x", "maximum", "scale")
        codes = []
        for i in range(self.block_size):
            codes.append(Signal(E2M1.width, name=f"code_{i}"))
            x = late.word_select(i, self.fmt.width)
            instantiate(m, self, "quantise_lane", f"lane_{i}", x=x, code=codes[-1], **held)
        return {
            "codes": Cat(*codes),
            "scale": registers.at("scale", scale, "scale"),
            "block_max": registers.at("scale", largest, "largest"),
        }
