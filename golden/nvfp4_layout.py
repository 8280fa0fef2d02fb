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

from .arrays import described, floats, raw_bytes
from .formats import E2M1, UE4M3
from .layouts import unpack_bits

BLOCK_SIZE = 16
#: Formats that this layout holds, each with the value of its largest element times its largest scale: what
#: ``tensor_scale`` brings the tensor's largest magnitude to. Four Over Six has a lower ceiling, 256, for its scales.
#: MixFP4 is not among them: the sign bit of its scales holds the choice, and loaders would read negative scales.
FULL_SCALES = {
    "nvfp4": np.float32(E2M1.max_finite * UE4M3.max_finite),
    "four_over_six": np.float32(E2M1.max_finite * 256),
}
_SIGN = 1 << UE4M3.width
GLOBAL_SCALE = "weight_global_scale"
SCALE_2 = "weight_scale_2"


def global_scale(
    full_scale: np.float32, scale: np.float32, amax: np.float32 | None, stored: float | None
) -> np.float32:
    """``weight_global_scale`` of a tensor: infinite where FP32 does not hold it.

    Parameters
    ----------
    full_scale : float32
        Of FULL_SCALES.
    scale : float32
        The tensor scale.
    amax : float32, optional
        The magnitude that the tensor scale was made from: the result is then ``full_scale / amax``, as
        compressed-tensors calculates it, which the reciprocal of ``scale`` may miss by the last bit.
    stored : float, optional
        The value that the tensor was read with.
    """
    if stored is not None and np.float32(1) / np.float32(stored) == scale:
        return np.float32(stored)
    with np.errstate(over="ignore", divide="ignore"):
        return np.float32(1) / scale if amax is None else full_scale / amax


def codes_and_scales(arrays: Mapping[str, Any], packed: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes, uint8 [..., K], and scale bytes, uint8 [..., K / 16], from the entries ``packed`` and ``weight_scale``.

    Raises
    ------
    ValueError
        If an entry is missing, its dtype or shape does not fit, or a scale is negative.
    """
    of_codes = raw_bytes(packed, _entry(packed, arrays), "float4_e2m1fn_x2")
    scales = raw_bytes("weight_scale", _entry("weight_scale", arrays), "float8_e4m3fn").copy()
    row, bytes_of_a_block = of_codes.shape[-1:], BLOCK_SIZE // 2
    fits = row and row[0] % bytes_of_a_block == 0 and scales.shape == (*of_codes.shape[:-1], row[0] // bytes_of_a_block)
    if not fits or of_codes.size == 0:
        raise ValueError(
            f"weight_scale must hold a byte for every {bytes_of_a_block} bytes of a row of {packed}, "
            f"got shapes {scales.shape} and {of_codes.shape}"
        )
    negative = np.count_nonzero((scales >= _SIGN) & (scales != _SIGN | UE4M3.nan_code))
    if negative:
        raise ValueError(
            f"weight_scale has the sign bit set in {negative} of {scales.size} bytes: NVFP4 has no negative scales, "
            "and MixFP4 keeps its choice there"
        )
    return unpack_bits(of_codes, E2M1.width), scales


def factor(name: str, arrays: Mapping[str, Any], zero: bool = False) -> np.float32:
    """The entry ``name``, a float32 of one element; ValueError if it is missing, of another kind, not positive (zero is
    allowed with ``zero``) or not finite."""
    array = floats(name, _entry(name, arrays))
    if array.size != 1 or array.dtype != np.float32 or not (zero or array.item()) or not 0 <= array.item() < np.inf:
        value = array.item() if array.size == 1 and array.dtype == np.float32 else described(array)
        raise ValueError(f"{name} must be one {'' if zero else 'positive '}finite float32, got {value}")
    return np.float32(array.item())


def _entry(name: str, arrays: Mapping[str, Any]) -> Any:
    if name not in arrays:
        raise ValueError(f"no {name} among {', '.join(sorted(arrays)) or 'nothing'}")
    return arrays[name]
