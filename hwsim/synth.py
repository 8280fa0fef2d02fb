"""What a unit costs: ``python -m hwsim.synth --unit NAME``."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from hwsim import cli, flow
from hwsim.errors import InputError
from hwsim.files import replace_all
from hwsim.saif import to_saif
from hwsim.summary import overhead, to_json, to_text
from hwsim.units import UNITS, Design, Unit, find


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = cli.parser(
        "synth",
        "Map a unit to a cell library and report its area, timing and power, and the overhead over its baseline.",
        [
            "python -m hwsim.synth --list --unit nvfp4_mma",
            "python -m hwsim.synth --unit mixfp4_decode",
            "python -m hwsim.synth --unit mixfp4_decode --tech sky130hd --clock-period 4",
            "python -m hwsim.synth --unit mixfp4_decode --set lanes=32 --json - | jq .overhead",
            "python -m hwsim.synth --unit nvfp4_decode --liberty a.lib b.lib.gz --saif nvfp4_decode.saif",
        ],
    )
    parser.add_argument("--list", action="store_true", help="list the units, or with --unit its parameters and ports")
    cli.add_design(parser, required=False)
    parser.add_argument("--baseline", metavar="NAME", help="unit that overheads refer to, or none (default: natural)")
    cli.add_technology(parser)
    cli.add_stimulus(parser)
    parser.add_argument("--hierarchical", action="store_true", help="map module by module (units made of parts always)")
    parser.add_argument("--saif", metavar="FILE", type=Path, help="write the switching activity as SAIF")
    parser.add_argument("--json", metavar="FILE", help="write all figures as JSON; - for standard output alone")
    args = parser.parse_args(argv)
    if args.list:
        print(_described(find(args.unit)) if args.unit else _units())
        return 0
    if not args.unit:
        raise InputError("--unit is missing; --list shows the units")
    return report(args)


def report(args: argparse.Namespace) -> int:
    """Run as the options say and print the figures."""
    design = cli.design(args)
    baseline = _baseline(args, design.unit)
    library = cli.library(args)
    # A tile of equal parts is mapped in the time of its distinct modules.
    tile = bool(getattr(design.component(), "parts", None))
    options = flow.Options(
        clock_period_ns=cli.clock_period(args, library),
        wire_load=args.wire_load == "fanout",
        hierarchical=args.hierarchical or tile,
        vectors=cli.vectors(args, tile),
        seed=args.seed,
        tensor=cli.tensor(args),
        tensor_name=str(args.tensor or ""),
    )
    if baseline == design:
        raise InputError(f"--baseline {design.name} is the unit itself with the same parameters")
    if args.json and args.saif and Path(args.json).resolve() == args.saif.resolve():
        raise InputError(f"--json and --saif name the same file, {args.saif}")
    for option, target in (("--saif", args.saif), ("--json", args.json)):
        if target and target != "-":
            cli.refuse_unwritable(option, Path(target), [args.tensor, *(args.liberty or [])])
    designs = [design] if baseline is None else [design, baseline]
    # Two children map in parallel; the analysis behind them is compiled code that lets go of the interpreter.
    with ThreadPoolExecutor(2) as pool:
        mapped = list(pool.map(lambda d: flow.map_design(d, library, options, cli.build_directory(args)), designs))
    results = [flow.analyse(m, library, options) for m in mapped]
    extra = overhead(results[0], results[1]) if baseline else None
    files: dict[Path, str | bytes] = {}
    if args.saif:
        files[args.saif] = to_saif(results[0].netlist, results[0].activity, options.clock_period_ns)
    figures = to_json(results[0], extra, args.saif) | {"baseline": to_json(results[1]) if baseline else None}
    document = json.dumps(figures, indent=2, allow_nan=False) + "\n"
    if args.json and args.json != "-":
        files[Path(args.json)] = document
    replace_all(files)
    if args.json == "-":
        sys.stdout.write(document)
    else:
        print(to_text(results[0], results[1] if baseline else None, extra))
    return 0


def _baseline(args: argparse.Namespace, unit: Unit) -> Design | None:
    """The design to compare with: the option, or the unit's natural one with the same parameters where it has them."""
    name = args.baseline or unit.baseline
    if name is None or name == "none":
        return None
    chosen = find(name)
    if chosen.counted != unit.counted:
        raise InputError(f"--baseline {name} does {chosen.counted}s, {unit.name} {unit.counted}s: nothing to compare")
    settings = {k: v for k, v in cli.settings(args.settings).items() if k in chosen.defaults}
    if "lanes" in chosen.defaults and "lanes" in unit.defaults:
        # Cost is compared lane by lane, whatever the block lengths.
        settings.setdefault("lanes", unit.defaults["lanes"])
    return Design.of(name, settings)


def _described(unit: Unit) -> str:
    """What the docstrings of a unit's component and its bases say of its parameters and ports."""
    documented = [inspect.cleandoc(c.__doc__ or "").replace("``", "") for c in inspect.getmro(cast(type, unit.builder))]
    left = set(unit.defaults)
    parameters: list[str] = []
    for entry in (entry for text in documented for entry in _entries(text, "Parameters")):
        names = left & set(re.findall(r"\w+", entry.partition(" :")[0]))
        if names:
            parameters.append(entry)
            left -= names
    ports = next(found for found in (_entries(text, "Ports") for text in documented) if found)
    lines = [f"{unit.name}: {unit.summary}"]
    for title, entries in (("parameters", parameters), ("defaults", [_settings(unit)]), ("ports", ports)):
        lines += ["", f"{title}:", *(textwrap.indent(entry, "  ") for entry in entries)]
    return "\n".join(lines)


def _entries(text: str, section: str) -> list[str]:
    """The entries of a section of a docstring."""
    found = text.partition(f"\n{section}\n{'-' * len(section)}\n")[2].partition("\n\n")[0]
    return re.split(r"\n(?=\S)", found) if found else []


def _settings(unit: Unit) -> str:
    return " ".join(f"{k}={int(v) if isinstance(v, bool) else v}" for k, v in unit.defaults.items())


def _units() -> str:
    rows = [["unit", "parameters", "baseline", "what it is"]]
    for unit in UNITS.values():
        rows.append([unit.name, _settings(unit), unit.baseline or "-", unit.summary])
    return cli.table(rows)


if __name__ == "__main__":
    cli.run(main)
