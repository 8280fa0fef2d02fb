"""Co-simulation of RTL and golden model: ``python -m hwsim.cosim --unit NAME``."""

from __future__ import annotations

import argparse
import time

from hwsim.base import simulators
from hwsim.base.files import locked, replace
from hwsim.cli.options import add_design, design_from
from hwsim.cli.run import build_from, make_parser, natural, run
from hwsim.synthesis.emit import to_verilog
from hwsim.units.coverage import coverage, summary
from hwsim.verification import cosimulation


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(
        "cosim",
        "Simulate a unit's Verilog with cocotb against its golden model, raw bits. Exit code 1 on a mismatch.",
        ["python -m hwsim.cosim --unit mixfp4_decode", "python -m hwsim.cosim --unit nvfp4_decode --simulator icarus"],
    )
    add_design(parser, arithmetic="operators")
    parser.add_argument("--simulator", choices=simulators.SIMULATORS, default="verilator")
    parser.add_argument("--seed", type=natural, default=1, help="of the random part of the testbench (default: 1)")
    args = parser.parse_args(argv)
    return execute(args)


def execute(args: argparse.Namespace) -> int:
    """Run as the options say and print the outcome; 1 on a mismatch."""
    design = design_from(args)
    simulators.require(args.simulator)
    root = build_from(args)
    build = root / design.slug
    source = build / f"{design.name}.v"
    start = time.perf_counter()
    folder = build / f"cosim-{args.simulator}"
    with locked(folder):
        replace(source, to_verilog(design))
        outcome = cosimulation.simulate(
            design, source, folder, args.simulator, args.seed, runtime=root / "verilated"
        )  # fmt: skip
    seconds = time.perf_counter() - start
    print(f"{design.slug}: {outcome.vectors} vectors, seed {args.seed}, {simulators.version(args.simulator)}, "
          f"{seconds:.1f} s")  # fmt: skip
    if mma := design.unit.mma:
        stream = design.unit.testbench(design.parameters, args.seed)
        print(summary(coverage(mma, design.parameters, stream)))
    print(f"MISMATCH at {outcome.wrong}" if outcome.wrong else "RTL equals golden in every bit of every vector")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    run(main)
