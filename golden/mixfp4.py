"""MixFP4: NVFP4's scales, and for each block a choice of E2M1 or E1M2, stored in the top bit of its scale byte.

Source: arXiv 2605.31035, Algorithm 1. The paper leaves the polarity of the type bit open; the default, 0 for E2M1,
makes every NVFP4 tensor a valid MixFP4 tensor. E1M2 code n stands for the integer n.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .formats import E1M2, E2M1, E2M2, UE4M3, checked_codes
from .kernels import LANES, cast_constants, kernel, lane, nearest_magnitude, spread
from .nvfp4 import (
    E2M1_CAST,
    FULL_SCALE,
    SCALE_MASK,
    SCALE_VALUES,
    block_largest,
    block_tensor,
    decode_factors,
    decode_tensor,
    encode_factors,
    encode_part,
    operand_table,
    parts_of,
    reciprocal,
    scale_code,
)
from .tensor import BlockTensor, System, one_of

TYPE_SHIFT = UE4M3.width
E1M2_INTEGERS = replace(E1M2, name="e1m2_integers", bias=E1M2.bias - 1)
_E1M2_CAST = cast_constants(E1M2_INTEGERS)
_E2M1_MAX, _E1M2_MAX = np.float32(E2M1.max_finite), np.float32(E1M2_INTEGERS.max_finite)
# By type bit under polarity 0.
_ELEMENTS = np.stack([E2M1.values, E1M2_INTEGERS.values])
_OPERANDS = np.stack([operand_table(values, E2M2) for values in _ELEMENTS])


def decode_operands(
    codes: np.ndarray, scale_codes: np.ndarray, polarity: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a block decoder hands to the multipliers.

    Parameters
    ----------
    codes : uint8 [n, lanes]
        E2M1 or E1M2 codes.
    scale_codes : uint8 [n]
        Scale bytes with the type bit on top.
    polarity : {0, 1}
        Type bit of E2M1 blocks.

    Returns
    -------
    operands : uint8 [n, lanes]
        E2M2 codes (sign in bit 4) of the same values; -0 turned into 0.
    scale : uint8 [n]
        UE4M3 codes.
    scale_nan : bool [n]

    Raises
    ------
    ValueError
        If a code does not fit four bits or the polarity one.
    """
    one_of("polarity", polarity, (0, 1))
    kind = (scale_codes >> TYPE_SHIFT) ^ np.uint8(polarity)
    scale = scale_codes & np.uint8(SCALE_MASK)
    return _OPERANDS[kind[:, None], checked_codes(codes, E2M1)], scale, scale == UE4M3.nan_code


@lane
def squared_error(x, inverse, cast, scale, multiplier, divisor, total, scratch):
    """``total`` plus the squared errors of one part, added left to right in FP32."""
    for i in range(LANES):
        value = nearest_magnitude(x[i] * inverse, cast) * scale * multiplier / divisor
        difference = abs(x[i]) - value
        scratch[i] = difference * difference
    for i in range(LANES):
        total += scratch[i]
    return total


@kernel
def _quantize(start, stop, x, parts, encode, decode, multiplier, divisor, polarity, values, codes, scales):
    scratch = np.empty(LANES, np.float32)
    for block in range(start, stop):
        first = block * parts
        normalised = block_largest(x, first, parts, 1)
        scale0 = scale_code((normalised / _E2M1_MAX) * encode, False, values)
        scale1 = scale_code((normalised / _E1M2_MAX) * encode, False, values)
        inverse0, inverse1 = reciprocal(decode, values[scale0]), reciprocal(decode, values[scale1])
        error0 = error1 = np.float32(0)
        for row in range(first, first + parts):
            error0 = squared_error(x[row], inverse0, E2M1_CAST, values[scale0], multiplier, divisor, error0, scratch)
            error1 = squared_error(x[row], inverse1, _E1M2_CAST, values[scale1], multiplier, divisor, error1, scratch)
        e2m1 = error0 < error1
        scale = scale0 if e2m1 else scale1
        kind = np.int32(e2m1) ^ np.int32(polarity) ^ np.int32(1)
        for row in range(first, first + parts):
            scales[row] = np.uint8(scale | (kind << TYPE_SHIFT)) if scale != 0 else np.uint8(0)
            if e2m1:
                encode_part(x[row], inverse0, E2M1_CAST, codes[row])
            else:
                encode_part(x[row], inverse1, _E1M2_CAST, codes[row])


def quantize(x: np.ndarray, amax: np.float32, *, polarity: int = 0, block_size: int = 16) -> BlockTensor:
    """Quantise to MixFP4: the type of lower squared error, a tie taking E1M2.

    Parameters
    ----------
    x : float32 [rows, K], C-contiguous, finite
    amax : float32
        Largest magnitude of ``x``.
    polarity : {0, 1}
        Type bit of E2M1 blocks. A block whose scale is zero has byte 0x00 under either.
    block_size : int
        Elements that share a scale and a type, a multiple of 16.

    Returns
    -------
    BlockTensor
    """
    one_of("polarity", polarity, (0, 1))
    x16, parts, _ = parts_of(x, block_size, False)
    codes, scales = np.zeros(x16.shape, np.uint8), np.zeros(len(x16), np.uint8)
    if amax > 0:
        spread(_quantize, len(x16) // parts, x.size, x16, parts, *encode_factors(amax, FULL_SCALE),
               *decode_factors(amax, FULL_SCALE), polarity, SCALE_VALUES, codes, scales)
    options = {"polarity": polarity, "block_size": block_size}
    return block_tensor("mixfp4", x, codes, scales, block_size, amax, FULL_SCALE, options)


def dequantize(t: BlockTensor) -> np.ndarray:
    """FP32 values, [rows, K]: ``code * scale * amax / 2688``, left to right."""
    return decode_tensor(t, _ELEMENTS, t.options.get("polarity", 0), FULL_SCALE)


def choices(t: BlockTensor) -> dict[str, float]:
    """Share of blocks that took E1M2."""
    return {"E1M2": float(np.mean((t.scales >> TYPE_SHIFT) != t.options.get("polarity", 0)))}


SYSTEM = System("mixfp4", LANES, quantize, dequantize, choices)
