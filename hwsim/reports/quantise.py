"""``reports/quantise``: what quantisation engines cost, by stage and technology, and what share of a tile they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import golden, units
from hwsim.base.files import replace_all
from hwsim.benchmarks.machine import processor
from hwsim.costs import flow, stages
from hwsim.golden.engines import to_bf16
from hwsim.reports.parallel import in_parallel
from hwsim.reports.quantise_text import headline as headline
from hwsim.reports.quantise_text import plot, to_text
from hwsim.synthesis import emit
from hwsim.synthesis.mapping import Options, map_design
from hwsim.technology import catalogue
from hwsim.units.ports import Ports
from hwsim.units.unit import Design

#: Clock of every technology in ns: 1 GHz and 200 MHz.
CLOCKS = {"asap7": 1.0, "sg13g2": 5.0, "sky130hd": 5.0, catalogue.NANGATE45: 5.0}
#: What is measured: label, unit, settings.
ENGINES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("mxfp4", "mxfp4_quantize", {}),
    ("mxfp4, FP32", "mxfp4_quantize", {"input": "fp32"}),
    ("mx, five formats", "mx_quantize", {}),
    ("mx, E4M3", "mx_quantize", {"formats": "e4m3"}),
    ("m2xfp", "m2xfp_quantize", {}),
    ("m2xfp, FP32", "m2xfp_quantize", {"input": "fp32"}),
    ("mbs", "mbs_quantize", {}),
    ("nvfp4, table", "nvfp4_quantize", {}),
    ("nvfp4, pow2", "nvfp4_quantize", {"tensor_scale": "pow2"}),
    ("4/6, table", "four_over_six_quantize", {}),
    ("4/6, pow2", "four_over_six_quantize", {"tensor_scale": "pow2"}),
    ("mixfp4, table", "mixfp4_quantize", {}),
    ("mixfp4, pow2", "mixfp4_quantize", {"tensor_scale": "pow2"}),
    ("fp32_to_bf16", "fp32_to_bf16", {}),
    ("tensor_max", "tensor_max", {}),
)
BASELINE = "mxfp4"
#: Logic on Nangate 45 that engines are to stay below, um2: what prototypes took, or less.
GOALS_UM2 = {
    "mxfp4": 3800, "mx, E4M3": 8000, "m2xfp": 4900, "nvfp4, table": 5400, "nvfp4, pow2": 4300, "4/6, table": 20000,
    "mixfp4, table": 20000,
}  # fmt: skip
#: Tile, by its label in the report of tiles, whose results an engine quantises.
TILE_OF = {
    "mxfp4": "mxfp4, block 32", "mx, five formats": "mxfp8 e4m3", "m2xfp": "m2xfp", "nvfp4, table": "nvfp4",
    "4/6, table": "nvfp4", "mixfp4, table": "mixfp4",
}  # fmt: skip
#: K of products whose results are quantised: attention's, and those of layers.
KS = (128, 1024, 4096)
#: Products of K = 64 that a tile of 8 x 8 makes in a cycle: with K of a result, results a cycle.
PRODUCTS = 8 * 8 * 64
VECTORS, SEED = 1 << 12, 1
#: Blocks of each distribution for the disagreement of the two measures.
BLOCKS = 1 << 20


def stimuli(design: Design) -> dict[str, Ports]:
    """Ports by stimulus.

    Gaussian: standard normal. Outliers: Student's t with 3 degrees of freedom, one channel in 64 times 30. Random:
    signs and fractions uniform, exponents uniform over 32 binades.
    """
    size = design.unit.operands(design.parameters)
    rng = np.random.default_rng(SEED)
    shape = (max(VECTORS // 64, 1), 64 * max(size, 16))
    heavy = rng.standard_t(3, shape).astype(np.float32)
    heavy[:, rng.choice(shape[1], shape[1] // 64, replace=False)] *= 30
    signs = rng.choice(np.array([-1, 1], np.float32), shape)
    uniform = signs * (1 + rng.random(shape, np.float32)) * np.exp2(rng.integers(-16, 16, shape)).astype(np.float32)
    tensors = {"gaussian": rng.standard_normal(shape).astype(np.float32), "outliers": heavy, "random": uniform}
    return {
        name: design.unit.stimulus(design.parameters, VECTORS, SEED, tensor.astype(np.float32))
        for name, tensor in tensors.items()
    }


def measure(label: str, technology: str, build: Path) -> dict[str, Any]:
    """Figures of one engine on one technology, ready for JSON."""
    [(_, name, settings)] = [entry for entry in ENGINES if entry[0] == label]
    design = units.design(name, settings)
    library = catalogue.load(technology, build_dir=build)
    options = Options(CLOCKS[technology], hierarchical=True)
    mapped = map_design(design, library, options, build)
    results = {r.stimulus: r for r in flow.measure_each(mapped, stimuli(design), SEED)}
    result = next(iter(results.values()))
    assert result.idle, "engines have valid"
    netlist, size = result.netlist, design.unit.operands(design.parameters)
    widths = {name: width for name, (_, width) in emit.ports(design.component()).items()}
    flip_flops = sum(len(group.names) for group in netlist.flip_flops)
    told = sum(widths[name] for name in design.unit.steady(design.parameters))
    of_stages = stages.areas(netlist, stages.of_modules(design)) if stages.of_modules(design) else {}
    return {
        "label": label,
        "unit": design.slug,
        "technology": technology,
        "clock_ns": options.clock_period_ns,
        "latency_cycles": design.component().latency,
        "elements_per_cycle": size,
        "cells": netlist.cells,
        "area_um2": netlist.area,
        "logic_um2": netlist.area - netlist.sequential_area,
        "gate_equivalents": result.gate_equivalents,
        "flip_flops": flip_flops,
        "configuration_bits": told,
        # Held outside the engine, in registers like the engine's own.
        "configuration_um2": told * netlist.sequential_area / flip_flops,
        "stages_gate_equivalents": of_stages,
        "critical_path_ns": result.timing.critical_path_ns,
        "timing_met": result.timing_met,
        "energy_fj_per_element": {n: 1000 * r.energy_per_cycle_pj / size for n, r in results.items()},
        "energy_settled_fj_per_element": {
            n: 1000 * r.busy.settled.total * options.clock_period_ns / size for n, r in results.items()
        },
        "power_idle_mw": result.idle.timed.total,
        "provenance": result.provenance,
        "warnings": result.warnings,
    }


def disagreement() -> list[dict[str, Any]]:
    """How often choices by FP32 sums differ from exact ones, in blocks of a million."""
    rng = np.random.default_rng(SEED)
    shape = (BLOCKS // 64, 16 * 64)
    tensors: dict[str, Callable[[], np.ndarray]] = {
        "Gaussian": lambda: rng.standard_normal(shape),
        "Student's t, 3 degrees": lambda: rng.standard_t(3, shape),
        "uniform": lambda: rng.uniform(-1, 1, shape),
        "rectified Gaussian": lambda: np.maximum(rng.standard_normal(shape), 0),
        "multiples of 1/8": lambda: rng.integers(-48, 49, shape) / 8,
    }
    found = []
    for name, make in tensors.items():
        values = make().astype(np.float32)
        rounded = (to_bf16(values.view(np.uint32)).astype(np.uint32) << 16).view(np.float32)
        for system in ("four_over_six", "mixfp4"):
            row: dict[str, Any] = {"data": name, "system": system}
            for kind, x in (("bf16", rounded), ("fp32", values)):
                by = [golden.quantize(x, system, measure=measure) for measure in ("fp32", "exact")]
                differ = (by[0].scales != by[1].scales).reshape(-1)
                row[kind] = float(differ.mean() * 1e6)
            found.append(row)
    return found


def write(folder: Path, build: Path) -> list[Path]:
    """Measure all engines on all technologies; write ``quantise.md``, ``quantise.json`` and ``quantise.png``.

    What share of a tile engines are is calculated from ``overhead.json`` in the same folder.

    Raises
    ------
    InputError
        If Nangate 45 is not installed.
    """
    catalogue.nangate45_path()
    tiles = json.loads((folder / "overhead.json").read_text())
    jobs = [(measure, (label, technology, build)) for technology in CLOCKS for label, *_ in ENGINES]
    engines = []
    for engine in in_parallel(jobs):
        engines.append(engine)
        print(f"{engine['unit']} on {engine['technology']}: {engine['gate_equivalents']:.0f} NAND2", flush=True)
    document = {
        "made_by": emit.generator(),
        "machine": processor(),
        "vectors": VECTORS,
        "seed": SEED,
        "baseline": BASELINE,
        "goals_um2": GOALS_UM2,
        "engines": engines,
        "shares": shares(engines, tiles["tiles"]),
        "disagreement": disagreement(),
        "blocks": BLOCKS,
    }
    paths = {name: folder / f"quantise.{name}" for name in ("md", "json", "png")}
    replace_all({
        paths["md"]: to_text(document),
        paths["json"]: json.dumps(document, indent=1) + "\n",
        paths["png"]: plot(document),
    })  # fmt: skip
    return list(paths.values())


def shares(engines: list[dict[str, Any]], tiles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What quantising its results adds to a tile of 8 x 8, in percent of its area and energy, by K of the results."""
    found = []
    for engine in engines:
        tile = next(
            (
                t
                for t in tiles
                if t["label"] == TILE_OF.get(engine["label"]) and t["technology"] == engine["technology"]
            ),
            None,
        )
        if tile is None:
            continue
        decode = tile["stages_gate_equivalents"]["decode"]
        decode_fj = tile["stages_fj_per_multiply_add"]["decode"] * tile["multiply_adds_per_cycle"]
        tile_fj = tile["energy_fj_per_multiply_add"]["gaussian"] * tile["multiply_adds_per_cycle"]
        row: dict[str, Any] = {
            "label": engine["label"], "technology": engine["technology"], "tile": tile["label"],
            "decode_percent": 100 * decode / tile["gate_equivalents"],
            "decode_energy_percent": 100 * decode_fj / tile_fj,
        }  # fmt: skip
        for k in KS:
            elements = PRODUCTS / k
            row[f"area_percent_k{k}"] = (
                100 * engine["gate_equivalents"] * elements / engine["elements_per_cycle"] / tile["gate_equivalents"]
            )
            row[f"energy_percent_k{k}"] = 100 * engine["energy_fj_per_element"]["gaussian"] * elements / tile_fj
        found.append(row)
    return found
