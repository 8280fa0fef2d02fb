"""Clock and I/O constraints of a design as SDC."""

from __future__ import annotations

from hwsim.synthesis.emit import generator, ports
from hwsim.technology.library import Library
from hwsim.units.unit import Design

#: Share of the period that logic in front of inputs and behind outputs may take, unless the user says otherwise.
IO_SHARE = 0.2


def to_sdc(design: Design, library: Library, clock_period_ns: float, io_share: float = IO_SHARE) -> str:
    """Clock and I/O constraints of a design.

    Figures are in the units of the library's Liberty files, and the first command says which: tools either take the
    units from it or complain if theirs are others. A technology pack has the units of the files that it was fitted to.

    Parameters
    ----------
    design : Design
    library : Library
    clock_period_ns : float
    io_share : float
        Share of the period, 0 to 1, that the logic in front of inputs takes, and that behind outputs.
    """
    kinds = ports(design.component())
    time, capacitance = library.time_unit_ns, library.capacitance_unit_fF
    units = f"-time {_unit(time, 'ns', 'ps')} -capacitance {_unit(capacitance / 1000, 'pF', 'fF')}"
    names = {
        way: " ".join(f"{{{name}[*]}}" if width > 1 else name for name, (kind, width) in kinds.items()
                      if kind == way and name != "clk")
        for way in ("input", "output")
    }  # fmt: skip
    data, results = (f"[get_ports [list {names[way]}]]" for way in ("input", "output"))
    period = clock_period_ns / time
    registered = "clk" in kinds
    return "\n".join([
        f"# {design.name} on {library.name}: clock and I/O constraints; made by {generator()}",
        f"# Units of the library's Liberty files: {time:g} ns, {capacitance:g} fF. Period {clock_period_ns:g} ns, "
        f"output load {library.output_load_fF:.4g} fF.",
        f"set_units {units}",
        f"create_clock -name clk -period {period:.9g}" + (" [get_ports clk]" if registered else ""),
        *([f"set_clock_transition {library.clock_slew_ns / time:.6g} [get_clocks clk]"] if registered else []),
        f"# Logic outside takes {100 * io_share:g} % of the period in front of inputs and behind outputs.",
        f"set_input_delay {io_share * period:.9g} -clock clk {data}",
        f"set_input_transition {library.input_slew_ns / time:.6g} {data}",
        f"set_output_delay {io_share * period:.9g} -clock clk {results}",
        f"set_load {library.output_load_fF / capacitance:.6g} {results}",
        *(["# rst is synchronous and timed like every other input."] if registered else []),
        "# There are no false paths, no multicycle paths and no other clocks.",
    ]) + "\n"  # fmt: skip


def _unit(value: float, unit: str, thousandth: str) -> str:
    """A unit as SDC has it, ``ns`` or ``10ps``. Some tools know none with a factor of 1."""
    value, unit = (value, unit) if value > 0.999 else (1000 * value, thousandth)
    return unit if abs(value - 1) < 1e-6 else f"{value:.6g}{unit}"
