"""What formats do to a language model: ``python -m hwsim.accuracy MODEL.gguf --text FILE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hwsim import golden
from hwsim.base.errors import InputError
from hwsim.base.files import replace_or_refuse
from hwsim.base.text import unknown
from hwsim.cli.run import make_parser, refuse_unwritable, run
from hwsim.layers import accuracy, llama


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(
        "accuracy",
        "Quantise the linear layers of a Llama model, weights and activations, and say what it loses on a text: error\n"
        "of the layers' outputs, log-likelihood with its paired standard error, divergence from FP32. Needs the extra\n"
        "accuracy: pip install 'hwsim[accuracy]'. Perplexities of quantised models are chaotic: another matrix\n"
        "library moves them by some percent; compare what is well beyond the standard error, or the outputs' error.",
        [
            "python -m hwsim.accuracy model.gguf --text book.txt",
            "python -m hwsim.accuracy model.gguf --text book.txt --recipes nvfp4 mixfp4 --exact --sequences 1",
        ],
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="GGUF file of the Llama architecture")
    parser.add_argument("--text", metavar="FILE", nargs="+", type=Path, required=True, help="what is predicted; UTF-8")
    parser.add_argument("--recipes", metavar="NAME", nargs="+", default=list(golden.RECIPES), help="default: all")
    parser.add_argument("--length", metavar="N", type=int, default=1024, help="tokens of a sequence (default: 1024)")
    parser.add_argument("--sequences", metavar="N", type=int, default=2, help="of each text (default: 2)")
    parser.add_argument("--calibration", metavar="N", type=int, default=2,
                        help="further sequences of each text that recipes are calibrated on (default: 2)")  # fmt: skip
    parser.add_argument("--seed", metavar="N", type=int, default=0,
                        help="above 0: change embeddings by one part in a million, to see how far chaos carries "
                        "(default: 0)")  # fmt: skip
    parser.add_argument("--exact", action="store_true", help="multiply through golden.mma, bit for bit")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - for standard output alone")
    return execute(parser.parse_args(argv))


def execute(args: argparse.Namespace) -> int:
    """Measure as the options say and print."""
    for name in args.recipes:
        if name not in golden.RECIPES:
            raise InputError(unknown("recipe", name, golden.RECIPES))
    for option, value, least in (("--length", args.length, 2), ("--sequences", args.sequences, 1),
                                 ("--calibration", args.calibration, 1)):  # fmt: skip
        if value < least:
            raise InputError(f"{option} must be at least {least}, got {value}")
    target = None if args.json in (None, "-") else Path(args.json)
    if target is not None:
        refuse_unwritable("--json", target, [args.model, *args.text])
    texts = []
    for path in args.text:
        try:
            texts.append(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--text {path}: {error}") from None
    model = llama.load(args.model)
    if args.seed:
        model = llama.shaken(model, args.seed)
    scored, others = [], []
    for text in texts:
        parts = llama.sequences(model, text, args.length, args.sequences + args.calibration)
        scored += parts[: args.sequences]
        others += parts[args.sequences :]

    def tell(what: str) -> None:
        if sys.stderr.isatty():
            print(f"{what:60}", end="\r", file=sys.stderr)

    nll, found = accuracy.measure(model, list(dict.fromkeys(args.recipes)), scored, others, args.exact, tell)
    tokens = sum(len(t) - 1 for t in scored)
    document = {
        "model": args.model.name, "texts": [path.name for path in args.text], "tokens": tokens, "length": args.length,
        "calibration": args.calibration * len(args.text) * args.length, "seed": args.seed, "exact": args.exact,
        "nll_fp32": nll, "recipes": [a.as_dict() for a in found],
    }  # fmt: skip
    dumped = json.dumps(document, indent=1) + "\n"
    if target is not None:
        replace_or_refuse(target, dumped)
    if args.json == "-":
        print(dumped, end="")
        return 0
    print(f"{args.model.name}: {tokens} tokens in sequences of {args.length}, "
          f"{'golden.mma' if args.exact else 'FP32 products of quantised values'}\n")  # fmt: skip
    print(accuracy.table(nll, found))
    return 0


if __name__ == "__main__":
    run(main)
