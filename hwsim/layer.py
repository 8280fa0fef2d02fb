"""What a GEMM, a layer or a model costs on an accelerator of our tiles: ``python -m hwsim.layer --model NAME``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwsim.base.errors import InputError
from hwsim.base.files import replace_or_refuse
from hwsim.cli.run import BUILD, build_from, make_parser, refuse_unwritable, run
from hwsim.layers import accelerator, comparison, products, storage, text, workload
from hwsim.layers.comparison import Work
from hwsim.layers.workload import GEMM
from hwsim.tensors.products import read

#: Formats that are compared where none are named.
DEFAULT_FORMATS = ("nvfp4", "mixfp4", "mxfp4", "m2xfp", "mxfp8")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(
        "layer",
        "Cycles, DRAM traffic and energy of GEMMs, layers or models on an accelerator built from hwsim's tiles,\n"
        "for several formats side by side, each GEMM at its own best mapping. Figures of a tile that the package\n"
        "does not bring are measured once (about a minute) and kept in the build folder.",
        [
            "python -m hwsim.layer --model llama-3.1-8b --phase decode --context 2048",
            "python -m hwsim.layer --model config.json --phase prefill --format nvfp4 m2xfp --compare equal-area",
            "python -m hwsim.layer --gemm 2048 14336 4096 --format mxfp4 --json -",
            "python -m hwsim.layer --csv gemms.csv --accelerator mine.toml --plot layers.png",
            "python -m hwsim.layer --tensor activations.npy weights.npy --format nvfp4 mixfp4",
        ],
    )
    parser.add_argument("--gemm", metavar=("M", "N", "K"), nargs=3, action="append", default=[],
                        help="D[M, N] = A[M, K] B[N, K]^T; may be repeated")  # fmt: skip
    parser.add_argument("--csv", metavar="FILE", type=Path, help="GEMMs as SCALE-Sim takes them: Layer, M, N, K,")
    parser.add_argument("--model", metavar="NAME", nargs="+", default=[],
                        help=f"{', '.join(workload.shipped())}; or a Hugging Face config.json")  # fmt: skip
    parser.add_argument("--phase", choices=("prefill", "decode"), nargs="+", default=["decode"], help="default: decode")
    parser.add_argument("--batch", type=int, default=1, help="sequences (default: 1)")
    parser.add_argument("--context", type=int, default=2048, help="tokens of a sequence (default: 2048)")
    parser.add_argument("--tensor", metavar=("A", "B"), nargs=2, type=Path,
                        help=".npy of activations [M, K], weights [N, K]: the product in bits, its error")  # fmt: skip
    parser.add_argument("--rows", metavar="N", type=int, help="--tensor: multiply the first N rows of A alone")
    parser.add_argument("--format", metavar="NAME", nargs="+", default=list(DEFAULT_FORMATS), dest="formats",
                        help=f"{', '.join(storage.names())} (default: {' '.join(DEFAULT_FORMATS)})")  # fmt: skip
    parser.add_argument("--shares", metavar=("P4", "P6", "P8"), nargs=3, type=float,
                        default=storage.MICROMIX_SHARES, help="micromix: shares of K in FP4, FP6, FP8 "
                        f"(default: {' '.join(map(str, storage.MICROMIX_SHARES))})")  # fmt: skip
    parser.add_argument("--accelerator", "--preset", metavar="NAME", default="datacentre",
                        help=f"{', '.join(accelerator.presets())}, or a TOML file (default: datacentre)")  # fmt: skip
    parser.add_argument("--compare", choices=("equal-tiles", "equal-area", "equal-bandwidth"), default="equal-tiles",
                        help="what is the same for all formats; equal-area is that of the first format's tiles "
                        "(default: equal-tiles)")  # fmt: skip
    parser.add_argument("--mapping", metavar="FILE", type=Path, help="take mappings from an earlier --json")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for standard output alone")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="roofline and energy, as .png, .svg or .pdf")
    parser.add_argument("--build", metavar="DIR", type=Path, default=BUILD, help="folder of measured figures")
    return execute(parser.parse_args(argv))


def execute(args: argparse.Namespace) -> int:
    """Simulate as the options say and print."""
    if not (args.gemm or args.csv or args.model or args.tensor):
        raise InputError("no work: give --gemm M N K, --csv FILE, --model NAME or --tensor A B")
    if args.plot is not None and not text.suffix(args.plot):
        raise InputError(f"--plot: expected a name that ends in .png, .svg or .pdf, got {args.plot}")
    if args.rows is not None and (args.rows < 1 or not args.tensor):
        raise InputError(f"--rows goes with --tensor and must be positive, got {args.rows}")
    target = None if args.json in (None, "-") else Path(args.json)
    for option, path in (("--json", target), ("--plot", args.plot)):
        if path is not None:
            refuse_unwritable(option, path, [p for p in (args.csv, args.mapping, *(args.tensor or ())) if p])
    formats = [storage.named(name, args.shares) for name in dict.fromkeys(args.formats)]
    on = accelerator.load(args.accelerator)
    works = _works(args)
    results: dict[str, Any] = {}
    if args.tensor:
        a, b = read(args.tensor[0], args.tensor[1], args.rows)
        results["products"] = [products.measure(a, b, format) for format in formats]
        if not works:
            m, k = a.shape
            works = [Work((GEMM("product", m, b.shape[0], k, quantised=m * k),))]
    placements = comparison.placements_of(args.mapping) if args.mapping else None
    document = comparison.compare(
        works, formats, on, build_from(args), args.compare.removeprefix("equal-"), placements,
        lambda what: print(f"{what} ...", file=sys.stderr),
    ) | results  # fmt: skip
    if args.plot:
        replace_or_refuse(args.plot, text.plot(document, text.suffix(args.plot)))
    if args.json:
        dumped = json.dumps(document, indent=1) + "\n"
        if target is None:
            print(dumped, end="")
            return 0
        replace_or_refuse(target, dumped)
    print(text.to_text(document))
    return 0


def _works(args: argparse.Namespace) -> list[Work]:
    given = []
    for number, sizes in enumerate(args.gemm, 1):
        try:
            m, n, k = (int(size) for size in sizes)
        except ValueError:
            raise InputError(f"--gemm takes three whole numbers M N K, got {' '.join(sizes)}") from None
        gemm = GEMM(f"gemm{number}", m, n, k)
        given.append(GEMM(gemm.name, m, n, k, quantised=m * k))
    if args.csv:
        given += workload.read_csv(args.csv)
    works = [Work(tuple(given))] if given else []
    for name in args.model:
        model = workload.model(name)
        works += [Work.of_model(model, phase, args.batch, args.context) for phase in dict.fromkeys(args.phase)]
    return works


if __name__ == "__main__":
    run(main)
