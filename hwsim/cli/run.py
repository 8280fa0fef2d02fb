"""Run a command line: parser, errors, exit codes, folders."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hwsim.base import children
from hwsim.base.errors import InputError, ToolError

#: Default folder for generated files.
BUILD = Path("build")


def make_parser(tool: str, description: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """An argument parser whose help ends with examples."""
    parser = argparse.ArgumentParser(
        prog=f"python -m hwsim.{tool}",
        description=description,
        epilog="examples:\n" + "\n".join(f"  {e}" for e in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version())
    return parser


def version() -> str:
    """Name and version of the package."""
    return f"hwsim {importlib.metadata.version('hwsim')}"


def run(main: Callable[[], int]) -> None:
    """Run a ``main`` as a program, with its result as exit code.

    Expected errors print one line and no traceback: exit code 2 for wrong input and files, 1 for a tool that failed or
    too little memory.
    """
    try:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
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
        children.end_all()
        sys.stdout.flush()
        # As a shell reports a program that Ctrl-C has ended. Threads may still be at work: do not wait for them.
        os._exit(130)


def build_from(args: argparse.Namespace) -> Path:
    """Absolute path of the build folder.

    Raises
    ------
    InputError
        If it holds a quote, a backslash, a brace or a line's end: no quoting protects these in all tools.
    """
    folder = args.build.resolve()
    if odd := re.findall(r"[\n\r\"\\{}]", str(folder)):
        raise InputError(f"--build must be a folder without {odd[0]!r} in its path, got {str(folder)!r}")
    return folder


def natural(text: str) -> int:
    """Argument type of seeds: a whole number from 0 to 2**31 - 1, the range that all tools here accept."""
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) >= 1 << 31:
        raise argparse.ArgumentTypeError(f"must be 0 to {(1 << 31) - 1}, got {text}")
    return int(text)


def make_folder(path: Path) -> None:
    """Make the folder of ``-o``; InputError if a file is in the way."""
    if path.exists() and not path.is_dir():
        raise InputError(f"-o must be a folder, got the file {path}")
    path.mkdir(parents=True, exist_ok=True)


def refuse_unwritable(option: str, path: Path, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse, before any work, an output that could not be written or would replace an input.

    Raises
    ------
    InputError
        With the option and the path.
    """
    folder = next(p for p in path.absolute().parents if p.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{option}: cannot write {path}: expected a file name in a folder that can be written")
    if path.exists() and any(i is not None and i.exists() and i.samefile(path) for i in inputs):
        raise InputError(f"{option}: {path} is an input: expected another file name")
