"""Benchmarks that print ratios against named peers in the same run: ``python -m hwsim.bench NAME``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numba

from hwsim import activity, cli, elaborate, flow, peers, simulators
from hwsim.errors import InputError
from hwsim.files import replace

#: Benchmarks that have a module of their own.
OTHERS = {"golden": "hwsim.bench_golden", "mma": "hwsim.bench_mma"}


def processor() -> str:
    """Name of the CPU and the number of threads used."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        name = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), name
        )
    return f"{name}, {numba.get_num_threads()} threads of {os.cpu_count()} CPUs"


def bench_activity(design, library, options: flow.Options, build: Path) -> dict[str, Any]:
    """Vector-cycles per second of the bit-parallel engine and of Verilator on the same mapped netlist.

    The engine counts toggles of all nets and uses all cores; Verilator neither traces nor counts and runs on one
    thread, which is its fastest setting for netlists of this size. Both have their stimulus packed in memory.
    """
    mapped = flow.map_design(design, library, options, build)
    netlist = elaborate.read(mapped.netlist_json, design.name, library)
    inputs = design.unit.stimulus(design.parameters, options.vectors, options.seed, options.tensor)
    run = activity.Run(netlist, inputs, streams=1024)
    run()  # loads the compiled code
    seconds = _best(run)
    vectors = run.cycles * 1024
    verilator = min(peers.verilator_seconds(mapped, netlist, inputs) for _ in range(3))
    ours, theirs = vectors / seconds, options.vectors / verilator
    return {
        "unit": design.slug,
        "technology": library.name,
        "cells": netlist.cells,
        "vectors": vectors,
        "engine_vector_cycles_per_s": ours,
        "verilator_vector_cycles_per_s": theirs,
        "ratio": ours / theirs,
        "verilator": simulators.version("verilator"),
        "machine": processor(),
    }


def _best(run) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    argv = sys.argv[1:] if argv is None else argv
    parser = cli.parser(
        "bench",
        "Measure speed against named peers in the same run.",
        ["python -m hwsim.bench activity", "python -m hwsim.bench golden", "python -m hwsim.bench mma"],
    )
    parser.add_argument("name", choices=("activity", *OTHERS), help="what to measure; golden and mma have options of "
                        "their own: python -m hwsim.bench golden --help")  # fmt: skip
    if argv and argv[0] in OTHERS:
        return importlib.import_module(OTHERS[argv[0]]).main(argv[1:])
    cli.add_design(parser, required=False)
    cli.add_technology(parser, wire_load=False)
    cli.add_stimulus(parser)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures as JSON")
    parser.set_defaults(unit="mixfp4_decode", vectors=1 << 20)
    args = parser.parse_args(argv)
    if args.name in OTHERS:
        raise InputError(f"the benchmark comes first: python -m hwsim.bench {args.name} ...")
    return report(args)


def report(args: argparse.Namespace) -> int:
    """Run the activity benchmark as the options say and print it."""
    design, library = cli.design(args), cli.library(args)
    options = flow.Options(
        cli.clock_period(args, library), vectors=args.vectors, seed=args.seed, tensor=cli.tensor(args)
    )
    found = bench_activity(design, library, options, cli.build_directory(args))
    print(f"{found['unit']} on {found['technology']}: {found['cells']} cells, {found['vectors']} vector-cycles, "
          f"{found['machine']}")  # fmt: skip
    rows = [
        ["engine", "vector-cycles/s", "ratio"],
        [
            "bit-parallel, toggles of all nets counted",
            f"{found['engine_vector_cycles_per_s']:.3g}",
            f"{found['ratio']:.1f}",
        ],
        [f"{found['verilator']} -O3, one thread, no counting", f"{found['verilator_vector_cycles_per_s']:.3g}", "1"],
    ]
    print(cli.table(rows, right=(1, 2)))
    if args.json:
        replace(args.json, json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    cli.run(main)
