"""From a design to its mapped netlist, and from that to timing, activity and power."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hwsim import activity, elaborate, power, sta, verilog, yosys
from hwsim.bits import to_bits
from hwsim.drive import strengthen
from hwsim.expression import parse
from hwsim.files import replace
from hwsim.library import Cell, Library
from hwsim.netlist import Netlist, NetlistError
from hwsim.units import Design
from rtl.hierarchy import all_parts

#: Streams of the activity simulation; each is a sequence of consecutive blocks of the tensor.
STREAMS = 512

#: ABC: restructure, map for area under the delay target, buffer what drives too much, then size gates up until the
#: target is met and down where there is slack.
ABC_SCRIPT = (
    "strash", "ifraig", "scorr", "dc2", "dc2", "strash", "&get -n", "&dch -f", "&nf {D}", "&put",
    "buffer -c", "topo", "upsize {D}", "dnsize {D}", "stime -p",
)  # fmt: skip


#: For hierarchical designs, whose modules are structured by hand: ``dc2`` would turn their trees and prefix adders into
#: chains.
ABC_STRUCTURED = tuple(command for command in ABC_SCRIPT if command != "dc2")
#: For modules that say that they are critical: balance products of sums for delay first, at the cost of area.
ABC_CRITICAL = tuple(
    c for command in ABC_STRUCTURED for c in ((command, "&st", "&sopb") if command == "&get -n" else (command,))
)


@dataclass(frozen=True)
class Options:
    """How to map and measure.

    Attributes
    ----------
    clock_period_ns : float
    wire_load : bool
        Whether the library's wire-load model is used; else wires have no capacitance.
    hierarchical : bool
        Whether modules are mapped one by one.
    vectors : int
        Of the activity simulation.
    seed : int
        Of the default stimulus.
    tensor : ndarray or None
        The user's own data for the stimulus.
    tensor_name : str
        Where it came from.
    """

    clock_period_ns: float
    wire_load: bool = True
    hierarchical: bool = False
    vectors: int = 1 << 16
    seed: int = 1
    tensor: np.ndarray | None = None
    tensor_name: str = ""


@dataclass(frozen=True)
class Mapped:
    """A design mapped to a library, and the files that were left behind."""

    design: Design
    library: Library
    verilog: Path
    netlist: Path
    netlist_json: Path
    log: Path


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
        stimulus = f"tensor {o.tensor_name}, repeated to length" if o.tensor is not None else _DEFAULT_STIMULUS
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
            "activity": f"{stimulus}; {self.activity.cycles} vector-cycles counted, the first of each stream left out; "
            "glitches not counted",
            "annotated": f"{annotated} of {self.netlist.count} nets",
            "seed": str(o.seed),
            "checked": f"netlist equals golden on {self.activity.cycles} vectors of this activity and on "
            f"{self.testbench_vectors} of the testbench",
        }


_DEFAULT_STIMULUS = "quantised random tensors, half Gaussian, half Student's t (3 degrees of freedom)"


def map_design(design: Design, library: Library, options: Options, build: Path) -> Mapped:
    """Generate a design's Verilog and map it to a library with Yosys and ABC.

    Files are left in ``build / design.slug / library``: script, log, netlist as Verilog and JSON.

    Raises
    ------
    YosysError
        If Yosys fails, or anything is left unmapped.
    """
    root = build / design.slug
    period = f"{options.clock_period_ns:g}ns" + ("-hierarchical" if options.hierarchical else "")
    folder = root / f"{library.name}-{period}"
    folder.mkdir(parents=True, exist_ok=True)
    source = root / f"{design.name}.v"
    replace(source, verilog.to_verilog(design, folder))
    # ABC takes no target below a picosecond; where registers alone take longer than the period, it does what it can.
    target_ps = max(1000 * (options.clock_period_ns - _sequential_overhead(library, design)), 1.0)
    buffer = _smallest(library, "A")
    (folder / "abc.constr").write_text(
        f"set_driving_cell {buffer.name}\nset_load {library.output_load_fF:.6g}\n"
    )  # fmt: skip
    # Modules that say how: which script, and their share of the time between registers.
    special = {
        name: (bool(getattr(part, "critical", False)), float(getattr(part, "delay_share", 1.0)))
        for name, part in all_parts(design.component()).items()
        if options.hierarchical and (hasattr(part, "critical") or hasattr(part, "delay_share"))
    }

    def abc(commands: Sequence[str], selection: str, share: float = 1.0) -> str:
        target = f"-D {share * target_ps:.0f}"
        joined = ";".join(commands).replace("{D}", target).replace(" ", ",")
        return f"abc -liberty {library.liberty_path} -constr abc.constr {target} -script +{joined} {selection}"

    low, high = _ties(library)
    chosen = _flip_flop(library)
    others = [cell.name for cell in library.usable_cells if cell.flip_flop and cell is not chosen]
    script = [
        "read_rtlil rtl.il",
        f"hierarchy -check -top {design.name}",
        "proc",
        *([] if options.hierarchical else ["flatten"]),
        f"synth -noabc -run begin:fine -top {design.name}",
        "synth -noabc -run fine:check",
        # Left to choose, dfflibmap takes a flip-flop with a true output over one of half the size.
        f"dfflibmap {' '.join(f'-dont_use {name}' for name in others)} -liberty {library.liberty_path}",
        "opt",
        *(abc(ABC_CRITICAL if hard else ABC_STRUCTURED, name, share) for name, (hard, share) in special.items()),
        abc(ABC_STRUCTURED if options.hierarchical else ABC_SCRIPT, " ".join(["*", *(f"{n} %d" for n in special)])),
        f"hilomap -singleton -hicell {high} -locell {low}" if high else "",
        "opt_clean -purge",
        f"read_liberty -lib -ignore_miss_func {library.liberty_path}",
        # Cells that drive registers and ports by the name of what they drive, the rest by numbers.
        "rename -wire -suffix cell",
        "rename -enumerate -pattern g% c:*",
        "rename -enumerate -pattern n% w:*",
        "opt_clean -purge",
    ]
    finish = [
        f"stat -liberty {library.liberty_path}",
        "check -mapped -assert",
        "write_verilog -noattr -noexpr -nodec -simple-lhs netlist.v",
        "write_json netlist.json",
    ]
    if options.hierarchical:
        yosys.run([line for line in [*script, "write_json modules.json"] if line], folder, "modules")
        mapped = json.loads((folder / "modules.json").read_text())
        strengthen(mapped["modules"], design.name, library, options.wire_load)
        (folder / "modules.json").write_text(json.dumps(mapped))
        script = ["read_json modules.json", f"hierarchy -check -top {design.name}"]
    yosys.run([line for line in [*script, *finish] if line], folder, "synth")
    return Mapped(design, library, source, folder / "netlist.v", folder / "netlist.json", folder / "synth.log")


def _sequential_overhead(library: Library, design: Design) -> float:
    """ns of the period that registers take: clock to output into the default load, and setup."""
    if not design.component().latency:
        return 0.0
    flop = _flip_flop(library)
    launch = max(
        (float(t.lookup(library.clock_slew_ns, library.output_load_fF)) for arc in flop.timing
         if arc.kind.endswith("_edge") for t in arc.delay.values()), default=0.0,
    )  # fmt: skip
    setup = max(
        (float(t.lookup(library.clock_slew_ns, library.input_slew_ns)) for arc in flop.constraints
         if arc.kind.startswith("setup") for t in arc.constraint.values()), default=0.0,
    )  # fmt: skip
    return launch + setup


def _flip_flop(library: Library) -> Cell:
    """The flip-flop to map to: on the rising edge, of the fewest asynchronous controls, then the smallest."""

    def key(cell: Cell) -> tuple[bool, int, int, float, str]:
        flop = cell.flip_flop
        assert flop is not None
        controls = (flop.clear is not None) + (flop.preset is not None)
        return flop.clocked_on.op != "pin", controls, len(flop.next_state.pins), cell.area, cell.name

    return min((cell for cell in library.usable_cells if cell.flip_flop), key=key)


def _smallest(library: Library, function: str) -> Cell:
    """The smallest usable cell of one output whose function of its first input is ``function`` (a buffer: ``A``)."""
    table = parse(function).table()
    found = [c for c in library.usable_cells if c.computes(table, 1)]
    return min(found, key=lambda c: (c.area, c.name))


def _ties(library: Library) -> tuple[str, str]:
    """Cell and output pin of the tie-low and the tie-high cell, for hilomap; empty where there is none."""
    names: dict[str, str] = {}
    for cell in library.cells.values():
        if not cell.inputs and not cell.dont_use and not cell.flip_flop:
            for pin in cell.outputs:
                function = cell.pins[pin].function
                if function is not None and function.op in "01":
                    names.setdefault(function.op, f"{cell.name} {pin}")
    return (names["0"], names["1"]) if len(names) == 2 else ("", "")


def analyse(mapped: Mapped, library: Library, options: Options) -> Result:
    """Timing, activity and power of a mapped design.

    Raises
    ------
    NetlistError
        If the netlist is not sound, or differs from the golden model.
    """
    design = mapped.design
    netlist = elaborate.read(mapped.netlist_json, design.name, library)
    loads = netlist.loads(options.wire_load)
    timing = sta.analyse(netlist, options.clock_period_ns, loads)
    inputs = design.unit.stimulus(design.parameters, options.vectors, options.seed, options.tensor)
    counted = simulate(design, netlist, inputs)
    bench = simulate(design, netlist, _independent(design.unit.testbench(design.parameters, options.seed)))
    result = power.analyse(netlist, timing, loads, counted.toggle_rate(), counted.probability())
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
    return Result(mapped, options, netlist, loads, timing, counted, result, bench.cycles, warnings)


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
