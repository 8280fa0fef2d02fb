"""Sized arithmetic: sums, leading zeros, maxima and shifters, as operators or as the gates that make them.

Everything here is combinational and adds to the caller's module. A *column* is a list of bits of equal weight;
columns[i] weighs ``2**i``. Sums are modulo ``2**len(columns)``: negative terms enter in two's complement, their sign
extension as constants.
"""

from __future__ import annotations

import enum
import functools
import itertools
import operator
from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.rtl.hierarchy import COMMENT

Columns = list[list[Value]]


class Arithmetic(enum.Enum):
    """How sums, products, shifts and counts are described.

    Attributes
    ----------
    OPERATORS
        As ``+``, ``*``, ``<<``: for synthesis tools that know arithmetic and choose its structure, and for readers.
    STRUCTURED
        As trees of full adders, prefix adders and levels of multiplexers: for tools that map what they are given, as
        Yosys and ABC do.
    """

    OPERATORS = "operators"
    STRUCTURED = "structured"

    @classmethod
    def of(cls, name: str) -> Arithmetic:
        """The member called ``name``; ValueError if there is none."""
        if name not in {member.value for member in cls}:
            raise ValueError(f"arithmetic must be operators or structured, got {name!r}")
        return cls(name)


class Sum:
    """A sum, modulo ``2**width``, that is built up from addends and then made.

    Parameters
    ----------
    width : int
    arithmetic : Arithmetic

    Attributes
    ----------
    bits : Columns
        What has been added so far, bit by bit; ``STRUCTURED`` only.
    """

    def __init__(self, width: int, arithmetic: Arithmetic):
        self.width, self.arithmetic = width, arithmetic
        self.bits = columns(width)
        self._addends: list[Value] = []

    def add(self, value: Value) -> None:
        """Add an unsigned value."""
        if self.arithmetic is Arithmetic.STRUCTURED:
            add_bits(self.bits, value)
        else:
            self._addends.append(value)

    def add_signed(self, value: Value) -> None:
        """Add a two's complement value, of ``OPERATORS`` only."""
        assert self.arithmetic is Arithmetic.OPERATORS
        self._addends.append(value.as_signed())

    def add_ones_complement(self, value: Value, sign: Value) -> None:
        """Add ``sign ? -(~value) : value``, where ``value`` comes inverted if ``sign`` is set."""
        if self.arithmetic is Arithmetic.STRUCTURED:
            add_bits(self.bits, value)
            self.bits[0].append(sign)
            # Sign extension: -sign = ~sign - 1, at the place above the value.
            if len(value) < len(self.bits):
                self.bits[len(value)].append(~sign)
                add_constant(self.bits, -(1 << len(value)))
        else:
            self._addends.append(Cat(value, sign).as_signed() + sign)

    def total(self, m: Module, name: str) -> Value:
        """The sum."""
        if self.arithmetic is Arithmetic.STRUCTURED:
            low, high = compress(m, self.bits, name)
            return sized(m, low + high, self.width, name)
        return sized(m, _added(self._addends), self.width, name)

    def halves(self, m: Module, name: str) -> tuple[Value, Value]:
        """Two numbers whose sum is the sum: the rows of the adders' tree, or the sums of either half of the addends."""
        if self.arithmetic is Arithmetic.STRUCTURED:
            return compress(m, self.bits, name)
        middle = (len(self._addends) + 1) // 2
        first, second = self._addends[:middle], self._addends[middle:]
        return sized(m, _added(first), self.width, f"{name}_low"), sized(m, _added(second), self.width, f"{name}_high")


def _added(values: Sequence[Value]) -> Value:
    """Sum of values by ``+``."""
    return functools.reduce(operator.add, values) if values else Const(0, 1)


def columns(width: int) -> Columns:
    """``width`` empty columns."""
    return [[] for _ in range(width)]


def add_bits(to: Columns, value: Value, shift: int = 0) -> None:
    """Put the bits of an unsigned ``value * 2**shift`` into their columns; bits beyond the last are dropped."""
    for i in range(len(value)):
        if 0 <= shift + i < len(to):
            to[shift + i].append(value[i])


def add_constant(to: Columns, constant: int) -> None:
    """Add an integer of any sign, modulo the width."""
    for i in range(len(to)):
        if constant >> i & 1:
            to[i].append(Const(1, 1))


class FullAdder(wiring.Component):
    """Sum of three bits; combinational.

    Ports
    -----
    a, b, c : in, 1 bit
    s, co : out, 1 bit
        ``s + 2 co``.
    """

    def __init__(self) -> None:
        super().__init__({"a": In(1), "b": In(1), "c": In(1), "s": Out(1), "co": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = [self.a, self.b, self.c]
        m.d.comb += [self.s.eq(_xor(bits)), self.co.eq(_majority(bits))]
        return m


class HalfAdder(wiring.Component):
    """Sum of two bits; combinational. Ports as :class:`FullAdder` without ``c``."""

    def __init__(self) -> None:
        super().__init__({"a": In(1), "b": In(1), "s": Out(1), "co": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.s.eq(self.a ^ self.b), self.co.eq(self.a & self.b)]
        return m


#: Components that trees of adders instantiate: libraries have cells for them, which synthesis does not find in gates.
ADDERS: dict[str, Callable[[], wiring.Component]] = {"full_adder": FullAdder, "half_adder": HalfAdder}
#: Delay of an adder's outputs, in units of about a gate's.
_SUM_DELAY, _CARRY_DELAY = 5, 3
#: A bit of a column: when it arrives, its number in the order of creation, which breaks ties, and the bit itself.
_Bit = tuple[int, int, Value]


def compress(m: Module, bits: Columns, name: str) -> tuple[Value, Value]:
    """Reduce columns to two numbers of equal sum modulo the width, by full and half adders.

    Level by level, all columns shrink to the next of Dadda's heights (2, 3, 4, 6, 9, ...): with no more adders than
    needed, and no carry waits for the column below. In every column, bits that arrive first are added first.
    """
    width = len(bits)
    numbers = itertools.count()
    constant = sum(bit.value << i for i, column in enumerate(bits) for bit in column if isinstance(bit, Const))
    columns_of: list[list[_Bit]] = [
        [(0, next(numbers), bit) for bit in column if not isinstance(bit, Const)] for column in bits
    ]
    for i, column in enumerate(columns_of):
        if constant >> i & 1:
            # First of all: an adder of a constant is a few gates.
            column.append((-1, next(numbers), Const(1, 1)))
    heights = [2]
    while heights[-1] < max(map(len, columns_of)):
        heights.append(heights[-1] * 3 // 2)
    for height in reversed(heights):
        carries: list[_Bit] = []
        for position, column in enumerate(columns_of):
            waiting, done, carries = sorted(column, key=lambda bit: bit[:2]), carries, []
            while (excess := len(waiting) + len(done) - height) > 0:
                if len(waiting) < 2:
                    # Sums of this level, and carries into it, have to be added once more.
                    waiting, done = sorted(waiting + done, key=lambda bit: bit[:2]), []
                count = 3 if excess > 1 and len(waiting) > 2 else 2
                taken, waiting = waiting[:count], waiting[count:]
                number = next(numbers)
                total, carry = _added_bits(m, [bit for *_, bit in taken], f"{name}_{number}", position + 1 < width)
                arrival = max(at for at, *_ in taken)
                done.append((arrival + _SUM_DELAY, number, total))
                if carry is not None:
                    carries.append((arrival + _CARRY_DELAY, next(numbers), carry))
            columns_of[position] = waiting + done
    rows = [[bit for *_, bit in sorted(column, key=lambda bit: bit[:2])] for column in columns_of]
    low, high = (Cat(column[row] if row < len(column) else Const(0, 1) for column in rows) for row in range(2))
    return low, high


def _added_bits(m: Module, bits: Sequence[Value], name: str, carries: bool) -> tuple[Value, Value | None]:
    """Sum and, if asked for, carry of two or three bits."""
    if not carries:
        return sized(m, _xor(bits), 1, f"{name}_s"), None
    total, carry = Signal(name=f"{name}_s"), Signal(name=f"{name}_c")
    if any(isinstance(bit, Const) for bit in bits):
        m.d.comb += [total.eq(_xor(bits)), carry.eq(_majority(bits))]
    else:
        inputs = {f"i_{port}": bit for port, bit in zip("abc", bits, strict=False)}
        adder = Instance("full_adder" if len(bits) == 3 else "half_adder", **inputs, o_s=total, o_co=carry)
        m.submodules[f"{name}_adder"] = adder
    return total, carry


def _xor(bits: Sequence[Value]) -> Value:
    result = bits[0]
    for bit in bits[1:]:
        result = result ^ bit
    return result


def _majority(bits: Sequence[Value]) -> Value:
    if len(bits) == 2:
        return bits[0] & bits[1]
    a, b, c = bits
    return (a & b) | (c & (a ^ b))


def any_bit(value: Value) -> Value:
    """Whether a value, which may have no bits, is not zero."""
    return value.any() if len(value) else Const(0, 1)


def saturated(m: Module, value: Value, width: int, name: str) -> Value:
    """``value``, or all ones if it does not fit ``width`` bits."""
    if len(value) <= width:
        return value
    beyond = sized(m, value[width:].any(), 1, f"{name}_beyond")
    return value[:width] | beyond.replicate(width)


def shift_right(m: Module, value: Value, amount: Value, name: str, arithmetic: Arithmetic) -> Value:
    """A two's complement ``value >> amount``, as wide as ``value``; structured, small distances first.

    After small shifts, most bits beside a short significand are still equal and need no multiplexer: fewer gates than
    with large distances first.
    """
    if arithmetic is Arithmetic.OPERATORS:
        return sized(m, value.as_signed() >> amount, len(value), f"{name}_shifted")
    value, fill = value[:-1], value[-1]
    width = len(value)
    for k in range(len(amount)):
        distance = min(1 << k, width)
        level = Signal(width, name=f"{name}_by{1 << k}")
        moved = Cat(value[distance:], fill.replicate(distance))
        m.d.comb += level.eq(Mux(amount[k], moved, value))
        value = level
    return Cat(value, fill)


def shift_left(m: Module, value: Value, amount: Value, name: str, fill: Value, arithmetic: Arithmetic) -> Value:
    """``value << amount`` with ``fill`` from the right, as wide as ``value``; structured, large distances first."""
    width = len(value)
    if arithmetic is Arithmetic.OPERATORS:
        # Zeros come in from the right: where ones must, shift the inverse.
        ones = fill.replicate(width)
        moved = sized(m, (value ^ ones) << amount, width, f"{name}_moved")
        return sized(m, moved ^ ones, width, name)
    for k in reversed(range(len(amount))):
        distance = min(1 << k, width)
        level = Signal(width, name=f"{name}_by{1 << k}")
        m.d.comb += level.eq(Mux(amount[k], Cat(fill.replicate(distance), value[: width - distance]), value))
        value = level
    return value


def leading_zeros(m: Module, value: Value, name: str, arithmetic: Arithmetic) -> Signal:
    """Number of zeros above the leading one. If ``value`` is zero, it means nothing.

    Operators look for the one in the upper half of what is left, half by half; structured, in a balanced tree of pairs.
    """
    width = len(value)
    levels = max(width - 1, 1).bit_length()
    padded = Cat(Const(0, (1 << levels) - width), value) if (1 << levels) > width else value
    if arithmetic is Arithmetic.OPERATORS:
        # The lowest bit of what is left is not looked at: if all others are zero, the one is there.
        left = sized(m, padded[1:], (1 << levels) - 1, f"{name}_of")
        counted: list[Value] = []
        for level in reversed(range(levels)):
            low, high = left[: (1 << level) - 1], left[(1 << level) - 1 :]
            none = sized(m, ~high.any(), 1, f"{name}_upper{1 << level}")
            if level:
                left = sized(m, Mux(none, low, high[1:]), (1 << level) - 1, f"{name}_in{1 << level}")
            counted.insert(0, none)
        return sized(m, Cat(*counted), levels, name)
    # Per segment: whether it holds a one, and the number of zeros above its leading one.
    segments: list[tuple[Value, list[Value]]] = [(padded[i], []) for i in range(1 << levels)]
    for level in range(levels):
        merged: list[tuple[Value, list[Value]]] = []
        for low, high in zip(segments[::2], segments[1::2], strict=True):
            some = Signal(name=f"{name}_some{level}_{len(merged)}")
            below = [Mux(high[0], h, lo) for h, lo in zip(high[1], low[1], strict=True)]
            m.d.comb += some.eq(low[0] | high[0])
            merged.append((some, [*below, ~high[0]]))
        segments = merged
    result = Signal(levels, name=name)
    m.d.comb += result.eq(Cat(*segments[0][1]))
    return result


def maximum(m: Module, values: Sequence[Value], name: str, at_once: int = 1) -> Value:
    """Largest of unsigned values of one width, by a balanced tree of comparisons; of the last ``at_once``, each is
    compared with each, which is faster than a tree and needs more comparisons."""
    level = 0
    while len(values) > at_once:
        following = []
        for i in range(0, len(values) - 1, 2):
            larger = Signal(len(values[i]), name=f"{name}_{level}_{i // 2}")
            m.d.comb += larger.eq(Mux(values[i] > values[i + 1], values[i], values[i + 1]))
            following.append(larger)
        values = [*following, *values[len(following) * 2 :]]
        level += 1
    if len(values) == 1:
        return values[0]
    # Of equals, the first counts as the largest.
    above = {
        (i, j): sized(m, values[i] >= values[j], 1, f"{name}_{i}_{j}")
        for i, j in itertools.combinations(range(len(values)), 2)
    }
    largest: Value = Const(0, len(values[0]))
    for i, value in enumerate(values):
        least = [above[i, j] for j in range(i + 1, len(values))] + [~above[j, i] for j in range(i)]
        is_largest = sized(m, functools.reduce(operator.and_, least), 1, f"{name}_is_{i}")
        largest = largest | (value & is_largest.replicate(len(value)))
    return sized(m, largest, len(values[0]), name)


def ones(m: Module, bits: Sequence[Value], name: str) -> Value:
    """How many of some bits are 1: a balanced tree of additions."""
    level, counts = 0, list(bits)
    while len(counts) > 1:
        pairs = zip(counts[::2], counts[1::2], strict=False)
        sums: list[Value] = [
            sized(m, a + b, max(len(a), len(b)) + 1, f"{name}_{level}_{i}") for i, (a, b) in enumerate(pairs)
        ]
        counts, level = sums + counts[len(sums) * 2 :], level + 1
    return counts[0]


def steps_reached(reached: Sequence[Value]) -> Value:
    """How many of seven steps, of which none is reached without those before it: fewer gates than a sum."""
    r1, r2, r3, r4, r5, r6, r7 = reached
    return Cat(r7 | (r5 & ~r6) | (r3 & ~r4) | (r1 & ~r2), r6 | (r2 & ~r4), r4)


def fast_add(m: Module, a: Value, b: Value, name: str, arithmetic: Arithmetic) -> Signal:
    """``a + b`` modulo the width; structured, with carries by a parallel prefix tree of least depth (Sklansky)."""
    width = len(a)
    if arithmetic is Arithmetic.OPERATORS:
        return sized(m, a + b, width, name)
    generate: list[Value] = []
    propagate: list[Value] = []
    for i in range(width):
        generate.append(sized(m, a[i] & b[i], 1, f"{name}_g{i}"))
        propagate.append(sized(m, a[i] ^ b[i], 1, f"{name}_p{i}"))
    half_sums = list(propagate)
    distance = 1
    while distance < width:
        for i in range(width):
            if i & distance:
                j = (i // distance) * distance - 1
                new_g = sized(m, generate[i] | (propagate[i] & generate[j]), 1, f"{name}_g{i}_{distance}")
                new_p = sized(m, propagate[i] & propagate[j], 1, f"{name}_p{i}_{distance}")
                generate[i], propagate[i] = new_g, new_p
        distance *= 2
    result = Signal(width, name=name)
    m.d.comb += result.eq(Cat(half_sums[0], *(half_sums[i] ^ generate[i - 1] for i in range(1, width))))
    return result


def select(values: Sequence[Value], index: Value) -> Value:
    """The value at ``index`` of a list as long as a power of two: a tree of multiplexers."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return Mux(index[-1], select(values[half:], index[:-1]), select(values[:half], index[:-1]))


def sized(m: Module, value: ValueLike, width: int, name: str, note: str = "") -> Signal:
    """A named signal of ``width`` bits that holds ``value``, truncated or extended; ``note`` says in the Verilog what
    it is."""
    result = Signal(width, name=name, attrs={COMMENT: note} if note else {})
    m.d.comb += result.eq(value)
    return result
