"""What a unit costs beside its baseline: the figures that ``hwsim.synth`` prints, as one object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import units
from hwsim.base.errors import InputError
from hwsim.costs import fan, flow, summary
from hwsim.costs.fan import Fan
from hwsim.costs.flow import Result, Workload
from hwsim.synthesis.mapping import Options, Wires
from hwsim.synthesis.together import map_together
from hwsim.technology import catalogue
from hwsim.technology.library import Library
from hwsim.units.table import baseline_of
from hwsim.units.unit import Design


@dataclass(frozen=True)
class Cost:
    """A measured unit and its baseline; ``print`` shows what ``hwsim.synth`` prints.

    Attributes
    ----------
    result : Result
        Area, timing, activity, power and provenance of the unit.
    baseline : Result or None
        The same of the unit that it is compared with.
    fan : Fan or None
        The overhead at several clocks, if asked for.
    """

    result: Result
    baseline: Result | None = None
    fan: Fan | None = None

    @property
    def overhead(self) -> dict[str, Any] | None:
        """Costs over the baseline in percent, and the published figure if there is one; None without a baseline."""
        return summary.overhead(self.result, self.baseline, self.fan) if self.baseline else None

    def to_dict(
        self, saif: Path | None = None, sdf: Path | None = None, placement: Path | None = None
    ) -> dict[str, Any]:
        """All figures, ready for ``json.dumps``; :mod:`hwsim.costs.summary` lists the keys.

        Parameters
        ----------
        saif, sdf, placement : Path, optional
            Where the switching activity, the delays and the picture were written, for ``artifacts``.
        """
        baseline = summary.to_json(self.baseline) if self.baseline else None
        return summary.to_json(self.result, self.overhead, saif, sdf, placement) | {"baseline": baseline}

    def __str__(self) -> str:
        """The table that ``hwsim.synth`` prints."""
        return summary.to_text(self.result, self.baseline, self.overhead, self.fan)


def cost(
    unit: str,
    *,
    technology: str | Library | None = None,
    liberty: Sequence[str | Path] | None = None,
    baseline: str | None = None,
    clock_period_ns: float | None = None,
    wire_load: str = "fanout",
    vectors: int | None = None,
    seed: int = 1,
    tensor: np.ndarray | None = None,
    with_range: bool = False,
    build: str | Path = "build",
    **settings: Any,
) -> Cost:
    """Map a unit and its baseline to a cell library and measure both.

    Parameters
    ----------
    unit : str
        Name of the unit; ``hwsim.units.UNITS`` holds them all.
    technology : str or Library, optional
        ``asap7`` (default), ``sg13g2``, ``sky130hd``, ``nangate45``, the path of a pack, or a library that
        :func:`hwsim.technology.load` gave.
    liberty : sequence of path, optional
        Liberty files, one library together, instead of a technology.
    baseline : str, optional
        The unit to compare with; by default the one in the table of units, and ``none`` for no comparison.
    clock_period_ns : float, optional
        Clock period in ns; by default the technology's, or for Liberty files one that the unit and its baseline meet.
    wire_load : str
        Where the capacitance of wires comes from: ``fanout`` (the library's wire-load model), ``placed`` (a placement;
        needs the extra ``place``) or ``zero``.
    vectors : int, optional
        Input vectors over which activity is counted; by default the unit's own number.
    seed : int
        Seed of the random tensors and of the testbench.
    tensor : float32 array, optional
        A tensor to quantise instead of random ones.
    with_range : bool
        Measure the overhead at several clocks too.
    build : path
        Folder for scripts, logs and netlists.
    **settings
        Parameters of the unit.

    Returns
    -------
    Cost

    Raises
    ------
    InputError
        For an unknown unit, parameter or technology, or a value that the unit refuses.
    NetlistError
        If a netlist differs from the golden model.

    Examples
    --------
    >>> hwsim.cost("mixfp4_decode", lanes=32).to_dict()["overhead"]["area_percent"]
    """
    folder = Path(build).resolve()
    design = units.design(unit, settings)
    library = technology if isinstance(technology, Library) else catalogue.load(technology, liberty, folder)
    period = library.clock_period_ns if clock_period_ns is None else clock_period_ns
    if wire_load not in [wires.value for wires in Wires]:
        raise InputError(f"wire_load must be fanout, placed or zero, got {wire_load!r}")
    options = Options(period, Wires(wire_load), hierarchical=design.unit.hierarchical)
    beside = baseline_of(design, settings, baseline)
    if liberty and clock_period_ns is None:
        options = with_found_clock([design, *([beside] if beside else [])], library, options, folder)
    name = "" if tensor is None else "given as an array"
    workload = Workload(vectors, seed, tensor, name)
    return compare(design, beside, library, options, workload, folder, with_range)


def with_found_clock(designs: Sequence[Design], library: Library, options: Options, build: Path) -> Options:
    """The options with a clock that designs meet, for a library whose technology nobody has chosen a clock for.

    Designs are mapped once, at the period of ``options``. The clock is what the slowest of them needs then, and a
    quarter more, rounded up to two digits.
    """
    needed = [flow.timing_of(mapped).critical_path_ns for mapped in map_together(designs, library, options, build)]
    return replace(options, clock_period_ns=_rounded_up(1.25 * max(needed)), clock_found=True)


def _rounded_up(period_ns: float) -> float:
    """A period with two digits."""
    digit = 10.0 ** (math.floor(math.log10(period_ns)) - 1)
    return float(f"{math.ceil(period_ns / digit - 1e-9) * digit:.6g}")


def compare(
    design: Design,
    baseline: Design | None,
    library: Library,
    options: Options,
    workload: Workload,
    build: Path,
    with_range: bool = False,
) -> Cost:
    """Map a design and its baseline to a library, both with the same options, and measure both.

    With ``with_range``, the overhead is measured at several clocks too.

    Raises what :func:`hwsim.synthesis.mapping.map_design` and :func:`hwsim.costs.flow.measure` raise.
    """
    designs = [design] if baseline is None else [design, baseline]
    measured = [flow.measure(m, workload) for m in map_together(designs, library, options, build)]
    over = fan.overhead(design, baseline, library, options, workload, build) if baseline and with_range else None
    return Cost(measured[0], measured[1] if baseline else None, over)
