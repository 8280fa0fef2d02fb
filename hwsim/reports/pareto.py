"""``reports/pareto``: accuracy of every format against what it costs, in silicon and in a device."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hwsim.base.errors import InputError
from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.layers import storage
from hwsim.reports import layers
from hwsim.synthesis import emit

#: Costs: key, heading, and whether it is of the tile alone.
COSTS = (
    ("um2_per_mac", "um2 a multiply-add a cycle (tile)"),
    ("fj_per_mac", "fJ a multiply-add (tile)"),
    ("mj_per_token", "mJ a token (decoding)"),
)


def write(folder: Path, build: Path) -> list[Path]:
    """Put ``accuracy.json`` and ``layers.json`` of the same folder together; write ``pareto.md``, JSON and picture.

    Raises
    ------
    InputError
        If one of them is not there.
    """
    found = {}
    for name in ("accuracy", "layers"):
        path = folder / f"{name}.json"
        if not path.exists():
            raise InputError(f"{path} does not exist: python -m hwsim.report {name} makes it")
        found[name] = json.loads(path.read_text())
    document = {"made_by": emit.generator(), "points": points(found["accuracy"], found["layers"])}
    paths = {name: folder / f"pareto.{name}" for name in ("md", "json", "png")}
    replace_all({
        paths["md"]: to_text(document), paths["json"]: json.dumps(document, indent=1) + "\n",
        paths["png"]: plot(document),
    })  # fmt: skip
    return list(paths.values())


def points(accuracy: dict[str, Any], of_layers: dict[str, Any]) -> list[dict[str, Any]]:
    """Accuracy and costs of every format that both reports have."""
    device, model = layers.DEVICES[0], layers.MODELS[0]
    provenance = of_layers["devices"][device]["provenance"]
    runs = accuracy["runs"]
    found = []
    for name in layers.FORMATS:
        measured = [r for run in runs for r in run["recipes"] if r["recipe"] == name]
        if not measured:
            continue
        format = storage.named(name)
        steps, outputs = provenance[name]["tile_steps"]["value"], provenance[name]["tile_outputs"]["value"]
        energies = provenance[name]["tile_energy"]["value"]
        cycles = sum(share / step for share, step in zip(format.shares, steps, strict=True)) / outputs
        decode = next(
            m for m in of_layers["models"]
            if (m["device"], m["model"], m["phase"], m["format"]) == (device, model, "decode", name)
        )  # fmt: skip
        found.append({
            "format": name,
            "output_db": sum(r["output_db"] for r in measured) / len(measured),
            "nll": sum(r["over_fp32"] for r in measured) / len(measured),
            "um2_per_mac": provenance[name]["tile_area"]["value"] * cycles,
            "fj_per_mac": 1e3 * sum(
                share * energy / step for share, energy, step in zip(format.shares, energies, steps, strict=True)
            ) / outputs,
            "mj_per_token": 1e-9 * decode["pj_per_token"],
        })  # fmt: skip
    for key, _ in COSTS:
        for point in found:
            point[f"front_{key}"] = is_on_front(point, found, key)
    return found


def is_on_front(point: dict[str, Any], others: Sequence[dict[str, Any]], cost: str) -> bool:
    """Whether no other format is at least as good in output error and in a cost, and better in one of them."""
    return not any(
        o["output_db"] >= point["output_db"] and o[cost] <= point[cost]
        and (o["output_db"] > point["output_db"] or o[cost] < point[cost])
        for o in others
    )  # fmt: skip


_TEXT = """\
# Is a format worth its silicon?

Made by `python -m hwsim.report pareto` from `accuracy.json` and `layers.json`; not edited by hand. All figures:
`pareto.json`.

![Accuracy against cost](pareto.png)

{made_by}. Accuracy: SmolLM2-135M, weights and activations ([accuracy.md](accuracy.md)). Tile: 8 x 8 outputs on asap7.
Token: {model} on the preset `{device}` ([layers.md](layers.md)). **Bold**: no other format is both more accurate and
cheaper.

{table}

Formats that share a tile differ in what quantises, stores or corrects: Four Over Six has NVFP4's tile, OAS and MBS that
of MXFP4 with blocks of 16. Corrections of MBS are in the energy of a token, not in the tile; MicroMix's tile is that of
three formats, its shares of K are those of the layer reports.
"""


def headline(document: dict[str, Any]) -> str:
    """The table, as the README shows it."""
    rows = [["format", "output SQNR (dB)", "NLL over FP32", *(heading for _, heading in COSTS)]]
    for p in sorted(document["points"], key=lambda p: -p["output_db"]):
        costs = [f"{p[key]:.4g}" for key, _ in COSTS]
        costs = [f"**{c}**" if p[f"front_{key}"] else c for c, (key, _) in zip(costs, COSTS, strict=True)]
        rows.append([p["format"], f"{p['output_db']:.1f}", f"{p['nll']:+.2f}", *costs])
    return markdown(rows, right=range(1, 6))


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    return _TEXT.format(
        made_by=document["made_by"], model=layers.MODELS[0], device=layers.DEVICES[0], table=headline(document)
    )


def plot(document: dict[str, Any]) -> bytes:
    """Output error against each cost, the front marked."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (key, heading) in zip(figure.subplots(1, len(COSTS), sharey=True), COSTS, strict=True):
        front = sorted((p for p in document["points"] if p[f"front_{key}"]), key=lambda p: p[key])
        axes.step([p[key] for p in front], [p["output_db"] for p in front], where="post", color="C2", lw=1)
        for p in document["points"]:
            on = p[f"front_{key}"]
            axes.plot(p[key], p["output_db"], "o", color="C2" if on else "0.6", ms=5, zorder=3)
            axes.annotate(p["format"], (p[key], p["output_db"]), (4, 3), textcoords="offset points", fontsize=7)
        axes.set(xlabel=heading, xscale="log")
        axes.grid(alpha=0.3, which="both")
    figure.axes[0].set_ylabel("output SQNR of linear layers (dB)")
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=120, metadata={"Software": None})
    return target.getvalue()
