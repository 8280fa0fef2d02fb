"""Sized arithmetic: compressor trees, leading zeros, maxima and shifters.

Everything here is combinational and adds to the caller's module. A *column* is a list of bits of equal weight;
columns[i] weighs ``2**i``. Sums are modulo ``2**len(columns)``: negative terms enter in two's complement, their sign
extension as constants.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike

Columns = list[list[Value]]


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


def compress(m: Module, bits: Columns, name: str, rows: int = 2) -> list[Value]:
    """Reduce columns to ``rows`` (1 or 2) numbers of equal sum modulo the width, by full adders.

    In every column the three bits that arrive first are added first, so that the tree is as shallow as its inputs
    allow (Oklobdzija's three-greedy rule). With ``rows=1`` the last carries ripple, which makes the smallest adder.
    """
    width = len(bits)
    # Entries are (arrival in gate delays, order of creation, bit). The order of creation breaks ties, so that every run
    # emits the same netlist.
    heaps: list[list[tuple[int, int, Value]]] = []
    created = 0
    for column in bits:
        heap = []
        for bit in column:
            heap.append((0, created, bit))
            created += 1
        heapq.heapify(heap)
        heaps.append(heap)
    for position, heap in enumerate(heaps):
        while len(heap) > rows:
            inputs = [heapq.heappop(heap) for _ in range(min(3, len(heap)))]
            arrival = max(t for t, _, _ in inputs)
            total = Signal(name=f"{name}_s{created}")
            terms = [v for _, _, v in inputs]
            m.d.comb += total.eq(_xor(terms))
            heapq.heappush(heap, (arrival + 2, created, total))
            created += 1
            if position + 1 < width:
                carry = Signal(name=f"{name}_c{created}")
                m.d.comb += carry.eq(_majority(terms))
                heapq.heappush(heaps[position + 1], (arrival + 2, created, carry))
                created += 1
    return [Cat(heap[row][2] if row < len(heap) else Const(0, 1) for heap in heaps) for row in range(rows)]


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


def saturated(value: Value, width: int) -> Value:
    """``value``, or all ones if it does not fit ``width`` bits."""
    if len(value) <= width:
        return value
    return value[:width] | any_bit(value[width:]).replicate(width)


def shift_right(m: Module, value: Value, amount: Value, fill: Value, name: str) -> Value:
    """``value >> amount`` with ``fill`` from the left, as wide as ``value``; small distances first.

    After small shifts, most bits beside a short significand are still equal and need no multiplexer: fewer gates than
    with large distances first.
    """
    width = len(value)
    for k in range(len(amount)):
        distance = min(1 << k, width)
        level = Signal(width, name=f"{name}_by{1 << k}")
        moved = Cat(value[distance:], fill.replicate(distance))
        m.d.comb += level.eq(Mux(amount[k], moved, value))
        value = level
    return value


def shift_left(m: Module, value: Value, amount: Value, name: str, fill: Value) -> Value:
    """``value << amount`` with ``fill`` from the right, as wide as ``value``; large distances first."""
    width = len(value)
    for k in reversed(range(len(amount))):
        distance = min(1 << k, width)
        level = Signal(width, name=f"{name}_by{1 << k}")
        m.d.comb += level.eq(Mux(amount[k], Cat(fill.replicate(distance), value[: width - distance]), value))
        value = level
    return value


def leading_zeros(m: Module, value: Value, name: str) -> Signal:
    """Number of zeros above the leading one, by a balanced tree of pairs. If ``value`` is zero, it means nothing."""
    width = len(value)
    levels = max(width - 1, 1).bit_length()
    padded = Cat(Const(0, (1 << levels) - width), value) if (1 << levels) > width else value
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


def maximum(m: Module, values: Sequence[Value], name: str) -> Value:
    """Largest of unsigned values of one width, by a balanced tree of comparisons."""
    level = 0
    while len(values) > 1:
        following = []
        for i in range(0, len(values) - 1, 2):
            larger = Signal(len(values[i]), name=f"{name}_{level}_{i // 2}")
            m.d.comb += larger.eq(Mux(values[i] > values[i + 1], values[i], values[i + 1]))
            following.append(larger)
        values = [*following, *values[len(following) * 2 :]]
        level += 1
    return values[0]


def prefix_add(m: Module, a: Value, b: Value, name: str) -> Signal:
    """``a + b`` modulo the width, with carries by a parallel prefix tree of least depth (Sklansky)."""
    width = len(a)
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


def sized(m: Module, value: ValueLike, width: int, name: str) -> Signal:
    """A named signal of ``width`` bits that holds ``value``, truncated or extended."""
    result = Signal(width, name=name)
    m.d.comb += result.eq(value)
    return result
