"""``reports/verification``: comparisons, proofs and mutation scores of every unit."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from hwsim import units
from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.benchmarks.machine import processor
from hwsim.reports.parallel import in_parallel
from hwsim.synthesis import emit
from hwsim.units.coverage import family
from hwsim.verification import checks
from hwsim.verification.checks import BULK_OF_VARIANTS, MUTANTS, SEED, TECHNOLOGY, kept

#: Units with other elements, blocks or roundings than their defaults, which are compared in bulk.
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


def write(folder: Path, build: Path) -> list[Path]:
    """Verify every unit and write ``verification.md`` and ``verification.json``.

    Takes some hours on two cores. Verdicts are kept in ``build`` and taken from there as long as nothing that
    decides them has changed: :func:`hwsim.verification.checks.key`.
    """
    names = list(units.UNITS)
    jobs: list[tuple[Any, tuple]] = [(_unit, (name, build)) for name in names]
    jobs += [(_variant, (name, settings, build)) for name, settings in VARIANTS]
    verified = []
    for unit in in_parallel(jobs):
        verified.append(unit)
        print(f"{unit['unit']}: verified", flush=True)
    document = {
        "made_by": emit.generator(),
        "machine": processor(),
        "technology": TECHNOLOGY,
        "seed": SEED,
        "units": verified[: len(names)],
        "variants": verified[len(names) :],
    }
    paths = {name: folder / f"verification.{name}" for name in ("md", "json")}
    replace_all({paths["md"]: to_text(document), paths["json"]: json.dumps(document, indent=1) + "\n"})
    return list(paths.values())


def _unit(name: str, build: Path) -> dict[str, Any]:
    """All verdicts of a unit; an MMA unit is checked as one dot unit with its decoders."""
    unit = units.find(name)
    design = units.design(name, ONE if unit.is_tile else {})
    verdicts: dict[str, Any] = {"unit": name, "design": design.slug}
    verdicts["cosim"] = kept("cosim", design, build, partial(checks.cosim, design, build))
    verdicts["mutants"] = kept("mutants", design, build, partial(checks.mutants, design, build))
    if unit.is_tile or unit.engine:
        verdicts["bulk"] = kept("bulk", design, build, partial(checks.bulk, design, build))
    if unit.engine:
        verdicts["exhaustive"] = kept("exhaustive", design, build, partial(checks.exhaustive, design, build))
    verdicts["proofs"] = kept("proofs", design, build, partial(checks.proven, design, build))
    return verdicts


def _variant(name: str, settings: dict[str, Any], build: Path) -> dict[str, Any]:
    design = units.design(name, settings | ONE)
    shown = ", ".join(f"{k} {v}" for k, v in settings.items())
    verdict = kept("bulk", design, build, partial(checks.bulk, design, build, BULK_OF_VARIANTS))
    return {"unit": name, "settings": shown, "design": design.slug, "bulk": verdict}


_TEXT = """\
# Verification

Made by `python -m hwsim.report verification`; not edited by hand. All figures: `verification.json`.

{made_by}. Machine: {machine}. Seed {seed}.

{units}

- *stream*: cocotb testbench on the generated Verilog against the golden model, raw bits: bubbles, instructions back to
  back, resets in flight, chains that accumulate in place, C of every class, cancellation, NaN scales, extreme
  exponents; of quantisation engines blocks of every class under tensors of every size. Of MMA units one dot unit with
  its decoders and all of its K; whole tiles of 8 x 8 are compared in [overhead.md](overhead.md).
- *bulk*: dot products of one dot unit with its decoders, or blocks of an engine, as mapped to {technology}, against the
  golden model, raw bits; edge cases mixed with random.
- *proofs*: for all inputs. *twins*: the same claims of a netlist or RTL with a random fault, and how many were refuted;
  a fault that changes nothing of what is claimed is replaced by another, up to five. Random patterns are tried before
  the solver is asked, and refute most of them.
- *mutants*: of {mutants} faults in the RTL those that the stream notices; what it does not notice was compared with the
  RTL for all inputs; engines with a tensor's thresholds at ports were compared under those of the stream's tensors.
- *equivalent*: mutants that such a comparison proved equal; *survive*: all others that the stream missed.

{missing}## Bins of the bulk comparison

### MMA units

{bins}

*alignment*: distances of the exponent of C to that of the terms' sum, -45 (or less) to +45 (or more). *leading zeros*:
places that cancellation takes from the larger of C and the sum. Cases counted of C and D: {classes};
*overflow*: D is infinite though C and the terms' sum are finite, which terms of E4M3 scales or FP16 elements are too
small for.

### Quantisation engines

{engines}

*scales*, *codes*: how many of them came out, and how often the rarest did. *tie*: blocks whose two candidates differ
and have equal errors; *smaller*, *larger*: blocks of which the candidate with that scale is better. *exhaustive*:
further blocks, in which every BF16 value stands under every scale that it can have and every magnitude is the largest
of a block, with all significands of a tensor's or macro-block's largest magnitude.

## Other parameters

{variants}

## Proofs

{proofs}
"""


def headline(document: dict[str, Any]) -> str:
    """What was done to every unit, as the README shows it."""
    rows = [["unit", "stream", "mismatches", "bulk", "mismatches", "proofs", "twins", "mutants", "killed",
              "equivalent", "survive", "score"]]  # fmt: skip
    for u in document["units"]:
        score, bulk = u["mutants"], u.get("bulk")
        holds, twins = (sum(p[key] for p in u["proofs"]) for key in ("holds", "twin_refuted"))
        rows.append([
            u["unit"], f"{u['cosim']['vectors']} vectors", "0" if u["cosim"]["mismatch"] is None else "**yes**",
            str(bulk["vectors"]) if bulk else "-", str(bulk["mismatches"]) if bulk else "-",
            f"{holds} of {len(u['proofs'])}", f"{twins} of {len(u['proofs'])}", str(score["mutants"]),
            str(score["killed"]), str(score["equivalent"]), str(len(score["survivors"])), f"{score['percent']:.1f} %",
        ])  # fmt: skip
    return markdown(rows, right=range(1, len(rows[0])))


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    engines = [["unit", "blocks", "zero", "NaN", "scales", "rarest", "codes", "rarest", "tie", "smaller", "larger",
                "exhaustive", "mismatches"]]  # fmt: skip
    bins = [["unit", "dot products", "alignment", "rarest", "leading zeros", "rarest", "C", "D"]]
    proofs = []
    classes: set[str] = set()
    for u in document["units"]:
        bulk, every = u.get("bulk"), u.get("exhaustive")
        if every:
            counted = bulk["bins"]
            row = [u["unit"], str(bulk["vectors"]), str(counted["zero"]), str(counted["NaN"])]
            for name in ("scale ", "code "):
                hit = family(counted, name)
                row += [str(len(hit)), str(min(hit.values()))]
            row += [str(counted.get(name, "-")) for name in ("tie", "smaller scale better", "larger scale better")]
            engines.append([*row, str(every["vectors"]), str(every["mismatches"])])
        elif bulk:
            row = [u["unit"], str(bulk["vectors"])]
            for name in ("alignment", "leading zeros"):
                hit = family(bulk["bins"], name)
                row += [f"{len(hit)} bins", str(min(hit.values()))]
            for side in "CD":
                of = {k: v for k, v in bulk["bins"].items() if k.split()[0] == side}
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
    missing = [name for name in units.UNITS if name not in {u["unit"] for u in document["units"]}]
    return _TEXT.format(
        missing=f"Not in this report, because not all of their checks have been made: {', '.join(missing)}.\n\n"
        if missing else "",
        made_by=document["made_by"], machine=document["machine"], seed=document["seed"], mutants=MUTANTS,
        technology=document["technology"], units=headline(document),
        bins=markdown(bins, right=range(1, 6)), engines=markdown(engines, right=range(1, 13)),
        variants=markdown(variants, right=(2, 3)), proofs="\n\n".join(proofs),
        classes=", ".join(sorted({c[2:] for c in classes})),
    )  # fmt: skip
