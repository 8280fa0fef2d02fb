"""Arrays that users hand in, of NumPy, ml_dtypes or torch, and what is said of those that do not fit."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def floats(name: str, x: Any) -> np.ndarray:
    """``x`` as an array of float32, float16 or bfloat16 (ml_dtypes), in any byte order.

    A torch tensor is taken too, with its gradient left behind, from any device; one of bfloat16 becomes float32,
    which holds every value.

    Raises
    ------
    ValueError
        If ``x`` is masked, of another dtype, or a torch tensor that NumPy cannot hold.
    """
    if np.ma.isMaskedArray(x):
        raise ValueError(f"{name} must not be a masked array: its mask would be lost")
    if _is_torch(x) and "float8" in str(x.dtype):
        raise ValueError(f"{name} must be float32, float16 or bfloat16, got {x.dtype}")
    x = _from_torch(name, x) if _is_torch(x) else np.asarray(x)
    if not (x.dtype.kind == "f" and x.dtype.itemsize in (2, 4)) and x.dtype.name != "bfloat16":
        raise ValueError(f"{name} must be float32, float16 or bfloat16, got {x.dtype}")
    return x


def raw_bytes(name: str, x: Any, also: str = "") -> np.ndarray:
    """``x``, an array or torch tensor of uint8 or of the dtype called ``also``, as its bytes, uint8.

    Raises
    ------
    ValueError
        If ``x`` is masked, or of another dtype: bytes of another format would stand for other numbers.
    """
    if np.ma.isMaskedArray(x):
        raise ValueError(f"{name} must not be a masked array: its mask would be lost")
    dtype = str(x.dtype).removeprefix("torch.") if _is_torch(x) else np.asarray(x).dtype.name
    if dtype not in ("uint8", also):
        raise ValueError(f"{name} must be uint8{' or ' + also if also else ''}, got {dtype}")
    x = _from_torch(name, x) if _is_torch(x) else np.asarray(x)
    return np.ascontiguousarray(x).view(np.uint8)


def described(array: Any) -> str:
    """Dtype and shape of an array, for messages; of anything else, its representation."""
    return f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else repr(array)


def _is_torch(x: Any) -> bool:
    return any(c.__module__ == "torch" and c.__name__ == "Tensor" for c in type(x).__mro__)


def _from_torch(name: str, x: Any) -> np.ndarray:
    try:
        x = x.detach().cpu()
        dtype = str(x.dtype)
        if dtype == "torch.bfloat16":
            x = x.float()
        elif dtype.startswith(("torch.float8", "torch.float4")):
            x = x.view(sys.modules["torch"].uint8)
        return x.numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise ValueError(f"{name}: NumPy cannot hold this torch tensor ({str(error).splitlines()[0]})") from error
