"""MBS: macro-blocks of 128 are multiplied by a factor in [1, 2) and then quantised with OAS; decoded values are
divided by the factor.

Source: arXiv 2603.08713. An E8M0 scale resolves powers of two only; the factor places the macro-block within its
binade. The paper's default, MBS-H, is dynamic for weights and static for activations.
"""

from __future__ import annotations

import numpy as np

from .e8m0_blocks import encode_part, largest_of, power_of_two, shared_exponent
from .formats import E2M1, E8M0
from .kernels import as_bits, cast_constants, kernel, lane, nearest_magnitude, spread
from .oas import BLOCK_SIZE, RULE, ZERO_SCALE
from .tensor import BlockTensor, System

MACRO_BLOCK = 128
_BLOCKS = MACRO_BLOCK // BLOCK_SIZE
DYNAMIC_FACTORS = 16
_DYNAMIC_STEP = 256 // DYNAMIC_FACTORS
_STATIC, _DYNAMIC = "mxfp4_mbs_static", "mxfp4_mbs_dynamic"
_E2M1_CAST = cast_constants(E2M1)
_E2M1_SIGN = E2M1.magnitude_width
_E2M1_MAX = np.float32(E2M1.max_finite)
_ONE_256TH = np.float32(1 / 256)


@lane
def factor_value(factor):
    """Value of a stored factor, 0 to 255: ``1 + factor / 256``."""
    return np.float32(1) + np.float32(factor) * _ONE_256TH


@lane
def _static_factor(largest):
    """Stored factor that brings ``largest`` to 6 times a power of two: the top eight fraction bits of
    ``6 / largest``, truncated."""
    if largest == 0:
        return 0
    return (as_bits(_E2M1_MAX / largest) >> 15) & 0xFF


@lane
def _dynamic_factor(x, maxima, lanes):
    """The stored factor of least squared error after OAS, the first among equals.

    Squares are added left to right in FP32. All factors go along side by side, because the sum of one alone would wait
    for every addition. ``lanes`` holds, for every factor, the sum, the factor, and powers of two of the block's scale;
    it is one array, so that LLVM knows that they do not overlap.
    """
    for j in range(DYNAMIC_FACTORS):
        lanes[j] = 0
        lanes[DYNAMIC_FACTORS + j] = factor_value(j * _DYNAMIC_STEP)
    for block in range(_BLOCKS):
        for j in range(DYNAMIC_FACTORS):
            # Rounding keeps the order, so the maximum of the products is the product of the maximum.
            exponent = shared_exponent(maxima[block] * lanes[DYNAMIC_FACTORS + j], RULE)
            lanes[2 * DYNAMIC_FACTORS + j] = power_of_two(-exponent)
            lanes[3 * DYNAMIC_FACTORS + j] = power_of_two(exponent)
        for i in range(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE):
            v = x[i]
            magnitude = abs(v)
            for j in range(DYNAMIC_FACTORS):
                factor = lanes[DYNAMIC_FACTORS + j]
                up, down = lanes[2 * DYNAMIC_FACTORS + j], lanes[3 * DYNAMIC_FACTORS + j]
                difference = magnitude - nearest_magnitude(v * factor * up, _E2M1_CAST) * down / factor
                lanes[j] += difference * difference
    best, least = 0, np.float32(np.inf)
    for j in range(DYNAMIC_FACTORS):
        if lanes[j] < least:
            best, least = j * _DYNAMIC_STEP, lanes[j]
    return best


@kernel
def _quantize(start, stop, x, maxima, dynamic, codes, scales, factors):
    scratch = np.empty(MACRO_BLOCK, np.float32)
    lanes = np.empty(4 * DYNAMIC_FACTORS, np.float32)
    for macro in range(start, stop):
        if dynamic:
            factors[macro] = _dynamic_factor(x[macro], maxima[macro], lanes)
        else:
            factors[macro] = _static_factor(largest_of(maxima[macro]))
        factor = factor_value(factors[macro])
        for i in range(MACRO_BLOCK):
            scratch[i] = x[macro, i] * factor
        for block in range(_BLOCKS):
            part = slice(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE)
            if maxima[macro, block] == 0:
                scales[macro, block] = ZERO_SCALE
                codes[macro, part] = 0
                continue
            exponent = shared_exponent(maxima[macro, block] * factor, RULE)
            scales[macro, block] = exponent + 127
            encode_part(scratch[part], power_of_two(-exponent), _E2M1_CAST, _E2M1_SIGN, codes[macro, part])


@kernel
def _decode(start, stop, codes, scales, factors, elements, values, result):
    for macro in range(start, stop):
        factor = factor_value(factors[macro])
        for block in range(_BLOCKS):
            scale = values[scales[macro, block]]
            for i in range(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE):
                result[macro, i] = elements[codes[macro, i] & 15] * scale / factor


def _quantize_macro_blocks(x: np.ndarray, maxima: np.ndarray, name: str) -> BlockTensor:
    macro = x.reshape(-1, MACRO_BLOCK)
    codes = np.empty(macro.shape, np.uint8)
    scales = np.empty((len(macro), _BLOCKS), np.uint8)
    factors = np.empty(len(macro), np.uint8)
    maxima = maxima.reshape(scales.shape)
    spread(_quantize, len(macro), x.size, macro, maxima, name == _DYNAMIC, codes, scales, factors)
    rows, k = x.shape
    return BlockTensor(
        name,
        x.shape,
        ((E2M1.name, k),),
        codes.reshape(rows, k),
        scales.reshape(rows, -1),
        factors=factors.reshape(rows, -1),
    )


def quantize_static(x: np.ndarray, maxima: np.ndarray) -> BlockTensor:
    """Quantise with factors that bring each macro-block's maximum to 6 times a power of two, truncated to 8 bits.

    Parameters
    ----------
    x : float32 [rows, K], C-contiguous, finite; K a multiple of 128
    maxima : float32 [rows, K / 16]
        Largest magnitude of every 16 elements.

    Returns
    -------
    BlockTensor with ``factors``
    """
    return _quantize_macro_blocks(x, maxima, _STATIC)


def quantize_dynamic(x: np.ndarray, maxima: np.ndarray) -> BlockTensor:
    """Quantise with the factor, out of 1, 17/16, ... 31/16, of least squared error over the macro-block.

    The first among equals is taken; where every error overflows FP32 (differences above 1e19), that is 1.

    Parameters and result as for :func:`quantize_static`.
    """
    return _quantize_macro_blocks(x, maxima, _DYNAMIC)


def dequantize(t: BlockTensor) -> np.ndarray:
    """Values, float32 [rows, K], of a tensor with two-dimensional arrays: ``code * scale / factor``, left to
    right."""
    assert t.factors is not None  # golden.dequantize has checked.
    result = np.empty(t.codes.shape, np.float32)
    codes = t.codes.reshape(-1, MACRO_BLOCK)
    spread(
        _decode,
        len(codes),
        codes.size,
        codes,
        t.scales.reshape(len(codes), -1),
        t.factors.reshape(-1),
        E2M1.values,
        E8M0.values,
        result.reshape(codes.shape),
    )
    return result


def choices(t: BlockTensor) -> dict[str, float]:
    """Share of macro-blocks by factor, in sixteenths above 1: ``{"factor 1+0/16": share, ...}``."""
    if t.factors is None:
        raise ValueError(f"{t.format} needs factors")
    counts = np.bincount(t.factors.reshape(-1) >> 4, minlength=DYNAMIC_FACTORS) / t.factors.size
    return {f"factor 1+{j}/16": float(share) for j, share in enumerate(counts)}


SYSTEMS = [
    System(name, MACRO_BLOCK, quantize, dequantize, (E2M1.name,), BLOCK_SIZE, {"factors": MACRO_BLOCK}, choices)
    for name, quantize in ((_STATIC, quantize_static), (_DYNAMIC, quantize_dynamic))
]
