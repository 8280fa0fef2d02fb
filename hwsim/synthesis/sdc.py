"""Clock and I/O constraints of a design as SDC."""

from __future__ import annotations

from hwsim.synthesis.emit import generator, ports
from hwsim.technology.library import Library
from hwsim.units.unit import Design


def to_sdc(design: Design, library: Library, clock_period_ns: float) -> str:
    """Clock and I/O constraints of a design: inputs arrive and outputs are due at the clock edge.

    Figures are in the units of the library, as readers of SDC expect.
    """
    component = design.component()
    kinds = ports(component)
    ns, fF = 1 / library.time_unit_ns, 1 / library.capacitance_unit_fF
    target = " [get_ports clk]" if "clk" in kinds else ""
    inputs = [f"{name}*" if width > 1 else name for name, (direction, width) in kinds.items() if direction == "input"]
    data = f"[get_ports {{{' '.join(name for name in inputs if name != 'clk')}}}]"
    return "\n".join([
        f"# {design.name} on {library.name}: clock and I/O constraints; made by {generator()}",
        f"# units are the library's: {library.time_unit_ns:g} ns, {library.capacitance_unit_fF:g} fF",
        f"create_clock -name clk -period {clock_period_ns * ns:.9g}{target}",
        *([f"set_clock_transition {library.clock_slew_ns * ns:.6g} [get_clocks clk]"] if target else []),
        f"set_input_delay 0 -clock clk {data}",
        f"set_input_transition {library.input_slew_ns * ns:.6g} {data}",
        "set_output_delay 0 -clock clk [all_outputs]",
        f"set_load {library.output_load_fF * fF:.6g} [all_outputs]",
    ]) + "\n"  # fmt: skip
