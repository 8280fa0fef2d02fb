"""``reports/activity``: toggles with delays beside Icarus, models of short pulses, and speed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import units
from hwsim.analysis import netlist_reader, timed, timing
from hwsim.analysis.sdf import to_sdf
from hwsim.analysis.timed import Delays, Pulses
from hwsim.base import simulators
from hwsim.base.errors import InputError
from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.benchmarks.machine import processor
from hwsim.costs import flow
from hwsim.costs.flow import Workload, percent
from hwsim.peers import netlist_simulators
from hwsim.synthesis import emit
from hwsim.synthesis.mapping import Mapped, Options, map_design
from hwsim.technology import catalogue

#: What is compared with Icarus, net by net: unit, settings, technology, vectors.
COMPARED: tuple[tuple[str, dict[str, Any], str, int], ...] = (
    ("mixfp4_decode", {}, "asap7", 1024),
    ("m2xfp_decode", {}, "sky130hd", 1024),
    ("nvfp4_decode", {}, "sg13g2", 1024),
    ("nvfp4_mma", {"m": 1, "n": 1}, "asap7", 256),
    ("m2xfp_mma", {"m": 1, "n": 1}, "sky130hd", 256),
)
#: Tiles of which the models of pulses are compared, on this technology, and the baseline of each.
TILES = {"nvfp4_mma": None, "mixfp4_mma": "nvfp4_mma", "mxfp4_mma": None, "m2xfp_mma": "mxfp4_mma"}
TECHNOLOGY = "asap7"
SPREAD, SEEDS = 0.15, (1, 2, 3)
_WARM_UP = 8
#: Settings of the tiles.
_SETTINGS = {"m": 1, "n": 1}


def write(folder: Path, build: Path) -> list[Path]:
    """Compare and measure; write ``activity.md`` and ``activity.json``.

    Raises
    ------
    InputError
        If Icarus is not installed.
    """
    if not simulators.available("icarus"):
        raise InputError("Icarus is not installed: no iverilog on PATH (Debian: apt install iverilog)")
    document = {
        "made_by": emit.generator(),
        "machine": processor(),
        "icarus": simulators.version("icarus"),
        "technology": TECHNOLOGY,
        "spread": SPREAD,
        "seeds": list(SEEDS),
        "baselines": TILES,
        "compared": [_compared(*case, build) for case in COMPARED],
        "pulses": _pulses(build),
    }
    paths = [folder / f"activity.{name}" for name in ("md", "json")]
    replace_all({paths[0]: to_text(document), paths[1]: json.dumps(document, indent=1) + "\n"})
    return paths


def _map(unit: str, settings: dict[str, Any], technology: str, build: Path) -> Mapped:
    design, library = units.design(unit, settings), catalogue.load(technology, build_dir=build)
    return map_design(design, library, Options(library.clock_period_ns, hierarchical=design.unit.hierarchical), build)


def _compared(unit: str, settings: dict[str, Any], technology: str, vectors: int, build: Path) -> dict[str, Any]:
    """Toggles of every net by Icarus with SDF and by the timed engine, on one stream, and the seconds of both."""
    mapped = _map(unit, settings, technology, build)
    design, library = mapped.design, mapped.library
    netlist = netlist_reader.read(mapped.netlist_json, design.name, library)
    loads = netlist.loads(mapped.wire_load)
    slack = timing.analyse(netlist, library.clock_period_ns, loads)
    inputs = design.unit.stimulus(design.parameters, vectors, 1, None)
    arguments = netlist, slack.slew_ns, loads, inputs, 1, _WARM_UP
    timed.simulate(*arguments)  # loads the compiled code
    start = time.perf_counter()
    simulated = timed.simulate(*arguments)
    ours = time.perf_counter() - start
    period, sdf = 2 * round(500 * library.clock_period_ns), to_sdf(netlist, slack, loads)
    start = time.perf_counter()
    expected = netlist_simulators.toggles(mapped, netlist, inputs, _WARM_UP, "icarus", sdf=sdf, period_ps=period)
    theirs = time.perf_counter() - start
    data = np.ones(netlist.count, bool)
    data[list(netlist.clocks)] = False
    return {
        "unit": design.slug,
        "technology": technology,
        "cells": netlist.cells,
        "nets": int(data.sum()),
        "vectors": vectors,
        "toggles": int(simulated.counts.toggles[data].sum()),
        "icarus_toggles": int(expected[data].sum()),
        "nets_that_differ": int((simulated.counts.toggles != expected)[data].sum()),
        "settled_toggles": int(simulated.counts.settled[data].sum()),
        "us_per_vector": 1e6 * ours / vectors,
        "icarus_us_per_vector": 1e6 * theirs / vectors,
        "ratio": theirs / ours,
    }


def _pulses(build: Path) -> list[dict[str, Any]]:
    """Power of every tile by every model of pulses, and with delays that are off."""
    models = {pulses.value: Delays(pulses) for pulses in Pulses}
    models |= {f"delays off, seed {seed}": Delays(spread=SPREAD, seed=seed) for seed in SEEDS}
    rows = []
    for unit in TILES:
        result = flow.measure(
            _map(unit, _SETTINGS if units.find(unit).is_tile else {}, TECHNOLOGY, build), Workload(2048)
        )
        design = result.design
        inputs = design.unit.stimulus(design.parameters, 2048, result.seed, None)
        row: dict[str, Any] = {"unit": unit, "settled_mw": result.busy.settled.total}
        row["settled_toggles"] = result.busy.settled_toggles
        for name, delays in models.items():
            simulator = timed.Simulator(result.netlist, result.timing.slew_ns, result.loads, delays)
            spent = flow.spend(
                design, result.netlist, result.timing, result.loads, result.tree, result.activity, inputs,
                result.seed, simulator,
            )  # fmt: skip
            row[name] = {
                "mw": spent.timed.total,
                "standard_error_percent": 100 * spent.standard_error,
                "toggles": spent.timed_toggles,
            }
        rows.append(row)
    return rows


_TEXT = """\
# Activity with delays

Made by `python -m hwsim.report activity`; not edited by hand. All figures: `activity.json`.

{made_by}. Machine: {machine}.

Power counts glitches: a sample of the stimulus is simulated with the pin-to-pin delays of static timing, at each net's
slew and load (`hwsim/analysis/timed.py`). `python -m hwsim.synth --sdf FILE` writes the same delays.

## Beside {icarus} with SDF

One stream; toggles of all nets but the clock. Both simulate the mapped netlist with the delays of one SDF file, Icarus
with specify paths. *ratio*: Icarus' time, from compiling to the counts of its waveforms, over that of the engine on one
thread.

{compared}

## Models of short pulses

Power of a 1 x 1 tile on {technology}, clock tree included, and over the baseline's. *settled*: without glitches. A cell
that gets a pulse shorter than its delay follows Verilog's specify paths (*specify*, which all other figures use), drops
it (*inertial*) or passes it on (*transport*). *delays off*: every delay is multiplied by a random factor within
{spread:g} %, least and most of {seeds} seeds.

{pulses}

{signs}
"""


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    rows = [[
        "unit", "technology", "cells", "nets", "vectors", "toggles", "Icarus", "nets that differ", "glitches",
        "us/vector", "Icarus", "ratio",
    ]]  # fmt: skip
    for c in document["compared"]:
        glitches = 100 * (1 - c["settled_toggles"] / c["toggles"])
        rows.append([
            f"`{c['unit']}`", c["technology"], str(c["cells"]), str(c["nets"]), str(c["vectors"]), str(c["toggles"]),
            str(c["icarus_toggles"]), str(c["nets_that_differ"]), f"{glitches:.0f} %", f"{c['us_per_vector']:.0f}",
            f"{c['icarus_us_per_vector']:.0f}", f"{c['ratio']:.1f}",
        ])  # fmt: skip
    return _TEXT.format(
        made_by=document["made_by"], machine=document["machine"], icarus=document["icarus"],
        technology=document["technology"], compared=markdown(rows, right=range(2, 12)),
        spread=100 * document["spread"], seeds=len(document["seeds"]),
        pulses=_table(document), signs=_signs(document),
    )  # fmt: skip


def _powers(row: dict[str, Any]) -> dict[str, float]:
    """Power of a tile by the way of counting."""
    return {"settled": row["settled_mw"]} | {name: v["mw"] for name, v in row.items() if isinstance(v, dict)}


def _overheads(document: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Power over the baseline in percent, of every tile that has one, by the way of counting."""
    of = {row["unit"]: _powers(row) for row in document["pulses"]}
    return {
        unit: {name: percent(mw, of[base][name]) or 0.0 for name, mw in of[unit].items()}
        for unit, base in document["baselines"].items()
        if base
    }


def _off(name: str) -> bool:
    return name.startswith("delays off")


def _table(document: dict[str, Any]) -> str:
    rows = document["pulses"]
    models = [name for name in _powers(rows[0]) if not _off(name)]
    table = [["tile", *(f"{name} (mW)" for name in models), "delays off (mW)", "standard error"]]
    for row in rows:
        powers = _powers(row)
        off = sorted(mw for name, mw in powers.items() if _off(name))
        errors = [v["standard_error_percent"] for v in row.values() if isinstance(v, dict)]
        shown = [f"{powers[name]:.3f}" for name in models]
        table.append([f"`{row['unit']}`", *shown, f"{off[0]:.3f} to {off[-1]:.3f}", f"{max(errors):.1f} %"])
    for unit, over in _overheads(document).items():
        off = sorted(value for name, value in over.items() if _off(name))
        shown = [f"{over[name]:+.1f} %" for name in models]
        table.append(
            [f"`{unit}` over `{document['baselines'][unit]}`", *shown, f"{off[0]:+.1f} to {off[-1]:+.1f} %", ""]
        )
    return markdown(table, right=range(1, len(table[0])))


def _signs(document: dict[str, Any]) -> str:
    overheads = _overheads(document)
    moved = [unit for unit, over in overheads.items() if len({value > 0 for value in over.values()}) > 1]
    if moved:
        return f"The way of counting moves the sign of {', '.join(f'`{unit}`' for unit in moved)}: not resolved."
    return "No way of counting moves the sign of a comparison."
