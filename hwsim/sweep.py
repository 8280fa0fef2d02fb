"""Many units, settings, technologies, clocks or layers on many workers: ``python -m hwsim.sweep plan.toml``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwsim.base.errors import InputError, ToolError
from hwsim.base.files import locked
from hwsim.cli.run import BUILD, build_from, make_parser, refuse_unwritable, run
from hwsim.layers import sweep

_NEEDS = "sweeps need the packages dask, distributed and pyarrow: pip install 'hwsim[sweep]'"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(
        "sweep",
        "Run every combination that a plan lists, on workers of Dask: those of this machine, or of a cluster. Rows\n"
        "are kept as they come, beside the output, so that a sweep that was stopped goes on; errors are rows too, and\n"
        "make the exit code 1. The table is the same for any number of workers.",
        [
            "python -m hwsim.sweep plan.toml -o results.parquet",
            "python -m hwsim.sweep plan.toml -o results.parquet --workers 8",
            "python -m hwsim.sweep plan.toml -o results.parquet --workers 1000 --list",
            "python -m hwsim.sweep plan.toml -o results.parquet --scheduler tcp://head:8786 --build /shared/build",
        ],
    )
    parser.add_argument("plan", metavar="PLAN", type=Path,
                        help="TOML: tables [[unit]] (unit, settings, technology, clock_ns, seed, baseline) and "
                        "[[layer]] (accelerator, model, phase, batch, context, gemm, format); lists are tried "
                        "out")  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help=".parquet")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="processes of this machine (default: 1)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, tcp://HOST:PORT, instead of these")
    parser.add_argument("--build", metavar="DIR", type=Path, default=BUILD,
                        help="folder of netlists and figures, which all workers see")  # fmt: skip
    parser.add_argument("--list", action="store_true",
                        help="run nothing; print what is done, and from its seconds what the rest takes on --workers "
                        "workers")  # fmt: skip
    return execute(parser.parse_args(argv))


def execute(args: argparse.Namespace) -> int:
    """Sweep as the options say; 1 if a task failed."""
    try:
        import distributed
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(_NEEDS) from None
    if args.output.suffix != ".parquet":
        raise InputError(f"--output: expected a name that ends in .parquet, got {args.output}")
    if args.workers < 1:
        raise InputError(f"--workers must be positive, got {args.workers}")
    tasks = sweep.plan(args.plan)
    refuse_unwritable("--output", args.output, [args.plan])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    journal = sweep.Journal(args.output.with_suffix(".journal"))
    todo = sweep.left(tasks, journal.rows)
    print(f"{len(tasks)} tasks, {len(tasks) - len(todo)} done before", file=sys.stderr)
    if args.list:
        print(sweep.forecast(tasks, journal, args.workers))
        return 0
    build = str(build_from(args))
    # One client at a time: two would do everything twice.
    with locked(journal.path), tempfile.TemporaryDirectory(prefix="hwsim-") as scratch:
        if todo:
            try:
                cluster = args.scheduler or distributed.LocalCluster(
                    n_workers=args.workers, threads_per_worker=1, processes=True, dashboard_address=None,
                    local_directory=scratch,
                )  # fmt: skip
            except RuntimeError as error:
                raise ToolError(f"Dask's workers did not start: {error}") from None
            with distributed.Client(cluster) as client:
                _gather(client, todo, journal, build)
            if not args.scheduler:
                cluster.close()
        rows = sweep.table(tasks, journal.rows)
        beside = args.output.with_name(f".{args.output.name}.new")
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), beside)
        beside.replace(args.output)
    failed = [row for row in rows if row["error"]]
    for row in failed[:5]:
        print(f"failed: {row['kind']} {row.get('unit') or row.get('model') or row.get('gemm')}: {row['error']}",
              file=sys.stderr)  # fmt: skip
    print(f"{args.output}: {len(rows)} rows, {len(failed)} failed")
    return 1 if failed else 0


def _gather(client: Any, todo: Sequence[sweep.Task], journal: sweep.Journal, build: str) -> None:
    """Run tasks and keep their rows as they come."""
    import distributed

    start = time.monotonic()
    # A task gives the same row wherever it runs: a worker that dies is no reason to give up.
    futures = {
        client.submit(sweep.timed_task, task.kind, dict(task.values), build, key=task.key, retries=3): task
        for task in todo
    }
    for done, future in enumerate(distributed.as_completed(futures), 1):
        task = futures[future]
        seconds = None
        try:
            row, seconds = future.result()
        except Exception as error:  # a defect, or workers that died again and again: the rest of the sweep goes on
            row = {"kind": task.kind, **{k: str(v) for k, v in task.values.items()}, "error": f"{error!r:.300}"}
        journal.add(task.key, row, seconds)
        future.release()
        passed = time.monotonic() - start
        print(
            f"{done} of {len(todo)}, {passed:.0f} s, {passed / done * (len(todo) - done):.0f} s left", file=sys.stderr
        )


if __name__ == "__main__":
    run(main)
