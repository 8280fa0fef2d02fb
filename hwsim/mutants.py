"""Mutation score of a testbench: ``python -m hwsim.mutants --unit NAME``.

Yosys puts one small fault after another into the RTL, all of them into one netlist with a port ``mutsel`` that selects
which is active, so that one simulation tries them all. Those that the testbench does not notice are compared with the
unmutated netlist by :mod:`hwsim.equivalence`: a mutant that equals it is no fault and does not count.
"""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import dataclass
from pathlib import Path

from hwsim import cli, cosim, equivalence, prove, simulators, yosys
from hwsim.aig import Aig
from hwsim.errors import InputError, ToolError
from hwsim.units import Design


@dataclass(frozen=True)
class Score:
    """Outcome: mutants made, killed by the testbench, proven equivalent, and the commands of the survivors."""

    mutants: int
    killed: int
    equivalent: int
    survivors: list[str]
    vectors: int

    @property
    def percent(self) -> float:
        """Killed, in percent of the mutants that are faults."""
        faults = self.mutants - self.equivalent
        return 100.0 * self.killed / faults if faults else 100.0


def score(design: Design, count: int, build: Path, simulator: str = "verilator", seed: int = 1) -> Score:
    """Make ``count`` mutants of a design and see how many its testbench kills.

    Raises
    ------
    ToolError
        If the unmutated design fails its testbench.
    """
    build = build / "mutants"
    width = max(count.bit_length(), 1)
    yosys.run(
        [
            *prove.rtl(design, build),
            "opt -full",
            "write_rtlil original.il",
            f"mutate -list {count} -seed {seed} -none -ctrl mutsel {width} 0 -o mutations.ys",
        ],
        build,
        "list",
    )
    # A register with a clock of its own is a gross fault that no solver here follows.
    commands = {
        int(match[1]): line for line in (build / "mutations.ys").read_text().splitlines()
        if (match := re.search(r"-ctrl \S+ \d+ (\d+)", line)) and "-mode none" not in line and "-port CLK " not in line
    }  # fmt: skip
    (build / "mutations.ys").write_text("\n".join(commands.values()) + "\n")
    yosys.run(
        [
            "read_rtlil original.il",
            "script mutations.ys",
            "opt_clean",
            "write_rtlil mutated.il",
            "write_verilog -noattr mutated.v",
        ],
        build,
        "mutate",
    )
    outcome = cosim.simulate(design, build / "mutated.v", build / "cosim", simulator, seed, max(commands))
    if outcome.wrong:
        raise ToolError(f"{design.slug} fails its testbench without any mutant: {outcome.wrong}")
    killed = commands.keys() & set(outcome.killed)
    equivalent, survivors = 0, []
    [mutated] = equivalence.modules(["read_rtlil mutated.il"], [design.name], build, "mutated").values()

    def chosen(number: int) -> Aig:
        return mutated.with_inputs({f"mutsel[{i}]": number >> i & 1 for i in range(width)})

    for number, command in commands.items():
        if number in killed:
            continue
        claim = f"mutant {number} equals RTL"
        if equivalence.equal(claim, chosen(0), chosen(number), build, f"mutant_{number}").holds:
            equivalent += 1
        else:
            survivors.append(re.sub(r" -ctrl \S+ \S+ \S+", "", command))
    return Score(len(commands), len(killed), equivalent, survivors, outcome.vectors)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = cli.parser(
        "mutants",
        "Mutation score of a unit's testbench: the share of injected faults that it notices.\n"
        "Exit code 1 if a mutant survives that is not proven equivalent.",
        ["python -m hwsim.mutants --unit mixfp4_decode", "python -m hwsim.mutants --unit nvfp4_decode --mutants 500"],
    )
    cli.add_design(parser)
    parser.add_argument(
        "--mutants", metavar="N", type=int, default=200,
        help="faults to draw (default: 200); those of clock pins are left out",
    )  # fmt: skip
    parser.add_argument("--simulator", choices=simulators.SIMULATORS, default="verilator")
    parser.add_argument("--seed", type=cli.natural, default=1, help="of the choice of faults (default: 1)")
    args = parser.parse_args(argv)
    return report(args)


def report(args: argparse.Namespace) -> int:
    """Run as the options say and print the score; 1 if a fault survives."""
    if not 10 <= args.mutants <= 100_000:
        raise InputError(f"--mutants must be 10 to 100000, got {args.mutants}")
    design = cli.design(args)
    start = time.perf_counter()
    found = score(design, args.mutants, cli.build_directory(args) / design.slug, args.simulator, args.seed)
    print(f"{design.slug}: {found.percent:.1f} % of the faults killed: {found.mutants} mutants, {found.killed} killed, "
          f"{found.equivalent} proven equivalent, {len(found.survivors)} survive "
          f"({found.vectors} vectors, seed {args.seed}, Yosys {yosys.version()} mutate, "
          f"{simulators.version(args.simulator)}, {time.perf_counter() - start:.1f} s)")  # fmt: skip
    for command in found.survivors:
        print(f"  survives: {command}")
    return 1 if found.survivors else 0


if __name__ == "__main__":
    cli.run(main)
