"""Bulk check of units with ``valid``: mapped netlist against golden, raw bits: ``python -m hwsim.bulk --unit NAME``.

The bit-parallel engine simulates the netlist: of an MMA unit, one dot unit (a tile of 1 x 1). Operands of dot products
are edge cases mixed with random ones (:func:`hwsim.units.edge_cases.instructions`); blocks of a quantisation engine are
of every class (:meth:`hwsim.units.unit.Engine.blocks`).
"""

from __future__ import annotations

import argparse
import time

from hwsim import units
from hwsim.base.errors import InputError
from hwsim.cli.options import add_design, add_technology, clock_period_from, design_from, library_from, parse_settings
from hwsim.cli.run import build_from, make_parser, natural, run
from hwsim.units.coverage import summary
from hwsim.verification.netlist_model import NetlistModel, blocks, compare, compare_engine, every_value


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(
        "bulk",
        "Compare the mapped netlist of an MMA unit or a quantisation engine with the golden model\n"
        "on many dot products or blocks, raw bits. Exit code 1 on a mismatch.",
        [
            "python -m hwsim.bulk --unit mixfp4_mma",
            "python -m hwsim.bulk --unit mxfp8_mma --set element=e5m2 --vectors 100000",
            "python -m hwsim.bulk --unit mixfp4_quantize --vectors 100000",
            "python -m hwsim.bulk --unit mxfp4_quantize --exhaustive",
        ],
    )
    add_design(parser)
    add_technology(parser, wire_load=False)
    parser.add_argument(
        "--vectors", metavar="N", type=int, default=10**7, help="dot products or blocks (default: 10000000)"
    )
    parser.add_argument(
        "--exhaustive",
        action="store_true",
        help="engines: instead of random blocks, every BF16 value under every scale, and every largest value",
    )
    parser.add_argument("--seed", type=natural, default=1)
    args = parser.parse_args(argv)
    return execute(args)


def execute(args: argparse.Namespace) -> int:
    """Compare as the options say and print the outcome; 1 on a mismatch."""
    if args.vectors < 1:
        raise InputError(f"--vectors must be positive, got {args.vectors}")
    unit = units.find(args.unit)
    if not (unit.is_tile or unit.engine):
        known = ", ".join(name for name, unit in units.UNITS.items() if unit.is_tile or unit.engine)
        raise InputError(f"--unit must be an MMA unit or a quantisation engine ({known}), got {args.unit!r}")
    if unit.is_tile:
        if args.exhaustive:
            raise InputError("--exhaustive: operands of a dot product are too many")
        if fixed := parse_settings(args.settings).keys() & {"m", "n"}:
            raise InputError(f"--set {min(fixed)}: one dot product is checked, a tile of 1 x 1")
        args.settings = [*args.settings, "m=1", "n=1"]
    design, library = design_from(args), library_from(args)
    start = time.perf_counter()
    model = NetlistModel(design, library, build_from(args), clock_period_from(args, library))
    if unit.is_tile:
        outcome, compared = compare(model, design, args.vectors, args.seed), "dot products"
    else:
        parts = every_value(design, args.seed) if args.exhaustive else blocks(design, args.vectors, args.seed)
        outcome, compared = compare_engine(model.outputs, design, parts), "blocks"
    print(f"{design.slug}: {outcome.vectors} {compared}, seed {args.seed}, {outcome.mismatches} mismatches, "
          f"{time.perf_counter() - start:.0f} s")  # fmt: skip
    print(summary(outcome.bins))
    if outcome.mismatches:
        print(f"MISMATCH {outcome.first}")
    return 1 if outcome.mismatches else 0


if __name__ == "__main__":
    run(main)
