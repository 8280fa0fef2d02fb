"""MicroMix: channels in MXFP4 (E2M1), MXFP6 (E3M2) or MXFP8 (E4M3), assigned by calibration and permuted so that
each format has one segment of K.

Sources: arXiv 2508.02343 and its public code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .arrays import floats
from .e8m0_blocks import BLOCK_SIZE, encode_part, exponent_rule, power_of_two, shared_exponent
from .formats import E2M1, E2M3, E3M2, E4M3, E5M2, E8M0, MiniFloat
from .kernels import LANES, as_bits, as_float, cast_constants, kernel, lane, part_largest, spread
from .tensor import BlockTensor, System

ELEMENTS: tuple[MiniFloat, ...] = (E2M1, E3M2, E4M3)
#: What the segments of an operand may be quantised to.
_MIXES = {fmt.name: fmt for fmt in (E2M1, E2M3, E3M2, E4M3, E5M2)}
_DEFAULT = "+".join(fmt.name for fmt in ELEMENTS)
GRANULE = 128  # Channels of FP6 and FP8 come in multiples of this.
_PIECE = 1 << 18  # Elements that calibration processes at a time: bounds its memory, whatever the input's size.


@dataclass(frozen=True, eq=False)
class Assignment:
    """Position and format of every channel. Weights must use the assignment of the activations they multiply.

    Parameters
    ----------
    permutation : int32 [K]
        Channel ``permutation[i]`` is stored at position ``i``.
    lengths : tuple of int
        Channels in FP4, FP6 and FP8, in this order; multiples of 32 that add up to K.
    """

    permutation: np.ndarray
    lengths: tuple[int, int, int]

    def __post_init__(self) -> None:
        order = self.permutation
        if not isinstance(order, np.ndarray) or order.dtype != np.int32 or order.ndim != 1:
            actual = f"{order.dtype} of shape {order.shape}" if isinstance(order, np.ndarray) else f"{order!r:.60}"
            raise ValueError(f"permutation must be an int32 array [K], got {actual}")
        k = order.size
        if not np.array_equal(np.sort(order), np.arange(k)):
            raise ValueError(f"permutation must hold every channel 0 to {k - 1} once")
        whole = all(n >= 0 and n % BLOCK_SIZE == 0 for n in self.lengths)
        if len(self.lengths) != len(ELEMENTS) or sum(self.lengths) != k or not whole:
            raise ValueError(
                f"lengths must be {len(ELEMENTS)} multiples of {BLOCK_SIZE} that add up to {k}, got {self.lengths}"
            )


def assign_channels(
    activations: np.ndarray | Iterable[np.ndarray], multiplier: float = 1.0, *, granule: int = GRANULE
) -> Assignment:
    """Assign channels from calibration activations.

    An element can be FP4 (FP6) if its step in that format is at most FP8's step at the largest element of its row.
    The shares of such elements set the numbers of FP4 and FP6 channels. Channels are sorted by mean magnitude: the
    smallest become FP4, the largest FP8.

    Parameters
    ----------
    activations : float32, float16 or bfloat16 [tokens, K] or [samples, tokens, K], or samples [tokens, K] one after
        the other, which may differ in length and need not all be in memory
        A channel's mean magnitude is the largest of its means over the samples.
    multiplier : float
        Scales both thresholds: above 1, more channels become FP4 and FP6.
    granule : int
        Channels of FP6 and FP8 come in multiples of this, a multiple of 32; the public code has 128, which for small K
        are large steps (22 % at K = 576).

    Returns
    -------
    Assignment

    Raises
    ------
    ValueError
        For another dtype or number of axes, K not a multiple of 32 or not the same in all samples, no samples, NaN or
        infinity, a granule that is no multiple of 32, or a multiplier that is negative or not finite.
    """
    if not isinstance(multiplier, int | float | np.integer | np.floating) or not 0 <= multiplier < math.inf:
        raise ValueError(f"multiplier must be finite and not negative, got {multiplier!r}")
    if not isinstance(granule, int) or granule < 1 or granule % BLOCK_SIZE:
        raise ValueError(f"granule must be a positive multiple of {BLOCK_SIZE}, got {granule!r}")
    # T4 = rowmax * 448 / 6 / 2**10 and T6 = rowmax * 448 / 28 / 2**6, as the public code has them.
    thresholds = [
        float(multiplier) * E4M3.max_finite / fmt.max_finite / per for fmt, per in ((E2M1, 2**10), (E3M2, 2**6))
    ]
    k = total = 0
    mean_magnitudes = np.zeros(0)
    fits: list[int] = [0, 0]
    for where, sample in _samples(activations):
        if not k:
            k = sample.shape[1]
            mean_magnitudes = np.zeros(k)
        if k % BLOCK_SIZE:
            raise ValueError(f"K must be a multiple of {BLOCK_SIZE}, got {k}")
        if sample.shape[1] != k:
            raise ValueError(f"samples must have one K, got {k} and {sample.shape[1]}")
        sums = np.zeros(k)
        rows_at_once = max(_PIECE // k, 1)
        for first in range(0, len(sample), rows_at_once):
            magnitudes = np.abs(sample[first : first + rows_at_once].astype(np.float32))
            largest = magnitudes.max(axis=1, keepdims=True).astype(np.float64)
            if not np.isfinite(largest.max()):
                row, channel = (int(i) for i in np.argwhere(~np.isfinite(magnitudes))[0])
                value = sample[first + row, channel]
                raise ValueError(f"activations must be finite, got {value} at index {(*where, first + row, channel)}")
            sums += magnitudes.sum(axis=0, dtype=np.float64)
            for i, threshold in enumerate(thresholds):
                fits[i] += int(np.count_nonzero(magnitudes <= largest * threshold))
        mean_magnitudes = np.maximum(mean_magnitudes, sums / len(sample))
        total += sample.size
    if not total:
        raise ValueError("activations must have elements, got none")
    fp4, fp6_or_less = fits[0], max(fits)
    fp8_channels = min(_granules(total - fp6_or_less, total, k, granule), k)
    fp6_channels = min(_granules(fp6_or_less - fp4, total, k, granule), k - fp8_channels)
    permutation = np.argsort(mean_magnitudes, kind="stable").astype(np.int32)
    return Assignment(permutation, (k - fp6_channels - fp8_channels, fp6_channels, fp8_channels))


def _samples(activations: np.ndarray | Iterable[np.ndarray]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Samples, [tokens, K] each, with their index in messages."""
    if isinstance(activations, np.ndarray) or hasattr(activations, "dtype"):
        whole = floats("activations", activations)
        if whole.ndim not in (2, 3) or whole.size == 0:
            raise ValueError(f"activations must be [tokens, K] or [samples, tokens, K], got shape {whole.shape}")
        if whole.ndim == 2:
            yield (), whole
            return
        activations = whole
    for number, sample in enumerate(activations):
        one = floats(f"activations[{number}]", sample)
        if one.ndim != 2 or one.size == 0:
            raise ValueError(f"activations[{number}] must be [tokens, K], got shape {one.shape}")
        yield (number,), one


def _granules(elements: int, total: int, k: int, granule: int) -> int:
    """The share of elements as a number of channels, rounded up to whole granules."""
    return math.ceil(elements * k / (total * granule)) * granule


@lane
def _round_to_bf16(value):
    bits = as_bits(value)
    return as_float(np.int32((bits + 0x7FFF + ((bits >> 16) & 1)) & ~0xFFFF))


@cache
def _quantize_kernel(fmt: MiniFloat) -> Callable:
    """The quantising kernel of a segment's format, whose constants are compiled in."""
    rule, cast, sign_shift = exponent_rule("rceil", fmt), cast_constants(fmt), fmt.magnitude_width

    @kernel
    def quantize(start, stop, x, channels, first, via_bf16, codes, scales):
        block = np.empty((BLOCK_SIZE // LANES, LANES), np.float32)
        flat = block.reshape(-1)
        for row in range(start, stop):
            for offset in range(0, channels.size, BLOCK_SIZE):
                for i in range(BLOCK_SIZE):
                    flat[i] = x[row, channels[offset + i]]
                at = (first + offset) // BLOCK_SIZE
                largest = max(part_largest(block[0]), part_largest(block[1]))
                if largest == 0:
                    scales[row, at] = 0
                    codes[row, at] = 0
                    continue
                exponent = shared_exponent(largest, rule)
                scales[row, at] = exponent + 127
                up = power_of_two(-exponent)
                if via_bf16:
                    for i in range(BLOCK_SIZE):
                        flat[i] = _round_to_bf16(flat[i] * up)
                    up = np.float32(1)
                for part in range(BLOCK_SIZE // LANES):
                    encode_part(block[part], up, cast, sign_shift, codes[row, at, part])

    return quantize


@kernel
def _decode(start, stop, codes, scales, ends, positions, elements, values, result):
    permuted = np.empty(codes.shape[1], np.float32)
    for row in range(start, stop):
        for segment in range(len(elements)):
            table = elements[segment]
            for block in range(ends[segment] // BLOCK_SIZE, ends[segment + 1] // BLOCK_SIZE):
                scale = values[scales[row, block]]
                for i in range(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE):
                    permuted[i] = table[codes[row, i]] * scale
        for channel in range(positions.size):
            result[row, channel] = permuted[positions[channel]]


def quantize(
    x: np.ndarray,
    maxima: np.ndarray,
    *,
    assignment: Assignment | None = None,
    multiplier: float = 1.0,
    elements: str = _DEFAULT,
    via_bf16: bool = False,
) -> BlockTensor:
    """Quantise to the three segments of MicroMix. A block of zeros has scale byte 0 (the public code: 2**-1).

    Parameters
    ----------
    x : float32 [rows, K], C-contiguous, finite
    maxima : float32 [rows, K / 16]
        Not used: blocks are made of permuted channels.
    assignment : Assignment, optional
        The assignment of the activations. By default it is made from ``x``, all rows as one calibration sample;
        for a maximum over samples, pass the result of :func:`assign_channels` for [samples, tokens, K].
    multiplier : float
        See :func:`assign_channels`; used only without ``assignment``.
    elements : str
        Formats of the segments, joined by ``+``. The public code can give weights E2M1 in all of them
        (``e2m1+e2m1+e2m1``), which activations in three formats multiply.
    via_bf16 : bool
        Round scaled elements to BF16 first, as the public kernel does (double rounding).

    Returns
    -------
    BlockTensor with ``permutation``

    Raises
    ------
    ValueError
        If the assignment is for another K, or is no Assignment, or for unknown formats.
    """
    rows, k = x.shape
    if assignment is not None and not isinstance(assignment, Assignment):
        raise ValueError(f"assignment must be an Assignment, got {type(assignment).__name__}")
    assignment = assignment or assign_channels(x, multiplier)
    if assignment.permutation.size != k:
        raise ValueError(f"assignment is for K = {assignment.permutation.size}, got K = {k}")
    names = str(elements).split("+")
    if len(names) != len(ELEMENTS) or not _MIXES.keys() >= set(names):
        raise ValueError(f"elements must be {len(ELEMENTS)} of {', '.join(_MIXES)}, joined by +, got {elements!r}")
    formats = [_MIXES[name] for name in names]
    blocks = k // BLOCK_SIZE
    codes = np.empty((rows, blocks, BLOCK_SIZE // LANES, LANES), np.uint8)
    scales = np.empty((rows, blocks), np.uint8)
    for fmt, first, channels in _segments(assignment, formats):
        # Unsigned, so that Numba does not test every index for being negative.
        spread(
            _quantize_kernel(fmt), rows, x.size, x, channels.astype(np.uint32), first, via_bf16, codes, scales
        )  # fmt: skip
    return BlockTensor(
        "micromix",
        x.shape,
        tuple((fmt.name, n) for fmt, n in zip(formats, assignment.lengths, strict=True)),
        codes.reshape(rows, k),
        scales,
        {"via_bf16": via_bf16},
        permutation=assignment.permutation,
    )


def dequantize(t: BlockTensor) -> np.ndarray:
    """Values, float32 [rows, K], of a tensor with two-dimensional arrays: ``code * scale``, channels in their
    original order.

    Raises
    ------
    ValueError
        If the permutation does not hold every channel once or a segment is not whole blocks.
    """
    assignment = assignment_of(t)
    # Unsigned, so that Numba does not test every index for being negative.
    positions = np.argsort(assignment.permutation).astype(np.uint32)
    ends = np.cumsum([0, *assignment.lengths])
    formats = [_MIXES[name] for name, _ in t.segments]
    tables = np.stack([np.tile(fmt.values, 256 // fmt.values.size) for fmt in formats])
    result = np.empty(t.codes.shape, np.float32)
    spread(_decode, len(result), result.size, t.codes, t.scales, ends, positions, tables, E8M0.values, result)
    return result


def assignment_of(t: BlockTensor) -> Assignment:
    """The assignment that ``t`` was quantised with; ValueError if it has none."""
    if t.permutation is None or len(t.segments) != len(ELEMENTS):
        raise ValueError(f"{t.format} needs a permutation and {len(ELEMENTS)} segments, got {t.segments}")
    fp4, fp6, fp8 = (length for _, length in t.segments)
    return Assignment(t.permutation, (fp4, fp6, fp8))


def _segments(assignment: Assignment, formats: Sequence[MiniFloat]) -> Iterator[tuple[MiniFloat, int, np.ndarray]]:
    """Element format, first position and channels of each segment that is not empty."""
    first = 0
    for fmt, length in zip(formats, assignment.lengths, strict=True):
        if length:
            yield fmt, first, assignment.permutation[first : first + length]
        first += length


def choices(t: BlockTensor) -> dict[str, float]:
    """Share of channels by element format: ``{"E2M1": share, ...}``."""
    shares: dict[str, float] = {}
    for name, length in t.segments:
        shares[name.upper()] = shares.get(name.upper(), 0.0) + length / t.codes.shape[-1]
    return shares


SYSTEM = System(
    "micromix",
    BLOCK_SIZE,
    quantize,
    dequantize,
    tuple(fmt.name for fmt in ELEMENTS),
    BLOCK_SIZE,
    {"permutation": 0},
    choices,
    calibrate=lambda activations: {"assignment": assign_channels(activations)},
    mixes=tuple(_MIXES),
)
