"""Results of the layer simulator for people: tables and a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hwsim.base.text import table
from hwsim.layers.simulator import SRAM

#: Parts of the energy as tables and pictures group them.
_GROUPS = {
    "tile": ("tile", "idle", "leakage"),
    "quantiser": ("quantiser",),
    "correction": ("correction",),
    "SRAM": (*SRAM, "sram_leakage"),
    "DRAM": ("dram", "dram_static"),
}
_LOSSES = ("edge", "chain", "stall", "tail", "quantiser", "correction")


def energy_by_group(energy: Mapping[str, float]) -> dict[str, float]:
    """pJ by group of components."""
    return {group: sum(energy[name] for name in names) for group, names in _GROUPS.items()}


def to_text(document: Mapping[str, Any]) -> str:
    """The tables that ``hwsim.layer`` prints."""
    parts = [f"accelerator {document['accelerator']}; {document['equal']}; every GEMM at its own best mapping"]
    works = list(dict.fromkeys((m["model"], m["phase"], m.get("batch"), m.get("context")) for m in document["models"]))
    for model, phase, batch, context in works:
        of_work = [m for m in document["models"] if (m["model"], m["phase"], m.get("batch")) == (model, phase, batch)]
        title = f"{model}, {phase}, batch {batch}, context {context}" if model else "the GEMMs given"
        parts += ["", f"{title}:", _formats(of_work)]
        records = [r for r in document["records"] if (r["model"], r["phase"]) == (model, phase)]
        names = list(dict.fromkeys(m["format"] for m in of_work))
        if len(names) == 1 or (not model and len(records) <= 24):
            parts += ["", _gemms(records)]
    for ranking in document["ranking"]:
        for better, worse in ranking["undecided"]:
            where = f" ({ranking['model']}, {ranking['phase']})" if ranking["model"] else ""
            parts.append(f"undecided: {better} and {worse} change places in energy within the range of the memories' "
                         f"constants{where}")  # fmt: skip
    parts += [f"warning: {text}" for text in document["warnings"]]
    return "\n".join([*parts, "", _sources(document)])


_LEFT_OUT = "area of memories and engines; DRAM banks, networks, softmax and other work that is no GEMM"


def _sources(document: Mapping[str, Any]) -> str:
    """Where the figures come from; all of it is in the JSON."""
    by_format = document["provenance"]
    first = next(iter(by_format.values()))
    sram = ", ".join(f"{first[f'sram_{s}']['value']:.3g} {first[f'sram_{s}']['unit']} ({s})" for s in ("a", "b", "out"))
    low, high = first["dram_range"]["value"]
    share_low, share_high = first["sram_range"]["value"]
    engine = first["quantiser"]["value"]
    rows = [
        ["tiles:", "; ".join(dict.fromkeys(p["tile_energy"]["source"] for p in by_format.values()))],
        ["clock:", f"{first['clock']['value']:g} ns"],
        ["SRAM:", f"{sram}, range {share_low:g} to {share_high:g} times that; {first['sram_a']['source']}"],
        ["DRAM:", f"{first['dram']['value']:g} pJ/bit, range {low:g} to {high:g}; {first['dram']['source']}"],
        ["engine:", first["quantiser"]["source"] if engine is None else
         f"{engine['lanes']} elements a cycle, {engine['pj_per_element']:g} pJ each (1 unless given: an assumption)"],
    ]  # fmt: skip
    unit = next((r["unit"] for r in document["records"] if r["kind"] == "attention"), None)
    if unit and "abstract" not in unit:
        rows.append(["attention:", f"in BF16 for all formats, on as many tiles of {unit}, whose area is not counted"])
    rows.append(["left out:", _LEFT_OUT])
    return table(rows)


def _formats(models: Sequence[Mapping[str, Any]]) -> str:
    tokens = "tokens" in models[0]
    head = ["format", "time (ms)", *(["tokens/s"] if tokens else []), "bound by", "utilisation (%)",
            "lost most to (%)", "energy (mJ)", "range (mJ)", "  tiles (%)", "  engines (%)", "  SRAM (%)", "  DRAM (%)",
            *(["uJ/token"] if tokens else []), "pJ/multiply-add", "tiles' area (mm2)"]  # fmt: skip
    rows = [head]
    for m in models:
        groups = energy_by_group(m["energy_pj"])
        # Engines that quantise, and vector lanes that correct.
        groups["quantiser"] += groups.pop("correction")
        pj = sum(groups.values())
        worst = max(_LOSSES, key=lambda name: m["losses"][name])
        low, high = m["energy_range_pj"]
        rows.append([
            m["format"], f"{1e3 * m['time_s']:.4g}", *([f"{m['tokens_s']:.4g}"] if tokens else []), m["bound"],
            f"{100 * m['utilisation']:.1f}", f"{worst} {100 * m['losses'][worst]:.1f}", f"{1e-9 * pj:.4g}",
            f"{1e-9 * low:.4g} to {1e-9 * high:.4g}", *(f"{100 * e / pj:.1f}" for e in groups.values()),
            *([f"{1e-6 * m['pj_per_token']:.4g}"] if tokens else []), f"{m['pj_per_mac']:.3g}",
            f"{1e-6 * m['area_um2']:.3f}",
        ])  # fmt: skip
    # Formats stand in columns: there are few of them and many figures.
    flipped = [list(column) for column in zip(*rows, strict=True)]
    return table(flipped, right=range(1, len(rows)))


def _gemms(records: Sequence[Mapping[str, Any]]) -> str:
    rows = [["GEMM", "format", "M", "N", "K", "count", "rm x rn", "block", "order", "chunks", "compute", "stall",
             "tail", "quantiser", "correction", "total (cycles)", "utilisation (%)", "bound by"]]  # fmt: skip
    for r in records:
        m, c = r["mapping"], r["cycles"]
        rows.append([
            r["name"], r["format"], *map(str, r["gemm"]), str(r["count"]), f"{m['rm']} x {m['rn']}",
            f"{m['mb']} x {m['nb']}", m["order"], str(m["chunks"]),
            *(str(c[name]) for name in ("compute", "stall", "tail", "quantiser", "correction", "total")),
            f"{100 * r['utilisation']:.1f}", r["bound"],
        ])  # fmt: skip
    return table(rows, right=[2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15, 16])


def plot(document: Mapping[str, Any], kind: str) -> bytes:
    """A picture: the roofline with every GEMM on it, and the energy of every format by component.

    Parameters
    ----------
    document : mapping
        As :func:`hwsim.layers.comparison.compare` gives it.
    kind : str
        ``png``, ``svg`` or ``pdf``.
    """
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    roof, bars = figure.subplots(1, 2)
    formats = list(dict.fromkeys(r["format"] for r in document["records"]))
    for i, name in enumerate(formats):
        records = [r for r in document["records"] if r["format"] == name]
        macs = [r["gemm"][0] * r["gemm"][1] * r["gemm"][2] for r in records]
        x = [mac / (r["compulsory_bits"] / 8) for mac, r in zip(macs, records, strict=True)]
        y = [mac / r["time_s"] / 1e12 for mac, r in zip(macs, records, strict=True)]
        roof.scatter(x, y, s=16, color=f"C{i}", label=name, zorder=3)
        if i == 0:
            # Peak: what would be reached at full utilisation.
            peak = max(v / r["utilisation"] for v, r in zip(y, records, strict=True))
            slope = records[0]["bandwidth_gb_s"]["peak"] / 1e3
            reach = [min(x) / 2, peak / slope, max(max(x), peak / slope) * 2]
            roof.plot(reach, [slope * reach[0], peak, peak], color="0.5", lw=1)
    roof.set(xscale="log", yscale="log", xlabel="multiply-adds per byte that must cross the DRAM's port",
             ylabel="10^12 multiply-adds/s", title="Roofline and GEMMs")  # fmt: skip
    roof.legend(fontsize=7)
    models = document["models"]
    labels = [f"{m['format']}\n{m['phase']}" if m["phase"] else m["format"] for m in models]
    per = [m.get("tokens") or m["multiply_adds"] for m in models]
    unit, factor = ("uJ a token", 1e-6) if models[0].get("tokens") else ("pJ a multiply-add", 1.0)
    bottom = [0.0] * len(models)
    for group in _GROUPS:
        heights = [factor * energy_by_group(m["energy_pj"])[group] / n for m, n in zip(models, per, strict=True)]
        if any(heights):
            bars.bar(labels, heights, bottom=bottom, label=group)
            bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
    spread = [
        [b - factor * m["energy_range_pj"][0] / n for b, m, n in zip(bottom, models, per, strict=True)],
        [factor * m["energy_range_pj"][1] / n - b for b, m, n in zip(bottom, models, per, strict=True)],
    ]
    bars.errorbar(
        labels, bottom, yerr=[[max(v, 0.0) for v in side] for side in spread], fmt="none", color="0.2", capsize=3
    )
    bars.set(ylabel=unit, title="Energy; whiskers: range of the memories' constants")
    bars.tick_params(axis="x", labelrotation=60, labelsize=7)
    bars.legend(fontsize=7)
    target = io.BytesIO()
    figure.savefig(target, format=kind, dpi=130)
    return target.getvalue()


def suffix(path: Path) -> str:
    """Kind of picture that a path asks for; empty if it is none."""
    kind = path.suffix.removeprefix(".")
    return kind if kind in ("png", "svg", "pdf") else ""
