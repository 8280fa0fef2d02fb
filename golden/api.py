"""Quantise and dequantise by format name: the registry, and the checks that every system relies on."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from . import four_over_six, m2xfp, mbs, micromix, mixfp4, mx, nvfp4, oas
from .kernels import LANES, part_maxima
from .tensor import BlockTensor, System

#: Every format, by name. A new one is a new file and one entry here.
SYSTEMS: dict[str, System] = {
    s.name: s
    for s in (
        nvfp4.SYSTEM,
        four_over_six.SYSTEM,
        mixfp4.SYSTEM,
        *mx.SYSTEMS,
        oas.SYSTEM,
        *mbs.SYSTEMS,
        *m2xfp.SYSTEMS,
        micromix.SYSTEM,
    )
}


def system(name: str) -> System:
    """The system called ``name``; ValueError if there is none."""
    if name not in SYSTEMS:
        raise ValueError(f"format must be one of {', '.join(SYSTEMS)}, got {name!r}")
    return SYSTEMS[name]


def quantize(x: np.ndarray, format: str, *, pad: bool = False, **options: Any) -> BlockTensor:
    """Quantise a tensor; blocks lie along its last axis, K.

    Parameters
    ----------
    x : float32, float16 or bfloat16 (ml_dtypes) array, any shape with at least one axis
    format : str
        One of ``golden.SYSTEMS``.
    pad : bool
        Pad with zeros to whole blocks; :func:`dequantize` gives the original shape back.
    **options
        Options of the format: see ``help(golden.SYSTEMS[format].quantize)``.

    Returns
    -------
    BlockTensor

    Raises
    ------
    ValueError
        For an unknown format or option, a wrong dtype, an empty tensor, NaN or infinity, or, without ``pad``,
        a shape that is not whole blocks.
    """
    target = system(format)
    parameters = inspect.signature(target.quantize).parameters.values()
    known = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    for name in options:
        if name not in known:
            raise ValueError(f"{format} takes the options {', '.join(known) or 'none'}, got {name!r}")
    seed = options.get("stochastic_seed")
    if seed is not None and not 0 <= seed < 1 << 64:
        raise ValueError(f"stochastic_seed must be 0 to 2**64 - 1, got {seed}")
    multiple = options.get("block_size", target.multiple)
    if not isinstance(multiple, int) or multiple < LANES or multiple % LANES:
        raise ValueError(f"block_size must be a multiple of {LANES}, got {multiple!r}")
    x = np.asarray(x)
    whole = whole_blocks(x, multiple, LANES if options.get("block_2d") else 1, pad)
    maxima = finite_maxima(whole)
    t = target.quantize(whole.reshape(-1, whole.shape[-1]), maxima.reshape(-1, maxima.shape[-1]), **options)
    return t.with_lead(whole.shape[:-1], x.shape)


def dequantize(t: BlockTensor) -> np.ndarray:
    """The values that a quantised tensor stands for.

    Returns
    -------
    float32 array of shape ``t.shape``, C-contiguous. NaN where a block scale is NaN; infinity where a value
    is beyond FP32, which rounding up can bring about for inputs above 2**127.

    Raises
    ------
    ValueError
        If the format of ``t`` is unknown.
    """
    lead = t.codes.shape[:-1]
    rows = system(t.format).dequantize(t.with_lead((math.prod(lead),)))
    padded = rows.reshape(*lead, rows.shape[-1])
    return np.ascontiguousarray(padded[tuple(slice(n) for n in t.shape)])


def whole_blocks(x: np.ndarray, multiple: int, row_multiple: int, pad: bool) -> np.ndarray:
    """``x`` as C-contiguous float32, padded to whole blocks along its last, and tiles along its last two,
    axes."""
    if x.dtype != np.float32 and x.dtype != np.float16 and x.dtype.name != "bfloat16":
        raise ValueError(f"x must be float32, float16 or bfloat16, got {x.dtype}")
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"x must have at least one axis and one element, got shape {x.shape}")
    short = [-n % m for n, m in zip(x.shape[::-1], (multiple, row_multiple), strict=False)][::-1]
    if row_multiple > 1 and x.ndim < 2:
        raise ValueError(f"2D blocks need at least two axes, got shape {x.shape}")
    if any(short):
        if not pad:
            axis = x.ndim - 1 if short[-1] else x.ndim - 2
            whole = multiple if short[-1] else row_multiple
            raise ValueError(
                f"axis {axis} must be a multiple of {whole}, got {x.shape[axis]}; pad=True pads with zeros"
            )
        x = np.pad(x, [(0, 0)] * (x.ndim - len(short)) + [(0, n) for n in short])
    return np.ascontiguousarray(x, np.float32)


def finite_maxima(x: np.ndarray) -> np.ndarray:
    """:func:`golden.kernels.part_maxima` of ``x``; ValueError at the first NaN or infinity."""
    maxima = part_maxima(x)
    if not np.isfinite(maxima.max()):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(f"x must be finite, got {x[where]} at index {where}")
    return maxima
