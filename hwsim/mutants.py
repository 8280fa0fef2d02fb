"""Mutation score of a testbench: ``python -m hwsim.mutants --unit NAME``."""

from __future__ import annotations

import argparse
import time

from hwsim.base import simulators, yosys
from hwsim.base.errors import InputError
from hwsim.base.files import locked
from hwsim.cli.options import add_design, design_from
from hwsim.cli.run import build_from, make_parser, natural, run
from hwsim.verification.mutation import score
from hwsim.verification.sources import refuse_buffers


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(
        "mutants",
        "Mutation score of a unit's testbench: the share of injected faults that it notices.\n"
        "Exit code 1 if a mutant survives that is not proven equivalent.",
        ["python -m hwsim.mutants --unit mixfp4_decode", "python -m hwsim.mutants --unit nvfp4_decode --mutants 500"],
    )
    add_design(parser)
    parser.add_argument(
        "--mutants", metavar="N", type=int, default=200,
        help="faults to draw (default: 200); those of clock pins are left out",
    )  # fmt: skip
    parser.add_argument("--simulator", choices=simulators.SIMULATORS, default="verilator")
    parser.add_argument("--seed", type=natural, default=1, help="of the choice of faults (default: 1)")
    args = parser.parse_args(argv)
    return execute(args)


def execute(args: argparse.Namespace) -> int:
    """Run as the options say and print the score; 1 if a fault survives."""
    if not 10 <= args.mutants <= 100_000:
        raise InputError(f"--mutants must be 10 to 100000, got {args.mutants}")
    design = design_from(args)
    refuse_buffers(design)
    simulators.require(args.simulator)
    start = time.perf_counter()
    root = build_from(args)
    with locked(root / design.slug / "mutants"):
        outcome = score(design, args.mutants, root / design.slug, args.simulator, args.seed, root / "verilated")
    print(f"{design.slug}: {outcome.percent:.1f} % of the faults killed: {outcome.mutants} mutants, "
          f"{outcome.killed} killed, {outcome.equivalent} proven equivalent, {len(outcome.survivors)} survive "
          f"({outcome.vectors} vectors, seed {args.seed}, Yosys {yosys.version()} mutate, "
          f"{simulators.version(args.simulator)}, {time.perf_counter() - start:.1f} s)")  # fmt: skip
    for command in outcome.survivors:
        print(f"  survives: {command}")
    return 1 if outcome.survivors else 0


if __name__ == "__main__":
    run(main)
