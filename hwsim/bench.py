"""Benchmarks that print ratios against named peers in the same run: ``python -m hwsim.bench NAME``."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.base.files import replace
from hwsim.base.text import table
from hwsim.benchmarks import activity
from hwsim.cli.options import (
    add_design,
    add_stimulus,
    add_technology,
    clock_period_from,
    design_from,
    library_from,
    tensor_from,
)
from hwsim.cli.run import build_from, make_parser, run
from hwsim.costs.flow import Workload
from hwsim.synthesis.mapping import Options, map_design

#: Benchmarks that have a module of their own.
OTHERS = {"golden": "hwsim.benchmarks.golden", "mma": "hwsim.benchmarks.mma"}


def main(argv: list[str] | None = None) -> int:
    """Read the command line and run; return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = make_parser(
        "bench",
        "Measure speed against named peers in the same run.",
        ["python -m hwsim.bench activity", "python -m hwsim.bench golden", "python -m hwsim.bench mma"],
    )
    parser.add_argument("name", choices=("activity", *OTHERS), help="what to measure; golden and mma have options of "
                        "their own: python -m hwsim.bench golden --help")  # fmt: skip
    if argv and argv[0] in OTHERS:
        return importlib.import_module(OTHERS[argv[0]]).main(argv[1:])
    add_design(parser, required=False)
    add_technology(parser, wire_load=False)
    add_stimulus(parser)
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - for standard output alone")
    parser.set_defaults(unit="mixfp4_decode", vectors=activity.VECTORS)
    args = parser.parse_args(argv)
    if args.name in OTHERS:
        raise InputError(f"the benchmark comes first: python -m hwsim.bench {args.name} ...")
    return execute(args)


def execute(args: argparse.Namespace) -> int:
    """Run the activity benchmark as the options say and print it."""
    design, library = design_from(args), library_from(args)
    workload = Workload(args.vectors, args.seed, tensor_from(args))
    mapped = map_design(design, library, Options(clock_period_from(args, library)), build_from(args))
    figures = activity.measure(mapped, workload)
    document = json.dumps(figures, indent=2) + "\n"
    if args.json == "-":
        sys.stdout.write(document)
        return 0
    print(f"{figures['unit']} on {figures['technology']}: {figures['cells']} cells, "
          f"{figures['vectors']} vector-cycles, {figures['machine']}")  # fmt: skip
    rows = [
        ["engine", "vector-cycles/s", "ratio"],
        [
            "bit-parallel, toggles of all nets counted",
            f"{figures['engine_vector_cycles_per_s']:.3g}",
            f"{figures['ratio']:.1f}",
        ],
        [
            f"{figures['verilator']} -O3, one thread, no counting",
            f"{figures['verilator_vector_cycles_per_s']:.3g}",
            "1",
        ],
    ]
    print(table(rows, right=(1, 2)))
    if args.json:
        replace(Path(args.json), document)
    return 0


if __name__ == "__main__":
    run(main)
