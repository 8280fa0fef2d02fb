"""What a quantisation engine in hardware gives: the golden rules, and one for infinities and NaN.

``golden.quantize`` refuses values that are not finite. Hardware has to give something: the block's scale is NaN, and
its codes and metadata are 0, so that whatever multiplies the block gives NaN. Values come as bits of BF16 or FP32.

MBS has blocks of 16 that share a factor in macro-blocks of 128; an engine is told the largest magnitude of the
macro-block, and takes its blocks one by one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .api import SYSTEMS, quantize
from .formats import BF16, E8M0, UE4M3
from .mbs import MACRO_BLOCK

_FP32_FRACTION = np.uint32(0x7FFFFF)
_FP32_MAGNITUDE = np.uint32(0x7FFFFFFF)
_FP32_INFINITY = np.uint32(0x7F800000)
_FP32_SIGN = np.uint32(0x80000000)


class Quantized(NamedTuple):
    """Blocks as an engine gives them.

    Attributes
    ----------
    codes : uint8 [blocks, block size]
    scales : uint8 [blocks]
        Scale bytes as they are stored.
    metadata : uint8 [blocks, subgroups], or None
    factors : uint8 [blocks], or None
        MBS's factor of the macro-block.
    """

    codes: np.ndarray
    scales: np.ndarray
    metadata: np.ndarray | None = None
    factors: np.ndarray | None = None


def quantize_bits(bits: np.ndarray, system: str, *, subnormals: bool = True, **options: Any) -> Quantized:
    """Quantise every row as one block.

    Parameters
    ----------
    bits : uint16 or uint32 [blocks, block size]
        Values as bits of BF16 or of FP32.
    system : str
        One of ``golden.SYSTEMS`` whose blocks have a scale each.
    subnormals : bool
        Whether subnormal values count; otherwise they are zeros of their sign.
    **options
        As :func:`golden.quantize` takes them.

    Raises
    ------
    ValueError
        For another dtype or shape, and what :func:`golden.quantize` refuses but for infinities and NaN.
    """
    x, special = _values(bits, subnormals)
    if "block_size" in SYSTEMS[system].options:
        options = {"block_size": bits.shape[1]} | options
    t = quantize(x, system, **options)
    codes, scales = t.codes.reshape(bits.shape).copy(), np.asarray(t.scales).reshape(-1).copy()
    metadata = None if t.metadata is None else np.asarray(t.metadata).reshape(len(bits), -1).copy()
    codes[special] = 0
    scales[special] = UE4M3.nan_code if t.tensor_scale is not None else E8M0.nan_code
    if metadata is not None:
        metadata[special] = 0
    return Quantized(codes, scales, metadata)


def quantize_macro_bits(bits: np.ndarray, amax: np.ndarray) -> Quantized:
    """Quantise every row as one block of MBS (``mxfp4_mbs_static``); subnormal values are zeros of their sign.

    Where a value of the block or the largest magnitude of the macro-block is infinite or NaN, the scale is NaN, and
    codes and factor are 0. In macro-blocks from 2**127 on, the product with the factor may leave FP32; there, blocks
    are those of half the values, their scales doubled.

    Parameters
    ----------
    bits : uint16 or uint32 [blocks, 16]
        Values as bits of BF16 or of FP32.
    amax : uint16 or uint32 [blocks]
        Bits, of the same format, of the largest magnitude of the macro-block.

    Raises
    ------
    ValueError
        For other dtypes or shapes, and where ``amax`` is below the magnitude of a finite block.
    """
    if bits.ndim != 2 or amax.shape != bits.shape[:1] or amax.dtype != bits.dtype:
        raise ValueError(
            f"amax must be {bits.dtype} [{len(bits)}], one for each block, got {amax.dtype} {list(amax.shape)}"
        )
    x, special = _values(np.column_stack([bits, amax]), subnormals=False)
    beyond = np.abs(x[:, :-1]).max(axis=1) > np.abs(x[:, -1])
    if beyond.any():
        raise ValueError(
            f"amax must be at least the largest magnitude of its block, got less for block {beyond.argmax()}"
        )
    half = np.float32(0.5)
    large = np.abs(x[:, -1]) >= 2.0**127
    halved = large & (np.abs(x[:, :-1]).max(axis=1) >= 2.0**126)
    # The factor does not depend on the exponent.
    x[large, -1] *= half
    x[halved, :-1] *= half
    # The largest magnitude stands in another block of the macro-block.
    macro = np.zeros((len(x), MACRO_BLOCK), np.float32)
    macro[:, : bits.shape[1]], macro[:, -1] = x[:, :-1], x[:, -1]
    t = quantize(macro, "mxfp4_mbs_static")
    assert t.factors is not None
    codes, scales, factors = t.codes[:, : bits.shape[1]].copy(), t.scales[:, 0].copy(), t.factors[:, 0].copy()
    scales[halved] += 1
    codes[special], scales[special], factors[special] = 0, E8M0.nan_code, 0
    return Quantized(codes, scales, factors=factors)


def to_bf16(bits: np.ndarray) -> np.ndarray:
    """Round FP32 to BF16: to nearest, ties to even; too large becomes infinite, NaN a quiet NaN of its sign.

    Parameters
    ----------
    bits : uint32 array

    Returns
    -------
    uint16 array of the same shape
    """
    quiet = np.uint32(BF16.nan_code) << np.uint32(16)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    nan = (bits & _FP32_MAGNITUDE) > _FP32_INFINITY
    return (np.where(nan, (bits & _FP32_SIGN) | quiet, rounded) >> np.uint32(16)).astype(np.uint16)


def _values(bits: np.ndarray, subnormals: bool) -> tuple[np.ndarray, np.ndarray]:
    """Values of blocks, float32, zeros where one is not finite; and which blocks these are."""
    if bits.ndim != 2 or bits.dtype not in (np.uint16, np.uint32):
        raise ValueError(f"bits must be uint16 or uint32 [blocks, block size], got {bits.dtype} {list(bits.shape)}")
    wide = bits.astype(np.uint32) << np.uint32(16 if bits.dtype == np.uint16 else 0)
    magnitude = wide & _FP32_MAGNITUDE
    if not subnormals:
        wide = np.where(magnitude <= _FP32_FRACTION, wide & ~_FP32_MAGNITUDE, wide)
    special = np.any(magnitude >= _FP32_INFINITY, axis=1)
    return np.ascontiguousarray(np.where(special[:, None], np.uint32(0), wide)).view(np.float32), special
