"""Weights that are quantised already, put together from the tensors that a checkpoint holds them in.

Recognised are weights as these write them: compressed-tensors (``weight_packed`` with ``weight_scale`` and, for NVFP4,
``weight_global_scale``), ModelOpt (``weight`` of U8 with ``weight_scale`` and ``weight_scale_2``), the MXFP4 of gpt-oss
(``X_blocks`` and ``X_scales``, or ``X.blocks`` and ``X.scales``), MXFP8, and FP8 with a scale for the tensor, for each
index of its leading axes, or for each tile of 128 x 128. Everything else that is quantised is named, not guessed at: no
weight is measured without its scales where there are any, and no scale as a tensor of its own.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwsim import golden
from hwsim.base.errors import InputError
from hwsim.golden.formats import E2M1, E8M0, UE4M3
from hwsim.golden.layouts import unpack_bits
from hwsim.tensors.files import Stored
from hwsim.tensors.sources import DECODERS, Source, block_values, dense, packed

_FP8 = {"F8_E4M3": "mxfp8_e4m3", "F8_E5M2": "mxfp8_e5m2"}
_BYTES = ("U8", "F8_E8M0")  # Dtypes of E8M0 scales.
_QUANTISED = (*_FP8, "U8", "I8", "I32", "int8", "int32")  # Dtypes of codes, packed or not.
_TILE = 128  # Rows and columns that share a scale of a tile.
# Ends of the names of a weight's codes, which its own name lacks.
_CODES = ("_packed", "_blocks", "_qdata", ".blocks")
# What follows a weight's name in the names of its scales; and the names of scales beside a weight in its module.
_AFTER = ("_scale", "_scales", "_scale_2", "_scale_inv", "_global_scale")
_BESIDE = ("scale", "scales", "scale_weight", "weights_scaling_factor")
# Further parts of quantised weights, of GPTQ, bitsandbytes and ComfyUI.
_PARTS = (
    *_BESIDE,
    "qzeros",
    "zeros",
    "g_idx",
    "absmax",
    "quant_map",
    "nested_absmax",
    "nested_quant_map",
    "comfy_quant",
)
_OF_ACTIVATIONS = re.compile(
    r"(^|[._])((q|k|v|input|output|activation|prequant)_(scale|scaling_factor|global_scale)|scale_input)$"
)
# Names that nothing but a scale has.
_SURE = re.compile(r"(weight_scales?|_scale_inv|_global_scale|_scale_2|scale_weight|scaling_factor|scaled_fp8)$")


class UndecodedError(InputError):
    """A weight that is quantised in a way that is not decoded here."""


@dataclass(frozen=True)
class Recognised:
    """Sources with the files that they lie in; and, by name, why tensors are left out or weights not decoded."""

    sources: list[tuple[Path, Source]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    undecoded: dict[str, str] = field(default_factory=dict)


class Tensors:
    """The tensors of several files, among which the parts of a weight are looked for.

    Parameters
    ----------
    files : sequence of mapping
        Tensors of each file, by name.
    """

    def __init__(self, files: Sequence[Mapping[str, Stored]]):
        self._own: Mapping[str, Stored] = {}
        self._all = {name: tensor for tensors in reversed(files) for name, tensor in tensors.items()}
        self._modules: dict[str, list[str]] = defaultdict(list)
        for name in self._all:
            self._modules[_module(name)].append(name)

    def recognised(self, own: Mapping[str, Stored]) -> Recognised:
        """What the tensors of one of the files stand for; their parts are looked for in it first."""
        self._own = own
        result = Recognised()
        for name, tensor in own.items():
            try:
                if not self._is_part(tensor):
                    result.sources.append((tensor.path, self._source(tensor)))
            except UndecodedError as error:
                result.undecoded[name] = str(error)
            except InputError as error:
                result.left_out[name] = str(error)
        return result

    def _get(self, name: str) -> Stored | None:
        return self._own.get(name) or self._all.get(name)

    def _is_quantised(self, name: str) -> bool:
        tensor = self._get(name)
        return tensor is not None and tensor.kind in _QUANTISED

    def _is_part(self, tensor: Stored) -> bool:
        """Whether a tensor is a scale or another part of a quantised weight; InputError if that weight is not here.

        A float tensor that is only called like one, such as the learnt factors of a layer, is not.
        """
        if _OF_ACTIVATIONS.search(tensor.name):
            raise InputError("is a scale of activations")
        for suffix in _AFTER:
            base = tensor.name.removesuffix(suffix)
            if base != tensor.name and any(self._is_quantised(base + end) for end in ("", *_CODES)):
                return True
        module, leaf = _module(tensor.name), tensor.name.rpartition(".")[2]
        if leaf in _PARTS and module:
            beside = (name for name in self._modules[module] if name != tensor.name)
            if self._is_quantised(module) or any(map(self._is_quantised, beside)):
                return True
        called_so = tensor.name.endswith(_AFTER) or leaf in _PARTS
        eight_bits = tensor.kind in (*_FP8, *_BYTES)
        if _SURE.search(tensor.name) or (called_so and (eight_bits or math.prod(tensor.shape) == 1)):
            raise InputError("is a scale without a tensor")
        return False

    def _source(self, tensor: Stored) -> Source:
        """What a tensor stands for together with its scales; InputError says why it is left out or not decoded."""
        if not tensor.shape or 0 in tensor.shape:
            raise InputError(f"{tensor.kind} {tensor.shape}")
        base = next((tensor.name.removesuffix(end) for end in _CODES if tensor.name.endswith(end)), tensor.name)
        module = base if tensor.name.endswith(".blocks") else _module(base)
        if module and self._get(f"{module}.comfy_quant"):
            raise UndecodedError("is in ComfyUI's order of codes and scales, which is not decoded")
        names = {end: base + end for end in _AFTER} | {f".{leaf}": f"{module}.{leaf}" for leaf in _BESIDE if module}
        scales = {end: found for end, name in names.items() if (found := self._get(name)) and name != tensor.name}
        if tensor.kind == "U8" and scales:
            return _four_bits(base, tensor, scales)
        if tensor.kind in _FP8 and scales:
            if len(scales) > 1:
                raise UndecodedError(f"{tensor.kind} with several scales, {', '.join(s.name for s in scales.values())}")
            return _eight_bits(tensor, next(iter(scales.values())))
        if tensor.kind not in DECODERS:
            parts = [scale.name for scale in scales.values()]
            near = [*self._modules[base], *(self._modules[module] if module else ())]
            parts += [n for n in near if n.rpartition(".")[2] in _PARTS and n != tensor.name]
            if tensor.kind in _QUANTISED and parts:
                raise UndecodedError(f"{tensor.kind} {tensor.shape} with {parts[0]}")
            alone = " without scales beside it" if tensor.kind == "U8" else ""
            raise InputError(f"{tensor.kind} {tensor.shape}{alone}")
        return dense(tensor, "FP8, no scale found" if tensor.kind in _FP8 else "")


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _four_bits(base: str, codes: Stored, scales: Mapping[str, Stored]) -> Source:
    """A weight of two E2M1 codes a byte: NVFP4 or MXFP4, as its scales tell."""
    scale = next((scales[end] for end in ("_scale", "_scales", ".scales") if end in scales), None)
    factors = [scales[end] for end in ("_global_scale", "_scale_2") if end in scales]
    shape = codes.shape
    if codes.name.endswith("blocks"):  # gpt-oss: [..., K / 32, 16].
        shape = (*shape[:-2], math.prod(shape[-2:]))
    k, rows = 2 * shape[-1], math.prod(shape[:-1])
    if scale is None or len(scales) != 1 + len(factors) or len(factors) > 1:
        raise UndecodedError(f"{codes.kind} {codes.shape} with {', '.join(s.name for s in scales.values())} alone")
    factor = factors[0] if factors else None
    if scale.kind in ("F8_E4M3", "U8") and scale.shape == (*shape[:-1], k // 16) and factor and k % 16 == 0:
        return _nvfp4(base, codes, scale, factor, (*shape[:-1], k))
    if scale.kind in _BYTES and scale.shape == (*shape[:-1], k // 32) and not factor and k % 32 == 0:

        def load() -> tuple[np.ndarray, ...]:
            return codes.load().reshape(rows, -1), _e8m0(base, scale, rows)

        def decode(some: np.ndarray, their_scales: np.ndarray) -> np.ndarray:
            return block_values("mxfp4", unpack_bits(some, E2M1.width), their_scales)

        return packed(base, (*shape[:-1], k), "MXFP4", load, decode)
    raise UndecodedError(
        f"{codes.kind} {codes.shape} with scales {scale.kind} {scale.shape} and "
        f"{'a' if factor else 'no'} tensor scale: neither NVFP4 nor MXFP4, or its scales are padded or swizzled"
    )


def _nvfp4(base: str, codes: Stored, scale: Stored, factor: Stored, shape: tuple[int, ...]) -> Source:
    """An NVFP4 weight; the tensor scale divides as compressed-tensors writes it, multiplies as ModelOpt does.

    Whether scales of the right shape are swizzled cannot be seen: neither writer does that in a checkpoint.
    """
    divides = factor.name.endswith("_global_scale")
    if divides:
        tensor, of, writer = "weight_packed", "weight_global_scale", "compressed-tensors"
    else:
        tensor, of, writer = "weight", "weight_scale_2", "ModelOpt"
    read = golden.BlockTensor.from_compressed_tensors if divides else golden.BlockTensor.from_modelopt
    rows = math.prod(shape[:-1])
    if factor.kind != "F32" or math.prod(factor.shape) != 1:
        raise UndecodedError(f"NVFP4 with {factor.name} {factor.kind} {factor.shape}, expected one F32")

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
    """A weight of FP8 with scales: MXFP8, or one scale for the tensor, an index of leading axes, or a tile."""
    name, shape = tensor.name, tensor.shape
    rows, k = math.prod(shape[:-1]), shape[-1]
    if scale.kind in _BYTES and scale.shape == (*shape[:-1], k // 32) and k % 32 == 0:

        def load() -> tuple[np.ndarray, ...]:
            return tensor.load().reshape(rows, k), _e8m0(name, scale, rows)

        def decode(some: np.ndarray, their_scales: np.ndarray) -> np.ndarray:
            return block_values(_FP8[tensor.kind], np.ascontiguousarray(some), their_scales)

        return packed(name, shape, "MXFP8", load, decode)
    one = math.prod(scale.shape) == 1
    aligned = scale.shape + (1,) * (len(shape) - len(scale.shape))
    fits = all(a in (1, n) for a, n in zip(aligned, shape, strict=False))
    of_leading = len(aligned) == len(shape) and aligned[-1] == 1 and fits
    of_tiles = len(shape) > 1 and scale.shape == (*shape[:-2], -(-shape[-2] // _TILE), -(-k // _TILE))
    values = DECODERS.get(scale.kind)
    if values is None or not (one or of_leading or of_tiles):
        raise UndecodedError(f"{tensor.kind} {shape} with scales {scale.kind} {scale.shape}, which do not fit")
    kind = "tensor" if one else f"{_TILE} x {_TILE}" if of_tiles and not of_leading else "row"
    if of_leading and not one and aligned[:-1] != shape[:-1]:
        kind = f"of {math.prod(aligned)} parts"

    def load_scaled() -> tuple[np.ndarray, ...]:
        factors = values(np.asarray(scale.load()).reshape(1, -1)).reshape(-1)
        if not np.isfinite(factors).all():
            count = np.count_nonzero(~np.isfinite(factors))
            raise InputError(f"{name}: {count} of {factors.size} of its scales, {scale.name}, are not finite")
        if one:
            by_row = np.broadcast_to(factors, (rows, 1))
        elif of_leading:
            by_row = np.broadcast_to(factors.reshape(aligned), (*shape[:-1], 1)).reshape(rows, 1)
        else:
            by_row = np.repeat(factors.reshape(scale.shape), _TILE, axis=-2)[..., : shape[-2], :].reshape(rows, -1)
        return tensor.load().reshape(rows, k), by_row

    def decode_scaled(some: np.ndarray, factors: np.ndarray) -> np.ndarray:
        wide = factors if factors.shape[1] == 1 else np.repeat(factors, _TILE, axis=1)[:, :k]
        with np.errstate(over="ignore"):
            return DECODERS[tensor.kind](some) * wide

    return packed(name, shape, f"FP8 with a scale for each {kind}", load_scaled, decode_scaled)


def _e8m0(name: str, scale: Stored, rows: int) -> np.ndarray:
    """Scale bytes of a weight called ``name``, uint8 [rows, blocks]."""
    scales = scale.load().reshape(rows, -1)
    _refuse_nan(name, scales == E8M0.nan_code, "0xFF")
    return scales


def _refuse_nan(name: str, nan: np.ndarray, code: str) -> None:
    """InputError if a scale byte is NaN, as in checkpoints whose writer cast scales beyond 448 without saturating."""
    count = np.count_nonzero(nan)
    if count:
        raise InputError(f"{name}: {count} of {nan.size} scale bytes are NaN ({code}): their blocks have no values")
