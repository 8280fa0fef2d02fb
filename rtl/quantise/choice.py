"""Two candidates for a block, and the exact choice of the one with the smaller squared error.

A candidate decodes a value to ``d = u / 2 * amax / full_scale`` with the integer ``u = 2 * code value * scale``. The
squares of the values themselves are common to both candidates and cancel: with ``N`` the sum of ``u_large**2 -
u_small**2`` and ``M`` the sum of ``|x| * (u_large - u_small)``, the candidate of larger scale is strictly better if and
only if ``amax * N < 4 * full_scale * M``. Nothing is squared but codes, nothing is decoded, nothing is rounded.

Magnitudes enter as integers: significands moved by their distance from E2M1's first threshold under the smaller scale.
What lies below it has code 0 in both candidates and adds to neither sum. The significands of the scales are factored
out of the sums over the block.
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import E2M1, UE4M3
from hwsim.rtl.arith import Arithmetic, Sum, add_bits, add_constant, columns, compress, select, sized
from hwsim.rtl.hierarchy import Pipeline, Registers, instantiate
from hwsim.rtl.quantise.engine import SCALE_WIDTH, QuantiserPath
from hwsim.rtl.quantise.floats import EXPONENT_WIDTH, INPUTS, Fields, ValueFormat
from hwsim.rtl.quantise.stage import QuantiserStage
from hwsim.rtl.quantise.table_scale import (
    PLACES,
    Distance,
    MagnitudeMaximum,
    RowSelect,
    ScaleFinder,
    Told,
    found_maximum,
    ladder_code,
    most_binades,
    place,
)
from hwsim.rtl.quantise.tables import CANDIDATES, E1M2_LADDER, E2M1_LADDER, FAMILIES, Ladder, factor_width, prefixes

#: Binades that magnitudes are moved by at most.
MOST_MOVED = 6
#: Width of the distance, in binades, of a column of the larger scale from the first threshold under the smaller.
_EXTRA_WIDTH = 2
SIGNIFICAND_WIDTH = UE4M3.fraction_width + 1
#: The largest significand of a scale.
SIGNIFICAND_MOST = (2 << UE4M3.fraction_width) - 1
#: The larger scale lies at most one binade above the smaller.
_LARGE_WIDTH = SIGNIFICAND_WIDTH + 1
_MAGNITUDE = E2M1.magnitude_width
#: Places of registers behind the lanes.
_BEHIND = ("lanes", "products", "sums")


def moved_width(fmt: ValueFormat) -> int:
    """Width of a moved significand."""
    return fmt.fraction_width + 1 + MOST_MOVED


def units(ladder: Ladder) -> list[int]:
    """The integer that stands for every code in the sums: twice the value of E2M1's codes, the value of E1M2's."""
    step = 0.5 if ladder is E2M1_LADDER else 1.0
    values = ladder.element.values[: ladder.element.max_code + 1]
    return [int(value / step) for value in values]


class LargeRow(wiring.Component):
    """How many binades the columns of the larger scale begin above E2M1's first threshold under the smaller scale.

    Combinational.

    Ports
    -----
    first_small, first_large : in, 8 bits
        ``first`` of either scale's :class:`RowSelect`.
    carries : in, 3 bits
        Of the larger scale.
    extras : out, 2 bits a column
        Beyond the binades that the columns have anyway; the larger scale's thresholds are at most twice those of the
        smaller, so that there are at most two.
    """

    stage = QuantiserStage.SCALE

    def __init__(self) -> None:
        carries = len(E2M1_LADDER.columns) - 1
        super().__init__({
            "first_small": In(EXPONENT_WIDTH), "first_large": In(EXPONENT_WIDTH), "carries": In(carries),
            "extras": Out(_EXTRA_WIDTH * (carries + 1)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Both are within two binades: their lowest bits tell the distance.
        low = slice(0, _EXTRA_WIDTH)
        distance = sized(m, self.first_large[low] - self.first_small[low], _EXTRA_WIDTH, "between")
        unused = Cat(self.first_large[_EXTRA_WIDTH:], self.first_small[_EXTRA_WIDTH:])
        m.d.comb += Signal(len(unused), name="unused_high").eq(unused)
        extras = [distance] + [
            sized(m, distance + carry, _EXTRA_WIDTH, f"of_{i}") for i, carry in enumerate(self.carries, 1)
        ]
        m.d.comb += self.extras.eq(Cat(*extras))
        return m


class ChoosingLane(wiring.Component):
    """Codes of a value under both scales of its block, and its magnitude for the choice.

    Combinational.

    Parameters
    ----------
    fmt : ValueFormat
    small : Ladder
        Element format of the candidate of smaller scale; that of the larger is E2M1.
    hold : bool
        Whether magnitudes beyond the largest distance count as the largest number: where both scales are the largest
        there is, values of any size may come, and both candidates differ.

    Ports
    -----
    x : in
    first, small_fractions, small_carries, small_clear : in
        See :class:`RowSelect`.
    large_fractions, large_extras, large_clear : in
        See :class:`RowSelect` and :class:`LargeRow`.
    sign : out, 1 bit
    small_code, large_code : out, 3 bits
        Without signs.
    moved : out
        The significand times two to the distance; meaningless where both codes are 0.
    """

    stage = QuantiserStage.LANES

    def __init__(self, fmt: ValueFormat, small: Ladder, hold: bool):
        of_small, of_large = len(small.columns), len(E2M1_LADDER.columns)
        super().__init__({
            "x": In(fmt.width), "first": In(EXPONENT_WIDTH), "small_fractions": In(of_small * fmt.fraction_width),
            "small_carries": In(of_small - 1), "small_clear": In(1),
            "large_fractions": In(of_large * fmt.fraction_width), "large_extras": In(of_large * _EXTRA_WIDTH),
            "large_clear": In(1), "sign": Out(1), "small_code": Out(_MAGNITUDE), "large_code": Out(_MAGNITUDE),
            "moved": Out(moved_width(fmt)),
        })  # fmt: skip
        self.fmt, self.small, self.hold = fmt, small, hold

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Fields.of(self.x, self.fmt)
        most = max(most_binades(self.small, 1), most_binades(E2M1_LADDER, 2), MOST_MOVED)
        distance = Distance.of(m, x, self.first, most)
        # E1M2's first code begins a fixed number of binades above E2M1's first threshold, whose carry is in ``first``.
        small = [Const(0, 0), *self.small_carries]
        large = [self.large_extras.word_select(i, _EXTRA_WIDTH) for i in range(len(E2M1_LADDER.columns))]
        codes = {
            "small": ladder_code(m, x, distance, self.small, self.small_fractions, small, "small_"),
            "large": ladder_code(m, x, distance, E2M1_LADDER, self.large_fractions, large, "large_"),
        }
        for name, code in codes.items():
            kept = (~getattr(self, f"{name}_clear")).replicate(_MAGNITUDE)
            m.d.comb += getattr(self, f"{name}_code").eq(code & kept)
        m.d.comb += self.sign.eq(x.sign)
        moved: Value = Cat(x.fraction, Const(1, 1), Const(0, MOST_MOVED))
        width = len(moved)
        for k in range(MOST_MOVED.bit_length()):
            level = Signal(width, name=f"moved_by{1 << k}")
            m.d.comb += level.eq(Mux(distance.value[k], Cat(Const(0, 1 << k), moved[: width - (1 << k)]), moved))
            moved = level
        if self.hold:
            # The bits below do not matter: what is as large as this decides alone.
            ones = distance.beyond[MOST_MOVED].replicate(self.fmt.fraction_width + 1)
            moved = moved | Cat(Const(0, MOST_MOVED), ones)
        m.d.comb += self.moved.eq(moved)
        return m


class ProductSum(wiring.Component):
    """The sum over a block of magnitude times code, in units of one or of half.

    Combinational.

    Parameters
    ----------
    ladder : Ladder
    block_size, width : int
        Width of a magnitude.
    arithmetic : Arithmetic

    Ports
    -----
    moved : in
    codes : in, 3 bits an element
    total : out
    """

    stage = QuantiserStage.CHOICE

    def __init__(self, ladder: Ladder, block_size: int, width: int, arithmetic: Arithmetic):
        self.most = block_size * ((1 << width) - 1) * max(units(ladder))
        super().__init__({
            "moved": In(block_size * width), "codes": In(block_size * _MAGNITUDE), "total": Out(self.most.bit_length()),
        })  # fmt: skip
        self.ladder, self.block_size, self.width, self.arithmetic = ladder, block_size, width, arithmetic

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = Sum(len(self.total), self.arithmetic)
        for i in range(self.block_size):
            x, code = self.moved.word_select(i, self.width), self.codes.word_select(i, _MAGNITUDE)
            for n, row in enumerate(self._rows(x, code)):
                total.add(sized(m, row, len(row), f"row_{i}_{n}"))
        m.d.comb += self.total.eq(total.total(m, "sum"))
        return m

    def _rows(self, x: Value, code: Value) -> list[Value]:
        """Addends whose sum is a product."""
        if self.arithmetic is Arithmetic.OPERATORS:
            multiples = Signal(max(units(self.ladder)).bit_length())
            return [x * select([Const(n, len(multiples)) for n in units(self.ladder)], code)]
        if self.ladder is E1M2_LADDER:
            return [Cat(Const(0, bit), x & code[bit].replicate(len(x))) for bit in range(_MAGNITUDE)]
        # E2M1: the leading one and the fraction bit; in half units they weigh 2, 4, 8 and 1, 1, 2, 4 by exponent.
        fraction, exponent = code[0], code[1:]
        leading = self._either(x, [exponent == e for e in (1, 2, 3)], (1, 2, 3))
        low = [fraction & ~exponent[1], fraction & (exponent == 2), fraction & (exponent == 3)]
        return [leading, self._either(x, low, (0, 1, 2))]

    @staticmethod
    def _either(x: Value, which: Sequence[Value], places: Sequence[int]) -> Value:
        """``x`` moved up by one of several numbers of places, or 0."""
        width = len(x) + max(places)
        result: Value = Const(0, width)
        for one, places_up in zip(which, places, strict=True):
            result = result | (Cat(Const(0, places_up), x, Const(0, width - places_up - len(x))) & one.replicate(width))
        return result[:width]


class SquareSum(wiring.Component):
    """The sum over a block of the squares of codes, in units of one or of half.

    Combinational.

    Parameters
    ----------
    ladder : Ladder
    block_size : int
    arithmetic : Arithmetic

    Ports
    -----
    codes : in, 3 bits an element
    total : out
    """

    stage = QuantiserStage.CHOICE

    def __init__(self, ladder: Ladder, block_size: int, arithmetic: Arithmetic):
        self.most = block_size * max(units(ladder)) ** 2
        super().__init__({"codes": In(block_size * _MAGNITUDE), "total": Out(self.most.bit_length())})
        self.ladder, self.block_size, self.arithmetic = ladder, block_size, arithmetic

    def elaborate(self, platform: object) -> Module:
        m = Module()
        squares = [n * n for n in units(self.ladder)]
        # Bit 1, which no square has, is no addend.
        held = [(n & 1) | (n >> 2) << 1 for n in squares]
        width = max(held).bit_length()
        total = Sum(len(self.total), self.arithmetic)
        for i in range(self.block_size):
            square = Signal(width, name=f"square_{i}")
            m.d.comb += square.eq(select([Const(n, width) for n in held], self.codes.word_select(i, _MAGNITUDE)))
            total.add(Cat(square[0], Const(0, 1), square[1:]))
        m.d.comb += self.total.eq(total.total(m, "sum"))
        return m


class Moment(wiring.Component):
    """What the candidates' sums differ by, significands of scales included: ``M`` of products, or ``N`` of squares.

    Combinational.

    Parameters
    ----------
    small, large : int
        The largest sums of the candidate of smaller and of larger scale.
    power : int
        Of the scales: 1 for products, 2 for squares.
    doubled : int
        Binades between the units of the smaller scale's codes and those of the larger's.
    arithmetic : Arithmetic

    Ports
    -----
    small_significand, large_significand : in, 4 bits
    apart : in, 1 bit
        Whether the larger scale lies one binade above the smaller.
    small_sum, large_sum : in
    total : out
        In two's complement.
    """

    stage = QuantiserStage.CHOICE

    def __init__(self, small: int, large: int, power: int, doubled: int, arithmetic: Arithmetic):
        most = max(large * (2 * SIGNIFICAND_MOST) ** power, small * (SIGNIFICAND_MOST << doubled) ** power)
        super().__init__({
            "small_significand": In(SIGNIFICAND_WIDTH), "large_significand": In(SIGNIFICAND_WIDTH), "apart": In(1),
            "small_sum": In(small.bit_length()), "large_sum": In(large.bit_length()),
            "total": Out(most.bit_length() + 1),
        })  # fmt: skip
        self.power, self.doubled, self.arithmetic = power, doubled, arithmetic

    def elaborate(self, platform: object) -> Module:
        m = Module()
        small, large = self.small_significand, self.large_significand
        value: Value = self.large_sum
        if self.power == 1:
            # One binade up: a significand of one more bit.
            large = sized(m, Mux(self.apart, Cat(Const(0, 1), large), large), _LARGE_WIDTH, "moved")
        else:
            value = sized(m, Mux(self.apart, Cat(Const(0, 2), value), value), len(value) + 2, "moved")
            small, large = self._squared(m, small, "small"), self._squared(m, large, "large")
        places, width = self.doubled * self.power, len(self.total)
        if self.arithmetic is Arithmetic.OPERATORS:
            first = sized(m, value * large, width, "of_large")
            second = sized(m, (self.small_sum * small) << places, width, "of_small")
            m.d.comb += self.total.eq(first - second)
            return m
        bits = columns(width)
        for i in range(len(large)):
            row = value & large[i].replicate(len(value))
            add_bits(bits, sized(m, row, len(value), f"plus_{i}"), i)
        for i in range(len(small)):
            row = ~(self.small_sum & small[i].replicate(len(self.small_sum)))
            add_bits(bits, sized(m, row, len(self.small_sum), f"minus_{i}"), i + places)
            # Below its leading zeros, the inverse is the negative less one: -v = ~v - (2**width - 1).
            add_constant(bits, -((1 << len(self.small_sum)) - 1) << (i + places))
        low, high = compress(m, bits, "sum")
        m.d.comb += self.total.eq(low + high)
        return m

    @staticmethod
    def _squared(m: Module, significand: Value, name: str) -> Signal:
        """The square of a significand with a leading one, or 0."""
        width = (SIGNIFICAND_MOST**2).bit_length()
        row, leading = significand[:-1], significand[-1]
        squares = [Const((n + (1 << len(row))) ** 2, width) for n in range(1 << len(row))]
        return sized(m, select(squares, row) & leading.replicate(width), width, f"{name}_square")


class Difference(wiring.Component):
    """The difference of both sides of the comparison that decides.

    Combinational. It is negative where the candidate of larger scale is strictly better.

    Parameters
    ----------
    told : Told
    products, squares : int
        Widths of ``M`` and ``N``.
    arithmetic : Arithmetic

    Ports
    -----
    products, squares : in
    first_carry : in, 1 bit
        Of the smaller scale: see :class:`RowSelect`.
    choice_factor : in
        See the engine; only where thresholds come through ports.
    total : out
        In two's complement.
    """

    stage = QuantiserStage.CHOICE

    def __init__(self, told: Told, products: int, squares: int, arithmetic: Arithmetic):
        self.told, self.arithmetic = told, arithmetic
        factor = 1 if told.constant else factor_width(told.amax)
        of_squares, of_products = self.multiples
        width = 2 + max(squares + factor + of_squares.bit_length(), products + 1 + of_products.bit_length())
        super().__init__({
            "products": In(products), "squares": In(squares), "first_carry": In(1),
            **({} if told.constant else {"choice_factor": In(factor)}), "total": Out(width),
        })  # fmt: skip

    @property
    def multiples(self) -> tuple[int, int]:
        """What ``N`` times the factor, and ``M``, are multiplied by to be compared.

        With ``amax = A * 2**(a - 7)``, E2M1's first threshold ``d + 9`` binades below under the smallest scale, and
        ``full_scale = odd * 2**p``, the rule ``amax * N < 4 * full_scale * M`` is ``A * 2**(d + 9) * N < odd * 2**(p +
        14 + carry) * M``: the smaller scale's exponent is in both, and cancels.
        """
        family = self.told.family
        number = int(family.full_scale)
        odd = number
        while odd % 2 == 0:
            odd //= 2
        power = (number // odd).bit_length() - 1
        shift = power + 14 - (family.least_distance + 9) + self.told.amax.fraction_width - 7
        factor = 1
        if self.told.constant:
            # The factor is the full scale's significand, 8 bits of it, a multiple of the odd part.
            significand = number << 7 >> (number.bit_length() - 1)
            assert significand % odd == 0
            odd, factor = 1, significand // odd
        return (factor << max(-shift, 0), odd << max(shift, 0))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        of_squares, of_products = self.multiples
        products = sized(
            m, Mux(self.first_carry, Cat(Const(0, 1), self.products), self.products.as_signed()),
            len(self.products) + 1, "carried",
        )  # fmt: skip
        factor: Value = Const(1, 1) if self.told.constant else self.choice_factor
        width = len(self.total)
        if self.arithmetic is Arithmetic.OPERATORS:
            wide = sized(m, self.squares.as_signed(), width, "wide_squares").as_signed()
            of_n = sized(m, wide * Cat(factor, Const(0, 1)).as_signed() * of_squares, width, "of_squares")
            wide_products = sized(m, products.as_signed(), width, "wide_products").as_signed()
            of_m = sized(m, wide_products * of_products, width, "of_products")
            m.d.comb += self.total.eq(of_n - of_m)
            return m
        bits = columns(width)
        for i in range(len(factor)):
            row = sized(m, self.squares & factor[i].replicate(len(self.squares)), len(self.squares), f"row_{i}")
            _add_signed_multiple(bits, row, of_squares << i)
        inverse = sized(m, ~products, len(products), "inverse")
        # The inverse is the negative less one.
        _add_signed_multiple(bits, inverse, of_products)
        add_constant(bits, of_products)
        low, high = compress(m, bits, "difference")
        m.d.comb += self.total.eq(low + high)
        return m


def _add_signed_multiple(bits: list[list[Value]], value: Value, multiple: int) -> None:
    """Add a two's complement value times a positive constant."""
    top = len(value) - 1
    for place_of in (i for i in range(multiple.bit_length()) if multiple >> i & 1):
        add_bits(bits, value[:top], place_of)
        # The sign weighs -1: ~sign - 1.
        add_bits(bits, ~value[top:], place_of + top)
        add_constant(bits, -(1 << (place_of + top)))


class Chosen(wiring.Component):
    """Codes and scale byte of the better candidate.

    Combinational.

    Parameters
    ----------
    block_size : int
    typed : bool
        Whether the top bit of the scale byte says which candidate it is.
    polarity : int
        That bit for the candidate of larger scale.

    Ports
    -----
    larger : in, 1 bit
        Whether the candidate of larger scale is better.
    signs : in, 1 bit an element
    small_codes, large_codes : in, 3 bits an element
    small_scale, large_scale : in, 8 bits
    codes, scale : out
    """

    stage = QuantiserStage.CHOICE

    def __init__(self, block_size: int, typed: bool, polarity: int):
        super().__init__({
            "larger": In(1), "signs": In(block_size), "small_codes": In(block_size * _MAGNITUDE),
            "large_codes": In(block_size * _MAGNITUDE), "small_scale": In(SCALE_WIDTH), "large_scale": In(SCALE_WIDTH),
            "codes": Out(block_size * E2M1.width), "scale": Out(SCALE_WIDTH),
        })  # fmt: skip
        self.block_size, self.typed, self.polarity = block_size, typed, polarity

    def elaborate(self, platform: object) -> Module:
        m = Module()
        magnitudes = sized(m, Mux(self.larger, self.large_codes, self.small_codes), len(self.small_codes), "magnitudes")
        scale = sized(m, Mux(self.larger, self.large_scale, self.small_scale), SCALE_WIDTH, "scale_of")
        special = sized(m, scale == UE4M3.nan_code, 1, "special")
        signed = sized(m, scale.any() & ~special, 1, "signed", "Codes have signs")
        codes = []
        for i in range(self.block_size):
            codes += [magnitudes.word_select(i, _MAGNITUDE), self.signs[i] & signed]
        m.d.comb += self.codes.eq(Cat(*codes))
        if self.typed:
            kind = self.larger ^ Const(1 - self.polarity, 1)
            m.d.comb += self.scale.eq(Cat(scale[: UE4M3.width], kind & signed))
        else:
            m.d.comb += self.scale.eq(scale)
        return m


class ChoosingPath(QuantiserPath):
    """Blocks of values to codes and a scale byte, the better of two; ports as of ``TablePath``.

    Parameters
    ----------
    system : str
        ``four_over_six`` or ``mixfp4``.
    block_size : int
    constant : bool
        Whether tensor scales are powers of two.
    amax : ValueFormat
        Format that holds tensors' largest magnitudes.
    polarity : int
        See :class:`Chosen`.
    pipeline : str
        Places of registers: ``maximum`` behind the largest magnitude, ``scale`` behind scales, ``row`` behind their
        thresholds, ``lanes`` behind codes, ``products`` behind the sums over the block, ``sums`` behind what they
        differ by.
    arithmetic : Arithmetic
    """

    def __init__(
        self, system: str, block_size: int, constant: bool, amax: ValueFormat, polarity: int, pipeline: str,
        arithmetic: Arithmetic,
    ):  # fmt: skip
        fmt = INPUTS["bf16"]
        told = Told(fmt, FAMILIES[system], constant, amax)
        ports = {name: In(width) for name, width in told.widths.items()} | {"block_max": Out(fmt.magnitude_width)}
        super().__init__(fmt, block_size, E2M1.width, Pipeline((*PLACES, *_BEHIND), pipeline), ports, told.widths)
        (small, _), (large, _) = told.family.candidates
        assert large is E2M1_LADDER
        uniform, width = small is E1M2_LADDER, moved_width(fmt)
        of_small, of_large = prefixes(told.family)
        products = ProductSum(small, block_size, width, arithmetic), ProductSum(large, block_size, width, arithmetic)
        squares = SquareSum(small, block_size, arithmetic), SquareSum(large, block_size, arithmetic)
        both: dict[str, tuple[ProductSum | SquareSum, ...]] = {"products": products, "squares": squares}
        moments = {
            kind: Moment(sums[0].most, sums[1].most, power, int(uniform), arithmetic)
            for power, (kind, sums) in enumerate(both.items(), 1)
        }
        decision = Difference(told, len(moments["products"].total), len(moments["squares"].total), arithmetic)
        self.parts = {
            "quantise_maximum": MagnitudeMaximum(fmt, block_size),
            "quantise_small_scale": ScaleFinder(told, of_small),
            "quantise_large_scale": ScaleFinder(told, of_large),
            "quantise_small_row": RowSelect(told, small, True),
            "quantise_large_row": RowSelect(told, large, True),
            "quantise_large_distance": LargeRow(),
            "quantise_lane": ChoosingLane(fmt, small, uniform),
            "quantise_small_products": products[0],
            "quantise_large_products": products[1],
            "quantise_small_squares": squares[0],
            "quantise_large_squares": squares[1],
            **{f"quantise_moment_of_{kind}": moment for kind, moment in moments.items()},
            "quantise_difference": decision,
            "quantise_chosen": Chosen(block_size, uniform, polarity),
        }
        self.told = told

    def results(self, m: Module, registers: Registers, inputs: dict[str, Value]) -> dict[str, Value]:
        largest = found_maximum(m, self, registers, inputs)
        scales, rows = {}, {}
        for name in CANDIDATES:
            scale = Signal(SCALE_WIDTH, name=f"{name}_scale_now")
            place(m, self, f"quantise_{name}_scale", inputs, largest=largest, scale=scale)
            scales[name] = registers.at("scale", scale, f"{name}_scale")
            rows[name] = place(m, self, f"quantise_{name}_row", inputs, scale=scales[name])
        extras = Signal(len(self.parts["quantise_large_distance"].extras), name="extras_now")
        instantiate(
            m, self, "quantise_large_distance", "distance", first_small=rows["small"]["first"],
            first_large=rows["large"]["first"], carries=rows["large"]["carries"], extras=extras,
        )  # fmt: skip
        ports = {
            "first": rows["small"]["first"], "small_fractions": rows["small"]["fractions"],
            "small_carries": rows["small"]["carries"], "small_clear": rows["small"]["clear"],
            "large_fractions": rows["large"]["fractions"], "large_extras": extras,
            "large_clear": rows["large"]["clear"],
        }  # fmt: skip
        held = {name: registers.at("row", value, name) for name, value in ports.items()}
        m.d.comb += Signal(name="unused_carry").eq(rows["large"]["first_carry"])
        apart = Signal(name="apart_now")
        m.d.comb += apart.eq(rows["small"]["odd"] ^ rows["large"]["odd"])
        codes = self._lanes(m, registers, registers.delay(inputs["x"], "x", *PLACES), held)
        codes = {name: registers.at("lanes", value, name) for name, value in codes.items()}
        facts: dict[str, Value] = {
            "small_significand": rows["small"]["significand"], "large_significand": rows["large"]["significand"],
            "apart": apart, "first_carry": rows["small"]["first_carry"],
        }  # fmt: skip
        facts = {name: registers.delay(value, name, "row", "lanes", "products") for name, value in facts.items()}
        moments = self._moments(m, registers, codes, facts)
        larger = Signal(name="larger")
        told = {} if self.told.constant else {"choice_factor": inputs["choice_factor"]}
        carry = registers.at("sums", facts["first_carry"], "first_carry")
        difference = Signal(len(self.parts["quantise_difference"].total), name="difference")
        instantiate(m, self, "quantise_difference", "decision", **moments, **told, first_carry=carry, total=difference)
        m.d.comb += larger.eq(difference[-1])
        m.d.comb += Signal(len(difference) - 1, name="unused_difference").eq(difference[:-1])
        late = {n: registers.delay(codes[n], n, "products", "sums") for n in ("signs", "small_codes", "large_codes")}
        late |= {
            f"{name}_scale": registers.delay(value, f"{name}_scale", "row", *_BEHIND) for name, value in scales.items()
        }
        results = {"codes": Signal(len(self.codes), name="chosen_codes"), "scale": Signal(SCALE_WIDTH, name="chosen")}
        instantiate(m, self, "quantise_chosen", "choice", larger=larger, **late, **results)
        block_max = registers.delay(largest, "largest", "scale", "row", *_BEHIND)
        return {**results, "block_max": block_max}

    def _lanes(self, m: Module, registers: Registers, late: Value, held: dict[str, Value]) -> dict[str, Value]:
        """Outputs of all lanes, by name."""
        outputs: dict[str, list[Value]] = {"sign": [], "small_code": [], "large_code": [], "moved": []}
        lane = self.parts["quantise_lane"]
        for i in range(self.block_size):
            made = {name: Signal(len(getattr(lane, name)), name=f"{name}_{i}") for name in outputs}
            instantiate(
                m, self, "quantise_lane", f"lane_{i}", x=late.word_select(i, self.fmt.width), **held, **made
            )  # fmt: skip
            for name, value in made.items():
                outputs[name].append(value)
        return {name + "s" * (name != "moved"): Cat(*values) for name, values in outputs.items()}

    def _moments(
        self, m: Module, registers: Registers, codes: dict[str, Value], facts: dict[str, Value]
    ) -> dict[str, Value]:
        """What the sums over the block differ by, of either kind, behind ``sums``."""
        known = {name: facts[name] for name in ("small_significand", "large_significand", "apart")}
        moments = {}
        for kind in ("products", "squares"):
            sums: dict[str, Value] = {}
            for name in CANDIDATES:
                part = f"quantise_{name}_{kind}"
                total = Signal(len(self.parts[part].total), name=f"{name}_{kind}_now")
                given = {"moved": codes["moved"]} if kind == "products" else {}
                instantiate(m, self, part, f"{name}_{kind}_part", codes=codes[f"{name}_codes"], **given, total=total)
                sums[f"{name}_sum"] = registers.at("products", total, f"{name}_{kind}")
            part = f"quantise_moment_of_{kind}"
            total = Signal(len(self.parts[part].total), name=f"{kind}_now")
            instantiate(m, self, part, f"moment_of_{kind}", **sums, **known, total=total)
            moments[kind] = registers.at("sums", total, kind)
        return moments
