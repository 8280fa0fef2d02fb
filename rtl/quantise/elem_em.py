"""M2XFP's Elem-EM: E2M1 codes, and two bits that refine the largest element of every subgroup to E2M3."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import E2M1
from hwsim.rtl.arith import sized
from hwsim.rtl.hierarchy import COMMENT, Pipeline, Registers, instantiate
from hwsim.rtl.quantise.engine import SCALE_WIDTH, QuantiserPath
from hwsim.rtl.quantise.floats import Fields, ValueFormat
from hwsim.rtl.quantise.power_of_two import PowerOfTwoScale, ReferenceExponent, e2m1_code, scaled
from hwsim.rtl.quantise.stage import QuantiserStage
from hwsim.rtl.tile.refinement import BLOCK, ELEMENTS, METADATA_WIDTH, SUBGROUPS, top1

#: Exponent field of 1e-8, which no block's largest magnitude counts as less than.
LEAST = 100


class ElemEMLane(wiring.Component):
    """The E2M1 code of a value, and the metadata that it would give its subgroup as the largest element.

    Combinational. The metadata are ``E2M3 code + 1 - 4 * E2M1 code``, held to 0 to 3, of the value rounded to either.

    Parameters
    ----------
    fmt : ValueFormat

    Ports
    -----
    x : in
    highest : in, 8 bits
        At least the exponent field of ``x``, and at least :data:`LEAST`.
    clear : in, 1 bit
        Makes code and metadata 0.
    code : out, 4 bits
    refined : out, 2 bits
    """

    stage = QuantiserStage.LANES

    def __init__(self, fmt: ValueFormat):
        super().__init__({
            "x": In(fmt.width), "highest": In(SCALE_WIDTH), "clear": In(1), "code": Out(E2M1.width),
            "refined": Out(METADATA_WIDTH),
        })  # fmt: skip
        self.fmt = fmt

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Fields.of(self.x, self.fmt)
        distance = sized(m, self.highest - x.exponent, SCALE_WIDTH, "distance", "Binades below E2M1's highest")
        code = e2m1_code(m, x, distance)
        refined = self._refined(m, x, distance)
        kept = ~self.clear
        m.d.comb += self.code.eq(Cat(code, x.sign) & kept.replicate(E2M1.width))
        m.d.comb += self.refined.eq(refined & kept.replicate(METADATA_WIDTH))
        return m

    def _refined(self, m: Module, x: Fields, distance: Value) -> Signal:
        count = METADATA_WIDTH

        def fact(value: Value, name: str) -> Signal:
            return sized(m, value, 1, name)

        # Of a fraction that E2M1 rounds down; that it rounds to its one fraction bit; and that it rounds up.
        above_1, at_3 = fact(x.above(1, 4), "above_1_16"), fact(x.at_least(3, 4), "at_3_16")
        down = sized(m, 1 + above_1 + at_3, count, "of_down")
        at_7, above_9, at_11 = (
            fact(x.at_least(7, 4), "at_7_16"), fact(x.above(9, 4), "above_9_16"), fact(x.at_least(11, 4), "at_11_16")
        )  # fmt: skip
        middle = sized(m, at_7 + above_9 + at_11, count, "of_middle")
        up = fact(x.at_least(15, 4), "at_15_16")
        rounds_down = fact(~x.above(1, 2), "rounds_down")
        above_eighth, at_3_8 = fact(x.above(1, 3), "above_1_8"), fact(x.at_least(3, 3), "at_3_8")
        below_half = sized(m, 1 + above_eighth + at_3_8, count, "of_below_half")
        half, most = fact(x.at_least(1, 1), "at_1_2"), fact(x.at_least(3, 2), "at_3_4")
        some = fact(x.fraction.any(), "some_fraction")
        attributes = {COMMENT: "Metadata of this element; 1 adds nothing"}
        refined = Signal(METADATA_WIDTH, name="refined_code", init=1, attrs=attributes)
        with m.Switch(distance):
            with m.Case(0):
                # Both saturate.
                m.d.comb += refined.eq(Mux(rounds_down, down, middle))
            with m.Case(1, 2):
                m.d.comb += refined.eq(Mux(rounds_down, down, Mux(most, up, middle)))
            with m.Case(3):
                # Here and below, E2M3 has fewer places, and from here on E2M1 has none behind its point.
                m.d.comb += refined.eq(Mux(half, x.at_least(7, 3), below_half))
            with m.Case(4):
                m.d.comb += refined.eq(Mux(some, most, 3))
            with m.Case(5):
                m.d.comb += refined.eq(Cat(half, Const(1, 1)))
            with m.Case(6):
                m.d.comb += refined.eq(Cat(~some, some))
        return refined


class SubgroupMetadata(wiring.Component):
    """The metadata of a subgroup: those of its largest code, the lowest index among equals.

    Combinational.

    Ports
    -----
    magnitudes : in, 3 bits an element
        Codes without signs.
    refined : in, 2 bits an element
    chosen : out, 2 bits
    """

    stage = QuantiserStage.TOP1

    def __init__(self) -> None:
        super().__init__({
            "magnitudes": In(ELEMENTS * E2M1.magnitude_width), "refined": In(ELEMENTS * METADATA_WIDTH),
            "chosen": Out(METADATA_WIDTH),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        magnitudes = [self.magnitudes.word_select(i, E2M1.magnitude_width) for i in range(ELEMENTS)]
        largest, places = top1(m, magnitudes, "top")
        m.d.comb += Signal(len(largest), name="unused_largest").eq(largest)
        each = [self.refined.word_select(i, METADATA_WIDTH) for i in range(ELEMENTS)]
        bits = (Cat(*(refined[bit] for refined in each)) & places for bit in range(METADATA_WIDTH))
        m.d.comb += self.chosen.eq(Cat(*(bit.any() for bit in bits)))
        return m


class ElemEMPath(QuantiserPath):
    """Blocks of 32 values to E2M1 codes, an E8M0 scale byte and metadata; ports: :class:`QuantiserPath` and

    metadata_code : out, 2 bits a subgroup of 8

    Parameters
    ----------
    fmt : ValueFormat
    pipeline : str
        Places of registers: ``maximum`` behind the largest exponent, ``lanes`` behind codes, or ``none``.
    """

    def __init__(self, fmt: ValueFormat, pipeline: str):
        ports = {"metadata_code": Out(SUBGROUPS * METADATA_WIDTH)}
        super().__init__(fmt, BLOCK, E2M1.width, Pipeline(("maximum", "lanes"), pipeline), ports)
        self.parts = {
            "quantise_maximum": ReferenceExponent(fmt, BLOCK, "floor", subnormals=False, zeros=False),
            "quantise_scale": PowerOfTwoScale(least=LEAST, signed_zeros=True),
            "quantise_lane": ElemEMLane(fmt),
            "quantise_metadata": SubgroupMetadata(),
        }

    def results(self, m: Module, registers: Registers, inputs: dict[str, Value]) -> dict[str, Value]:
        late, scale, highest, clear = scaled(m, self, registers, inputs["x"])
        codes, refined = [], []
        for i in range(BLOCK):
            codes.append(Signal(E2M1.width, name=f"code_{i}"))
            refined.append(Signal(METADATA_WIDTH, name=f"refined_{i}"))
            x = late.word_select(i, self.fmt.width)
            instantiate(
                m, self, "quantise_lane", f"lane_{i}", x=x, highest=highest, clear=clear, code=codes[-1],
                refined=refined[-1],
            )  # fmt: skip
        all_codes = registers.at("lanes", Cat(*codes), "codes")
        all_refined = registers.at("lanes", Cat(*refined), "refined")
        metadata = []
        each = [all_codes.word_select(i, E2M1.width)[: E2M1.magnitude_width] for i in range(BLOCK)]
        for group in range(SUBGROUPS):
            metadata.append(Signal(METADATA_WIDTH, name=f"metadata_{group}"))
            instantiate(
                m, self, "quantise_metadata", f"top_{group}", chosen=metadata[-1],
                magnitudes=Cat(*each[group * ELEMENTS : (group + 1) * ELEMENTS]),
                refined=all_refined.word_select(group, ELEMENTS * METADATA_WIDTH),
            )  # fmt: skip
        return {
            "codes": all_codes,
            "scale": registers.at("lanes", scale, "scale"),
            "metadata_code": Cat(*metadata),
        }
