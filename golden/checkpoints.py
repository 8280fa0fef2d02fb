"""NVFP4 weights as checkpoints hold them: the layouts of compressed-tensors and of NVIDIA's ModelOpt.

Both store two E2M1 codes a byte, the low nibble first, and one E4M3 byte for each block of 16. They differ in the
scale of the tensor: compressed-tensors stores its reciprocal, ``weight_global_scale``, by which decoded values are
divided; ModelOpt stores ``weight_scale_2``, by which they are multiplied.

Sources: compressed-tensors 0.20.1, ``compressors/nvfp4`` and ``generate_gparam``; Model-Optimizer,
``qtensor/nvfp4_tensor.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import four_over_six, nvfp4, ue4m3_blocks
from .arrays import described, floats, raw_bytes
from .formats import E2M1
from .kernels import LANES
from .layouts import pack_bits, unpack_bits
from .tensor import BlockTensor

# Formats whose bits an NVFP4 decoder reads, with the magnitude that a tensor scale of 1 stands for. Not MixFP4: the
# sign bit of its scales holds the choice, and loaders would read negative scales.
_FULL_SCALES = {"nvfp4": ue4m3_blocks.FULL_SCALE, "four_over_six": four_over_six.FULL_SCALE}
_GLOBAL_SCALE = "weight_global_scale"


def to_compressed_tensors(t: BlockTensor) -> dict[str, np.ndarray]:
    """See :meth:`BlockTensor.to_compressed_tensors`."""
    return _codes_and_scales(t, "weight_packed") | {_GLOBAL_SCALE: np.array([_global_scale(t)])}


def from_compressed_tensors(arrays: Mapping[str, Any]) -> BlockTensor:
    """See :meth:`BlockTensor.from_compressed_tensors`."""
    factor = _factor(_GLOBAL_SCALE, arrays)
    with np.errstate(over="ignore"):
        scale = np.float32(1) / factor
    if not np.isfinite(scale):
        raise ValueError(f"{_GLOBAL_SCALE} must have a reciprocal that FP32 holds, got {factor}")
    # The reciprocal does not always give the factor back: kept, so that writing gives the same bits.
    return _tensor(arrays, "weight_packed", scale, {_GLOBAL_SCALE: float(factor)})


def to_modelopt(t: BlockTensor) -> dict[str, np.ndarray]:
    """See :meth:`BlockTensor.to_modelopt`."""
    scale = np.float32(1) if t.tensor_scale is None else t.tensor_scale
    return _codes_and_scales(t, "weight") | {"weight_scale_2": np.array(scale)}


def from_modelopt(arrays: Mapping[str, Any]) -> BlockTensor:
    """See :meth:`BlockTensor.from_modelopt`."""
    return _tensor(arrays, "weight", _factor("weight_scale_2", arrays), {})


def _codes_and_scales(t: BlockTensor, packed: str) -> dict[str, np.ndarray]:
    if t.format not in _FULL_SCALES:
        raise ValueError(f"the layout holds {' and '.join(_FULL_SCALES)}, got {t.format}")
    if t.block_size != LANES or t.shape != t.codes.shape:
        raise ValueError(
            f"the layout holds blocks of {LANES} without padding, got blocks of {t.block_size} "
            f"and shape {t.shape} in codes of {t.codes.shape}"
        )
    return {packed: pack_bits(t.codes, E2M1.width), "weight_scale": t.scales}


def _global_scale(t: BlockTensor) -> np.float32:
    stored = t.options.get(_GLOBAL_SCALE)
    scale = np.float32(1) if t.tensor_scale is None else t.tensor_scale
    if stored is not None and np.float32(1) / np.float32(stored) == scale:
        return np.float32(stored)
    with np.errstate(over="ignore", divide="ignore"):
        amax = t.tensor_amax
        factor = np.float32(1) / scale if amax is None else _FULL_SCALES[t.format] / amax
    if np.isfinite(factor):
        return factor
    if not t.scales.any():
        return np.float32(1)  # A tensor of zeros; compressed-tensors writes 1 too.
    raise ValueError(f"a tensor scale of {scale} has no {_GLOBAL_SCALE}: its reciprocal is beyond FP32")


def _tensor(arrays: Mapping[str, Any], packed: str, scale: np.float32, options: dict[str, Any]) -> BlockTensor:
    bytes_of = {name: raw_bytes(name, _entry(name, arrays)) for name in (packed, "weight_scale")}
    codes, scales = unpack_bits(bytes_of[packed], E2M1.width), bytes_of["weight_scale"]
    if codes.size == 0 or scales.shape != (*codes.shape[:-1], codes.shape[-1] // LANES) or codes.shape[-1] % LANES:
        raise ValueError(
            f"weight_scale must hold a byte for every 8 bytes of a row of {packed}, "
            f"got shapes {scales.shape} and {bytes_of[packed].shape}"
        )
    segments = ((E2M1.name, codes.shape[-1]),)
    return BlockTensor(nvfp4.SYSTEM.name, codes.shape, segments, codes, scales, options, tensor_scale=scale)


def _entry(name: str, arrays: Mapping[str, Any]) -> Any:
    if name not in arrays:
        raise ValueError(f"no {name} among {', '.join(sorted(arrays)) or 'nothing'}")
    return arrays[name]


def _factor(name: str, arrays: Mapping[str, Any]) -> np.float32:
    factor = floats(name, _entry(name, arrays))
    if factor.size != 1 or factor.dtype != np.float32 or not 0 < factor.item() < np.inf:
        value = factor.item() if factor.size == 1 else described(factor)
        raise ValueError(f"{name} must be one positive finite float32, got {value}")
    return np.float32(factor.item())
