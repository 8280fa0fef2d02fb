"""What a quantisation engine in hardware gives: the golden rules, and one for infinities and NaN.

``golden.quantize`` refuses values that are not finite. Hardware has to give something: the block's scale is NaN, and
its codes and metadata are 0, so that whatever multiplies the block gives NaN. Values come as bits of BF16 or FP32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .api import SYSTEMS, quantize
from .formats import E8M0, UE4M3

_FP32_FRACTION = np.uint32(0x7FFFFF)
_FP32_MAGNITUDE = np.uint32(0x7FFFFFFF)
_FP32_INFINITY = np.uint32(0x7F800000)


class Quantized(NamedTuple):
    """Blocks as an engine gives them.

    Attributes
    ----------
    codes : uint8 [blocks, block size]
    scales : uint8 [blocks]
        Scale bytes as they are stored.
    metadata : uint8 [blocks, subgroups], or None
    """

    codes: np.ndarray
    scales: np.ndarray
    metadata: np.ndarray | None


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
    if bits.ndim != 2 or bits.dtype not in (np.uint16, np.uint32):
        raise ValueError(f"bits must be uint16 or uint32 [blocks, block size], got {bits.dtype} {list(bits.shape)}")
    wide = bits.astype(np.uint32) << np.uint32(16 if bits.dtype == np.uint16 else 0)
    magnitude = wide & _FP32_MAGNITUDE
    if not subnormals:
        wide = np.where(magnitude <= _FP32_FRACTION, wide & ~_FP32_MAGNITUDE, wide)
    special = np.any(magnitude >= _FP32_INFINITY, axis=1)
    x = np.ascontiguousarray(np.where(special[:, None], np.uint32(0), wide)).view(np.float32)
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
