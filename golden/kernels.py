"""Common ground of the kernels of ``golden``: compilation, threads, and element casts without branches.

The casts keep to integer and FP32 operations that vectorise across a block. They agree bit for bit with
:func:`golden.formats.encode`, which states the same rule in plain integers; ``tests/golden`` compares both
over all 2**32 inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import njit
from numba.core.caching import FunctionCache

from .formats import FixedPoint, MiniFloat

LANES = 16  # Inner loops have this fixed length, so that LLVM unrolls and vectorises them.
FLOAT32_MAX = np.finfo(np.float32).max

_MAGNITUDE = 0x7FFFFFFF
_EXPONENT = 0x7F800000
_SERIAL_BELOW = 1 << 16  # Elements below which a thread costs more than it gains.
_CHUNKS_PER_THREAD = 4  # More chunks than threads: a thread that the machine delays does not hold up the rest.

_SOURCES = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


class _WholePackageCache(FunctionCache):
    """Numba's disk cache watches a kernel's own file only; this one goes stale with any file of golden."""

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = _SOURCES


def kernel(function: Callable) -> Callable:
    """Compile ``function(start, stop, ...)`` for :func:`spread`: without the GIL, cached on disk.

    Numba's ``parallel=True`` is not used: it takes several times longer to compile and keeps inner loops from
    vectorising. Nor is ``fastmath``: the order of FP32 operations is part of the contract.
    """
    dispatcher: Any = njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = _WholePackageCache(function)
    return dispatcher


#: Compile a scalar function that kernels call. Division by zero gives infinity, as in FP32 hardware: the
#: check for it would keep loops from vectorising.
lane = njit(error_model="numpy")


def spread(function: Callable, count: int, elements: int, *arguments) -> list:
    """Run ``function(start, stop, *arguments)`` over ``range(count)`` in as many threads as Numba may use.

    Parameters
    ----------
    function : kernel
        Its result for an index must not depend on how the range was divided.
    count : int
        Independent pieces of work.
    elements : int
        Size of the whole work; small work stays in the calling thread.

    Returns
    -------
    list of what the calls returned, in the order of the range.
    """
    threads = 1 if elements < _SERIAL_BELOW else min(numba.get_num_threads(), count)
    if threads == 1:
        return [function(0, count, *arguments)]
    bounds = [count * i // (threads * _CHUNKS_PER_THREAD) for i in range(threads * _CHUNKS_PER_THREAD + 1)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda start, stop: function(start, stop, *arguments), bounds[:-1], bounds[1:]))


def cast_constants(fmt: MiniFloat | FixedPoint) -> tuple[int, int, int]:
    """Constants of an element format for :func:`nearest_code`: its argument ``cast``.

    Returns
    -------
    FP32 bits of the power of two below which the grid is uniform, fraction bits of the grid, and FP32 bits of
    the largest finite value.
    """
    if isinstance(fmt, FixedPoint):
        fraction_width, exponent = fmt.width - 2, fmt.max_exponent
    else:
        fraction_width, exponent = fmt.fraction_width, 1 - fmt.bias
    return (exponent + 127) << 23, fraction_width, int(np.float32(fmt.max_finite).view(np.int32))


@lane
def as_bits(value):
    """FP32 bits, int32, of a float32."""
    return np.float32(value).view(np.int32)


@lane
def as_float(bits):
    """The float32 whose bit pattern is the integer ``bits``."""
    return np.int32(bits).view(np.float32)


@lane
def magnitude_bits(value):
    """FP32 bits without the sign: ordered like the magnitudes, above ``_EXPONENT`` for NaN."""
    return np.int32(as_bits(value) & np.int32(_MAGNITUDE))


@lane
def is_negative(value):
    """Sign bit of a float32, int32 0 or 1; 1 for -0.0."""
    return np.int32(np.int32(as_bits(value) >> np.int32(31)) & np.int32(1))


@lane
def _binade(magnitude, cast):
    """FP32 bits of the power of two that sets the element's unit at ``magnitude``."""
    return np.int32(max(np.int32(magnitude & np.int32(_EXPONENT)), np.int32(cast[0])))


@lane
def _magic(binade, cast):
    """The power of two whose FP32 unit in the last place is the element's unit in ``binade``.

    Adding it makes FP32 addition itself round to the element's grid.
    """
    return as_float(np.int32(binade + np.int32(np.int32(23 - cast[1]) << np.int32(23))))


@lane
def nearest_code(value, cast):
    """Magnitude code nearest to ``|value|``, ties to even, saturating. ``cast``: cast_constants."""
    magnitude = np.int32(min(magnitude_bits(value), np.int32(cast[2])))
    binade = _binade(magnitude, cast)
    magic = _magic(binade, cast)
    units = np.int32(as_bits(as_float(magnitude) + magic) - as_bits(magic))
    # A carry out of the fraction adds one to the exponent field, as it should.
    return np.int32(np.int32(np.int32(binade - np.int32(cast[0])) >> np.int32(23 - cast[1])) + units)


@lane
def nearest_magnitude(value, cast):
    """Value of :func:`nearest_code`, without going through the code."""
    magnitude = np.int32(min(magnitude_bits(value), np.int32(cast[2])))
    magic = _magic(_binade(magnitude, cast), cast)
    return (as_float(magnitude) + magic) - magic


@lane
def stochastic_code(value, cast, random):
    """Magnitude code of ``|value|`` rounded stochastically, saturating.

    The larger neighbour is taken with a probability of ``|value|``'s distance from the smaller one, in units of
    the element. ``random`` is uniform in 0 .. 2**24 - 1.
    """
    magnitude = np.int32(min(magnitude_bits(value), np.int32(cast[2])))
    binade = _binade(magnitude, cast)
    per_unit = np.int32(np.int32(np.int32(254 + cast[1]) << np.int32(23)) - binade)
    units = as_float(magnitude) * as_float(per_unit)
    whole = np.int32(units)
    up = np.int32(np.float32(random) < (units - np.float32(whole)) * np.float32(1 << 24))
    shift = np.int32(23 - cast[1])
    return np.int32(np.int32(np.int32(binade - np.int32(cast[0])) >> shift) + np.int32(whole + up))


@lane
def random24(seed, index):
    """24 uniform bits of ``seed`` and ``index`` alone: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    z = np.uint64(seed) + np.uint64(index + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int32((z ^ (z >> np.uint64(31))) >> np.uint64(40))


@lane
def part_largest(x):
    """Largest magnitude of LANES values."""
    bits = np.int32(0)
    for i in range(LANES):
        bits = np.int32(max(bits, magnitude_bits(x[i])))
    return as_float(bits)


@kernel
def _part_maxima(start, stop, x, maxima):
    for part in range(start, stop):
        maxima[part] = part_largest(x[part])


def part_maxima(x: np.ndarray) -> np.ndarray:
    """Largest magnitude of every LANES elements of ``x``; infinity or NaN if there is one among them.

    ``x``: float32 [..., K], C-contiguous, K a multiple of LANES. Returns float32 [..., K / LANES].
    """
    maxima = np.empty((*x.shape[:-1], x.shape[-1] // LANES), np.float32)
    spread(_part_maxima, maxima.size, x.size, x.reshape(-1, LANES), maxima.reshape(-1))
    return maxima
