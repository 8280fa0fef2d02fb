"""Make the reports: ``python -m hwsim.report NAME``. Reports are never edited by hand."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from hwsim import cli
from hwsim.errors import InputError

#: Name of every report, the module whose function ``write_NAME(folder, build)`` makes it, and what it shows.
REPORTS = {
    "decode": ("hwsim.report_decode", "block decoders on all technologies, proofs, mutants, OpenSTA cross-check"),
    "overhead": ("hwsim.report_overhead", "MMA tiles of all formats on all technologies, beside published overheads"),
    "mma_choices": ("hwsim.report_choices", "encodings of products that were tried, and their areas"),
    "verification": ("hwsim.report_verification", "streams, bulk comparison, proofs and mutants of every unit (hours)"),
    "conformance": ("hwsim.report_golden", "golden models against vectors of public implementations"),
    "silicon": ("hwsim.report_silicon", "accumulators against results recorded on an H200"),
    "golden_speed": ("hwsim.report_golden", "speed of the golden models against memory and peers"),
}


def markdown(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A Markdown table; the first row is the header, columns in ``right`` are aligned to the right."""
    rule = ["---:" if i in right else "---" for i in range(len(rows[0]))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def in_parallel(jobs: Sequence[tuple[Callable[..., Any], tuple]]) -> Iterator[Any]:
    """Results of functions with their arguments, in order, two at a time."""
    # New processes: OpenMP does not survive a fork.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for job in [pool.submit(function, *arguments) for function, arguments in jobs]:
            yield job.result()


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = cli.parser(
        "report",
        "Make a report: Markdown, JSON and plots.\n\n"
        + cli.table([[f"  {n}", what] for n, (_, what) in REPORTS.items()]),
        ["python -m hwsim.report decode", "python -m hwsim.report conformance -o /tmp/reports"],
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help="reports to make (default: all)")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("reports"), help="default: reports")
    parser.add_argument("--build", metavar="DIR", type=Path, default=cli.BUILD, help="folder for intermediate files")
    args = parser.parse_args(argv)
    for name in args.name:
        if name not in REPORTS:
            from hwsim.units import unknown

            raise InputError(unknown("report", name, REPORTS))
    build = cli.build_directory(args)
    cli.make_folder(args.output)
    for name in args.name or REPORTS:
        module = importlib.import_module(REPORTS[name][0])
        for path in getattr(module, f"write_{name}")(args.output, build):
            print(path)
    return 0


if __name__ == "__main__":
    cli.run(main)
