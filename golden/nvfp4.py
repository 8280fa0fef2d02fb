"""NVFP4: E2M1 elements, a UE4M3 scale for each block, one FP32 scale for the tensor.

Sources: NVIDIA's NVFP4 recipe; the PyTorch reference of fouroversix, with which this agrees in every bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .formats import E2M1, UE4M3, MiniFloat, checked_codes, decode, encode
from .kernels import (
    FLOAT32_MAX,
    LANES,
    as_float,
    cast_constants,
    is_negative,
    kernel,
    lane,
    magnitude_bits,
    nearest_code,
    random24,
    spread,
    stochastic_code,
)
from .tensor import BlockTensor, System, one_of

FULL_SCALE = np.float32(E2M1.max_finite * UE4M3.max_finite)
SCALE_MASK = (1 << UE4M3.width) - 1
# By scale byte: its top bit is not part of the scale.
SCALE_VALUES = np.tile(UE4M3.values, 2)
E2M1_CAST = cast_constants(E2M1)
E2M1_SIGN = E2M1.magnitude_width
_SCALE_CAST = cast_constants(UE4M3)
_SCALE_MAX = UE4M3.max_code
E2M1_MAX = np.float32(E2M1.max_finite)
ELEMENTS = np.stack([E2M1.values, E2M1.values])


def encode_factors(amax: np.float32, full_scale: np.float32) -> tuple[np.float32, np.float32]:
    """``full_scale / amax`` and its FP32 reciprocal.

    Where the quotient overflows (``amax`` below 8e-36), which the recipe leaves open, the largest finite value
    stands for it: zeros stay zeros instead of becoming NaN.
    """
    with np.errstate(over="ignore"):
        factor = np.minimum(full_scale / amax, FLOAT32_MAX)
    return factor, np.float32(1) / factor


def decode_factors(amax: np.float32, full_scale: np.float32) -> tuple[np.float32, np.float32]:
    """Multiplier and divisor of ``code * scale * amax / full_scale``.

    The product with an ``amax`` above 1.2e35 would overflow; it is then divided first.
    """
    if amax > FLOAT32_MAX / full_scale:
        return amax / full_scale, np.float32(1)
    return amax, full_scale


def operand_table(elements: np.ndarray, operand: MiniFloat) -> np.ndarray:
    """Code of ``operand`` for each of ``elements`` (float32, exact in it); both zeros give code 0."""
    codes = encode(elements, operand)
    if not np.array_equal(decode(codes, operand), elements):
        raise ValueError(f"{operand.name} does not hold every one of {elements.tolist()}")
    return np.where(elements == 0, np.uint8(0), codes)


_OPERANDS = operand_table(E2M1.values, E2M1)


def decode_operands(codes: np.ndarray, scale_codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a block decoder hands to the multipliers.

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


@lane
def first_part(block, parts, stride):
    """Index of a block's first part of LANES elements; the others follow at distance ``stride``.

    A block is ``parts`` neighbours (stride 1) or the rows of a tile (stride: parts in a row of the tensor).
    """
    return block // stride * parts * stride + block % stride


@lane
def block_largest(x, first, parts, stride):
    bits = np.int32(0)
    for part in range(parts):
        for i in range(LANES):
            bits = np.int32(max(bits, magnitude_bits(x[first + part * stride, i])))
    return as_float(bits)


@lane
def scale_code(value, round_up, values):
    """UE4M3 code nearest to ``value``, or the least one not below it; saturating."""
    code = nearest_code(value, _SCALE_CAST)
    if round_up and code < _SCALE_MAX and values[code] < value:
        code = np.int32(code + 1)
    return code


@lane
def reciprocal(factor, scale):
    """``1 / (factor * scale)``; 0 for a zero scale, and finite, so that zeros stay zeros."""
    if scale == 0:
        return np.float32(0)
    return min(np.float32(1) / (factor * scale), FLOAT32_MAX)


@lane
def encode_part(x, inverse, cast, codes):
    """Sign-magnitude FP4 codes of one part; a zero scale (``inverse`` 0) gives codes 0 without a sign."""
    signs = np.int32(inverse > 0) << np.int32(E2M1_SIGN)
    for i in range(LANES):
        v = x[i] * inverse
        codes[i] = np.uint8(nearest_code(v, cast) | (-is_negative(v) & signs))


@lane
def _encode_part_stochastic(x, inverse, cast, seed, index, codes):
    signs = np.int32(inverse > 0) << np.int32(E2M1_SIGN)
    for i in range(LANES):
        v = x[i] * inverse
        codes[i] = np.uint8(stochastic_code(v, cast, random24(seed, index + i)) | (-is_negative(v) & signs))


@kernel
def _quantize(start, stop, x, parts, stride, encode, decode, round_up, stochastic, seed, values, codes, scales):
    for block in range(start, stop):
        first = first_part(block, parts, stride)
        scale = scale_code((block_largest(x, first, parts, stride) / E2M1_MAX) * encode, round_up, values)
        inverse = reciprocal(decode, values[scale])
        for part in range(parts):
            row = first + part * stride
            scales[row] = scale
            if stochastic:
                _encode_part_stochastic(x[row], inverse, E2M1_CAST, seed, row * LANES, codes[row])
            else:
                encode_part(x[row], inverse, E2M1_CAST, codes[row])


@kernel
def _decode(start, stop, codes, scales, type_flip, elements, values, multiplier, divisor, result):
    table = np.empty(elements.shape[1], np.float32)
    for block in range(start, stop):
        kind = (scales[block] >> 7) ^ type_flip
        scale = values[scales[block]]
        for c in range(16):
            table[c] = elements[kind, c] * scale * multiplier / divisor
        for i in range(codes.shape[1]):
            result[block, i] = table[codes[block, i] & 15]


def parts_of(x: np.ndarray, block_size: int, block_2d: bool) -> tuple[np.ndarray, int, int]:
    """``x`` as float32 [n, LANES] with the ``parts`` and ``stride`` of :func:`first_part`.

    Raises
    ------
    ValueError
        If the block size is not a multiple of LANES, or the rows do not make whole tiles.
    """
    if block_size < LANES or block_size % LANES:
        raise ValueError(f"block_size must be a multiple of {LANES}, got {block_size}")
    if block_2d:
        if block_size != LANES:
            raise ValueError(f"2D blocks are {LANES} x {LANES}: block_size must be {LANES}, got {block_size}")
        if len(x) % LANES:
            raise ValueError(f"2D blocks need a multiple of {LANES} rows, got {len(x)}")
        return x.reshape(-1, LANES), LANES, x.shape[1] // LANES
    return x.reshape(-1, LANES), block_size // LANES, 1


def block_tensor(
    name: str, x: np.ndarray, codes: np.ndarray, scales: np.ndarray, block_size: int,
    amax: np.float32, full_scale: np.float32, options: dict[str, Any],
) -> BlockTensor:
    """A tensor of NVFP4's layout from codes [n, LANES] and scales [n] of its parts."""
    rows, k = x.shape
    return BlockTensor(
        format=name,
        shape=x.shape,
        segments=((E2M1.name, k),),
        codes=codes.reshape(rows, k),
        scales=np.ascontiguousarray(scales.reshape(rows, -1)[:, :: block_size // LANES]),
        options=options,
        tensor_scale=amax / full_scale,
        tensor_amax=amax,
    )


def quantize(
    x: np.ndarray,
    amax: np.float32,
    *,
    scale_rounding: str = "rne",
    block_size: int = 16,
    block_2d: bool = False,
    stochastic_seed: int | None = None,
) -> BlockTensor:
    """Quantise to NVFP4.

    Parameters
    ----------
    x : float32 [rows, K], C-contiguous, finite
    amax : float32
        Largest magnitude of ``x``.
    scale_rounding : {"rne", "up"}
        "up" rounds block scales up, so that no element saturates.
    block_size : int
        Elements that share a scale, a multiple of 16.
    block_2d : bool
        Choose scales for tiles of 16 x 16, as NVIDIA's training recipe does for weights. Every row of a tile
        stores the scale: the layout stays that of NVFP4.
    stochastic_seed : int, optional
        Round elements to a neighbour with the probability of its nearness. The outcome depends on the seed and an
        element's position alone.

    Returns
    -------
    BlockTensor
    """
    options = {"scale_rounding": scale_rounding, "block_size": block_size, "block_2d": block_2d,
               "stochastic_seed": stochastic_seed}
    round_up = one_of("scale_rounding", scale_rounding, ("rne", "up")) == "up"
    x16, parts, stride = parts_of(x, block_size, block_2d)
    codes, scales = np.zeros(x16.shape, np.uint8), np.zeros(len(x16), np.uint8)
    if amax > 0:
        encode, decode = encode_factors(amax, FULL_SCALE)
        spread(_quantize, len(x16) // parts, x.size, x16, parts, stride, encode, decode, round_up,
               stochastic_seed is not None, np.uint64(stochastic_seed or 0), SCALE_VALUES, codes, scales)
    return block_tensor("nvfp4", x, codes, scales, block_size, amax, FULL_SCALE, options)


def decode_tensor(t: BlockTensor, elements: np.ndarray, type_flip: int, full_scale: np.float32) -> np.ndarray:
    """Values, float32 [rows, K], of a tensor of NVFP4's layout.

    ``elements``, float32 [2, 16], holds what the codes stand for under either top bit of the scale byte.
    """
    if t.tensor_amax is not None:
        factors = decode_factors(t.tensor_amax, full_scale)
    else:
        factors = (np.float32(1) if t.tensor_scale is None else t.tensor_scale, np.float32(1))
    result = np.empty(t.codes.shape, np.float32)
    codes = t.codes.reshape(-1, t.block_size)
    spread(_decode, len(codes), codes.size, codes, t.scales.reshape(-1), np.int64(type_flip), elements,
           SCALE_VALUES, *factors, result.reshape(codes.shape))
    return result


def dequantize(t: BlockTensor) -> np.ndarray:
    """FP32 values, [rows, K]: ``code * scale * amax / 2688``, left to right."""
    return decode_tensor(t, ELEMENTS, 0, FULL_SCALE)


SYSTEM = System("nvfp4", LANES, quantize, dequantize)
