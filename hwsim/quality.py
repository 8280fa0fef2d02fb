"""Which format fits a tensor: ``python -m hwsim.quality FILE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hwsim import golden
from hwsim.base.errors import InputError
from hwsim.base.files import replace
from hwsim.cli.run import make_parser, refuse_unwritable, run
from hwsim.tensors import files, quality


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and run; return the exit code."""
    parser = make_parser(
        "quality",
        "Quantise tensors to every format and compare size with error. Rows are padded to whole blocks.",
        [
            "python -m hwsim.quality weights.safetensors",
            "python -m hwsim.quality x.npy --formats nvfp4 mixfp4",
        ],
    )
    parser.add_argument("file", metavar="FILE", type=Path, help=".npy, .npz or .safetensors")
    parser.add_argument("--formats", metavar="NAME", nargs="+", default=list(golden.SYSTEMS), help="default: all")
    parser.add_argument("--tensors", metavar="NAME", nargs="+", help="default: every float tensor of the file")
    parser.add_argument("--plot", metavar="FILE", type=Path, default=Path("quality.png"), help="default: quality.png")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - for standard output alone")
    return execute(parser.parse_args(argv))


def execute(args: argparse.Namespace) -> int:
    """Measure as the options say and print."""
    for name in args.formats:
        if name not in golden.SYSTEMS:
            raise InputError(f"--formats: expected names among {', '.join(golden.SYSTEMS)}, got {name!r}")
    formats = list(dict.fromkeys(args.formats))
    if args.plot.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--plot: expected a name that ends in .png, .svg or .pdf, got {args.plot}")
    # Measuring may take long: outputs that cannot be written are refused before it.
    to_stdout = args.json == "-"
    target = None if args.json is None or to_stdout else Path(args.json)
    for option, path in (("--plot", args.plot), ("--json", target)):
        if path is not None:
            refuse_unwritable(option, path, [args.file])
    if target is not None and target.resolve() == args.plot.resolve():
        raise InputError(f"--plot and --json name the same file, {args.plot}")
    sources = files.read(args.file)
    names = [s.name for s in sources]
    for name in args.tensors or []:
        if name not in names:
            raise InputError(f"--tensors: {args.file} holds {', '.join(names[:8])}, got {name!r}")
    results: list[quality.Result] = []
    for source in sources:
        if args.tensors and source.name not in args.tensors:
            continue
        measured = quality.measure(source, formats, progress=sys.stderr.isatty())
        results += measured
        if not to_stdout:
            print(f"{source.name}  {'x'.join(map(str, source.shape))}\n{quality.table(measured)}\n")
    summary = quality.overall(results)
    if len(results) > len(summary) and not to_stdout:
        print(f"all tensors\n{quality.table(summary)}\n")
    try:
        quality.plot(summary if len(results) > len(summary) else results, args.plot)
        document = json.dumps([r.as_dict() for r in results], indent=2, allow_nan=False) + "\n"
        if to_stdout:
            sys.stdout.write(document)
        else:
            print(f"plot: {args.plot}")
        if target:
            replace(target, document)
    except OSError as error:
        raise InputError(f"cannot write the results: {error}") from error
    return 0


if __name__ == "__main__":
    run(main)
