"""Which format fits a tensor: ``python -m hwsim.quality FILE``.

Files are memory-mapped and tensors read in pieces, never held whole; of an .npz, which may be compressed, one
member at a time is. Formats with a tensor scale get that of the whole tensor: a first pass finds its largest
magnitude. MicroMix is calibrated on the first piece.
"""

from __future__ import annotations

import argparse
import inspect
import io
import json
import math
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import golden
from golden import micromix
from hwsim import cli
from hwsim.errors import InputError
from hwsim.files import replace

PIECE = 1 << 22  # Elements quantised at a time.
_SAFETENSORS: dict[str, np.dtype] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F64": np.dtype("<f8"),
}
# What reading a damaged file may raise.
_DAMAGE = OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error


@dataclass(frozen=True)
class Source:
    """One tensor of a file. ``load`` maps it or reads it; ``bf16`` says that its uint16 are BF16 bits."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[], np.ndarray]
    bf16: bool = False

    @classmethod
    def of(cls, name: str, array: np.ndarray, bf16: bool = False) -> Source:
        """An array that is there, which may be memory-mapped."""
        return cls(name, array.shape, array.dtype, lambda: array, bf16)

    def pieces(self, array: np.ndarray) -> Iterator[np.ndarray]:
        """``array``, which is what ``load`` gave, as float32 [rows, K] in the order of C: pieces of whole rows
        or of a row longer than a piece. What FP32 cannot hold becomes infinity."""
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
    """``array`` as [rows, K], cut along its leading axes where a reshape would copy more than a piece."""
    if array.ndim <= 2 or array.flags.c_contiguous:
        yield array.reshape(-1, array.shape[-1])
    elif array[0].size > PIECE:
        for part in array:
            yield from _matrices(part)
    else:
        at_once = PIECE // array[0].size
        for first in range(0, len(array), at_once):
            yield array[first : first + at_once].reshape(-1, array.shape[-1])


@dataclass(frozen=True)
class Result:
    """How one format does on one tensor. ``choices``: a choice and the share of blocks that took it."""

    tensor: str
    format: str
    bits_per_element: float
    error: golden.Error
    choices: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "tensor": self.tensor,
            "format": self.format,
            "bits_per_element": self.bits_per_element,
            "sqnr_db": _finite(self.error.sqnr),
            "mse": _finite(self.error.mse),
            "max_error": _finite(self.error.max_error),
            "cosine": _finite(self.error.cosine),
            "choices": self.choices,
        }


def _finite(value: float) -> float | None:
    """What JSON can say of a number."""
    return value if math.isfinite(value) else None


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
        held = ", ".join(f"{s.name} {s.dtype} {s.shape}" for s in sources[:4]) or "nothing"
        raise InputError(f"{path}: expected a float tensor with an axis and elements, got {held}")
    return usable


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
    """The format: eight bytes of header length, little endian; a JSON header; the tensors' bytes."""
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
    if not isinstance(numbers, list) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(f"{name}: {what} must be a list of whole numbers, none negative, got {numbers!r:.60}")
    return numbers


def measure(source: Source, formats: Sequence[str], progress: bool = False) -> list[Result]:
    """Quantise one tensor to each format and measure the error.

    Parameters
    ----------
    source : Source
    formats : sequence of str
        Names of :data:`golden.SYSTEMS`.
    progress : bool
        Show progress on stderr.

    Raises
    ------
    InputError
        If the tensor holds NaN, infinity or a value beyond FP32, or cannot be read.
    """
    array = source.load()
    amax, done = 0.0, 0
    assignment = None
    for piece in source.pieces(array):
        largest = float(np.abs(piece).max())
        if not math.isfinite(largest):
            raise InputError(_not_finite(source, array, piece, done))
        amax = max(amax, largest)
        done += piece.size
        if assignment is None and "micromix" in formats:
            whole = np.pad(piece, ((0, 0), (0, -piece.shape[1] % micromix.BLOCK_SIZE)))
            assignment = micromix.assign_channels(whole)
        if progress:
            _show(source, "largest magnitude", done)
    results = []
    for name in formats:
        known = inspect.signature(golden.SYSTEMS[name].quantize).parameters
        options: dict[str, Any] = {"amax": amax} if "amax" in known else {}
        if name == "micromix":
            options["assignment"] = assignment
        results.append(_measure_format(source, array, name, options, progress))
    if progress:
        print(" " * 70, end="\r", file=sys.stderr)
    return results


def _not_finite(source: Source, array: np.ndarray, piece: np.ndarray, done: int) -> str:
    """What is wrong with the first value of ``piece``, ``done`` elements into ``array``, that is not finite."""
    first = int(np.argmin(np.isfinite(piece)))
    where = tuple(int(i) for i in np.unravel_index(done + first, source.shape))
    value = piece.flat[first] if source.bf16 else array[where]
    if np.isfinite(value):
        return f"{source.name}: {value} at index {where} overflows FP32"
    return f"{source.name}: expected finite values, got {value} at index {where}"


def _show(source: Source, what: str, done: int) -> None:
    share = 100 * done / math.prod(source.shape)
    print(f"{source.name[:40]:40} {what:18} {share:3.0f} %", end="\r", file=sys.stderr)


def _measure_format(
    source: Source, array: np.ndarray, name: str, options: dict[str, Any], progress: bool
) -> Result:
    total: golden.Error | None = None
    choices: dict[str, float] = {}
    bits = 0.0
    for piece in source.pieces(array):
        if name == "micromix":
            whole = piece.shape[1] + -piece.shape[1] % micromix.BLOCK_SIZE
            if options["assignment"] is None or options["assignment"].permutation.size != whole:
                options = {"assignment": None}  # The tail of a row longer than a piece has channels of its own.
        t = golden.quantize(piece, name, pad=True, **options)
        error = golden.error(piece, t)
        total = error if total is None else total + error
        bits += t.bits_per_element * t.codes.size  # Padding is stored too.
        chosen = golden.SYSTEMS[name].choices
        for choice, share in (chosen(t) if chosen else {}).items():
            choices[choice] = choices.get(choice, 0.0) + share * piece.size
        if progress:
            _show(source, name, total.count)
    assert total is not None
    count = total.count
    return Result(source.name, name, bits / count, total, {c: s / count for c, s in choices.items()})


def overall(results: Sequence[Result]) -> list[Result]:
    """One result for each format over all tensors."""
    merged: dict[str, Result] = {}
    for r in results:
        if r.format not in merged:
            merged[r.format] = Result("all tensors", r.format, r.bits_per_element, r.error, dict(r.choices))
            continue
        m = merged[r.format]
        total = m.error + r.error
        a, b = m.error.count / total.count, r.error.count / total.count
        choices = {c: m.choices.get(c, 0.0) * a + r.choices.get(c, 0.0) * b for c in m.choices | r.choices}
        bits = m.bits_per_element * a + r.bits_per_element * b
        merged[r.format] = Result("all tensors", r.format, bits, total, choices)
    return list(merged.values())


def table(results: Sequence[Result]) -> str:
    """Results as text, the best SQNR first."""
    rows = [["format", "bits/element", "SQNR dB", "MSE", "max error", "cosine", "choices"]]
    for r in sorted(results, key=lambda r: -r.error.sqnr):
        chosen = sorted(r.choices.items(), key=lambda item: -item[1])
        told = ", ".join(f"{name}: {share:.1%}" for name, share in chosen[:4])
        rows.append(
            [
                r.format,
                f"{r.bits_per_element:.4g}",
                f"{r.error.sqnr:.2f}",
                f"{r.error.mse:.3g}",
                f"{r.error.max_error:.3g}",
                f"{r.error.cosine:.6f}",
                told + (", ..." if len(chosen) > 4 else ""),
            ]
        )
    return cli.table(rows, right=range(1, 6))


def plot(results: Sequence[Result], path: Path) -> None:
    """Bits per element against SQNR, one point for each format, as PNG or SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    finite = sorted((r for r in results if math.isfinite(r.error.sqnr)), key=lambda r: r.error.sqnr)
    gap = 0.035 * (finite[-1].error.sqnr - finite[0].error.sqnr) if finite else 0.0
    below = [-math.inf, -math.inf]
    for i, r in enumerate(finite):
        axes.plot(r.bits_per_element, r.error.sqnr, "o", color="C0")
        # Many formats have 4.5 bits: labels alternate sides and keep a distance from the one below.
        left = i % 2
        below[left] = max(r.error.sqnr, below[left] + gap)
        axes.annotate(
            r.format,
            (r.bits_per_element, r.error.sqnr),
            xytext=(r.bits_per_element + (-0.15 if left else 0.15), below[left]),
            ha="right" if left else "left",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.6},
        )
    axes.margins(x=0.25)
    axes.set(xlabel="bits per element", ylabel="SQNR [dB]", title=finite[0].tensor if finite else "")
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format=path.suffix[1:] or "png", metadata={"Date": None} if path.suffix == ".svg" else None
    )
    replace(path, buffer.getvalue())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = cli.parser(
        "quality",
        "Quantise tensors to every format and compare size with error. Rows are padded to whole blocks.",
        [
            "python -m hwsim.quality weights.safetensors",
            "python -m hwsim.quality x.npy --formats nvfp4 mixfp4",
        ],
    )
    parser.add_argument("file", metavar="FILE", type=Path, help=".npy, .npz or .safetensors")
    parser.add_argument(
        "--formats", metavar="NAME", nargs="+", default=list(golden.SYSTEMS), help="default: all"
    )
    parser.add_argument(
        "--tensors", metavar="NAME", nargs="+", help="default: every float tensor of the file"
    )
    parser.add_argument(
        "--plot", metavar="FILE", type=Path, default=Path("quality.png"), help="default: quality.png"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures as JSON")
    return report(parser.parse_args(argv))


def report(args: argparse.Namespace) -> int:
    """Measure as the options say and print."""
    for name in args.formats:
        if name not in golden.SYSTEMS:
            raise InputError(f"--formats: expected names among {', '.join(golden.SYSTEMS)}, got {name!r}")
    formats = list(dict.fromkeys(args.formats))
    if args.plot.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--plot: expected a name that ends in .png, .svg or .pdf, got {args.plot}")
    # Measuring may take long: what would fail after it is refused before.
    for option, path in (("--plot", args.plot), ("--json", args.json)):
        if path is not None:
            cli.refuse_unwritable(option, path, [args.file])
    if args.json is not None and args.json.resolve() == args.plot.resolve():
        raise InputError(f"--plot and --json name the same file, {args.plot}")
    sources = read(args.file)
    names = [s.name for s in sources]
    for name in args.tensors or []:
        if name not in names:
            raise InputError(f"--tensors: {args.file} holds {', '.join(names[:8])}, got {name!r}")
    results: list[Result] = []
    for source in sources:
        if args.tensors and source.name not in args.tensors:
            continue
        found = measure(source, formats, progress=sys.stderr.isatty())
        results += found
        print(f"{source.name}  {'x'.join(map(str, source.shape))}\n{table(found)}\n")
    summary = overall(results)
    if len(results) > len(summary):
        print(f"all tensors\n{table(summary)}\n")
    try:
        plot(summary if len(results) > len(summary) else results, args.plot)
        print(f"plot: {args.plot}")
        if args.json:
            document = json.dumps([r.as_dict() for r in results], indent=2, allow_nan=False)
            replace(args.json, document + "\n")
    except OSError as error:
        raise InputError(f"cannot write the results: {error}") from error
    return 0


if __name__ == "__main__":
    cli.run(main)
