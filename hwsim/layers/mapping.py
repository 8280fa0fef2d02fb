"""Search for the mapping of a GEMM: interleave, block and order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from hwsim.base.errors import InputError
from hwsim.layers import schedule
from hwsim.layers.schedule import ORDERS, Array, Blocks, Mapping, Problem, Times

#: Among mappings whose cycles are within this of the fewest, the one of least energy is taken: a strict order pays much
#: DRAM traffic for a few cycles.
TOLERANCE = 0.02
#: A buffer that operands and D share is split in so many parts.
PARTS = 8
_BITS_OF_KIB = 8 * 1024


@dataclass(frozen=True)
class Buffers:
    """Capacities of the operand buffers and of D's in KiB; or of one that they share, ``a`` alone."""

    a: float
    b: float | None = None
    out: float | None = None

    @property
    def total(self) -> float:
        """KiB of all."""
        return self.a + (self.b or 0) + (self.out or 0)

    def halves(self) -> list[tuple[int, int, int]]:
        """Bits of half a buffer of A, B and D, in every way to split what is shared: D gets one part."""
        if self.b is not None and self.out is not None:
            return [_halves(self.a, self.b, self.out)]
        part = self.a / PARTS
        return [_halves(i * part, (PARTS - 1 - i) * part, part) for i in range(1, PARTS - 1)]


def _halves(a: float, b: float, out: float) -> tuple[int, int, int]:
    return int(a * _BITS_OF_KIB / 2), int(b * _BITS_OF_KIB / 2), int(out * _BITS_OF_KIB / 2)


@dataclass(frozen=True)
class Mapped:
    """A GEMM with its mapping."""

    mapping: Mapping
    blocks: Blocks
    times: Times


def interleaves(array: Array, fixed: tuple[int, int] | None) -> list[tuple[int, int]]:
    """Sub-blocks of a tile along M and N: all whose product is at most the chain interval, or the fixed ones.

    Raises
    ------
    InputError
        If the fixed ones are more than the chain interval: a tile accumulates in place, so that it holds no more.
    """
    limit = array.chain_interval
    if fixed is None:
        return [(rm, rn) for rm in range(1, limit + 1) for rn in range(1, limit // rm + 1)]
    if min(fixed) < 1 or fixed[0] * fixed[1] > limit:
        raise InputError(f"interleave must be two positive numbers whose product is at most the chain interval of the "
                         f"tile, {limit}, got {list(fixed)}")  # fmt: skip
    return [fixed]


def candidates(
    problem: Problem, array: Array, buffers: Buffers, fixed: tuple[int, int] | None = None
) -> Iterator[Mapping]:
    """Mappings whose panels fit half of their buffers, both orders, panels as large as fits and halves of these."""
    p, q = array.tiles
    row_a, row_b = (problem.panel(side, 1, 0, problem.steps, 1) for side in "ab")
    # Rows in chunks: the largest bits of a step.
    step_a = max(s.step * s.a_bits for s in problem.segments)
    step_b = max(s.step * s.b_bits for s in problem.segments)
    seen: set[Mapping] = set()
    for rm, rn in interleaves(array, fixed):
        mr, nc = p * array.m * rm, q * array.n * rn
        if fixed is None and ((rm > 1 and mr - p * array.m >= problem.m) or (rn > 1 and nc - q * array.n >= problem.n)):
            continue  # no sub-block would be left for the last one
        rows, columns = min(mr, problem.m), min(nc, problem.n)
        row_tiles, column_tiles = -(-problem.m // mr), -(-problem.n // nc)
        for half_a, half_b, half_out in buffers.halves():
            if problem.d_total(rows * columns) > half_out:
                continue
            if rows * row_a > half_a or columns * row_b > half_b:
                steps = min(half_a // _up(rows * step_a), half_b // _up(columns * step_b))
                if steps:
                    found = [Mapping(rm, rn, mr, nc, order, -(-problem.steps // steps)) for order in ORDERS]
                    found = [m for m in found if _fits(problem, m, rows, columns, half_a, half_b)]
                else:
                    found = []
            else:
                found = list(_whole(problem, (rm, rn), (mr, nc), (row_tiles, column_tiles), (row_a, row_b),
                                    (half_a, half_b, half_out)))  # fmt: skip
            for mapping in found:
                if mapping not in seen:
                    seen.add(mapping)
                    yield mapping


def _up(bits: Fraction) -> int:
    return -(-bits.numerator // bits.denominator)


def _fits(problem: Problem, mapping: Mapping, rows: int, columns: int, half_a: int, half_b: int) -> bool:
    first, last = problem.step_bounds(mapping.chunks)[0]
    return problem.panel("a", rows, first, last, 1) <= half_a and problem.panel("b", columns, first, last, 1) <= half_b


def _whole(
    problem: Problem, interleave: tuple[int, int], macro: tuple[int, int], tiles: tuple[int, int],
    row_bits: tuple[int, int], halves: tuple[int, int, int],
) -> Iterator[Mapping]:  # fmt: skip
    """Blocks over all of K: one side as large as fits or smaller by powers of two, the other as large as fits then."""

    def most(side: int) -> int:
        size = (problem.m, problem.n)[side]
        return tiles[side] if size * row_bits[side] <= halves[side] else halves[side] // (macro[side] * row_bits[side])

    for outer in (0, 1):
        inner = 1 - outer
        count = max(most(outer), 1)
        while count:
            sizes = [0, 0]
            sizes[outer] = count
            outer_size = min(count * macro[outer], (problem.m, problem.n)[outer])
            inner_size = min(macro[inner], (problem.m, problem.n)[inner])
            # D of a block waits in its buffer for the DRAM's port.
            fit = halves[2] // problem.d_total(outer_size * inner_size)
            sizes[inner] = min(max(most(inner), 1), fit)
            if sizes[inner]:
                for order in ORDERS:
                    yield Mapping(*interleave, sizes[0] * macro[0], sizes[1] * macro[1], order)
            count //= 2


def search(
    problem: Problem,
    array: Array,
    mappings: Sequence[Mapping],
    bandwidth: Fraction,
    burst_bits: int,
    energy: Callable[[Blocks, Times], float],
) -> Mapped:
    """The best of some mappings: fewest cycles, and within `TOLERANCE` of them the least energy.

    Raises
    ------
    InputError
        If there is none: not even one step of a macro-tile fits the buffers.
    """
    if not mappings:
        raise InputError(
            f"buffer_kib: no mapping of GEMM {problem.m} x {problem.n} x {problem.k} in {problem.format.name} fits: "
            "half of a buffer must hold an instruction's operands of all tiles, and the outputs of all tiles"
        )
    found = []
    for mapping in mappings:
        work = schedule.blocks(problem, array, mapping, burst_bits)
        found.append(Mapped(mapping, work, schedule.times(work, array, bandwidth)))
    fewest = min(m.times.total for m in found)
    near = [m for m in found if m.times.total <= (1 + TOLERANCE) * fewest]
    return min(near, key=lambda m: (energy(m.blocks, m.times), m.times.total))


def refuse_misfit(problem: Problem, array: Array, buffers: Buffers, mapping: Mapping) -> None:
    """Refuse a mapping that the array or its buffers do not take.

    Raises
    ------
    InputError
        If blocks are no whole macro-tiles, chunks come with several macro-tiles, sub-blocks are more than the chain
        interval, the order is unknown, or panels do not fit half of their buffers.
    """
    p, q = array.tiles
    interleaves(array, (mapping.rm, mapping.rn))
    macro = p * array.m * mapping.rm, q * array.n * mapping.rn
    if mapping.order not in ORDERS:
        raise InputError(f"mapping: order must be m or n, got {mapping.order!r}")
    for name, size, of in (("mb", mapping.mb, macro[0]), ("nb", mapping.nb, macro[1])):
        if size < 1 or size % of:
            raise InputError(f"mapping: {name} must be a multiple of the macro-tile's {of}, got {size}")
    if not 1 <= mapping.chunks <= problem.steps:
        raise InputError(f"mapping: chunks must be 1 to the {problem.steps} steps of K, got {mapping.chunks}")
    if mapping.chunks > 1 and (mapping.mb, mapping.nb) != macro:
        raise InputError(f"mapping: K in chunks needs blocks of one macro-tile, {macro[0]} x {macro[1]}, got "
                         f"{mapping.mb} x {mapping.nb}")  # fmt: skip
    rows, columns = min(mapping.mb, problem.m), min(mapping.nb, problem.n)
    fit = any(
        _fits(problem, mapping, rows, columns, half_a, half_b) and problem.d_total(rows * columns) <= half_out
        for half_a, half_b, half_out in buffers.halves()
    )
    if not fit:
        raise InputError(f"mapping: blocks of {mapping.mb} x {mapping.nb} in {mapping.chunks} chunks of K do not fit "
                         "half of the buffers")  # fmt: skip
