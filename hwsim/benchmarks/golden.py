"""Speed of the golden models: ``python -m hwsim.bench golden``.

Elements per second of one FP32 tensor, as a share of ``numpy.copyto`` of the same array in the same run,
which uses one thread, and as a multiple of other people's quantisers on the same CPU where they are
installed.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import golden
from hwsim.base.errors import InputError
from hwsim.base.files import replace
from hwsim.base.text import table
from hwsim.benchmarks.machine import processor
from hwsim.cli.run import make_parser, run

#: Goals as shares of copy speed: for quantising to each of these formats, and for dequantising any format.
QUANTIZE_GOALS = {"nvfp4": 0.25, "mxfp4": 0.25, "four_over_six": 0.10, "mixfp4": 0.10, "m2xfp_elem_em": 0.10}
DEQUANTIZE_GOAL = 0.30
#: Goals as multiples of a peer's speed at the same job.
PEER_GOALS = {"microxcaling": 20.0, "ml_dtypes": 3.0}
_ROUNDS = 8
_CALLS_OF_A_ROUND = 3
_FIRST_CALLS = """
import time, numpy as np
from hwsim import golden
x = np.ones((4, 512), np.float32)
for name in golden.SYSTEMS:
    start = time.perf_counter()
    golden.dequantize(golden.quantize(x, name))
    print(name, time.perf_counter() - start)
"""


def measure(size: int = 4096, rounds: int = _ROUNDS) -> dict[str, Any]:
    """Measure everything once.

    Parameters
    ----------
    size : int
        Rows and columns of the tensor; a multiple of 128.
    rounds : int
        Each job is called three times a round; its fastest call counts.

    Returns
    -------
    dict for JSON: ``machine``, ``load_before``, ``versions``, ``size``, ``copy_elements_per_s``, ``formats`` (format,
    quantize and dequantize with elements per second, share of copy, goal), ``peers`` (peer, job, its and our
    elements per second, ratio, goal) and ``first_call_s`` (format: seconds of the first call with an empty
    and with a filled disk cache).
    """
    if size <= 0 or size % 128:
        raise InputError(f"--size must be a positive multiple of 128, got {size}")
    load = os.getloadavg()[0]
    x = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    jobs: dict[str, Callable[[], object]] = {"copy": partial(np.copyto, np.empty_like(x), x)}
    for name in golden.SYSTEMS:
        jobs[f"quantize {name}"] = partial(golden.quantize, x, name)
        jobs[f"dequantize {name}"] = partial(golden.dequantize, golden.quantize(x, name))
    # Jobs take turns, so that other load on the machine slows none more than another.
    fastest = dict.fromkeys(jobs, float("inf"))
    for _ in range(rounds):
        for job, call in jobs.items():
            fastest[job] = min(fastest[job], _fastest(call))
    copy = x.size / fastest["copy"]
    formats: list[dict[str, Any]] = []
    for name in golden.SYSTEMS:
        quantize, dequantize = (x.size / fastest[f"{way} {name}"] for way in ("quantize", "dequantize"))
        formats.append(
            {
                "format": name,
                "quantize_elements_per_s": quantize,
                "quantize_share_of_copy": quantize / copy,
                "quantize_goal": QUANTIZE_GOALS.get(name),
                "dequantize_elements_per_s": dequantize,
                "dequantize_share_of_copy": dequantize / copy,
                "dequantize_goal": DEQUANTIZE_GOAL,
            }
        )
    speed = {f["format"]: f["quantize_elements_per_s"] for f in formats}
    return {
        "machine": processor(),
        "load_before": load,
        "versions": {p: importlib.metadata.version(p) for p in ("numpy", "numba")},
        "size": size,
        "copy_elements_per_s": copy,
        "formats": formats,
        "peers": list(_peers(x, speed)),
        "first_call_s": _first_calls(),
    }


def _fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of a round's calls."""
    seconds = []
    for _ in range(_CALLS_OF_A_ROUND):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _peers(x: np.ndarray, speed: dict[str, float]) -> Iterator[dict[str, Any]]:
    for package, distribution, jobs in (
        ("ml_dtypes", "ml_dtypes", _ml_dtypes),
        ("mx", "microxcaling", _microxcaling),
        ("torchao", "torchao", _torchao),
        ("fouroversix", "fouroversix", _fouroversix),
    ):
        try:
            timed = [(job, name, _fastest(call)) for job, name, call in jobs(x)]
        except ImportError:
            continue
        except Exception as error:  # Whatever another version of a peer raises must not cost the other figures.
            print(f"{distribution} left out: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        for job, name, seconds in timed:
            theirs = x.size / seconds
            yield {
                "peer": distribution,
                "version": _version(distribution, package),
                "job": job,
                "format": name,
                "peer_elements_per_s": theirs,
                "elements_per_s": speed[name],
                "ratio": speed[name] / theirs,
                "goal": PEER_GOALS.get(distribution),
            }


def _version(distribution: str, package: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules[package], "__version__", "unknown"))


Calls = list[tuple[str, str, Callable[[], object]]]


def _ml_dtypes(x: np.ndarray) -> Calls:
    """Element casts alone: no blocks, no scales."""
    import ml_dtypes

    casts = {
        "mxfp4": ml_dtypes.float4_e2m1fn,
        "mxfp6_e2m3": ml_dtypes.float6_e2m3fn,
        "mxfp8_e4m3": ml_dtypes.float8_e4m3fn,
    }
    return [(f"cast to {t.__name__}", name, partial(x.astype, t)) for name, t in casts.items()]


def _microxcaling(x: np.ndarray) -> Calls:
    import torch
    from mx.mx_ops import _quantize_mx

    tensor = torch.from_numpy(x)
    names = {"mxfp4": "fp4_e2m1", "mxfp8_e4m3": "fp8_e4m3", "mxint8": "int8"}

    def call(element: str) -> object:
        return _quantize_mx(tensor, 8, element, "max", axes=[-1], block_size=32, round="even")

    return [(f"quantise and dequantise {e}", name, partial(call, e)) for name, e in names.items()]


def _torchao(x: np.ndarray) -> Calls:
    import torch
    from torchao.prototype.mx_formats.mx_tensor import to_mx
    from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize, per_tensor_amax_to_scale

    tensor = torch.from_numpy(x)

    def nvfp4() -> object:
        return nvfp4_quantize(tensor, per_tensor_scale=per_tensor_amax_to_scale(tensor.abs().max()))

    return [
        ("to_mx float4_e2m1fn_x2", "mxfp4", lambda: to_mx(tensor, torch.float4_e2m1fn_x2, 32)),
        ("to_mx float8_e4m3fn", "mxfp8_e4m3", lambda: to_mx(tensor, torch.float8_e4m3fn, 32)),
        ("nvfp4_quantize", "nvfp4", nvfp4),
    ]


def _fouroversix(x: np.ndarray) -> Calls:
    import torch
    from fouroversix import AdaptiveBlockScalingRule as Rule
    from fouroversix import QuantizeBackend, quantize_to_fp4

    # Its CPU reference takes BF16 only.
    tensor = torch.from_numpy(x).bfloat16()
    jobs = {"nvfp4": Rule.always_6, "four_over_six": Rule.mse}

    def call(rule: object) -> object:
        return quantize_to_fp4(tensor, backend=QuantizeBackend.pytorch, scale_rule=rule)

    return [(f"quantize_to_fp4 {rule.value}", name, partial(call, rule)) for name, rule in jobs.items()]


def _first_calls() -> dict[str, list[float]]:
    """Seconds of the first quantise and dequantise of each format in a new process: empty cache, filled
    cache."""
    seconds_by_format: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(2):
            output = subprocess.run(
                [sys.executable, "-c", _FIRST_CALLS],
                env=os.environ | {"NUMBA_CACHE_DIR": cache},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for line in output.splitlines():
                name, seconds = line.split()
                seconds_by_format.setdefault(name, []).append(float(seconds))
    return seconds_by_format


def tables(figures: dict[str, Any]) -> dict[str, list[list[str]]]:
    """Tables of text by title; the first row of each holds the headings."""

    def share(value: float, goal: float | None, form: str) -> list[str]:
        verdict = "" if goal is None else ("met" if value >= goal else "NOT met")
        return [form.format(value), "" if goal is None else f"{form.format(goal)} {verdict}"]

    formats = [["format", "quantise M/s", "of copy", "goal", "dequantise M/s", "of copy", "goal", "first call s"]]
    for f in figures["formats"]:
        cold, warm = figures["first_call_s"][f["format"]]
        formats.append(
            [
                f["format"],
                f"{f['quantize_elements_per_s'] / 1e6:.0f}",
                *share(f["quantize_share_of_copy"], f["quantize_goal"], "{:.0%}"),
                f"{f['dequantize_elements_per_s'] / 1e6:.0f}",
                *share(f["dequantize_share_of_copy"], f["dequantize_goal"], "{:.0%}"),
                f"{cold:.1f}, cached {warm:.2f}",
            ]
        )
    peers = [["peer", "its job", "its M/s", "format here", "M/s", "ratio", "goal"]]
    for p in figures["peers"]:
        peers.append(
            [
                f"{p['peer']} {p['version']}",
                p["job"],
                f"{p['peer_elements_per_s'] / 1e6:.1f}",
                p["format"],
                f"{p['elements_per_s'] / 1e6:.0f}",
                *share(p["ratio"], p["goal"], "{:.1f}x"),
            ]
        )
    measured = {p["peer"] for p in figures["peers"]}
    for peer, goal in PEER_GOALS.items():
        if peer not in measured:
            peers.append([peer, "not installed", "", "", "", "", f"{goal:.1f}x not measured"])
    return {"Share of copy speed": formats, "Against peers": peers}


def headline(figures: dict[str, Any]) -> str:
    """What was measured, in a sentence or two."""
    size = figures["size"]
    return (
        f"{size} x {size} FP32 on {figures['machine']}, NumPy {figures['versions']['numpy']}, "
        f"Numba {figures['versions']['numba']}; fastest of several calls each. 1-minute load before "
        f"the run: {figures['load_before']:.1f}. numpy.copyto of the same array, "
        f"which uses one thread: {figures['copy_elements_per_s'] / 1e6:.0f} M elements/s."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of ``python -m hwsim.bench golden``."""
    parser = make_parser(
        "bench golden",
        "Measure the golden models against copying and against peers.",
        ["python -m hwsim.bench golden"],
    )
    parser.add_argument("--size", metavar="N", type=int, default=4096, help="rows and columns (default: 4096)")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - for standard output alone")
    args = parser.parse_args(argv)
    figures = measure(args.size)
    if args.json == "-":
        print(json.dumps(figures, indent=2))
        return 0
    print(headline(figures))
    for title, rows in tables(figures).items():
        print(f"\n{title}\n{table(rows, right=(1, 2) if title.startswith('Share') else (2, 4, 5))}")
    if args.json:
        replace(Path(args.json), json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    run(main)
