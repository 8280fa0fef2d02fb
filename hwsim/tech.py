"""Technologies to synthesise and measure with: ``python -m hwsim.tech {list, render, fit}``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.base.files import replace_or_refuse
from hwsim.base.text import table
from hwsim.cli.run import make_parser, run
from hwsim.technology import liberty, pack
from hwsim.technology.catalogue import EMBEDDED, NANGATE45, nangate45_path, pack_path
from hwsim.technology.library import Library
from hwsim.technology.packing import fit_pack


def _fit_command(arguments: argparse.Namespace) -> None:
    out = Path(arguments.output)
    if out.suffix != ".toml":
        raise InputError(f"-o must be a file name that ends in .toml, as --tech takes it, got {out}")
    about = pack.load(out)["about"] if out.exists() else {}
    content, fitted, left_out = fit_pack(arguments.liberty, about, arguments.cells)
    # Refuse a pack without the cells that synthesis needs.
    Library.from_groups([liberty.parse(pack.render(content))], ["the cells selected"])
    replace_or_refuse(out, pack.dumps(content))
    print(f"{len(content['cell'])} cells to {out}: {', '.join(content['cell'])}\n")
    for reason in sorted(set(left_out.values())):
        names = [name for name, why in left_out.items() if why == reason]
        print(f"left out, {reason} ({len(names)}): {', '.join(names)}")
    print("\nrelative errors in %: of the figure, or of a yardstick where the figure is smaller than that")
    print(f"{'quantity':<16}{'mean':>8}{'p95':>8}{'max':>8}{'mean':>11}{'p95':>10}{'max':>10}")
    for quantity, relative, absolute in fitted.errors.rows():
        unit = "fJ" if quantity.startswith("energy") else "ns"
        percent = "".join(f"{100 * error:8.1f}" for error in relative)
        print(f"{quantity:<16}{percent} " + "".join(f"{error:10.4f}" for error in absolute) + f" {unit}")


def _render_command(arguments: argparse.Namespace) -> None:
    replace_or_refuse(Path(arguments.output), pack.render(pack.load(pack_path(arguments.name))))
    print(f"{arguments.output}")


def _list_command(_: argparse.Namespace) -> None:
    rows = [["name", "node", "corner", "cells", "clock", "licence"]]
    for name in EMBEDDED:
        content = pack.load(pack_path(name))
        about = content["about"]
        clock = f"{about['clock_period_ns']:g} ns"
        corner = content["library"]["corner"]
        rows.append([name, about["node"], corner, str(len(content["cell"])), clock, about["licence"]])
    try:
        library = Library.load(nangate45_path())
    except InputError as error:
        rows.append([NANGATE45, "45 nm", "-", "-", "-", str(error).partition(": ")[2]])
    else:
        clock = f"{library.clock_period_ns:g} ns"
        licence = "restricted, read where installed"
        rows.append([NANGATE45, "45 nm", library.corner, str(len(library.usable_cells)), clock, licence])
    print(table(rows, right=(3, 4)))


_EXAMPLES = (
    "python -m hwsim.tech list",
    "python -m hwsim.tech render asap7 -o asap7.lib",
    "python -m hwsim.tech fit my_cells_tt.lib.gz my_flops_tt.lib.gz -o my.toml",
    "python -m hwsim.tech fit my.lib -o my.toml --cells 'NAND2_X.*' --cells 'INV_X[124]' --cells DFF_X1",
)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("tech", "Technologies for synthesis, timing and power.", _EXAMPLES)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="table of the technologies")
    listing.set_defaults(run=_list_command)
    render = commands.add_parser("render", help="write the Liberty of a pack, as the tools read it")
    render.add_argument("name", help=f"{', '.join(EMBEDDED)}, or a pack file (*.toml)")
    render.add_argument("-o", "--output", required=True, metavar="FILE", help="Liberty file to write")
    render.set_defaults(run=_render_command)
    fitting = commands.add_parser(
        "fit",
        help="fit a pack from Liberty files",
        description="Fit a pack from Liberty files. If PACK exists, its hand-written [about] is kept.",
        epilog=f"example:\n  {_EXAMPLES[-1]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fitting.add_argument("liberty", nargs="+", metavar="LIBERTY", help="files of one library, plain or .gz")
    fitting.add_argument("-o", "--output", required=True, metavar="PACK", help="TOML file to write")
    fitting.add_argument(
        "--cells", action="append", default=[], metavar="REGEX", help="take these cells instead of the rule's"
    )
    fitting.set_defaults(run=_fit_command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    arguments = _parser().parse_args(argv)
    arguments.run(arguments)
    return 0


if __name__ == "__main__":
    run(main)
