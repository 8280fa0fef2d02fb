"""The checks that a unit passes before it is believed, and their verdicts, which are kept.

A verdict is taken from the last time only while nothing that decides it has changed: :func:`key`.
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
#: Dot products compared in bulk: of every MMA unit, and of every variant.
BULK, BULK_OF_VARIANTS = 10**7, 10**6
#: The module that each check enters by. Every check also depends on the table of units, which leads to golden models
#: and RTL, and on this file, which calls it.
ENTRIES = {
    "cosim": cosimulation.__name__,
    "mutants": mutation.__name__,
    "bulk": netlist_model.__name__,
    "proofs": proofs.__name__,
}
#: The folder that holds the package.
ROOT = Path(__file__).parents[2]


def cosim(design: Design, build: Path) -> dict[str, Any]:
    """The testbench on the generated Verilog, in a simulator."""
    folder = build / design.slug
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{design.name}.v"
    replace(source, emit.to_verilog(design, folder))
    # Mutants run on the other one: where both are installed, both have seen the stream.
    simulator = _simulator(simulators.SIMULATORS[::-1])
    outcome = cosimulation.simulate(design, source, folder / f"cosim-{simulator}", simulator, SEED, 0, build / RUNTIME)
    return {
        "design": design.slug,
        "vectors": outcome.vectors,
        "mismatch": outcome.wrong,
        "simulator": simulators.version(simulator),
    }


def mutants(design: Design, build: Path) -> dict[str, Any]:
    """The faults in the RTL that the testbench notices."""
    score = mutation.score(design, MUTANTS, build / design.slug, _simulator(), SEED, build / RUNTIME)
    return asdict(score) | {"percent": score.percent}


def bulk(design: Design, build: Path, vectors: int = BULK) -> dict[str, Any]:
    """The mapped netlist against golden on many dot products."""
    library = catalogue.load(TECHNOLOGY, build_dir=build)
    model = netlist_model.NetlistModel(design, library, build)
    outcome = netlist_model.compare(model, design, vectors, SEED)
    return asdict(outcome) | {"bins": dict(outcome.bins)}


def proven(design: Design, build: Path) -> list[dict[str, Any]]:
    """Every proof that there is of the design, and whether it fails on injected faults as it must."""
    library = catalogue.load(TECHNOLOGY, build_dir=build)
    options = Options(library.clock_period_ns, hierarchical=design.unit.is_tile)
    mapped = map_design(design, library, options, build)
    folder = build / design.slug
    # One after the other: both leave their files in one folder.
    whole = list(proofs.all_proofs(design, mapped, folder))
    faulty = list(proofs.all_proofs(design, mapped, folder, SEED))
    return [
        {"claim": p.claim, "holds": p.holds, "outcome": p.outcome, "seconds": p.seconds, "method": p.method,
         "twin_refuted": f.refuted}
        for p, f in zip(whole, faulty, strict=True)
    ]  # fmt: skip


def kept(what: str, design: Design, build: Path, check: Callable[[], Any]) -> Any:
    """The verdict of a check, from the last time if nothing that decides it has changed.

    Parameters
    ----------
    what : str
        One of :data:`ENTRIES`.
    design : Design
    build : Path
        Verdicts are kept in ``build / "verification"``.
    check : callable () -> verdict for JSON
    """
    path = build / "verification" / f"{design.slug}-{what}-{key(what, emit.to_rtlil(design))}.json"
    if not path.exists():
        start = time.perf_counter()
        verdict = check()
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, json.dumps({"verdict": verdict, "seconds": time.perf_counter() - start}))
    return json.loads(path.read_text())["verdict"]


def key(what: str, rtlil: str = "", root: Path = ROOT) -> str:
    """Name of a verdict: of all files, tools and settings that decide it.

    Parameters
    ----------
    what : str
        One of :data:`ENTRIES`.
    rtlil : str
        Text of the RTL.
    root : Path
        The folder that holds the package.
    """
    package = root / "hwsim"
    data = [package / path.relative_to(ROOT / "hwsim") for path in (SPECS, catalogue.pack_path(TECHNOLOGY))]
    programs = [simulators.version(s) for s in simulators.SIMULATORS if simulators.available(s)]
    settings = map(str, (MUTANTS, SEED, BULK, BULK_OF_VARIANTS))
    here = (package / Path(__file__).relative_to(ROOT / "hwsim")).read_text()
    return imports.key(
        [ENTRIES[what], "hwsim.units.table"], root, data, [emit.generator(), *programs, *settings, rtlil, here]
    )


def _simulator(order: Sequence[str] = simulators.SIMULATORS) -> str:
    return next(s for s in order if simulators.available(s))
