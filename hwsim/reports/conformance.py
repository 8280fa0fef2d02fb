"""Report on the golden models against vectors of other implementations."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.golden import four_over_six, ue4m3_blocks
from hwsim.golden.kernels import FLOAT32_MAX
from hwsim.peers.checkout import recorded
from hwsim.peers.conformance import SLICE, Comparison, compare

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


def write(out: Path, build: Path, vectors: Path | None = None) -> list[Path]:
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
    recorded(SLICE)
    vectors = vectors or Path(os.environ.get("HWSIM_CONFORMANCE", SLICE))
    comparisons = compare(vectors)
    relative = os.path.relpath(vectors, SLICE.parents[2])
    command = "python -m hwsim.report conformance"
    document = {
        "command": command if vectors.samefile(SLICE) else f"HWSIM_CONFORMANCE={relative} {command}",
        "vectors": relative,
        "sha256": hashlib.sha256(vectors.read_bytes()).hexdigest(),
        "comparisons": [asdict(c) for c in comparisons],
    }
    return replace_all(
        {
            out / "conformance.json": json.dumps(document, indent=1) + "\n",
            out / "conformance.md": _conformance_text(document, comparisons),
        }
    )


def _conformance_text(document: dict[str, Any], comparisons: list[Comparison]) -> str:
    rows = [["made with", "format", "what", "values", "mismatches", "explained", "unexplained"]]

    def key(c: Comparison) -> tuple[str, str, str]:
        return c.source, c.format, c.what

    for (source, name, what), group in groupby(sorted(comparisons, key=key), key):
        cs = list(group)
        counts = [sum(getattr(c, n) for c in cs) for n in ("compared", "mismatches", "explained", "unexplained")]
        rows.append([source, name, what, *map(str, counts)])
    reasons = [["format", "input", "what", "cases", "why"]]
    reasons += [[c.format, c.distribution, c.what, str(c.explained), c.why] for c in comparisons if c.explained]
    compared, unexplained = (sum(getattr(c, n) for c in comparisons) for n in ("compared", "unexplained"))
    return _CONFORMANCE.format(
        command=document["command"],
        vectors=document["vectors"],
        sha=document["sha256"],
        deviations=markdown(_deviations()),
        compared=compared,
        unexplained=unexplained,
        rows=markdown(rows, right=range(3, 7)),
        reasons=markdown(reasons, right=(3,)),
    )


def _deviations() -> list[list[str]]:
    rows = [["format", "input", "contract", "here"]]
    for names, full_scale in (("nvfp4, mixfp4", ue4m3_blocks.FULL_SCALE), ("four_over_six", four_over_six.FULL_SCALE)):
        factor, product = f"{full_scale:g} / amax", "code * scale * amax"
        clamped = f"{factor} stays at the largest finite value: zeros stay zeros, but the error grows as amax falls"
        rows.append([names, f"amax < {full_scale / FLOAT32_MAX:.2g}", f"{factor} overflows", clamped])
        divided = f"code * scale * (amax / {full_scale:g})"
        rows.append([names, f"amax > {FLOAT32_MAX / full_scale:.3g}", f"{product} may overflow", divided])
    scaled = "errors are taken of the block times a power of two, which changes no other choice"
    return [*rows, ["m2xfp_sg_em", "differences > 1.8e19", "squared errors overflow", scaled]]
