"""``reports/layers``: whole language models on two devices, every format; and what decides."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.layers import accelerator, comparison, simulator, storage, workload
from hwsim.layers.comparison import Work
from hwsim.layers.text import energy_by_group
from hwsim.layers.workload import GEMM
from hwsim.synthesis import emit

DEVICES = ("datacentre", "edge")
MODELS = ("llama-3.1-8b", "qwen3-30b-a3b", "smollm2-135m")
PHASES = ("prefill", "decode")
CONTEXT = 2048
FORMATS = (
    "nvfp4", "four_over_six", "mixfp4", "mxfp4", "oas", "mbs_h", "m2xfp", "micromix", "mxfp6", "mxfp8", "bf16",
)  # fmt: skip
BASE = "nvfp4"
#: A linear layer of Llama-3.1-8B, to look at mappings.
LAYER = (4096, 4096)
INTERLEAVES = ((1, 4), (2, 2), (4, 1))


def write(folder: Path, build: Path) -> list[Path]:
    """Simulate and write ``layers.md``, ``layers.json`` and ``layers.png``."""
    document = measured(build)
    paths = {name: folder / f"layers.{name}" for name in ("md", "json", "png")}
    replace_all({
        paths["md"]: to_text(document), paths["json"]: json.dumps(document, indent=1) + "\n",
        paths["png"]: plot(document),
    })  # fmt: skip
    return list(paths.values())


def measured(build: Path) -> dict[str, Any]:
    """All figures, ready for JSON."""
    tell = partial(print, flush=True)
    formats = [storage.named(name) for name in FORMATS]
    models, devices, undecided = [], {}, []
    for name in DEVICES:
        device = accelerator.load(name)
        works = [Work.of_model(workload.model(m), phase, 1, CONTEXT) for m in MODELS for phase in PHASES]
        found = comparison.compare(works, formats, device, build, progress=tell)
        models += [{"device": name} | m for m in found["models"]]
        devices[name] = {"equal": found["equal"], "provenance": found["provenance"]}
        undecided += [{"device": name} | r for r in found["ranking"] if r["undecided"]]
        tell(f"{name}: simulated")
    return {
        "made_by": emit.generator(),
        "context": CONTEXT,
        "models": models,
        "undecided": undecided,
        "devices": devices,
        "equal_area": _equal_area(build),
        "interleaves": [_interleaved(rows, m, build) for m in (1, CONTEXT) for rows in INTERLEAVES],
    }


def _equal_area(build: Path) -> list[dict[str, Any]]:
    """Prefill of the first model with as many tiles as fit the area that the first format's array has."""
    device = accelerator.load(DEVICES[0])
    formats = [storage.named(name) for name in FORMATS]
    work = Work.of_model(workload.model(MODELS[0]), "prefill", 1, CONTEXT)
    return comparison.compare([work], formats, device, build, "area")["models"]


def _interleaved(interleave: tuple[int, int], m: int, build: Path) -> dict[str, Any]:
    """One layer with a fixed interleave."""
    device = simulator.device(accelerator.load(DEVICES[0]), storage.named(BASE), build)
    fixed = replace(device, accelerator=replace(device.accelerator, interleave=interleave))
    found = simulator.record(GEMM("layer", m, *LAYER, quantised=m * LAYER[1]), fixed)
    return {
        "m": m, "interleave": list(interleave), "time_s": found["time_s"], "bound": found["bound"],
        "dram_bits": sum(found["dram_bits"][name] for name in "abd"), "pj_per_mac": found["pj_per_mac"],
    }  # fmt: skip


def _pick(document: dict[str, Any], device: str, model: str, phase: str, format: str) -> dict[str, Any]:
    return next(
        m for m in document["models"]
        if (m["device"], m["model"], m["phase"], m["format"]) == (device, model, phase, format)
    )  # fmt: skip


def _total(m: dict[str, Any]) -> float:
    return sum(m["energy_pj"].values())


def findings(document: dict[str, Any]) -> dict[str, float]:
    """Figures that the text on what decides quotes, of the first model on the first device."""
    pick = partial(_pick, document, DEVICES[0], MODELS[0])
    decode, prefill = partial(pick, "decode"), partial(pick, "prefill")
    nvfp4 = decode(BASE)

    def over(phase: Any, one: str, other: str, value: Any) -> float:
        return 100 * (value(phase(one)) / value(phase(other)) - 1)

    def time(m: dict[str, Any]) -> float:
        return m["time_s"]

    def tile(m: dict[str, Any]) -> float:
        return m["energy_pj"]["tile"]

    same = [decode(f)["time_s"] for f in ("nvfp4", "four_over_six", "mixfp4", "oas", "m2xfp")]
    sram = sum(prefill(BASE)["energy_pj"][name] for name in simulator.SRAM)
    slow, fast = (
        max(r["time_s"] for r in document["interleaves"] if r["m"] == 1),
        min(r["time_s"] for r in document["interleaves"] if r["m"] == 1),
    )
    return {
        "mxfp4_time": over(decode, "mxfp4", BASE, time),
        "spread_4_5": 100 * (max(same) / min(same) - 1),
        "dram_share": 100 * nvfp4["energy_pj"]["dram"] / _total(nvfp4),
        "tile_share": 100 * (nvfp4["energy_pj"]["tile"] + nvfp4["energy_pj"]["idle"]) / _total(nvfp4),
        "mixfp4_tile": over(prefill, "mixfp4", BASE, tile),
        "mixfp4_decode": over(decode, "mixfp4", BASE, _total),
        "mixfp4_prefill": over(prefill, "mixfp4", BASE, _total),
        "interleave_time": slow / fast,
        "sram_fj": 1e3 * sram / prefill(BASE)["multiply_adds"],
        "tile_fj": 1e3 * tile(prefill(BASE)) / prefill(BASE)["multiply_adds"],
    }


_TEXT = """\
# Whole models

Made by `python -m hwsim.report layers`; not edited by hand. All figures, and the source of every constant:
`layers.json`.

{made_by}.

{models} with a context of {context} tokens, batch 1, on two presets:

{equal}

Every GEMM has its own best mapping in every format; attention is in BF16 in all of them. `python -m hwsim.layer` makes
the same for other models, shapes and accelerators.

![Energy by format](layers.png)

{tables}

*range*: with the least and the largest constants of SRAM and DRAM that sources give. {undecided}

## Equal area

Prefill of {first}, {first_device}, with as many tiles as fit the area of the array of {base} (4 x 4):

{area}

## What decides

On {first_device}, {first}:

- **Decoding is bits per element.** MXFP4 (4.25 bits) takes {mxfp4_time:+.1f} % of NVFP4's time (4.5 bits); formats of
  4.5 bits differ by {spread_4_5:.1f} %. DRAM takes {dram_share:.0f} % of the energy, the tiles {tile_share:.0f} %.
- **What a format's tile costs hardly shows.** MixFP4's tile spends {mixfp4_tile:+.1f} % over NVFP4's; the whole
  device {mixfp4_decode:+.1f} % in decoding and {mixfp4_prefill:+.1f} % in prefill.
- **The mapping outweighs the format.** One layer of 4096 x 4096 in NVFP4 with other interleaves of a tile's outputs:

{interleaves}

  The slowest takes {interleave_time:.1f} times the fastest at M = 1.
- **Operands cost what arithmetic costs.** In prefill, buffers spend {sram_fj:.0f} fJ a multiply-add beside
  {tile_fj:.0f} fJ in the tile.
- **The chain interval is a property of a format's tile**: {intervals}.
"""


def _figure(value: float) -> str:
    """Four digits, or a whole number."""
    return f"{value:.4g}" if value < 1e4 else f"{value:.0f}"


def _table(document: dict[str, Any], device: str, model: str, phase: str) -> str:
    rows = [["format", "bits of weights", "ms", "tokens/s", "bound by", "utilisation", "uJ a token", "range",
             "tiles", "SRAM", "DRAM", f"energy over {BASE}"]]  # fmt: skip
    base = _total(_pick(document, device, model, phase, BASE))
    for name in FORMATS:
        m = _pick(document, device, model, phase, name)
        groups, pj = energy_by_group(m["energy_pj"]), _total(m)
        low, high = (1e-6 * e / m["tokens"] for e in m["energy_range_pj"])
        bits = float(storage.named(name).bits("b", LAYER[1]))
        rows.append([
            name, f"{bits:.3g}", f"{1e3 * m['time_s']:.4g}", f"{m['tokens_s']:.4g}", m["bound"],
            f"{100 * m['utilisation']:.1f} %", _figure(1e-6 * m["pj_per_token"]), f"{_figure(low)} to {_figure(high)}",
            *(f"{100 * groups[g] / pj:.1f} %" for g in ("tile", "SRAM", "DRAM")),
            "" if name == BASE else f"{100 * (pj / base - 1):+.1f} %",
        ])  # fmt: skip
    return markdown(rows, right=[1, 2, 3, *range(5, 12)])


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    tables = []
    for device in DEVICES:
        for model in MODELS:
            for phase in PHASES:
                tables.append(f"## {device}: {model}, {phase}\n\n{_table(document, device, model, phase)}")
    area = [["format", "tiles", "mm2", "ms", "uJ a token"]]
    for m in document["equal_area"]:
        area.append([m["format"], " x ".join(map(str, m["tiles"])), f"{1e-6 * m['area_um2']:.3f}",
                     f"{1e3 * m['time_s']:.4g}", _figure(1e-6 * m["pj_per_token"])])  # fmt: skip
    rows = [["M", "interleave", "us", "bound by", "DRAM traffic (Mbit)", "pJ a multiply-add"]]
    for r in document["interleaves"]:
        rows.append([str(r["m"]), "{} x {}".format(*r["interleave"]), f"{1e6 * r['time_s']:.1f}", r["bound"],
                     f"{1e-6 * r['dram_bits']:.0f}", f"{r['pj_per_mac']:.3g}"])  # fmt: skip
    flipped = [
        f"{a} and {b} ({r['device']}, {r['model']}, {r['phase']})" for r in document["undecided"]
        for a, b in r["undecided"]
    ]  # fmt: skip
    undecided = f"Undecided within it: {'; '.join(flipped)}." if flipped else "It turns no order of two formats round."
    provenance = document["devices"][DEVICES[0]]["provenance"]
    intervals: dict[int, list[str]] = {}
    for name in FORMATS:
        intervals.setdefault(provenance[name]["chain_interval"]["value"], []).append(name)
    return _TEXT.format(
        made_by=document["made_by"], models=", ".join(MODELS), context=document["context"],
        equal="\n".join(f"- `{n}`: {d['equal']}" for n, d in document["devices"].items()),
        tables="\n\n".join(tables), undecided=undecided, first=MODELS[0], first_device=DEVICES[0], base=BASE,
        area=markdown(area, right=(2, 3, 4)),
        interleaves="\n".join("  " + line for line in markdown(rows, right=(0, 2, 4, 5)).splitlines()),
        intervals="; ".join(f"{x} for {', '.join(names)}" for x, names in sorted(intervals.items())),
        **findings(document),
    )  # fmt: skip


def plot(document: dict[str, Any]) -> bytes:
    """Energy a token by component, every format, both phases of the first model on the first device."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, phase in zip(figure.subplots(1, len(PHASES)), PHASES, strict=True):
        models = [_pick(document, DEVICES[0], MODELS[0], phase, name) for name in FORMATS]
        bottom: Sequence[float] = [0.0] * len(models)
        for group in energy_by_group(models[0]["energy_pj"]):
            heights = [1e-6 * energy_by_group(m["energy_pj"])[group] / m["tokens"] for m in models]
            if any(heights):
                axes.bar(FORMATS, heights, bottom=bottom, label=group)
                bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
        ends = [[1e-6 * e / m["tokens"] for e in m["energy_range_pj"]] for m in models]
        spread = [[max(b - low, 0.0) for b, (low, _) in zip(bottom, ends, strict=True)],
                  [max(high - b, 0.0) for b, (_, high) in zip(bottom, ends, strict=True)]]  # fmt: skip
        axes.errorbar(FORMATS, bottom, yerr=spread, fmt="none", color="0.2", capsize=3)
        axes.set(title=f"{MODELS[0]}, {phase}, {DEVICES[0]}", ylabel="uJ a token")
        axes.tick_params(axis="x", labelrotation=60, labelsize=8)
        axes.legend(fontsize=8)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=120, metadata={"Software": None})
    return target.getvalue()
