"""How sure an overhead is: the same comparison at several clocks.

What a mapper makes of a design varies with its delay target in ways that have nothing to do with the design. Where an
overhead is the format's doing, it is about the same at clocks that differ by a few percent; where it changes its sign,
the two designs cost the same as far as this flow can tell.

A tile is mapped as one dot unit with its two operand decoders, and its area and power are put together from these
parts, each as often as the tile has it. What that leaves out is the larger load that operands drive in the whole tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.analysis import power
from hwsim.costs import flow
from hwsim.costs.flow import Result, Workload, percent
from hwsim.synthesis.mapping import Options
from hwsim.synthesis.together import map_together
from hwsim.technology.library import Library
from hwsim.units.unit import Design

#: Clocks of the points, as multiples of the period.
CLOCKS = (0.94, 0.97, 1.0, 1.03, 1.06)


@dataclass(frozen=True)
class Figures:
    """Area and power of a design at one clock.

    Attributes
    ----------
    area_um2, power_mw, power_settled_mw : float
        The power with and without glitches, clock tree included.
    critical_path_ns : float
    timing_met : bool
    """

    area_um2: float
    power_mw: float
    power_settled_mw: float
    critical_path_ns: float
    timing_met: bool


@dataclass(frozen=True)
class Range:
    """An overhead in percent at several clocks: the median, the least, the most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Range:
        """The range of some values."""
        return cls(float(np.median(values)), min(values), max(values))

    @property
    def resolved(self) -> bool:
        """Whether all values have one sign."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        text = f"{self.median:+.1f} % ({self.low:+.1f} to {self.high:+.1f})"
        return text if self.resolved else f"{text}, not resolved"


@dataclass(frozen=True)
class Fan:
    """An overhead with its range.

    Attributes
    ----------
    clocks_ns : tuple of float
    area, power, power_settled : Range
    timing_met : bool
        Whether both designs meet every clock.
    """

    clocks_ns: tuple[float, ...]
    area: Range
    power: Range
    power_settled: Range
    timing_met: bool

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        ranges = {name: asdict(r) | {"resolved": r.resolved} for name, r in self._ranges().items()}
        return {"clocks_ns": list(self.clocks_ns), "timing_met": self.timing_met} | ranges

    def _ranges(self) -> dict[str, Range]:
        return {
            "area_percent": self.area, "power_percent": self.power, "power_settled_percent": self.power_settled,
        }  # fmt: skip

    def __str__(self) -> str:
        clocks = f"{len(self.clocks_ns)} clocks, {min(self.clocks_ns):.4g} to {max(self.clocks_ns):.4g} ns"
        met = "" if self.timing_met else ", TIMING NOT MET at some"
        return f"area {self.area}; power {self.power}; without glitches {self.power_settled}; {clocks}{met}"


def figures(
    designs: Sequence[Design], library: Library, options: Options, workload: Workload, build: Path
) -> list[Figures]:
    """Area and power of designs that are compared with each other, tiles put together from their parts."""
    small = [part(design) for design in designs]
    mapped = map_together(small, library, options, build)
    measured = [flow.measure(m, workload, idle=False) for m in mapped]
    return [composed(design, result) for design, result in zip(designs, measured, strict=True)]


def fan(design: Sequence[Figures], baseline: Sequence[Figures], clocks_ns: Sequence[float]) -> Fan:
    """The overhead of a design over a baseline, from the figures of both at several clocks."""

    def over(name: str) -> Range:
        pairs = zip(design, baseline, strict=True)
        return Range.of([percent(getattr(one, name), getattr(other, name)) or 0.0 for one, other in pairs])

    met = all(point.timing_met for point in (*design, *baseline))
    return Fan(tuple(clocks_ns), over("area_um2"), over("power_mw"), over("power_settled_mw"), met)


def overhead(
    design: Design, baseline: Design, library: Library, options: Options, workload: Workload, build: Path
) -> Fan:
    """The overhead of a design over a baseline at the clocks of `CLOCKS`."""
    clocks = [factor * options.clock_period_ns for factor in CLOCKS]
    points = [
        figures([design, baseline], library, replace(options, clock_period_ns=clock), workload, build)
        for clock in clocks
    ]
    return fan([point[0] for point in points], [point[1] for point in points], clocks)


def part(design: Design) -> Design:
    """A tile's dot unit with its decoders; any other design itself."""
    return replace(design, parameters=design.parameters | {"m": 1, "n": 1}) if design.unit.is_tile else design


def composed(design: Design, result: Result, only: str = "") -> Figures:
    """Figures of a design from the measured ones of its parts; ``only`` of those whose name begins so."""
    settled, timed = (
        _by_part(result, rate) for rate in (result.activity.toggle_rate(), result.busy.timed_rate)
    )  # fmt: skip
    m, n = (design.parameters[name] if design.unit.is_tile else 1 for name in "mn")
    copies = {"dot": m * n, "accumulators": m * n} | {
        f"{part}_{side}": rows for part in ("decode", "operands") for side, rows in (("a", m), ("b", n))
    }
    share = np.array([copies.get(part, 1) * part.startswith(only) for part in settled.parts])
    area = float(settled.area @ share)
    # Leakage and the clock's tree go with the area and with the clock's pins.
    rest = result.power.leakage * area / result.netlist.area
    rest += result.tree.power_mw * float(settled.leaves @ share) / max(float(settled.leaves.sum()), 1.0)
    with_glitches, without = (
        1e-3 * float(spent.energy @ share) / result.timing.period_ns + rest for spent in (timed, settled)
    )
    return Figures(area, with_glitches, without, result.timing.critical_path_ns, result.timing_met)


@dataclass(frozen=True)
class _Parts:
    """By part of a tile: area (um2), energy (fJ per cycle, without leakage), and leaves of the clock's tree."""

    parts: list[str]
    area: np.ndarray
    energy: np.ndarray
    leaves: np.ndarray


def _by_part(result: Result, rate: np.ndarray) -> _Parts:
    netlist = result.netlist
    # Instances are numbered: dot_0_0, decode_a_0.
    names = [path.split(".")[0].rstrip("_0123456789") for path in netlist.scopes]
    parts = sorted(set(names))
    of_scope = np.array([parts.index(name) for name in names])
    area, leaves, energy = np.zeros((3, len(parts)))
    spent = power.by_instance(netlist, result.timing, result.loads, rate, result.activity.probability())
    for group, of_instance in zip(netlist.groups, spent, strict=True):
        at = of_scope[group.scopes]
        energy += np.bincount(at, of_instance, len(parts))
        area += np.bincount(at, minlength=len(parts)) * group.cell.area
        if group.cell.is_clocked:
            leaves += np.bincount(at[netlist.clocked_freely(group)], minlength=len(parts))
    return _Parts(parts, area, energy, leaves)
