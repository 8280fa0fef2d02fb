"""``reports/overhead``: what each format costs on a tensor core's tile, and over its baseline."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import units
from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.benchmarks.machine import processor
from hwsim.costs import flow, stages
from hwsim.costs.flow import Result, Workload, percent
from hwsim.reports.parallel import in_parallel
from hwsim.synthesis import emit
from hwsim.synthesis.mapping import Options, map_design
from hwsim.technology import catalogue
from hwsim.units import stimulus
from hwsim.units.ports import Ports
from hwsim.units.table import MIXFP4_PUBLISHED
from hwsim.units.unit import Design

TECHNOLOGIES = ("asap7", "sg13g2", "sky130hd")
#: What is measured: label, unit, settings. K is 64 elements of 4 bits, and for wider elements as many as fit their 256
#: bits; MXFP6's blocks hold 32 elements, 192 bits.
TILES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("nvfp4", "nvfp4_mma", {}),
    ("mixfp4", "mixfp4_mma", {}),
    ("mxfp4, block 16", "mxfp4_mma", {"block_size": 16}),
    ("mxfp4, block 32", "mxfp4_mma", {}),
    ("m2xfp", "m2xfp_mma", {}),
    ("nvfp4, F = 25", "nvfp4_mma", {"fraction_bits": 25}),
    ("mxfp6 e2m3", "mxfp6_mma", {}),
    ("mxfp8 e4m3", "mxfp8_mma", {}),
    ("fp16", "fp16_mma", {}),
)
#: Instructions of each stimulus; every one of them is seen by 64 dot units.
VECTORS, SEED = 1 << 13, 1

#: Comparisons: tile, baseline, published overheads of area and power in percent (None: not published), their source.
COMPARISONS = (
    (
        "mixfp4", "nvfp4", MIXFP4_PUBLISHED.area_percent, MIXFP4_PUBLISHED.power_percent,
        "MixFP4, arXiv 2605.31035: tensor core, TSMC 28 nm; shape, clock, tool unknown",
    ),
    ("mxfp4, block 16", "nvfp4", -12.0, None, "OAS/MBS: MXFP4 tensor core at the same block size; flow unpublished"),
    ("m2xfp", "mxfp4, block 32", 4.0, None, "M2XFP, arXiv 2601.19213: PE of 8 lanes, 2140.1 over 2057.6 um2, 28 nm"),
    ("m2xfp", "nvfp4", 1.7, None, "M2XFP, arXiv 2601.19213: PE of 8 lanes, 2140.1 over 2104.7 um2, 28 nm"),
)  # fmt: skip


def stimuli(design: Design, vectors: int = VECTORS, seed: int = SEED) -> dict[str, Ports]:
    """Ports by stimulus: the operands that all formats are measured with, as the design's format stores them.

    Gaussian: A and B standard normal. Outliers: A Student's t with 3 degrees of freedom, one channel of K in 64 times
    30; B normal. Random codes: codes and metadata uniform among those of finite numbers, scales as in the first.
    """
    mma, parameters = design.unit.mma, design.parameters
    assert mma is not None, f"{design.name} is an MMA unit"
    k = parameters["k"]
    rng = np.random.default_rng(seed)
    shape = (4096, 16 * k)
    weights = rng.standard_normal(shape).astype(np.float32)
    gaussian = rng.standard_normal(shape).astype(np.float32)
    heavy = rng.standard_t(3, shape).astype(np.float32)
    heavy[:, rng.choice(shape[1], shape[1] // 64, replace=False)] *= 30

    def ports(a: np.ndarray) -> Ports:
        return stimulus.instructions(mma, parameters, vectors, seed, a, weights)

    return {
        "gaussian": ports(gaussian),
        "outliers": ports(heavy),
        "random codes": stimulus.random_codes(mma, parameters, ports(gaussian), rng),
    }


def measure(label: str, technology: str, build: Path) -> dict[str, Any]:
    """Figures of one tile on one technology, ready for JSON."""
    unit, settings = next((unit, settings) for name, unit, settings in TILES if name == label)
    design = units.design(unit, settings)
    library = catalogue.load(technology, build_dir=build)
    options = Options(library.clock_period_ns, hierarchical=True)
    mapped = map_design(design, library, options, build)
    results = {r.stimulus: r for r in flow.measure_each(mapped, stimuli(design), SEED)}
    result = next(iter(results.values()))
    macs = design.unit.operands(design.parameters)
    return {
        "label": label,
        "unit": design.slug,
        "technology": technology,
        "latency_cycles": design.component().latency,
        "k": design.parameters["k"],
        "multiply_adds_per_cycle": macs,
        "dot_units": design.parameters["m"] * design.parameters["n"],
        "clock_ns": options.clock_period_ns,
        "cells": result.netlist.cells,
        "area_um2": result.netlist.area,
        "gate_equivalents": result.gate_equivalents,
        "gate_equivalents_per_multiply_add": result.gate_equivalents / macs,
        "stages_gate_equivalents": stages.areas(result.netlist, stages.of_modules(design)),
        "critical_path_ns": result.timing.critical_path_ns,
        "timing_met": result.timing_met,
        "endpoint": result.timing.endpoint,
        "power_mw": {name: settled_mw(r) for name, r in results.items()},
        "energy_fj_per_multiply_add": {
            name: 1000 * settled_mw(r) * options.clock_period_ns / macs for name, r in results.items()
        },
        "provenance": result.provenance,
        "warnings": result.warnings,
    }


def settled_mw(result: Result) -> float:
    """Power between settled values, without clock tree."""
    power = result.busy.settled
    return power.internal + power.switching + power.leakage


def write(folder: Path, build: Path) -> list[Path]:
    """Measure all tiles on all technologies; write ``overhead.md``, ``overhead.json`` and ``overhead.png``."""
    jobs = [(label, technology) for technology in TECHNOLOGIES for label, *_ in TILES]
    tiles = []
    for tile in in_parallel([(measure, (*job, build)) for job in jobs]):
        tiles.append(tile)
        print(f"{tile['technology']}: {tile['label']} measured", flush=True)
    document = {
        "made_by": emit.generator(),
        "machine": processor(),
        "tiles": tiles,
        "comparisons": comparisons(tiles),
        "metadata_unit": _metadata_unit(tiles, build),
    }
    paths = {name: folder / f"overhead.{name}" for name in ("md", "json", "png")}
    replace_all({
        paths["md"]: to_text(document),
        paths["json"]: json.dumps(document, indent=1) + "\n",
        paths["png"]: _plot(tiles),
    })  # fmt: skip
    return list(paths.values())


def comparisons(tiles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every comparison on every technology, and which stages make the difference (percent of the baseline's area)."""
    compared = []
    for label, over, area, power, source in COMPARISONS:
        for technology in TECHNOLOGIES:
            tile, base = (_tile(tiles, name, technology) for name in (label, over))
            whole = base["gate_equivalents"]
            compared.append({
                "tile": label,
                "over": over,
                "technology": technology,
                "area_percent": percent(tile["area_um2"], base["area_um2"]),
                "power_percent": {k: percent(v, base["power_mw"][k]) for k, v in tile["power_mw"].items()},
                "stages_percent": {
                    k: 100 * (v - base["stages_gate_equivalents"][k]) / whole
                    for k, v in tile["stages_gate_equivalents"].items()
                },
                "published_area_percent": area,
                "published_power_percent": power,
                "published_by": source,
            })  # fmt: skip
    return compared


def _metadata_unit(tiles: list[dict[str, Any]], build: Path) -> list[dict[str, Any]]:
    """Area of M2XFP's metadata: of ``m2xfp_decode`` alone, and of the tile's decoders beyond that of MXFP4's."""
    areas = []
    for technology in TECHNOLOGIES:
        library = catalogue.load(technology, build_dir=build)
        design = units.design("m2xfp_decode", {"registered": False})
        alone = flow.measure(map_design(design, library, Options(library.clock_period_ns), build), Workload())
        tile, base = (_tile(tiles, name, technology) for name in ("m2xfp", "mxfp4, block 32"))
        more = tile["stages_gate_equivalents"]["decode"] - base["stages_gate_equivalents"]["decode"]
        areas.append({
            "technology": technology,
            "unit_gate_equivalents": alone.gate_equivalents,
            "decoders_more_gate_equivalents": more,
            "decoders_more_percent_of_tile": 100 * more / tile["gate_equivalents"],
        })  # fmt: skip
    return areas


def _tile(tiles: list[dict[str, Any]], label: str, technology: str) -> dict[str, Any]:
    return next(t for t in tiles if (t["label"], t["technology"]) == (label, technology))


_TEXT = """\
# What the formats cost on a tensor core's tile

Made by `python -m hwsim.report overhead`; not edited by hand. All figures: `overhead.json`.

{made_by}. Machine: {machine}.

A tile of 8 x 8 dot units, fully pipelined, one instruction a cycle: operand decoders at the edges, one dot unit for
every element of D. Netlists are mapped module by module and analysed whole, wires between modules included; nothing is
a black box. Every netlist of this report was compared with the golden model in every bit of the results of its own
stimulus and of the testbench's operands; chains, bubbles and resets are in [verification.md](verification.md).
Pipelines are as deep as each format needs for the clock: latencies are below, and registers are a stage of their own.

![area by stage and energy](overhead.png)

## The four comparisons

{comparisons}

Power in percent for three stimuli: {stimuli}. What they are: below.

### Which stages make the difference

Percent of the baseline's area.

{differences}

Every module is mapped as fast as the whole tile needs, in one of several ways: where a stage that works alike in both
formats differs (*scale* of mixfp4 and nvfp4, *normalise*), it had to be mapped in another way, which is not the
format's doing. Read the sums with that much doubt.

{explanation}

## All tiles

{tiles}

Formats of blocks keep F = 35 bits below the largest exponent in the alignment, formats of elements F = 25; `nvfp4, F =
25` is there to compare at an equal accumulator. Operands have 256 bits a row (K = 64, 32, 16 for 4, 8 and 16 bits), but
MXFP6's 192: its blocks hold 32 elements.

## Area by stage

NAND2 equivalents of a dot unit and its share of the tile's edges (the tile's over 64).

{stages}

*products, block sums* and *align and sum* are one module each, mapped as one: their parts share gates. What products
alone cost is in [mma_choices.md](mma_choices.md). *exponents*: largest exponent and shift distances.

## M2XFP's metadata unit

{metadata}

`m2xfp_decode` without its registers; and what the tile's decoders (which select a refinement instead of rebuilding
operands) take more than MXFP4's. Published: top-1 decode 82.9 um2 of a PE of 2140.1 um2, 3.9 %.

## Where the figures come from

{provenance}

Stimuli: {vectors} instructions, seed {seed}; counted and compared are {counted} of them, the rest fill pipelines.
*gaussian*: A and B standard normal. *outliers*: A Student's t (3 degrees
of freedom), one channel of K in 64 times 30; B standard normal. *random codes*: codes and metadata uniform among those
of finite numbers, scales as for *gaussian*. C is normal, as large as the dot products, and never the result of the
instruction before. Each format stores the same tensors in its own way. Glitches are not counted, clock trees are not
there; operand buffers in front of the tile are not part of it.
"""
_EXPLANATION = """\
MixFP4's operands have ten magnitudes where E2M1 has eight, so its products need more gates however they are encoded
(`mma_choices.md` has what was tried), and its exponent stage adds the micro-format of both blocks to every distance.
Published figures are for a whole tensor core of unpublished shape: register files and operand delivery, which are the
same for both formats, dilute the overhead; here is nothing but the tile. {mixfp4:+.1f} % of a tile that takes
{share:.0f} % of a core's area is the published {published:+.1f} % of the core.

M2XFP multiplies the sum of every subgroup by 4 + k and adds a refined element to it, exactly, before anything is
rounded: sixteen products become one term in NVFP4, and eight in M2XFP need an adder and a multiplier of their own. The
published PE tile keeps multipliers and its fixed-to-FP32 converter out of its synthesis report as black boxes. With the
stages where those are ({left_out}) left out here as well, M2XFP would show
{mxfp4:+.1f} % over MXFP4 and {nvfp4:+.1f} % over NVFP4."""
#: Stages that hold what M2XFP's public synthesis report leaves out: multipliers and the fixed-to-FP32 converter.
_BLACK_BOXES = ("products, block sums", "scale", "normalise")


def _explanation(compared: list[dict[str, Any]], tiles: list[dict[str, Any]]) -> str:
    """Text that explains the differences on the first technology."""
    technology = TECHNOLOGIES[0]
    mixfp4 = compared[0]  # of the first comparison, on the first technology
    published, ours = mixfp4["published_area_percent"], mixfp4["area_percent"]

    def reported(label: str) -> float:
        """Area of the stages that M2XFP's synthesis report counts."""
        stages = _tile(tiles, label, technology)["stages_gate_equivalents"]
        return sum(area for stage, area in stages.items() if stage not in _BLACK_BOXES)

    mxfp4, nvfp4 = (percent(reported("m2xfp"), reported(over)) for over in ("mxfp4, block 32", "nvfp4"))
    return _EXPLANATION.format(
        mixfp4=ours, published=published, share=100 * published / ours, mxfp4=mxfp4, nvfp4=nvfp4,
        left_out=", ".join(f"*{stage}*" for stage in _BLACK_BOXES),
    )  # fmt: skip


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    tiles, compared = document["tiles"], document["comparisons"]
    names = list(tiles[0]["power_mw"])
    rows = [["tile", "over", "technology", "area", f"power ({', '.join(names)})", "published"]]
    for c in compared:
        power = ", ".join(f"{v:+.1f} %" for v in c["power_percent"].values())
        published = f"{c['published_area_percent']:+g} % area"
        if c["published_power_percent"] is not None:
            published += f", {c['published_power_percent']:+g} % power"
        area = f"{c['area_percent']:+.1f} %"
        rows.append([c["tile"], c["over"], c["technology"], area, power, f"{published} ({c['published_by']})"])
    stage_names = list(tiles[0]["stages_gate_equivalents"])
    differences = [["tile", "over", "technology", *stage_names, "sum"]]
    for c in compared:
        parts = c["stages_percent"]
        figures = [*(parts[stage] for stage in stage_names), c["area_percent"]]
        differences.append([c["tile"], c["over"], c["technology"], *(f"{figure:+.1f}" for figure in figures)])
    table = [[
        "tile", "technology", "cells", "um2", "NAND2 eq.", "NAND2 eq. / multiply-add", "critical path (ns)",
        "clock (ns)", "latency", *(f"mW, {n}" for n in names), *(f"fJ/multiply-add, {n}" for n in names),
    ]]  # fmt: skip
    by_stage = [["tile", "technology", *stage_names, "sum"]]
    for t in tiles:
        met = "" if t["timing_met"] else " **not met**"
        table.append([
            t["label"], t["technology"], str(t["cells"]), f"{t['area_um2']:.0f}", f"{t['gate_equivalents']:.0f}",
            f"{t['gate_equivalents_per_multiply_add']:.1f}", f"{t['critical_path_ns']:.3f}{met}", f"{t['clock_ns']:g}",
            str(t["latency_cycles"]), *(f"{v:.1f}" for v in t["power_mw"].values()),
            *(f"{v:.1f}" for v in t["energy_fj_per_multiply_add"].values()),
        ])  # fmt: skip
        shares = [t["stages_gate_equivalents"][s] / t["dot_units"] for s in stage_names]
        by_stage.append([t["label"], t["technology"], *(f"{s:.0f}" for s in shares), f"{sum(shares):.0f}"])
    metadata = [["technology", "m2xfp_decode (NAND2 eq.)", "decoders more (NAND2 eq.)", "of the tile"]]
    for entry in document["metadata_unit"]:
        alone, more = entry["unit_gate_equivalents"], entry["decoders_more_gate_equivalents"]
        share = f"{entry['decoders_more_percent_of_tile']:.1f} %"
        metadata.append([entry["technology"], f"{alone:.0f}", f"{more:.0f}", share])
    keys = ("corner", "liberty", "area", "tools", "licence", "clock", "io", "wire_load", "mapping")
    first = {t["technology"]: t["provenance"] for t in reversed(tiles)}
    provenance = [["", *TECHNOLOGIES], *([k.replace("_", " "), *(first[t][k] for t in TECHNOLOGIES)] for k in keys)]
    return _TEXT.format(
        made_by=document["made_by"], machine=document["machine"], stimuli=", ".join(names),
        comparisons=markdown(rows, right=(3,)),
        differences=markdown(differences, right=range(3, len(differences[0]))),
        explanation=_explanation(compared, tiles),
        tiles=markdown(table, right=range(2, len(table[0]))),
        stages=markdown(by_stage, right=range(2, len(by_stage[0]))),
        metadata=markdown(metadata, right=(1, 2, 3)), provenance=markdown(provenance),
        vectors=VECTORS, seed=SEED, counted=_counted(tiles),
    )  # fmt: skip


def _counted(tiles: list[dict[str, Any]]) -> str:
    """Instructions over which activity is counted, least to most: the number depends on the latency."""
    seen = sorted({int(re.search(r"(\d+) vector-cycles", t["provenance"]["activity"])[1]) for t in tiles})  # type: ignore[index]
    return f"{seen[0]} to {seen[-1]}"


def headline(document: dict[str, Any]) -> str:
    """The comparisons as the README shows them."""
    stimulus = next(iter(document["tiles"][0]["power_mw"]))
    rows = [["tile", "over", *(f"{what}, {t}" for what in ("area", "power") for t in TECHNOLOGIES), "published"]]
    for label, over, area, power, _ in COMPARISONS:
        compared = [c for c in document["comparisons"] if (c["tile"], c["over"]) == (label, over)]
        published = f"{area:+g} %" + (f", {power:+g} %" if power is not None else "")
        areas = [f"{c['area_percent']:+.1f} %" for c in compared]
        rows.append([label, over, *areas, *(f"{c['power_percent'][stimulus]:+.1f} %" for c in compared), published])
    return markdown(rows, right=range(2, len(rows[0])))


def _plot(tiles: list[dict[str, Any]]) -> bytes:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [t for t in tiles if t["technology"] == TECHNOLOGIES[0]]
    labels = [t["label"] for t in shown]
    figure, (area, energy) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
    left = np.zeros(len(shown))
    for stage in shown[0]["stages_gate_equivalents"]:
        widths = np.array([t["stages_gate_equivalents"][stage] / t["multiply_adds_per_cycle"] for t in shown])
        area.barh(labels, widths, 0.7, left=left, label=stage)
        left += widths
    for position, whole in enumerate(left):
        area.text(whole, position, f" {whole:.0f}", va="center", fontsize=8)
    area.set_title(f"area per multiply-add (NAND2 equivalents), {TECHNOLOGIES[0]}", fontsize=10)
    area.legend(fontsize=7, frameon=False, loc="upper right")
    names = list(shown[0]["energy_fj_per_multiply_add"])
    for number, name in enumerate(names):
        places = np.arange(len(shown)) + 0.25 * (number - 1)
        energy.barh(places, [t["energy_fj_per_multiply_add"][name] for t in shown], 0.23, label=name)
    energy.set_title(f"energy per multiply-add (fJ), {TECHNOLOGIES[0]}", fontsize=10)
    energy.legend(fontsize=7, frameon=False, loc="upper right")
    area.invert_yaxis()
    for axis in (area, energy):
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    # Without matplotlib's version in its metadata, the same figures give the same file.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
