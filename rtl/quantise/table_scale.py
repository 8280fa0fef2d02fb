"""NVFP4's family: block scales in UE4M3 under a tensor scale, by thresholds that are constants of the tensor.

For a fixed scale, the code of a value is the number of thresholds that its magnitude reaches. What the thresholds are,
and where they come from: :mod:`hwsim.rtl.quantise.tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import E2M1, E8M0, UE4M3
from hwsim.rtl.arith import maximum, ones, select, sized, steps_reached
from hwsim.rtl.hierarchy import Pipeline, Registers, instantiate
from hwsim.rtl.quantise.engine import SCALE_WIDTH, QuantiserPath
from hwsim.rtl.quantise.floats import EXPONENT_WIDTH, INPUTS, Fields, ValueFormat
from hwsim.rtl.quantise.power_of_two import AT_ONCE
from hwsim.rtl.quantise.stage import QuantiserStage
from hwsim.rtl.quantise.tables import (
    E2M1_LADDER,
    FAMILIES,
    FIRST,
    OFFSET_WIDTH,
    ROWS,
    SCALE_PORTS,
    Family,
    Ladder,
    table_widths,
    tensor_fields,
)

#: Binades between the smallest scale's leading one and that of scale exponent field 1.
SUBNORMAL_BINADES = UE4M3.fraction_width
TENSOR_SCALES = ("table", "pow2")
#: Places of registers up to the lanes: behind the largest magnitude, the scale, and its thresholds.
PLACES = ("maximum", "scale", "row")


@dataclass(frozen=True)
class Told:
    """What an engine is told of a tensor, and how: through ports, or as constants and the tensor scale's exponent.

    Attributes
    ----------
    fmt, amax : ValueFormat
        Formats of the values and of the tensor's largest magnitude.
    family : Family
    constant : bool
        Whether tensor scales are powers of two.
    """

    fmt: ValueFormat
    family: Family
    constant: bool
    amax: ValueFormat = INPUTS["bf16"]

    @property
    def widths(self) -> dict[str, int]:
        """Width of every port of the engine that tells it of a tensor."""
        if self.constant:
            return {"live": 1, "tensor_scale": EXPONENT_WIDTH}
        return {name: n * width for name, (n, width) in table_widths(self.fmt, self.family, self.amax).items()}

    def ports(self, names: Iterable[str], prefix: str = "") -> dict[str, In]:
        """The ports of a part that is told ``names``, which begin with ``prefix`` at the engine but not at the part."""
        return {part: In(self.widths[name]) for part, name in self.names(names, prefix).items()}

    def names(self, names: Iterable[str], prefix: str = "") -> dict[str, str]:
        """Names of the engine's ports by those of a part's ports."""
        if self.constant:
            return {"tensor_scale": "tensor_scale"} | ({"live": "live"} if "live" in names else {})
        return {name: prefix + name if name in SCALE_PORTS else name for name in names}

    def value(self, part: wiring.Component, name: str, prefix: str = "") -> Value:
        """What a part is told by a name of :func:`table_widths`; constants are those of tensor scale 1."""
        if not self.constant:
            return getattr(part, name)
        fields = tensor_fields(self.family.full_scale, self.family.name, self.fmt.name)[prefix + name]
        count, width = table_widths(self.fmt, self.family, self.amax)[prefix + name]
        return Const(sum(int(value) << (width * i) for i, value in enumerate(fields)), count * width)


def checked_tensor_scale(name: str) -> bool:
    """Whether tensor scales are powers of two; ValueError if ``name`` is unknown."""
    if name not in TENSOR_SCALES:
        raise ValueError(f"tensor_scale must be {' or '.join(TENSOR_SCALES)}, got {name!r}")
    return name == "pow2"


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
        m.d.comb += self.largest.eq(maximum(m, magnitudes, "of_all", AT_ONCE))
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
    told : Told
    prefix : str
        Which of the engine's scales this is: see :func:`hwsim.rtl.quantise.tables.prefixes`.

    Ports
    -----
    largest : in
    live, scale_*, tensor_scale : in
        See the engine.
    scale : out, 8 bits
    """

    stage = QuantiserStage.SCALE

    def __init__(self, told: Told, prefix: str = ""):
        self.connections = told.names(("live", *SCALE_PORTS), prefix)
        super().__init__({
            "largest": In(told.fmt.magnitude_width), **told.ports(("live", *SCALE_PORTS), prefix),
            "scale": Out(SCALE_WIDTH),
        })  # fmt: skip
        self.told, self.prefix = told, prefix

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt = self.told.fmt
        fractions, offset, thresholds = (self.told.value(self, name, self.prefix) for name in SCALE_PORTS)
        fraction, field = self.largest[: fmt.fraction_width], self.largest[fmt.fraction_width :]
        special = sized(m, field.all(), 1, "special", "A value is infinite or NaN")
        exponent: Value = field
        if self.told.constant:
            # As under tensor scale 1, held to eight bits: thresholds are far from either end.
            moved = sized(m, (field - self.tensor_scale) + E8M0.bias, EXPONENT_WIDTH + 2, "moved")
            within = Mux(moved[EXPONENT_WIDTH], (1 << EXPONENT_WIDTH) - 1, moved[:EXPONENT_WIDTH])
            exponent = sized(m, Mux(moved[-1], 0, within), EXPONENT_WIDTH, "exponent")
        largest = Cat(fraction, exponent)
        above = [
            sized(m, fraction >= fractions.word_select(i, fmt.fraction_width), 1, f"above_{i}") for i in range(FIRST)
        ]
        reached = [
            sized(m, largest >= thresholds.word_select(i, fmt.magnitude_width), 1, f"reached_{i}") for i in range(FIRST)
        ]
        counted = ones(m, above, "counted")
        count = sized(m, counted, FIRST.bit_length(), "count", "Fractions that the largest reaches")
        # In this order, the difference does not wait for the count.
        lowered = sized(m, Cat(Const(0, UE4M3.fraction_width), exponent) - offset, OFFSET_WIDTH + 2, "lowered")
        code = sized(m, lowered + count, OFFSET_WIDTH + 2, "code", "Code by binades, two's complement")
        most = UE4M3.max_code
        low = code[-1] | (code[: OFFSET_WIDTH + 1] < FIRST)
        high = ~code[-1] & (code[: OFFSET_WIDTH + 1] > most)
        held = sized(m, Mux(low, FIRST, Mux(high, most, code[:SCALE_WIDTH])), SCALE_WIDTH, "held")
        small = sized(m, steps_reached(reached[:-1]), SCALE_WIDTH, "small", "Code below the first whole binade")
        finite = sized(m, Mux(reached[-1], held, small), SCALE_WIDTH, "finite")
        m.d.comb += self.scale.eq(Mux(special, UE4M3.nan_code, finite & self.live.replicate(SCALE_WIDTH)))
        return m


class RowSelect(wiring.Component):
    """The thresholds of a scale, and the scale normalised.

    Combinational.

    Parameters
    ----------
    told : Told
    ladder : Ladder
    normalised : bool
        Whether there are the ports ``significand``, ``first_carry`` and ``odd``.

    Ports
    -----
    scale : in, 8 bits
    element_*, e1m2_*, tensor_scale : in
        See the engine.
    fractions, carries : out
        The row of the scale's significand; carries of all columns but the first.
    first : out, 8 bits
        Exponent field of E2M1's first threshold; under a zero scale, of that of the smallest.
    clear : out, 1 bit
        Whether all codes are 0: the scale is zero or NaN.
    significand : out, 4 bits
        Of the scale, with a leading one; 0 for zero.
    first_carry : out, 1 bit
        Carry of the first column.
    odd : out, 1 bit
        Lowest bit of the number of binades from the smallest scale to this one.
    """

    stage = QuantiserStage.SCALE

    def __init__(self, told: Told, ladder: Ladder = E2M1_LADDER, normalised: bool = False):
        columns = len(ladder.columns)
        names = ["element_base", "element_fractions", "element_carries"]
        if columns > len(E2M1_LADDER.columns):
            names += ["e1m2_fractions", "e1m2_carries"]
        self.connections = told.names(names)
        of_scale = {"significand": UE4M3.fraction_width + 1, "first_carry": 1, "odd": 1} if normalised else {}
        super().__init__({
            "scale": In(SCALE_WIDTH), **told.ports(names), "fractions": Out(columns * told.fmt.fraction_width),
            "carries": Out(columns - 1), "first": Out(EXPONENT_WIDTH), "clear": Out(1),
            **{name: Out(width) for name, width in of_scale.items()},
        })  # fmt: skip
        self.told, self.ladder, self.normalised, self.names = told, ladder, normalised, names

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fraction, field = self.scale[: UE4M3.fraction_width], self.scale[UE4M3.fraction_width : UE4M3.magnitude_width]
        # A subnormal scale is normalised: its leading one goes, and the exponent counts from the smallest scale's.
        row = Signal(UE4M3.fraction_width)
        binades = Signal(UE4M3.exponent_width + 1)
        with m.If(field.any()):
            m.d.comb += [row.eq(fraction), binades.eq(field + (SUBNORMAL_BINADES - 1))]
        with m.Else():
            for leading in range(UE4M3.fraction_width):
                with m.If(fraction[leading]):
                    shift = UE4M3.fraction_width - leading
                    m.d.comb += [row.eq(fraction << shift), binades.eq(leading)]
        told = {name: self.told.value(self, name) for name in self.names}
        width = self.told.fmt.fraction_width
        fractions, carries = [], []
        for name in ("element", "e1m2")[: len(self.names) // 2]:
            all_fractions, all_carries = told[f"{name}_fractions"], told[f"{name}_carries"]
            fractions.append(self._of_row(all_fractions, row))
            carries.append(self._of_row(all_carries, row))
        assert len(Cat(*fractions)) == len(self.carries) * width + width
        m.d.comb += self.fractions.eq(Cat(*fractions))
        row_carries = sized(m, Cat(*carries), len(self.carries) + 1, "row_carries")
        m.d.comb += self.carries.eq(row_carries[1:])
        base = told["element_base"]
        if self.told.constant:
            base = sized(m, base + self.tensor_scale - E8M0.bias, EXPONENT_WIDTH, "base")
        m.d.comb += self.first.eq(base + binades + row_carries[0])
        m.d.comb += self.clear.eq(~self.scale.any() | (self.scale == UE4M3.nan_code))
        if self.normalised:
            present = self.scale.any()
            m.d.comb += self.significand.eq(Cat(row, Const(1, 1)) & present.replicate(len(self.significand)))
            m.d.comb += [self.first_carry.eq(row_carries[0]), self.odd.eq(binades[0])]
        return m

    @staticmethod
    def _of_row(table: Value, row: Value) -> Value:
        width = len(table) // ROWS
        return select([table.word_select(i, width) for i in range(ROWS)], row)


@dataclass(frozen=True)
class Distance:
    """How far a value's exponent is above that of E2M1's first threshold.

    Attributes
    ----------
    value : Value
        Binades, meaningless where the exponent is below.
    level, beyond : list of Value
        Whether it is ``n`` binades above; whether it is more than ``n``.
    """

    value: Value
    level: list[Value]
    beyond: list[Value]

    @classmethod
    def of(cls, m: Module, x: Fields, first: Value, most: int) -> Distance:
        """The distance, told apart up to ``most`` binades."""
        above = sized(m, x.exponent - first, EXPONENT_WIDTH + 1, "above", "Binades above the first threshold")
        negative, distance = above[-1], above[:-1]
        level = [sized(m, ~negative & (distance == n), 1, f"at_{n}") for n in range(most + 1)]
        beyond = [sized(m, ~negative & (distance > n), 1, f"beyond_{n}") for n in range(most + 1)]
        return cls(distance, list(level), list(beyond))


def most_binades(ladder: Ladder, extra: int) -> int:
    """The largest distance of a threshold of a ladder whose columns begin up to ``extra`` binades higher."""
    return max(ladder.columns[column] + up for column, up in ladder.steps) + extra


def ladder_code(
    m: Module, x: Fields, distance: Distance, ladder: Ladder, fractions: Value, extras: Sequence[Value], name: str
) -> Value:
    """The magnitude code of a value: how many of a ladder's thresholds it reaches.

    Parameters
    ----------
    m : Module
    x : Fields
    distance : Distance
    ladder : Ladder
    fractions : Value
        Of the thresholds, column by column.
    extras : sequence of Value
        How many binades more each column begins above the first: up to 2.
    name : str
        What names of signals begin with.
    """
    width = len(x.fraction)
    at_least = [
        sized(m, x.fraction >= fractions.word_select(i, width), 1, f"{name}fraction_{i}")
        for i in range(len(ladder.columns))
    ]

    def reaches(column: int, binades: int, code: int) -> Signal:
        extra = extras[column]
        reached = [
            distance.beyond[n] | (distance.level[n] & at_least[column])
            for n in range(binades, binades + (1 << len(extra)) - (len(extra) > 1))
        ]
        whole = reached[0]
        if len(extra):
            whole = Mux(extra[0], reached[1], reached[0])
        if len(extra) > 1:
            whole = Mux(extra[1], reached[2], whole)
        return sized(m, whole, 1, f"{name}reaches_{code}")

    steps = enumerate(ladder.steps, 1)
    # Thresholds ascend.
    return steps_reached([reaches(column, ladder.columns[column] + up, code) for code, (column, up) in steps])


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
        columns = len(E2M1_LADDER.columns)
        super().__init__({
            "x": In(fmt.width), "fractions": In(columns * fmt.fraction_width), "carries": In(columns - 1),
            "first": In(EXPONENT_WIDTH), "clear": In(1), "code": Out(E2M1.width),
        })  # fmt: skip
        self.fmt = fmt

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Fields.of(self.x, self.fmt)
        distance = Distance.of(m, x, self.first, most_binades(E2M1_LADDER, 1))
        code = ladder_code(m, x, distance, E2M1_LADDER, self.fractions, [Const(0, 0), *self.carries], "")
        kept = ~self.clear
        m.d.comb += self.code.eq(Cat(code, x.sign) & kept.replicate(E2M1.width))
        return m


class TablePath(QuantiserPath):
    """Blocks of values to E2M1 codes and a UE4M3 scale byte; ports: those of ``QuantiserPath``, of ``Told``, and

    block_max : out
        Bits of the block's largest magnitude: what a running maximum of the tensor needs.

    Parameters
    ----------
    fmt : ValueFormat
    block_size : int
    constant : bool
        Whether tensor scales are powers of two.
    pipeline : str
        Places of registers: ``maximum`` behind the largest magnitude, ``scale`` behind the scale, ``row`` behind its
        thresholds.
    """

    def __init__(self, fmt: ValueFormat, block_size: int, constant: bool, pipeline: str):
        told = Told(fmt, FAMILIES["nvfp4"], constant)
        ports = {name: In(width) for name, width in told.widths.items()} | {"block_max": Out(fmt.magnitude_width)}
        super().__init__(fmt, block_size, E2M1.width, Pipeline(PLACES, pipeline), ports, told.widths)
        self.parts = {
            "quantise_maximum": MagnitudeMaximum(fmt, block_size),
            "quantise_scale": ScaleFinder(told),
            "quantise_row": RowSelect(told),
            "quantise_lane": ThresholdLane(fmt),
        }

    def results(self, m: Module, registers: Registers, inputs: dict[str, Value]) -> dict[str, Value]:
        largest = found_maximum(m, self, registers, inputs)
        scale_now = Signal(SCALE_WIDTH)
        place(m, self, "quantise_scale", inputs, largest=largest, scale=scale_now)
        scale = registers.at("scale", scale_now, "scale")
        found = place(m, self, "quantise_row", inputs, scale=scale)
        held = {name: registers.at("row", value, name) for name, value in found.items()}
        late = registers.delay(inputs["x"], "x", *PLACES)
        codes = []
        for i in range(self.block_size):
            codes.append(Signal(E2M1.width, name=f"code_{i}"))
            x = late.word_select(i, self.fmt.width)
            instantiate(m, self, "quantise_lane", f"lane_{i}", x=x, code=codes[-1], **held)
        return {
            "codes": Cat(*codes),
            "scale": registers.at("row", scale, "scale"),
            "block_max": registers.delay(largest, "largest", *PLACES[1:]),
        }


def found_maximum(m: Module, path: QuantiserPath, registers: Registers, inputs: dict[str, Value]) -> Value:
    """Add the largest magnitude to a path, with the registers at ``maximum`` behind it."""
    largest = Signal(path.fmt.magnitude_width, name="largest_now")
    instantiate(m, path, "quantise_maximum", "maximum", x=inputs["x"], largest=largest)
    return registers.at("maximum", largest, "largest")


def place(m: Module, path: QuantiserPath, module: str, inputs: dict[str, Value], **ports: Value) -> dict[str, Signal]:
    """Instantiate a part that is told of the tensor; returns signals at those of its outputs that ``ports`` lacks."""
    part = path.parts[module]
    assert isinstance(part, ScaleFinder | RowSelect)
    told = {port: inputs[source] for port, source in part.connections.items()}
    made = {
        port: Signal(len(getattr(part, port)), name=f"{module.removeprefix('quantise_')}_{port}")
        for port, member in part.signature.members.items() if member.flow is Out and port not in ports
    }  # fmt: skip
    instantiate(m, path, module, module.removeprefix("quantise_") + "_part", **told, **ports, **made)
    return made
