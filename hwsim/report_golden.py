"""Reports on the golden models: conformance with other implementations, and speed."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from golden import four_over_six, nvfp4
from golden.kernels import FLOAT32_MAX
from hwsim import bench_golden
from hwsim.conformance import SLICE, Comparison, compare
from hwsim.files import replace_all
from hwsim.report import markdown

_CONFORMANCE = """\
# Conformance of the golden models

Made by `{command}`.

Vectors: `{vectors}`, SHA-256 `{sha}`.
What they hold and what made them is in `tests/data/README.md`, beside the slice of them that is compared unless
HWSIM_CONFORMANCE names a file. Raw bits are compared, without tolerance (where a source stores values, the sign
of zero is left out).

**{compared} values compared, {unexplained} unexplained mismatches.**

{rows}

## Explained mismatches

Each is counted only where it is shown to be the case named: the scaled element, computed anew, lies exactly
halfway and the source took the upper neighbour; the errors of both candidates, computed anew in FP64, differ
by less than 1e-6 of themselves; the scale byte is zero on both sides.

{reasons}

## Deviations by intent

No vector reaches them: the arithmetic of the contract overflows FP32 there, to infinity or NaN.

{deviations}

MicroMix has no vectors: its segments are compared with MX under `rceil` in `tests/golden`.
"""

_SPEED = """\
# Speed of the golden models

{headline}

{tables}

The first call compiles, and the result is cached on disk; kernels that formats share are counted with the
format that comes first. Beside its result, quantising allocates the largest magnitude of every 16 elements,
the candidate scales of formats that choose between two, and scratch of one block a thread; dequantising to a
padded shape, and FP16 and BF16 input, input that is not C-contiguous, and padding, cost a copy.

![elements per second](golden_speed.png)
"""


def write_conformance(out: Path, build: Path, vectors: Path | None = None) -> list[Path]:
    """Compare the golden models with a vector file and write ``conformance.md`` and ``conformance.json``.

    Parameters
    ----------
    out : Path
        Folder of the reports.
    build : Path
        Not used: there are no intermediate files.
    vectors : Path, optional
        Vector file; by default the one that the environment variable HWSIM_CONFORMANCE names, else the slice
        in ``tests/data``.

    Returns
    -------
    list of Path
        The files written.
    """
    vectors = vectors or Path(os.environ.get("HWSIM_CONFORMANCE", SLICE))
    comparisons = compare(vectors)
    told = os.path.relpath(vectors, SLICE.parents[2])
    command = "python -m hwsim.report conformance"
    found = {
        "command": command if vectors.samefile(SLICE) else f"HWSIM_CONFORMANCE={told} {command}",
        "vectors": told,
        "sha256": hashlib.sha256(vectors.read_bytes()).hexdigest(),
        "comparisons": [asdict(c) for c in comparisons],
    }
    return replace_all(
        {
            out / "conformance.json": json.dumps(found, indent=1) + "\n",
            out / "conformance.md": _conformance_text(found, comparisons),
        }
    )


def _conformance_text(found: dict[str, Any], comparisons: list[Comparison]) -> str:
    rows = [["made with", "format", "what", "values", "mismatches", "explained", "unexplained"]]

    def key(c: Comparison) -> tuple[str, str, str]:
        return c.source, c.format, c.what

    for (source, name, what), group in groupby(sorted(comparisons, key=key), key):
        cs = list(group)
        counts = [
            sum(getattr(c, n) for c in cs) for n in ("compared", "mismatches", "explained", "unexplained")
        ]
        rows.append([source, name, what, *map(str, counts)])
    reasons = [["format", "input", "what", "cases", "why"]]
    reasons += [
        [c.format, c.distribution, c.what, str(c.explained), c.why] for c in comparisons if c.explained
    ]
    compared, unexplained = (sum(getattr(c, n) for c in comparisons) for n in ("compared", "unexplained"))
    return _CONFORMANCE.format(
        command=found["command"],
        vectors=found["vectors"],
        sha=found["sha256"],
        deviations=markdown(_deviations()),
        compared=compared,
        unexplained=unexplained,
        rows=markdown(rows, right=range(3, 7)),
        reasons=markdown(reasons, right=(3,)),
    )


def _deviations() -> list[list[str]]:
    rows = [["format", "input", "contract", "here"]]
    for names, full_scale in (("nvfp4, mixfp4", nvfp4.FULL_SCALE), ("four_over_six", four_over_six.FULL_SCALE)):
        factor, product = f"{full_scale:g} / amax", "code * scale * amax"
        held = f"{factor} stays at the largest finite value: zeros stay zeros, but the error grows as amax falls"
        rows.append([names, f"amax < {full_scale / FLOAT32_MAX:.2g}", f"{factor} overflows", held])
        divided = f"code * scale * (amax / {full_scale:g})"
        rows.append([names, f"amax > {FLOAT32_MAX / full_scale:.3g}", f"{product} may overflow", divided])
    scaled = "errors are taken of the block times a power of two, which changes no other choice"
    return [*rows, ["m2xfp_sg_em", "differences > 1.8e19", "squared errors overflow", scaled]]


def write_golden_speed(out: Path, build: Path, found: dict[str, Any] | None = None) -> list[Path]:
    """Measure the golden models and write ``golden_speed.md``, ``.json`` and ``.png``.

    Parameters
    ----------
    out : Path
        Folder of the reports.
    build : Path
        Not used: there are no intermediate files.
    found : dict, optional
        Figures of :func:`hwsim.bench_golden.run`; measured anew without them.

    Returns
    -------
    list of Path
        The files written.
    """
    found = found or bench_golden.run()
    tables = []
    for title, rows in bench_golden.tables(found).items():
        right = [i for i in range(len(rows[0])) if all(not row[i] or row[i][0].isdigit() for row in rows[1:])]
        tables.append(
            f"## {title}\n\n" + markdown(rows, right)
        )
    text = _SPEED.format(headline=bench_golden.headline(found), tables="\n\n".join(tables))
    return replace_all(
        {
            out / "golden_speed.json": json.dumps(found, indent=1) + "\n",
            out / "golden_speed.md": text,
            out / "golden_speed.png": _speed_plot(found),
        }
    )


def _speed_plot(found: dict[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    bars = [("numpy.copyto", found["copy_elements_per_s"], "0.6")]
    for f in found["formats"]:
        bars.append((f"dequantise {f['format']}", f["dequantize_elements_per_s"], "C1"))
        bars.append((f"quantise {f['format']}", f["quantize_elements_per_s"], "C0"))
    bars += [(f"{p['peer']}: {p['job']}", p["peer_elements_per_s"], "C3") for p in found["peers"]]
    bars.sort(key=lambda bar: bar[1])
    figure = Figure(figsize=(9, 0.22 * len(bars) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh([b[0] for b in bars], [b[1] / 1e6 for b in bars], color=[b[2] for b in bars], log=True)
    axes.tick_params(axis="y", labelsize=7)
    axes.set(xlabel="M elements per second", title=f"{found['size']} x {found['size']} FP32")
    axes.grid(axis="x", alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
