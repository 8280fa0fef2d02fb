"""M2XFP's Elem-EM: E2M1 codes, and two bits that refine the largest element of every subgroup to E2M3."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import E2M1
from hwsim.rtl.arith import saturated, sized
from hwsim.rtl.hierarchy import COMMENT, Pipeline, Registers, instantiate
from hwsim.rtl.quantise.engine import SCALE_WIDTH, QuantiserPath
from hwsim.rtl.quantise.floats import Fields, ValueFormat
from hwsim.rtl.quantise.power_of_two import PowerOfTwoScale, ReferenceExponent, e2m1_code, scaled
from hwsim.rtl.quantise.stage import QuantiserStage
from hwsim.rtl.tile.refinement import BLOCK, ELEMENTS, METADATA_WIDTH, SUBGROUPS, top1

#: Exponent field of 1e-8, which no block's largest magnitude counts as less than.
LEAST = 100
_NEAR_WIDTH, _FRACTION_WIDTH = 3, 5


class ElemEMLane(wiring.Component):
    """The E2M1 code of a value, and what its metadata would follow from if it were its subgroup's largest element.

    Combinational.

    Parameters
    ----------
    fmt : ValueFormat

    Ports
    -----
    x : in
    highest : in, 8 bits
        At least the exponent field of ``x``, and at least :data:`LEAST`.
    clear : in, 1 bit
        Makes the code 0.
    code : out, 4 bits
    near : out, 3 bits
        Binades below E2M1's highest; 7 for 7 and more.
    fraction : out, 5 bits
        The fraction's first four bits, and below them whether any other is 1.
    """

    stage = QuantiserStage.LANES

    def __init__(self, fmt: ValueFormat):
        super().__init__({
            "x": In(fmt.width), "highest": In(SCALE_WIDTH), "clear": In(1), "code": Out(E2M1.width),
            "near": Out(_NEAR_WIDTH), "fraction": Out(_FRACTION_WIDTH),
        })  # fmt: skip
        self.fmt = fmt

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Fields.of(self.x, self.fmt)
        distance = sized(m, self.highest - x.exponent, SCALE_WIDTH, "distance", "Binades below E2M1's highest")
        code = e2m1_code(m, x, distance)
        kept = ~self.clear
        m.d.comb += self.code.eq(Cat(code, x.sign) & kept.replicate(E2M1.width))
        m.d.comb += self.near.eq(saturated(m, distance, _NEAR_WIDTH, "distance"))
        rest = len(x.fraction) - _FRACTION_WIDTH + 1
        m.d.comb += self.fraction.eq(Cat(x.fraction[:rest].any(), x.fraction[rest:]))
        return m


class SubgroupTop(wiring.Component):
    """Of a subgroup's largest code, the lowest index among equals, what its metadata follow from.

    Combinational.

    Ports
    -----
    magnitudes : in, 3 bits an element
        Codes without signs.
    near, fraction : in
        Of all lanes: see :class:`ElemEMLane`.
    near_of_top, fraction_of_top : out, 3 and 5 bits
    """

    stage = QuantiserStage.TOP1

    def __init__(self) -> None:
        super().__init__({
            "magnitudes": In(ELEMENTS * E2M1.magnitude_width), "near": In(ELEMENTS * _NEAR_WIDTH),
            "fraction": In(ELEMENTS * _FRACTION_WIDTH), "near_of_top": Out(_NEAR_WIDTH),
            "fraction_of_top": Out(_FRACTION_WIDTH),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        magnitudes = [self.magnitudes.word_select(i, E2M1.magnitude_width) for i in range(ELEMENTS)]
        largest, places = top1(m, magnitudes, "top")
        m.d.comb += Signal(len(largest), name="unused_largest").eq(largest)
        for values, top in ((self.near, self.near_of_top), (self.fraction, self.fraction_of_top)):
            each = [values.word_select(i, len(top)) for i in range(ELEMENTS)]
            bits = (Cat(*(value[bit] for value in each)) & places for bit in range(len(top)))
            m.d.comb += top.eq(Cat(*(bit.any() for bit in bits)))
        return m


class Metadata(wiring.Component):
    """The metadata of a subgroup from its largest element: ``E2M3 code + 1 - 4 * E2M1 code``, held to 0 to 3.

    Combinational. Both codes are the value rounded to nearest, ties to even.

    Ports
    -----
    near, fraction : in
        See :class:`ElemEMLane`.
    clear : in, 1 bit
        Makes the metadata 0.
    metadata_code : out, 2 bits
    """

    stage = QuantiserStage.TOP1

    def __init__(self) -> None:
        super().__init__({
            "near": In(_NEAR_WIDTH), "fraction": In(_FRACTION_WIDTH), "clear": In(1),
            "metadata_code": Out(METADATA_WIDTH),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Fields(self.fraction, Const(0, 1), Const(0, 1))
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
        attributes = {COMMENT: "Metadata; 1 adds nothing"}
        refined = Signal(METADATA_WIDTH, name="refined_code", init=1, attrs=attributes)
        with m.Switch(self.near):
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
        kept = ~self.clear
        m.d.comb += self.metadata_code.eq(refined & kept.replicate(METADATA_WIDTH))
        return m


class ElemEMPath(QuantiserPath):
    """Blocks of 32 values to E2M1 codes, an E8M0 scale byte and metadata; ports: :class:`QuantiserPath` and

    metadata_code : out, 2 bits a subgroup of 8

    Parameters
    ----------
    fmt : ValueFormat
    pipeline : str
        Places of registers: ``maximum`` behind the largest exponent, ``top`` behind codes and the choice of the
        largest, or ``none``.
    """

    def __init__(self, fmt: ValueFormat, pipeline: str):
        ports = {"metadata_code": Out(SUBGROUPS * METADATA_WIDTH)}
        super().__init__(fmt, BLOCK, E2M1.width, Pipeline(("maximum", "top"), pipeline), ports)
        self.parts = {
            "quantise_maximum": ReferenceExponent(fmt, BLOCK, "floor", subnormals=False, zeros=False),
            "quantise_scale": PowerOfTwoScale(least=LEAST, signed_zeros=True),
            "quantise_lane": ElemEMLane(fmt),
            "quantise_top": SubgroupTop(),
            "quantise_metadata": Metadata(),
        }

    def results(self, m: Module, registers: Registers, inputs: dict[str, Value]) -> dict[str, Value]:
        late, scale, highest, clear = scaled(m, self, registers, inputs["x"])
        lanes: dict[str, list[Value]] = {"code": [], "near": [], "fraction": []}
        lane = self.parts["quantise_lane"]
        for i in range(BLOCK):
            made = {name: Signal(len(getattr(lane, name)), name=f"{name}_{i}") for name in lanes}
            x = late.word_select(i, self.fmt.width)
            instantiate(m, self, "quantise_lane", f"lane_{i}", x=x, highest=highest, clear=clear, **made)
            for name, value in made.items():
                lanes[name].append(value)
        cleared = registers.at("top", clear, "clear")
        metadata = []
        for group in range(SUBGROUPS):
            of_group = {name: Cat(*values[group * ELEMENTS : (group + 1) * ELEMENTS]) for name, values in lanes.items()}
            each = (of_group["code"].word_select(i, E2M1.width)[: E2M1.magnitude_width] for i in range(ELEMENTS))
            found = {
                "near": Signal(_NEAR_WIDTH, name=f"near_of_{group}"),
                "fraction": Signal(_FRACTION_WIDTH, name=f"fraction_of_{group}"),
            }
            instantiate(
                m, self, "quantise_top", f"top_{group}", magnitudes=Cat(*each), near=of_group["near"],
                fraction=of_group["fraction"], near_of_top=found["near"], fraction_of_top=found["fraction"],
            )  # fmt: skip
            held = {name: registers.at("top", value, f"{name}_{group}") for name, value in found.items()}
            metadata.append(Signal(METADATA_WIDTH, name=f"metadata_{group}"))
            instantiate(
                m, self, "quantise_metadata", f"refine_{group}", clear=cleared, metadata_code=metadata[-1], **held
            )  # fmt: skip
        return {
            "codes": registers.at("top", Cat(*lanes["code"]), "codes"),
            "scale": registers.at("top", scale, "scale"),
            "metadata_code": Cat(*metadata),
        }
