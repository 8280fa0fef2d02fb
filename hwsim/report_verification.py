"""``reports/verification``: for every unit what was compared, proven, and would have been noticed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwsim import bulk, cosim, flow, imports, lemma_proofs, mutants, prove, simulators, tech, verilog
from hwsim.bench import processor
from hwsim.equivalence import Proof
from hwsim.files import replace, replace_all
from hwsim.mma_units import MMAUnit
from hwsim.report import in_parallel, markdown
from hwsim.units import UNITS, Design
from rtl.hierarchy import all_parts

TECHNOLOGY = "asap7"
MUTANTS, SEED = 200, 1
#: Dot products compared in bulk: of every MMA unit, and of every variant.
BULK, BULK_OF_VARIANTS = 10**7, 10**6
#: Other elements, blocks and roundings than the defaults.
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("nvfp4_mma", {"rounding": "rne"}),
    ("mixfp4_mma", {"polarity": 1}),
    ("mxfp4_mma", {"block_size": 16}),
    ("mxfp6_mma", {"element": "e3m2"}),
    ("mxfp8_mma", {"element": "e5m2"}),
    ("fp16_mma", {"element": "bf16"}),
    ("fp16_mma", {"element": "e4m3", "k": 32, "fraction_bits": 13, "result_bits": 13}),
)
ONE = {"m": 1, "n": 1}
#: The module that decides each check, beside the table of units, which leads to golden models and RTL.
ENTRIES = {
    "cosim": "hwsim.cosim",
    "mutants": "hwsim.mutants",
    "bulk": "hwsim.bulk",
    "proofs": "hwsim.lemma_proofs",
}
#: Folder of the packages whose text decides.
ROOT = Path(__file__).parents[1]


def write_verification(folder: Path, build: Path) -> list[Path]:
    """Verify every unit and write ``verification.md`` and ``verification.json``.

    Takes more than an hour on two cores. What was found of a unit is kept in ``build`` and taken from there as long as
    the text of every file that decides, the specifications and the tools stay as they are.
    """
    jobs: list[tuple[Any, tuple]] = [(_verify, (name, {}, build)) for name in UNITS]
    jobs += [(_variant, (name, settings, build)) for name, settings in VARIANTS]
    found = []
    for unit in in_parallel(jobs):
        found.append(unit)
        print(f"{unit['unit']}: verified", flush=True)
    document = {
        "made_by": verilog.generator(),
        "machine": processor(),
        "technology": TECHNOLOGY,
        "seed": SEED,
        "units": found[: len(UNITS)],
        "variants": found[len(UNITS) :],
    }
    paths = {name: folder / f"verification.{name}" for name in ("md", "json")}
    replace_all({paths["md"]: to_text(document), paths["json"]: json.dumps(document, indent=1) + "\n"})
    return list(paths.values())


def _kept(design: Design, build: Path, what: str, make) -> Any:
    """What ``make`` gives, from the last time if nothing that decides it has changed: see :func:`key`."""
    path = build / "verification" / f"{design.slug}-{what}-{key(what, verilog.to_rtlil(design))}.json"
    if not path.exists():
        start = time.perf_counter()
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, json.dumps({"found": made, "seconds": time.perf_counter() - start}))
    return json.loads(path.read_text())["found"]


def key(what: str, rtlil: str = "", root: Path = ROOT) -> str:
    """Name of the verdict of a check of RTL: of all files, tools and settings that decide it.

    Parameters
    ----------
    what : str
        One of :data:`ENTRIES`.
    rtlil : str
        Text of the RTL.
    root : Path
        Folder of the packages.
    """
    specifications, pack = root / "hwsim/specs", root / f"hwsim/technologies/{TECHNOLOGY}.toml"
    tools = [simulators.version(s) for s in simulators.SIMULATORS if simulators.available(s)]
    settings = map(str, (MUTANTS, SEED, BULK, BULK_OF_VARIANTS))
    # The functions that call the checks stand in this file.
    here = (root / "hwsim/report_verification.py").read_text()
    facts = [verilog.generator(), *tools, *settings, rtlil, here]
    return imports.key([ENTRIES[what], "hwsim.units"], root, [specifications, pack], facts)


def _verify(name: str, settings: dict[str, Any], build: Path) -> dict[str, Any]:
    parts = bool(all_parts(Design.of(name).component()))
    design = Design.of(name, settings | (ONE if parts else {}))
    found: dict[str, Any] = {"unit": name, "design": design.slug}
    found["cosim"] = _kept(design, build, "cosim", lambda: _simulated(design, build))
    found["mutants"] = _kept(design, build, "mutants", lambda: _scored(design, build))
    if parts:
        found["bulk"] = _kept(design, build, "bulk", lambda: _bulk(design, build, BULK))
    found["proofs"] = _kept(design, build, "proofs", lambda: _proven(design, build))
    return found


def _simulator(order: Sequence[str] = simulators.SIMULATORS) -> str:
    return next(s for s in order if simulators.available(s))


def _simulated(design: Design, build: Path) -> dict[str, Any]:
    root = build / design.slug
    root.mkdir(parents=True, exist_ok=True)
    source = root / f"{design.name}.v"
    replace(source, verilog.to_verilog(design, root))
    # Mutants run on the other one: where both are installed, both have seen the stream.
    simulator = _simulator(simulators.SIMULATORS[::-1])
    outcome = cosim.simulate(design, source, root / f"cosim-{simulator}", simulator, SEED)
    return {
        "design": design.slug,
        "vectors": outcome.vectors,
        "mismatch": outcome.wrong,
        "simulator": simulators.version(simulator),
    }


def _scored(design: Design, build: Path) -> dict[str, Any]:
    score = mutants.score(design, MUTANTS, build / design.slug, _simulator(), SEED)
    return asdict(score) | {"percent": score.percent}


def _proven(design: Design, build: Path) -> list[dict[str, Any]]:
    library = tech.load(TECHNOLOGY, build_dir=build)
    parts = bool(all_parts(design.component()))
    options = flow.Options(library.clock_period_ns, hierarchical=parts)
    mapped = flow.map_design(design, library, options, build)
    whole, faulty = _proofs(design, mapped, build, None), _proofs(design, mapped, build, SEED)
    return [
        {"claim": p.claim, "holds": p.holds, "outcome": p.outcome, "seconds": p.seconds, "method": p.method,
         "twin_refuted": f.refuted}
        for p, f in zip(whole, faulty, strict=True)
    ]  # fmt: skip


def _variant(name: str, settings: dict[str, Any], build: Path) -> dict[str, Any]:
    design = Design.of(name, settings | ONE)
    shown = ", ".join(f"{k} {v}" for k, v in settings.items())
    made = _kept(design, build, "bulk", lambda: _bulk(design, build, BULK_OF_VARIANTS))
    return {"unit": name, "settings": shown, "design": design.slug, "bulk": made}


def _proofs(design: Design, mapped: flow.Mapped, build: Path, inject: int | None) -> list[Proof]:
    root, library = build / design.slug, mapped.library
    if all_parts(design.component()):
        found = list(prove.by_module(design, mapped.netlist, library, root, inject))
        return found + list(lemma_proofs.proofs(design, root, inject))
    return [
        prove.rtl_equals_specification(design, root, inject),
        prove.netlist_equals_rtl(design, mapped.netlist, library, root, inject),
    ]


def _bulk(design: Design, build: Path, vectors: int) -> dict[str, Any]:
    assert isinstance(design.unit.golden.__self__, MMAUnit)  # type: ignore[attr-defined]
    library = tech.load(TECHNOLOGY, build_dir=build)
    found = bulk.check(bulk.NetlistModel(design, library, build), design, vectors, SEED)
    return asdict(found) | {"bins": dict(found.bins)}


_TEXT = """\
# Verification

Made by `python -m hwsim.report verification`; not edited by hand. All figures: `verification.json`.

{made_by}. Machine: {machine}. Seed {seed}.

{units}

- *stream*: cocotb testbench on the generated Verilog against the golden model, raw bits: bubbles, instructions back to
  back, resets in flight, chains that accumulate in place, C of every class, cancellation, NaN scales, extreme
  exponents. Of MMA units one dot unit with its decoders and all of its K; whole tiles of 8 x 8 are compared in
  [overhead.md](overhead.md).
- *bulk*: one dot unit with its decoders, as mapped to {technology}, against the golden model, raw bits; directed
  corners mixed with random.
- *proofs*: for all inputs. *twins*: the same claims of a netlist or RTL with a random fault, and how many were refuted;
  a fault that changes nothing of what is claimed is replaced by another, up to five. Random patterns are tried before
  the solver is asked, and refute most of them.
- *mutants*: of {mutants} faults in the RTL those that the stream notices; what it does not notice was compared with the
  RTL for all inputs.

## Bins of the bulk comparison

{bins}

*alignment*: distances of the exponent of C to that of the terms' sum, -45 (or less) to +45 (or more). *leading zeros*:
places that cancellation takes from the larger of C and the sum. Cases counted of C and D: {classes};
*overflow*: D is infinite though C and the terms' sum are finite, which terms of E4M3 scales or FP16 elements are too
small for.

## Other parameters

{variants}

## Proofs

{proofs}
"""


def headline(document: dict[str, Any]) -> str:
    """What was done to every unit, as the README shows it."""
    units = [["unit", "stream", "mismatches", "bulk", "mismatches", "proofs", "twins", "mutants", "killed",
              "equivalent", "survive", "score"]]  # fmt: skip
    for u in document["units"]:
        score, made = u["mutants"], u.get("bulk")
        holds, twins = (sum(p[key] for p in u["proofs"]) for key in ("holds", "twin_refuted"))
        units.append([
            u["unit"], f"{u['cosim']['vectors']} vectors", "0" if u["cosim"]["mismatch"] is None else "**yes**",
            str(made["vectors"]) if made else "-", str(made["mismatches"]) if made else "-",
            f"{holds} of {len(u['proofs'])}", f"{twins} of {len(u['proofs'])}", str(score["mutants"]),
            str(score["killed"]), str(score["equivalent"]), str(len(score["survivors"])), f"{score['percent']:.1f} %",
        ])  # fmt: skip
    return markdown(units, right=range(1, len(units[0])))


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    bins = [["unit", "dot products", "alignment", "rarest", "leading zeros", "rarest", "C", "D"]]
    proofs = []
    classes: set[str] = set()
    for u in document["units"]:
        made = u.get("bulk")
        if made:
            row = [u["unit"], str(made["vectors"])]
            for family in ("alignment", "leading zeros"):
                hit = {k: v for k, v in made["bins"].items() if k.startswith(family) and v}
                row += [f"{len(hit)} bins", str(min(hit.values()))]
            for side in "CD":
                of = {k: v for k, v in made["bins"].items() if k.split()[0] == side}
                classes |= of.keys()
                row.append(", ".join(f"{k[2:]} {v}" for k, v in of.items()))
            bins.append(row)
        rows = [["claim", "outcome", "by", "seconds", "twin"]]
        rows += [[p["claim"], "yes" if p["holds"] else f"**{p['outcome']}**", p["method"], f"{p['seconds']:.1f}",
                  "refuted" if p["twin_refuted"] else "**not refuted**"] for p in u["proofs"]]  # fmt: skip
        proofs.append(f"### {u['unit']}\n\n{markdown(rows, right=(3,))}")
    variants = [["unit", "parameters", "dot products", "mismatches"]]
    for v in document["variants"]:
        variants.append([v["unit"], v["settings"], str(v["bulk"]["vectors"]), str(v["bulk"]["mismatches"])])
    return _TEXT.format(
        made_by=document["made_by"], machine=document["machine"], seed=document["seed"], mutants=MUTANTS,
        technology=document["technology"], units=headline(document),
        bins=markdown(bins, right=range(1, 6)), variants=markdown(variants, right=(2, 3)),
        proofs="\n\n".join(proofs), classes=", ".join(sorted({c[2:] for c in classes})),
    )  # fmt: skip
