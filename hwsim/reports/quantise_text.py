"""The text and the picture of ``reports/quantise``, made from its JSON."""

from __future__ import annotations

import io
from typing import Any

from hwsim.base.text import markdown

_TEXT = """\
# What quantisation engines cost

Made by `python -m hwsim.report quantise`; not edited by hand. All figures: `quantise.json`.

{made_by}. Machine: {machine}.

Hardware that turns values into codes: a block a cycle, all of it, with registers at inputs and outputs and as many
places in between as the clock needs. Every netlist equals golden in every bit, on its stimulus and on the testbench's
blocks. BF16 unless said. Mapped module by module; 1 GHz on asap7, 200 MHz on the others.

![area by stage, and energy](quantise.png)

## Area

um2 and NAND2 equivalents of the whole engine; *logic*: without flip-flops and clock gates; *a lane*: um2 for one
element a cycle; *over {baseline}*: that, over the baseline's. *told*: bits that say what a tensor's thresholds are,
held outside the engine in registers that all engines of a core share, and what those would take.

{areas}

## By stage

NAND2 equivalents.

{stages}

## Energy

fJ for each element, glitches included, on {vectors} blocks; in brackets without glitches.

{energies}

## What was to be reached

Logic on Nangate 45, um2.

{goals}

M2XFP's published engine (arXiv 2601.19213, 28 nm) is 2451.5 um2: the largest exponent with 32 lanes of E2M1
(2119.84), and four choices of a largest element (82.908 each). Its public RTL takes FP32 and has no register; in the
published synthesis report the 32 lanes that round to E2M3 are unresolved references, so that they are not in the
figure. Mapped to Nangate 45 by Yosys 0.70 and ABC at 4 ns, flat, the content of that figure takes 5518 um2 and the
complete public RTL 7250 um2. Ours is complete, by the paper's Algorithm 1: E2M1's subnormal numbers are rounded to
nearest, which the public RTL does not do, and metadata refine the element that the decoder refines. The public NVFP4
engine (nvesm2) takes 148,140 um2 in the same flow, registers included, for a block of 32 every 11 cycles.

## Share of a tile

What an engine adds to an 8 x 8 tile of its format, in percent of the tile's area and energy on Gaussian data. A tile
with K = 64 finishes 4096 / K results a cycle, and only these are quantised. *decode*: the tile's operand decoders.

{shares}

M2XFP publishes 0.26 % of area and 0.36 % of power for decoding and quantising in its accelerator, buffers included.

## Two measures

Four Over Six and MixFP4 choose by squared errors. Public code sums them in FP32, in an order of its own; the engines
compare exactly (`golden.quantize(..., measure="exact")`). Blocks of a million that choose otherwise, on {blocks}
blocks:

{disagreement}

They differ on exact ties, which rounding decides in FP32. Data on a grid is full of them.
"""


def headline(document: dict[str, Any]) -> str:
    """What engines cost on the first technology, as the README shows it."""
    engines = [e for e in document["engines"] if e["technology"] == document["engines"][0]["technology"]]
    [base] = [e for e in engines if e["label"] == document["baseline"]]
    shares = {s["label"]: s for s in document["shares"] if s["technology"] == engines[0]["technology"]}
    ks = [key.rpartition("k")[2] for key in document["shares"][0] if "area_percent_k" in key]
    rows = [["engine", "latency", "NAND2 a lane", f"over {document['baseline']}", "fJ an element",
             *(f"of its tile, K = {k}" for k in ks)]]  # fmt: skip
    for e in engines:
        if e["elements_per_cycle"] == 1:
            continue
        lane, base_lane = (x["gate_equivalents"] / x["elements_per_cycle"] for x in (e, base))
        share = shares.get(e["label"])
        rows.append([
            e["label"], str(e["latency_cycles"]), f"{lane:.0f}",
            "" if e is base else f"{100 * (lane / base_lane - 1):+.0f} %",
            f"{e['energy_fj_per_element']['gaussian']:.0f}",
            *(f"{share[f'area_percent_k{k}']:.2f} %" if share else "" for k in ks),
        ])  # fmt: skip
    return markdown(rows, right=range(1, len(rows[0])))


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    engines = document["engines"]
    technologies = list(dict.fromkeys(e["technology"] for e in engines))
    bases = {e["technology"]: e for e in engines if e["label"] == document["baseline"]}
    areas = [["engine", "technology", "clock (ns)", "needs (ns)", "latency", "um2", "NAND2", "logic um2", "a lane",
              f"over {document['baseline']}", "told"]]  # fmt: skip
    for e in engines:
        base = bases[e["technology"]]
        lane, base_lane = (x["area_um2"] / x["elements_per_cycle"] for x in (e, base))
        # What takes one value a cycle does another thing.
        over = f"{100 * (lane / base_lane - 1):+.1f} %" if e is not base and e["elements_per_cycle"] > 1 else ""
        told = f"{e['configuration_bits']} bits, {e['configuration_um2']:.0f} um2" if e["configuration_bits"] else ""
        areas.append([
            e["label"], e["technology"], f"{e['clock_ns']:g}",
            f"{e['critical_path_ns']:.3g}" + ("" if e["timing_met"] else " **not met**"), str(e["latency_cycles"]),
            f"{e['area_um2']:.0f}", f"{e['gate_equivalents']:.0f}", f"{e['logic_um2']:.0f}", f"{lane:.1f}", over, told,
        ])  # fmt: skip
    names = list(dict.fromkeys(name for e in engines for name in e["stages_gate_equivalents"]))
    rows = [["engine", "technology", *names]]
    for e in engines:
        parts = e["stages_gate_equivalents"]
        if parts:
            rows.append([e["label"], e["technology"], *(f"{parts[n]:.0f}" if parts.get(n) else "" for n in names)])
    stimuli = list(engines[0]["energy_fj_per_element"])
    energies = [["engine", "technology", *stimuli, "idle (mW)"]]
    for e in engines:
        timed, settled = e["energy_fj_per_element"], e["energy_settled_fj_per_element"]
        energies.append([
            e["label"], e["technology"], *(f"{timed[s]:.1f} ({settled[s]:.1f})" for s in stimuli),
            f"{e['power_idle_mw']:.3g}",
        ])  # fmt: skip
    goals = [["engine", "goal", "here"]]
    for e in engines:
        if e["technology"] == technologies[-1] and e["label"] in document["goals_um2"]:
            goals.append([e["label"], str(document["goals_um2"][e["label"]]), f"{e['logic_um2']:.0f}"])
    ks = sorted(int(key.removeprefix("area_percent_k")) for key in document["shares"][0] if "area_percent_k" in key)
    shares = [["engine", "tile", "technology", "decode: area, energy", *(f"K = {k}: area, energy" for k in ks)]]
    for s in document["shares"]:
        shares.append([
            s["label"], s["tile"], s["technology"],
            f"{s['decode_percent']:.2f} %, {s['decode_energy_percent']:.2f} %",
            *(f"{s[f'area_percent_k{k}']:.2f} %, {s[f'energy_percent_k{k}']:.2f} %" for k in ks),
        ])  # fmt: skip
    differ = [["data", "system", "BF16 tensors", "FP32 tensors"]]
    differ += [[d["data"], d["system"], f"{d['bf16']:.0f}", f"{d['fp32']:.0f}"] for d in document["disagreement"]]
    return _TEXT.format(
        made_by=document["made_by"], machine=document["machine"], baseline=document["baseline"],
        vectors=document["vectors"], blocks=document["blocks"], areas=markdown(areas, right=range(2, 10)),
        stages=markdown(rows, right=range(2, len(rows[0]))), energies=markdown(energies, right=range(2, 6)),
        goals=markdown(goals, right=(1, 2)), shares=markdown(shares, right=range(3, 4 + len(ks))),
        disagreement=markdown(differ, right=(2, 3)),
    )  # fmt: skip


def plot(document: dict[str, Any]) -> bytes:
    """Area by stage, and energy, of every engine on the first technology, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    engines = [e for e in document["engines"] if e["technology"] == document["engines"][0]["technology"]]
    engines = [e for e in engines if e["stages_gate_equivalents"]]
    names = list(dict.fromkeys(name for e in engines for name in e["stages_gate_equivalents"]))
    figure, (areas, energies) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    labels = [e["label"] for e in engines]
    left = [0.0] * len(engines)
    for number, name in enumerate(names):
        widths = [e["stages_gate_equivalents"].get(name, 0) / e["elements_per_cycle"] for e in engines]
        areas.barh(labels, widths, left=left, label=name, color=f"C{number}")
        left = [a + b for a, b in zip(left, widths, strict=True)]
    areas.invert_yaxis()
    areas.set(xlabel="NAND2 equivalents for an element a cycle", title=engines[0]["technology"])
    areas.legend(fontsize=8)
    stimuli = list(engines[0]["energy_fj_per_element"])
    height = 0.8 / len(stimuli)
    for number, name in enumerate(stimuli):
        places = [i + (number - 1) * height for i in range(len(engines))]
        energies.barh(places, [e["energy_fj_per_element"][name] for e in engines], height, label=name)
    energies.set_yticks(range(len(engines)), labels)
    energies.invert_yaxis()
    energies.set(xlabel="fJ an element")
    energies.legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
