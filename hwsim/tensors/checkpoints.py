"""The tensors of files, folders and sharded checkpoints, with quantised weights put together from their parts.

Recognised are weights as these write them: compressed-tensors (``weight_packed`` with ``weight_scale`` and, for NVFP4,
``weight_global_scale``), ModelOpt (``weight`` of U8 with ``weight_scale`` and ``weight_scale_2``), the MXFP4 of gpt-oss
(``X_blocks`` and ``X_scales``), and FP8 with a scale for the tensor, a row, a tile of 128 x 128 (``weight_scale_inv``)
or 32 elements of a row (MXFP8). A scale is never taken for a tensor of its own.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwsim import golden
from hwsim.base.errors import InputError
from hwsim.golden.formats import E2M1, E8M0, UE4M3
from hwsim.golden.layouts import unpack_bits
from hwsim.tensors import files
from hwsim.tensors.files import Stored
from hwsim.tensors.sources import DECODERS, Source, block_values, dense, packed

_INDEX = ".safetensors.index.json"
_FP8 = {"F8_E4M3": "mxfp8_e4m3", "F8_E5M2": "mxfp8_e5m2"}
_BYTES = ("U8", "F8_E8M0")  # Dtypes of E8M0 scales.
_SCALES = ("_scale", "_scales", "_scale_2", "_scale_inv", "_global_scale")
_TILE = 128  # Rows and columns that share a weight_scale_inv.


@dataclass(frozen=True)
class Contents:
    """The tensors of files: those that can be measured, and by name why the others cannot."""

    sources: list[Source]
    left_out: dict[str, str]


def read(paths: Sequence[Path]) -> Contents:
    """The tensors of files and folders.

    Parameters
    ----------
    paths : sequence of Path
        Files (.npy, .npz, .safetensors), indices of sharded checkpoints (.safetensors.index.json) and folders. A folder
        stands for its index, or else for all its files. Equal names of different files are told apart by the file's
        name before them.

    Raises
    ------
    InputError
        If a file is missing, of another kind or damaged, or no tensor can be measured.
    """
    found = [(path, _recognised(tensors)) for path in paths for tensors in _tensors_that_belong_together(path)]
    counts = Counter(source.name for _, contents in found for source in contents.sources)
    sources: list[Source] = []
    left_out: dict[str, str] = {}
    for path, contents in found:
        sources += [replace(s, name=f"{path}: {s.name}") if counts[s.name] > 1 else s for s in contents.sources]
        left_out |= contents.left_out
    if not sources:
        what = "; ".join(f"{name} {why}" for name, why in list(left_out.items())[:4]) or "nothing"
        raise InputError(f"{', '.join(map(str, paths))}: expected a float tensor with an axis and elements, got {what}")
    return Contents(sources, left_out)


def _tensors_that_belong_together(path: Path) -> Iterable[dict[str, Stored]]:
    """The tensors of a file, by name; of a folder, those of its checkpoint and then those of each other file."""
    if path.name.endswith(_INDEX):
        yield _of_index(path)
        return
    if not path.is_dir():
        yield {t.name: t for t in files.read(path)}
        return
    indices = sorted(path.glob(f"*{_INDEX}"))
    if len(indices) == 1:
        yield _of_index(indices[0])
        return
    inside = sorted(p for p in path.iterdir() if p.suffix in files.SUFFIXES)
    if not inside:
        raise InputError(f"{path}: expected files that end in {', '.join(files.SUFFIXES)} in the folder, got none")
    if indices:
        raise InputError(f"{path}: name one of its indices, {', '.join(p.name for p in indices)}")
    shards: dict[str, Stored] = {}
    for shard in inside:
        tensors = {t.name: t for t in files.read(shard)}
        if shard.suffix == ".safetensors" and not shards.keys() & tensors.keys():
            shards |= tensors
        else:
            yield tensors
    if shards:
        yield shards


def _of_index(path: Path) -> dict[str, Stored]:
    """The tensors of a checkpoint whose index maps names to files beside it."""
    try:
        placed = json.loads(path.read_text("utf-8"))["weight_map"]
        shards = sorted(set(placed.values()))
    except OSError as error:
        raise InputError(f"{path}: not readable ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: expected JSON with a weight_map of names to files ({error!r})") from error
    tensors: dict[str, Stored] = {}
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise InputError(f"{path}: expected names of .safetensors files beside it, got {shard!r}")
        stored = {t.name: t for t in files.read(path.parent / shard)}
        for name in (name for name, file in placed.items() if file == shard):
            if name not in stored:
                raise InputError(f"{path.parent / shard}: {path.name} places {name} in it, but it holds no such tensor")
            tensors[name] = stored[name]
    return tensors


def _recognised(tensors: dict[str, Stored]) -> Contents:
    """What tensors that belong together stand for."""
    sources: list[Source] = []
    left_out: dict[str, str] = {}
    for name, tensor in tensors.items():
        try:
            if not _is_scale(tensor, tensors):
                sources.append(_source(tensor, tensors))
        except InputError as error:
            left_out[name] = str(error)
    return Contents(sources, left_out)


def _is_scale(tensor: Stored, tensors: dict[str, Stored]) -> bool:
    """Whether a tensor is the scale of another; InputError if it is one whose tensor is not here.

    A float tensor that is only called like one, such as the learnt factors of a layer, is not.
    """
    for suffix in sorted(_SCALES, key=len, reverse=True):
        base = tensor.name.removesuffix(suffix)
        if base != tensor.name:
            if any(base + end in tensors for end in ("", "_packed", "_blocks")):
                return True
            if tensor.kind in (*_FP8, *_BYTES) or math.prod(tensor.shape) == 1:
                raise InputError("is a scale without a tensor")
            return False
    return False


def _source(tensor: Stored, tensors: dict[str, Stored]) -> Source:
    """What a tensor stands for together with its scales; InputError says why it is left out."""
    if not tensor.shape or 0 in tensor.shape:
        raise InputError(f"{tensor.kind} {tensor.shape}")
    base = tensor.name.removesuffix("_packed").removesuffix("_blocks")
    parts = [base + suffix for suffix in _SCALES if base + suffix in tensors]
    if tensor.kind == "U8" and parts:
        return _four_bits(base, tensor, {name.removeprefix(base): tensors[name] for name in parts})
    if tensor.kind in _FP8 and parts:
        return _eight_bits(tensor, tensors[parts[0]])
    if tensor.kind not in DECODERS:
        raise InputError(f"{tensor.kind} {tensor.shape}" + (" without scales beside it" if tensor.kind == "U8" else ""))
    return dense(tensor)


def _four_bits(base: str, codes: Stored, scales: dict[str, Stored]) -> Source:
    """A weight of two E2M1 codes a byte: NVFP4 or MXFP4, as its scales tell."""
    scale = scales.get("_scale") or scales.get("_scales")
    shape = codes.shape
    if codes.name.endswith("_blocks"):  # gpt-oss: [..., K / 32, 16].
        shape = (*shape[:-2], math.prod(shape[-2:]))
    k, rows = 2 * shape[-1], math.prod(shape[:-1])
    if scale is None:
        raise InputError(f"{codes.kind} {codes.shape} with a tensor scale, but without block scales")
    factor = scales.get("_global_scale") or scales.get("_scale_2")
    if scale.kind in ("F8_E4M3", "U8") and scale.shape == (*shape[:-1], k // 16) and factor and k % 16 == 0:
        return _nvfp4(base, codes, scale, factor, (*shape[:-1], k))
    if scale.kind in _BYTES and scale.shape == (*shape[:-1], k // 32) and not factor and k % 32 == 0:

        def load() -> tuple[np.ndarray, ...]:
            bytes_of_scales = scale.load().reshape(rows, -1)
            _refuse_nan(base, bytes_of_scales == E8M0.nan_code, "0xFF")
            return codes.load().reshape(rows, -1), bytes_of_scales

        def decode(some: np.ndarray, their_scales: np.ndarray) -> np.ndarray:
            return block_values("mxfp4", unpack_bits(some, E2M1.width), their_scales)

        return packed(base, (*shape[:-1], k), "MXFP4", load, decode)
    raise InputError(
        f"{codes.kind} {codes.shape} with scales {scale.kind} {scale.shape} and "
        f"{'a' if factor else 'no'} tensor scale: neither NVFP4 nor MXFP4"
    )


def _nvfp4(base: str, codes: Stored, scale: Stored, factor: Stored, shape: tuple[int, ...]) -> Source:
    """An NVFP4 weight; the tensor scale divides as compressed-tensors writes it, multiplies as ModelOpt does."""
    divides = factor.name.endswith("_global_scale")
    if divides:
        tensor, of, writer = "weight_packed", "weight_global_scale", "compressed-tensors"
    else:
        tensor, of, writer = "weight", "weight_scale_2", "ModelOpt"
    read = golden.BlockTensor.from_compressed_tensors if divides else golden.BlockTensor.from_modelopt
    rows = math.prod(shape[:-1])
    if factor.kind != "F32" or math.prod(factor.shape) != 1:
        raise InputError(f"NVFP4 with {factor.name} {factor.kind} {factor.shape}, expected one F32")

    def load() -> tuple[np.ndarray, ...]:
        scales = scale.load().reshape(rows, -1)
        _refuse_nan(base, scales & 0x7F == UE4M3.nan_code, "0x7F or 0xFF")
        negative = np.count_nonzero(scales > 0x7F)
        if negative:
            raise InputError(
                f"{base}: {negative} of {scales.size} scale bytes have the sign bit set, which NVFP4 does not use "
                f"(MixFP4 keeps its choice there)"
            )
        (value,) = np.asarray(factor.load()).reshape(-1)
        if not 0 < value < np.inf:
            raise InputError(f"{base}: expected a positive finite {factor.name}, got {value}")
        return codes.load().reshape(rows, -1), scales, np.broadcast_to(value, rows)

    def decode(some: np.ndarray, their_scales: np.ndarray, factors: np.ndarray) -> np.ndarray:
        return golden.dequantize(read({tensor: some, "weight_scale": their_scales, of: factors[0]}))

    return packed(base, shape, f"NVFP4 ({writer})", load, decode)


def _eight_bits(tensor: Stored, scale: Stored) -> Source:
    """A weight of FP8 with scales: MXFP8, or one scale for the tensor, a row or a tile."""
    name, shape = tensor.name, tensor.shape
    rows, k = math.prod(shape[:-1]), shape[-1]
    if scale.kind in _BYTES and scale.shape == (*shape[:-1], k // 32) and k % 32 == 0:

        def load() -> tuple[np.ndarray, ...]:
            bytes_of_scales = scale.load().reshape(rows, -1)
            _refuse_nan(name, bytes_of_scales == E8M0.nan_code, "0xFF")
            return tensor.load().reshape(rows, k), bytes_of_scales

        def decode(some: np.ndarray, their_scales: np.ndarray) -> np.ndarray:
            return block_values(_FP8[tensor.kind], np.ascontiguousarray(some), their_scales)

        return packed(name, shape, "MXFP8", load, decode)
    values = DECODERS.get(scale.kind)
    tiles = (*shape[:-2], -(-math.prod(shape[-2:-1]) // _TILE), -(-k // _TILE))
    one, per_row = math.prod(scale.shape) == 1, scale.shape == (*shape[:-1], 1)
    if values is None or not (one or per_row or (len(shape) > 1 and scale.shape == tiles)):
        raise InputError(f"{tensor.kind} {shape} with scales {scale.kind} {scale.shape}, which do not fit")
    kind = "tensor" if one else "row" if per_row else f"{_TILE} x {_TILE}"

    def load_scaled() -> tuple[np.ndarray, ...]:
        factors = values(np.asarray(scale.load()).reshape(-1, scale.shape[-1] if scale.shape else 1))
        if one or per_row:
            return tensor.load().reshape(rows, k), np.broadcast_to(factors, (rows, 1))
        by_row = np.repeat(factors.reshape(*tiles), _TILE, axis=-2)[..., : shape[-2], :]
        return tensor.load().reshape(rows, k), by_row.reshape(rows, -1)

    def decode_scaled(some: np.ndarray, factors: np.ndarray) -> np.ndarray:
        wide = factors if factors.shape[1] == 1 else np.repeat(factors, _TILE, axis=1)[:, :k]
        with np.errstate(over="ignore"):
            return DECODERS[tensor.kind](some) * wide

    return packed(name, shape, f"FP8 with a scale for each {kind}", load_scaled, decode_scaled)


def _refuse_nan(name: str, nan: np.ndarray, code: str) -> None:
    """InputError if a scale byte is NaN, as in checkpoints whose writer cast scales beyond 448 without saturating."""
    count = np.count_nonzero(nan)
    if count:
        raise InputError(f"{name}: {count} of {nan.size} scale bytes are NaN ({code}): their blocks have no values")
