"""``reports/overhead``: what each format costs on a tensor core's tile, and over its baseline."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import units
from hwsim.analysis.timed import Delays
from hwsim.base.files import replace_all
from hwsim.benchmarks.machine import processor
from hwsim.costs import flow, stages
from hwsim.costs.flow import Workload, percent
from hwsim.reports.overhead_text import plot, to_text
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
#: Share by which all delays are off, at random, and the seeds.
SPREAD, SPREAD_SEEDS = 0.15, (1, 2, 3)

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
    given = stimuli(design)
    results = {r.stimulus: r for r in flow.measure_each(mapped, given, SEED)}
    result, inputs = next(iter(results.values())), next(iter(given.values()))
    assert result.idle and result.bubbles, "tiles have valid"
    spread = [
        flow.spend(
            design, result.netlist, result.timing, result.loads, result.tree, result.activity, inputs, SEED,
            Delays(spread=SPREAD, seed=seed),
        ).timed.total
        for seed in SPREAD_SEEDS
    ]  # fmt: skip
    of_module = stages.of_modules(design)
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
        "stages_gate_equivalents": stages.areas(result.netlist, of_module),
        "critical_path_ns": result.timing.critical_path_ns,
        "timing_met": result.timing_met,
        "endpoint": result.timing.endpoint,
        "power_mw": {name: r.power.total for name, r in results.items()},
        "power_standard_error_percent": {name: 100 * r.busy.standard_error for name, r in results.items()},
        "power_parts_mw": asdict(result.power),
        "power_settled_mw": result.busy.settled.total,
        "power_spread_mw": spread,
        "power_bubbles_mw": result.bubbles.timed.total,
        "power_idle_mw": result.idle.timed.total,
        "toggles": {"settled": result.busy.settled_toggles, "timed": result.busy.timed_toggles},
        "stages_fj_per_multiply_add": {k: v / macs for k, v in stages.energies(result, of_module).items()},
        "energy_fj_per_multiply_add": {name: 1000 * r.energy_per_cycle_pj / macs for name, r in results.items()},
        "provenance": result.provenance,
        "warnings": result.warnings,
    }


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
        "technologies": list(TECHNOLOGIES),
        "vectors": VECTORS,
        "seed": SEED,
        "delay_spread": SPREAD,
        "tiles": tiles,
        "comparisons": comparisons(tiles),
        "metadata_unit": _metadata_unit(tiles, build),
    }
    paths = {name: folder / f"overhead.{name}" for name in ("md", "json", "png")}
    replace_all({
        paths["md"]: to_text(document),
        paths["json"]: json.dumps(document, indent=1) + "\n",
        paths["png"]: plot(document),
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
                **{
                    f"power_{what}_percent": percent(tile[f"power_{what}_mw"], base[f"power_{what}_mw"])
                    for what in ("settled", "bubbles", "idle")
                },
                # The same seed gives the cells of two netlists no delays in common: every pair counts.
                "power_spread_percent": [
                    percent(one, other) for one in tile["power_spread_mw"] for other in base["power_spread_mw"]
                ],
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
