"""Formats side by side on one accelerator: records of GEMMs, sums over a model, and what a ranking stands on."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwsim.base.errors import InputError
from hwsim.layers import simulator, storage
from hwsim.layers.accelerator import Accelerator
from hwsim.layers.schedule import Mapping as Placement
from hwsim.layers.simulator import Device
from hwsim.layers.storage import Format
from hwsim.layers.workload import GEMM, Model

#: What is held equal between formats. The array of tiles is, unless the area is.
EQUAL = ("tiles", "area", "bandwidth")


@dataclass(frozen=True)
class Work:
    """A list of GEMMs, and of which model and phase it is, if of one.

    Attributes
    ----------
    gemms : tuple of GEMM
    model, phase : str
        Empty for GEMMs that were given.
    tokens : int
        Tokens that it processes; 0 if it is no model.
    """

    gemms: tuple[GEMM, ...]
    model: str = ""
    phase: str = ""
    tokens: int = 0
    batch: int = 0
    context: int = 0

    @classmethod
    def of_model(cls, model: Model, phase: str, batch: int, context: int) -> Work:
        """A phase of a model; errors as :meth:`Model.gemms`."""
        gemms = tuple(model.gemms(phase, batch, context))
        tokens = batch * context if phase == "prefill" else batch
        return cls(gemms, model.name, phase, tokens, batch, context)


def compare(
    works: Sequence[Work],
    formats: Sequence[Format],
    accelerator: Accelerator,
    build: Path,
    equal: str = "tiles",
    placements: Mapping[tuple[str, tuple[int, int, int]], Placement] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Records and sums of every work in every format, ready for JSON.

    Parameters
    ----------
    works : sequence of Work
    formats : sequence of Format
    accelerator : Accelerator
    build : Path
        Folder of netlists and of measured figures.
    equal : str
        One of `EQUAL`: the tiles (and all else); the area of the tiles, by as many of them as fit the area that the
        first format needs; the DRAM's bandwidth, which is the accelerator's in any case.
    placements : mapping of (format, (M, N, K)) to Placement, optional
        Mappings to take; the others are searched.
    progress : callable (str)
        Told what takes time.

    Raises
    ------
    InputError
        If a format does not run on the accelerator, or a mapping does not fit.
    """
    if equal not in EQUAL:
        raise InputError(f"equal must be one of {', '.join(EQUAL)}, got {equal!r}")
    devices: dict[str, Device] = {}
    area = 0.0
    for format in formats:
        device = simulator.device(accelerator, format, build, progress)
        area = area or device.area_um2
        if equal == "area":
            device = _with_area(device, area)
        devices[format.name] = device
    unquantised = None
    if accelerator.abstract is None and any(g.kind == "attention" for work in works for g in work.gemms):
        # Attention is not quantised: it has as many tiles of the unit that BF16 needs.
        unquantised = simulator.device(replace(accelerator, unit="auto", settings={}), storage.plain(), build, progress)
    records, models = [], []
    for work in works:
        for device in devices.values():
            found = []
            for gemm in work.gemms:
                on = unquantised if gemm.kind == "attention" and unquantised else device
                given = (placements or {}).get((on.format.name, (gemm.m, gemm.n, gemm.k)))
                found.append(simulator.record(gemm, on, given))
            label = {"model": work.model, "phase": work.phase, "format": device.format.name}
            sizes = {"batch": work.batch, "context": work.context} if work.tokens else {}
            total = simulator.total_of(found, work.tokens)
            total["area_um2"] = device.area_um2
            models.append(label | sizes | {"tiles": list(device.accelerator.tiles)} | total)
            records += [label | {"format": r["format"]} | r for r in found]
    warnings = [f"TIMING NOT MET: {d.tile.name}" for d in devices.values() if not d.tile.timing_met]
    if accelerator.port_bits[2] is not None:
        warnings.append("port_bits.out takes no part: D leaves the array while the next macro-tile is computed")
    return {
        "accelerator": accelerator.name,
        "equal": _statement(equal, [*devices.values()]),
        "records": records,
        "models": models,
        "ranking": [_ranking([m for m in models if _same(m, work)]) for work in works],
        "warnings": warnings,
        "provenance": {name: device.provenance() for name, device in devices.items()},
    }


def _same(model: Mapping[str, Any], work: Work) -> bool:
    return (model["model"], model["phase"]) == (work.model, work.phase) and model.get("batch", 0) == work.batch


def _with_area(device: Device, area_um2: float) -> Device:
    """The device with as many tiles as fit an area, in an array whose sides differ least.

    Raises
    ------
    InputError
        If the tile has no area, or not even one fits.
    """
    if not device.tile.area_um2:
        raise InputError("--compare equal-area: the abstract tile needs area_um2")
    most = int(area_um2 / device.tile.area_um2 * (1 + 1e-9))
    if not most:
        raise InputError(f"--compare equal-area: no tile of {device.format.name} fits {area_um2:.0f} um2")
    shapes = [(p, most // p) for p in range(1, math.isqrt(most) + 1)]
    # The most tiles of arrays that are at most twice as wide as high.
    squarish = [shape for shape in shapes if shape[1] <= 2 * shape[0]] or shapes[-1:]
    best = max(squarish, key=lambda shape: (shape[0] * shape[1], shape[0]))
    return Device(device.accelerator.with_tiles(best), device.format, device.tile)


def _statement(equal: str, devices: Sequence[Device]) -> str:
    """What was held equal, in words."""
    dram = devices[0].accelerator.dram
    bandwidth = f"{float(dram.gb_s):g} GB/s of DRAM at {100 * float(dram.efficiency):g} %"
    if equal == "area":
        each = ", ".join(f"{d.format.name} {d.accelerator.tiles[0]} x {d.accelerator.tiles[1]}" for d in devices)
        return f"equal area of tiles (that of {devices[0].format.name}; {each}) and {bandwidth}"
    p, q = devices[0].accelerator.tiles
    return f"equal number of tiles ({p} x {q}), not equal area, and {bandwidth}"


def _ranking(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Formats by energy and by time, and which orders the range of the memories' constants turns round."""
    by_energy = sorted(models, key=lambda m: sum(m["energy_pj"].values()))
    undecided = []
    for better, worse in itertools.pairwise(by_energy):
        # Constants are the same for both formats: the order turns if it does at an end of the range.
        if any(better["energy_range_pj"][i] > worse["energy_range_pj"][i] for i in (0, 1)):
            undecided.append([better["format"], worse["format"]])
    return {
        "model": models[0]["model"],
        "phase": models[0]["phase"],
        "by_energy": [m["format"] for m in by_energy],
        "by_time": [m["format"] for m in sorted(models, key=lambda m: m["time_s"])],
        "undecided": undecided,
    }


def placements_of(path: Path) -> dict[tuple[str, tuple[int, int, int]], Placement]:
    """Mappings of an earlier result, as ``--json`` wrote it.

    Raises
    ------
    InputError
        If the file cannot be read or holds no such records.
    """
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"--mapping: {path}: {error}") from None
    found = {}
    records = document.get("records") if isinstance(document, dict) else None
    if not isinstance(records, list) or not records:
        raise InputError(f"--mapping: {path}: expected a result of --json, with records")
    for number, record in enumerate(records):
        try:
            m, n, k = record["gemm"]
            placement = Placement(**record["mapping"])
            name = record["format"]
            sizes = (m, n, k, placement.rm, placement.rn, placement.mb, placement.nb, placement.chunks)
            if any(isinstance(v, bool) or not isinstance(v, int) for v in sizes):
                raise ValueError("sizes must be whole numbers")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"--mapping: {path}: record {number} has no gemm, format and mapping (rm, rn, mb, nb, "
                             f"order, chunks) that make sense: {error}") from None  # fmt: skip
        found[name, (m, n, k)] = placement
    return found
