"""What ``hwsim.synth`` prints and writes: a table for people, JSON for machines.

JSON keys are stable: ``top``, ``parameters``, ``latency_cycles``, ``cells``, ``area_um2``, ``gate_equivalents``,
``sequential_percent``, ``critical_path_ns``, ``arrival_ns``, ``setup_ns``, ``endpoint``, ``slack_ns``, ``fmax_mhz``,
``timing_met``, ``critical_path`` (list of stages), ``power_mw.{internal,switching,leakage,clock,total}`` (glitches
counted), ``power_standard_error_percent``, ``power_settled_mw``, ``power_idle_mw`` and ``power_bubbles_mw`` (the keys
of ``power_mw``; without glitches, with ``valid`` low, with ``valid`` low half of the time; null for a unit without
``valid``), ``toggles.{settled,timed}`` (of all nets, per cycle), ``energy_pj_per_cycle``, ``energy_fj_per_operand``,
``overhead.{baseline,area_percent,power_percent,power_settled_percent,power_idle_percent,power_bubbles_percent,
delay_percent,energy_per_operand_percent,range,published,timing_met}``, ``overhead.range.{clocks_ns,timing_met,
area_percent,power_percent,power_settled_percent}`` (null unless asked for; percentages as ``median``, ``low``, ``high``
and ``resolved``), ``provenance``, ``seed``, ``clock_period_ns``,
``vector_cycles``, ``timed_vector_cycles``, ``clock_tree.{flip_flops,clock_gates,levels,area_um2,power_mw}``, ``nets``,
``warnings``, ``artifacts.{verilog,netlist,liberty,saif,sdf,placement,log}`` and ``baseline``, which holds the same keys
of the baseline, but for its own, or null. A percentage over a baseline of zero is null.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwsim.analysis.power import Power
from hwsim.base.text import table
from hwsim.costs.consumption import Consumption
from hwsim.costs.fan import Fan
from hwsim.costs.flow import Result, percent


def overhead(result: Result, baseline: Result, fan: Fan | None = None) -> dict[str, Any]:
    """Costs over a baseline in percent, their range if it was measured, and the published figure if there is one."""
    published = result.design.unit.published
    return {
        "baseline": baseline.design.slug,
        "area_percent": percent(result.netlist.area, baseline.netlist.area),
        "power_percent": percent(result.power.total, baseline.power.total),
        "power_settled_percent": percent(result.busy.settled.total, baseline.busy.settled.total),
        "power_idle_percent": _percent(result.idle, baseline.idle),
        "power_bubbles_percent": _percent(result.bubbles, baseline.bubbles),
        "delay_percent": percent(result.timing.critical_path_ns, baseline.timing.critical_path_ns),
        "energy_per_operand_percent": percent(result.energy_per_operand_fj, baseline.energy_per_operand_fj),
        "timing_met": result.timing_met and baseline.timing_met,
        "range": fan.to_dict() if fan else None,
        "published": asdict(published) if published else None,
    }


def _percent(spent: Consumption | None, base: Consumption | None) -> float | None:
    return percent(spent.timed.total, base.timed.total) if spent and base else None


def _milliwatts(power: Power) -> dict[str, float]:
    return asdict(power) | {"total": power.total}


def to_json(
    result: Result,
    extra: dict[str, Any] | None = None,
    saif: Path | None = None,
    sdf: Path | None = None,
    placement: Path | None = None,
) -> dict[str, Any]:
    """All figures of a result, ready for ``json.dumps``; keys as this module's docstring lists them."""
    timing, mapped = result.timing, result.mapped
    return {
        "top": result.design.name,
        "parameters": {k: int(v) if isinstance(v, bool) else v for k, v in result.design.parameters.items()},
        "latency_cycles": result.design.component().latency,
        "cells": result.netlist.cells,
        "area_um2": result.netlist.area,
        "gate_equivalents": result.gate_equivalents,
        "sequential_percent": 100 * result.netlist.sequential_area / result.netlist.area,
        "critical_path_ns": timing.critical_path_ns,
        "arrival_ns": timing.arrival_ns,
        "setup_ns": timing.setup_ns,
        "endpoint": timing.endpoint,
        "slack_ns": timing.slack_ns,
        "fmax_mhz": timing.fmax_mhz,
        "timing_met": result.timing_met,
        "critical_path": [asdict(step) for step in timing.path],
        "power_mw": _milliwatts(result.power),
        "power_standard_error_percent": 100 * result.busy.standard_error,
        "power_settled_mw": _milliwatts(result.busy.settled),
        "power_idle_mw": _milliwatts(result.idle.timed) if result.idle else None,
        "power_bubbles_mw": _milliwatts(result.bubbles.timed) if result.bubbles else None,
        "toggles": {"settled": result.busy.settled_toggles, "timed": result.busy.timed_toggles},
        "energy_pj_per_cycle": result.energy_per_cycle_pj,
        "energy_fj_per_operand": result.energy_per_operand_fj,
        "overhead": extra,
        "provenance": result.provenance,
        "seed": result.seed,
        "clock_period_ns": result.options.clock_period_ns,
        "vector_cycles": result.activity.cycles,
        "timed_vector_cycles": result.busy.sample.cycles,
        "clock_tree": asdict(result.tree),
        "nets": result.netlist.count,
        "warnings": result.warnings,
        "artifacts": {
            "verilog": str(mapped.verilog),
            "netlist": str(mapped.netlist),
            "liberty": str(mapped.library.liberty_path),
            "saif": str(saif) if saif else None,
            "sdf": str(sdf) if sdf else None,
            "placement": str(placement) if placement else None,
            "log": str(mapped.log),
        },
    }


def to_text(result: Result, baseline: Result | None, extra: dict[str, Any] | None, fan: Fan | None = None) -> str:
    """The figures of a result beside its baseline as a table, with critical path and provenance.

    Parameters
    ----------
    result : Result
    baseline : Result or None
    extra : dict or None
        Result of :func:`overhead`.
    fan : Fan, optional
        The overhead at several clocks.
    """
    compared = [result] if baseline is None else [result, baseline]
    # Of designs that miss their clock, the difference says little about their formats.
    heading = "overhead" if all(r.timing_met for r in compared) else "overhead, TIMING NOT MET"
    rows = [["", *(r.design.slug for r in compared), *([heading] if baseline else [])]]
    for label, value, shown in _FIGURES:
        figures = [value(r) for r in compared]
        if None in figures:
            continue
        row = [label.format(counted=result.design.unit.counted), *(shown(f) for f in figures)]
        if baseline and label in _COMPARED:
            over = percent(*figures)
            row.append("-" if over is None else f"{over:+.1f} %")
        rows.append(row)
    lines = [table(rows, right=range(1, len(rows[0]))), ""]
    lines += [f"critical path of {result.design.name} ({result.timing.endpoint}):", _path(result), ""]
    if fan:
        lines += [f"overhead at several clocks: {fan}", ""]
    published = (extra or {}).get("published")
    if published:
        figures = [
            f"{published[key]:+g} % {what}"
            for key, what in (("area_percent", "area"), ("power_percent", "power"))
            if published[key] is not None
        ]
        lines += [f"published: {', '.join(figures)} ({published['source']})", f"  {published['differs']}", ""]
    lines += [table([[f"{k.replace('_', ' ')}:", v] for k, v in result.provenance.items()])]
    warnings = [w for r in compared for w in r.warnings]
    if warnings:
        lines += ["", *(f"WARNING: {w}" for w in warnings)]
    folder = result.mapped.netlist.parent
    lines += ["", f"files: {folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder}"]
    return "\n".join(lines)


_FIGURES = [
    ("cells", lambda r: r.netlist.cells, "{:d}".format),
    ("area (um2)", lambda r: r.netlist.area, "{:.2f}".format),
    ("area (NAND2 equivalents)", lambda r: r.gate_equivalents, "{:.1f}".format),
    ("sequential share (%)", lambda r: 100 * r.netlist.sequential_area / r.netlist.area, "{:.1f}".format),
    ("critical path (ns)", lambda r: r.timing.critical_path_ns, "{:.4f}".format),
    ("slack (ns)", lambda r: r.timing.slack_ns, "{:.4f}".format),
    ("max frequency (MHz)", lambda r: r.timing.fmax_mhz, "{:.0f}".format),
    ("internal power (mW)", lambda r: r.power.internal, "{:.5f}".format),
    ("switching power (mW)", lambda r: r.power.switching, "{:.5f}".format),
    ("leakage power (mW)", lambda r: r.power.leakage, "{:.3g}".format),
    ("clock tree power (mW)", lambda r: r.power.clock, "{:.5f}".format),
    ("total power (mW)", lambda r: r.power.total, "{:.5f}".format),
    ("  without glitches (mW)", lambda r: r.busy.settled.total, "{:.5f}".format),
    ("  half bubbles (mW)", lambda r: r.bubbles.timed.total if r.bubbles else None, "{:.5f}".format),
    ("  idle (mW)", lambda r: r.idle.timed.total if r.idle else None, "{:.5f}".format),
    ("energy (pJ/cycle)", lambda r: r.energy_per_cycle_pj, "{:.5f}".format),
    ("energy (fJ/{counted})", lambda r: r.energy_per_operand_fj, "{:.3f}".format),
]
_COMPARED = {
    "cells", "area (um2)", "critical path (ns)", "internal power (mW)", "switching power (mW)", "leakage power (mW)",
    "clock tree power (mW)", "total power (mW)", "  without glitches (mW)", "  half bubbles (mW)", "  idle (mW)",
    "energy (fJ/{counted})",
}  # fmt: skip


def _path(result: Result) -> str:
    rows = [["  cell", "through", "edge", "arrival (ns)", "slew (ns)", "load (fF)", "net"]]
    for step in result.timing.path:
        rows.append([
            f"  {step.cell}", step.through, step.edge, f"{step.arrival_ns:.4f}", f"{step.slew_ns:.4f}",
            f"{step.load_fF:.3f}", step.net,
        ])  # fmt: skip
    if result.timing.setup_ns:
        rows.append(["  setup", "", "", f"{result.timing.arrival_ns + result.timing.setup_ns:.4f}", "", "", ""])
    return table(rows, right=(3, 4, 5))
