"""``hwsim TOOL ...`` or ``python -m hwsim TOOL ...``: the same tools as ``python -m hwsim.TOOL``."""

from __future__ import annotations

import importlib
import sys

from hwsim.base.errors import InputError
from hwsim.base.text import table, unknown
from hwsim.cli.run import run, version

#: Name of every tool and what it does. Imported only when called: most tools need a fraction of the package.
TOOLS = {
    "synth": "map a unit to a cell library: area, timing, power, overhead over a baseline",
    "verilog": "write a unit as Verilog, with an SDC file",
    "cosim": "simulate a unit's Verilog against its golden model",
    "prove": "prove RTL against specification and netlist against RTL",
    "bulk": "compare an MMA unit's netlist with its golden model on millions of dot products",
    "mutants": "mutation score of a unit's testbench",
    "products": "search for smaller gate networks that multiply 4-bit elements",
    "quality": "bits per element against SQNR of your own tensors, per format",
    "layer": "cycles, traffic and energy of GEMMs, layers and models on an accelerator of our tiles",
    "accuracy": "what formats do to a language model, on a text",
    "sweep": "many units, settings, technologies, clocks or layers on many workers",
    "tech": "list technologies, fit a pack to Liberty files, render a pack",
    "bench": "measure speed against named peers",
    "report": "make the reports",
}


def usage() -> str:
    """Help text: the tools, one a line."""
    rows = [[f"  {name}", what] for name, what in TOOLS.items()]
    return (
        "usage: hwsim TOOL [options]\n\ntools:\n" + table(rows) + "\n\nexamples:\n"
        "  hwsim synth --unit mixfp4_decode\n  hwsim verilog --unit mixfp4_decode -o rtl_out\n  hwsim TOOL --help"
    )


def main() -> None:
    """Entry point of the console script."""
    run(_dispatch)


def _dispatch() -> int:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(version())
        return 0
    if arguments[0] not in TOOLS:
        raise InputError(unknown("tool", arguments[0], TOOLS))
    return importlib.import_module(f"hwsim.{arguments[0]}").main(arguments[1:])


if __name__ == "__main__":
    main()
