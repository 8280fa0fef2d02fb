"""Blocks with an E8M0 scale, a power of two: what OCP MX, OAS, MBS, M2XFP and MicroMix share.

Sources: OCP Microscaling Formats (MX) v1.0, section 6.3; microxcaling, with which the default rule agrees in every
bit; torchao for the names of the other rules.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from .formats import E8M0, FixedPoint, MiniFloat
from .kernels import (
    LANES,
    as_float,
    cast_constants,
    is_negative,
    kernel,
    lane,
    nearest_code,
    random24,
    spread,
    stochastic_code,
)
from .tensor import one_of

BLOCK_SIZE = 32
FP64_FRACTION = 52


def exponent_rule(name: str, fmt: MiniFloat | FixedPoint) -> tuple[np.float32, int, int]:
    """Constants of a rule for the shared exponent of a block.

    Every rule is ``floor(log2(bmax / divisor + carry)) - emax`` with ``bmax`` the block's largest magnitude.
    ``carry`` is added to the last places of the FP64 fraction of the quotient and may carry into its exponent.

    Parameters
    ----------
    name : {"floor", "ceil", "even", "rceil"}
    fmt : MiniFloat or FixedPoint
        Element format.

    Returns
    -------
    divisor (float32), carry (in units of the last place of an FP64 fraction), emax.
    """
    one_of("scale_rule", name, ("floor", "ceil", "even", "rceil"))
    up = (1 << FP64_FRACTION) - 1
    if name == "rceil":
        return np.float32(fmt.max_finite), up, 0
    fraction_width = cast_constants(fmt)[1]
    carry = {"floor": 0, "ceil": up, "even": 1 << (FP64_FRACTION - 1 - fraction_width)}[name]
    return np.float32(1), carry, fmt.max_exponent


@lane
def largest_of(maxima):
    """Largest of the maxima of a block's parts."""
    largest = maxima[0]
    for part in range(1, maxima.size):
        largest = max(largest, maxima[part])
    return largest


@lane
def shared_exponent(largest, rule):
    """Unbiased shared exponent, -127 to 127, for a block's largest magnitude. ``rule``: exponent_rule."""
    # Every FP32 number but zero is normal in FP64, so its exponent field holds the exponent.
    bits = np.float64(largest / rule[0]).view(np.int64) + rule[1]
    return min(max((bits >> FP64_FRACTION) - 1023 - rule[2], -127), 127)


@lane
def power_of_two(exponent):
    """``2**exponent`` in FP32 for -127 to 127; the lowest is subnormal."""
    if exponent < -126:
        return as_float(np.int32(1 << 22))
    return as_float(np.int32((exponent + 127) << 23))


@lane
def signed(code, negative, sign_shift):
    """``code`` with its sign: sign-magnitude, or two's complement where ``sign_shift`` is negative."""
    if sign_shift >= 0:
        return np.uint8(code | (negative << np.int32(sign_shift)))
    return np.uint8(np.int32(code ^ np.int32(-negative)) + negative)


@lane
def encode_part(x, scale_up, cast, sign_shift, codes):
    """Write the element codes of ``x * scale_up`` to ``codes``; both arrays have LANES entries."""
    for i in range(LANES):
        v = x[i] * scale_up
        codes[i] = signed(nearest_code(v, cast), is_negative(v), sign_shift)


def element_constants(fmt: MiniFloat | FixedPoint) -> tuple[tuple[int, int, int], int]:
    """``cast`` (:func:`cast_constants`) and ``sign_shift`` (:func:`signed`) of an element format."""
    return cast_constants(fmt), fmt.magnitude_width if isinstance(fmt, MiniFloat) else -1


@cache
def _quantize_kernel(fmt: MiniFloat | FixedPoint) -> Callable:
    """The quantising kernel of an element format. With its constants compiled in it is twice as fast as with
    arguments."""
    cast, sign_shift = element_constants(fmt)

    @kernel
    def quantize(start, stop, x, maxima, rule, zero_scale, codes, scales):
        for block in range(start, stop):
            largest = largest_of(maxima[block])
            if largest == 0:
                scales[block] = zero_scale
                codes[block] = 0
                continue
            exponent = shared_exponent(largest, rule)
            scales[block] = exponent + 127
            scale_up = power_of_two(-exponent)
            for part in range(x.shape[1]):
                encode_part(x[block, part], scale_up, cast, sign_shift, codes[block, part])

    return quantize


@kernel
def _round_stochastically(start, stop, x, maxima, cast, sign_shift, seed, codes, scales):
    """Replace ``codes`` by stochastically rounded ones, under the ``scales`` that are there."""
    for block in range(start, stop):
        if largest_of(maxima[block]) == 0:
            continue
        scale_up = power_of_two(127 - np.int64(scales[block]))
        for part in range(x.shape[1]):
            index = (block * x.shape[1] + part) * LANES
            for i in range(LANES):
                v = x[block, part, i] * scale_up
                code = stochastic_code(v, cast, random24(seed, index + i))
                codes[block, part, i] = signed(code, is_negative(v), sign_shift)


@kernel
def _decode(start, stop, codes, scales, elements, values, result):
    mask = elements.size - 1
    for block in range(start, stop):
        scale = values[scales[block]]
        for i in range(codes.shape[1]):
            result[block, i] = elements[codes[block, i] & mask] * scale


def quantize_blocks(
    x: np.ndarray,
    maxima: np.ndarray,
    fmt: MiniFloat | FixedPoint,
    block_size: int,
    rule: tuple[np.float32, int, int],
    zero_scale: int = 0,
    stochastic_seed: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Quantise to an element format with E8M0 scales.

    Parameters
    ----------
    x : float32 [rows, K], C-contiguous, finite
    maxima : float32 [rows, K / 16]
        Largest magnitude of every 16 elements.
    fmt : MiniFloat or FixedPoint
        Element format.
    block_size : int
        Elements that share a scale, a multiple of 16.
    rule : tuple
        See :func:`exponent_rule`.
    zero_scale : int
        Scale byte of a block of zeros.
    stochastic_seed : int, optional
        As for ``quantize`` of the MX formats (``golden/mx.py``).

    Returns
    -------
    codes : uint8 [rows, K]
    scales : uint8 [rows, K / block_size]
    """
    blocks, maxima = x.reshape(-1, block_size // LANES, LANES), maxima.reshape(-1, block_size // LANES)
    codes, scales = np.empty(blocks.shape, np.uint8), np.empty(len(blocks), np.uint8)
    spread(_quantize_kernel(fmt), len(blocks), x.size, blocks, maxima, rule, zero_scale, codes, scales)
    if stochastic_seed is not None:
        constants = *element_constants(fmt), np.uint64(stochastic_seed)
        spread(_round_stochastically, len(blocks), x.size, blocks, maxima, *constants, codes, scales)
    return codes.reshape(x.shape), scales.reshape(len(x), -1)


def dequantize_blocks(codes: np.ndarray, scales: np.ndarray, fmt: MiniFloat | FixedPoint) -> np.ndarray:
    """Values of codes with E8M0 scales. A NaN scale makes NaN of its block.

    Parameters
    ----------
    codes : uint8 [rows, K]
    scales : uint8 [rows, K / block_size]
    fmt : MiniFloat or FixedPoint
        Element format.

    Returns
    -------
    float32 [rows, K]
    """
    result = np.empty(codes.shape, np.float32)
    blocks = codes.reshape(scales.size, -1)
    spread(
        _decode,
        len(blocks),
        codes.size,
        blocks,
        scales.reshape(-1),
        fmt.values,
        E8M0.values,
        result.reshape(blocks.shape),
    )
    return result
