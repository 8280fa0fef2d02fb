"""The checks that a unit must pass, and a cache of their verdicts.

A cached verdict is used only as long as nothing that decides it has changed; :func:`key` says what decides it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwsim.base import imports, simulators
from hwsim.base.files import replace
from hwsim.synthesis import emit
from hwsim.synthesis.mapping import Options, map_design
from hwsim.technology import catalogue
from hwsim.units.unit import Design
from hwsim.verification import cosimulation, mutation, netlist_model, proofs
from hwsim.verification.equivalence import SPECS

#: Technology of the netlists that are proven and compared.
TECHNOLOGY = "asap7"
MUTANTS, SEED = 200, 1
#: Folder for Verilator's compiled runtime, below the build folder.
RUNTIME = "verilated"
#: Dot products compared in bulk per MMA unit, and blocks per engine; and per variant, a unit with other parameters.
BULK, BULK_OF_VARIANTS = 10**7, 10**6
#: The module that implements each check: its verdicts depend on all that this module imports. Every check also depends
#: on the table of units, which imports golden models and RTL, and on this file, which calls it.
ENTRIES = {
    "cosim": cosimulation.__name__,
    "mutants": mutation.__name__,
    "bulk": netlist_model.__name__,
    "exhaustive": netlist_model.__name__,
    "proofs": proofs.__name__,
}
#: The folder that holds the package.
ROOT = Path(__file__).parents[2]


def cosim(design: Design, build: Path) -> dict[str, Any]:
    """Verdict of co-simulation: the cocotb testbench on the Verilog that other tools get."""
    design = design.in_arithmetic("operators")
    folder = build / design.slug
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{design.name}.v"
    replace(source, emit.to_verilog(design))
    # Mutants run on the first simulator of the list, this check on the last: where both are installed, both are used.
    simulator = _simulator(simulators.SIMULATORS[::-1])
    outcome = cosimulation.simulate(design, source, folder / f"cosim-{simulator}", simulator, SEED, 0, build / RUNTIME)
    return {
        "design": design.slug,
        "vectors": outcome.vectors,
        "mismatch": outcome.wrong,
        "simulator": simulators.version(simulator),
    }


def mutants(design: Design, build: Path) -> dict[str, Any]:
    """Verdict of mutation testing: how many faults in the RTL the testbench kills."""
    score = mutation.score(design, MUTANTS, build / design.slug, _simulator(), SEED, build / RUNTIME)
    return asdict(score) | {"percent": score.percent}


def bulk(design: Design, build: Path, vectors: int = BULK) -> dict[str, Any]:
    """Verdict of the bulk comparison: the mapped netlist against golden on ``vectors`` dot products or blocks."""
    library = catalogue.load(TECHNOLOGY, build_dir=build)
    model = netlist_model.NetlistModel(design, library, build)
    if design.unit.engine:
        outcome = netlist_model.compare_engine(model.outputs, design, netlist_model.blocks(design, vectors, SEED))
    else:
        outcome = netlist_model.compare(model, design, vectors, SEED)
    return asdict(outcome) | {"bins": dict(outcome.bins)}


def exhaustive(design: Design, build: Path) -> dict[str, Any]:
    """Verdict of the comparison of an engine's mapped netlist with golden on every BF16 value under every scale."""
    model = netlist_model.NetlistModel(design, catalogue.load(TECHNOLOGY, build_dir=build), build)
    outcome = netlist_model.compare_engine(model.outputs, design, netlist_model.every_value(design, SEED))
    return asdict(outcome) | {"bins": dict(outcome.bins)}


def proven(design: Design, build: Path) -> list[dict[str, Any]]:
    """Verdicts of all proofs of the design, and whether the twin of each is refuted, as it must be."""
    library = catalogue.load(TECHNOLOGY, build_dir=build)
    options = Options(library.clock_period_ns, hierarchical=design.unit.hierarchical)
    mapped = map_design(design, library, options, build)
    folder = build / design.slug
    # Not interleaved: proofs and twins write files of the same names.
    originals = list(proofs.all_proofs(design, mapped, folder))
    twins = list(proofs.all_proofs(design, mapped, folder, SEED))
    return [
        {"claim": p.claim, "holds": p.holds, "outcome": p.outcome, "seconds": p.seconds, "method": p.method,
         "twin_refuted": twin.refuted}
        for p, twin in zip(originals, twins, strict=True)
    ]  # fmt: skip


def kept(what: str, design: Design, build: Path, check: Callable[[], Any]) -> Any:
    """The verdict of a check, from the cache if nothing that decides it has changed.

    Parameters
    ----------
    what : str
        One of :data:`ENTRIES`.
    design : Design
    build : Path
        Verdicts are cached in ``build / "verification"``.
    check : callable () -> verdict for JSON
    """
    texts = emit.to_rtlil(design) + emit.to_verilog(design.in_arithmetic("operators"))
    path = build / "verification" / f"{design.slug}-{what}-{key(what, texts)}.json"
    if not path.exists():
        start = time.perf_counter()
        verdict = check()
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, json.dumps({"verdict": verdict, "seconds": time.perf_counter() - start}))
    return json.loads(path.read_text())["verdict"]


def key(what: str, rtl: str = "", root: Path = ROOT) -> str:
    """Hash, 16 hexadecimal digits, of all files, tools and settings that decide a verdict.

    Parameters
    ----------
    what : str
        One of :data:`ENTRIES`.
    rtl : str
        RTL of the design.
    root : Path
        The folder that holds the package.
    """
    package = root / "hwsim"
    data = [package / path.relative_to(ROOT / "hwsim") for path in (SPECS, catalogue.pack_path(TECHNOLOGY))]
    programs = [simulators.version(s) for s in simulators.SIMULATORS if simulators.available(s)]
    settings = map(str, (MUTANTS, SEED, BULK, BULK_OF_VARIANTS))
    this_file = (package / Path(__file__).relative_to(ROOT / "hwsim")).read_text()
    return imports.key(
        [ENTRIES[what], "hwsim.units.table"], root, data, [what, emit.generator(), *programs, *settings, rtl, this_file]
    )


def _simulator(order: Sequence[str] = simulators.SIMULATORS) -> str:
    """The first simulator in this order that is installed."""
    return next(s for s in order if simulators.available(s))
