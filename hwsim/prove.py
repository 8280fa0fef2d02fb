"""Proofs of equivalence for all inputs: ``python -m hwsim.prove --unit NAME``.

Two proofs make a chain from the contract to the gates: the RTL equals a bit-level statement of the contract
(``hwsim/specs``, written from the format's definition and from nothing else here), and the mapped netlist equals the
RTL. Both are decided by the SAT solver inside Yosys.

MMA units, which are hierarchies of modules, are too large for that solver: see :func:`by_module` and
:mod:`hwsim.lemmas`.

The other units are feed-forward pipelines: what they put out depends on the inputs of the last ``latency + 1`` cycles
and on nothing older. Comparing the outputs of cycle ``latency + 1`` with free inputs in every cycle (``rst`` among
them) and a free initial state therefore covers all of time.
"""

from __future__ import annotations

import argparse
import itertools
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from hwsim import cli, equivalence, flow, lemma_proofs, yosys
from hwsim.equivalence import PROVEN, REFUTED, SPECS, Proof
from hwsim.errors import InputError
from hwsim.library import Library
from hwsim.units import Design
from hwsim.verilog import ports, to_rtlil
from rtl.hierarchy import all_parts


def rtl(design: Design, build: Path) -> list[str]:
    """Yosys commands that read the RTL of a design as module ``design.name``."""
    return [*rtl_modules(design, build), "flatten", "opt_clean", "memory_map"]


def rtl_modules(design: Design, build: Path) -> list[str]:
    """Yosys commands that read the RTL of a design with its hierarchy."""
    build.mkdir(parents=True, exist_ok=True)
    (build / "rtl.il").write_text(to_rtlil(design))
    return [f"read_rtlil {build / 'rtl.il'}", f"hierarchy -top {design.name}", "proc"]


def specification(design: Design) -> list[str]:
    """Yosys commands that read a unit's specification as module ``design.name``, its parameters set.

    Raises
    ------
    InputError
        If the unit has none.
    """
    if not design.unit.spec:
        raise InputError(f"{design.name} has no specification in hwsim/specs to prove it against")
    top = f"{Path(design.unit.spec).stem}_spec"
    settings = " ".join(f"-set {k.upper()} {int(v)}" for k, v in design.parameters.items())
    commands = [
        f'read_verilog -sv "{SPECS / "spec_registers.v"}" "{SPECS / design.unit.spec}"',
        f"chparam {settings} {top}",
        f"hierarchy -top {top}",
        "proc -norom",
        "flatten",
        "opt_clean",
        f"rename -top {design.name}",
    ]
    if "clk" not in ports(design.component()):
        commands += [f"delete -port {design.name}/clk {design.name}/rst", "opt_clean -purge"]
    return commands


def netlist(design: Design, mapped: Path, library: Library) -> list[str]:
    """Yosys commands that read a mapped netlist, cells replaced by their functions in the library."""
    return [*netlist_modules(design, mapped, library), "flatten", "opt_clean"]


def netlist_modules(design: Design, mapped: Path, library: Library) -> list[str]:
    """Yosys commands that read a mapped netlist with its hierarchy; the modules of cells are their functions."""
    return [
        f"read_liberty -ignore_miss_func {library.liberty_path}",
        f"read_verilog {mapped}",
        f"hierarchy -check -top {design.name}",
        "proc",
    ]


def prove(claim: str, design: Design, gold: list[str], gate: list[str], build: Path, name: str) -> Proof:
    """Decide whether two descriptions of a design have the same outputs for all inputs.

    Parameters
    ----------
    claim : str
        What is being claimed, in words.
    design : Design
        Gives the name of the top module and the latency.
    gold, gate : list of str
        Yosys commands that read either side, each as module ``design.name``.
    build : Path
        Folder for script and log, ``name.ys`` and ``name.log``.
    """
    steps = design.component().latency + 1
    unrolled = f"-seq {steps} -prove-skip {steps - 1}" if steps > 1 else ""
    script = []
    for side, commands in (("gold", gold), ("gate", gate)):
        script += ["design -reset", *commands, f"rename {design.name} {side}", f"design -stash {side}"]
    script += [
        "design -copy-from gold -as gold gold",
        "design -copy-from gate -as gate gate",
        "miter -equiv -flatten -make_outputs gold gate miter",
        "hierarchy -top miter",
        "opt -full",
        # Not -verify: a refutation is an answer, not a failure of Yosys.
        f"sat {unrolled} -show-ports -prove trigger 0 miter",
    ]
    start = time.perf_counter()
    log = yosys.run(script, build, name)
    seconds = time.perf_counter() - start
    holds = "SAT proof finished - no model found: SUCCESS!" in log
    if not holds and "SAT proof finished - model found: FAIL!" not in log:
        raise yosys.YosysError(f"the solver came to no answer; see {build / name}.log")
    return Proof(claim, PROVEN if holds else REFUTED, "" if holds else _model(log), seconds, "Yosys sat")


def _model(log: str) -> str:
    """The ports' rows of the table that the solver prints."""
    rows = re.findall(r"^ +(?:\d+ )?\\(?:in|gold|gate)_.*$", log[log.index("model found: FAIL!") :], re.M)
    return "\n".join(rows)


def injected(commands: list[str], seed: int) -> list[str]:
    """The commands with one random fault put into what they read: an inverted pin of a cell that matters."""
    return [*commands, "opt -full", f"mutate -list 1 -mode inv -seed {seed} -o mutation.ys", "script mutation.ys"]


def rtl_equals_specification(design: Design, build: Path, inject: int | None = None) -> Proof:
    """The RTL equals the specification in ``hwsim/specs``, for all inputs; with ``inject``, a faulty RTL does."""
    gate = rtl(design, build)
    return prove(
        f"RTL equals hwsim/specs/{design.unit.spec}",
        design,
        specification(design),
        gate if inject is None else injected(gate, inject),
        build / "prove",
        "specification",
    )


def netlist_equals_rtl(design: Design, mapped: Path, library: Library, build: Path, inject: int | None = None) -> Proof:
    """The mapped netlist equals the RTL, for all inputs; with ``inject``, a faulty netlist does."""
    gate = netlist(design, mapped, library)
    return prove(
        f"netlist on {library.name} equals RTL",
        design,
        rtl(design, build),
        gate if inject is None else injected(gate, inject),
        build / "prove",
        "netlist",
    )


def by_module(
    design: Design, mapped: Path, library: Library, build: Path, inject: int | None = None
) -> Iterator[Proof]:
    """Every module of the mapped netlist equals the RTL module of its name; with ``inject``, a faulty one does.

    Parameters
    ----------
    mapped : Path
        The netlist with its hierarchy.
    """
    names = [*all_parts(design.component()), design.name]
    build = build / "modules"
    gold = equivalence.modules(rtl_modules(design, build), names, build, "rtl")
    gate = equivalence.modules(netlist_modules(design, mapped, library), names, build, "netlist")
    for name in names:
        claim = f"{name}: netlist on {library.name} equals RTL"
        yield equivalence.equal(claim, gold[name], gate[name], build, name, inject)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = cli.parser(
        "prove",
        "Prove that a unit's RTL equals its specification and that its mapped netlist equals the RTL.\n"
        "Exit code 1 if anything is refuted or undecided.",
        ["python -m hwsim.prove --unit mixfp4_decode", "python -m hwsim.prove --unit mixfp4_decode --inject 1"],
    )
    cli.add_design(parser)
    cli.add_technology(parser, wire_load=False)
    parser.add_argument("--inject", metavar="SEED", type=cli.natural, help="put random faults in: proofs should fail")
    args = parser.parse_args(argv)
    return report(args)


def report(args: argparse.Namespace) -> int:
    """Run the proofs as the options say and print them; 1 if one is refuted or undecided."""
    design, library = cli.design(args), cli.library(args)
    parts = bool(all_parts(design.component()))
    if not parts:
        specification(design)  # a unit without one is refused before the work
    build = cli.build_directory(args) / design.slug
    options = flow.Options(cli.clock_period(args, library), hierarchical=parts)
    mapped = flow.map_design(design, library, options, cli.build_directory(args))
    proofs: Iterable[Proof]
    if parts:
        proofs = itertools.chain(
            by_module(design, mapped.netlist, library, build, args.inject),
            lemma_proofs.proofs(design, build, args.inject),
        )
    else:
        proofs = (
            rtl_equals_specification(design, build, args.inject),
            netlist_equals_rtl(design, mapped.netlist, library, build, args.inject),
        )
    failed = False
    for proof in proofs:
        failed |= not proof.holds
        outcome = proof.outcome.upper() if proof.refuted else proof.outcome
        print(f"{design.slug}: {outcome:9}  {proof.claim}  "
              f"({proof.seconds:.1f} s, {proof.method}, Yosys {yosys.version()})", flush=True)  # fmt: skip
        if not proof.holds:
            print(proof.counterexample)
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main)
