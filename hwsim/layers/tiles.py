"""Figures of the tiles that an accelerator is built of: cycles from the RTL, area and energy from synthesis.

A tile is mapped as one dot unit with its operand decoders and put together from these (:mod:`hwsim.costs.fan`), at the
technology's clock. Measured figures are kept by what decides them: the RTL, the technology, the clock and the tools.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwsim import units
from hwsim.base import files
from hwsim.base.errors import InputError
from hwsim.costs import fan, flow
from hwsim.golden import SYSTEMS
from hwsim.golden.mma import PAIRS, SEGMENTS
from hwsim.golden.recipes import Recipe
from hwsim.golden.terms import MX_ELEMENTS
from hwsim.layers.storage import Format
from hwsim.synthesis import emit
from hwsim.synthesis.mapping import Options, map_design
from hwsim.technology import catalogue
from hwsim.units import stimulus
from hwsim.units.mixed import MixedUnit
from hwsim.units.ports import Ports
from hwsim.units.unit import Design

SEED = 1
VECTORS = 2048
#: The unit whose instructions each have a pair of formats.
MIXED = "mx_mma"
#: Measured figures of the tiles at their defaults, kept with the package.
SHIPPED = Path(__file__).parent / "tiles.json"


@dataclass(frozen=True)
class Tile:
    """A tile as the layer simulator sees it.

    Attributes
    ----------
    name : str
        The unit and its parameters.
    m, n : int
    steps : tuple of int
        K of an instruction, for every segment of the format.
    latency, chain_interval : int
        Cycles.
    area_um2 : float
    energy_pj : tuple of float
        Of an instruction with all rows of A in use, for every segment; without leakage.
    energy_zero_pj : tuple of float
        The same with all of A zero: rows that are not in use.
    decode_pj : tuple of float
        What of `energy_pj` decoders take.
    idle_pj : float
        Of a cycle without an instruction, without leakage.
    leakage_mw : float
    clock_period_ns : float or None
        That energies were measured at, and that a faster clock than is not known to be met; None: no such bound.
    source : str
    timing_met : bool
        Whether synthesis met that clock.
    """

    name: str
    m: int
    n: int
    steps: tuple[int, ...]
    latency: int
    chain_interval: int
    area_um2: float
    energy_pj: tuple[float, ...]
    energy_zero_pj: tuple[float, ...]
    decode_pj: tuple[float, ...]
    idle_pj: float
    leakage_mw: float
    clock_period_ns: float | None
    source: str
    timing_met: bool = True


def unit_of(format: Format) -> tuple[str, dict[str, Any]]:
    """The unit that multiplies a format, and the settings that it needs for it.

    Raises
    ------
    InputError
        If there is none.
    """
    recipe = format.recipe
    if recipe is None:
        return _of_datapath(format.name, format.name)
    system = SYSTEMS[recipe.activations]
    if len(system.elements) > 1:
        return MIXED, {"formats": "+".join(system.elements)}
    datapath, _ = PAIRS[recipe.activations, recipe.weights]
    unit, settings = _of_datapath(datapath, system.elements[0])
    if "block_size" in units.find(unit).defaults:
        settings["block_size"] = recipe.options.get("block_size", system.block_size)
    return unit, settings


def _of_datapath(datapath: str, element: str) -> tuple[str, dict[str, Any]]:
    """The unit of a format of :data:`hwsim.golden.mma.FORMATS`."""
    for unit in units.UNITS.values():
        if unit.mma is None or unit.name == MIXED:
            continue
        settings = {"element": element} if "element" in unit.defaults else {}
        if unit.mma.format(unit.defaults | settings) == datapath:
            return unit.name, settings
    raise InputError(f"no unit multiplies {datapath}")


def design_of(format: Format, unit: str | None = None, settings: Mapping[str, Any] | None = None) -> Design:
    """The design that multiplies a format: its own unit, or the one that is named.

    Raises
    ------
    InputError
        If the named unit does not multiply the format, or for settings that it refuses.
    """
    own, needed = unit_of(format)
    if unit is not None and unit != own:
        mixed = unit == MIXED and format.recipe is not None and _is_mx(format.recipe)
        if not mixed:
            raise InputError(f"unit {unit} does not multiply {format.name}, which needs {own}")
        needed = {}
    return units.design(unit or own, {**needed, **(settings or {})})


def _is_mx(recipe: Recipe) -> bool:
    return all(SEGMENTS.get(e) for e in SYSTEMS[recipe.activations].elements) and (
        recipe.activations in MX_ELEMENTS or len(SYSTEMS[recipe.activations].elements) > 1
    )


def _pairs(design: Design, format: Format) -> list[tuple[str, str] | None]:
    """Elements of A and B in every segment of K, for a unit that has a choice."""
    if not isinstance(design.unit.mma, MixedUnit):
        return [None] * len(format.shares)
    assert format.recipe is not None, "only MX formats run on it"
    return [(element, element) for element in SYSTEMS[format.recipe.activations].elements]


def steps_of(design: Design, format: Format) -> tuple[int, ...]:
    """K of an instruction in every segment."""
    mma = design.unit.mma
    assert mma is not None, f"{design.name} is an MMA unit"
    if isinstance(mma, MixedUnit):
        return tuple(mma.k_of(pair) for pair in _pairs(design, format) if pair)
    return (mma.shape(design.parameters)[2],)


def tile(
    format: Format, design: Design, technology: str, build: Path, progress: Callable[[str], None] = lambda text: None
) -> Tile:
    """A tile's figures: kept ones, or measured now.

    Parameters
    ----------
    format : Format
    design : Design
    technology : str
    build : Path
        Folder for netlists, and for figures that are not shipped.
    progress : callable (str)
        Told what is measured, which takes a minute or so.
    """
    component: Any = design.component()
    parameters = design.parameters
    name = f"{design.slug}, {technology}"
    found = _kept(design, technology, build) or _kept(design, technology, SHIPPED.parent)
    if found is None:
        progress(f"measuring {name}")
        found = _measured(design, technology, build)
    if found.get("sources") != _sources():
        # Measured now, or before something changed that is not in this design: the next start need not ask again.
        _keep(build, design, technology, found)
    stimuli = ["+".join(pair) if pair else "" for pair in _pairs(design, format)]

    def energies(kind: str) -> tuple[float, ...]:
        return tuple(found[kind][stimulus] for stimulus in stimuli)

    return Tile(
        name=name, m=parameters["m"], n=parameters["n"], steps=steps_of(design, format), latency=component.latency,
        chain_interval=component.chain_interval, area_um2=found["area_um2"], energy_pj=energies("energy_pj"),
        energy_zero_pj=energies("energy_zero_pj"), decode_pj=energies("decode_pj"), idle_pj=found["idle_pj"],
        leakage_mw=found["leakage_mw"], clock_period_ns=found["clock_period_ns"], source=found["source"],
        timing_met=found["timing_met"],
    )  # fmt: skip


def _key(design: Design, technology: str) -> str:
    """Hash of what decides the figures."""
    rtl = emit.to_rtlil(fan.part(design))
    pack = catalogue.NANGATE45 if technology == catalogue.NANGATE45 else catalogue.pack_path(technology).read_text()
    text = "\0".join([design.slug, rtl, pack, technology, emit.generator(), str((SEED, VECTORS))])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sources() -> str:
    """Hash of the sources that RTL comes from; where it is as it was, so is the RTL, without a look at it."""
    text = hashlib.sha256()
    for folder in ("golden", "rtl"):
        for path in sorted((Path(__file__).parents[1] / folder).rglob("*.py")):
            text.update(path.read_bytes())
    return text.hexdigest()[:16]


def _kept(design: Design, technology: str, folder: Path) -> dict[str, Any] | None:
    """Figures that a folder holds of the design as it is now."""
    path = folder / SHIPPED.name
    figures = json.loads(path.read_text())["tiles"] if path.exists() else []
    same = [f for f in figures if (f["unit"], f["technology"]) == (design.slug, technology)]
    sources = _sources()
    if not any(f["sources"] == sources for f in same):
        # Something in the sources is different: perhaps nothing of this design.
        key = _key(design, technology) if same else ""
        return next((f for f in same if f["key"] == key), None)
    return next(f for f in same if f["sources"] == sources)


def is_current(design: Design, technology: str) -> bool:
    """Whether the package holds figures of a design that were measured with the sources as they are."""
    figures = json.loads(SHIPPED.read_text())["tiles"]
    sources = _sources()
    return any((f["unit"], f["technology"], f["sources"]) == (design.slug, technology, sources) for f in figures)


def _keep(build: Path, design: Design, technology: str, figures: dict[str, Any]) -> None:
    build.mkdir(parents=True, exist_ok=True)
    path = build / SHIPPED.name
    entry = figures | {"key": _key(design, technology), "sources": _sources()}
    with files.locked(path):
        old = json.loads(path.read_text())["tiles"] if path.exists() else []
        old = [f for f in old if (f["unit"], f["technology"]) != (design.slug, technology)]
        files.replace(path, json.dumps({"tiles": [*old, entry]}, indent=1) + "\n")


def _measured(design: Design, technology: str, build: Path) -> dict[str, Any]:
    """Area and energies of a tile, ready for JSON."""
    mma, parameters = design.unit.mma, fan.part(design).parameters
    assert mma is not None, f"{design.name} is an MMA unit"
    library = catalogue.load(technology, build_dir=build)
    options = Options(library.clock_period_ns, hierarchical=True)
    mapped = map_design(fan.part(design), library, options, build)
    pairs: list[tuple[str, str] | None] = [None]
    if isinstance(mma, MixedUnit):
        pairs = [(e.name, e.name) for e in mma.formats(parameters)]
    stimuli: dict[str, Ports] = {}
    for pair in pairs:
        ports = stimulus.instructions(mma, parameters, VECTORS, SEED, None, None, pair)
        name = "+".join(pair) if pair else ""
        stimuli[name] = ports
        stimuli[f"{name} zero"] = ports | {p: 0 * ports[p] for p in ("a_codes", "a_metadata") if p in ports}
    results = dict(zip(stimuli, flow.measure_each(mapped, stimuli, SEED), strict=True))
    first = results[next(iter(stimuli))]
    period = options.clock_period_ns
    assert first.idle is not None, "an MMA unit has valid"
    leakage = first.power.leakage * fan.composed(design, first).area_um2 / first.netlist.area

    def energy(result: flow.Result, only: str = "") -> float:
        leaks = 0.0 if only else leakage
        return (fan.composed(design, result, only).power_mw - leaks) * period

    names = [name for name in stimuli if not name.endswith(" zero")]
    return {
        "unit": design.slug,
        "technology": technology,
        "area_um2": fan.composed(design, first).area_um2,
        "energy_pj": {name: energy(results[name]) for name in names},
        "energy_zero_pj": {name: energy(results[f"{name} zero"]) for name in names},
        "decode_pj": {name: energy(results[name], "decode") for name in names},
        "idle_pj": energy(replace(first, busy=first.idle)),
        "leakage_mw": leakage,
        "clock_period_ns": period,
        "timing_met": first.timing_met,
        "source": f"hwsim.synth: {design.slug} from its dot unit and decoders, {library.name}, {library.corner}, "
        f"{period:g} ns, wires by fanout, glitches included, seed {SEED}, {VECTORS} instructions on quantised random "
        f"tensors; {emit.generator()}",
    }
