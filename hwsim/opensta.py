"""Cross-check of timing and power with OpenSTA, where it is installed: same netlist, library, constraints, activity."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from hwsim.errors import InputError
from hwsim.flow import Result, percent

_FIGURE = r"[-+0-9.eE]+"


@dataclass(frozen=True)
class CrossCheck:
    """Ours and OpenSTA's figures of one result: ns, mW, and the difference of ours in percent."""

    version: str
    arrival_ns: float
    sta_arrival_ns: float
    power_mw: float
    sta_power_mw: float
    sta_internal_mw: float
    sta_switching_mw: float
    sta_leakage_mw: float

    @property
    def arrival_percent(self) -> float:
        """Difference of the critical path's arrival."""
        return percent(self.arrival_ns, self.sta_arrival_ns)

    @property
    def power_percent(self) -> float:
        """Difference of the total power."""
        return percent(self.power_mw, self.sta_power_mw)


def installed() -> bool:
    """Whether OpenSTA is on the path."""
    return shutil.which("sta") is not None


def cross_check(result: Result) -> CrossCheck:
    """Run OpenSTA on a result's netlist.

    Raises
    ------
    InputError
        If OpenSTA is not installed.
    RuntimeError
        If it fails or its report is not understood; script and log are beside the netlist.
    """
    if not installed():
        raise InputError("OpenSTA is not installed: no sta on PATH (Debian: apt install opensta)")
    folder = result.mapped.netlist.parent
    (folder / "opensta.tcl").write_text(_script(result))
    run = subprocess.run(
        ["sta", "-no_init", "-no_splash", "-exit", "opensta.tcl"], cwd=folder, capture_output=True, text=True
    )
    log = run.stdout + run.stderr
    (folder / "opensta.log").write_text(log)
    if run.returncode or re.search(r"^Error", log, re.M):
        raise RuntimeError(f"OpenSTA failed; see {folder / 'opensta.log'}")
    arrivals = re.findall(rf"^ *({_FIGURE}) +data arrival time", log, re.M)
    total = re.search(rf"^Total +({_FIGURE}) +({_FIGURE}) +({_FIGURE}) +({_FIGURE})", log, re.M)
    version = re.search(r"VERSION (\S+)", log)
    if not arrivals or not total or not version:
        raise RuntimeError(f"OpenSTA's report is not understood; see {folder / 'opensta.log'}")
    internal, switching, leakage, power = (1000 * float(x) for x in total.groups())
    return CrossCheck(
        version[1], result.timing.arrival_ns, float(arrivals[0]), result.power.total, power, internal, switching, leakage
    )


def _script(result: Result) -> str:
    library, options, netlist = result.library, result.options, result.netlist
    registered = bool(netlist.flip_flops)
    clock = f"create_clock -name clk -period {options.clock_period_ns:.9g}" + (
        f" [get_ports clk]\nset_clock_transition {library.clock_slew_ns:.9g} clk" if registered else ""
    )
    ports = " ".join(name for name in netlist.inputs if name != "clk")
    lines = [
        "puts \"VERSION [sta::version]\"",
        f"read_liberty {library.liberty_path}",
        "read_verilog netlist.v",
        f"link_design {netlist.top}",
        "set_cmd_units -time ns -capacitance fF -power W",
        clock,
        # Without input delays OpenSTA takes inputs as unconstrained and reports almost no power.
        *(f"set_input_delay 0 -clock clk [get_ports {name}{'*' if len(netlist.inputs[name]) > 1 else ''}]"
          for name in ports.split()),
        *(f"set_input_transition {library.input_slew_ns:.9g} [get_ports {name}{'*' if len(netlist.inputs[name]) > 1 else ''}]"
          for name in ports.split()),
        "set_output_delay 0 -clock clk [all_outputs]",
        f"set_load {library.output_load_fF:.9g} [all_outputs]",
    ]  # fmt: skip
    if options.wire_load and library.wire_load.lengths:
        lines += [f"set_wire_load_model -name {library.wire_load.name}", "set_wire_load_mode top"]
    rate, high = result.activity.toggle_rate(), result.activity.probability()

    for name, bits in netlist.inputs.items():
        if name == "clk":
            continue
        for position, net in enumerate(bits):
            port = f"{name}[{position}]" if len(bits) > 1 else name
            lines.append(
                f"set_power_activity -input_ports [get_ports {{{port}}}] -activity {rate[net]:.9g} -duty {high[net]:.9g}"
            )
    for instance in netlist.instances:
        for pin in instance.cell.outputs:
            if pin in instance.nets:
                net = instance.nets[pin]
                # The Tcl command's own -pins does not work in OpenSTA 2.0: this is what it would call.
                lines.append(
                    f"sta::set_power_pin_activity [get_pins {{{instance.name}/{pin}}}] {rate[net]:.9g} {high[net]:.9g}"
                )
    lines += ["report_checks -path_delay max -digits 6", "report_power -digits 8"]
    return "\n".join(lines) + "\n"
