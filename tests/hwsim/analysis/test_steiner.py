"""Lengths of Steiner trees beside the shortest ones, found by trying all."""

import itertools

import numpy as np
import pytest

from hwsim.analysis import steiner


def spanning(points):
    """Length of the shortest tree of points, by Kruskal."""
    points = list(points)
    parent = list(range(len(points)))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    pairs = itertools.combinations(range(len(points)), 2)
    edges = sorted((abs(points[i][0] - points[j][0]) + abs(points[i][1] - points[j][1]), i, j) for i, j in pairs)
    total = 0
    for length, i, j in edges:
        if root(i) != root(j):
            parent[root(i)] = root(j)
            total += length
    return total


def shortest(points):
    """Length of the shortest Steiner tree: its points are on the grid of the pins' coordinates (Hanan)."""
    grid = [(x, y) for x in {x for x, _ in points} for y in {y for _, y in points}]
    most = len(points) - 2
    return min(spanning({*points, *more}) for n in range(most + 1) for more in itertools.combinations(grid, n))


def length(points):
    x, y = np.array(points, float).T
    return steiner.lengths(np.array([0, len(points)]), x, y)[0]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(3, 4)], 0),
        ([(0, 0), (3, 4)], 7),
        ([(0, 0), (4, 0), (2, 5)], 9),
        ([(0, 2), (4, 2), (2, 0), (2, 4)], 8),
        ([(0, 0), (0, 4), (4, 0), (4, 4)], 12),
        ([(1, 1)] * 5, 0),
    ],
)
def test_by_hand(points, expected):
    assert length(points) == expected


def test_never_shorter_than_the_shortest_and_close_to_it():
    rng = np.random.default_rng(1)
    ratios = []
    for pins in (2, 3, 4, 5):
        for _ in range(25):
            points = [tuple(p) for p in rng.integers(0, 20, (pins, 2)).tolist()]
            best = shortest(points)
            found = length(points)
            assert best <= found <= spanning(points)
            ratios.append(found / best if best else 1.0)
    assert max(ratios[:50]) == 1.0  # up to three pins
    assert np.mean(ratios[50:]) < 1.01


def test_many_nets_at_once():
    x, y = np.array([0.0, 3, 1, 1, 2, 0, 9]), np.array([0.0, 4, 1, 5, 9, 0, 9])
    np.testing.assert_array_equal(steiner.lengths(np.array([0, 2, 2, 4, 7]), x, y), [7, 0, 4, 18])
