"""When everything happens: the blocks of a GEMM, the loads, issue cycles and stores of each, and their recurrence.

An output-stationary array has P x Q tiles, each of which adds K of an instruction to m x n outputs a cycle. Every tile
holds rm x rn sub-blocks of outputs and issues them in turn, so that a macro-tile has P m rm rows and Q n rn columns.
A block is some macro-tiles whose operand panels fit half of their buffers; loads of one block go on while another is
computed. All times in cycles, all sizes in bits, all numbers whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numba import njit

from hwsim.layers.storage import Format, Segment

#: Bits of an element of D, BF16, unless an engine quantises it on its way out.
D_WIDTH = 16
#: Orders of blocks: A's panel stays while B's go by, or B's stays.
ORDERS = ("m", "n")


@dataclass(frozen=True)
class Array:
    """An array of tiles.

    Parameters
    ----------
    tiles : (int, int)
        P along M, Q along N.
    m, n : int
        Outputs of a tile.
    latency, chain_interval : int
        Of a tile, in cycles.
    port_bits : (int or None, int or None)
        Bits that the ports of A's and B's buffers give in a cycle; None: as many as needed.
    delivery : str
        How operands reach the tiles: ``broadcast``; ``systolic``, which skews tiles once a GEMM; or ``serial``, in
        which every macro-tile waits for the skew.
    """

    tiles: tuple[int, int]
    m: int
    n: int
    latency: int
    chain_interval: int
    port_bits: tuple[int | None, int | None] = (None, None)
    delivery: str = "broadcast"

    @property
    def skew(self) -> int:
        """Cycles from the first tile to the last."""
        return sum(self.tiles) - 2

    @property
    def macro_skew(self) -> int:
        """Cycles that a macro-tile waits with serial delivery: rows and columns of outputs pass operands on."""
        p, q = self.tiles
        return p * self.m + q * self.n - 2 if self.delivery == "serial" else 0


@dataclass(frozen=True)
class Mapping:
    """Where a GEMM's work goes.

    Parameters
    ----------
    rm, rn : int
        Sub-blocks of a tile along M and N.
    mb, nb : int
        Rows and columns of D in a block, multiples of the macro-tile.
    order : str
        One of `ORDERS`.
    chunks : int
        Parts of K that operands are loaded in; more than one only where a block is one macro-tile.
    """

    rm: int
    rn: int
    mb: int
    nb: int
    order: str
    chunks: int = 1


@dataclass(frozen=True)
class Problem:
    """A GEMM in a format, as the schedule sees it.

    Parameters
    ----------
    m, n, k : int
        Without padding.
    segments : tuple of Segment
    format : Format
    d_bits : Fraction
        Bits of an element of D in memory.
    correction : int
        Cycles in which the vector lanes of a tile correct its outputs by their factors, for each macro-block of K; 0:
        there are none.
    """

    m: int
    n: int
    k: int
    segments: tuple[Segment, ...]
    format: Format
    d_bits: Fraction = Fraction(D_WIDTH)
    correction: int = 0

    @property
    def steps(self) -> int:
        """Instructions through K."""
        return sum(s.steps for s in self.segments)

    def d_total(self, elements: int) -> int:
        """Bits of as many elements of D."""
        return -((-elements * self.d_bits.numerator) // self.d_bits.denominator)

    def step_bounds(self, chunks: int) -> list[tuple[int, int]]:
        """First step and the one behind the last of every chunk: equal chunks, the last perhaps shorter."""
        size = -(-self.steps // chunks)
        return [(first, min(first + size, self.steps)) for first in range(0, self.steps, size)]

    def panel(self, side: str, rows: int, first: int, last: int, burst_bits: int) -> int:
        """Bits that are loaded for as many rows of an operand and a range of steps."""
        stored = self.format.a if side == "a" else self.format.b
        bits, at = 0, 0
        for segment in self.segments:
            low, high = max(first, at), min(last, at + segment.steps)
            if low < high:
                elements = min((high - at) * segment.step, segment.k) - (low - at) * segment.step
                bits += stored.row(segment.index, elements).times(rows).in_bursts(burst_bits)
            at += segment.steps
        return bits


@dataclass(frozen=True)
class Blocks:
    """What the recurrence reads: whole numbers for each block (or chunk), in order.

    Attributes
    ----------
    loads_a, loads_b, stores : int64 [blocks]
        Bits.
    outputs : int64 [blocks]
        Elements of D that are stored.
    issue : int64 [blocks]
        Cycles, corrections included.
    instructions : int
        Sub-blocks issued, over all steps: an instruction each of all tiles in lockstep.
    sram_a, sram_b : int
        Bits read from the operand buffers.
    correction : int
        Cycles of `issue` that corrections add.
    """

    loads_a: np.ndarray
    loads_b: np.ndarray
    stores: np.ndarray
    outputs: np.ndarray
    issue: np.ndarray
    instructions: int
    sram_a: int
    sram_b: int
    correction: int

    @property
    def loads(self) -> np.ndarray:
        """Bits loaded for each block."""
        return self.loads_a + self.loads_b


@dataclass(frozen=True)
class Times:
    """Cycles of a GEMM: issue, waiting for operands before or between, and what follows the last issue."""

    compute: int
    stall: int
    tail: int

    @property
    def total(self) -> int:
        """Cycles from the first request to the last bit stored."""
        return self.compute + self.stall + self.tail


def _ceil(bits: Fraction, port: int | None) -> int:
    return -(-bits.numerator // (bits.denominator * port)) if port else 0


def step_cycles(array: Array, mapping: Mapping, segment: Segment, used: int) -> int:
    """Cycles from a step to the next where ``used`` sub-blocks take turns: the chain interval, the issues, or what the
    ports need for the operands of a whole macro-tile."""
    (p, q), (port_a, port_b) = array.tiles, array.port_bits
    return max(
        array.chain_interval,
        used,
        _ceil(mapping.rm * p * array.m * segment.step * segment.a_bits, port_a),
        _ceil(mapping.rn * q * array.n * segment.step * segment.b_bits, port_b),
    )


def _issue(array: Array, mapping: Mapping, problem: Problem, used: int, bounds: Sequence[tuple[int, int]]) -> list[int]:
    """Issue cycles of every chunk of a macro-tile of which ``used`` sub-blocks are in use, without corrections."""
    at, cycles = 0, [0] * len(bounds)
    last_width = 0
    for segment in problem.segments:
        width = step_cycles(array, mapping, segment, used)
        for i, (first, last) in enumerate(bounds):
            cycles[i] += width * max(min(last, at + segment.steps) - max(first, at), 0)
        at += segment.steps
        last_width = width
    # After the last step the next macro-tile may begin.
    cycles[-1] += used - last_width + array.macro_skew
    return cycles


def _correction(array: Array, mapping: Mapping, problem: Problem, used: int) -> int:
    """Cycles that corrections add to a macro-tile: what they take beyond the steps of a macro-block."""
    if not problem.correction:
        return 0
    [segment] = problem.segments
    per_block = problem.format.multiple // segment.step
    beyond = used * problem.correction - per_block * step_cycles(array, mapping, segment, used)
    return max(beyond, 0) * (segment.k // problem.format.multiple)


def _parts(total: int, block: int, macro: int, unit: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """How a side of D is cut.

    Returns
    -------
    int64 [blocks]
        Rows (or columns) of every block.
    int64 [blocks, kinds]
        Macro-tiles of every kind in it.
    list of int
        Kinds: sub-blocks in use along this side.
    """
    blocks = -(-total // block)
    sizes = np.full(blocks, block, np.int64)
    sizes[-1] = total - (blocks - 1) * block
    full, rest = sizes // macro, sizes % macro
    whole = macro // unit
    edge = -(-int(rest[-1]) // unit)
    if not edge or edge == whole:
        return sizes, (full + (rest > 0))[:, None], [whole]
    return sizes, np.stack([full, (rest > 0).astype(np.int64)], axis=1), [whole, edge]


def blocks(problem: Problem, array: Array, mapping: Mapping, burst_bits: int = 8) -> Blocks:
    """The blocks of a GEMM in the order in which they are computed.

    Parameters
    ----------
    problem : Problem
    array : Array
    mapping : Mapping
    burst_bits : int
        DRAM requests are whole multiples of it; codes, scales and metadata are requests of their own.
    """
    p, q = array.tiles
    rows, row_counts, row_kinds = _parts(problem.m, mapping.mb, p * array.m * mapping.rm, p * array.m)
    columns, column_counts, column_kinds = _parts(problem.n, mapping.nb, q * array.n * mapping.rn, q * array.n)
    bounds = problem.step_bounds(mapping.chunks)
    used = [[a * b for b in column_kinds] for a in row_kinds]
    issue = np.array([[_issue(array, mapping, problem, r, bounds) for r in line] for line in used], np.int64)
    added = np.array([[_correction(array, mapping, problem, r) for r in line] for line in used], np.int64)
    issue[..., -1] += added
    # [row blocks, column blocks, chunks]
    cycles = np.einsum("ik,klc,jl->ijc", row_counts, issue, column_counts)
    macro_tiles = np.einsum("ik,jl->kl", row_counts, column_counts)
    shape = cycles.shape
    loads_a, loads_b, stores, outputs = (np.zeros(shape, np.int64) for _ in range(4))
    outputs[..., -1] = rows[:, None] * columns
    for c, (first, last) in enumerate(bounds):
        of_rows = {size: problem.panel("a", size, first, last, burst_bits) for size in {*rows.tolist()}}
        of_columns = {size: problem.panel("b", size, first, last, burst_bits) for size in {*columns.tolist()}}
        loads_a[..., c] = np.array([of_rows[size] for size in rows.tolist()])[:, None]
        loads_b[..., c] = np.array([of_columns[size] for size in columns.tolist()])
    for i in {0, len(rows) - 1}:
        for j in {0, len(columns) - 1}:
            bits = problem.d_total(int(rows[i] * columns[j]))
            at = (slice(None, -1) if i < len(rows) - 1 else -1, slice(None, -1) if j < len(columns) - 1 else -1, -1)
            stores[at] = -(-bits // burst_bits) * burst_bits
    arrays = [loads_a, loads_b, stores, outputs, cycles]
    if mapping.order == "n":
        arrays = [x.swapaxes(0, 1) for x in arrays]
    if len(bounds) == 1:
        # What the block before left is not loaded again: the outer operand always, the inner if it has one panel.
        outer, inner = (arrays[0], arrays[1]) if mapping.order == "m" else (arrays[1], arrays[0])
        outer[:, 1:] = 0
        if outer.shape[1] == 1:
            inner[1:] = 0
    flat = [np.ascontiguousarray(x).reshape(-1) for x in arrays]
    for side, loads in (("a", flat[0]), ("b", flat[1])):
        loads[0] += -(-problem.format.tensor_bits(side, problem.k) // burst_bits) * burst_bits
    in_use = np.array(used, np.int64)
    instructions = int((macro_tiles * in_use).sum()) * problem.steps
    # A step reads A for the rows of sub-blocks and B for the columns of sub-blocks that are in use.
    read_a = int((macro_tiles * np.array(row_kinds)[:, None]).sum()) * p * array.m
    read_b = int((macro_tiles * np.array(column_kinds)).sum()) * q * array.n
    return Blocks(
        loads_a=flat[0], loads_b=flat[1], stores=flat[2], outputs=flat[3], issue=flat[4], instructions=instructions,
        sram_a=int(read_a * sum(s.steps * s.step * s.a_bits for s in problem.segments)),
        sram_b=int(read_b * sum(s.steps * s.step * s.b_bits for s in problem.segments)),
        correction=int((macro_tiles * added).sum()),
    )  # fmt: skip


def issue_order(problem: Problem, array: Array, mapping: Mapping) -> Iterator[tuple[int, int, int, int]]:
    """Every instruction of a GEMM that waits for nothing, K in one chunk, in order: what drives tiles.

    Yields
    ------
    cycle, row, column, step : int
        The cycle; the first row and column of D that the first tile computes; the step through K, of which all but the
        first accumulate. Tile (i, j) has its outputs ``i * m`` rows and ``j * n`` columns further.
    """
    (p, q), cycle = array.tiles, 0
    rows, columns = p * array.m, q * array.n
    starts = [
        range(0, total, block) for total, block in ((problem.m, mapping.mb), (problem.n, mapping.nb))
    ]  # fmt: skip
    order = [(r, c) for r in starts[0] for c in starts[1]]
    if mapping.order == "n":
        order = [(r, c) for c in starts[1] for r in starts[0]]
    for block_row, block_column in order:
        last_row, last_column = min(block_row + mapping.mb, problem.m), min(block_column + mapping.nb, problem.n)
        for row in range(block_row, last_row, rows * mapping.rm):
            for column in range(block_column, last_column, columns * mapping.rn):
                used = [
                    (r, c)
                    for r in range(row, min(row + rows * mapping.rm, last_row), rows)
                    for c in range(column, min(column + columns * mapping.rn, last_column), columns)
                ]
                step = width = 0
                for segment in problem.segments:
                    width = step_cycles(array, mapping, segment, len(used))
                    for _ in range(segment.steps):
                        yield from ((cycle + turn, r, c, step) for turn, (r, c) in enumerate(used))
                        cycle, step = cycle + width, step + 1
                cycle += len(used) - width + array.macro_skew


@njit(cache=True)
def _recurrence(
    loads: np.ndarray, stores: np.ndarray, drains: np.ndarray, issue: np.ndarray, latency: int, bits: int, cycles: int
) -> tuple[int, int]:
    """End of the last issue, and end of the last store; the DRAM's port moves ``bits`` in so many ``cycles``."""
    dma, before, end = 0, 0, 0
    last = len(loads) - 1
    for i in range(len(loads)):
        # The half that block i - 2 used must be free.
        dma = max(dma, before) + (loads[i] * cycles + bits - 1) // bits
        before, end = end, max(dma, end) + issue[i]
        if i and stores[i - 1]:
            dma = max(dma, before + latency) + max((stores[i - 1] * cycles + bits - 1) // bits, drains[i - 1])
    return end, max(dma, end + latency) + max((stores[last] * cycles + bits - 1) // bits, drains[last])


def times(work: Blocks, array: Array, bandwidth: Fraction, cycles_per_output: Fraction = Fraction(0)) -> Times:
    """Cycles of a GEMM.

    One port moves all DRAM traffic, requests in the order load 0, load 1, store 0, load 2, store 1, ...; half of every
    buffer is loaded while the other is in use.

    Parameters
    ----------
    work : Blocks
    array : Array
    bandwidth : Fraction
        Bits of DRAM traffic in a cycle.
    cycles_per_output : Fraction
        Of an engine that quantises D on its way out: where it is slower than the port, the port waits for it.
    """
    drains = -(-work.outputs * cycles_per_output.numerator // cycles_per_output.denominator)
    end, total = _recurrence(
        work.loads, work.stores, drains, work.issue, array.latency, bandwidth.numerator, bandwidth.denominator
    )
    skew = array.skew if array.delivery == "systolic" else 0
    compute = int(work.issue.sum())
    return Times(compute, int(end) - compute, int(total) - int(end) + skew)
