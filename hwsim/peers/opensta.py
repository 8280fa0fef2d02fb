"""Cross-check of timing and power with OpenSTA, where it is installed: same netlist, library, constraints, activity.

OpenSTA 2.0 (Debian's) takes the activity of input ports and propagates it to every output pin itself, whatever is set
there. So that both tools compute the power of the same activity, OpenSTA gets ours at the ports; the activity that it
propagates to every net is read back, and our power is computed from it. (How often nets really toggle is checked
elsewhere: against Icarus and Verilator, count by count.)

OpenSTA 2.0 also adds an arc's rise and fall energies where each toggle is only one of the two; later versions take
their mean. `INTERNAL_POWER_FACTOR` undoes that, and a test shows it on a single inverter, where the energy can be
worked out by hand. And where a function has an input anywhere but at its outermost operator, OpenSTA 2.0 takes it to
cause half of the output's toggles, so that the causes of an AOI's toggles add up to more than there are.
``same_rule`` holds our power by that rule: differences that remain come from tables, slews, loads and leakage.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsim.analysis import power
from hwsim.base.errors import InputError, ToolError
from hwsim.base.files import write
from hwsim.costs.flow import Result
from hwsim.synthesis.mapping import Wires
from hwsim.technology.cells import EnergyArc
from hwsim.technology.expression import Expression
from hwsim.technology.library import Library

#: Internal power that OpenSTA 2.0 reports, divided by the power that the Liberty tables mean.
INTERNAL_POWER_FACTOR = 2.0
_FIGURE = r"[-+0-9.eE]+"


@dataclass(frozen=True)
class CrossCheck:
    """Our figures and OpenSTA's for one result, with the activity that OpenSTA propagates: ns and mW.

    ``sta`` holds OpenSTA's internal power divided by `INTERNAL_POWER_FACTOR`.
    """

    version: str
    arrival_ns: float
    sta_arrival_ns: float
    ours: power.Power
    same_rule: power.Power
    sta: power.Power

    @property
    def arrival_percent(self) -> float:
        """Difference of the critical path's arrival."""
        return _difference(self.arrival_ns, self.sta_arrival_ns)

    @property
    def power_percent(self) -> float:
        """Difference of the total power."""
        return _difference(self.ours.total, self.sta.total)

    @property
    def same_rule_percent(self) -> float:
        """Difference of the total power when output toggles are shared among inputs by OpenSTA's rule."""
        return _difference(self.same_rule.total, self.sta.total)


def _difference(ours: float, theirs: float) -> float:
    return 100.0 * (ours / theirs - 1.0)


class _OpenStaGroup(power.CellGroup):
    """Cells whose output toggles are shared among their inputs as OpenSTA 2.0 does."""

    def share(self, arc: EnergyArc, among: Sequence[EnergyArc]) -> np.ndarray:
        function = self.cell.pins[arc.pin].function
        if arc.when or function is None or self.cell.flip_flop:
            flop_output = self.cell.flip_flop is not None
            return np.ones(self.count) if flop_output and not arc.when else self.probability(arc.when)
        assert arc.related_pin is not None, "toggles are shared among arcs from inputs"
        rest = _beside(function, arc.related_pin)
        if rest is None:
            return np.full(self.count, 0.5)
        caused = self.rate[arc.related_pin] * self.probability_of(rest.table(), rest.pins)
        toggles = self.rate[arc.pin]
        return np.where(toggles > 0, caused / np.where(toggles > 0, toggles, 1.0), 0.0)

    def weights(self, pin: str, shares: list[np.ndarray]) -> list[np.ndarray]:
        return shares


def _beside(e: Expression, pin: str) -> Expression | None:
    """What must be 1 so that ``pin``, an operand of the outermost operator, decides the value; None if it is deeper."""
    if e.op == "pin":
        return Expression("1") if e.operands[0] == pin else None
    if e.op == "not":
        return _beside(e.operands[0], pin)
    if e.op in "01":
        return None
    # Operators of many operands are read as pairs, the first ones together on the left.
    *first, right = e.operands
    left = Expression(e.op, tuple(first)) if len(first) > 1 else first[0]
    for side, other in ((left, right), (right, left)):
        bare = side.operands[0] if side.op == "not" else side
        if bare.op == "pin" and bare.operands[0] == pin:
            return other if e.op == "and" else Expression("not", (other,))
    return None


def installed() -> bool:
    """Whether OpenSTA is on the path."""
    return shutil.which("sta") is not None


def cross_check(result: Result) -> CrossCheck:
    """Run OpenSTA on a result's netlist.

    Raises
    ------
    InputError
        If OpenSTA is not installed.
    ToolError
        If it fails or its report is not understood; script and log are beside the netlist.
    """
    if not installed():
        raise InputError("OpenSTA is not installed: no sta on PATH (Debian: apt install opensta)")
    folder = result.mapped.netlist.parent
    write(folder / "opensta.tcl", _script(result, folder))
    run = subprocess.run(
        ["sta", "-no_init", "-no_splash", "-exit", "opensta.tcl"], cwd=folder, capture_output=True, text=True
    )
    log = run.stdout + run.stderr
    write(folder / "opensta.log", log)
    if run.returncode or re.search(r"^Error", log, re.M):
        raise ToolError(f"OpenSTA failed; see {folder / 'opensta.log'}")
    arrivals = re.findall(rf"^ *({_FIGURE}) +data arrival time", log, re.M)
    total = re.search(rf"^Total +({_FIGURE}) +({_FIGURE}) +({_FIGURE}) +({_FIGURE})", log, re.M)
    version = re.search(r"VERSION (\S+)", log)
    if not arrivals or not total or not version:
        raise ToolError(f"OpenSTA's report is not understood; see {folder / 'opensta.log'}")
    rate, high = _activity(result, log)

    def spent(rule: type[power.CellGroup]) -> power.Power:
        energies = power.energies(result.netlist, result.timing, result.loads, rate, high, rule)
        return energies.power(result.timing.period_ns)

    ours = spent(power.CellGroup)
    internal, switching, leakage, _ = (1000 * float(x) for x in total.groups())
    sta = power.Power(internal / INTERNAL_POWER_FACTOR, switching, leakage)
    same = spent(_OpenStaGroup)
    return CrossCheck(version[1], result.timing.arrival_ns, float(arrivals[0]), ours, same, sta)


def _activity(result: Result, log: str) -> tuple[np.ndarray, np.ndarray]:
    """Toggles per cycle and probability of 1 of every net, as OpenSTA has them; NaN where it has none."""
    rate = np.full(result.netlist.count, np.nan)
    high = np.full(result.netlist.count, np.nan)
    for net, per_second, duty in re.findall(rf"^ACTIVITY (\d+) ({_FIGURE}) ({_FIGURE})", log, re.M):
        rate[int(net)] = float(per_second) * result.options.clock_period_ns * 1e-9
        high[int(net)] = float(duty)
    for net in result.activity.clocks:
        rate[net], high[net] = 2.0, 0.5
    for net, value in result.netlist.constants.items():
        rate[net], high[net] = 0.0, value
    return rate, high


def _liberty(library: Library, folder: Path) -> list[Path]:
    """The files that the library was read from, so that our reader is checked too; of a pack, its rendering."""
    assert library.liberty_path is not None
    if library.files[0].endswith(".toml"):
        return [library.liberty_path.resolve()]
    unpacked = []
    for number, path in enumerate(map(Path, library.files)):
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            path = folder / f"library_{number}.lib"
            write(path, gzip.decompress(data))
        unpacked.append(path.resolve())
    return unpacked


def _script(result: Result, folder: Path) -> str:
    library, options, netlist = result.library, result.options, result.netlist
    registered = bool(netlist.flip_flops)
    clock = f"create_clock -name clk -period {options.clock_period_ns:.9g}" + (
        f" [get_ports clk]\nset_clock_transition {library.clock_slew_ns:.9g} clk" if registered else ""
    )
    ports = [f"[get_ports {n}{'*' if len(bits) > 1 else ''}]" for n, bits in netlist.inputs.items() if n != "clk"]
    lines = [
        "puts \"VERSION [sta::version]\"",
        *(f"read_liberty {{{path}}}" for path in _liberty(library, folder)),
        "read_verilog netlist.v",
        f"link_design {netlist.top}",
        "set_cmd_units -time ns -capacitance fF -power W",
        clock,
        # Without input delays OpenSTA takes inputs as unconstrained and reports almost no power.
        *(f"set_input_delay 0 -clock clk {port}" for port in ports),
        *(f"set_input_transition {library.input_slew_ns:.9g} {port}" for port in ports),
        # OpenSTA 2.0 takes the energy of clock pins at the slew of the port, not at that of the clock.
        *([f"set_input_transition {library.clock_slew_ns:.9g} [get_ports clk]"] if registered else []),
        "set_output_delay 0 -clock clk [all_outputs]",
        f"set_load {library.output_load_fF:.9g} [all_outputs]",
    ]  # fmt: skip
    if options.wires is Wires.FANOUT and library.wire_load.lengths:
        lines += [f"set_wire_load_model -name {library.wire_load.name}", "set_wire_load_mode top"]
    rate, high = result.activity.toggle_rate(), result.activity.probability()
    annotated = []
    for name, bits in netlist.inputs.items():
        if name == "clk":
            continue
        for position, net in enumerate(bits):
            port = f"{name}[{position}]" if len(bits) > 1 else name
            lines.append(
                f"set_power_activity -input_ports [get_ports {{{port}}}] "
                f"-activity {rate[net]:.9g} -duty {high[net]:.9g}"
            )
            annotated.append(f'puts "ACTIVITY {net} {rate[net] / options.clock_period_ns * 1e9:.9g} {high[net]:.9g}"')
    lines += ["report_checks -path_delay max -digits 6", "report_power -digits 8", *annotated]
    # Only after report_power: asked for an activity before it has any, OpenSTA 2.0 crashes.
    for group in netlist.groups:
        for pin in group.cell.outputs:
            for i in np.flatnonzero(group.pins[pin] >= 0).tolist():
                where = f"[get_pins {{{netlist.instance_name(group, i)}/{pin}}}]"
                lines.append(f'puts "ACTIVITY {group.pins[pin][i]} [get_property {where} activity]"')
    return "\n".join(lines) + "\n"
