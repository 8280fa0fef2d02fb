"""Tensors of .npy, .npz, .safetensors and GGUF files as they are stored, memory-mapped."""

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

# NumPy's dtype of each dtype of safetensors that is read; bits where NumPy has none of the kind.
_SAFETENSORS: dict[str, np.dtype] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F64": np.dtype("<f8"),
    "F8_E4M3": np.dtype("u1"),
    "F8_E5M2": np.dtype("u1"),
    "F8_E8M0": np.dtype("u1"),
    "U8": np.dtype("u1"),
}
#: How the names of files that :func:`read` takes end.
SUFFIXES = (".npy", ".npz", ".safetensors", ".gguf")
# Exceptions that reading a damaged file may raise.
_DAMAGE = OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error


@dataclass(frozen=True)
class Stored:
    """One tensor of a file. ``kind`` is its dtype as safetensors names it, or as NumPy does where that has no name for
    it; ``load`` maps or reads its array: of BF16 and of 8-bit floats, the bits. ``path`` is the file."""

    name: str
    shape: tuple[int, ...]
    kind: str
    load: Callable[[], np.ndarray]
    path: Path


def read(path: Path) -> list[Stored]:
    """The tensors of a .npy, .npz, .safetensors or .gguf file, of every dtype.

    Raises
    ------
    InputError
        If the file is missing, of another kind or damaged.
    """
    readers = dict(zip(SUFFIXES, (_read_npy, _read_npz, _read_safetensors, _read_gguf), strict=True))
    if path.suffix not in readers:
        raise InputError(f"{path}: expected a file name that ends in {', '.join(SUFFIXES)}")
    try:
        return list(readers[path.suffix](path))
    except _DAMAGE as error:
        raise InputError(f"{path}: not a readable {path.suffix} file ({error})") from error


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


def _read_npy(path: Path) -> Iterator[Stored]:
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)  # np.load would open archives and pickles under this name too.
    array = np.load(path, mmap_mode="r")
    yield Stored(path.stem, array.shape, kind_of(array.dtype), lambda: array, path)


def _read_npz(path: Path) -> Iterator[Stored]:
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
            yield Stored(member.removesuffix(".npy"), shape, kind_of(dtype), partial(_load_member, path, member), path)


def _load_member(path: Path, member: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except _DAMAGE as error:
        raise InputError(f"{path}: {member} is not readable ({error})") from error


def _read_safetensors(path: Path) -> Iterator[Stored]:
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
        yield Stored(name, shape, kind, partial(_map, path, name, kind, 8 + length + begin, shape), path)


def _read_gguf(path: Path) -> Iterator[Stored]:
    """Tensors of a GGUF file, read by the package ``gguf``; those of its quantised types stand for what they decode
    to."""
    try:
        import gguf
        from gguf.quants import dequantize
    except ImportError:
        raise InputError("it takes the package gguf: pip install 'hwsim[accuracy]'") from None

    def load(tensor: Any) -> np.ndarray:
        return np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)

    for tensor in gguf.GGUFReader(path).tensors:
        # Its shapes begin with the axis along which elements lie side by side.
        shape = tuple(int(n) for n in reversed(tensor.shape.tolist()))
        yield Stored(tensor.name, shape, "F32", partial(load, tensor), path)


def _map(path: Path, name: str, kind: str, offset: int, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.memmap(path, _SAFETENSORS[kind], mode="r", offset=offset, shape=shape)
    except _DAMAGE as error:
        raise InputError(f"{path}: {name} is not readable ({error})") from error


def kind_of(dtype: np.dtype) -> str:
    """The name that safetensors has for a dtype of NumPy that is read; of others, NumPy's own."""
    if dtype == np.uint8:
        return "U8"
    return f"F{8 * dtype.itemsize}" if dtype.kind == "f" and dtype.itemsize in (2, 4, 8) else str(dtype)


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
