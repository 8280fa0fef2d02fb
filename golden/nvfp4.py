"""NVFP4: E2M1 elements, a UE4M3 scale for each block, one FP32 scale for the tensor.

Sources: NVIDIA's NVFP4 recipe; the PyTorch reference of fouroversix, with which this agrees in every bit.
"""

from __future__ import annotations

import numpy as np

from .formats import E2M1, UE4M3, checked_codes, operand_table
from .kernels import LANES, is_negative, kernel, random24, spread, stochastic_code
from .tensor import BlockTensor, System, one_of
from .ue4m3_blocks import (
    E2M1_CAST,
    E2M1_MAX,
    E2M1_SIGN,
    ELEMENTS,
    FULL_SCALE,
    SCALE_MASK,
    SCALE_VALUES,
    block_tensor,
    decode_tensor,
    encode_factors,
    encode_part,
    parts_of,
    reciprocal,
    scale_codes,
    tensor_amax,
)

_OPERANDS = operand_table(E2M1.values, E2M1)


def decode_operands(codes: np.ndarray, scale_codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operands, scales and NaN flags that an NVFP4 block decoder hands to the multipliers.

    Parameters
    ----------
    codes : uint8 [n, lanes]
        E2M1 codes.
    scale_codes : uint8 [n]
        Scale bytes; bit 7 is ignored.

    Returns
    -------
    operands : uint8 [n, lanes]
        E2M1 codes, -0 turned into 0.
    scale : uint8 [n]
        UE4M3 codes.
    scale_nan : bool [n]

    Raises
    ------
    ValueError
        If a code does not fit four bits.
    """
    scale = scale_codes & np.uint8(SCALE_MASK)
    return _OPERANDS[checked_codes(codes, E2M1)], scale, scale == UE4M3.nan_code


@kernel
def _encode(start, stop, x, decode, values, scales, codes):
    for part in range(start, stop):
        encode_part(x[part], reciprocal(decode, values[scales[part]]), E2M1_CAST, codes[part])


@kernel
def _encode_stochastic(start, stop, x, decode, seed, values, scales, codes):
    for part in range(start, stop):
        inverse = reciprocal(decode, values[scales[part]])
        signs = np.int32(inverse > 0) << np.int32(E2M1_SIGN)
        for i in range(LANES):
            v = x[part, i] * inverse
            code = stochastic_code(v, E2M1_CAST, random24(seed, part * LANES + i))
            codes[part, i] = np.uint8(code | (-is_negative(v) & signs))


def quantize(
    x: np.ndarray,
    maxima: np.ndarray,
    *,
    amax: float | None = None,
    scale_rounding: str = "rne",
    block_size: int = 16,
    block_2d: bool = False,
    stochastic_seed: int | None = None,
) -> BlockTensor:
    """Quantise to NVFP4.

    The contract's arithmetic holds for tensors whose largest magnitude is above 7.9e-36. Below, ``2688 / amax``
    overflows and is limited to the largest finite value: all stays finite, but precision is lost.

    Parameters
    ----------
    x : float32 [rows, K], C-contiguous, finite
    maxima : float32 [rows, K / 16]
        Largest magnitude of every 16 elements.
    amax : float, optional
        Magnitude that the tensor scale is made for, where it is known beforehand; larger elements saturate.
        By default the largest magnitude of ``x``.
    scale_rounding : {"rne", "up"}
        "up" rounds block scales up, so that no element saturates.
    block_size : int
        Elements that share a scale, a multiple of 16.
    block_2d : bool
        Choose scales for tiles of 16 x 16, as NVIDIA's training recipe does for weights. Every row of a tile
        stores the scale: the layout stays that of NVFP4.
    stochastic_seed : int, optional
        Round elements to a neighbour with the probability of its nearness. The outcome depends on the seed
        and an element's position alone.

    Returns
    -------
    BlockTensor
    """
    round_up = one_of("scale_rounding", scale_rounding, ("rne", "up")) == "up"
    parts, block_maxima = parts_of(x, maxima, block_size, block_2d)
    amax32 = tensor_amax(amax, maxima)
    codes, scales = np.zeros(parts.shape, np.uint8), np.zeros(parts.shape[:-1], np.uint8)
    if amax32 > 0:
        encode, decode = encode_factors(amax32, FULL_SCALE)
        scales[:] = scale_codes(block_maxima, E2M1_MAX, encode, round_up=round_up)[:, None]
        arrays = SCALE_VALUES, scales.reshape(-1), codes.reshape(-1, LANES)
        flat = parts.reshape(-1, LANES)
        if stochastic_seed is None:
            spread(_encode, len(flat), x.size, flat, decode, *arrays)
        else:
            spread(_encode_stochastic, len(flat), x.size, flat, decode, np.uint64(stochastic_seed), *arrays)
    options = {
        "amax": amax,
        "scale_rounding": scale_rounding,
        "block_size": block_size,
        "block_2d": block_2d,
        "stochastic_seed": stochastic_seed,
    }
    return block_tensor("nvfp4", x, codes, scales, amax32, FULL_SCALE, options)


def dequantize(t: BlockTensor) -> np.ndarray:
    """Values of an NVFP4 tensor: ``code * scale * amax / 2688``, FP32, left to right.

    For ``amax`` above 1.27e35, ``code * scale * (amax / 2688)``: the product could overflow.

    Parameters
    ----------
    t : BlockTensor with two-dimensional arrays

    Returns
    -------
    float32 [rows, K]
    """
    return decode_tensor(t, ELEMENTS, 0, FULL_SCALE)


SYSTEM = System("nvfp4", LANES, quantize, dequantize, (E2M1.name,), LANES)
