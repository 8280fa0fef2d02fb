"""From a design to timing, activity and power of its mapped netlist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from hwsim.analysis import activity, clock_tree, netlist_reader, placement, timing
from hwsim.analysis.clock_tree import ClockTree
from hwsim.analysis.netlist import Netlist, NetlistError
from hwsim.analysis.power import Power
from hwsim.analysis.timed import NOMINAL, Delays, Simulator
from hwsim.base.bits import to_bits
from hwsim.base.errors import InputError
from hwsim.costs.consumption import IDLE_ERROR, Consumption, consumption
from hwsim.synthesis import emit
from hwsim.synthesis.mapping import Mapped, Options, Wires
from hwsim.technology.library import Library
from hwsim.units.ports import Ports
from hwsim.units.unit import Design

#: Streams of the activity simulation; each is a sequence of consecutive blocks of the tensor.
STREAMS = 512


@dataclass(frozen=True)
class Workload:
    """What a unit works on while its activity is counted.

    Attributes
    ----------
    vectors : int or None
        Input vectors; None: the unit's default.
    seed : int
        Seed of the random tensors and of the testbench.
    tensor : float32 array or None
        A tensor to quantise instead of random ones.
    tensor_name : str
        Where the tensor came from, for the provenance.
    delays : Delays
        How cells delay, for glitches.
    """

    vectors: int | None = None
    seed: int = 1
    tensor: np.ndarray | None = None
    tensor_name: str = ""
    delays: Delays = NOMINAL


@dataclass(frozen=True)
class Result:
    """Everything measured of a mapped design.

    Attributes
    ----------
    mapped : Mapped
    netlist : Netlist
    loads : float64 [nets, 3]
        fF on every net, as :meth:`Netlist.loads` gives them.
    timing : Timing
    activity : Activity
        Of settled values.
    tree : ClockTree
    busy : Consumption
        Power on the stimulus.
    idle, bubbles : Consumption or None
        Power on the stimulus with ``valid`` low all the time, and at random half of the time; None for a unit without
        ``valid``, and for all stimuli but the first.
    testbench_vectors : int
        Vectors of the testbench on which the netlist equals golden.
    warnings : list of str
    stimulus : str
        What the activity was counted on, in words.
    seed : int
        Seed of the stimulus and of the testbench.
    delays : Delays
        How cells delay.
    """

    mapped: Mapped
    netlist: Netlist
    loads: np.ndarray
    timing: timing.Timing
    activity: activity.Activity
    tree: ClockTree
    busy: Consumption
    idle: Consumption | None
    bubbles: Consumption | None
    testbench_vectors: int
    warnings: list[str]
    stimulus: str
    seed: int
    delays: Delays

    @property
    def design(self) -> Design:
        """What was measured."""
        return self.mapped.design

    @property
    def library(self) -> Library:
        """The library that the design is mapped to."""
        return self.mapped.library

    @property
    def options(self) -> Options:
        """How the design was mapped."""
        return self.mapped.options

    @property
    def timing_met(self) -> bool:
        """Whether the clock period is long enough."""
        return self.timing.slack_ns >= 0

    @property
    def gate_equivalents(self) -> float:
        """Area in units of the library's smallest two-input NAND."""
        return self.netlist.area / self.library.nand2_area

    @property
    def power(self) -> Power:
        """Power on the stimulus, glitches and clock tree included."""
        return self.busy.timed

    @property
    def energy_per_cycle_pj(self) -> float:
        """Total power times the clock period."""
        return self.power.total * self.options.clock_period_ns

    @property
    def energy_per_operand_fj(self) -> float:
        """Energy per cycle, divided by the operands handled in a cycle."""
        return 1000 * self.energy_per_cycle_pj / self.design.unit.operands(self.design.parameters)

    @cached_property
    def provenance(self) -> dict[str, str]:
        """Where the figures come from."""
        o = self.options
        rate = self.activity.toggle_rate()
        annotated = int(np.isfinite(rate).sum())
        if o.wires is Wires.ZERO:
            wires = "zero: wires have no capacitance"
        elif placed := self.mapped.placement:
            wires = (
                f"Steiner lengths of a placement ({placement.tool()}; core {placed.core[0]:.4g} x {placed.core[1]:.4g} "
                f"um, {100 * self.netlist.area / (placed.core[0] * placed.core[1]):.0f} % full, rows of "
                f"{self.library.row_height_um:g} um), {self.library.wire_fF_per_um:.4g} fF/um; cells on critical paths "
                "sized for them where slack was negative"
            )
        elif self.library.wire_load.lengths:
            wires = f"{self.library.wire_load.name}, by fanout"
        else:
            wires = "zero: the library has no wire-load model"
        clock = "ideal" if self.netlist.flip_flops else "virtual (the unit has no registers)"
        found = ", found: what the slowest design needs and a quarter more" if o.clock_found else ""
        gates = f"{len(self.netlist.gated)}, counted with the registers" if len(self.netlist.gated) else "none"
        return {
            "technology": self.library.name,
            "corner": self.library.corner,
            "liberty": ", ".join(Path(f).name for f in self.library.files),
            "area": self.library.area_note,
            "tools": emit.generator(),
            "licence": "; ".join(filter(None, (self.library.licence, self.library.attribution or self.library.source))),
            "clock": f"{clock}, period {o.clock_period_ns:g} ns{found}, slew {self.library.clock_slew_ns:.4g} ns",
            "clock_gates": gates,
            "io": f"input slew {self.library.input_slew_ns:.4g} ns, output load {self.library.output_load_fF:.4g} fF",
            "wire_load": wires,
            "mapping": "hierarchical" if o.hierarchical else "flat",
            **({"arithmetic": _ARITHMETIC[kind]} if (kind := self.design.parameters.get("arithmetic")) else {}),
            "activity": f"{self.stimulus}; settled values of {self.activity.cycles} vector-cycles, the first of each "
            "stream left out",
            "glitches": f"{self.busy.sample.cycles} of these vector-cycles simulated with pin-to-pin delays of static "
            f"timing, {self.delays}; standard error of the power {100 * self.busy.standard_error:.2g} %",
            "clock_tree": str(self.tree),
            "energy": f"per {self.design.unit.counted}, of which there are "
            f"{self.design.unit.operands(self.design.parameters)} in a cycle",
            "annotated": f"{annotated} of {self.netlist.count} nets",
            "seed": str(self.seed),
            "checked": f"netlist equals golden on {self.activity.cycles} vectors of this activity and on "
            f"{self.testbench_vectors} of the testbench's operands",
        }


#: What is mapped. Yosys and ABC keep the structure that they are given, so it has to be a good one.
_ARITHMETIC = {
    "structured": "structured, trees of adders and multiplexers; reports/mma_choices.md measures what operators cost",
    "operators": "operators, + and *; reports/mma_choices.md measures how much smaller structured arithmetic is",
}
_DEFAULT_STIMULUS = "quantised random tensors, half Gaussian, half Student's t (3 degrees of freedom)"


def timing_of(mapped: Mapped) -> timing.Timing:
    """Static timing of a mapped design."""
    netlist = netlist_reader.read(mapped.netlist_json, mapped.design.name, mapped.library)
    return timing.analyse(netlist, mapped.options.clock_period_ns, netlist.loads(mapped.wire_load))


def measure(mapped: Mapped, workload: Workload, idle: bool = True) -> Result:
    """Timing, activity and power of a mapped design; where it has ``valid`` and ``idle`` is set, without work too.

    Raises
    ------
    NetlistError
        If the netlist is not sound, or differs from the golden model.
    """
    design = mapped.design
    tensor = workload.tensor
    name = _DEFAULT_STIMULUS if tensor is None else f"tensor {workload.tensor_name}, repeated to length"
    vectors = design.unit.default_vectors if workload.vectors is None else workload.vectors
    inputs = design.unit.stimulus(design.parameters, vectors, workload.seed, tensor)
    [result] = measure_each(mapped, {name: inputs}, workload.seed, workload.delays, idle)
    return result


def measure_each(
    mapped: Mapped, stimuli: Mapping[str, Ports], seed: int, delays: Delays = NOMINAL, idle: bool = True
) -> list[Result]:
    """Timing, activity and power of a mapped design on several stimuli.

    Parameters
    ----------
    mapped : Mapped
    stimuli : mapping of str to Ports
        Inputs of each stimulus, by its description in words.
    seed : int
        Seed that the stimuli were made with; the testbench takes the same.
    delays : Delays
        How cells delay, for glitches.
    idle : bool
        Whether to measure a unit with ``valid`` idle and with bubbles too, on the first stimulus.

    Returns
    -------
    list of Result
        One for every stimulus.

    Raises
    ------
    NetlistError
        If the netlist is not sound, or differs from the golden model.
    """
    design, library, options = mapped.design, mapped.library, mapped.options
    netlist = netlist_reader.read(mapped.netlist_json, design.name, library)
    loads = netlist.loads(mapped.wire_load)
    timed = timing.analyse(netlist, options.clock_period_ns, loads)
    bench = simulate(design, netlist, _independent(design, design.unit.testbench(design.parameters, seed)))
    warnings = []
    if timed.slack_ns < 0:
        warnings.append(
            f"TIMING NOT MET: {design.name} needs {timed.critical_path_ns:.4g} ns, the clock gives "
            f"{options.clock_period_ns:g} ns"
        )
    driven = {net for bits in netlist.inputs.values() for net in bits}
    through = sum(net in driven for bits in netlist.outputs.values() for net in bits)
    if through:
        warnings.append(f"{through} outputs of {design.name} are inputs passed through: their load is not in the power")
    if timed.unconstrained:
        warnings.append(f"{timed.unconstrained} endpoint edges of {design.name} are constant and not timed")
    tree = clock_tree.estimate(netlist, options.clock_period_ns, options.wires is not Wires.ZERO)

    simulator = Simulator(netlist, timed.slew_ns, loads, delays)

    def spent(inputs: Ports, error_limit: float | None = None) -> tuple[activity.Activity, Consumption]:
        counted = simulate(design, netlist, inputs)
        return counted, spend(design, netlist, timed, loads, tree, counted, inputs, seed, simulator, error_limit)

    results: list[Result] = []
    for name, inputs in stimuli.items():
        counted, busy = spent(inputs)
        if timed.slack_ns >= 0 and busy.latest_ns > options.clock_period_ns:
            warnings.append(
                f"delays ({delays}) let nets of {design.name} change until {busy.latest_ns:.4g} ns after the clock's "
                f"edge, later than the period of {options.clock_period_ns:g} ns"
            )
        without = bubbles = None
        if idle and design.unit.streams and not results:
            half = np.random.default_rng(seed).integers(0, 2, inputs["valid"].shape, np.uint8)
            without, bubbles = (spent(inputs | {"valid": v}, IDLE_ERROR)[1] for v in (0 * half, half))
        results.append(
            Result(
                mapped,
                netlist,
                loads,
                timed,
                counted,
                tree,
                busy,
                without,
                bubbles,
                bench.cycles,
                warnings,
                name,
                seed,
                delays,
            )
        )
    return results


def spend(
    design: Design,
    netlist: Netlist,
    timing: timing.Timing,
    loads: np.ndarray,
    tree: ClockTree,
    counted: activity.Activity,
    inputs: Ports,
    seed: int,
    simulator: Simulator,
    error_limit: float | None = None,
) -> Consumption:
    """Power of a netlist on a stimulus, whose settled activity is ``counted``; every simulated output equals golden.

    Parameters as of :func:`hwsim.costs.consumption.consumption`.

    Raises
    ------
    NetlistError
        If an output differs from the golden model.
    """
    check = partial(_check, design, netlist)
    return consumption(
        netlist, timing, loads, tree, counted, inputs, _warm_up(design), seed, simulator, check, error_limit
    )


def _independent(design: Design, inputs: Ports) -> Ports:
    """A testbench's inputs, fit to be split into streams that are simulated side by side.

    A unit with ``valid`` gets the instructions without bubbles, chains and resets: these make a result depend on
    earlier vectors, and the golden model would follow one stream only. Of ports that are held, the first value stays.
    """
    if not design.unit.streams:
        return inputs
    held = [inputs[name] for name in design.unit.steady(design.parameters)]
    if held:
        # One tensor's blocks: what is told of it must not change in flight.
        same = np.logical_and.reduce([(values == values[0]).all(axis=1) for values in held])
        inputs = {name: values[same] for name, values in inputs.items()}
    ones = np.ones_like(inputs["valid"])
    constant = {"valid": ones, "first": ones, "accumulate": 0 * ones}
    return {name: constant.get(name, values) for name, values in inputs.items() if name != "rst"}


def simulate(design: Design, netlist: Netlist, inputs: dict[str, np.ndarray]) -> activity.Activity:
    """Activity of a netlist on stimulus, its outputs compared with the golden model in every bit.

    Raises
    ------
    NetlistError
        If an input port has no stimulus, or an output differs.
    InputError
        If there are too few vectors to fill the pipeline of every stream.
    """
    undriven = netlist.inputs.keys() - inputs.keys() - {"clk", "rst"}
    if undriven:
        raise NetlistError(f"{design.name}: no stimulus for {', '.join(sorted(undriven))}: nets would not be annotated")
    vectors, latency = len(next(iter(inputs.values()))), design.component().latency
    # A short stimulus is split into fewer streams, so that most cycles of each are counted and few are warm-up.
    streams = min(STREAMS, max(64, vectors // (64 * 4 * (latency + 2)) * 64))
    least = 64 * (_warm_up(design) + 2)
    if vectors < least:
        raise InputError(f"{design.name}: vectors must be at least {least}, 64 streams of {least // 64}, got {vectors}")
    counted = activity.simulate(netlist, inputs, streams, _warm_up(design))
    _check(design, netlist, inputs, counted.outputs, streams)
    return counted


def _warm_up(design: Design) -> int:
    """Cycles that fill a design's pipeline, so that toggles counted from then on are those of the stimulus."""
    return design.component().latency + 1


def _check(design: Design, netlist: Netlist, inputs: Ports, outputs: dict[str, np.ndarray], streams: int) -> None:
    """Compare the outputs of simulated streams with the golden model; results count only where ``out_valid`` is 1.

    Raises
    ------
    NetlistError
        If an output differs.
    """
    latency = design.component().latency
    cycles = len(next(iter(inputs.values()))) // streams
    expected = design.unit.golden({k: v[: cycles * streams] for k, v in inputs.items()}, design.parameters)
    counts = np.ones((streams, cycles - latency), bool)
    if design.unit.streams:
        counts = expected["out_valid"].reshape(streams, cycles)[:, : cycles - latency].astype(bool)
    for name, fields in expected.items():
        width = len(netlist.outputs[name])
        wanted = to_bits(fields, width).reshape(streams, cycles, width)[:, : cycles - latency]
        actual = outputs[name].reshape(streams, cycles, width)[:, latency:]
        differs = (actual != wanted) & (counts[..., None] | (name == "out_valid"))
        if differs.any():
            stream, cycle, bit = map(int, np.argwhere(differs)[0])
            vector = stream * cycles + cycle
            shown = ", ".join(f"{k}={v[vector].tolist()}" for k, v in inputs.items())
            raise NetlistError(f"{design.name}: netlist differs from golden at {name}[{bit}], vector {vector}: {shown}")


def percent(value: float, base: float) -> float | None:
    """``value`` over ``base`` in percent; None where the base is zero."""
    return 100.0 * (value / base - 1.0) if base else None
