"""A unit's testbench as a recording: what every cycle drives, and what must come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.base.bits import to_integers
from hwsim.units.unit import Design

#: One cycle in this many is a reset, for units whose testbench brings no resets.
_RESET_EVERY = 97


@dataclass(frozen=True)
class Recording:
    """Inputs, resets and results, as integers by port and cycle.

    Attributes
    ----------
    latency : int
        Cycles from inputs to results.
    inputs, results : dict of str to list of int
        ``results`` at place i belong to the inputs of cycle i and stand at the outputs ``latency`` cycles later.
    resets : list of bool
        Cycles in which ``rst`` is pulsed; never for units that stream, whose inputs hold the resets.
    streams : bool
        Whether results count only where ``out_valid`` is high, which itself counts in every cycle.
    """

    latency: int
    inputs: dict[str, list[int]]
    results: dict[str, list[int]]
    resets: list[bool]
    streams: bool

    @classmethod
    def of(cls, design: Design, seed: int, widths: Mapping[str, int], limit: int | None = None) -> Recording:
        """The recording of a design's testbench.

        Parameters
        ----------
        design : Design
        seed : int
            Of the random part.
        widths : mapping
            Width of every port.
        limit : int, optional
            Most cycles.
        """
        unit = design.unit
        inputs = {name: values[:limit] for name, values in unit.testbench(design.parameters, seed).items()}
        results = unit.golden(inputs, design.parameters)
        cycles = len(next(iter(inputs.values())))
        return cls(
            latency=getattr(design.component(), "latency", 0),
            inputs={name: to_integers(values, widths[name]) for name, values in inputs.items()},
            results={name: to_integers(values, widths[name]) for name, values in results.items()},
            resets=[not unit.streams and i % _RESET_EVERY == _RESET_EVERY - 1 for i in range(cycles)],
            streams=unit.streams,
        )

    @property
    def cycles(self) -> int:
        """Cycles that drive inputs."""
        return len(self.resets)

    def cleared(self, cycle: int) -> bool:
        """Whether a reset clears the results of ``cycle`` as they reach the outputs."""
        last = cycle + self.latency - 1
        return self.latency > 0 and last < self.cycles and self.resets[last]
