"""``reports/decode``: what the block decoders cost, and what was done to believe it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from hwsim import units
from hwsim.base import simulators, yosys
from hwsim.base.errors import InputError
from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.benchmarks import activity
from hwsim.benchmarks.machine import processor
from hwsim.costs import flow, summary
from hwsim.costs.flow import Workload
from hwsim.peers import opensta
from hwsim.synthesis import emit
from hwsim.synthesis.mapping import Mapped, Options, map_design
from hwsim.technology import catalogue
from hwsim.technology.library import Library
from hwsim.units.unit import Design
from hwsim.verification import cosimulation, mutation
from hwsim.verification.proofs import netlist_equals_rtl, rtl_equals_specification

UNITS = ("nvfp4_decode", "mixfp4_decode", "mxfp4_decode")
TECHNOLOGIES = ("asap7", "sg13g2", "sky130hd")
#: A library with full tables, for the cross-check; read from its wheel where that is installed.
FULL_LIBRARY = "nangate45"
#: Lanes at which decoders are compared: those of the longest block.
LANES = 32
MUTANTS = 200


def write(folder: Path, build: Path) -> list[Path]:
    """Run everything and write ``decode.md``, ``decode.json`` and ``decode.png`` to ``folder``; returns their paths."""
    costs, checks = [], []
    for name in (*TECHNOLOGIES, FULL_LIBRARY):
        try:
            library = catalogue.load(name, build_dir=build)
        except InputError as error:
            print(f"left out: {error}")
            continue
        results = {}
        for unit in UNITS:
            design = units.design(unit, {"lanes": LANES})
            results[unit] = flow.measure(_mapped(design, library, build), Workload())
            print(f"{name}: {design.slug} measured")
        baseline = results["nvfp4_decode"]
        for unit, result in results.items():
            if name in TECHNOLOGIES:
                extra = summary.overhead(result, baseline) if unit != "nvfp4_decode" else None
                costs.append(summary.to_json(result, extra, None) | {"technology": name})
            if opensta.installed():
                mapped = _mapped(units.design(unit), library, build)
                checks.append(_check(name, unit, opensta.cross_check(flow.measure(mapped, Workload()))))
    document = {
        "made_by": emit.generator(),
        "machine": processor(),
        "costs": _portable(costs, build),
        "opensta": checks,
        "verification": [_verify(unit, build) for unit in UNITS],
        "activity": _activity(build),
    }
    png = _plot(costs)
    paths = {name: folder / f"decode.{name}" for name in ("md", "json", "png")}
    replace_all({
        paths["md"]: to_text(document),
        paths["json"]: json.dumps(document, indent=2) + "\n",
        paths["png"]: png,
    })  # fmt: skip
    return list(paths.values())


def _mapped(design: Design, library: Library, build: Path) -> Mapped:
    return map_design(design, library, Options(library.clock_period_ns), build)


def _portable(costs: list[dict[str, Any]], build: Path) -> list[dict[str, Any]]:
    """Costs with paths relative to the build folder, because a report must not name the machine's directories."""
    for cost in costs:
        cost["artifacts"] = {k: v and str(v).replace(f"{build}/", "build/") for k, v in cost["artifacts"].items()}
    return costs


def _check(technology: str, unit: str, check: opensta.CrossCheck) -> dict[str, Any]:
    return {
        "technology": technology,
        "unit": unit,
        "opensta": check.version,
        "arrival_ns": check.arrival_ns,
        "opensta_arrival_ns": check.sta_arrival_ns,
        "arrival_percent": check.arrival_percent,
        "power_mw": check.ours.total,
        "opensta_power_mw": check.sta.total,
        "power_percent": check.power_percent,
        "same_rule_percent": check.same_rule_percent,
    }


def _verify(unit: str, build: Path) -> dict[str, Any]:
    design = units.design(unit)
    root = build / design.slug
    mapped = _mapped(design, catalogue.load("asap7", build_dir=build), build)
    proofs, twins = (
        [
            rtl_equals_specification(design, root, inject),
            netlist_equals_rtl(design, mapped.netlist, mapped.library, root, inject),
        ]
        for inject in (None, 1)
    )
    simulator = next(s for s in simulators.SIMULATORS if simulators.available(s))
    runtime = build / "verilated"
    outcome = cosimulation.simulate(design, mapped.verilog, root / f"cosim-{simulator}", simulator, runtime=runtime)
    score = mutation.score(design, MUTANTS, root, simulator, runtime=runtime)
    print(f"{unit}: verified")
    return {
        "unit": unit,
        "proofs": [{"claim": p.claim, "holds": p.holds, "seconds": p.seconds} for p in proofs],
        "injected_faults_refuted": [not p.holds for p in twins],
        "vectors": outcome.vectors,
        "mismatch": outcome.wrong,
        "simulator": simulators.version(simulator),
        "mutants": score.mutants,
        "killed": score.killed,
        "equivalent": score.equivalent,
        "survivors": score.survivors,
        "score_percent": score.percent,
    }


def _activity(build: Path) -> dict[str, Any]:
    mapped = _mapped(units.design("mixfp4_decode"), catalogue.load("asap7", build_dir=build), build)
    return activity.measure(mapped, Workload())


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    sections = [
        "# Block decoders: what they cost\n",
        "Made by `python -m hwsim.report decode`; not edited by hand. All figures: `decode.json`.\n",
        f"{document['made_by']}. Machine: {document['machine']}.\n",
        f"## Cost, {LANES} lanes, registered at inputs and outputs\n",
        _costs(document["costs"]),
        "\nOverheads are over `nvfp4_decode` with as many lanes on the same technology.\n",
        "![area and energy](decode.png)\n",
        "## Where the figures come from\n",
        _provenance(document["costs"]),
        "\n## Cross-check with OpenSTA\n",
        _cross_check(document["opensta"]),
        "\n## Verification\n",
        _verification(document["verification"]),
        "\n## Speed of the activity engine\n",
        _engine(document["activity"]),
    ]
    return "\n".join(sections) + "\n"


def _costs(costs: list[dict[str, Any]]) -> str:
    rows = [["technology", "unit", "area (um2)", "NAND2 eq.", "registers (%)", "critical path (ns)", "f max (MHz)",
             "power (mW)", "energy (fJ/operand)", "area overhead", "energy overhead"]]  # fmt: skip
    for c in costs:
        extra = c["overhead"]
        rows.append([
            c["technology"], f"`{c['top']}`", f"{c['area_um2']:.1f}", f"{c['gate_equivalents']:.0f}",
            f"{c['sequential_percent']:.0f}", f"{c['critical_path_ns']:.3f}", f"{c['fmax_mhz']:.0f}",
            f"{c['power_mw']['total']:.4f}", f"{c['energy_fj_per_operand']:.2f}",
            f"{extra['area_percent']:+.1f} %" if extra else "baseline",
            f"{extra['energy_per_operand_percent']:+.1f} %" if extra else "baseline",
        ])  # fmt: skip
    return markdown(rows, right=range(2, 11))


def _provenance(costs: list[dict[str, Any]]) -> str:
    parts = []
    for technology in dict.fromkeys(c["technology"] for c in costs):
        entry = next(c for c in costs if c["technology"] == technology)["provenance"]
        shown = "; ".join(
            f"{key.replace('_', ' ')}: {entry[key]}" for key in entry if key not in ("technology", "tools")
        )
        parts.append(f"- **{technology}**: {shown}")
    warnings = [f"- WARNING: {w}" for c in costs for w in c["warnings"]]
    return "\n".join(parts + warnings)


def _cross_check(checks: list[dict[str, Any]]) -> str:
    if not checks:
        return "OpenSTA was not installed where this report was made."
    rows = [["library", "unit", "arrival (ns)", "OpenSTA (ns)", "difference",
             "power (mW)", "OpenSTA (mW)", "difference", "by OpenSTA's sharing rule"]]  # fmt: skip
    for c in checks:
        rows.append([
            c["technology"] + (" (full tables)" if c["technology"] == FULL_LIBRARY else ""), f"`{c['unit']}`",
            f"{c['arrival_ns']:.4f}", f"{c['opensta_arrival_ns']:.4f}", f"{c['arrival_percent']:+.2f} %",
            f"{c['power_mw']:.4f}", f"{c['opensta_power_mw']:.4f}", f"{c['power_percent']:+.2f} %",
            f"{c['same_rule_percent']:+.2f} %",
        ])  # fmt: skip
    return markdown(rows, right=range(2, 9)) + (
        f"\n\nOpenSTA {checks[0]['opensta']}, units with their default parameters, same netlist, library, constraints "
        "and activity. Its internal power is halved: it adds the rise and the fall energy of an arc for every toggle, "
        "where a toggle is one of the two. The last column shares an output's toggles among its inputs as OpenSTA "
        "does, which takes any input that is not at a function's outermost operator to cause half of them; the rest "
        "of the difference in the column before comes from there. Reasons and references: `hwsim/peers/opensta.py`."
    )


def _verification(entries: list[dict[str, Any]]) -> str:
    rows = [["unit", "cocotb vectors", "mismatches", "RTL = specification", "netlist = RTL", "same, fault injected",
             "mutants", "killed", "proven equivalent", "score"]]  # fmt: skip
    for e in entries:
        rows.append([
            f"`{e['unit']}`", str(e["vectors"]), "none" if e["mismatch"] is None else e["mismatch"],
            *("proven" if p["holds"] else "REFUTED" for p in e["proofs"]),
            "refuted, refuted" if all(e["injected_faults_refuted"]) else "NOT REFUTED",
            str(e["mutants"]), str(e["killed"]), str(e["equivalent"]), f"{e['score_percent']:.1f} %",
        ])  # fmt: skip
    return markdown(rows, right=range(6, 10)) + (
        f"\n\nSimulated with {entries[0]['simulator']}; proofs by Yosys {yosys.version()} `sat`, netlists on asap7; "
        "mutants by Yosys `mutate`, seed 1."
    )


def _engine(figures: dict[str, Any]) -> str:
    return (
        f"`{figures['unit']}` on {figures['technology']}, {figures['cells']} cells: "
        f"{figures['engine_vector_cycles_per_s'] / 1e6:.0f} million vector-cycles/s, toggles of all nets counted, "
        f"{figures['ratio']:.0f} times {figures['verilator']} (-O3, one thread, no counting: "
        f"{figures['verilator_vector_cycles_per_s'] / 1e6:.1f} million/s) in the same run."
    )


def _plot(costs: list[dict[str, Any]]) -> bytes:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    panels = (("gate_equivalents", f"area, {LANES} lanes (NAND2 equivalents)"), ("energy_fj_per_operand", ""))
    for axis, (key, title) in zip(axes, panels, strict=True):
        for position, unit in enumerate(UNITS):
            values = []
            for technology in TECHNOLOGIES:
                by_unit = {c["top"]: c for c in costs if c["technology"] == technology}
                scale = 1.0 if key == "gate_equivalents" else by_unit["nvfp4_decode"][key]
                values.append(by_unit[unit][key] / scale)
            places = [i + 0.27 * (position - 1) for i in range(len(TECHNOLOGIES))]
            bars = axis.bar(places, values, 0.25, label=unit)
            axis.bar_label(bars, fmt="%.0f" if key == "gate_equivalents" else "%.2f", fontsize=7)
        axis.set_xticks(range(len(TECHNOLOGIES)), TECHNOLOGIES)
        axis.set_title(title or "energy per operand (nvfp4_decode = 1)", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center", ncols=3)
    buffer = io.BytesIO()
    # Without matplotlib's version in its metadata, the same figures give the same file.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
