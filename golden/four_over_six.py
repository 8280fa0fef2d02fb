"""Four Over Six (4/6): NVFP4 whose blocks are scaled so that their maximum lies at 6 or at 4, whichever errs less.

Sources: arXiv 2512.02010 and its public reference. The scale ceiling is 256, not 448: the scale of a block at 4 is 1.5
times larger and must still fit E4M3.
"""

from __future__ import annotations

import numpy as np

from .formats import E2M1
from .kernels import LANES, kernel, lane, nearest_magnitude, spread
from .nvfp4 import (
    E2M1_CAST,
    E2M1_MAX,
    ELEMENTS,
    SCALE_VALUES,
    block_largest,
    block_tensor,
    decode_factors,
    decode_tensor,
    encode_factors,
    encode_part,
    first_part,
    parts_of,
    reciprocal,
    scale_code,
)
from .tensor import BlockTensor, System, one_of

FULL_SCALE = np.float32(E2M1.max_finite * 256)
_FOUR = np.float32(4)
_SIX_OVER_FOUR = np.float32(1.5)
_RULES = ("mse", "mae", "abs_max")
_MSE, _MAE, _ABS_MAX = range(len(_RULES))


@lane
def _error(x, inverse, scale, multiplier, divisor, rule, error, scratch):
    """``error`` so far and that of one part: a sum, left to right in FP32, or the largest."""
    for i in range(LANES):
        value = nearest_magnitude(x[i] * inverse, E2M1_CAST) * scale * multiplier / divisor
        difference = abs(abs(x[i]) - value)
        scratch[i] = difference * difference if rule == _MSE else difference
    for i in range(LANES):
        error = max(error, scratch[i]) if rule == _ABS_MAX else error + scratch[i]
    return error


@kernel
def _quantize(start, stop, x, parts, stride, encode, decode, multiplier, divisor, rule, values, codes, scales):
    scratch = np.empty(LANES, np.float32)
    for block in range(start, stop):
        first = first_part(block, parts, stride)
        normalised = (block_largest(x, first, parts, stride) / E2M1_MAX) * encode
        scale6 = scale_code(normalised, False, values)
        scale4 = scale_code(normalised * _SIX_OVER_FOUR, False, values)
        inverse6, inverse4 = reciprocal(decode, values[scale6]), reciprocal(decode, values[scale4])
        error6 = error4 = np.float32(0)
        for part in range(parts):
            row = x[first + part * stride]
            error6 = _error(row, inverse6, values[scale6], multiplier, divisor, rule, error6, scratch)
            error4 = _error(row, inverse4, values[scale4], multiplier, divisor, rule, error4, scratch)
        four = error4 < error6
        for part in range(parts):
            row = first + part * stride
            scales[row] = scale4 if four else scale6
            encode_part(x[row], inverse4 if four else inverse6, E2M1_CAST, codes[row])


def quantize(
    x: np.ndarray, amax: np.float32, *, rule: str = "mse", block_size: int = 16, block_2d: bool = False
) -> BlockTensor:
    """Quantise to NVFP4's layout, each block at 6 or at 4; a tie keeps 6.

    Parameters
    ----------
    x : float32 [rows, K], C-contiguous, finite
    amax : float32
        Largest magnitude of ``x``.
    rule : {"mse", "mae", "abs_max"}
        Error that decides.
    block_size : int
        Elements that share a scale, a multiple of 16.
    block_2d : bool
        Scale and decide for tiles of 16 x 16, as in :func:`golden.nvfp4.quantize`; errors are added row by row.

    Returns
    -------
    BlockTensor
    """
    rule_index = _RULES.index(one_of("rule", rule, _RULES))
    x16, parts, stride = parts_of(x, block_size, block_2d)
    codes, scales = np.zeros(x16.shape, np.uint8), np.zeros(len(x16), np.uint8)
    if amax > 0:
        spread(_quantize, len(x16) // parts, x.size, x16, parts, stride, *encode_factors(amax, FULL_SCALE),
               *decode_factors(amax, FULL_SCALE), rule_index, SCALE_VALUES, codes, scales)
    options = {"rule": rule, "block_size": block_size, "block_2d": block_2d}
    return block_tensor("four_over_six", x, codes, scales, block_size, amax, FULL_SCALE, options)


def dequantize(t: BlockTensor) -> np.ndarray:
    """FP32 values, [rows, K]: ``code * scale * amax / 1536``, left to right."""
    return decode_tensor(t, ELEMENTS, 0, FULL_SCALE)


def choices(t: BlockTensor) -> dict[str, float]:
    """Share of blocks whose maximum lies at 4.

    The choice is not stored: it is read off the largest code, which is 6 in the other blocks unless the rounding of a
    subnormal scale or of the scale itself kept the maximum away from it.
    """
    largest = (t.codes & E2M1.max_code).reshape(-1, t.block_size).max(axis=1)
    return {"4": float(np.mean((largest > 0) & (E2M1.values[largest] <= _FOUR)))}


SYSTEM = System("four_over_six", LANES, quantize, dequantize, choices)
