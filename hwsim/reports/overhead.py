"""``reports/overhead``: what each format costs on a tensor core's tile, and over its baseline."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import units
from hwsim.analysis.timed import Delays
from hwsim.base.files import replace_all
from hwsim.benchmarks.machine import processor
from hwsim.costs import fan, flow, stages
from hwsim.costs.fan import Figures
from hwsim.costs.flow import Workload, percent
from hwsim.reports.overhead_text import headline as headline
from hwsim.reports.overhead_text import plot, to_text
from hwsim.reports.parallel import in_parallel
from hwsim.synthesis import emit
from hwsim.synthesis.mapping import Options, map_design
from hwsim.synthesis.together import map_together
from hwsim.technology import catalogue
from hwsim.units import stimulus
from hwsim.units.ports import Ports
from hwsim.units.table import MIXFP4_PUBLISHED
from hwsim.units.unit import Design

TECHNOLOGIES = ("asap7", "sg13g2", "sky130hd")
#: A library whose figures are not fitted by us: comparisons on it are of tiles put together from their parts.
UNFITTED = catalogue.NANGATE45
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
#: Instructions for the figures at several clocks.
POINT_VECTORS = 1 << 12

#: Delays are multiplied by random factors within this share, once for each seed, to see whether that moves a sign.
SPREAD, SPREAD_SEEDS = 0.15, (1, 2, 3)
#: Clocks of the curves of area over delay, as multiples of a technology's, beside those of `fan.CLOCKS`.
CURVE = (0.88, 1.3)
#: The shape of M2XFP's published processing element: 8 lanes, one accumulation for every 8 products.
ELEMENT: dict[str, Any] = {"k": 8, "m": 1, "n": 1}
#: Processing elements and their published area in um2 (M2XFP, arXiv 2601.19213, 28 nm).
ELEMENTS = (("mxfp4", "mxfp4_mma", 2057.6), ("nvfp4", "nvfp4_mma", 2104.7), ("m2xfp", "m2xfp_mma", 2140.1))

#: Tiles that are also measured with the buffers and accumulators that a tensor core holds beside them.
BUFFERED = ("nvfp4", "mixfp4", "mxfp4, block 32", "m2xfp")
#: The precision-scalable MAC of KU Leuven (arXiv 2505.22404, 2511.06313; public SystemVerilog), mapped to `UNFITTED` by
#: Yosys and its default ABC script, without a clock: area in um2, and by tile the products that it makes in a cycle. It
#: adds them in an accumulator with a significand of 16 bits.
PUBLIC_UM2, PUBLIC_PRODUCTS = 5287.0, {"mxfp4, block 32": 8, "mxfp8 e4m3": 4}

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
    rng = np.random.default_rng(seed)
    weights, activations = tensors(parameters["k"], rng)

    def ports(a: np.ndarray) -> Ports:
        return stimulus.instructions(mma, parameters, vectors, seed, a, weights)

    found = {name: ports(tensor) for name, tensor in activations.items()}
    return found | {"random codes": stimulus.random_codes(mma, parameters, found["gaussian"], rng)}


def tensors(k: int, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Weights, and activations by name, as :func:`stimuli` says; float32 [4096, 16 K]."""
    shape = (4096, 16 * k)
    weights = rng.standard_normal(shape).astype(np.float32)
    gaussian = rng.standard_normal(shape).astype(np.float32)
    heavy = rng.standard_t(3, shape).astype(np.float32)
    heavy[:, rng.choice(shape[1], shape[1] // 64, replace=False)] *= 30
    return weights, {"gaussian": gaussian, "outliers": heavy}


def options_of(technology: str, build: Path, factor: float = 1.0) -> tuple[Any, Options]:
    library = catalogue.load(technology, build_dir=build)
    return library, Options(factor * library.clock_period_ns, hierarchical=True)


def _designs(labels: tuple[str, ...], buffers: int = 0) -> list[Design]:
    of = {label: (unit, settings) for label, unit, settings in TILES}
    return [units.design(of[label][0], of[label][1] | {"buffers": buffers}) for label in labels]


def ways(technology: str, build: Path) -> dict[str, dict[str, int]]:
    """The ways of all tiles' parts, by label: those of dot units with their decoders, all mapped together."""
    emit.remember()
    library, options = options_of(technology, build)
    labels = tiles_of(technology)
    mapped = map_together([fan.part(design) for design in _designs(labels)], library, options, build)
    return {label: m.ways for label, m in zip(labels, mapped, strict=True)}


def measure(label: str, technology: str, taken: dict[str, int], build: Path) -> dict[str, Any]:
    """Figures of one tile on one technology, its parts mapped in the ways ``taken``, ready for JSON."""
    emit.remember()
    [design] = _designs((label,))
    library, options = options_of(technology, build)
    options = replace(options, ways=tuple((part, way) for part, way in taken.items() if way))
    mapped = map_design(design, library, options, build)
    results = {r.stimulus: r for r in flow.measure_each(mapped, stimuli(design), SEED)}
    result = next(iter(results.values()))
    assert result.idle and result.bubbles, "tiles have valid"
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
        "power_bubbles_mw": result.bubbles.timed.total,
        "power_idle_mw": result.idle.timed.total,
        "toggles": {"settled": result.busy.settled_toggles, "timed": result.busy.timed_toggles},
        "stages_fj_per_multiply_add": {k: v / macs for k, v in stages.energies(result, of_module).items()},
        "energy_fj_per_multiply_add": {name: 1000 * r.energy_per_cycle_pj / macs for name, r in results.items()},
        "provenance": result.provenance,
        "warnings": result.warnings,
    }


def point(technology: str, factor: float, build: Path) -> dict[str, Any]:
    """Figures at one clock, a multiple of the technology's: of the tiles that are compared, and of the elements.

    Where tiles are compared with public RTL, those are among them.
    """
    emit.remember()
    library, options = options_of(technology, build, factor)
    labels = compared_labels()
    if technology == UNFITTED:
        labels = tuple(dict.fromkeys((*labels, *PUBLIC_PRODUCTS)))
    elements = [units.design(unit, ELEMENT) for _, unit, _ in ELEMENTS]
    found = {"technology": technology, "clock_ns": options.clock_period_ns, "factor": factor}
    for key, names, designs in (
        ("tiles", labels, _designs(labels)),
        ("buffered", BUFFERED, _designs(BUFFERED, buffers=1)),
        ("elements", tuple(name for name, *_ in ELEMENTS), elements),
    ):
        measured = fan.figures(designs, library, options, Workload(POINT_VECTORS, SEED), build)
        found[key] = {name: asdict(f) for name, f in zip(names, measured, strict=True)}
    return found


def delayed(technology: str, seed: int, build: Path) -> dict[str, float]:
    """Power in mW of the tiles that are compared, every delay off by a random factor, by label."""
    emit.remember()
    library, options = options_of(technology, build)
    workload = Workload(POINT_VECTORS, SEED, delays=Delays(spread=SPREAD, seed=seed))
    labels = compared_labels()
    measured = fan.figures(_designs(labels), library, options, workload, build)
    return {label: figures.power_mw for label, figures in zip(labels, measured, strict=True)}


def tiles_of(technology: str) -> tuple[str, ...]:
    """Labels of the tiles that are measured on a technology: all on the first, on others those that are compared."""
    return tuple(label for label, *_ in TILES) if technology == TECHNOLOGIES[0] else compared_labels()


def compared_labels() -> tuple[str, ...]:
    """Labels of the tiles that are compared."""
    named = {label for tile, over, *_ in COMPARISONS for label in (tile, over)}
    return tuple(label for label, *_ in TILES if label in named)


def write(folder: Path, build: Path) -> list[Path]:
    """Measure all tiles on all technologies; write ``overhead.md``, ``overhead.json`` and ``overhead.png``.

    Raises
    ------
    InputError
        If Nangate 45 is not installed.
    """
    catalogue.nangate45_path()
    paths = {name: folder / f"overhead.{name}" for name in ("md", "json", "png")}
    before = _before(paths["json"])
    done = functools.partial(_measured, build=build)
    of_tiles = dict(zip(TECHNOLOGIES, done("tiles mapped", ways, [(t,) for t in TECHNOLOGIES]), strict=True))
    tiles = done("tile", measure, [(label, t, of_tiles[t][label]) for t in TECHNOLOGIES for label in tiles_of(t)])
    factors = {t: sorted({*fan.CLOCKS, *(CURVE if t == TECHNOLOGIES[0] else ())}) for t in (*TECHNOLOGIES, UNFITTED)}
    points = done("clock", point, [(t, factor) for t in factors for factor in factors[t]])
    spread = done("delays off", delayed, [(t, seed) for t in TECHNOLOGIES for seed in SPREAD_SEEDS])
    delays = {t: spread[i * len(SPREAD_SEEDS) :][: len(SPREAD_SEEDS)] for i, t in enumerate(TECHNOLOGIES)}
    document = {
        "made_by": emit.generator(),
        "machine": processor(),
        "technologies": list(TECHNOLOGIES),
        "vectors": VECTORS,
        "seed": SEED,
        "delay_spread": SPREAD,
        "tiles": tiles,
        "points": points,
        "delays_off_mw": delays,
        "before": before,
        "comparisons": comparisons(tiles, points, delays),
        "elements": elements(points),
        "buffered": buffered(points),
        "unfitted": unfitted(points),
        "public": public(points),
        "public_um2": PUBLIC_UM2,
        "metadata_unit": _metadata_unit(tiles, build),
    }
    replace_all({
        paths["md"]: to_text(document),
        paths["json"]: json.dumps(document, indent=1) + "\n",
        paths["png"]: plot(document),
    })  # fmt: skip
    return list(paths.values())


def _measured(what: str, job: Callable[..., Any], arguments: list[tuple], build: Path) -> list[Any]:
    """Results of a job for each of several arguments, in parallel, with progress."""
    results = []
    for given, result in zip(arguments, in_parallel([(job, (*a, build)) for a in arguments]), strict=True):
        results.append(result)
        print(f"{what}: {', '.join(str(a) for a in given if not isinstance(a, dict))}", flush=True)
    return results


def _before(path: Path) -> list[dict[str, Any]]:
    """Area and clock of every tile in the report that is there, to show beside the new ones."""
    if not path.exists():
        return []
    tiles = json.loads(path.read_text())["tiles"]
    return [
        {key: t[key] for key in ("label", "technology", "clock_ns", "gate_equivalents", "timing_met")} for t in tiles
    ]


def comparisons(
    tiles: list[dict[str, Any]], points: list[dict[str, Any]], delays: dict[str, list[dict[str, float]]]
) -> list[dict[str, Any]]:
    """Every comparison on every technology: of whole tiles, at several clocks, and by stage (percent of the base)."""
    compared = []
    for label, over, area, power, source in COMPARISONS:
        for technology in dict.fromkeys(t["technology"] for t in tiles):
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
                "timing_met": tile["timing_met"] and base["timing_met"],
                "range": _range(points, "tiles", label, over, technology),
                # The same seed gives the cells of two netlists no delays in common: every pair counts.
                "power_spread_percent": [
                    percent(one[label], other[over]) for one in delays[technology] for other in delays[technology]
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


def elements(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """M2XFP's processing elements on every technology: areas at its clock, and overheads over the first at several."""
    first, _, first_um2 = ELEMENTS[0]
    found = []
    for technology in dict.fromkeys(p["technology"] for p in points):
        at_clock = _at_clock(points, technology)
        for name, _, um2 in ELEMENTS:
            found.append({
                "element": name,
                "technology": technology,
                "area_um2": at_clock["elements"][name]["area_um2"],
                "range": _range(points, "elements", name, first, technology) if name != first else None,
                "published_um2": um2,
                "published_percent": percent(um2, first_um2),
            })  # fmt: skip
    return found


def buffered(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The comparisons with what stands beside the tile, and what share of the baseline that takes (percent)."""
    found = []
    for tile, over, *_ in COMPARISONS:
        if not {tile, over} <= set(BUFFERED):
            continue
        for technology in dict.fromkeys(p["technology"] for p in points):
            at_clock = _at_clock(points, technology)
            alone, whole = (at_clock[key][over]["area_um2"] for key in ("tiles", "buffered"))
            found.append({
                "tile": tile,
                "over": over,
                "technology": technology,
                "range": _range(points, "buffered", tile, over, technology),
                "beside_percent": 100 * (1 - alone / whole),
            })  # fmt: skip
    return found


def unfitted(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The comparisons on `UNFITTED`."""
    return [
        {"tile": tile, "over": over, "range": _range(points, "tiles", tile, over, UNFITTED)}
        for tile, over, *_ in COMPARISONS
    ]


def public(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Area for one product a cycle beside public RTL on the same library, um2."""
    at_clock = _at_clock(points, UNFITTED)
    found = []
    for (label, products), design in zip(PUBLIC_PRODUCTS.items(), _designs(tuple(PUBLIC_PRODUCTS)), strict=True):
        area = at_clock["tiles"][label]["area_um2"] / design.unit.operands(design.parameters)
        found.append({
            "tile": label, "clock_ns": at_clock["clock_ns"], "um2": area, "public_um2": PUBLIC_UM2 / products,
            "percent": percent(area, PUBLIC_UM2 / products),
        })  # fmt: skip
    return found


def _at_clock(points: list[dict[str, Any]], technology: str) -> dict[str, Any]:
    """The figures of a technology at its own clock."""
    [found] = (p for p in points if p["technology"] == technology and p["factor"] == 1.0)
    return found


def _range(points: list[dict[str, Any]], key: str, name: str, over: str, technology: str) -> dict[str, Any]:
    """The overhead of a design over another at the clocks of `fan.CLOCKS`."""
    used = [p for p in points if p["technology"] == technology and p["factor"] in fan.CLOCKS]
    one, other = ([Figures(**p[key][which]) for p in used] for which in (name, over))
    return fan.fan(one, other, [p["clock_ns"] for p in used]).to_dict()


def _metadata_unit(tiles: list[dict[str, Any]], build: Path) -> list[dict[str, Any]]:
    """Area of M2XFP's metadata: of ``m2xfp_decode`` alone, and of the tile's decoders beyond that of MXFP4's."""
    areas = []
    for technology in dict.fromkeys(t["technology"] for t in tiles):
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
