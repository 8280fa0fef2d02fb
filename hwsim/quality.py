"""Which format fits a tensor: ``python -m hwsim.quality FILE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from hwsim import golden
from hwsim.base.errors import InputError
from hwsim.base.files import replace, replace_or_refuse
from hwsim.base.text import printable, unknown
from hwsim.cli.run import make_parser, refuse_unwritable, run
from hwsim.tensors import checkpoints, products, quality
from hwsim.tensors.sources import Source


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and run; return the exit code."""
    parser = make_parser(
        "quality",
        "Quantise tensors to every format and compare size with error. Rows are padded to whole blocks.\n"
        "Weights that are quantised already (NVFP4, MXFP4, MXFP8 and FP8, as compressed-tensors, ModelOpt and\n"
        "gpt-oss store them) are decoded first. A tensor with NaN or infinity is named and skipped; the exit\n"
        "code is then 1.",
        [
            "python -m hwsim.quality weights.safetensors",
            "python -m hwsim.quality x.npy y.npy --formats nvfp4 mixfp4",
            "python -m hwsim.quality ~/models/llama --tensors '*.mlp.*'",
            "python -m hwsim.quality --weights w.npy --activations a.npy",
        ],
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        type=Path,
        help=".npy, .npz, .safetensors, .gguf, .safetensors.index.json, or a folder of them",
    )
    parser.add_argument("--weights", metavar="W", type=Path,
                        help=".npy of weights [N, K]; with --activations: error of their product")  # fmt: skip
    parser.add_argument("--activations", metavar="A", type=Path, help=".npy of activations [..., K]")
    parser.add_argument("--recipes", metavar="NAME", nargs="+", default=list(golden.RECIPES),
                        help="pairs of formats for --weights and --activations; default: all")  # fmt: skip
    parser.add_argument("--formats", metavar="NAME", nargs="+", default=list(golden.SYSTEMS), help="default: all")
    parser.add_argument("--tensors", metavar="NAME", nargs="+", help="names or shell patterns; default: all of floats")
    parser.add_argument("--plot", metavar="FILE", type=Path, default=Path("quality.png"), help="default: quality.png")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - for standard output alone")
    return execute(parser.parse_args(argv))


def execute(args: argparse.Namespace) -> int:
    """Measure as the options say and print."""
    if args.weights is not None or args.activations is not None:
        return _of_products(args)
    if not args.files:
        raise InputError("no tensors: give files, or --weights and --activations")
    for name in args.formats:
        if name not in golden.SYSTEMS:
            raise InputError(f"--formats: expected names among {', '.join(golden.SYSTEMS)}, got {name!r}")
    formats = list(dict.fromkeys(args.formats))
    if args.plot.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--plot: expected a name that ends in .png, .svg or .pdf, got {args.plot}")
    # Measuring may take long: outputs that cannot be written are refused before it.
    to_stdout = args.json == "-"
    target = None if args.json is None or to_stdout else Path(args.json)
    contents = checkpoints.read(args.files)
    for option, path in (("--plot", args.plot), ("--json", target)):
        if path is not None:
            refuse_unwritable(option, path, list(contents.files))
    if target is not None and target.resolve() == args.plot.resolve():
        raise InputError(f"--plot and --json name the same file, {args.plot}")
    chosen = _chosen(contents, args.tensors)
    results: list[quality.Result] = []
    # Weights that are not decoded are missing from the figures, as tensors are that are not finite.
    skipped = {name: why for name, why in contents.undecoded.items() if _wanted(name, args.tensors)}
    for name, why in skipped.items():
        print(f"skipped: {printable(name)}: {printable(why)}", file=sys.stderr)
    if args.tensors is None:
        _name_left_out(contents.left_out)
    for source in chosen:
        try:
            measured = quality.measure(source, formats, progress=sys.stderr.isatty())
        except InputError as error:
            if len(chosen) + len(skipped) == 1:
                raise
            skipped[source.name] = str(error)
            print(f"skipped: {printable(str(error))}", file=sys.stderr)
            continue
        results += measured
        if not to_stdout:
            origin = f"  stored as {source.stored_as}" if source.stored_as else ""
            print(f"{printable(source.name)}  {'x'.join(map(str, source.shape))}{origin}\n{quality.table(measured)}\n")
    if not results:
        raise InputError(f"none of {len(skipped)} tensors could be measured")
    summary = quality.overall(results)
    if len(results) > len(summary) and not to_stdout:
        print(f"all tensors\n{quality.table(summary)}\n")
    try:
        quality.plot(summary if len(results) > len(summary) else results, args.plot)
        entries = [r.as_dict() for r in results] + [{"tensor": n, "skipped": why} for n, why in skipped.items()]
        document = json.dumps(entries, indent=2, allow_nan=False) + "\n"
        if to_stdout:
            sys.stdout.write(document)
        else:
            print(f"plot: {args.plot}")
        if target:
            replace(target, document)
    except OSError as error:
        raise InputError(f"cannot write the results: {error}") from error
    if skipped:
        measured_tensors = len({r.tensor for r in results})
        print(f"skipped {len(skipped)} of {len(skipped) + measured_tensors} tensors", file=sys.stderr)
    return 1 if skipped else 0


def _of_products(args: argparse.Namespace) -> int:
    """Errors of a product of weights and activations."""
    if args.weights is None or args.activations is None or args.files:
        raise InputError("--weights and --activations go together, and without other files")
    for name in args.recipes:
        if name not in golden.RECIPES:
            raise InputError(unknown("recipe", name, golden.RECIPES))
    target = None if args.json in (None, "-") else Path(args.json)
    if target is not None:
        refuse_unwritable("--json", target, [args.weights, args.activations])
    found = products.measure(*products.read(args.activations, args.weights), list(dict.fromkeys(args.recipes)))
    document = json.dumps([o.as_dict() for o in found], indent=2, allow_nan=False) + "\n"
    if target is not None:
        replace_or_refuse(target, document)
    print(document if args.json == "-" else products.table(found), end="" if args.json == "-" else "\n")
    return 0


def _name_left_out(left_out: dict[str, str]) -> None:
    """Say on stderr which tensors are not of floats, alike ones together."""
    alike: dict[str, list[str]] = {}
    for name, why in left_out.items():
        alike.setdefault(why, []).append(name)
    for why, names in alike.items():
        more = f" and {len(names) - 3} more" if names[3:] else ""
        print(f"left out: {', '.join(map(printable, names[:3]))}{more}: {why}", file=sys.stderr)


def _chosen(contents: checkpoints.Contents, wanted: Sequence[str] | None) -> list[Source]:
    """The sources with the wanted names, or that match one of them as a shell pattern; by default all."""
    if wanted is None:
        return contents.sources
    known = [*(s.name for s in contents.sources), *contents.undecoded]
    for name in wanted:
        if not any(_wanted(other, [name]) for other in known):
            why = contents.left_out.get(name)
            held = f"{name} {why}" if why else ", ".join(known[:8])
            raise InputError(f"--tensors: expected names or patterns among {held}, got {name!r}")
    return [s for s in contents.sources if _wanted(s.name, wanted)]


def _wanted(name: str, wanted: Sequence[str] | None) -> bool:
    return wanted is None or any(name == pattern or fnmatchcase(name, pattern) for pattern in wanted)


if __name__ == "__main__":
    run(main)
