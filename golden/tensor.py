"""The quantised tensor, the same for every system, and its dense and on-disk layouts."""

from __future__ import annotations

import inspect
import json
import math
import operator
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import nvfp4_layout
from .arrays import described
from .formats import E2M1, FORMATS
from .layouts import pack_bits, unpack_bits

_METADATA_WIDTH = 2
_BYTES = ("codes", "scales", "metadata", "factors")
_ARRAYS = ("codes", "scales", "tensor_scale", "tensor_amax", "metadata", "factors", "permutation")


@dataclass(frozen=True)
class System:
    """One block-scaled format of the literature, as the registry holds it.

    Parameters
    ----------
    name : str
        Format name.
    multiple : int
        K, the last axis, must be a multiple of this; a ``block_size`` option overrides it.
    quantize : callable
        ``(x, maxima, **options) -> BlockTensor``: x float32 [rows, K], C-contiguous and finite; maxima
        float32 [rows, K / 16], the largest magnitude of every 16 elements; the options keyword-only and with
        defaults.
    dequantize : callable
        ``(t with two-dimensional arrays) -> float32 [rows, K]``.
    elements : tuple of str
        Element formats of the segments of K.
    block_size : int
        Elements that share a scale, unless there is a ``block_size`` option.
    arrays : mapping
        The arrays of :class:`BlockTensor` that the system needs beyond codes and scales, by name, with the number
        of elements that share an entry; 0 for the permutation.
    choices : callable, optional
        ``(t) -> {name: share}``: share of blocks (or channels) that took each choice of the format.
    calibrate : callable, optional
        ``(x) -> options``: options of ``quantize`` that calibration on x, float32 [rows, K], K a multiple of
        ``multiple``, gives; they hold for tensors of the same K.
    mixes : tuple of str
        Element formats that a segment may have instead of its own.
    """

    name: str
    multiple: int
    quantize: Callable[..., BlockTensor]
    dequantize: Callable[[BlockTensor], np.ndarray]
    elements: tuple[str, ...]
    block_size: int
    arrays: Mapping[str, int] = field(default_factory=dict)
    choices: Callable[[BlockTensor], dict[str, float]] | None = None
    calibrate: Callable[[np.ndarray], dict[str, Any]] | None = None
    mixes: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that ``quantize`` takes."""
        parameters = inspect.signature(self.quantize).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


@dataclass(frozen=True, eq=False)
class BlockTensor:
    """A quantised tensor. K, the last axis of every array, is padded to whole blocks; ``shape`` is not.

    Parameters
    ----------
    format : str
        Name of the system, as :func:`golden.quantize` takes it.
    shape : tuple of int
        Shape of the tensor that was quantised.
    segments : tuple of (str, int)
        Element format and length of each contiguous part of K: one, except for MicroMix.
    codes : uint8 [..., K]
        Element codes, one per entry.
    scales : uint8 [..., K / block_size]
        Raw bytes of the block scales.
    options : mapping
        The options of the quantisation.
    tensor_scale : float32, optional
        Factor of every decoded value.
    tensor_amax : float32, optional
        The largest magnitude that ``tensor_scale`` was made from. Where it is known, decoding follows the
        order of the contract, ``code * scale * amax / full_scale``; a foreign tensor without it is decoded as
        ``code * scale * tensor_scale``, which may differ in the last bit.
    metadata : uint8 [..., K / 8], optional
        M2XFP: two bits for each subgroup, one subgroup per entry.
    factors : uint8 [..., K / 128], optional
        MBS: each macro-block was multiplied by ``1 + factor / 256``.
    permutation : int32 [K], optional
        MicroMix: channel ``permutation[i]`` of the input is stored at position ``i``.

    Raises
    ------
    ValueError
        If a dtype or shape is not as above, a segment is of an unknown format, or a tensor scale is not a finite
        float32. :func:`golden.dequantize` checks that the arrays fit the system, :meth:`pack` that codes fit
        their elements: decoding ignores bits above an element's width.
    """

    format: str
    shape: tuple[int, ...]
    segments: tuple[tuple[str, int], ...]
    codes: np.ndarray
    scales: np.ndarray
    options: Mapping[str, Any] = field(default_factory=dict)
    tensor_scale: np.float32 | None = None
    tensor_amax: np.float32 | None = None
    metadata: np.ndarray | None = None
    factors: np.ndarray | None = None
    permutation: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in _BYTES:
            array = getattr(self, name)
            if array is not None or name in ("codes", "scales"):
                self._check_bytes(name, array)
        k = self.codes.shape[-1]
        for name, length in self.segments:
            if name not in FORMATS or FORMATS[name].width > 8 or not 0 <= length <= k:
                raise ValueError(f"segments must be of element formats and lengths up to {k}, got {(name, length)}")
        if sum(length for _, length in self.segments) != k:
            raise ValueError(f"segments {self.segments} do not add up to K = {k} of codes")
        order = self.permutation
        if order is not None and (not _is_array(order, np.int32) or order.shape != (k,)):
            raise ValueError(f"permutation must be int32 of shape {(k,)}, got {described(order)}")
        for name in ("tensor_scale", "tensor_amax"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, np.float32) and 0 <= value < np.inf):
                raise ValueError(f"{name} must be a finite float32, not negative, got {value!r}")

    def _check_bytes(self, name: str, array: Any) -> None:
        if not _is_array(array, np.uint8) or array.ndim == 0 or array.size == 0:
            raise ValueError(f"{name} must be a uint8 array with elements, got {described(array)}")
        if self.codes.shape[-1] % array.shape[-1] or self.codes.shape[:-1] != array.shape[:-1]:
            raise ValueError(f"{name} of shape {array.shape} do not fit codes of shape {self.codes.shape}")

    @property
    def block_size(self) -> int:
        """Elements that share a scale."""
        return self.codes.shape[-1] // self.scales.shape[-1]

    @property
    def bits_per_element(self) -> float:
        """Stored bits per element of the tensor that was quantised, padding counted. A tensor scale and a permutation
        are left out: they are one per tensor."""
        width = sum(FORMATS[name].width * length for name, length in self.segments) / self.codes.shape[-1]
        bits = width * self.codes.size + 8 * self.scales.size
        if self.metadata is not None:
            bits += _METADATA_WIDTH * self.metadata.size
        if self.factors is not None:
            bits += 8 * self.factors.size
        return bits / math.prod(self.shape)

    def with_lead(self, lead: tuple[int, ...], shape: tuple[int, ...] | None = None) -> BlockTensor:
        """This tensor with each array shaped ``(*lead, its last axis)``, and ``shape`` replaced if given."""

        def shaped(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array.reshape(*lead, array.shape[-1])

        names = ("codes", "scales", "metadata", "factors")
        arrays: dict[str, Any] = {name: shaped(getattr(self, name)) for name in names}
        return replace(self, shape=self.shape if shape is None else shape, **arrays)

    def pack(self) -> dict[str, np.ndarray]:
        """The tensor in its dense layout, as memory would hold it.

        Returns
        -------
        dict of arrays: ``header`` (JSON text: format, shape, segments, options), ``codes`` (uint8, rows of a
        little endian bit stream: two FP4 codes a byte with the low nibble first, four FP6 codes in three
        bytes; segments one after the other), ``metadata`` (four a byte) and the other arrays of the tensor as
        they are.

        Raises
        ------
        ValueError
            If a code does not fit its element, or a segment does not fill whole bytes.
        """
        header = {
            "format": self.format,
            "shape": self.shape,
            "segments": self.segments,
            "options": self.options,
        }
        packed = {"header": np.array(json.dumps(header))}
        for name in _ARRAYS:
            if getattr(self, name) is not None:
                packed[name] = np.asarray(getattr(self, name))
        ends = np.cumsum([length for _, length in self.segments])[:-1]
        parts = np.split(self.codes, ends, axis=-1)
        widths = [FORMATS[name].width for name, _ in self.segments]
        packed["codes"] = np.concatenate([pack_bits(p, w) for p, w in zip(parts, widths, strict=True)], axis=-1)
        if self.metadata is not None:
            packed["metadata"] = pack_bits(self.metadata, _METADATA_WIDTH)
        return packed

    @classmethod
    def unpack(cls, packed: Mapping[str, np.ndarray]) -> BlockTensor:
        """The tensor that :meth:`pack` packed.

        Raises
        ------
        ValueError
            If ``header`` or one of the arrays is missing or does not fit.
        """
        for name in ("header", "codes", "scales"):
            if name not in packed:
                raise ValueError(f"not a packed BlockTensor: no {name!r} among {sorted(packed)}")
        name, shape, segments, options = _read_header(str(packed["header"]))
        arrays: dict[str, Any] = {name: packed[name] for name in _ARRAYS if name in packed}
        for byte_name in ("codes", "metadata"):
            if byte_name in arrays and (not _is_array(arrays[byte_name], np.uint8) or not arrays[byte_name].ndim):
                raise ValueError(f"{byte_name} must be uint8, got {described(arrays[byte_name])}")
        bits = [FORMATS[name].width * length for name, length in segments]
        if sum(bits) != 8 * arrays["codes"].shape[-1] or any(n % 8 for n in bits):
            raise ValueError(f"segments {segments} need {sum(bits) / 8:g} bytes a row, got {arrays['codes'].shape[-1]}")
        parts = np.split(arrays["codes"], np.cumsum(bits)[:-1] // 8, axis=-1)
        widths = [FORMATS[name].width for name, _ in segments]
        codes = np.concatenate([unpack_bits(p, w) for p, w in zip(parts, widths, strict=True)], axis=-1)
        arrays["codes"] = codes
        if "metadata" in arrays:
            arrays["metadata"] = unpack_bits(arrays["metadata"], _METADATA_WIDTH)
        for scalar in ("tensor_scale", "tensor_amax"):
            if scalar in arrays:
                arrays[scalar] = arrays[scalar][()]
        return cls(name, shape, segments, options=options, **arrays)

    def save(self, path: str | Path) -> None:
        """Write the packed tensor to ``path`` as .npz."""
        packed = self.pack()
        with open(path, "wb") as file:
            np.savez(file, **packed)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> BlockTensor:
        """Read what :meth:`save` wrote; raises ValueError if it is something else or damaged."""
        try:
            with zipfile.ZipFile(path), np.load(path) as packed:
                return cls.unpack({name: packed[name] for name in packed.files})
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{path}: not a readable .npz file ({error})") from error

    def to_compressed_tensors(self) -> dict[str, np.ndarray]:
        """An NVFP4 or Four Over Six tensor as compressed-tensors stores a weight (``nvfp4-pack-quantized``).

        Returns
        -------
        dict of ``weight_packed`` (uint8 [..., K / 2]), ``weight_scale`` (uint8 [..., K / 16]: the bytes of
        float8_e4m3fn) and ``weight_global_scale`` (float32 [1]: what the decoded values are divided by)

        Raises
        ------
        ValueError
            If the tensor is of another format, has other blocks than 16 or padding, or a tensor scale whose
            reciprocal FP32 does not hold.
        """
        arrays = self._nvfp4_arrays("weight_packed")
        scale, amax = self._nvfp4_tensor_scale, self.tensor_amax
        factor = nvfp4_layout.global_scale(
            nvfp4_layout.FULL_SCALES[self.format], scale, amax, self.options.get(nvfp4_layout.GLOBAL_SCALE)
        )
        if not np.isfinite(factor):
            if self.scales.any():
                raise ValueError(f"a tensor scale of {scale} has no reciprocal that FP32 holds")
            factor = np.float32(1)  # A tensor of zeros; compressed-tensors writes 1 too.
        return arrays | {nvfp4_layout.GLOBAL_SCALE: np.array([factor])}

    @classmethod
    def from_compressed_tensors(cls, arrays: Mapping[str, Any]) -> BlockTensor:
        """The tensor, of format "nvfp4", of such a weight; :meth:`to_compressed_tensors` gives the same bits back.

        Parameters
        ----------
        arrays : mapping
            The three arrays that :meth:`to_compressed_tensors` names, NumPy or torch; the scales may be uint8 or
            float8_e4m3fn. Other entries are ignored. Scale bytes 0x7F, NaN, stay and decode to NaN.

        Raises
        ------
        ValueError
            If one is missing or does not fit the others.
        """
        factor = nvfp4_layout.factor(nvfp4_layout.GLOBAL_SCALE, arrays)
        with np.errstate(over="ignore"):
            scale = np.float32(1) / factor
        if not np.isfinite(scale):
            raise ValueError(f"{nvfp4_layout.GLOBAL_SCALE} must have a reciprocal that FP32 holds, got {factor}")
        # The reciprocal does not always give the factor back: kept, so that writing gives the same bits.
        return cls._of_nvfp4_arrays(arrays, "weight_packed", scale, {nvfp4_layout.GLOBAL_SCALE: float(factor)})

    def to_modelopt(self) -> dict[str, np.ndarray]:
        """The same tensor as ModelOpt stores it: ``weight``, ``weight_scale`` and ``weight_scale_2`` (float32 []: what
        the decoded values are multiplied by); raises as :meth:`to_compressed_tensors` does."""
        return self._nvfp4_arrays("weight") | {nvfp4_layout.SCALE_2: np.array(self._nvfp4_tensor_scale)}

    @classmethod
    def from_modelopt(cls, arrays: Mapping[str, Any]) -> BlockTensor:
        """The tensor of a weight of ModelOpt, the counterpart of :meth:`from_compressed_tensors`."""
        return cls._of_nvfp4_arrays(arrays, "weight", nvfp4_layout.factor(nvfp4_layout.SCALE_2, arrays, zero=True), {})

    @property
    def _nvfp4_tensor_scale(self) -> np.float32:
        return np.float32(1) if self.tensor_scale is None else self.tensor_scale

    def _nvfp4_arrays(self, packed: str) -> dict[str, np.ndarray]:
        """Codes, called ``packed``, and scales in NVFP4's layout; ValueError if that does not hold this tensor."""
        formats, size = nvfp4_layout.FULL_SCALES, nvfp4_layout.BLOCK_SIZE
        if self.format not in formats:
            raise ValueError(f"the layout holds {' and '.join(formats)}, got {self.format}")
        if self.block_size != size or self.shape != self.codes.shape:
            raise ValueError(
                f"the layout holds blocks of {size} without padding, got blocks of {self.block_size} "
                f"and shape {self.shape} in codes of {self.codes.shape}"
            )
        return {packed: pack_bits(self.codes, E2M1.width), "weight_scale": self.scales.copy()}

    @classmethod
    def _of_nvfp4_arrays(
        cls, arrays: Mapping[str, Any], packed: str, scale: np.float32, options: dict[str, Any]
    ) -> BlockTensor:
        codes, scales = nvfp4_layout.codes_and_scales(arrays, packed)
        segments = ((E2M1.name, codes.shape[-1]),)
        return cls("nvfp4", codes.shape, segments, codes, scales, options, tensor_scale=scale)

    def __eq__(self, other: object) -> bool:
        """Whether every field, and every bit of every array, is the same."""
        if not isinstance(other, BlockTensor):
            return NotImplemented
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
                if not np.array_equal(mine, theirs):
                    return False
            elif isinstance(mine, np.ndarray) or isinstance(theirs, np.ndarray) or mine != theirs:
                return False
        return True

    __hash__ = None  # type: ignore[assignment]


def _is_array(array: Any, dtype: type) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == dtype


def _read_header(text: str) -> tuple[str, tuple[int, ...], tuple[tuple[str, int], ...], dict[str, Any]]:
    """Format, shape, segments and options; ValueError if the text does not hold them."""
    try:
        header = json.loads(text)
        name, options = header["format"], dict(header["options"])
        shape = tuple(map(operator.index, header["shape"]))
        segments = tuple((element, operator.index(length)) for element, length in header["segments"])
        known = all(length >= 0 and FORMATS[element].width <= 8 for element, length in segments)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"not the header of a BlockTensor ({error}): {text:.80}") from error
    if not known or not segments:
        raise ValueError(f"segments must be of element formats, got {segments}")
    return name, shape, segments, options


def block_tensor(name: str, t: Any) -> BlockTensor:
    """``t``; TypeError if it is not a BlockTensor."""
    if not isinstance(t, BlockTensor):
        raise TypeError(f"{name} must be a BlockTensor, as golden.quantize gives it, got {type(t).__name__}")
    return t


def one_of(option: str, value: Any, allowed: tuple) -> Any:
    """``value`` if it is among ``allowed``, else ValueError with a message that names them."""
    if value not in allowed:
        raise ValueError(f"{option} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value
