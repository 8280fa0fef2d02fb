"""Quantise and dequantise by format name: the registry, and the checks that every system relies on."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from . import four_over_six, m2xfp, mbs, micromix, mixfp4, mx, nvfp4, oas
from .arrays import floats
from .kernels import LANES, part_maxima
from .tensor import BlockTensor, System, block_tensor

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
    """The format called ``name``.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not isinstance(name, str) or name not in SYSTEMS:
        raise ValueError(f"format must be one of {', '.join(SYSTEMS)}, got {name!r}")
    return SYSTEMS[name]


def quantize(x: np.ndarray, format: str, *, pad: bool = False, **options: Any) -> BlockTensor:
    """Quantise a tensor; blocks lie along its last axis, K.

    Parameters
    ----------
    x : float32, float16 or bfloat16 (ml_dtypes) array, any shape with at least one axis, any byte order
    format : str
        One of ``golden.SYSTEMS``.
    pad : bool
        Pad with zeros to whole blocks; :func:`dequantize` gives the original shape back.
    **options
        Options of the format, as Python or NumPy scalars: see ``help(golden.SYSTEMS[format].quantize)``.

    Returns
    -------
    BlockTensor

    Raises
    ------
    ValueError
        For an unknown format or option, a wrong dtype, a masked array, an empty tensor, NaN or infinity, or,
        without ``pad``, a shape that is not whole blocks.
    """
    target = system(format)
    options = _checked_options(target, options)
    multiple = options.get("block_size", target.multiple)
    x = floats("x", x)
    whole = whole_blocks(x, multiple, LANES if options.get("block_2d") else 1, pad)
    maxima = finite_maxima(whole)
    t = target.quantize(whole.reshape(-1, whole.shape[-1]), maxima.reshape(-1, maxima.shape[-1]), **options)
    return t.with_lead(whole.shape[:-1], x.shape)


def dequantize(t: BlockTensor) -> np.ndarray:
    """The values that a quantised tensor stands for.

    Parameters
    ----------
    t : BlockTensor

    Returns
    -------
    float32 array of shape ``t.shape``, C-contiguous. NaN where a block scale is NaN; infinity where a value
    is beyond FP32, which rounding up can bring about for inputs above 2**127.

    Raises
    ------
    TypeError
        If ``t`` is not a BlockTensor.
    ValueError
        If the format of ``t`` is unknown, or ``t`` lacks what the format needs or does not fit it.
    """
    target = system(block_tensor("t", t).format)
    _check_tensor(target, t)
    lead = t.codes.shape[:-1]
    rows = target.dequantize(t.with_lead((math.prod(lead),)))
    padded = rows.reshape(*lead, rows.shape[-1])
    return np.ascontiguousarray(padded[tuple(slice(n) for n in t.shape)])


def _checked_options(target: System, options: dict[str, Any]) -> dict[str, Any]:
    """``options`` as Python scalars, which a file's header can hold."""
    known = target.options
    for name in options:
        if name not in known:
            raise ValueError(f"{target.name} takes the options {', '.join(known) or 'none'}, got {name!r}")
    checked = {
        name: value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value
        for name, value in options.items()
    }
    seed, block_size = checked.get("stochastic_seed"), checked.get("block_size", LANES)
    if seed is not None:
        checked["stochastic_seed"] = _whole("stochastic_seed", seed)
        if not 0 <= checked["stochastic_seed"] < 1 << 64:
            raise ValueError(f"stochastic_seed must be 0 to 2**64 - 1, got {seed}")
    if _whole("block_size", block_size) < LANES or block_size % LANES:
        raise ValueError(f"block_size must be a multiple of {LANES}, got {block_size!r}")
    if not isinstance(checked.get("block_2d", False), bool):
        raise ValueError(f"block_2d must be True or False, got {checked['block_2d']!r}")
    return checked


def _whole(name: str, value: Any) -> int:
    """``value`` as an int; ValueError if it is not an integer."""
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None


def _check_tensor(target: System, t: BlockTensor) -> None:
    """ValueError if ``t`` does not have the layout of its format. Kernels index without bounds checks: a wrong
    layout would make them read beyond their arrays."""
    if len(t.shape) != t.codes.ndim or any(not 0 < n <= m for n, m in zip(t.shape, t.codes.shape, strict=True)):
        raise ValueError(f"shape {t.shape} does not fit codes of shape {t.codes.shape}")
    elements = tuple(name for name, _ in t.segments)
    known = len(elements) == len(target.elements) and set(elements) <= {*target.mixes}
    if elements != target.elements and not known:
        raise ValueError(f"segments of {t.format} must be of {target.elements}, got {elements}")
    k = t.codes.shape[-1]
    if "block_size" not in target.options and (t.block_size != target.block_size or k % target.multiple):
        raise ValueError(
            f"{t.format} has blocks of {target.block_size} and K a multiple of {target.multiple}, "
            f"got {t.block_size} and {k}"
        )
    for name, size in target.arrays.items():
        array = getattr(t, name)
        if array is None:
            raise ValueError(f"{t.format} needs {name}")
        if size and array.shape[-1] * size != k:
            raise ValueError(f"{name} must hold one entry for {size} elements of K = {k}, got shape {array.shape}")


def whole_blocks(x: np.ndarray, multiple: int, row_multiple: int, pad: bool) -> np.ndarray:
    """``x`` as float32, its last axis (and the one before, for 2D blocks) a whole number of blocks.

    Parameters
    ----------
    x : float array [..., K]
    multiple, row_multiple : int
        Numbers of which the last axis, and the one before it, must be multiples.
    pad : bool
        Whether to add zeros at the ends of these axes.

    Returns
    -------
    float32 [..., K], C-contiguous

    Raises
    ------
    ValueError
        If ``x`` has no axis or no element, or one axis where blocks are 2D; without ``pad``, if blocks are partial.
    """
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
    """Largest magnitude of every 16 elements.

    Parameters
    ----------
    x : float32 [..., K], C-contiguous, K a multiple of 16

    Returns
    -------
    float32 [..., K / 16]

    Raises
    ------
    ValueError
        If ``x`` holds NaN or infinity; names the first by its index.
    """
    maxima = part_maxima(x)
    if not np.isfinite(maxima.max()):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(f"x must be finite, got {x[where]} at index {where}")
    return maxima
