"""Results recorded on silicon, replayed on models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import units
from hwsim.base.errors import InputError
from hwsim.golden import accumulate
from hwsim.golden.mma import instruction, instruction_k
from hwsim.golden.terms import ELEMENT_TERMS
from hwsim.peers.checkout import DATA
from hwsim.technology import catalogue
from hwsim.verification.netlist_model import NetlistModel

SLICE = DATA / "silicon"
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


@dataclass(frozen=True)
class Recording:
    """Inputs and outputs of chained instructions: a [V, M, K], b [V, N, K] raw bits, c and d uint32 [V, M, N]."""

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
    count = 0
    for path in files:
        with np.load(path) as arrays:
            for match in filter(None, map(_KEY.fullmatch, arrays.files)):
                format, kind, native, _ = match.groups()
                keys = [match[0][:-1] + name for name in "abcd"]
                missing = [key for key in keys if key not in arrays]
                if missing:
                    raise InputError(f"{path}: no array {missing[0]!r} beside {match[0]!r}")
                # Results of FP8 were recorded with FP32 additions behind the tensor core, as kernels do it.
                chaining = NATIVE if native else IN_CORE if ELEMENT_TERMS[format].width == 16 else ADDED
                yield Recording(format, kind, chaining, *(arrays[key] for key in keys))
                count += 1
    if not count:
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
            design, library = units.design("fp16_mma", settings), catalogue.load("asap7", build_dir=build)
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
    """Negative controls by name: the golden model with one parameter changed, or exact."""

    def changed(**parameters: Callable[[Any], Any]) -> Instruction:
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
