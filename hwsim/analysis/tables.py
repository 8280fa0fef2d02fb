"""Liberty look-up tables laid out flat, so that compiled code can read them."""

from __future__ import annotations

import numpy as np
from numba import njit

from hwsim.technology.cells import Table


class TableSet:
    """Collects tables; an object that is added twice is stored once.

    ``arrays()`` returns what :func:`lookup` reads: per table the offset and length of both axes and the offset of the
    values, and all numbers in one float64 array.
    """

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._tables: list[Table] = []

    def add(self, table: Table | None) -> int:
        """Store a table and return its number; -1 for None."""
        if table is None:
            return -1
        if id(table) not in self._numbers:
            self._numbers[id(table)] = len(self._tables)
            self._tables.append(table)
        return self._numbers[id(table)]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Layout int64 [tables, 5] and data float64."""
        layout = np.empty((len(self._tables), 5), np.int64)
        parts: list[np.ndarray] = []
        at = 0
        for row, table in zip(layout, self._tables, strict=True):
            n, m = len(table.index_1), len(table.index_2)
            row[:] = at, n, at + n, m, at + n + m
            parts += [table.index_1, table.index_2, table.values.reshape(-1)]
            at += n + m + n * m
        return layout, np.concatenate(parts) if parts else np.zeros(0)


@njit(cache=True)
def lookup(layout, data, table, x, y):
    """Value of table number ``table`` at one point, by the rule of ``Table.lookup``."""
    i, t = _locate(data, layout[table, 0], layout[table, 1], x)
    j, u = _locate(data, layout[table, 2], layout[table, 3], y)
    columns = layout[table, 3]
    at = layout[table, 4] + i * columns + j
    down = columns if layout[table, 1] > 1 else 0
    right = 1 if columns > 1 else 0
    near = data[at] * (1 - t) + data[at + down] * t
    far = data[at + right] * (1 - t) + data[at + down + right] * t
    return near * (1 - u) + far * u


@njit(cache=True)
def _locate(data, start, length, x):
    if length == 1:
        return 0, 0.0
    i = 0
    while i < length - 2 and data[start + i + 1] < x:
        i += 1
    return i, (x - data[start + i]) / (data[start + i + 1] - data[start + i])
