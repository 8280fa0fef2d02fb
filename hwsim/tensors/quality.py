"""What every format does to a tensor: bits per element, error, choices."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import golden
from hwsim.base import text
from hwsim.base.errors import InputError
from hwsim.base.files import replace
from hwsim.tensors.sources import Source


@dataclass(frozen=True)
class Result:
    """Storage and error of one tensor in one format; ``choices`` maps each choice of the format to its share, and
    ``stored_as`` names the layout that the tensor was decoded from, if it was not of floats."""

    tensor: str
    format: str
    bits_per_element: float
    error: golden.Error
    choices: dict[str, float]
    stored_as: str = ""

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
            "stored_as": self.stored_as or None,
        }


def _finite(value: float) -> float | None:
    """``value``, or None for infinity and NaN, which JSON does not have."""
    return value if math.isfinite(value) else None


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
    loaded = source.load()
    amax, done = 0.0, 0
    # By format, the K that calibration was for and the options that it gave.
    calibrated: dict[str, tuple[int, dict[str, Any]]] = {}
    for piece in source.split(loaded):
        largest = float(np.abs(piece).max())
        if not math.isfinite(largest):
            raise InputError(_not_finite(source, loaded, piece, done))
        amax = max(amax, largest)
        done += piece.size
        for name in formats:
            system = golden.SYSTEMS[name]
            if system.calibrate and name not in calibrated:
                k = _padded(piece.shape[1], name)
                whole = np.pad(piece, ((0, 0), (0, k - piece.shape[1])))
                calibrated[name] = k, system.calibrate(whole)
        if progress:
            _show(source, "largest magnitude", done)
    results = []
    for name in formats:
        options = {"amax": amax} if "amax" in golden.SYSTEMS[name].options else {}
        results.append(_measure_format(source, loaded, name, options, calibrated.get(name), progress))
    if progress:
        print(" " * 70, end="\r", file=sys.stderr)
    return results


def _not_finite(source: Source, loaded: Any, piece: np.ndarray, done: int) -> str:
    """Message on the first value of ``piece`` that is not finite; ``done`` elements of the tensor are before it."""
    first = int(np.argmin(np.isfinite(piece)))
    where = tuple(int(i) for i in np.unravel_index(done + first, source.shape))
    value = piece.flat[first]
    if isinstance(loaded, np.ndarray) and loaded.dtype.kind == "f" and np.isfinite(loaded[where]):
        return f"{source.name}: {loaded[where]} at index {where} overflows FP32"
    return f"{source.name}: expected finite values, got {value} at index {where}"


def _show(source: Source, what: str, done: int) -> None:
    share = 100 * done / math.prod(source.shape)
    print(f"{source.name[:40]:40} {what:18} {share:3.0f} %", end="\r", file=sys.stderr)


def _padded(k: int, name: str) -> int:
    """K rounded up to whole blocks of a format."""
    multiple = golden.SYSTEMS[name].multiple
    return -(-k // multiple) * multiple


def _measure_format(
    source: Source,
    loaded: Any,
    name: str,
    options: dict[str, Any],
    calibrated: tuple[int, dict[str, Any]] | None,
    progress: bool,
) -> Result:
    """Quantise a tensor, piece by piece, to one format and measure the error.

    Parameters
    ----------
    source : Source
    loaded
        What ``source.load`` gave.
    name : str
        The format.
    options : dict
        Options of the format.
    calibrated : tuple of int and dict, optional
        The K that the format was calibrated for, and the options that hold for it.
    progress : bool
        Show progress on stderr.
    """
    total: golden.Error | None = None
    choices: dict[str, float] = {}
    bits = 0.0
    for piece in source.split(loaded):
        # The tail of a row longer than a piece has channels of its own: what was calibrated is not for it.
        own = calibrated[1] if calibrated and calibrated[0] == _padded(piece.shape[1], name) else {}
        t = golden.quantize(piece, name, pad=True, **options, **own)
        error = golden.error(piece, t)
        total = error if total is None else total + error
        bits += t.bits_per_element * piece.size
        chosen = golden.SYSTEMS[name].choices
        for choice, share in (chosen(t) if chosen else {}).items():
            choices[choice] = choices.get(choice, 0.0) + share * piece.size
        if progress:
            _show(source, name, total.count)
    assert total is not None
    count = total.count
    return Result(source.name, name, bits / count, total, {c: s / count for c, s in choices.items()}, source.stored_as)


def overall(results: Sequence[Result]) -> list[Result]:
    """One result for each format over all tensors, each weighted by its number of elements."""
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
        leading = ", ".join(f"{name}: {share:.1%}" for name, share in chosen[:4])
        rows.append(
            [
                r.format,
                f"{r.bits_per_element:.4g}",
                f"{r.error.sqnr:.2f}",
                f"{r.error.mse:.3g}",
                f"{r.error.max_error:.3g}",
                f"{r.error.cosine:.6f}",
                leading + (", ..." if len(chosen) > 4 else ""),
            ]
        )
    return text.table(rows, right=range(1, 6))


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
    axes.set(xlabel="bits per element", ylabel="SQNR [dB]")
    axes.set_title(text.printable(finite[0].tensor) if finite else "").set_parse_math(False)
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:] or "png", metadata={"Date": None} if path.suffix == ".svg" else None)
    replace(path, buffer.getvalue())
