"""Blocks of 4-bit elements with a UE4M3 scale each and an FP32 scale per tensor, for NVFP4, Four Over Six and MixFP4.

Source: NVIDIA's NVFP4 recipe; its order of FP32 operations is that of the PyTorch reference of fouroversix.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .formats import E2M1, UE4M3
from .kernels import FLOAT32_MAX, LANES, cast_constants, is_negative, kernel, lane, nearest_code, spread
from .nvfp4_layout import FULL_SCALES
from .tensor import BlockTensor

FULL_SCALE = FULL_SCALES["nvfp4"]
SCALE_MASK = (1 << UE4M3.width) - 1
# Indexed by scale byte: the top bit is not part of the scale.
SCALE_VALUES = np.tile(UE4M3.values, 2)
E2M1_CAST = cast_constants(E2M1)
E2M1_SIGN = E2M1.magnitude_width
_SCALE_CAST = cast_constants(UE4M3)
_SCALE_MAX = UE4M3.max_code
ONE = np.float32(1)
E2M1_MAX = np.float32(E2M1.max_finite)
ELEMENTS = np.stack([E2M1.values, E2M1.values])


def encode_factors(amax: np.float32, full_scale: np.float32) -> tuple[np.float32, np.float32]:
    """``full_scale / amax`` and its FP32 reciprocal.

    The recipe leaves open what happens where the quotient overflows (``amax`` below 7.9e-36 for NVFP4). Here it is
    limited to the largest finite value, so that zeros stay zeros instead of becoming NaN. Block scales then
    fall short of the tensor's range, the error grows as ``amax`` falls, and everything below about 1e-38 becomes 0.
    """
    with np.errstate(over="ignore"):
        factor = np.minimum(full_scale / amax, FLOAT32_MAX)
    return factor, np.float32(1) / factor


def decode_factors(amax: np.float32, full_scale: np.float32) -> tuple[np.float32, np.float32]:
    """Multiplier and divisor of ``code * scale * amax / full_scale``.

    With an ``amax`` above ``FLOAT32_MAX / full_scale`` (1.27e35 for NVFP4) the product could overflow: ``amax`` is
    then divided first, which may change the last bit.
    """
    if amax > FLOAT32_MAX / full_scale:
        return amax / full_scale, np.float32(1)
    return amax, full_scale


def tensor_amax(amax: float | None, maxima: np.ndarray) -> np.float32:
    """The magnitude that the tensor scale is made for: ``amax``, or the largest of ``maxima`` if that is None.
    ValueError if ``amax`` is negative or not finite in FP32."""
    if amax is None:
        return maxima.max()
    try:
        with np.errstate(over="ignore"):
            amax32 = np.float32(float(amax))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"amax must be a number, got {amax!r}") from None
    if not 0 <= amax32 < np.inf:
        raise ValueError(f"amax must be finite in FP32 and not negative, got {amax}")
    return amax32


@lane
def scale_code(value, round_up, values):
    """UE4M3 code nearest to ``value``, or with ``round_up`` the smallest one not below it; saturating."""
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


@kernel
def _scale_codes(start, stop, maxima, element_max, encode, stretch, round_up, values, scales):
    for block in range(start, stop):
        scales[block] = scale_code((maxima[block] / element_max) * encode * stretch, round_up, values)


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


def parts_of(
    x: np.ndarray, maxima: np.ndarray, block_size: int, block_2d: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """``x`` as [bands, parts, columns, LANES], and the largest magnitudes of its blocks, [bands, columns].

    A part is LANES neighbouring elements of a row. A block, which shares a scale, is the parts ``[band, :, column]``:
    neighbours in a row (then there is one column), or, with ``block_2d``, the rows of a tile of LANES x LANES.
    ``x`` is float32 [rows, K]; ``maxima`` are those of its parts.

    Raises
    ------
    ValueError
        If there are 2D blocks of another size than LANES x LANES.
    """
    if block_2d:
        if block_size != LANES:
            raise ValueError(f"2D blocks are {LANES} x {LANES}: block_size must be {LANES}, got {block_size}")
        shape = len(x) // LANES, LANES, x.shape[1] // LANES
    else:
        shape = x.size // block_size, block_size // LANES, 1
    maxima = maxima.reshape(shape)
    return x.reshape(*shape, LANES), maxima[:, 0] if shape[1] == 1 else maxima.max(axis=1)


def scale_codes(
    maxima: np.ndarray,
    element_max: np.float32,
    encode: np.float32,
    stretch: np.float32 = ONE,
    round_up: bool = False,
) -> np.ndarray:
    """UE4M3 codes, uint8, of ``(maxima / element_max) * encode * stretch`` for blocks, float32 [bands,
    columns]."""
    scales = np.empty(maxima.shape, np.uint8)
    constants = element_max, encode, stretch, round_up, SCALE_VALUES
    spread(_scale_codes, scales.size, scales.size, maxima.reshape(-1), *constants, scales.reshape(-1))
    return scales


def block_tensor(
    name: str,
    x: np.ndarray,
    codes: np.ndarray,
    scales: np.ndarray,
    amax: np.float32,
    full_scale: np.float32,
    options: dict[str, Any],
) -> BlockTensor:
    """A tensor of NVFP4's layout from codes, [bands, parts, columns, LANES], and the scales of their parts, [bands,
    parts, columns]: see :func:`parts_of`."""
    rows, k = x.shape
    parts_of_a_block = options["block_size"] // LANES
    return BlockTensor(
        format=name,
        shape=x.shape,
        segments=((E2M1.name, k),),
        codes=codes.reshape(rows, k),
        scales=np.ascontiguousarray(scales.reshape(rows, -1)[:, ::parts_of_a_block]),
        options=options,
        tensor_scale=amax / full_scale,
        tensor_amax=amax,
    )


def decode_tensor(t: BlockTensor, elements: np.ndarray, type_flip: int, full_scale: np.float32) -> np.ndarray:
    """Values of a tensor of NVFP4's layout.

    Parameters
    ----------
    t : BlockTensor with two-dimensional arrays
    elements : float32 [2, 16]
        Value of every code, in one row for either value of the top bit of the scale byte.
    type_flip : {0, 1}
        Whether that bit is inverted first.
    full_scale : float32
        Largest element times largest scale.

    Returns
    -------
    float32 [rows, K]
    """
    if t.tensor_amax is not None:
        factors = decode_factors(t.tensor_amax, full_scale)
    else:
        factors = (np.float32(1) if t.tensor_scale is None else t.tensor_scale, np.float32(1))
    result = np.empty(t.codes.shape, np.float32)
    codes = t.codes.reshape(-1, t.block_size)
    spread(
        _decode,
        len(codes),
        codes.size,
        codes,
        t.scales.reshape(-1),
        np.int64(type_flip),
        elements,
        SCALE_VALUES,
        *factors,
        result.reshape(codes.shape),
    )
    return result
