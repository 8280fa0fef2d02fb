"""Report on accumulator models against results recorded on silicon: every bit of every result.

The recordings are described in ``tests/data/silicon/README.md``. A model is a function of one instruction;
here instructions are chained as they were when the results were recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golden import accumulate
from golden.mma import instruction, instruction_k
from hwsim import tech
from hwsim.bulk import NetlistModel
from hwsim.errors import InputError
from hwsim.files import replace_all
from hwsim.report import markdown
from hwsim.units import Design

SLICE = Path(__file__).parent.parent / "tests" / "data" / "silicon"

PRESETS = {
    "fp16": accumulate.HOPPER_FP16,
    "bf16": accumulate.HOPPER_BF16,
    "e4m3": accumulate.HOPPER_FP8,
    "e5m2": accumulate.HOPPER_FP8,
}

#: How the instructions of a recording were chained.
IN_CORE, ADDED, NATIVE = "C enters, chained", "from zero, FP32 add", "from zero, chained"

#: ``(a, b, c, format) -> d``: one instruction; a [V, M, T], b [V, N, T] raw bits, c and d uint32 [V, M, N].
Instruction = Callable[[np.ndarray, np.ndarray, np.ndarray, str], np.ndarray]

_KEY = re.compile(r"(fp16|bf16|e4m3|e5m2)_(normal|wide|cancel)(_native)?_k(\d+)_d")

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


@dataclass(frozen=True)
class Recording:
    """Inputs and outputs of chained instructions, as :data:`Instruction` names them but with all of K."""

    format: str
    kind: str
    chaining: str
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: np.ndarray


@dataclass(frozen=True)
class Row:
    """Results of one format, kind, K and chaining: how many, and how many a model gets wrong."""

    format: str
    kind: str
    k: int
    chaining: str
    results: int
    mismatches: dict[str, int]


def recordings(folder: Path) -> Iterator[Recording]:
    """Every recording in the .npz files of ``folder``.

    Raises
    ------
    InputError
        If there is none, or an array of one is missing.
    """
    files = sorted(folder.glob("*.npz"))
    found = 0
    for path in files:
        with np.load(path) as arrays:
            for match in filter(None, map(_KEY.fullmatch, arrays.files)):
                format, kind, native, _ = match.groups()
                keys = [match[0][:-1] + name for name in "abcd"]
                missing = [key for key in keys if key not in arrays]
                if missing:
                    raise InputError(f"{path}: no array {missing[0]!r} beside {match[0]!r}")
                chaining = NATIVE if native else IN_CORE if format in ("fp16", "bf16") else ADDED
                yield Recording(format, kind, chaining, *(arrays[key] for key in keys))
                found += 1
    if not found:
        raise InputError(f"{folder}: no recordings in {len(files)} .npz files")


def replay(recording: Recording, run: Instruction) -> np.ndarray:
    """The results, uint32 [V, M, N], that a model of one instruction gives when chained as recorded."""
    t = instruction_k(recording.format)
    running = recording.c
    for first in range(0, recording.a.shape[2], t):
        a, b = (x[:, :, first : first + t] for x in (recording.a, recording.b))
        if recording.chaining == ADDED:
            alone = run(a, b, np.zeros_like(running), recording.format)
            running = (running.view(np.float32) + alone.view(np.float32)).view(np.uint32)
        else:
            running = run(a, b, running, recording.format)
    return running


def golden_instruction(a: np.ndarray, b: np.ndarray, c: np.ndarray, format: str) -> np.ndarray:
    """The golden model with the parameters of Hopper."""
    return instruction(a, None, b, None, c, format, PRESETS[format])


def rtl_instruction(build: Path) -> Instruction:
    """The RTL of ``fp16_mma`` with the parameters of Hopper, one dot unit, as mapped to ASAP7 and simulated."""
    mapped: dict[str, NetlistModel] = {}

    def run(a: np.ndarray, b: np.ndarray, c: np.ndarray, format: str) -> np.ndarray:
        if format not in mapped:
            preset = PRESETS[format]
            settings = {
                "element": format, "k": instruction_k(format), "m": 1, "n": 1,
                "fraction_bits": preset.fraction_bits, "result_bits": preset.result_bits,
            }  # fmt: skip
            design, library = Design.of("fp16_mma", settings), tech.load("asap7", build_dir=build)
            mapped[format] = NetlistModel(design, library, build)
        v, m, t = a.shape
        n = b.shape[1]
        left = np.broadcast_to(a[:, :, None], (v, m, n, t)).reshape(-1, t)
        right = np.broadcast_to(b[:, None], (v, m, n, t)).reshape(-1, t)
        return mapped[format]({"a_codes": left, "b_codes": right, "c": c.reshape(-1, 1)}).reshape(c.shape)

    return run


def compare(folder: Path, models: Mapping[str, Instruction]) -> list[Row]:
    """Replay every recording in ``folder`` on every model, by name, and count results that differ."""
    return [
        Row(
            r.format,
            r.kind,
            r.a.shape[2],
            r.chaining,
            r.d.size,
            {name: int(np.count_nonzero(replay(r, run) != r.d)) for name, run in models.items()},
        )
        for r in recordings(folder)
    ]


def other_models() -> dict[str, Instruction]:
    """The golden model with one parameter changed."""

    def changed(**parameters) -> Instruction:
        def run(a: np.ndarray, b: np.ndarray, c: np.ndarray, format: str) -> np.ndarray:
            preset = asdict(PRESETS[format])
            new = {name: change(preset[name]) for name, change in parameters.items()}
            return instruction(a, None, b, None, c, format, accumulate.Accumulator(**preset | new))

        return run

    return {
        "one fraction bit less": changed(fraction_bits=lambda f: f - 1),
        "one fraction bit more": changed(fraction_bits=lambda f: f + 1),
        "one result bit less": changed(result_bits=lambda r: r - 1),
        "half the terms a step": changed(terms=lambda t: t // 2),
        "result to nearest": changed(rounding=lambda _: accumulate.Rounding.NEAREST_EVEN),
        "exact": lambda a, b, c, format: instruction(a, None, b, None, c, format, accumulate.EXACT),
    }


def write_silicon(
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
        Of the recordings; by default what the environment variable HWSIM_SILICON names, else the slice in
        ``tests/data/silicon``.
    models : mapping, optional
        Models by name, each a column; by default the golden model and the RTL.

    Returns
    -------
    list of Path
        The files written.
    """
    folder = folder or Path(os.environ.get("HWSIM_SILICON", SLICE))
    rows = compare(folder, models or {"golden": golden_instruction, "RTL": rtl_instruction(build)})
    sensitivity = compare(folder, other_models())
    found = {
        "recordings": _sums(folder),
        "recordings_of_the_slice": _sums(SLICE),
        "rows": [asdict(row) for row in rows],
        "other_models": [asdict(row) for row in sensitivity],
    }
    return replace_all(
        {
            out / "silicon.json": json.dumps(found, indent=1) + "\n",
            out / "silicon.md": _text(rows, sensitivity, folder),
        }
    )


def headline(found: Mapping[str, Any]) -> str:
    """Results and mismatches by format, as the README shows them, from what is in ``silicon.json``."""
    models = list(found["rows"][0]["mismatches"])
    table = [["format", "results", *(f"mismatches, {name}" for name in models)]]
    for format in sorted({row["format"] for row in found["rows"]}):
        rows = [row for row in found["rows"] if row["format"] == format]
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
                *(
                    f"{sum(r.mismatches[name] for r in of[f]) / sum(r.results for r in of[f]):.2%}"
                    for f in formats
                ),
            ]
        )
    return _TEXT.format(
        slice=sum(r.d.size for r in recordings(SLICE)),
        recordings=markdown([["file", "SHA-256"], *([name, sum_] for name, sum_ in _sums(folder).items())]),
        headlines="\n\n".join(headlines),
        rows=markdown(table, right=(2, *range(4, len(table[0])))),
        sensitivity=markdown(others, right=range(1, len(others[0]))),
    )
