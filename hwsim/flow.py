"""From a design to timing, activity and power of its mapped netlist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hwsim import activity, elaborate, power, sta, verilog
from hwsim.bits import to_bits
from hwsim.library import Library
from hwsim.mapping import Mapped, Options, map_design
from hwsim.netlist import Netlist, NetlistError
from hwsim.units import Design, Ports

__all__ = ["Mapped", "Options", "Result", "analyse", "analyse_each", "map_design", "percent", "simulate"]

#: Streams of the activity simulation; each is a sequence of consecutive blocks of the tensor.
STREAMS = 512


@dataclass(frozen=True)
class Result:
    """Everything measured of a mapped design."""

    mapped: Mapped
    options: Options
    netlist: Netlist
    loads: np.ndarray
    timing: sta.Timing
    activity: activity.Activity
    power: power.Power
    testbench_vectors: int
    warnings: list[str]
    stimulus: str

    @property
    def design(self) -> Design:
        return self.mapped.design

    @property
    def library(self) -> Library:
        return self.mapped.library

    @property
    def gate_equivalents(self) -> float:
        """Area in units of the library's smallest two-input NAND."""
        return self.netlist.area / self.library.nand2_area

    @property
    def energy_per_cycle_pj(self) -> float:
        """Total power times the clock period."""
        return self.power.total * self.options.clock_period_ns

    @property
    def energy_per_operand_fj(self) -> float:
        """Energy per cycle over the operands handled in one."""
        return 1000 * self.energy_per_cycle_pj / self.design.unit.operands(self.design.parameters)

    @cached_property
    def provenance(self) -> dict[str, str]:
        """Where the figures come from."""
        o = self.options
        rate = self.activity.toggle_rate()
        annotated = int(np.isfinite(rate).sum())
        if not o.wire_load:
            wires = "zero: wires have no capacitance"
        elif self.library.wire_load.lengths:
            wires = f"{self.library.wire_load.name}, by fanout"
        else:
            wires = "zero: the library has no wire-load model"
        clock = "ideal" if self.netlist.flip_flops else "virtual (the unit has no registers)"
        return {
            "technology": self.library.name,
            "corner": self.library.corner,
            "liberty": ", ".join(Path(f).name for f in self.library.files),
            "area": self.library.area_note,
            "tools": verilog.generator(),
            "licence": f"{self.library.licence}; {self.library.attribution or self.library.source}",
            "clock": f"{clock}, period {o.clock_period_ns:g} ns, slew {self.library.clock_slew_ns:.4g} ns",
            "io": f"input slew {self.library.input_slew_ns:.4g} ns, output load {self.library.output_load_fF:.4g} fF",
            "wire_load": wires,
            "mapping": "hierarchical" if o.hierarchical else "flat",
            "activity": f"{self.stimulus}; {self.activity.cycles} vector-cycles counted, the first of each stream left "
            "out; glitches not counted",
            "annotated": f"{annotated} of {self.netlist.count} nets",
            "seed": str(o.seed),
            "checked": f"netlist equals golden on {self.activity.cycles} vectors of this activity and on "
            f"{self.testbench_vectors} of the testbench's operands",
        }


_DEFAULT_STIMULUS = "quantised random tensors, half Gaussian, half Student's t (3 degrees of freedom)"


def analyse(mapped: Mapped, library: Library, options: Options) -> Result:
    """Timing, activity and power of a mapped design.

    Raises
    ------
    NetlistError
        If the netlist is not sound, or differs from the golden model.
    """
    design = mapped.design
    name = f"tensor {options.tensor_name}, repeated to length" if options.tensor is not None else _DEFAULT_STIMULUS
    inputs = design.unit.stimulus(design.parameters, options.vectors, options.seed, options.tensor)
    [result] = analyse_each(mapped, library, options, {name: inputs})
    return result


def analyse_each(mapped: Mapped, library: Library, options: Options, stimuli: Mapping[str, Ports]) -> list[Result]:
    """The same with stimuli of the caller's, by what they are: a result for each."""
    design = mapped.design
    netlist = elaborate.read(mapped.netlist_json, design.name, library)
    loads = netlist.loads(options.wire_load)
    timing = sta.analyse(netlist, options.clock_period_ns, loads)
    bench = simulate(design, netlist, _independent(design.unit.testbench(design.parameters, options.seed)))
    warnings = []
    if timing.slack_ns < 0:
        warnings.append(
            f"TIMING NOT MET: {design.name} needs {timing.critical_path_ns:.4g} ns, the clock gives "
            f"{options.clock_period_ns:g} ns"
        )
    driven = {net for bits in netlist.inputs.values() for net in bits}
    through = sum(net in driven for bits in netlist.outputs.values() for net in bits)
    if through:
        warnings.append(f"{through} outputs of {design.name} are inputs passed through: their load is not in the power")
    if timing.unconstrained:
        warnings.append(f"{timing.unconstrained} endpoint edges of {design.name} are constant and not timed")
    results = []
    for name, inputs in stimuli.items():
        counted = simulate(design, netlist, inputs)
        found = power.analyse(netlist, timing, loads, counted.toggle_rate(), counted.probability())
        results.append(Result(mapped, options, netlist, loads, timing, counted, found, bench.cycles, warnings, name))
    return results


def _independent(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A testbench for streams that run side by side: instructions of units with ``valid`` without bubbles, chains and
    resets, whose golden model would follow one stream only."""
    if "rst" not in inputs:
        return inputs
    ones = np.ones_like(inputs["valid"])
    return {k: v for k, v in inputs.items() if k != "rst"} | {"valid": ones, "accumulate": 0 * ones}


def simulate(design: Design, netlist: Netlist, inputs: dict[str, np.ndarray]) -> activity.Activity:
    """Activity of a netlist on stimulus, its outputs compared with the golden model in every bit.

    Raises
    ------
    NetlistError
        If an input port has no stimulus, or an output differs.
    """
    undriven = netlist.inputs.keys() - inputs.keys() - {"clk", "rst"}
    if undriven:
        raise NetlistError(f"{design.name}: no stimulus for {', '.join(sorted(undriven))}: nets would not be annotated")
    latency = design.component().latency
    vectors = len(next(iter(inputs.values())))
    # Short stimulus in fewer streams, so that most cycles of each are counted.
    streams = min(STREAMS, max(64, vectors // (64 * 4 * (latency + 2)) * 64))
    counted = activity.simulate(netlist, inputs, streams, warm_up=latency + 1 if latency else 1)
    cycles = vectors // streams
    expected = design.unit.golden({k: v[: cycles * streams] for k, v in inputs.items()}, design.parameters)
    for name, fields in expected.items():
        width = len(netlist.outputs[name])
        want = to_bits(fields, width).reshape(streams, cycles, width)[:, : cycles - latency]
        got = counted.outputs[name].reshape(streams, cycles, width)[:, latency:]
        if not np.array_equal(got, want):
            stream, cycle, bit = map(int, np.argwhere(got != want)[0])
            vector = stream * cycles + cycle
            seen = ", ".join(f"{k}={v[vector].tolist()}" for k, v in inputs.items())
            raise NetlistError(f"{design.name}: netlist differs from golden at {name}[{bit}], vector {vector}: {seen}")
    return counted


def percent(value: float, base: float) -> float | None:
    """``value`` over ``base`` in percent; None where the base is zero."""
    return 100.0 * (value / base - 1.0) if base else None
