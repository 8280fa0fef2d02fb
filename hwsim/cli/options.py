"""Options that several tools share, and the designs, libraries and tensors that they name."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import units
from hwsim.base.errors import InputError
from hwsim.cli.run import BUILD, build_from, natural
from hwsim.technology import catalogue
from hwsim.technology.library import Library
from hwsim.tensors.files import read_tensor
from hwsim.units.unit import ARITHMETICS, Design

#: Clock periods that ABC, which counts in whole picoseconds, and SAIF can express.
MIN_PERIOD_NS, MAX_PERIOD_NS = 0.001, 1e6
#: With the fewest vectors every stream is still longer than a pipeline; the most fit in memory.
MIN_VECTORS, MAX_VECTORS = 4096, 1 << 26


def add_design(p: argparse.ArgumentParser, required: bool = True, arithmetic: str = "structured") -> None:
    """Options that name a unit and its parameters, with the kind of arithmetic that the tool takes by default."""
    p.add_argument("--unit", metavar="NAME", required=required, help="unit (python -m hwsim.synth --list)")
    p.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="settings", help="parameter of the unit"
    )
    p.add_argument(
        "--arithmetic", choices=ARITHMETICS, default=arithmetic,
        help="RTL with + and *, for tools that know arithmetic, or with trees of adders, for those that map what they "
        f"are given (default: {arithmetic})",
    )  # fmt: skip
    p.add_argument("--build", metavar="DIR", type=Path, default=BUILD, help="folder for scripts, logs and netlists")


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``["lanes=32", "format=e4m3"]`` as a dictionary; whole numbers become int, the rest stay text."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or not value:
            raise InputError(f"--set takes KEY=VALUE, got {pair!r}")
        if key in values:
            raise InputError(f"--set gives {key} twice")
        values[key] = int(value) if re.fullmatch(r"-?[0-9]{1,9}", value) else value
    return values


def design_from(args: argparse.Namespace) -> Design:
    """The design that ``--unit`` and ``--set`` name; built once so that bad parameters are refused here."""
    settings = parse_settings(args.settings)
    design = units.design(args.unit, settings)
    if "arithmetic" not in settings:
        design = design.in_arithmetic(args.arithmetic)
    design.component()
    return design


def add_technology(p: argparse.ArgumentParser, wire_load: bool = True) -> None:
    """Options that choose a library, a clock and a wire load."""
    p.add_argument(
        "--tech", metavar="NAME", help="asap7 (default), sg13g2, sky130hd, nangate45 or a pack of yours, FILE.toml"
    )
    p.add_argument("--liberty", metavar="FILE", nargs="+", type=Path, help="your own library, several files as one")
    p.add_argument(
        "--dont-use", metavar="PATTERN", nargs="+", default=[], help="cells of --liberty to leave out, as CLK* or *_X0"
    )
    p.add_argument("--clock-period", metavar="NS", type=float, help="default: the technology's")
    if wire_load:
        p.add_argument(
            "--wire-load", choices=("zero", "fanout", "placed"), default="fanout",
            help="capacitance of wires: none, the library's model by fanout (default), or that of a placement",
        )  # fmt: skip
        p.add_argument("--row-height", metavar="UM", type=float, help="of the cells of --liberty, to place them")
        p.add_argument("--wire-capacitance", metavar="FF", type=float, help="of a um of wire, to place with --liberty")


def add_stimulus(p: argparse.ArgumentParser) -> None:
    """Options that choose the stimulus with which switching activity is counted."""
    p.add_argument("--tensor", metavar="FILE.npy", type=Path, help="float tensor to quantise (default: random tensors)")
    p.add_argument("--vectors", metavar="N", type=int, help="of the activity (default: 65536; tiles: 8192)")
    p.add_argument("--seed", type=natural, default=1, help="of the random tensors (default: 1)")


def tensor_from(args: argparse.Namespace) -> np.ndarray | None:
    """The tensor of ``--tensor`` as float32, or None; InputError as :func:`hwsim.tensors.files.read_tensor`."""
    if args.vectors is not None and not MIN_VECTORS <= args.vectors <= MAX_VECTORS:
        raise InputError(f"--vectors must be {MIN_VECTORS} to {MAX_VECTORS}, got {args.vectors}")
    return None if args.tensor is None else read_tensor("--tensor", args.tensor)


def library_from(args: argparse.Namespace) -> Library:
    """The library that ``--tech`` or ``--liberty`` chooses."""
    if args.tech and args.liberty:
        raise InputError("give --tech or --liberty, not both")
    library = catalogue.load(args.tech, args.liberty, build_from(args), args.dont_use)
    for name, field, least, unit in (
        ("row_height", "row_height_um", 0.05, "um"), ("wire_capacitance", "wire_fF_per_um", 0.001, "fF/um"),
    ):  # fmt: skip
        value, option = getattr(args, name, None), f"--{name.replace('_', '-')}"
        if value is None:
            continue
        if not args.liberty or args.wire_load != "placed":
            raise InputError(f"{option} is to place cells of your own library: give --liberty and --wire-load placed")
        if not least <= value <= 100:
            raise InputError(f"{option} must be {least:g} to 100 {unit}, got {value:g}")
        library = replace(library, **{field: value})
    if library.left_out:
        (name, reason), *others = library.left_out.items()
        more = f", and {len(others)} more" if others else ""
        print(f"note: cell {name} of {library.name} is left out: {reason}{more}", file=sys.stderr)
    return library


def clock_period_from(args: argparse.Namespace, library: Library) -> float:
    """Clock period in ns: the option, or the technology's."""
    period = library.clock_period_ns if args.clock_period is None else args.clock_period
    if not MIN_PERIOD_NS <= period <= MAX_PERIOD_NS:
        raise InputError(f"--clock-period must be {MIN_PERIOD_NS:g} to {MAX_PERIOD_NS:g} ns, got {period:g}")
    return period
