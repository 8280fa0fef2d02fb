"""Proofs of equivalence for all inputs.

Two proofs make a chain from the contract to the gates: the RTL equals a bit-level statement of the contract (a file in
``specs``, written from the format's definition and from nothing else here), and the mapped netlist equals the RTL. Both
are decided by the SAT solver inside Yosys.

MMA units, which are hierarchies of modules, are too large for that solver: see :func:`by_module` and
:mod:`hwsim.verification.lemmas`.

The other units are feed-forward pipelines: what they put out depends on the inputs of the last ``latency + 1`` cycles
and on nothing older. Comparing the outputs of cycle ``latency + 1`` with free inputs in every cycle (``rst`` among
them) and a free initial state therefore covers all of time.

Every proof has a *twin*, its negative control: the same claim of hardware with an injected random fault, which must be
refuted. ``inject`` is the seed of the fault.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from hwsim.base import yosys
from hwsim.synthesis.mapping import Mapped
from hwsim.technology.library import Library
from hwsim.units.unit import Design
from hwsim.verification import delivered, equivalence, lemma_proofs
from hwsim.verification.equivalence import PROVEN, REFUTED, Proof
from hwsim.verification.sources import graphs, netlist, netlist_modules, rtl, rtl_modules, specification


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
    """The counterexample: the rows of the solver's table that hold ports of the miter."""
    rows = re.findall(r"^ +(?:\d+ )?\\(?:in|gold|gate)_.*$", log[log.index("model found: FAIL!") :], re.M)
    return "\n".join(rows)


def injected(commands: list[str], seed: int) -> list[str]:
    """The commands, followed by one random fault in the design that they read: an inverted pin of a cell."""
    return [*commands, "opt -full", f"mutate -list 1 -mode inv -seed {seed} -o mutation.ys", "script mutation.ys"]


def rtl_equals_specification(design: Design, build: Path, inject: int | None = None) -> Proof:
    """Prove that the RTL equals its specification for all inputs; with ``inject``, decide the twin, of faulty RTL."""
    gate = rtl(design, build)
    return prove(
        f"RTL equals hwsim/verification/specs/{design.unit.spec}",
        design,
        specification(design),
        gate if inject is None else injected(gate, inject),
        build / "prove",
        "specification",
    )


def netlist_equals_rtl(design: Design, mapped: Path, library: Library, build: Path, inject: int | None = None) -> Proof:
    """Prove that the mapped netlist equals the RTL for all inputs; with ``inject``, decide the twin."""
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
    """Prove that every module of the mapped netlist equals the RTL module of its name; or decide the twins.

    Parameters
    ----------
    mapped : Path
        The netlist with its hierarchy.
    """
    build = build / "modules"
    gold = graphs(design, rtl_modules(design, build), build, "rtl")
    gate = graphs(design, netlist_modules(design, mapped, library), build, "netlist")
    for name in gold:
        claim = f"{name}: netlist on {library.name} equals RTL"
        yield equivalence.equal(claim, gold[name], gate[name], build, name, inject)


def all_proofs(design: Design, mapped: Mapped, build: Path, inject: int | None = None) -> Iterator[Proof]:
    """Every proof that there is of a design; with ``inject``, their twins, which must be refuted.

    A tile's netlist is compared with its RTL module by module, and the RTL of its modules is proven to satisfy
    :mod:`hwsim.verification.lemmas`; any other unit is compared whole, RTL with specification and netlist with RTL.
    The Verilog for other tools follows: see :mod:`hwsim.verification.delivered`.

    Parameters
    ----------
    design : Design
    mapped : Mapped
        The design's netlist.
    build : Path
        Folder for scripts, graphs and logs.
    inject : int, optional
        Seed of the faults.
    """
    library = mapped.library
    if design.unit.hierarchical:
        yield from by_module(design, mapped.netlist, library, build, inject)
        yield from lemma_proofs.proofs(design, build, inject)
        yield from delivered.proofs(design, build, inject)
    else:
        yield rtl_equals_specification(design, build, inject)
        yield netlist_equals_rtl(design, mapped.netlist, library, build, inject)
        yield from delivered.proofs(design, build, inject)
