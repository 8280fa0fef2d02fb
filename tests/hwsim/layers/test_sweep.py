"""Sweeps: plans, journals, tables; workers and clients that are killed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from hwsim import sweep as door
from hwsim.base.errors import InputError
from hwsim.layers import sweep

PLAN = """
[[layer]]
accelerator = "m2xfp-asplos26"
format = ["mxfp4", "nvfp4"]
gemm = [[64, 64, 256], [1, 128, 96]]

[[layer]]
accelerator = "m2xfp-asplos26"
format = "mxfp8"
gemm = [8, 8, 8]
"""


@pytest.fixture
def planned(tmp_path):
    def write(text=PLAN):
        path = tmp_path / "plan.toml"
        path.write_text(text)
        return path

    return write


def test_a_plan_is_all_combinations_in_order(planned):
    tasks = sweep.plan(planned())
    assert [(t.values["format"], t.values["gemm"]) for t in tasks] == [
        ("mxfp4", [64, 64, 256]), ("nvfp4", [64, 64, 256]), ("mxfp4", [1, 128, 96]), ("nvfp4", [1, 128, 96]),
        ("mxfp8", [8, 8, 8]),
    ]  # fmt: skip
    assert len({t.key for t in tasks}) == 5
    assert [t.key for t in sweep.plan(planned(PLAN + PLAN))] == [t.key for t in tasks]
    units = sweep.plan(planned('[[unit]]\nunit = "nvfp4_mma"\nsettings = [{m = 1}, {m = 2}]\nclock_ns = [1.25, 2]'))
    assert [(t.values["settings"], t.values["clock_ns"]) for t in units] == [
        ({"m": 1}, 1.25), ({"m": 1}, 2), ({"m": 2}, 1.25), ({"m": 2}, 2)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no tables \[\[unit\]\]"), ("x = [", "not TOML"), ("[unit]\nunit = 3", "expected tables"),
        ("[[tile]]\n", "expected tables .* got 'tile'"),
        ("[[unit]]\nunits = 3", r"\[\[unit\]\] 1: unknown key: units .*did you mean unit"),
        ("[[layer]]\nmodel = 'x'", "format is missing"),
    ],
)  # fmt: skip
def test_plans_that_make_no_sense(text, message, planned):
    with pytest.raises(InputError, match=message):
        sweep.plan(planned(text))


def rows_of(tasks, build):
    return {t.key: sweep.run_task(t.kind, t.values, str(build)) for t in tasks}


def test_rows_and_failures(planned, tmp_path):
    tasks = sweep.plan(planned(PLAN + '[[layer]]\naccelerator = "none"\nformat = "mxfp4"\ngemm = [1, 1, 1]\n'))
    rows = sweep.table(tasks, rows_of(tasks, tmp_path))
    assert [row["error"].partition(" (")[0] for row in rows] == [""] * 5 + ["unknown accelerator: none"]
    assert len({tuple(row) for row in rows}) == 1
    assert rows[0]["time_s"] > 0 and rows[5]["time_s"] is None
    assert json.loads(rows[2]["gemm"]) == [1, 128, 96]


def test_a_journal_goes_on_where_it_was_killed(planned, tmp_path):
    tasks = sweep.plan(planned())
    rows = rows_of(tasks, tmp_path)
    path = tmp_path / "deep" / "results.journal"
    journal = sweep.Journal(path)
    for task in tasks[:2]:
        journal.add(task.key, rows[task.key], 2.0)
    with path.open("a") as file:
        file.write('{"key": "half of a li')
    again = sweep.Journal(path)
    assert [*again.rows] == [t.key for t in tasks[:2]]
    assert sweep.left(tasks, again.rows) == tasks[2:]
    # Whatever the order in which workers end.
    for task in reversed(tasks[2:]):
        again.add(task.key, rows[task.key], 3.0)
    assert sweep.table(tasks, sweep.Journal(path).rows) == sweep.table(tasks, rows)


def test_what_a_plan_takes_is_told_from_what_is_done(planned, tmp_path):
    tasks = sweep.plan(planned('[[unit]]\nunit = ["a", "b"]\nseed = [1, 2, 3, 4, 5, 6]\n'))
    journal = sweep.Journal(tmp_path / "results.journal")
    assert "nothing is known yet of a, b" in sweep.forecast(tasks, journal, 1000)
    for task, seconds in zip([*tasks[:2], *tasks[6:8]], (1, 3, 10, 30), strict=True):
        journal.add(task.key, {"x": 1}, seconds)
    # What a worker that died has taken is not known, and does not count.
    journal.add(tasks[-1].key, {"x": 1}, None)
    assert len(sweep.Journal(journal.path).seconds) == 4
    lines = sweep.forecast(tasks, sweep.Journal(journal.path), 4).split("\n")
    assert [line.split() for line in lines[1:3]] == [["a", "6", "2", "2", "3", "8"], ["b", "6", "3", "20", "30", "60"]]
    # 68 s on four workers are 17, but one task takes 30.
    assert lines[3] == "with 4 workers 30 to 47 s, beside 68 s with one"
    assert lines[4].endswith("brings 8 back; netlists stay in --build")


needs_dask = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("distributed", "pyarrow")), reason="needs the extra sweep"
)


def test_missing_packages_are_named(planned, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'hwsim\[sweep\]'"):
        door.main([str(planned()), "-o", "x.parquet"])


SLOW_PLAN = '[[unit]]\nunit = ["nvfp4_decode", "mixfp4_decode"]\nsettings = [{lanes = 1}, {lanes = 2}, {lanes = 4}]\n'


def started(plan, output, workers):
    command = [sys.executable, "-m", "hwsim.sweep", str(plan), "-o", str(output), "--workers", str(workers)]
    return subprocess.Popen(command, cwd=output.parent, env=os.environ | {"PYTHONPATH": str(ROOT)})


def table_of(path):
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pylist()


@needs_dask
@pytest.mark.slow
def test_clients_and_workers_that_are_killed(planned, tmp_path):
    """Nothing is lost, nothing done twice, and the table does not depend on the number of workers."""
    import psutil

    plan = planned(SLOW_PLAN)
    (tmp_path / "one").mkdir()
    killed = started(plan, tmp_path / "one" / "r.parquet", 1)
    journal = tmp_path / "one" / "r.journal"
    while not journal.exists() or journal.read_text().count("\n") < 2:
        time.sleep(0.05)
        assert killed.poll() is None
    children = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.wait()
    for child in children:
        child.kill() if child.is_running() else None
    first = journal.read_text().splitlines()
    again = started(plan, tmp_path / "one" / "r.parquet", 1)
    while journal.read_text().count("\n") < len(first) + 1:
        time.sleep(0.05)
        assert again.poll() is None
    # A worker of the second client dies too: its nanny starts another.
    workers = [c for c in psutil.Process(again.pid).children(recursive=True) if not c.children()]
    if workers:
        workers[-1].send_signal(signal.SIGKILL)
    assert again.wait(timeout=300) == 0
    keys = [json.loads(line)["key"] for line in journal.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 6
    assert journal.read_text().splitlines()[: len(first)] == first
    (tmp_path / "two").mkdir()
    assert started(plan, tmp_path / "two" / "r.parquet", 2).wait(timeout=300) == 0
    assert table_of(tmp_path / "one" / "r.parquet") == table_of(tmp_path / "two" / "r.parquet")
