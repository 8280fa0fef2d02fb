"""Report on the speed of the golden models."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.benchmarks import golden

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


def write(out: Path, build: Path, figures: dict[str, Any] | None = None) -> list[Path]:
    """Measure the golden models and write ``golden_speed.md``, ``.json`` and ``.png``.

    Parameters
    ----------
    out : Path
        Folder of the reports.
    build : Path
        Not used: there are no intermediate files.
    figures : dict, optional
        Figures of :func:`hwsim.benchmarks.golden.measure`; by default they are measured anew.

    Returns
    -------
    list of Path
        The files written.
    """
    figures = figures or golden.measure()
    tables = []
    for title, rows in golden.tables(figures).items():
        right = [i for i in range(len(rows[0])) if all(not row[i] or row[i][0].isdigit() for row in rows[1:])]
        tables.append(f"## {title}\n\n" + markdown(rows, right))
    text = _SPEED.format(headline=golden.headline(figures), tables="\n\n".join(tables))
    return replace_all(
        {
            out / "golden_speed.json": json.dumps(figures, indent=1) + "\n",
            out / "golden_speed.md": text,
            out / "golden_speed.png": _speed_plot(figures),
        }
    )


def _speed_plot(figures: dict[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    bars = [("numpy.copyto", figures["copy_elements_per_s"], "0.6")]
    for f in figures["formats"]:
        bars.append((f"dequantise {f['format']}", f["dequantize_elements_per_s"], "C1"))
        bars.append((f"quantise {f['format']}", f["quantize_elements_per_s"], "C0"))
    bars += [(f"{p['peer']}: {p['job']}", p["peer_elements_per_s"], "C3") for p in figures["peers"]]
    bars.sort(key=lambda bar: bar[1])
    figure = Figure(figsize=(9, 0.22 * len(bars) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh([b[0] for b in bars], [b[1] / 1e6 for b in bars], color=[b[2] for b in bars], log=True)
    axes.tick_params(axis="y", labelsize=7)
    axes.set(xlabel="M elements per second", title=f"{figures['size']} x {figures['size']} FP32")
    axes.grid(axis="x", alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
