"""Proofs of equivalence for all inputs: ``python -m hwsim.prove --unit NAME``."""

from __future__ import annotations

import argparse

from hwsim.base import yosys
from hwsim.base.files import locked
from hwsim.cli.options import add_design, add_technology, clock_period_from, design_from, library_from
from hwsim.cli.run import build_from, make_parser, natural, run
from hwsim.synthesis.mapping import Options, map_design
from hwsim.verification.proofs import all_proofs
from hwsim.verification.sources import refuse_buffers, specification


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(
        "prove",
        "Prove that a unit's RTL equals its specification and that its mapped netlist equals the RTL.\n"
        "Exit code 1 if anything is refuted or undecided.",
        ["python -m hwsim.prove --unit mixfp4_decode", "python -m hwsim.prove --unit mixfp4_decode --inject 1"],
    )
    add_design(parser)
    add_technology(parser, wire_load=False)
    parser.add_argument("--inject", metavar="SEED", type=natural, help="put random faults in: proofs should fail")
    args = parser.parse_args(argv)
    return execute(args)


def execute(args: argparse.Namespace) -> int:
    """Run the proofs as the options say and print them; 1 if one is refuted or undecided."""
    design, library = design_from(args), library_from(args)
    refuse_buffers(design)
    if not design.unit.hierarchical:
        specification(design)  # raises for a unit that has none, before the slow mapping
    build = build_from(args)
    options = Options(clock_period_from(args, library), hierarchical=design.unit.hierarchical)
    mapped = map_design(design, library, options, build)
    failed = False
    with locked(build / design.slug / "prove"):
        for proof in all_proofs(design, mapped, build / design.slug, args.inject):
            failed |= not proof.holds
            outcome = proof.outcome.upper() if proof.refuted else proof.outcome
            print(f"{design.slug}: {outcome:9}  {proof.claim}  "
                  f"({proof.seconds:.1f} s, {proof.method}, Yosys {yosys.version()})", flush=True)  # fmt: skip
            if not proof.holds:
                print(proof.counterexample)
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
