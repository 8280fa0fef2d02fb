"""The text and the picture of ``reports/overhead``, made from its JSON."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np

from hwsim.base.text import markdown
from hwsim.costs.consumption import ERROR, IDLE_ERROR
from hwsim.costs.fan import Range
from hwsim.costs.flow import percent
from hwsim.costs.stages import CLOCK_TREE

_TEXT = """\
# What the formats cost on a tensor core's tile

Made by `python -m hwsim.report overhead`; not edited by hand. All figures: `overhead.json`.

{made_by}. Machine: {machine}.

A tile of 8 x 8 dot units, fully pipelined, one instruction a cycle: operand decoders at the edges, one dot unit for
every element of D. Netlists are mapped module by module and analysed whole, wires between modules included; nothing is
a black box. Every netlist of this report was compared with the golden model in every bit of the results of its own
stimulus and of the testbench's operands; chains, bubbles and resets are in [verification.md](verification.md).
Pipelines are as deep as each format needs for the clock: latencies are below, and registers are a stage of their own.
The clock of every technology leaves about a quarter of slack over what the slowest tile needs at least: where a tile
only just meets its clock, the mapper's luck decides more than the format.

The tile that executes FP4, FP6 and FP8 by instruction, beside the single tiles here: [mixed.md](mixed.md).

![area by stage, energy, and area over delay](overhead.png)

## The four comparisons

{comparisons}

*range*: median, least and most at {clocks} clocks around the technology's, {factors} times it; tiles put together from
one dot unit and its decoders. What changes its sign is *not resolved*: as far as this flow can tell, the two cost the
same. *tile*: the whole tile at the technology's clock, on {stimulus}; *settled* without glitches. *delays off*: least
and most when every delay of every cell is multiplied by a random factor within {spread:g} %, {spreads} seeds for either
tile. *half bubbles* and *idle*: with `valid` low half of the time and always, operands as before.

{signs}

Power of the whole tiles in percent, by stimulus:

{by_stimulus}

### Which stages make the difference

Percent of the baseline's area.

{differences}

Parts that are the same hardware in several tiles are mapped in the same way in all of them: what differs there is what
resizing for the whole tile changed.

{explanation}

## With what stands beside the tile

A tensor core holds more than its tile, and what it holds is the same for all formats that store as many bits. Here the
tile has around it (`--set buffers=1`): two entries for every row of A and B as stored, one of which is written while
the other is in use; eight accumulators in a register file for every element of D; and a buffer of D. *Beside*: what
these take of the baseline's area. Ranges as above.

{buffered}

## On a library that is not fitted by us

Nangate 45, whose Liberty is read as it is; tiles put together from one dot unit and its decoders. Ranges as above,
around a clock of {unfitted_clock:g} ns.

{unfitted}

## Beside public RTL

The precision-scalable MAC of KU Leuven (arXiv 2505.22404, 2511.06313; public SystemVerilog) makes 8 FP4 or 4 FP8
products a cycle and adds them in an accumulator with a significand of 16 bits. Mapped to Nangate 45 by Yosys and its
default ABC script, without a clock, it takes {public_area:.0f} um2. Ours, on the same library at
{unfitted_clock:g} ns and with accumulators that keep 35 and 25 bits: um2 for one product a cycle.

{public}

## M2XFP's published shape

The published processing element has 8 lanes and accumulates in FP32 after every 8 products. Here it is a tile of 1 x 1
with K = 8, a part of a block: decoders of both operands, one dot unit with the accumulator of all tiles, one term. Area
over that of MXFP4's; the range as above.

{elements}

## All tiles

{tiles}

Formats of blocks keep F = 35 bits below the largest exponent in the alignment, formats of elements F = 25; `nvfp4, F =
25` is there to compare at an equal accumulator. Operands have 256 bits a row (K = 64, 32, 16 for 4, 8 and 16 bits), but
MXFP6's 192: its blocks hold 32 elements. Tiles that are in no comparison are measured on one technology.
*before*: the area in the report before this one, at the clock that it had.

## Area by stage

NAND2 equivalents of a dot unit and its share of the tile's edges (the tile's over 64).

{stages}

*products, block sums* and *align and sum* are one module each, mapped as one: their parts share gates. What products
alone cost is in [mma_choices.md](mma_choices.md). *exponents*: largest exponent and shift distances.

## Energy by stage

fJ per multiply-add on {stimulus}, glitches included.

{energies}

## M2XFP's metadata unit

{metadata}

`m2xfp_decode` without its registers; and what the tile's decoders (which select a refinement instead of rebuilding
operands) take more than MXFP4's. Published: top-1 decode 82.9 um2 of a PE of 2140.1 um2, 3.9 %.

## Where the figures come from

{provenance}

Stimuli: {vectors} instructions, seed {seed}; counted and compared are {counted} of them, the rest fill pipelines.
*gaussian*: A and B standard normal. *outliers*: A Student's t (3 degrees of freedom), one channel of K in 64 times 30;
B standard normal. *random codes*: codes and metadata uniform among those of finite numbers, scales as for *gaussian*.
C is normal, as large as the dot products, and never the result of the instruction before. Each format stores the same
tensors in its own way. Ranges, and delays that are off, are on half Gaussian and half Student's t tensors.

Glitches: a random sample of the instructions is simulated with pin-to-pin delays of static timing, inertial as
Verilog's specify paths, until the standard error of the power is below {error:g} %; it is {errors} % here, and below
{idle:g} % without work. Clock trees are estimates, in the power and not in the area.
"""
_EXPLANATION = """\
MixFP4's operands have ten magnitudes where E2M1 has eight, so its products need more gates however they are encoded
(`mma_choices.md` has what was tried); all else is the same hardware, but for a few gates in the decoders. Published
figures are for a whole tensor core of unpublished shape: register files and operand delivery, which are the same for
both formats, dilute the overhead; here is nothing but the tile. {diluted}

M2XFP multiplies the sum of every subgroup by 4 + k and adds a refined element to it, exactly, before anything is
rounded: sixteen products become one term in NVFP4, and eight in M2XFP need an adder and a multiplier of their own. The
published PE tile keeps multipliers and its fixed-to-FP32 converter out of its synthesis report as black boxes. With the
stages where those are ({left_out}) left out here as well, M2XFP would show
{mxfp4:+.1f} % over MXFP4 and {nvfp4:+.1f} % over NVFP4."""
#: Stages that hold what M2XFP's public synthesis report leaves out: multipliers and the fixed-to-FP32 converter.
_BLACK_BOXES = ("products, block sums", "scale", "normalise")


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    tiles, technologies = document["tiles"], document["technologies"]
    names = list(tiles[0]["power_mw"])
    stages = list(tiles[0]["stages_gate_equivalents"])
    keys = ("corner", "liberty", "area", "tools", "licence", "clock", "io", "wire_load", "mapping")
    first = {t["technology"]: t["provenance"] for t in reversed(tiles)}
    provenance = [["", *technologies], *([k.replace("_", " "), *(first[t][k] for t in technologies)] for k in keys)]
    metadata = [["technology", "m2xfp_decode (NAND2 eq.)", "decoders more (NAND2 eq.)", "of the tile"]]
    for entry in document["metadata_unit"]:
        alone, more = entry["unit_gate_equivalents"], entry["decoders_more_gate_equivalents"]
        share = f"{entry['decoders_more_percent_of_tile']:.1f} %"
        metadata.append([entry["technology"], f"{alone:.0f}", f"{more:.0f}", share])
    errors = [error for t in tiles for error in t["power_standard_error_percent"].values()]
    clocks = document["comparisons"][0]["range"]["clocks_ns"]
    period = tiles[0]["clock_ns"]
    return _TEXT.format(
        made_by=document["made_by"], machine=document["machine"], stimulus=names[0], clocks=len(clocks),
        factors=", ".join(f"{clock / period:.2f}" for clock in clocks),
        spread=100 * document["delay_spread"], spreads=len(document["delays_off_mw"][technologies[0]]),
        signs=_signs(document), comparisons=_comparisons(document), by_stimulus=_by_stimulus(document, names),
        differences=_differences(document, stages), explanation=_explanation(document), elements=_elements(document),
        buffered=_buffered(document), unfitted=_unfitted(document), public=_public(document),
        unfitted_clock=document["public"][0]["clock_ns"], public_area=document["public_um2"],
        tiles=_tiles(document, names), stages=_by_stage(tiles, stages),
        energies=_energies(tiles, [*stages, CLOCK_TREE]),
        metadata=markdown(metadata, right=(1, 2, 3)), provenance=markdown(provenance),
        vectors=document["vectors"], seed=document["seed"], counted=_counted(tiles), error=100 * ERROR,
        idle=100 * IDLE_ERROR, errors=f"{min(errors):.2g} to {max(errors):.2g}",
    )  # fmt: skip


def _range(c: dict[str, Any], name: str) -> str:
    """A range as text; of a comparison in which a clock is not met, with that word beside it."""
    r = c["range"][name]
    text = str(Range(r["median"], r["low"], r["high"]))
    return text if c["range"]["timing_met"] else f"{text}, **clock not met**"


def _comparisons(document: dict[str, Any]) -> str:
    rows = [[
        "tile", "over", "technology", "area, range", "power, range", "area, tile", "power, tile", "settled",
        "delays off", "half bubbles", "idle", "published",
    ]]  # fmt: skip
    for c in document["comparisons"]:
        published = f"{c['published_area_percent']:+g} % area"
        if c["published_power_percent"] is not None:
            published += f", {c['published_power_percent']:+g} % power"
        spread = sorted(c["power_spread_percent"])
        met = "" if c["timing_met"] else ", **clock not met**"
        rows.append([
            c["tile"], c["over"], c["technology"], _range(c, "area_percent"), _range(c, "power_percent"),
            f"{c['area_percent']:+.1f} %{met}", f"{next(iter(c['power_percent'].values())):+.1f} %{met}",
            f"{c['power_settled_percent']:+.1f} %", f"{spread[0]:+.1f} to {spread[-1]:+.1f} %",
            f"{c['power_bubbles_percent']:+.1f} %", f"{c['power_idle_percent']:+.1f} %",
            f"{published} ({c['published_by']})",
        ])  # fmt: skip
    return markdown(rows, right=range(3, 11))


def _by_stimulus(document: dict[str, Any], names: list[str]) -> str:
    rows = [["tile", "over", "technology", *names]]
    for c in document["comparisons"]:
        powers = (f"{value:+.1f} %" for value in c["power_percent"].values())
        rows.append([c["tile"], c["over"], c["technology"], *powers])
    return markdown(rows, right=range(3, 6))


def _signs(document: dict[str, Any]) -> str:
    """Whether delays that are off move the sign of a comparison, in words."""
    moved = [
        f"{c['tile']} over {c['over']} on {c['technology']}"
        for c in document["comparisons"]
        if len({value > 0 for value in [*c["power_spread_percent"], c["range"]["power_percent"]["median"]]}) > 1
    ]
    if moved:
        return f"Delays that are off move the sign of the power of {'; '.join(moved)}: these are not resolved."
    return "Delays that are off move no sign of a comparison's power."


def _differences(document: dict[str, Any], stages: list[str]) -> str:
    rows = [["tile", "over", "technology", *stages, "sum"]]
    for c in document["comparisons"]:
        figures = [*(c["stages_percent"][stage] for stage in stages), c["area_percent"]]
        rows.append([c["tile"], c["over"], c["technology"], *(f"{figure:+.1f}" for figure in figures)])
    return markdown(rows, right=range(3, len(rows[0])))


def _explanation(document: dict[str, Any]) -> str:
    """Text that explains the differences on the first technology."""
    technology = document["technologies"][0]
    mixfp4 = document["comparisons"][0]  # of the first comparison, on the first technology
    published, ours = mixfp4["published_area_percent"], mixfp4["range"]["area_percent"]["median"]

    def reported(label: str) -> float:
        """Area of the stages that M2XFP's synthesis report counts."""
        tile = next(t for t in document["tiles"] if (t["label"], t["technology"]) == (label, technology))
        return sum(area for stage, area in tile["stages_gate_equivalents"].items() if stage not in _BLACK_BOXES)

    diluted = (
        f"{ours:+.1f} % of a tile that takes {100 * published / ours:.0f} % of a core's area is the published "
        f"{published:+.1f} % of the core; what measured buffers do to it is in the next section."
        if ours > published
        else f"With {ours:+.1f} %, the tile alone is not above the published {published:+.1f} % of a core."
    )
    mxfp4, nvfp4 = (percent(reported("m2xfp"), reported(over)) for over in ("mxfp4, block 32", "nvfp4"))
    return _EXPLANATION.format(
        diluted=diluted, mxfp4=mxfp4, nvfp4=nvfp4,
        left_out=", ".join(f"*{stage}*" for stage in _BLACK_BOXES),
    )  # fmt: skip


def _buffered(document: dict[str, Any]) -> str:
    rows = [["tile", "over", "technology", "area, range", "power, range", "beside"]]
    for c in document["buffered"]:
        ranges = [_range(c, name) for name in ("area_percent", "power_percent")]
        rows.append([c["tile"], c["over"], c["technology"], *ranges, f"{c['beside_percent']:.1f} %"])
    return markdown(rows, right=range(3, 6))


def _unfitted(document: dict[str, Any]) -> str:
    rows = [["tile", "over", "area, range", "power, range"]]
    for c in document["unfitted"]:
        rows.append([c["tile"], c["over"], *(_range(c, name) for name in ("area_percent", "power_percent"))])
    return markdown(rows, right=(2, 3))


def _public(document: dict[str, Any]) -> str:
    rows = [["tile", "um2", "public RTL, um2", "difference"]]
    for p in document["public"]:
        rows.append([p["tile"], f"{p['um2']:.1f}", f"{p['public_um2']:.1f}", f"{p['percent']:+.1f} %"])
    return markdown(rows, right=(1, 2, 3))


def _elements(document: dict[str, Any]) -> str:
    rows = [["element", "technology", "um2", "area, range", "power, range", "published um2", "published"]]
    for e in document["elements"]:
        ranges = [_range(e, name) if e["range"] else "" for name in ("area_percent", "power_percent")]
        published = f"{e['published_percent']:+.1f} %" if e["range"] else ""
        rows.append([
            e["element"], e["technology"], f"{e['area_um2']:.1f}", *ranges, f"{e['published_um2']:.1f}", published
        ])  # fmt: skip
    return markdown(rows, right=range(2, 7))


def _tiles(document: dict[str, Any], names: list[str]) -> str:
    before = {(t["label"], t["technology"]): t for t in document["before"]}
    rows = [[
        "tile", "technology", "cells", "um2", "NAND2 eq.", "before", "smaller by", "NAND2 eq. / multiply-add",
        "critical path (ns)", "clock (ns)", "latency", *(f"mW, {n}" for n in names), "settled", "half bubbles", "idle",
        *(f"fJ/multiply-add, {n}" for n in names),
    ]]  # fmt: skip
    for t in document["tiles"]:
        met = "" if t["timing_met"] else " **not met**"
        powers = (*t["power_mw"].values(), t["power_settled_mw"], t["power_bubbles_mw"], t["power_idle_mw"])
        old = before.get((t["label"], t["technology"]))
        shown = ["", ""]
        if old:
            missed = "" if old["timing_met"] else " **not met**"
            shown = [f"{old['gate_equivalents']:.0f} at {old['clock_ns']:g} ns{missed}", f"{-_change(old, t):.1f} %"]
        rows.append([
            t["label"], t["technology"], str(t["cells"]), f"{t['area_um2']:.0f}", f"{t['gate_equivalents']:.0f}",
            *shown, f"{t['gate_equivalents_per_multiply_add']:.1f}", f"{t['critical_path_ns']:.3f}{met}",
            f"{t['clock_ns']:g}", str(t["latency_cycles"]), *(f"{v:.1f}" for v in powers),
            *(f"{v:.1f}" for v in t["energy_fj_per_multiply_add"].values()),
        ])  # fmt: skip
    return markdown(rows, right=range(2, len(rows[0])))


def _change(old: dict[str, Any], new: dict[str, Any]) -> float:
    """The change of an area in percent."""
    return 100 * (new["gate_equivalents"] / old["gate_equivalents"] - 1)


def _by_stage(tiles: list[dict[str, Any]], stages: list[str]) -> str:
    rows = [["tile", "technology", *stages, "sum"]]
    for t in tiles:
        shares = [t["stages_gate_equivalents"][stage] / t["dot_units"] for stage in stages]
        rows.append([t["label"], t["technology"], *(f"{share:.0f}" for share in shares), f"{sum(shares):.0f}"])
    return markdown(rows, right=range(2, len(rows[0])))


def _energies(tiles: list[dict[str, Any]], stages: list[str]) -> str:
    rows = [["tile", "technology", *stages, "sum"]]
    for t in tiles:
        each = [t["stages_fj_per_multiply_add"][stage] for stage in stages]
        rows.append([t["label"], t["technology"], *(f"{energy:.2f}" for energy in each), f"{sum(each):.2f}"])
    return markdown(rows, right=range(2, len(rows[0])))


def _counted(tiles: list[dict[str, Any]]) -> str:
    """Instructions over which activity is counted, least to most: the number depends on the latency."""
    seen = sorted({int(re.search(r"(\d+) vector-cycles", t["provenance"]["activity"])[1]) for t in tiles})  # type: ignore[index]
    return f"{seen[0]} to {seen[-1]}"


def headline(document: dict[str, Any]) -> str:
    """The comparisons as the README shows them: medians, with their ranges; and with buffers, medians."""
    rows = [["tile", "over", "technology", "area", "power", "area, power with buffers", "published"]]
    beside = {(c["tile"], c["over"], c["technology"]): c["range"] for c in document["buffered"]}
    for c in document["comparisons"]:
        published, power = f"{c['published_area_percent']:+g} %", c["published_power_percent"]
        published += f", {power:+g} %" if power is not None else ""
        whole = beside.get((c["tile"], c["over"], c["technology"]))
        medians = [f"{whole[name]['median']:+.1f} %" for name in ("area_percent", "power_percent")] if whole else []
        figures = [_range(c, name) for name in ("area_percent", "power_percent")]
        rows.append([c["tile"], c["over"], c["technology"], *figures, ", ".join(medians), published])
    return markdown(rows, right=range(3, len(rows[0])))


def plot(document: dict[str, Any]) -> bytes:
    """Area by stage, energy, and area over delay, of the first technology, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    technology = document["technologies"][0]
    shown = [t for t in document["tiles"] if t["technology"] == technology]
    labels = [t["label"] for t in shown]
    figure, (area, energy, curve) = plt.subplots(1, 3, figsize=(16, 4.4), layout="constrained")
    left = np.zeros(len(shown))
    for stage in shown[0]["stages_gate_equivalents"]:
        widths = np.array([t["stages_gate_equivalents"][stage] / t["multiply_adds_per_cycle"] for t in shown])
        area.barh(labels, widths, 0.7, left=left, label=stage)
        left += widths
    for position, whole in enumerate(left):
        area.text(whole, position, f" {whole:.0f}", va="center", fontsize=8)
    area.set_title(f"area per multiply-add (NAND2 equivalents), {technology}", fontsize=10)
    area.legend(fontsize=7, frameon=False, loc="upper right")
    area.invert_yaxis()
    names = list(shown[0]["energy_fj_per_multiply_add"])
    for number, name in enumerate(names):
        places = np.arange(len(shown)) + 0.25 * (number - 1)
        energy.barh(places, [t["energy_fj_per_multiply_add"][name] for t in shown], 0.23, label=name)
    energy.set_yticks(np.arange(len(shown)), labels)
    energy.invert_yaxis()
    energy.set_title(f"energy per multiply-add (fJ), {technology}", fontsize=10)
    energy.legend(fontsize=7, frameon=False, loc="upper right")
    points = [p for p in document["points"] if p["technology"] == technology]
    for label in points[0]["tiles"]:
        found = sorted((p["clock_ns"], p["tiles"][label]["area_um2"], p["tiles"][label]["timing_met"]) for p in points)
        met = [(clock, um2) for clock, um2, fits in found if fits]
        [line] = curve.plot(*zip(*met, strict=True), marker="o", markersize=3, label=label)
        missed = [(clock, um2) for clock, um2, fits in found if not fits]
        if missed:
            curve.plot(*zip(*missed, strict=True), "x", color=line.get_color())
    curve.set_title(f"area of a tile (um2) over the clock period (ns; x: not met), {technology}", fontsize=10)
    curve.legend(fontsize=7, frameon=False, loc="upper right")
    for axis in (area, energy, curve):
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    # Without matplotlib's version in its metadata, the same figures give the same file.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
