"""Tensors of .npy, .npz and .safetensors files, memory-mapped and read in pieces."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.base.errors import InputError

PIECE = 1 << 22  # Elements quantised at a time.
_SAFETENSORS: dict[str, np.dtype] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F64": np.dtype("<f8"),
}
# Exceptions that reading a damaged file may raise.
_DAMAGE = OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error


@dataclass(frozen=True)
class Source:
    """One tensor of a file. ``load`` maps or reads its array; with ``bf16``, that is uint16 and holds BF16 bits."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[], np.ndarray]
    bf16: bool = False

    @classmethod
    def of(cls, name: str, array: np.ndarray, bf16: bool = False) -> Source:
        """The source of an array that exists already, perhaps memory-mapped."""
        return cls(name, array.shape, array.dtype, lambda: array, bf16)

    def pieces(self, array: np.ndarray) -> Iterator[np.ndarray]:
        """Pieces of ``array``, the result of ``load``, in C order, as float32 [rows, K].

        A piece is whole rows, or a part of a row that is longer than PIECE. Values beyond FP32 become infinity.
        """
        k = self.shape[-1]
        rows_at_once, columns = max(PIECE // k, 1), min(k, PIECE)
        for rows in _matrices(array):
            for row in range(0, len(rows), rows_at_once):
                for column in range(0, k, columns):
                    piece = rows[row : row + rows_at_once, column : column + columns]
                    if self.bf16:
                        yield (piece.astype(np.uint32) << 16).view(np.float32)
                    else:
                        with np.errstate(over="ignore"):
                            yield np.ascontiguousarray(piece, np.float32)


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


def read(path: Path) -> list[Source]:
    """The float tensors of a .npy, .npz or .safetensors file.

    Raises
    ------
    InputError
        If the file is missing, of another kind or damaged, or holds no float tensor.
    """
    readers = {".npy": _read_npy, ".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise InputError(f"{path}: expected a file name that ends in {', '.join(readers)}")
    try:
        sources = list(readers[path.suffix](path))
    except _DAMAGE as error:
        raise InputError(f"{path}: not a readable {path.suffix} file ({error})") from error
    usable = [s for s in sources if (s.bf16 or s.dtype.kind == "f") and s.shape and 0 not in s.shape]
    if not usable:
        contents = ", ".join(f"{s.name} {s.dtype} {s.shape}" for s in sources[:4]) or "nothing"
        raise InputError(f"{path}: expected a float tensor with an axis and elements, got {contents}")
    return usable


def read_tensor(option: str, path: Path) -> np.ndarray:
    """The one float tensor of a .npy file, whole, as float32.

    Parameters
    ----------
    option : str
        Command-line option that named the file, for messages.
    path : Path

    Raises
    ------
    InputError
        If the file is missing, damaged, an archive or not of floats, or holds a value that FP32 does not.
    """
    try:
        stored = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{option} {path}: not a readable .npy file ({error})") from error
    if not isinstance(stored, np.ndarray) or stored.dtype.kind != "f" or stored.size == 0:
        what = f"{stored.dtype} {stored.shape}" if isinstance(stored, np.ndarray) else "an archive"
        raise InputError(f"{option} {path}: expected a float array with elements, got {what}")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(stored, dtype=np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad) or not stored.ndim:
        where = tuple(map(int, bad[0])) if len(bad) else ()
        what = f"{stored[where]} at index {where}" if len(bad) else "a single number"
        raise InputError(f"{option} {path}: expected an array of values that FP32 holds, got {what}")
    return values


def _read_npy(path: Path) -> Iterator[Source]:
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)  # np.load would open archives and pickles under this name too.
    yield Source.of(path.stem, np.load(path, mmap_mode="r"))


def _read_npz(path: Path) -> Iterator[Source]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if not member.endswith(".npy"):
                continue
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                if version == (1, 0):
                    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                else:
                    shape, _, dtype = np.lib.format.read_array_header_2_0(file)
            yield Source(member.removesuffix(".npy"), shape, dtype, partial(_load_member, path, member))


def _load_member(path: Path, member: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except _DAMAGE as error:
        raise InputError(f"{path}: {member} is not readable ({error})") from error


def _read_safetensors(path: Path) -> Iterator[Source]:
    """Tensors of a file laid out as header length (8 bytes, little endian), JSON header, bytes of the tensors."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            raise ValueError(f"header of {length} bytes in a file of {size}")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"expected a JSON object as header, got {type(header).__name__}")
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        kind, shape, begin = _checked_entry(name, entry, size - 8 - length)
        dtype = _SAFETENSORS.get(kind)
        if dtype is None or not shape or 0 in shape:
            continue
        array: np.ndarray = np.memmap(path, dtype, mode="r", offset=8 + length + begin, shape=shape)
        yield Source.of(name, array, kind == "BF16")


def _checked_entry(name: str, entry: Any, data: int) -> tuple[str, tuple[int, ...], int]:
    """Dtype, shape and first byte of a tensor in a safetensors header; ``data`` bytes follow the header."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        raise ValueError(f"{name}: expected an object with dtype, shape and data_offsets, got {entry!r:.60}")
    shape, offsets = (_whole_numbers(name, what, entry.get(what)) for what in ("shape", "data_offsets"))
    if len(offsets) != 2 or not offsets[0] <= offsets[1] <= data:
        raise ValueError(f"{name}: data_offsets must be a range within {data} bytes of data, got {offsets!r:.60}")
    dtype = _SAFETENSORS.get(entry["dtype"])
    if dtype is not None and math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise ValueError(f"{name}: {entry['dtype']} of shape {shape} does not fill data_offsets {offsets}")
    return entry["dtype"], tuple(shape), offsets[0]


def _whole_numbers(name: str, what: str, numbers: Any) -> list[int]:
    """``numbers``; ValueError if that is not a list of integers, none negative."""
    if not isinstance(numbers, list) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(f"{name}: {what} must be a list of whole numbers, none negative, got {numbers!r:.60}")
    return numbers
