"""Lengths of rectilinear Steiner trees: the shortest wires that join the pins of nets."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def lengths(starts: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Length of the wires of many nets.

    Up to three pins the length is that of the shortest tree. Above, a shortest tree of pins alone (Prim) gets a Steiner
    point where two of its edges at one pin can share most wire, and is made anew with that point as a pin, until no
    edges share any: within a percent of the shortest on average. Large nets get all such points at once.

    Parameters
    ----------
    starts : int64 [nets + 1]
        Where the pins of every net begin in ``x`` and ``y``.
    x, y : float64 [pins]

    Returns
    -------
    float64 [nets]
        In the unit of ``x`` and ``y``; 0 for nets of fewer than two pins.
    """
    result = np.zeros(len(starts) - 1)
    for net in range(len(result)):
        result[net] = _length(x[starts[net] : starts[net + 1]], y[starts[net] : starts[net + 1]])
    return result


#: Most pins of a net whose tree is made anew for every Steiner point.
_SMALL = 24


@njit(cache=True)
def _length(x, y):
    if len(x) < 2:
        return 0.0
    if len(x) <= 3:
        return (x.max() - x.min()) + (y.max() - y.min())
    parent, total = _spanning_tree(x, y)
    if len(x) > _SMALL:
        gains, edges, _ = _shared(x, y, parent)
        free = np.ones(len(x), np.bool_)
        for k in np.argsort(-gains):
            if gains[k] > 0 and free[edges[k, 0]] and free[edges[k, 1]]:
                free[edges[k, 0]] = free[edges[k, 1]] = False
                total -= gains[k]
        return total
    for _ in range(len(x)):
        gains, _, points = _shared(x, y, parent)
        best = np.argmax(gains)
        if gains[best] <= 0:
            break
        x, y = np.append(x, points[best, 0]), np.append(y, points[best, 1])
        parent, total = _spanning_tree(x, y)
    return total


@njit(cache=True)
def _shared(x, y, parent):
    """Pairs of a tree's edges at one pin: wire that they can share, the edges (each by its lower end), and where."""
    pins = len(x)
    gains, edges, points = [0.0], [(0, 0)], [(0.0, 0.0)]
    edge, end = np.empty(pins, np.int64), np.empty(pins, np.int64)
    for pin in range(pins):
        count = 0
        for other in range(pins):
            if parent[other] == pin or (other == pin and parent[pin] >= 0):
                edge[count], end[count] = other, other if other != pin else parent[pin]
                count += 1
        for i in range(count):
            for j in range(i):
                a, b = end[i], end[j]
                left, right = min(x[a], x[b], x[pin]), max(x[a], x[b], x[pin])
                low, high = min(y[a], y[b], y[pin]), max(y[a], y[b], y[pin])
                apart = abs(x[a] - x[pin]) + abs(y[a] - y[pin]) + abs(x[b] - x[pin]) + abs(y[b] - y[pin])
                gain = apart - (right - left) - (high - low)
                if gain > 0:
                    gains.append(gain)
                    edges.append((edge[i], edge[j]))
                    # The middle one of the three, in x and in y.
                    points.append((x[a] + x[b] + x[pin] - left - right, y[a] + y[b] + y[pin] - low - high))
    return np.array(gains), np.array(edges), np.array(points)


@njit(cache=True)
def _spanning_tree(x, y):
    """Parent of every pin in a shortest tree of pins, -1 for the root, and its length."""
    pins = len(x)
    parent, distance, inside = np.full(pins, -1), np.full(pins, np.inf), np.zeros(pins, np.bool_)
    distance[0] = 0.0
    total = 0.0
    for _ in range(pins):
        nearest = -1
        for pin in range(pins):
            if not inside[pin] and (nearest < 0 or distance[pin] < distance[nearest]):
                nearest = pin
        inside[nearest] = True
        total += distance[nearest]
        for pin in range(pins):
            far = abs(x[pin] - x[nearest]) + abs(y[pin] - y[nearest])
            if not inside[pin] and far < distance[pin]:
                distance[pin], parent[pin] = far, nearest
    return parent, total
