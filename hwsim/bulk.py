"""Bulk check of MMA units: mapped netlist against golden, raw bits: ``python -m hwsim.bulk --unit NAME``.

The netlist is one dot unit (a tile of 1 x 1), which the bit-parallel engine simulates. Operands are edge cases mixed
with random ones: :func:`hwsim.units.edge_cases.instructions`.
"""

from __future__ import annotations

import argparse
import time

from hwsim import units
from hwsim.base.errors import InputError
from hwsim.cli.options import add_design, add_technology, clock_period_from, design_from, library_from, parse_settings
from hwsim.cli.run import build_from, make_parser, natural, run
from hwsim.units.coverage import summary
from hwsim.verification.netlist_model import NetlistModel, compare


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(
        "bulk",
        "Compare an MMA unit's mapped netlist with the golden model on many dot products, raw bits.\n"
        "Exit code 1 on a mismatch.",
        [
            "python -m hwsim.bulk --unit mixfp4_mma",
            "python -m hwsim.bulk --unit mxfp8_mma --set element=e5m2 --vectors 100000",
        ],
    )
    add_design(parser)
    add_technology(parser, wire_load=False)
    parser.add_argument("--vectors", metavar="N", type=int, default=10**7, help="dot products (default: 10000000)")
    parser.add_argument("--seed", type=natural, default=1)
    args = parser.parse_args(argv)
    return execute(args)


def execute(args: argparse.Namespace) -> int:
    """Compare as the options say and print the outcome; 1 on a mismatch."""
    if args.vectors < 1:
        raise InputError(f"--vectors must be positive, got {args.vectors}")
    if units.find(args.unit).mma is None:
        known = ", ".join(name for name, unit in units.UNITS.items() if unit.mma)
        raise InputError(f"--unit must be an MMA unit ({known}), got {args.unit!r}")
    if fixed := parse_settings(args.settings).keys() & {"m", "n"}:
        raise InputError(f"--set {min(fixed)}: one dot product is checked, a tile of 1 x 1")
    args.settings = [*args.settings, "m=1", "n=1"]
    design, library = design_from(args), library_from(args)
    start = time.perf_counter()
    model = NetlistModel(design, library, build_from(args), clock_period_from(args, library))
    outcome = compare(model, design, args.vectors, args.seed)
    print(f"{design.slug}: {outcome.vectors} dot products, seed {args.seed}, {outcome.mismatches} mismatches, "
          f"{time.perf_counter() - start:.0f} s")  # fmt: skip
    print(summary(outcome.bins))
    if outcome.mismatches:
        print(f"MISMATCH {outcome.first}")
    return 1 if outcome.mismatches else 0


if __name__ == "__main__":
    run(main)
