"""``reports/mixed``: what one tile for FP4, FP6 and FP8 costs beside tiles of one format, and what MicroMix gains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import golden, units
from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.benchmarks.machine import processor
from hwsim.costs import fan, flow
from hwsim.peers.checkout import DATA, recorded
from hwsim.reports.overhead import PUBLIC_PRODUCTS, PUBLIC_UM2, SEED, options_of, tensors
from hwsim.reports.parallel import in_parallel
from hwsim.synthesis import emit
from hwsim.synthesis.mapping import map_design
from hwsim.technology import catalogue
from hwsim.units import stimulus
from hwsim.units.mixed import MixedUnit
from hwsim.units.ports import Ports
from hwsim.units.unit import Design

TECHNOLOGIES = ("asap7", catalogue.NANGATE45)
#: Tiles: label, unit, settings.
TILES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("mx, five formats", "mx_mma", {}),
    ("mx, MicroMix's", "mx_mma", {"formats": "e2m1+e3m2+e4m3"}),
    ("mx, FP4 and FP8", "mx_mma", {"formats": "e2m1+e4m3"}),
    ("mxfp4", "mxfp4_mma", {}),
    ("mxfp6 e3m2", "mxfp6_mma", {"element": "e3m2"}),
    ("mxfp8 e4m3", "mxfp8_mma", {}),
    ("nvfp4", "nvfp4_mma", {}),
)
MIXED, SINGLES = TILES[1][0], ("mxfp4", "mxfp8 e4m3")
#: Pairs of elements that energy is measured with, those that a tile has.
PAIRS = (("e2m1", "e2m1"), ("e3m2", "e3m2"), ("e4m3", "e4m3"), ("e4m3", "e2m1"))
#: Shares of K in FP4, FP6 and FP8: some to see the trend, and the paper's average of 5 to 5.5 bits.
SPLITS = ((1.0, 0.0, 0.0), (0.8, 0.1, 0.1), (0.6, 0.1, 0.3), (1 / 3, 0.0, 2 / 3), (0.2, 0.1, 0.7), (0.0, 0.0, 1.0))
#: Cycles for a product, in those of FP8: FP4 has K = 64.
CYCLES = (0.5, 1.0, 1.0)
ELEMENTS = ("e2m1", "e3m2", "e4m3")
#: Elements of the tiles of one format.
_OWN = {"mxfp4": "e2m1", "mxfp6 e3m2": "e3m2", "mxfp8 e4m3": "e4m3"}
VECTORS = 2048
#: Dot units of a tile.
DOTS = 64


def stimuli(design: Design) -> dict[str, tuple[Ports, int]]:
    """Ports, and K, by stimulus: data and, for a tile of several formats, the pair."""
    mma, parameters = design.unit.mma, design.parameters
    assert mma is not None, f"{design.name} is an MMA unit"
    found = {}
    if isinstance(mma, MixedUnit):
        names = [element.name for element in mma.formats(parameters)]
        pairs = [pair for pair in PAIRS if {*pair} <= {*names}]
        for pair in pairs:
            k = mma.k_of(pair)
            weights, activations = tensors(k, np.random.default_rng(SEED))
            for name, tensor in activations.items():
                ports = stimulus.instructions(mma, parameters, VECTORS, SEED, tensor, weights, pair)
                found[f"{' by '.join(pair)}, {name}"] = ports, k
        return found
    weights, activations = tensors(parameters["k"], np.random.default_rng(SEED))
    for name, tensor in activations.items():
        found[name] = stimulus.instructions(mma, parameters, VECTORS, SEED, tensor, weights), parameters["k"]
    return found


def measure(label: str, technology: str, build: Path) -> dict[str, Any]:
    """Figures of one tile of 8 x 8, put together from its mapped dot unit and decoders, ready for JSON."""
    [(_, name, settings)] = [tile for tile in TILES if tile[0] == label]
    design = units.design(name, settings)
    library, options = options_of(technology, build)
    mapped = map_design(fan.part(design), library, options, build)
    given = stimuli(fan.part(design))
    results = flow.measure_each(mapped, {name: ports for name, (ports, _) in given.items()}, SEED, idle=False)
    composed = [fan.composed(design, result) for result in results]
    period = options.clock_period_ns
    return {
        "label": label,
        "unit": design.slug,
        "technology": technology,
        "clock_ns": period,
        "area_um2": composed[0].area_um2,
        "gate_equivalents_per_dot": composed[0].area_um2 / library.nand2_area / DOTS,
        "critical_path_ns": composed[0].critical_path_ns,
        "timing_met": composed[0].timing_met,
        "fj_per_multiply_add": {
            name: 1e3 * c.power_mw * period / (DOTS * k)
            for c, (name, (_, k)) in zip(composed, given.items(), strict=True)
        },
        "k": {name: k for name, (_, k) in given.items()},
        "provenance": results[0].provenance,
        "warnings": results[0].warnings,
    }


def measured_splits() -> list[dict[str, Any]]:
    """Shares of channels in FP4, FP6 and FP8 that MicroMix's calibration gives, on the tensors of the stimuli and on
    activations of a language model."""
    _, data = tensors(256, np.random.default_rng(SEED))
    with np.load(recorded(DATA / "smollm2_slices.npz")) as slices:
        names = [name for name in slices if name.endswith(".activation")]
        data |= {f"SmolLM2-135M, {name.removesuffix('.activation')}": slices[name].astype(np.float32) for name in names}
    found = []
    for name, tensor in data.items():
        t = golden.quantize(tensor, "micromix")
        shares = [length / t.codes.shape[-1] for _, length in t.segments]
        found.append({"data": name, "shares": shares, "bits": t.bits_per_element})
    return found


def write(folder: Path, build: Path) -> list[Path]:
    """Measure all tiles; write ``mixed.md`` and ``mixed.json``.

    Raises
    ------
    InputError
        If Nangate 45 is not installed.
    """
    catalogue.nangate45_path()
    jobs = [(measure, (label, technology, build)) for technology in TECHNOLOGIES for label, *_ in TILES]
    tiles = []
    for tile in in_parallel(jobs):
        tiles.append(tile)
        print(f"{tile['unit']} on {tile['technology']}: {tile['gate_equivalents_per_dot']:.0f} NAND2 a dot unit",
              flush=True)  # fmt: skip
    document = {
        "made_by": emit.generator(),
        "machine": processor(),
        "seed": SEED,
        "vectors": VECTORS,
        "public_um2": PUBLIC_UM2,
        "public_products": {"mxfp4": PUBLIC_PRODUCTS["mxfp4, block 32"], "mxfp8 e4m3": PUBLIC_PRODUCTS["mxfp8 e4m3"]},
        "splits": [list(split) for split in SPLITS],
        "measured_splits": measured_splits(),
        "tiles": tiles,
    }
    paths = {name: folder / f"mixed.{name}" for name in ("md", "json")}
    replace_all({paths["md"]: to_text(document), paths["json"]: json.dumps(document, indent=1) + "\n"})
    return list(paths.values())


_TEXT = """\
# One tile for FP4, FP6 and FP8

Made by `python -m hwsim.report mixed`; not edited by hand. All figures: `mixed.json`.

{made_by}. Machine: {machine}.

`mx_mma` executes any pair of OCP MX formats, chosen by each instruction: FP4 by FP4 with K = 64, as sums of blocks, and
all other pairs with K = 32. Tiles of 8 x 8 at the technology's default clock, each put together from its mapped dot
unit and decoders; every netlist equals golden in every bit on its stimulus and on the testbench's instructions.

## Area

NAND2 equivalents for a dot unit, its share of the decoders included. *beside each other*: over a tile of MXFP4 and one
of MXFP8 (E4M3), which do the same but for mixed pairs and FP6.

{areas}

## Energy

fJ a multiply-add, glitches and clock tree included, on {vectors} instructions. Gaussian: both operands. Outliers: A is
Student's t with 3 degrees of freedom, one channel in 64 times 30.

{energies}

## What MicroMix gains

By the shares of K in FP4, FP6 (E3M2) and FP8: cycles over those of FP8 alone, what that makes a GEMM faster if nothing
else limits it, and on the tile "{mixed}" on {technology} the energy (Gaussian) and the area for a multiply-add a cycle.

{splits}

MicroMix (arXiv 2508.02343) publishes 20 % and more over FP8 kernels: here, a share of 1/3 in FP4. Its kernel also
starts three times, writes and reads D in BF16 between segments, and reorders and quantises A.

Calibration on the tensors of the stimuli and on inputs of linear layers of a language model, the public kernel's
granules of 128 channels (`golden.quantize(x, "micromix")`):

{measured}

## Beside a public design

The precision-scalable MAC of KU Leuven (arXiv 2505.22404, 2511.06313), public SystemVerilog, mapped to Nangate 45 by
Yosys and its default ABC script without a clock, takes {public} um2 for 4 FP8 or 8 FP4 products a
cycle; its accumulator has a significand of 16 bits. um2 for a product a cycle, decoders and registers of ours included:

{public_table}
"""


def _of(document: dict[str, Any], label: str, technology: str) -> dict[str, Any]:
    return next(t for t in document["tiles"] if (t["label"], t["technology"]) == (label, technology))


def headline(document: dict[str, Any]) -> str:
    """What the tiles cost on the first technology, as the README shows it."""
    first = document["tiles"][0]["technology"]
    both = sum(_of(document, label, first)["area_um2"] for label in SINGLES)
    rows = [["tile", "NAND2 a dot unit", "over two tiles", "fJ in FP4", "fJ in FP6", "fJ in FP8"]]

    def energy(t: dict[str, Any], element: str) -> str:
        spent = t["fj_per_multiply_add"]
        own = "gaussian" if t["label"] in _OWN and element == _OWN[t["label"]] else f"{element} by {element}, gaussian"
        return f"{spent[own]:.0f}" if own in spent else ""

    for t in document["tiles"]:
        if t["technology"] == first and (t["label"] in _OWN or t["label"].startswith("mx,")):
            over = f"{100 * (t['area_um2'] / both - 1):+.1f} %" if t["label"].startswith("mx,") else ""
            rows.append([t["label"], f"{t['gate_equivalents_per_dot']:.0f}", over, *(energy(t, e) for e in ELEMENTS)])
    return markdown(rows, right=range(1, 6))


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    tiles = document["tiles"]
    first, *_, public = dict.fromkeys(t["technology"] for t in tiles)
    areas = [["tile", "technology", "clock (ns)", "needs (ns)", "um2", "NAND2 a dot unit", "beside each other"]]
    for t in tiles:
        both = sum(_of(document, label, t["technology"])["area_um2"] for label in SINGLES)
        over = f"{100 * (t['area_um2'] / both - 1):+.1f} %" if t["label"].startswith("mx,") else ""
        areas.append([
            t["label"], t["technology"], f"{t['clock_ns']:g}",
            f"{t['critical_path_ns']:.3g}" + ("" if t["timing_met"] else " **not met**"), f"{t['area_um2']:.0f}",
            f"{t['gate_equivalents_per_dot']:.0f}", over,
        ])  # fmt: skip
    energies = [["tile", "technology", "elements", "K", "gaussian", "outliers"]]
    for t in tiles:
        spent, names = t["fj_per_multiply_add"], [n for n in t["fj_per_multiply_add"] if n.endswith("gaussian")]
        for name in names:
            pair = name.removesuffix("gaussian").rstrip(", ")
            outliers = spent[name.replace("gaussian", "outliers")]
            energies.append([
                t["label"], t["technology"], pair or t["label"], str(t["k"][name]), f"{spent[name]:.1f}",
                f"{outliers:.1f}",
            ])  # fmt: skip
    mixed = _of(document, MIXED, first)
    each = [mixed["fj_per_multiply_add"][f"{e} by {e}, gaussian"] for e in ELEMENTS]
    splits = [["FP4", "FP6", "FP8", "cycles over FP8", "faster", "fJ a multiply-add", "um2 a multiply-add a cycle"]]

    def split_row(shares: list[float]) -> list[str]:
        cycles = sum(p * c for p, c in zip(shares, CYCLES, strict=True))
        area = mixed["area_um2"] * cycles / (DOTS * 32)
        energy = sum(p * e for p, e in zip(shares, each, strict=True))
        return [f"{100 * p:.0f} %" for p in shares] + [
            f"{cycles:.3f}", f"{100 * (1 / cycles - 1):.0f} %", f"{energy:.1f}", f"{area:.2f}"
        ]  # fmt: skip

    splits += [split_row(shares) for shares in document["splits"]]
    for label in ("mxfp4", "nvfp4", "mxfp8 e4m3"):
        t = _of(document, label, first)
        splits.append(["", "", label, "", "", f"{t['fj_per_multiply_add']['gaussian']:.1f}",
                       f"{t['area_um2'] / (DOTS * t['k']['gaussian']):.2f}"])  # fmt: skip
    measured = [["data", "bits an element", "FP4", "FP6", "FP8", "cycles over FP8", "faster"]]
    for m in document["measured_splits"]:
        measured.append([m["data"], f"{m['bits']:.2f}", *split_row(m["shares"])[:5]])
    table = [["tile", "FP8 product", "FP4 product"]]
    products = document["public_products"]
    table.append(["KU Leuven", *(f"{document['public_um2'] / products[n]:.0f}" for n in ("mxfp8 e4m3", "mxfp4"))])
    for t in tiles:
        if t["technology"] == public and (t["label"] in SINGLES or t["unit"].startswith("mx_mma")):
            per = [f"{t['area_um2'] / (DOTS * k):.0f}" for k in (32, 64)]
            if not t["label"].startswith("mx,"):
                per = [per[0], ""] if t["label"].startswith("mxfp8") else ["", per[1]]
            table.append([t["label"], *per])
    return _TEXT.format(
        made_by=document["made_by"], machine=document["machine"], vectors=document["vectors"], mixed=MIXED,
        technology=first, public=f"{document['public_um2']:.0f}", areas=markdown(areas, right=range(2, 7)),
        energies=markdown(energies, right=range(3, 6)), splits=markdown(splits, right=range(7)),
        measured=markdown(measured, right=range(1, 7)), public_table=markdown(table, right=(1, 2)),
    )  # fmt: skip
