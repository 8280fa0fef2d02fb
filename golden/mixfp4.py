"""MixFP4: NVFP4's scales, and for each block a choice of E2M1 or E1M2, stored in the top bit of its scale
byte.

Source: arXiv 2605.31035, Algorithm 1. The paper leaves the polarity of the type bit open; the default, 0 for
E2M1, makes every NVFP4 tensor a valid MixFP4 tensor. E1M2 code n stands for the integer n.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .exact_choice import OPEN, SCALES, A, better, choose, half_units, is_close
from .formats import E1M2, E2M1, E2M2, UE4M3, checked_codes, operand_table
from .kernels import LANES, cast_constants, kernel, lane, nearest_magnitude, spread
from .tensor import BlockTensor, System, one_of
from .ue4m3_blocks import (
    E2M1_CAST,
    E2M1_MAX,
    FULL_SCALE,
    SCALE_MASK,
    SCALE_VALUES,
    block_tensor,
    decode_factors,
    decode_tensor,
    encode_factors,
    encode_part,
    parts_of,
    reciprocal,
    scale_codes,
    tensor_amax,
)

TYPE_SHIFT = UE4M3.width
#: E1M2 with twice its values, by a bias lowered by one: code n is the integer n.
E1M2_INTEGERS = replace(E1M2, name="e1m2_integers", bias=E1M2.bias - 1)
_E1M2_CAST = cast_constants(E1M2_INTEGERS)
_E2M1_UNITS, _E1M2_UNITS = half_units(E2M1), half_units(E1M2_INTEGERS)
_E1M2_MAX = np.float32(E1M2_INTEGERS.max_finite)
# Row: the type bit, with polarity 0.
ELEMENTS = np.stack([E2M1.values, E1M2_INTEGERS.values])
_OPERANDS = np.stack([operand_table(values, E2M2) for values in ELEMENTS])


def decode_operands(
    codes: np.ndarray, scale_codes: np.ndarray, polarity: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operands, scales and NaN flags that a MixFP4 block decoder hands to the multipliers.

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
        If a code does not fit four bits, or ``polarity`` is neither 0 nor 1.
    """
    one_of("polarity", polarity, (0, 1))
    kind = (scale_codes >> TYPE_SHIFT) ^ np.uint8(polarity)
    scale = scale_codes & np.uint8(SCALE_MASK)
    return _OPERANDS[kind[:, None], checked_codes(codes, E2M1)], scale, scale == UE4M3.nan_code


@lane
def _squared_errors(x, inverse, cast, scale, multiplier, divisor, errors):
    """Write the squared errors of LANES decoded values to ``errors``."""
    for i in range(LANES):
        value = nearest_magnitude(x[i] * inverse, cast) * scale * multiplier / divisor
        difference = abs(x[i]) - value
        errors[i] = difference * difference


@kernel
def _choose(
    start, stop, x, scales0, scales1, decode, multiplier, divisor, polarity, exact, facts, known, values, codes, scales
):
    """Write codes and scale bytes of the format with the smaller error; suffix 0 is for E2M1, 1 for E1M2."""
    errors0, errors1 = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    room = np.empty(x.shape[1] * LANES, np.int64)
    for block in range(start, stop):
        scale0, scale1 = scales0[block, 0], scales1[block, 0]
        inverse0, inverse1 = reciprocal(decode, values[scale0]), reciprocal(decode, values[scale1])
        error0 = error1 = np.float32(0)
        for part in range(x.shape[1]):
            row = x[block, part, 0]
            _squared_errors(row, inverse0, E2M1_CAST, values[scale0], multiplier, divisor, errors0)
            _squared_errors(row, inverse1, _E1M2_CAST, values[scale1], multiplier, divisor, errors1)
            # Both sums in one loop: each addition waits for the one before it, so two chains hide their latency.
            for i in range(LANES):
                error0 += errors0[i]
                error1 += errors1[i]
        e2m1 = error0 < error1
        if exact:
            largest = max(E2M1_MAX * values[scale0], _E1M2_MAX * values[scale1]) * multiplier / divisor
            choice = known[block, 0]
            if choice == OPEN and is_close(error0, error1, largest, x.shape[1] * LANES):
                choice = known[block, 0] = better(
                    x[block, :, 0], inverse0, E2M1_CAST, _E2M1_UNITS, SCALES[scale0],
                    inverse1, _E1M2_CAST, _E1M2_UNITS, SCALES[scale1], facts, room,
                )  # fmt: skip
            e2m1 = choice == A or (choice == OPEN and e2m1)
        scale = scale0 if e2m1 else scale1
        kind = polarity if e2m1 else 1 - polarity
        for part in range(x.shape[1]):
            scales[block, part, 0] = scale | (kind << TYPE_SHIFT) if scale != 0 else 0
            if e2m1:
                encode_part(x[block, part, 0], inverse0, E2M1_CAST, codes[block, part, 0])
            else:
                encode_part(x[block, part, 0], inverse1, _E1M2_CAST, codes[block, part, 0])


def quantize(
    x: np.ndarray,
    maxima: np.ndarray,
    *,
    amax: float | None = None,
    polarity: int = 0,
    measure: str = "fp32",
    block_size: int = 16,
) -> BlockTensor:
    """Quantise to MixFP4: each block to the element format of smaller squared error; a tie takes E1M2.

    As for NVFP4, precision is lost where the largest magnitude is below 7.9e-36. With
    ``measure="fp32"``, squared errors that overflow FP32 (differences above 1e19) count as a tie.

    Parameters
    ----------
    x : float32 [rows, K], C-contiguous, finite
    maxima : float32 [rows, K / 16]
        Largest magnitude of every 16 elements.
    amax : float, optional
        As for :func:`golden.nvfp4.quantize`.
    polarity : {0, 1}
        Type bit of E2M1 blocks. A block whose scale is zero has scale byte 0x00 with either polarity.
    measure : {"fp32", "exact"}
        How squared errors are compared: summed in FP32, or exactly (:mod:`golden.exact_choice`).
        They differ on ties, which noise decides in FP32, and where squares leave FP32's range.
    block_size : int
        Elements that share a scale and a type, a multiple of 16.

    Returns
    -------
    BlockTensor
    """
    one_of("polarity", polarity, (0, 1))
    exact = one_of("measure", measure, ("fp32", "exact")) == "exact"
    parts, block_maxima = parts_of(x, maxima, block_size)
    amax32 = tensor_amax(amax, maxima)
    codes, scales = np.zeros(parts.shape, np.uint8), np.zeros(parts.shape[:-1], np.uint8)
    if amax32 > 0:
        encode, decode = encode_factors(amax32, FULL_SCALE)
        candidates = [scale_codes(block_maxima, largest, encode) for largest in (E2M1_MAX, _E1M2_MAX)]
        factors = decode, *decode_factors(amax32, FULL_SCALE)
        arrays = parts, *candidates, *factors
        e2m1, e1m2 = zip(candidates, (E2M1_CAST, _E1M2_CAST), (_E2M1_UNITS, _E1M2_UNITS), strict=True)
        choose(
            lambda *known: spread(
                _choose, len(parts), x.size, *arrays, polarity, exact, *known, SCALE_VALUES, codes, scales
            ),
            parts, decode, amax32, FULL_SCALE, e2m1, e1m2,
        )  # fmt: skip
    options = {"amax": amax, "polarity": polarity, "measure": measure, "block_size": block_size}
    return block_tensor("mixfp4", x, codes, scales, amax32, FULL_SCALE, options)


def dequantize(t: BlockTensor) -> np.ndarray:
    """Values: ``code * scale * amax / 2688``, FP32, left to right; divided first for ``amax`` above 1.27e35.

    Parameters
    ----------
    t : BlockTensor with two-dimensional arrays

    Returns
    -------
    float32 [rows, K]

    Raises
    ------
    ValueError
        If the polarity among the options of ``t`` is neither 0 nor 1.
    """
    return decode_tensor(t, ELEMENTS, _polarity(t), FULL_SCALE)


def _polarity(t: BlockTensor) -> int:
    return one_of("polarity", t.options.get("polarity", 0), (0, 1))


def choices(t: BlockTensor) -> dict[str, float]:
    """Share of all blocks that took E1M2: ``{"E1M2": share}``. A block whose scale is zero took neither."""
    live = (t.scales & SCALE_MASK) != 0
    return {"E1M2": float(np.mean(live & ((t.scales >> TYPE_SHIFT) != _polarity(t))))}


SYSTEM = System("mixfp4", LANES, quantize, dequantize, (E2M1.name,), LANES, choices=choices)
