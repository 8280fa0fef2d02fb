"""Sweeps: many units, settings, technologies and clocks, or layers, as tasks on any number of workers.

A plan becomes a list of tasks in a fixed order. Rows of finished tasks go to a journal as they come, one JSON text a
line; a sweep that was stopped goes on where the journal ends. The table is made from the journal, in the order of the
plan, so that it does not depend on who worked how fast.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from hwsim.base import text
from hwsim.base.errors import InputError, ToolError
from hwsim.costs.cost import cost
from hwsim.layers import accelerator, comparison, storage, workload
from hwsim.layers.comparison import Work
from hwsim.layers.workload import GEMM

#: Keys of the kinds of tasks, and what a plan may leave out.
_KEYS: dict[str, dict[str, Any]] = {
    "unit": {"unit": None, "settings": {}, "technology": "asap7", "clock_ns": 0.0, "seed": 1, "baseline": "none"},
    "layer": {"accelerator": "datacentre", "model": "", "phase": "decode", "batch": 1, "context": 2048, "gemm": [],
              "format": None},
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One point of a sweep: its kind, a key of `_KEYS`, and the values of that kind's keys."""

    kind: str
    values: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Hash of all that the task is."""
        return hashlib.sha256(json.dumps([self.kind, self.values], sort_keys=True).encode()).hexdigest()[:16]


def plan(path: Path) -> list[Task]:
    """The tasks of a plan: of every table ``[[unit]]`` and ``[[layer]]``, all combinations of the listed values.

    Raises
    ------
    InputError
        If the file cannot be read, or a table has an unknown key or lacks one: what and where.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    tasks: dict[str, Task] = {}
    for kind, entries in tables.items():
        if kind not in _KEYS or not isinstance(entries, list):
            raise InputError(f"{path}: expected tables [[unit]] and [[layer]], got {kind!r}")
        for number, table in enumerate(entries, 1):
            for task in _combinations(kind, table, f"{path}: [[{kind}]] {number}"):
                tasks.setdefault(task.key, task)
    if not tasks:
        raise InputError(f"{path}: no tables [[unit]] or [[layer]]")
    return list(tasks.values())


def _combinations(kind: str, table: Mapping[str, Any], where: str) -> Iterator[Task]:
    known = _KEYS[kind]
    for key in table:
        if key not in known:
            raise InputError(f"{where}: {text.unknown('key', key, known)}")
    choices = []
    for key, default in known.items():
        value = table.get(key, default)
        if value is None:
            raise InputError(f"{where}: {key} is missing")
        # A GEMM is a list itself.
        is_list = isinstance(value, list) and not (key == "gemm" and (not value or isinstance(value[0], int)))
        choices.append(value if is_list else [value])
    for values in itertools.product(*choices):
        yield Task(kind, dict(zip(known, values, strict=True)))


def run_task(kind: str, values: Mapping[str, Any], build: str) -> dict[str, Any]:
    """The row of a task: what it is and its figures, or ``error``. Any worker gives the same row."""
    row: dict[str, Any] = {"kind": kind, **{k: v if isinstance(v, str | int | float) else json.dumps(v, sort_keys=True)
                                            for k, v in values.items()}}  # fmt: skip
    try:
        figures = _unit(values, build) if kind == "unit" else _layer(values, build)
    except (InputError, ToolError, OSError, MemoryError) as error:
        return row | {"error": str(error) or type(error).__name__}
    return row | figures | {"error": ""}


def timed_task(kind: str, values: Mapping[str, Any], build: str) -> tuple[dict[str, Any], float]:
    """The row of a task, and the seconds that it took."""
    start = time.perf_counter()
    row = run_task(kind, values, build)
    return row, time.perf_counter() - start


def _unit(values: Mapping[str, Any], build: str) -> dict[str, Any]:
    found = cost(
        values["unit"], technology=values["technology"], baseline=values["baseline"],
        clock_period_ns=values["clock_ns"] or None, seed=values["seed"], build=build, **values["settings"],
    ).result  # fmt: skip
    return {
        "area_um2": found.netlist.area,
        "gate_equivalents": found.gate_equivalents,
        "critical_path_ns": found.timing.critical_path_ns,
        "timing_met": found.timing_met,
        "power_mw": found.power.total,
        "energy_fj": found.energy_per_operand_fj,
    }


def _layer(values: Mapping[str, Any], build: str) -> dict[str, Any]:
    if bool(values["model"]) == bool(values["gemm"]):
        raise InputError("a layer needs a model or a gemm [M, N, K], one of them")
    if values["model"]:
        work = Work.of_model(workload.model(values["model"]), values["phase"], values["batch"], values["context"])
    else:
        m, n, k = values["gemm"]
        work = Work((GEMM("gemm", m, n, k, quantised=m * k),))
    found = comparison.compare(
        [work], [storage.named(values["format"])], accelerator.load(values["accelerator"]), Path(build)
    )["models"][0]
    return {
        "time_s": found["time_s"],
        "utilisation": found["utilisation"],
        "bound": found["bound"],
        "energy_pj": sum(found["energy_pj"].values()),
        "energy_low_pj": found["energy_range_pj"][0],
        "energy_high_pj": found["energy_range_pj"][1],
        "dram_bits": sum(found["dram_bits"][name] for name in ("a", "b", "d", "quantiser")),
        "area_um2": found["area_um2"],
    }


class Journal:
    """Rows of finished tasks, appended as they come; whole lines survive whatever ends the program.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    rows, seconds : dict
        By a task's key, its row, and how long it took where that is known.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    entry = json.loads(line)
                    self.rows[entry["key"]] = entry["row"]
                    if entry.get("seconds") is not None:
                        self.seconds[entry["key"]] = entry["seconds"]
                except (ValueError, KeyError, TypeError):
                    # The line that was being written when the program was killed.
                    continue
        self._file: TextIO | None = None

    def add(self, key: str, row: dict[str, Any], seconds: float | None) -> None:
        """Append a row and how long it took, None if that is not known; it is on the disk when this returns."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = not self.path.exists() or self.path.read_bytes()[-1:] in (b"", b"\n")
            self._file = self.path.open("a")
            if not whole:
                self._file.write("\n")
        self._file.write(json.dumps({"key": key, "row": row, "seconds": seconds}) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows[key] = row
        if seconds is not None:
            self.seconds[key] = seconds


def table(tasks: Sequence[Task], rows: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of finished tasks in the order of the plan, all with the same columns."""
    found = [rows[task.key] for task in tasks if task.key in rows]
    columns = list(dict.fromkeys(itertools.chain.from_iterable(found)))
    return [{column: row.get(column) for column in columns} for row in found]


def forecast(tasks: Sequence[Task], journal: Journal, workers: int) -> str:
    """Text for people: how long the tasks of a plan that are left need on so many workers, from those that are done.

    Tasks of one unit, or layers on one accelerator, are taken to need equally long. With several workers the time lies
    between the even share, or the longest task, and the even share and one longest task more.
    """
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(str(task.values["unit" if task.kind == "unit" else "accelerator"]), []).append(task)
    rows = [["tasks of", "all", "done", "mean (s)", "longest (s)", "left (s of one core)"]]
    total = longest = 0.0
    unmeasured = []
    for name, group in groups.items():
        each = [journal.seconds[task.key] for task in group if task.key in journal.seconds]
        waiting = len(left(group, journal.rows))
        figures = ["-", "-", "-"]
        if each:
            mean = sum(each) / len(each)
            figures = [f"{mean:.3g}", f"{max(each):.3g}", f"{mean * waiting:.3g}"]
            if waiting:
                total, longest = total + mean * waiting, max(longest, max(each))
        elif waiting:
            unmeasured.append(name)
        rows.append([name, str(len(group)), str(len(group) - waiting), *figures])
    lines = [text.table(rows, right=range(1, 6))]
    if unmeasured:
        lines.append(f"nothing is known yet of {', '.join(unmeasured)}: run a few of the tasks first")
    elif total:
        low, high = max(total / workers, longest), total / workers + longest
        lines.append(f"with {workers} workers {low:.3g} to {high:.3g} s, beside {total:.3g} s with one")
    if journal.rows:
        sent = sum(len(json.dumps(task.values)) for task in tasks) / len(tasks)
        back = sum(len(json.dumps(row)) for row in journal.rows.values()) / len(journal.rows)
        lines.append(
            f"a task sends {sent:.0f} bytes to its worker and brings {back:.0f} back; netlists stay in --build"
        )
    return "\n".join(lines)


def left(tasks: Sequence[Task], done: Iterable[str]) -> list[Task]:
    """Tasks that are not done."""
    finished = set(done)
    return [task for task in tasks if task.key not in finished]
