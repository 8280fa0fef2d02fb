"""Bulk check of MMA units: mapped netlist against golden, raw bits: ``python -m hwsim.bulk --unit NAME``.

One dot product (a tile of 1 x 1) goes through the bit-parallel engine; the operands are directed corners mixed with
random, see :meth:`hwsim.mma_units.MMAUnit.corners`.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwsim import activity, cli, elaborate, flow
from hwsim.errors import InputError
from hwsim.library import Library
from hwsim.mma_units import MMAUnit, bins, summary
from hwsim.units import UNITS, Design

#: Streams of the engine, and vectors that are packed at a time.
_STREAMS, _CHUNK = 2048, 1 << 17


class NetlistModel:
    """A mapped MMA unit as a function of independent instructions.

    Parameters
    ----------
    design : Design
        An MMA unit.
    library : Library
    build : Path
    clock_period_ns : float, optional
        Default: the library's.
    """

    def __init__(self, design: Design, library: Library, build: Path, clock_period_ns: float | None = None):
        self.design = design
        self.latency = design.component().latency
        options = flow.Options(clock_period_ns or library.clock_period_ns, hierarchical=True)
        mapped = flow.map_design(design, library, options, build)
        self.netlist = elaborate.read(mapped.netlist_json, design.name, library)

    def __call__(self, ports: dict[str, np.ndarray]) -> np.ndarray:
        """``d``, uint32 [vectors, m n], for the operands' ports and ``c``."""
        count = len(ports["c"])
        streams = min(_STREAMS, max(64, count // 64 // 64 * 64))
        cycles = -(-count // streams)
        # Every stream goes on for as long as its last results take.
        position = np.arange(streams)[:, None] * cycles + np.arange(cycles + self.latency)
        padded = np.minimum(position, count - 1).reshape(-1)
        ones = np.ones((len(padded), 1), np.uint8)
        inputs = {"valid": ones, "accumulate": 0 * ones} | {k: v[padded] for k, v in ports.items()}
        outputs = activity.simulate(self.netlist, inputs, streams).outputs
        if not outputs["out_valid"].reshape(streams, -1)[:, self.latency :].all():
            raise RuntimeError(f"{self.design.name}: a result does not come out")
        width = outputs["d"].shape[1]
        bits = outputs["d"].reshape(streams, cycles + self.latency, width)[:, self.latency :]
        words = np.packbits(np.ascontiguousarray(bits).reshape(-1, width), axis=1, bitorder="little")
        return words.view(np.uint32)[:count]


@dataclass
class Found:
    """Outcome of a bulk check: vectors, mismatches, the first one in words, and how often each bin was hit."""

    vectors: int = 0
    mismatches: int = 0
    first: str = ""
    bins: Counter = field(default_factory=Counter)


def check(model, design: Design, vectors: int, seed: int, parameters=None) -> Found:
    """Compare a model of an MMA unit with golden.

    Parameters
    ----------
    model : callable (ports) -> d
    design : Design
        Gives the operands.
    vectors, seed : int
    parameters : dict, optional
        What golden takes instead of the design's own, to see a check fail.
    """
    adaptors = design.unit.golden.__self__  # type: ignore[attr-defined]
    assert isinstance(adaptors, MMAUnit)
    rng = np.random.default_rng(seed)
    found = Found()
    while found.vectors < vectors:
        count = min(_CHUNK, vectors - found.vectors)
        ports = adaptors.corners(design.parameters, count, rng)
        want = adaptors.step(ports, parameters or design.parameters, ports["c"])
        got = model(ports)
        wrong = np.flatnonzero((got != want).any(axis=1))
        if len(wrong) and not found.mismatches:
            i = int(wrong[0])
            operands = ", ".join(f"{k}={v[i].tolist()}" for k, v in ports.items())
            found.first = f"d is {[hex(x) for x in got[i]]}, golden {[hex(x) for x in want[i]]}; {operands}"
        found.vectors += count
        found.mismatches += len(wrong)
        found.bins.update(bins(ports["c"], want, adaptors.step(ports, design.parameters, np.zeros_like(want))))
    return found


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = cli.parser(
        "bulk",
        "Compare an MMA unit's mapped netlist with the golden model on many dot products, raw bits.\n"
        "Exit code 1 on a mismatch.",
        [
            "python -m hwsim.bulk --unit mixfp4_mma",
            "python -m hwsim.bulk --unit mxfp8_mma --set element=e5m2 --vectors 100000",
        ],
    )
    cli.add_design(parser)
    cli.add_technology(parser, wire_load=False)
    parser.add_argument("--vectors", metavar="N", type=int, default=10**7, help="dot products (default: 10000000)")
    parser.add_argument("--seed", type=cli.natural, default=1)
    args = parser.parse_args(argv)
    return report(args)


def report(args: argparse.Namespace) -> int:
    """Run as the options say and print what was found; 1 on a mismatch."""
    if args.vectors < 1:
        raise InputError(f"--vectors must be positive, got {args.vectors}")
    if not args.unit.endswith("_mma"):
        known = ", ".join(name for name in UNITS if name.endswith("_mma"))
        raise InputError(f"--unit must be an MMA unit ({known}), got {args.unit!r}")
    if given := cli.settings(args.settings).keys() & {"m", "n"}:
        raise InputError(f"--set {min(given)}: one dot product is checked, a tile of 1 x 1")
    args.settings = [*args.settings, "m=1", "n=1"]
    design, library = cli.design(args), cli.library(args)
    start = time.perf_counter()
    model = NetlistModel(design, library, cli.build_directory(args), cli.clock_period(args, library))
    found = check(model, design, args.vectors, args.seed)
    print(f"{design.slug}: {found.vectors} dot products, seed {args.seed}, {found.mismatches} mismatches, "
          f"{time.perf_counter() - start:.0f} s")  # fmt: skip
    print(summary(found.bins))
    if found.mismatches:
        print(f"MISMATCH {found.first}")
    return 1 if found.mismatches else 0


if __name__ == "__main__":
    cli.run(main)
