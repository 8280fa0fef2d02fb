"""Jobs in parallel."""

import math
import time

import pytest

from hwsim.reports.parallel import in_parallel


def test_results_are_in_the_order_of_the_jobs():
    assert list(in_parallel([(math.sqrt, (n * n,)) for n in range(5)])) == [0, 1, 2, 3, 4]


def test_an_error_is_shown_before_the_jobs_that_wait_have_run():
    start = time.monotonic()
    with pytest.raises(ValueError, match="math domain"):
        list(in_parallel([(math.sqrt, (-1,)), *[(time.sleep, (5,))] * 20]))
    assert time.monotonic() - start < 40
