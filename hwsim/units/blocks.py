"""Blocks of values that verify quantisation engines: at and beside thresholds, ties, and everything special."""

from __future__ import annotations

import math

import numpy as np

from hwsim.golden.exact_choice import SCALE_BITS, SCALES, half_units
from hwsim.golden.formats import E2M1, UE4M3
from hwsim.golden.m2xfp import SUBGROUP
from hwsim.golden.thresholds import Thresholds, thresholds
from hwsim.rtl.quantise.tables import Family

#: Fractions, in 128ths, at and beside the points where rules and codes change: all of them multiples of 1/8 or 1/16.
_POINTS = np.array([
    0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 40, 47, 48, 49, 56, 63, 64, 65, 72, 79, 80, 81, 88, 95, 96, 97,
    104, 111, 112, 113, 119, 120, 121, 127,
])  # fmt: skip
_SIGN, _INFINITY = 0x8000, 0x7F80
#: Magnitudes of BF16, infinity and NaN among them.
MAGNITUDES = np.arange(_SIGN, dtype=np.uint16)
#: How many values of a block are moved, one after the other, to make its candidates' errors equal.
_MOVES = 24


def power_of_two_blocks(rng: np.random.Generator, count: int, size: int, kind: type) -> np.ndarray:
    """Blocks of every class for scales that are powers of two, bits [count, size].

    Classes: exponents mostly within a few binades of each other, anywhere, in subgroups that may lie lower together, or
    two of about one size above all others; all bits random, some infinite or NaN; one element alone; zeros and
    subnormals. Half of the fractions are at or beside the points where rules and codes change.
    """
    random = rng.integers(0, 1 << 16, (count, size), np.uint16)
    base = rng.choice([0, 1, 2, 3, 4, 5, 8, 15, 100, 127, 252, 254], (count, 1))
    base = np.where(rng.random((count, 1)) < 0.5, base, rng.integers(0, 255, (count, 1)))
    below = rng.integers(0, 8, (count, size))
    # Subgroups of which the largest element is small, all others smaller.
    lower = rng.integers(0, 8, (count, size // SUBGROUP, 1)) * (rng.random((count, size // SUBGROUP, 1)) < 0.5)
    spread = below.reshape(count, -1, SUBGROUP) * (rng.random((count, size // SUBGROUP, 1)) < 0.7)
    apart = (spread + lower).reshape(count, size)
    below = np.where(rng.random((count, 1)) < 0.6, apart, below)
    # Distances whose low bits are those of small ones; and those over which formats of many exponents reach.
    below += (rng.random((count, size)) < 0.2) * rng.choice([8, 16, 32, 64, 128], (count, size))
    below = np.where(rng.random((count, 1)) < 0.1, rng.integers(0, 36, (count, size)), below)
    # Two elements far above the others, of about one size: every comparison of two decides somewhere.
    two = rng.permuted(np.tile(np.arange(size) < 2, (count, 1)), axis=1)
    apart = np.where(two, rng.integers(0, 2, (count, size)), 2 + rng.integers(0, 12, (count, size)))
    below = np.where(rng.random((count, 1)) < 0.25, apart, below)
    exponents = np.clip(base - below, 0, 254).astype(np.uint16)
    near = (random & 0x807F) | (exponents << 7)
    of_class = rng.integers(0, 8, (count, 1))
    x = np.where(of_class < 5, near, np.where(of_class == 5, random, random & 0x80FF))
    # A block of which one element is not zero, and the signs of the zeros.
    alone = np.arange(size) == rng.integers(0, size, (count, 1))
    x = np.where((of_class == 7) & ~alone, x & _SIGN, x)
    x = np.where(rng.random((count, size)) < 0.05, x & _SIGN, x)
    x[rng.random(count) < 0.02] &= _SIGN
    points = rng.choice(_POINTS, (count, size)).astype(np.uint16)
    finite = (x & _INFINITY) != _INFINITY
    x = np.where((rng.random((count, size)) < 0.5) & finite, (x & 0xFF80) | points, x).astype(np.uint16)
    x[rng.random(count) < 0.01] &= _SIGN
    if kind is not np.uint16:
        low = rng.choice([0, 0, 1, 0xFFFF], (count, size)).astype(np.uint32)
        low = np.where(rng.random((count, size)) < 0.5, low, rng.integers(0, 1 << 16, (count, size)))
        x = (x.astype(np.uint32) << 16) | low.astype(np.uint32)
    return x


def tying(rng: np.random.Generator, family: Family, count: int) -> np.ndarray:
    """Values, in units of the tensor scale, float64 [count, 16], whose squared errors tie or nearly do.

    The largest is a multiple of both candidates' largest elements, so that both scales are exact. All others are
    multiples of 1/2 for which the candidates' squared errors differ by one amount, as many with either sign, or not at
    all.
    """
    tops = [int(ladder.element.max_finite / stretch) for ladder, stretch in family.candidates]
    largest = math.lcm(*tops)
    halves = np.arange(2 * largest + 1) / 2
    errors = []
    for top, (ladder, _) in zip(tops, family.candidates, strict=True):
        grid = ladder.element.values[: ladder.element.max_code + 1].astype(np.float64) * (largest / top)
        # The grid of a candidate that is stretched reaches beyond the largest value.
        errors.append(((halves[:, None] - grid) ** 2).min(axis=1))
    differ = errors[0] - errors[1]
    amounts, counts = np.unique(np.abs(differ[differ != 0]), return_counts=True)
    both = [
        a
        for a, _ in sorted(zip(amounts, counts, strict=True), key=lambda pair: -pair[1])
        if a in differ and -a in differ
    ][:4]
    values = np.zeros((count, 15))
    amount = rng.integers(0, len(both), count)
    # As many of either sign; the rest are equally good under both candidates, or zero.
    pairs = rng.integers(1, 8, (count, 1))
    lane = np.arange(15)
    neutral = rng.choice(halves[differ == 0], values.shape) * (rng.random(values.shape) < 0.5)
    for i, a in enumerate(both):
        of_sign = [rng.choice(halves[differ == sign * a], values.shape) for sign in (1, -1)]
        chosen = np.where(lane < pairs, of_sign[0], np.where(lane < 2 * pairs, of_sign[1], neutral))
        values = np.where((amount == i)[:, None], chosen, values)
    # Of some, one value is beside.
    beside = (rng.random((count, 1)) < 0.4) & (lane == rng.integers(0, 15, (count, 1)))
    values = np.clip(values + beside * rng.choice([-0.5, 0.5], (count, 1)), 0, largest)
    values = np.concatenate([values, np.full((count, 1), float(largest))], axis=1)
    values = rng.permuted(values, axis=1) * rng.choice([-1, 1], values.shape)
    return values * np.exp2(rng.integers(-6, 4, (count, 1)))


class Candidates:
    """What both candidates of an engine that chooses make of the elements of BF16 blocks, by thresholds.

    Parameters
    ----------
    family : Family
    amax : float
        The largest magnitude that the tensor's scale is made for, above 0.
    largest : int [blocks]
        Bits of every block's largest magnitude.
    """

    def __init__(self, family: Family, amax: float, largest: np.ndarray):
        self._ways = []
        for ladder, stretch in family.candidates:
            table = thresholds(amax, full_scale=family.full_scale, element=ladder.element, stretch=stretch)
            scales = table.scale_codes(largest.astype(np.int64)).astype(np.int64)
            rungs = np.array([table.of_scale(max(scale, 1)) for scale in range(UE4M3.max_code + 1)])[scales]
            self._ways.append((half_units(ladder.element), SCALES[scales], rungs))

    def decoded(self, magnitudes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Elements as the candidates of smaller and of larger scale decode them.

        Parameters
        ----------
        magnitudes : int64 [blocks, elements]
            Bits without signs.

        Returns
        -------
        two int64 [blocks, elements], in units of ``2**-(SCALE_BITS + 1) * amax / full_scale``.
        """
        results = []
        for units, scale, rungs in self._ways:
            codes = sum((magnitudes >= rung[:, None]).astype(np.int64) for rung in rungs.T)
            # A scale of zero makes all codes 0.
            results.append(units[codes] * scale[:, None])
        small, large = results
        return small, large


def spread(rng: np.random.Generator, family: Family, amax: float, count: int) -> np.ndarray:
    """BF16 blocks, bits [count, 16], of all scales, the least more often than others, and beyond the largest.

    The elements of a block lie within a quarter of a binade to five binades: where all are large, sums over the block
    reach their highest bits; where many are small, their lowest bits matter.
    """
    # Binades from blocks of the smallest scale to those that hold the tensor's largest magnitude.
    most = np.log2(family.full_scale / E2M1.max_finite) + SCALE_BITS
    ranges = np.array([(0, 5), (0, most), (most, most + 1)])[rng.choice(3, count, p=[0.4, 0.4, 0.2])]
    largest = amax * np.exp2(rng.uniform(ranges[:, :1], ranges[:, 1:]) - most)
    below = rng.choice([0.25, 0.5, 1.0, 3.0, 5.0], (count, 1)) * rng.uniform(0, 1, (count, 16))
    below[:, 0] = 0
    values = rng.permuted(largest * np.exp2(-below), axis=1) * rng.choice([-1, 1], (count, 16))
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def near_ties(rng: np.random.Generator, family: Family, amax: float, x: np.ndarray) -> np.ndarray:
    """Blocks, bits [blocks, 16], with values moved until the candidates' errors are as close as they come.

    A fault in the lowest bits of a sum over a block changes the choice in such blocks only. Those that hold infinities
    or NaN stay as they are.
    """
    finite = (x & ~np.uint16(_SIGN)).max(axis=1) < _INFINITY
    magnitudes = (x[finite] & ~np.uint16(_SIGN)).astype(np.int64)
    largest = magnitudes.max(axis=1)
    candidates = Candidates(family, amax, largest)
    rows = np.arange(len(magnitudes))

    def value(bits: np.ndarray) -> np.ndarray:
        return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64) / amax

    def excess(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By element, the error of the candidate of larger scale less the other's, and how it grows with the value."""
        small, large = candidates.decoded(bits)
        apart = large - small
        return apart * ((large + small) - factor * value(bits)), -factor * apart

    factor = 4 * family.full_scale * 2.0**SCALE_BITS
    difference = excess(magnitudes)[0].sum(axis=1)
    for _ in range(_MOVES):
        lane = rng.integers(0, x.shape[1], len(rows))
        old = magnitudes[rows, lane]
        [before], [slope] = (each.T for each in excess(old[:, None]))
        # The move that would make the errors equal, as long as codes stay; down or up to a BF16 number.
        step = difference / np.where(slope == 0, np.inf, slope)
        wanted = np.clip((value(old) - step) * amax, 0, 3e38).astype(np.float32).view(np.uint32) >> 16
        new = np.minimum(wanted.astype(np.int64) + rng.integers(0, 2, len(rows)), largest)
        moved = difference + (excess(new[:, None])[0][:, 0] - before)
        better = (np.abs(moved) < np.abs(difference)) & (old < largest)
        magnitudes[rows, lane] = np.where(better, new, old)
        difference = np.where(better, moved, difference)
    result = x.copy()
    result[finite] = (x[finite] & np.uint16(_SIGN)) | magnitudes.astype(np.uint16)
    return result


def beside_thresholds(rng: np.random.Generator, tables: list[Thresholds], fraction: int, count: int) -> np.ndarray:
    """Magnitudes with signs, bits [count, 16]: of scales anywhere, at and beside thresholds of either candidate."""
    most = UE4M3.max_code
    ends = np.append(tables[0].scales, np.minimum(2 * tables[0].scales[-1], tables[0].scales[-1] + (2 << fraction)))
    # One element is the largest: at either end of a scale's range, or within.
    scale = rng.integers(0, most + 1, count)
    low, high = np.where(scale == 0, 0, ends[scale - 1]), ends[scale] - 1
    within = low + (rng.random(count) * (high - low + 1)).astype(np.int64)
    largest = np.where(rng.random(count) < 0.3, low, np.where(rng.random(count) < 0.3, high, within))
    largest = np.minimum(largest, (255 << fraction) - 1)
    x = np.empty((count, 16), np.int64)
    codes = [np.minimum(table.scale_codes(largest), most) for table in tables]
    # Thresholds of all scales, [scales, 7].
    rungs = [np.array([table.of_scale(max(s, 1)) for s in range(most + 1)]) for table in tables]
    for i in range(16):
        which = rng.integers(0, len(tables), count)
        of = np.stack([rung[code] for rung, code in zip(rungs, codes, strict=True)])[which, np.arange(count)]
        rung = of[np.arange(count), rng.integers(0, 7, count)] + rng.integers(-1, 2, count)
        random = (rng.random(count) * (largest + 1)).astype(np.int64)
        near = np.maximum(largest - rng.integers(0, 7 << fraction, count), 0)
        x[:, i] = np.where(rng.random(count) < 0.6, rung, np.where(rng.random(count) < 0.2, random, near))
    x = np.clip(x, 0, largest[:, None])
    x[np.arange(count), rng.integers(0, 16, count)] = largest
    sign = rng.integers(0, 2, x.shape)
    return x | sign << (fraction + 8)


def alone(magnitudes: np.ndarray, size: int) -> np.ndarray:
    """Blocks, bits [magnitudes, size], of one magnitude and zeros."""
    x = np.zeros((len(magnitudes), size), np.uint16)
    x[:, 0] = magnitudes
    return x


def under_every_scale(rng: np.random.Generator, tops: np.ndarray, size: int) -> np.ndarray:
    """Blocks in which every magnitude stands under every scale, and in which every magnitude is the largest.

    Parameters
    ----------
    rng : Generator
        Gives signs, and where in a block an element stands.
    tops : int [scales], ascending
        The largest magnitude that has each scale.
    size : int
        Elements of a block.

    Returns
    -------
    uint16 [blocks, size]
        Of one scale at a time all magnitudes up to its largest, which every block has; then one block for every
        magnitude, whose other elements are smaller or equal.
    """
    parts = []
    for top in tops.tolist():
        below = MAGNITUDES[: top + 1]
        blocks = -(-len(below) // (size - 1))
        x = np.full((blocks, size), top, np.uint16)
        x[:, 1:] = rng.permutation(np.resize(below, blocks * (size - 1))).reshape(blocks, -1)
        parts.append(x)
    most = MAGNITUDES[: int(tops.max()) + 1]
    x = (rng.random((len(most), size)) * (most[:, None] + 1)).astype(np.uint16)
    x[:, 0] = most
    x = np.concatenate([*parts, x])
    # The largest stands in every place in turn.
    places = (np.arange(size) + np.arange(len(x))[:, None]) % size
    return np.take_along_axis(x, places, axis=1) | rng.choice(np.array([0, _SIGN], np.uint16), x.shape)
