"""Speed of the golden MMA: ``python -m hwsim.bench mma``.

Multiply-adds per second of one matrix product, operands quantised beforehand; for HOPPER_FP8 also as a
multiple of the CPU path of mmaemu, where it is installed, on the same bits in the same run.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import golden
from hwsim.base.errors import InputError
from hwsim.base.files import replace
from hwsim.base.text import table
from hwsim.benchmarks.machine import processor
from hwsim.cli.run import make_parser
from hwsim.golden import accumulate
from hwsim.golden.e8m0_blocks import BLOCK_SIZE
from hwsim.golden.formats import E4M3, encode
from hwsim.golden.micromix import Assignment
from hwsim.golden.mma import mma, mma_elements

#: Goals: multiply-adds per second of block-scaled FP4 and of MicroMix on two cores, and multiple of the peer's speed.
FP4_GOAL = 2e9
PEER_GOAL = 3.0
FP4 = {"nvfp4": ("nvfp4", "nvfp4"), "mixfp4": ("mixfp4", "mixfp4"), "mxfp4": ("mxfp4", "mxfp4"),
       "m2xfp": ("m2xfp_elem_em", "m2xfp_sg_em")}  # fmt: skip
#: Channels of MicroMix in FP6 and FP8, of eight parts; the other five are FP4.
MICROMIX = (1, 2)
PEER = "mmaemu"
_OURS = "e4m3 HOPPER_FP8"
_ROUNDS = 5


def measure(size: int = 1024, rounds: int = _ROUNDS) -> dict[str, Any]:
    """Measure everything once.

    Parameters
    ----------
    size : int
        M, N and K; a multiple of 64.
    rounds : int
        Every job is called once a round; its fastest call counts.

    Returns
    -------
    dict for JSON: ``machine``, ``load_before``, ``size``, ``multiply_adds_per_s`` (job: rate), ``goals``
    (FP4 job: least rate), ``peer_version`` and ``ratio`` (None without mmaemu), ``peer_goal``,
    ``same_bits_as_peer``.

    Raises
    ------
    InputError
        If the size is not a positive multiple of 64.
    """
    if size <= 0 or size % 64:
        raise InputError(f"--size must be a positive multiple of 64, got {size}")
    load = os.getloadavg()[0]
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    jobs: dict[str, Callable[[], Any]] = {
        name: partial(mma, golden.quantize(x, a), golden.quantize(y, b)) for name, (a, b) in FP4.items()
    }
    a, b = (golden.quantize(z, "micromix", assignment=_assignment(size)) for z in (x, y))
    jobs["micromix"] = partial(mma, a, b)
    jobs["mxfp8_e4m3"] = partial(mma, golden.quantize(x, "mxfp8_e4m3"), golden.quantize(y, "mxfp8_e4m3"))
    a_bits, b_bits = encode(x, E4M3), encode(y, E4M3)
    jobs[_OURS] = partial(mma_elements, a_bits, b_bits, None, "e4m3", accumulate.HOPPER_FP8)
    peer = _peer(a_bits, b_bits)
    if peer is not None:
        jobs[PEER] = peer
    results = {name: call() for name, call in jobs.items()}  # compiles
    # Jobs take turns, so that other load on the machine slows none more than another.
    fastest = dict.fromkeys(jobs, float("inf"))
    for _ in range(rounds):
        for name, call in jobs.items():
            start = time.perf_counter()
            call()
            fastest[name] = min(fastest[name], time.perf_counter() - start)
    rates = {name: size**3 / seconds for name, seconds in fastest.items()}
    return {
        "machine": processor(),
        "load_before": load,
        "size": size,
        "multiply_adds_per_s": rates,
        "goals": dict.fromkeys((*FP4, "micromix"), FP4_GOAL),
        "peer_version": importlib.metadata.version(PEER) if peer else None,
        "ratio": rates[_OURS] / rates[PEER] if peer else None,
        "peer_goal": PEER_GOAL,
        "same_bits_as_peer": bool(np.array_equal(results[_OURS], results[PEER])) if peer else None,
    }


def _assignment(size: int) -> Assignment:
    """Channels in their order: five eighths FP4, an eighth FP6, a quarter FP8, in whole blocks."""
    fp6, fp8 = (size * part // 8 // BLOCK_SIZE * BLOCK_SIZE for part in MICROMIX)
    return Assignment(np.arange(size, dtype=np.int32), (size - fp6 - fp8, fp6, fp8))


def _peer(a: np.ndarray, b: np.ndarray) -> Callable[[], np.ndarray] | None:
    """The same product by mmaemu as on Hopper, chained in the tensor core, K not split; None without mmaemu."""
    try:
        import mmaemu
        import torch
    except ImportError:
        return None
    operands = [torch.from_numpy(z).view(torch.float8_e4m3fn) for z in (a, b)]

    def product() -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mmaemu warns of the maturity of its profiles.
            return mmaemu.accumulate(*operands, use_fast_accum=True, profile="hopper", splitk=1).numpy()

    return product


def rows_of(figures: dict[str, Any]) -> list[list[str]]:
    """Rows of a table of text; the first holds the headings."""
    rows = [["product", "G multiply-adds/s", "goal"]]
    for name, rate in figures["multiply_adds_per_s"].items():
        goal = figures["goals"].get(name)
        rows.append([name, f"{rate / 1e9:.2f}", f"{goal / 1e9:g}" if goal else ""])
    if figures["ratio"]:
        rows.append([f"{_OURS} / {PEER} {figures['peer_version']}", f"{figures['ratio']:.1f}", f"{PEER_GOAL:g}"])
    return rows


def main(argv: list[str]) -> int:
    """Command line of ``python -m hwsim.bench mma``."""
    parser = make_parser(
        "bench mma",
        "Measure the golden MMA, and mmaemu where it is installed, in the same run.",
        ["python -m hwsim.bench mma", "python -m hwsim.bench mma --size 2048 --json mma.json"],
    )
    parser.add_argument("--size", metavar="N", type=int, default=1024, help="M, N and K (default: 1024)")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - for standard output alone")
    args = parser.parse_args(argv)
    figures = measure(args.size)
    if args.json == "-":
        print(json.dumps(figures, indent=2))
        return 0
    print(f"{figures['machine']}, load {figures['load_before']:.1f} before; M = N = K = {figures['size']}")
    print(table(rows_of(figures), right=(1, 2)))
    if figures["ratio"]:
        print(f"bits the same as {PEER}'s: {'yes' if figures['same_bits_as_peer'] else 'NO'}")
    if args.json:
        replace(Path(args.json), json.dumps(figures, indent=2) + "\n")
    return 0
