"""Jobs in parallel, for reports."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def in_parallel(jobs: Sequence[tuple[Callable[..., Any], tuple]]) -> Iterator[Any]:
    """Results of functions with their arguments, in order, two at a time."""
    # New processes: OpenMP does not survive a fork.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        try:
            for job in [pool.submit(function, *arguments) for function, arguments in jobs]:
                yield job.result()
        except BaseException:
            # An error is shown when the jobs that run have ended, not hours later when all have.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
