"""Make the reports: ``python -m hwsim.report NAME``. Reports are never edited by hand."""

from __future__ import annotations

import importlib
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.base.text import table, unknown
from hwsim.cli.run import BUILD, build_from, make_folder, make_parser, run

#: Name of every report, the module whose function ``write(folder, build)`` makes it, and what it shows.
REPORTS = {
    "decode": ("decode", "block decoders on all technologies, proofs, mutants, OpenSTA cross-check"),
    "overhead": ("overhead", "MMA tiles of all formats on all technologies, beside published overheads"),
    "activity": ("activity", "toggles with delays against Icarus, models of short pulses, speed"),
    "quantise": ("quantise", "quantisation engines on all technologies, by stage, beside tiles and published engines"),
    "mixed": ("mixed", "one tile for FP4, FP6 and FP8 beside single formats; what MicroMix's splits cost"),
    "layers": ("layers", "language models on two devices in every format: time, traffic, energy; what decides"),
    "headlines": ("headlines", "published claims on whole devices, made again or explained"),
    "accuracy": ("accuracy", "a language model in every recipe, from runs of hwsim.accuracy"),
    "pareto": ("pareto", "accuracy of every format against silicon and energy; needs the reports accuracy and layers"),
    "mma_choices": ("choices", "encodings of products that were tried, and their areas"),
    "verification": ("verification", "streams, bulk comparison, proofs and mutants of every unit (hours)"),
    "conformance": ("conformance", "golden models against vectors of public implementations"),
    "silicon": ("silicon", "accumulators against results recorded on an H200"),
    "golden_speed": ("golden_speed", "speed of the golden models against memory and peers"),
    "index": ("index", "index.html: all reports of the folder on one page"),
}


def main(argv: list[str] | None = None) -> int:
    """Read the command line and make the reports; return the exit code."""
    parser = make_parser(
        "report",
        "Make a report: Markdown, JSON and plots.\n\n" + table([[f"  {n}", what] for n, (_, what) in REPORTS.items()]),
        ["python -m hwsim.report decode", "python -m hwsim.report conformance -o /tmp/reports"],
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help="reports to make (default: all)")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("reports"), help="default: reports")
    parser.add_argument("--build", metavar="DIR", type=Path, default=BUILD, help="folder for intermediate files")
    args = parser.parse_args(argv)
    for name in args.name:
        if name not in REPORTS:
            raise InputError(unknown("report", name, REPORTS))
    build = build_from(args)
    make_folder(args.output)
    for name in args.name or REPORTS:
        module = importlib.import_module(f"hwsim.reports.{REPORTS[name][0]}")
        for path in module.write(args.output, build):
            print(path)
    return 0


if __name__ == "__main__":
    run(main)
