"""Tensors to be measured: what a stored tensor stands for, in pieces of float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import golden
from hwsim.golden.formats import E4M3, E5M2
from hwsim.tensors.files import Stored, kind_of

PIECE = 1 << 22  # Elements quantised at a time.


@dataclass(frozen=True)
class Source:
    """One tensor.

    Parameters
    ----------
    name : str
    shape : tuple of int
    load : callable
        ``() -> loaded``: maps or reads what is stored; raises InputError if that stands for no finite values.
    split : callable
        ``(loaded) -> iterator of float32 [rows, K]``: the values in C order, at most PIECE at a time or one row.
        Values beyond FP32 become infinity.
    stored_as : str
        The layout that the values were decoded from; empty for floats.
    """

    name: str
    shape: tuple[int, ...]
    load: Callable[[], Any]
    split: Callable[[Any], Iterator[np.ndarray]]
    stored_as: str = ""

    @classmethod
    def of(cls, name: str, array: np.ndarray) -> Source:
        """The source of a float array that exists already, perhaps memory-mapped."""
        return dense(Stored(name, array.shape, kind_of(array.dtype), lambda: array, Path(name)))


def _from_floats(piece: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(piece, np.float32)


def _from_bf16(piece: np.ndarray) -> np.ndarray:
    return (piece.astype(np.uint32) << 16).view(np.float32)


#: Values, float32, of a piece of each dtype of which one element is one float.
DECODERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "F64": _from_floats,
    "F32": _from_floats,
    "F16": _from_floats,
    "BF16": _from_bf16,
    "F8_E4M3": E4M3.values.__getitem__,
    "F8_E5M2": E5M2.values.__getitem__,
}


def dense(stored: Stored, stored_as: str = "") -> Source:
    """The source of a tensor of floats: one element, one value. Long rows are divided, so that files of any shape are
    read in pieces."""

    def split(array: np.ndarray) -> Iterator[np.ndarray]:
        decode, k = DECODERS[stored.kind], stored.shape[-1]
        rows_at_once, columns = max(PIECE // k, 1), min(k, PIECE)
        for rows in _matrices(array):
            for row in range(0, len(rows), rows_at_once):
                for column in range(0, k, columns):
                    yield decode(rows[row : row + rows_at_once, column : column + columns])

    return Source(stored.name, stored.shape, stored.load, split, stored_as)


def _matrices(array: np.ndarray) -> Iterator[np.ndarray]:
    """``array`` as [rows, K], divided along its leading axes where a reshape would copy more than a piece."""
    if array.ndim <= 2 or array.flags.c_contiguous:
        yield array.reshape(-1, array.shape[-1])
    elif array[0].size > PIECE:
        for part in array:
            yield from _matrices(part)
    else:
        at_once = PIECE // array[0].size
        for first in range(0, len(array), at_once):
            yield array[first : first + at_once].reshape(-1, array.shape[-1])


def packed(
    name: str,
    shape: tuple[int, ...],
    stored_as: str,
    load: Callable[[], tuple[np.ndarray, ...]],
    decode: Callable[..., np.ndarray],
) -> Source:
    """The source of a tensor that lies in several arrays.

    Parameters
    ----------
    name, shape, stored_as
        As in :class:`Source`.
    load : callable
        ``() -> arrays``, each of as many rows, [rows, ...], as the tensor has.
    decode : callable
        ``(some rows of each array) -> float32 [rows, K]``.
    """

    def split(arrays: tuple[np.ndarray, ...]) -> Iterator[np.ndarray]:
        rows, at_once = math.prod(shape[:-1]), max(PIECE // shape[-1], 1)
        for row in range(0, rows, at_once):
            yield decode(*(a[row : row + at_once] for a in arrays))

    return Source(name, shape, load, split, stored_as)


def block_values(name: str, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Values, float32 [rows, K], of codes, uint8 [rows, K], and scale bytes of a format without a tensor scale."""
    (element,) = golden.SYSTEMS[name].elements
    segments = ((element, codes.shape[1]),)
    return golden.dequantize(golden.BlockTensor(name, codes.shape, segments, codes, np.ascontiguousarray(scales)))
