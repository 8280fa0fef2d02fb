"""Report on accumulator models against results recorded on silicon: every bit of every result.

The recordings are described in ``tests/data/silicon/README.md``. A model is a function of one instruction;
here instructions are chained as they were when the results were recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.peers.checkout import recorded
from hwsim.peers.silicon import (
    SLICE,
    Instruction,
    Row,
    compare,
    golden_instruction,
    other_models,
    recordings,
    rtl_instruction,
)

_TEXT = """\
# Accumulator models against silicon

Results of warp-group MMA instructions recorded on an NVIDIA H200, compared bit for bit with models that have
the parameters HOPPER_FP16, HOPPER_BF16 and HOPPER_FP8. *golden* is `golden/mma.py`; *RTL* is `fp16_mma`, one generic
data path for all four formats, as mapped to ASAP7. What the recordings hold is in `tests/data/silicon/README.md`,
beside a slice of them ({slice} results), which is what `python -m hwsim.report silicon` compares unless HWSIM_SILICON
names a folder of others. Compared here:

{recordings}

{headlines}

{rows}

*Chaining*: whether C entered the tensor core and D of an instruction was C of the next; or each instruction
started from zero and its result was added to the running value in FP32.

## Other models

Results that other parameters would get wrong, so that an agreement means something:

{sensitivity}
"""


def write(
    out: Path, build: Path, folder: Path | None = None, models: Mapping[str, Instruction] | None = None
) -> list[Path]:
    """Compare models with the recordings and write ``silicon.md`` and ``silicon.json``.

    Parameters
    ----------
    out : Path
        Folder of the reports.
    build : Path
        Folder for the netlist of the RTL.
    folder : Path, optional
        Folder of the recordings; by default the one that the environment variable HWSIM_SILICON names, else the slice
        in ``tests/data/silicon``.
    models : mapping, optional
        Models by name, each a column; by default the golden model and the RTL.

    Returns
    -------
    list of Path
        The files written.
    """
    recorded(SLICE)
    folder = folder or Path(os.environ.get("HWSIM_SILICON", SLICE))
    rows = compare(folder, models or {"golden": golden_instruction, "RTL": rtl_instruction(build)})
    sensitivity = compare(folder, other_models())
    document = {
        "recordings": _sums(folder),
        "recordings_of_the_slice": _sums(SLICE),
        "rows": [asdict(row) for row in rows],
        "other_models": [asdict(row) for row in sensitivity],
    }
    return replace_all(
        {
            out / "silicon.json": json.dumps(document, indent=1) + "\n",
            out / "silicon.md": _text(rows, sensitivity, folder),
        }
    )


def headline(figures: Mapping[str, Any]) -> str:
    """Results and mismatches by format, as the README shows them, from what is in ``silicon.json``."""
    models = list(figures["rows"][0]["mismatches"])
    table = [["format", "results", *(f"mismatches, {name}" for name in models)]]
    for format in sorted({row["format"] for row in figures["rows"]}):
        rows = [row for row in figures["rows"] if row["format"] == format]
        wrong = [str(sum(row["mismatches"][name] for row in rows)) for name in models]
        table.append([format, str(sum(row["results"] for row in rows)), *wrong])
    return markdown(table, right=range(1, len(table[0])))


def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every recording's file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.npz"))}


def _text(rows: list[Row], sensitivity: list[Row], folder: Path) -> str:
    names = list(rows[0].mismatches)
    total = sum(row.results for row in rows)
    headlines = [
        f"**{name}: {total} results compared, {sum(row.mismatches[name] for row in rows)} mismatches.**"
        for name in names
    ]
    table = [["format", "kind", "K", "chaining", "results", *(f"mismatches, {name}" for name in names)]]
    for row in sorted(rows, key=lambda r: (r.format, r.chaining, r.kind, r.k)):
        counts = map(str, row.mismatches.values())
        table.append([row.format, row.kind, str(row.k), row.chaining, str(row.results), *counts])
    formats = sorted({row.format for row in sensitivity})
    others = [["model", *formats]]
    for name in sensitivity[0].mismatches:
        of = {f: [r for r in sensitivity if r.format == f] for f in formats}
        others.append(
            [
                name,
                *(f"{sum(r.mismatches[name] for r in of[f]) / sum(r.results for r in of[f]):.2%}" for f in formats),
            ]
        )
    return _TEXT.format(
        slice=sum(r.d.size for r in recordings(SLICE)),
        recordings=markdown([["file", "SHA-256"], *([name, sum_] for name, sum_ in _sums(folder).items())]),
        headlines="\n\n".join(headlines),
        rows=markdown(table, right=(2, *range(4, len(table[0])))),
        sensitivity=markdown(others, right=range(1, len(others[0]))),
    )
