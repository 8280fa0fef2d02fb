"""Which format fits a tensor: ``python -m hwsim.quality FILE``.

Tensors are read in pieces and never held whole. Formats with a tensor scale get that of the whole tensor: a
first pass finds its largest magnitude. MicroMix is calibrated on the first piece.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import golden
from golden import micromix
from hwsim import cli
from hwsim.errors import InputError
from hwsim.files import replace

PIECE = 1 << 22  # Elements quantised at a time.
_TENSOR_SCALED = ("nvfp4", "four_over_six", "mixfp4")
_SAFETENSORS: dict[str, np.dtype] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F64": np.dtype("<f8"),
}


@dataclass(frozen=True)
class Source:
    """One tensor of a file: ``array`` may be memory-mapped; ``bf16`` says that its uint16 are BF16 bits."""

    name: str
    array: np.ndarray
    bf16: bool = False

    def pieces(self) -> Iterator[np.ndarray]:
        """The tensor as float32 [rows, K], in pieces of whole rows or of a row longer than a piece."""
        k = self.array.shape[-1]
        rows = self.array.reshape(-1, k)
        rows_at_once, columns = max(PIECE // k, 1), min(k, PIECE)
        for row in range(0, len(rows), rows_at_once):
            for column in range(0, k, columns):
                piece = rows[row : row + rows_at_once, column : column + columns]
                if self.bf16:
                    yield (piece.astype(np.uint32) << 16).view(np.float32)
                else:
                    yield np.ascontiguousarray(piece, np.float32)


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
            "sqnr_db": self.error.sqnr if math.isfinite(self.error.sqnr) else None,
            "mse": self.error.mse,
            "max_error": self.error.max_error,
            "cosine": self.error.cosine,
            "choices": self.choices,
        }


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
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"{path}: not a readable {path.suffix} file ({error})") from error
    usable = [s for s in sources if (s.bf16 or s.array.dtype.kind == "f") and s.array.ndim and s.array.size]
    if not usable:
        held = ", ".join(f"{s.name} {s.array.dtype} {s.array.shape}" for s in sources[:4]) or "nothing"
        raise InputError(f"{path}: expected a float tensor with at least one axis, got {held}")
    return usable


def _read_npy(path: Path) -> Iterator[Source]:
    yield Source(path.stem, np.load(path, mmap_mode="r"))


def _read_npz(path: Path) -> Iterator[Source]:
    with np.load(path) as archive:
        for name in archive.files:
            yield Source(name, archive[name])


def _read_safetensors(path: Path) -> Iterator[Source]:
    """The format: eight bytes of header length, little endian; a JSON header; the tensors' bytes."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError(f"header of {length} bytes in a file of {path.stat().st_size}")
        header = json.loads(file.read(length))
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in _SAFETENSORS or 0 in entry["shape"]:
            continue
        start = 8 + length + entry["data_offsets"][0]
        dtype = _SAFETENSORS[entry["dtype"]]
        array: np.ndarray = np.memmap(
            path, dtype, mode="r", offset=start, shape=tuple(entry["shape"]) or (1,)
        )
        yield Source(name, array, entry["dtype"] == "BF16")


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
        If the tensor holds NaN or infinity.
    """
    amax = 0.0
    assignment = None
    for piece in source.pieces():
        amax = max(amax, float(np.abs(piece).max()))
        if not math.isfinite(amax):
            raise InputError(f"{source.name}: holds NaN or infinity; expected finite values")
        if assignment is None and "micromix" in formats:
            whole = np.pad(piece, ((0, 0), (0, -piece.shape[1] % 32)))
            assignment = micromix.assign_channels(whole)
    results = []
    for name in formats:
        options: dict[str, Any] = {"amax": amax} if name in _TENSOR_SCALED else {}
        if name == "micromix":
            options["assignment"] = assignment
        results.append(_measure_format(source, name, options, progress))
    if progress:
        print(" " * 70, end="\r", file=sys.stderr)
    return results


def _measure_format(source: Source, name: str, options: dict[str, Any], progress: bool) -> Result:
    total: golden.Error | None = None
    choices: dict[str, float] = {}
    bits = 0.0
    for piece in source.pieces():
        if name == "micromix" and options["assignment"].permutation.size != -(-piece.shape[1] // 32) * 32:
            options = {"assignment": None}  # The tail of a row longer than a piece has channels of its own.
        t = golden.quantize(piece, name, pad=True, **options)
        error = golden.error(piece, t)
        total = error if total is None else total + error
        bits += t.bits_per_element * piece.size
        chosen = golden.SYSTEMS[name].choices
        for choice, share in (chosen(t) if chosen else {}).items():
            choices[choice] = choices.get(choice, 0.0) + share * piece.size
        if progress:
            done = 100 * total.count / source.array.size
            print(f"{source.name[:40]:40} {name:18} {done:3.0f} %", end="\r", file=sys.stderr)
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
    if args.plot.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--plot: expected a name that ends in .png, .svg or .pdf, got {args.plot}")
    sources = read(args.file)
    names = [s.name for s in sources]
    for name in args.tensors or []:
        if name not in names:
            raise InputError(f"--tensors: {args.file} holds {', '.join(names[:8])}, got {name!r}")
    results: list[Result] = []
    for source in sources:
        if args.tensors and source.name not in args.tensors:
            continue
        found = measure(source, args.formats, progress=sys.stderr.isatty())
        results += found
        print(f"{source.name}  {'x'.join(map(str, source.array.shape))}\n{table(found)}\n")
    summary = overall(results)
    if len(results) > len(summary):
        print(f"all tensors\n{table(summary)}\n")
    plot(summary if len(results) > len(summary) else results, args.plot)
    print(f"plot: {args.plot}")
    if args.json:
        replace(args.json, json.dumps([r.as_dict() for r in results], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    cli.run(main)
