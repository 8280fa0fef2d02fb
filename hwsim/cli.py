"""What the command lines share: options, errors, tables."""

from __future__ import annotations

import argparse
import os
import re
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError, ToolError

#: What ABC, which counts in whole picoseconds, and SAIF can say.
MIN_PERIOD_NS, MAX_PERIOD_NS = 0.001, 1e6

#: Enough for every stream to be longer than a pipeline; and what memory holds.
MIN_VECTORS, MAX_VECTORS = 4096, 1 << 26

#: Where generated files go unless told otherwise.
BUILD = Path("build")


def parser(tool: str, description: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """An argument parser whose help ends with examples."""
    return argparse.ArgumentParser(
        prog=f"python -m hwsim.{tool}",
        description=description,
        epilog="examples:\n" + "\n".join(f"  {e}" for e in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(main: Callable[[], int]) -> None:
    """Run a ``main`` as a program: errors of the user give one line and exit code 2, no traceback."""
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except MemoryError as error:
        print(f"error: out of memory ({error}); fewer --vectors or a smaller unit need less", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output went away (``| head``): nothing is wrong. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        # As a shell reports a program that Ctrl-C has ended.
        sys.exit(130)


def add_design(p: argparse.ArgumentParser, required: bool = True) -> None:
    """Options that name a unit and its parameters."""
    p.add_argument("--unit", metavar="NAME", required=required, help="unit (python -m hwsim.synth --list)")
    p.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="settings", help="parameter of the unit"
    )
    p.add_argument("--build", metavar="DIR", type=Path, default=BUILD, help="folder for scripts, logs and netlists")


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``["lanes=32", "format=e4m3"]`` as a dictionary; whole numbers become int, the rest stay text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or not value:
            raise InputError(f"--set takes KEY=VALUE, got {pair!r}")
        if key in found:
            raise InputError(f"--set gives {key} twice")
        found[key] = int(value) if re.fullmatch(r"-?[0-9]{1,9}", value) else value
    return found


def design(args: argparse.Namespace, name: str | None = None):
    """The design that the options name; built once so that bad parameters are refused here."""
    from hwsim.units import Design

    found = Design.of(name or args.unit, settings(args.settings))
    found.component()
    return found


def build_directory(args: argparse.Namespace) -> Path:
    """Absolute path of the build folder.

    Raises
    ------
    InputError
        If it holds white space or another character that ends a file name for Yosys and ABC.
    """
    found = args.build.resolve()
    if odd := re.findall(r"[\s;#\"'\\$`*?<>|&(){}\[\]!]", str(found)):
        raise InputError(f"--build must be a folder without {odd[0]!r} in its path, got {str(found)!r}")
    return found


def natural(text: str) -> int:
    """A seed as an option gives it: what every tool here takes, 0 to 2**31 - 1."""
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) >= 1 << 31:
        raise argparse.ArgumentTypeError(f"must be 0 to {(1 << 31) - 1}, got {text}")
    return int(text)


def make_folder(path: Path) -> None:
    """Make the folder of ``-o``; InputError if a file is in the way."""
    if path.exists() and not path.is_dir():
        raise InputError(f"-o must be a folder, got the file {path}")
    path.mkdir(parents=True, exist_ok=True)


def refuse_unwritable(option: str, path: Path, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse, before the work, an output that could not be written or would replace an input.

    Raises
    ------
    InputError
    """
    folder = next(p for p in path.absolute().parents if p.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{option}: cannot write {path}: expected a file name in a folder that can be written")
    if path.exists() and any(i is not None and i.exists() and i.samefile(path) for i in inputs):
        raise InputError(f"{option}: {path} is an input: expected another file name")


def add_technology(p: argparse.ArgumentParser, wire_load: bool = True) -> None:
    """Options that choose a library, a clock and a wire load."""
    p.add_argument(
        "--tech", metavar="NAME", help="asap7 (default), sg13g2, sky130hd, nangate45 or a pack of yours, FILE.toml"
    )
    p.add_argument("--liberty", metavar="FILE", nargs="+", type=Path, help="your own library, several files as one")
    p.add_argument("--clock-period", metavar="NS", type=float, help="default: the technology's")
    if wire_load:
        p.add_argument(
            "--wire-load", choices=("zero", "fanout"), default="fanout", help="capacitance of wires (default: fanout)"
        )


def add_stimulus(p: argparse.ArgumentParser) -> None:
    """Options that choose what the unit works on while activity is counted."""
    p.add_argument("--tensor", metavar="FILE.npy", type=Path, help="float tensor to quantise (default: random tensors)")
    p.add_argument("--vectors", metavar="N", type=int, help="of the activity (default: 65536; tiles: 8192)")
    p.add_argument("--seed", type=natural, default=1, help="of the random tensors (default: 1)")


def vectors(args: argparse.Namespace, tile: bool) -> int:
    """Vectors of the activity: the option, or enough for a block, and fewer for a tile of many dot units."""
    return args.vectors if args.vectors is not None else 1 << 13 if tile else 1 << 16


def tensor(args: argparse.Namespace) -> np.ndarray | None:
    """The user's tensor as float32, or None."""
    if args.vectors is not None and not MIN_VECTORS <= args.vectors <= MAX_VECTORS:
        raise InputError(f"--vectors must be {MIN_VECTORS} to {MAX_VECTORS}, got {args.vectors}")
    if args.tensor is None:
        return None
    try:
        found = np.load(args.tensor, mmap_mode="r")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"--tensor {args.tensor}: not a readable .npy file ({error})") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.size == 0:
        what = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "an archive"
        raise InputError(f"--tensor {args.tensor}: expected a float array with elements, got {what}")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(found, dtype=np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad) or not found.ndim:
        where = tuple(map(int, bad[0])) if len(bad) else ()
        what = f"{found[where]} at index {where}" if len(bad) else "a single number"
        raise InputError(f"--tensor {args.tensor}: expected an array of values that FP32 holds, got {what}")
    return values


def library(args: argparse.Namespace):
    """The library that the options choose."""
    from hwsim import tech

    if args.tech and args.liberty:
        raise InputError("give --tech or --liberty, not both")
    return tech.load(args.tech, args.liberty, build_directory(args))


def clock_period(args: argparse.Namespace, library) -> float:
    """Clock period in ns: the option, or the technology's."""
    period = library.clock_period_ns if args.clock_period is None else args.clock_period
    if not MIN_PERIOD_NS <= period <= MAX_PERIOD_NS:
        raise InputError(f"--clock-period must be {MIN_PERIOD_NS:g} to {MAX_PERIOD_NS:g} ns, got {period:g}")
    return period


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows of text, columns aligned; columns in ``right`` to the right."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    return "\n".join(
        "  ".join(c.rjust(widths[i]) if i in right else c.ljust(widths[i]) for i, c in enumerate(row)).rstrip()
        for row in rows
    )
