"""The kernels of ``golden.mma``: results of a panel of columns of D, one accumulation step after the other along K.

B is copied so that the columns of a panel lie side by side and every loop over columns vectorises: in FP64 for
element terms, in int16 for the products inside a block.

Both kernels take ``step`` (terms of a step), ``limits`` (fraction bits or -1, result bits, nearest) and
``d``, uint32 [V, M, N], which holds C and becomes D. Tables give value and raw exponent of every code.
"""

from __future__ import annotations

import numpy as np

from .accumulate import EXACT_DIGITS, NO_EXPONENT, aligned_step, exact_step
from .kernels import kernel, lane
from .m2xfp import SUBGROUP

PANEL = 128  # Columns of D that are computed side by side; also the rows of D in one task.


def tiles(shape: tuple[int, ...]) -> int:
    """Number of independent tasks for results of ``shape``, (V, M, N): blocks of PANEL x PANEL results."""
    return shape[0] * -(-shape[1] // PANEL) * -(-shape[2] // PANEL)


@lane
def _parts(size):
    """Panels in ``size`` rows or columns."""
    return (size + PANEL - 1) // PANEL


@lane
def _step(values, raw, d, limits, top, factor, total, digits):
    if limits[0] < 0:
        exact_step(values, d, limits[1], limits[2], digits)
    else:
        aligned_step(values, raw, d, limits[0], limits[1], limits[2], top, factor, total)


@kernel
def element_terms(start, stop, a, a_scales, b, b_scales, tables, step, limits, d):
    """Replace C in ``d`` by D, for formats whose terms are single products.

    ``start`` to ``stop`` are tasks: each is a band of PANEL rows and a panel of PANEL columns of one of the V
    products. Codes [V, M or N, K] and scales [V, M or N, K / block] are those of :func:`golden.mma.instruction`;
    ``tables`` are values and raw exponents per code of A, per code of B, then per scale byte. Rule: the accumulator
    contract in ``golden/accumulate.py``.
    """
    a_element_values, a_element_exponents, b_element_values, b_element_exponents, scale_values, scale_exponents = tables
    k, block = a.shape[2], a.shape[2] // a_scales.shape[2]
    bands, panels = _parts(d.shape[1]), _parts(d.shape[2])
    b_values, b_exponents = np.empty((step, PANEL)), np.empty((step, PANEL), np.int32)
    values, raw = np.empty((step, PANEL)), np.empty((step, PANEL), np.int32)
    top, factor, total = np.empty(PANEL, np.int32), np.empty(PANEL), np.empty(PANEL)
    digits = np.empty(EXACT_DIGITS, np.int64)
    for task in range(start, stop):
        v, top_row, first = task // panels // bands, task // panels % bands * PANEL, task % panels * PANEL
        n = min(PANEL, d.shape[2] - first)
        for k0 in range(0, k, step):
            terms = min(step, k - k0)
            for j in range(n):
                for t in range(terms):
                    code, scale = b[v, first + j, k0 + t], b_scales[v, first + j, (k0 + t) // block]
                    b_values[t, j] = b_element_values[code] * scale_values[scale]
                    b_exponents[t, j] = b_element_exponents[code] + scale_exponents[scale]
            for m in range(top_row, min(top_row + PANEL, d.shape[1])):
                for t in range(terms):
                    code, scale = a[v, m, k0 + t], a_scales[v, m, (k0 + t) // block]
                    value = a_element_values[code] * scale_values[scale]
                    exponent = a_element_exponents[code] + scale_exponents[scale]
                    for j in range(n):
                        values[t, j] = value * b_values[t, j]
                        raw[t, j] = exponent + b_exponents[t, j]
                row = d[v, m, first : first + n]
                _step(values[:terms], raw[:terms], row, limits, top, factor, total, digits)


@lane
def _block_sums(a, b, weights, part, total):
    """Exact dot products of one block of A with the same block of every column of B, into ``total``; the sum over
    each subgroup is multiplied by its weight."""
    n = total.size
    total[:] = 0
    for group in range(weights.shape[0]):
        part[:n] = 0
        for i in range(group * SUBGROUP, (group + 1) * SUBGROUP):
            x = np.int16(a[i])
            for j in range(n):
                part[j] += np.int16(x * b[i, j])
        for j in range(n):
            total[j] += np.int32(part[j]) * weights[group, j]


@kernel
def block_terms(start, stop, a, a_scales, b, b_scales, b_multipliers, tables, step, limits, d):
    """Replace C in ``d`` by D, for formats whose terms are blocks. Arguments as for :func:`element_terms`, but ``a``
    and ``b`` are decoded to integers, ``b_multipliers`` holds the factor of every subgroup of B, and ``tables`` are
    values and raw exponents of A's scale bytes, then of B's."""
    a_scale_values, a_scale_exponents, b_scale_values, b_scale_exponents = tables
    k, blocks = a.shape[2], a_scales.shape[2]
    g = k // blocks
    groups = g // SUBGROUP
    bands, panels = _parts(d.shape[1]), _parts(d.shape[2])
    b_panel = np.empty((step * g, PANEL), np.int16)
    weights = np.empty((step * groups, PANEL), np.int32)
    b_values, b_exponents = np.empty((step, PANEL)), np.empty((step, PANEL), np.int32)
    values, raw = np.empty((step, PANEL)), np.empty((step, PANEL), np.int32)
    part, sums = np.empty(PANEL, np.int16), np.empty(PANEL, np.int32)
    top, factor, total = np.empty(PANEL, np.int32), np.empty(PANEL), np.empty(PANEL)
    digits = np.empty(EXACT_DIGITS, np.int64)
    for task in range(start, stop):
        v, top_row, first = task // panels // bands, task // panels % bands * PANEL, task % panels * PANEL
        n = min(PANEL, d.shape[2] - first)
        for t0 in range(0, blocks, step):
            terms = min(step, blocks - t0)
            for j in range(n):
                for i in range(terms * g):
                    b_panel[i, j] = b[v, first + j, t0 * g + i]
                for i in range(terms * groups):
                    weights[i, j] = b_multipliers[v, first + j, t0 * groups + i]
                for t in range(terms):
                    scale = b_scales[v, first + j, t0 + t]
                    b_values[t, j], b_exponents[t, j] = b_scale_values[scale], b_scale_exponents[scale]
            for m in range(top_row, min(top_row + PANEL, d.shape[1])):
                for t in range(terms):
                    scale = a_scales[v, m, t0 + t]
                    value, exponent = a_scale_values[scale], a_scale_exponents[scale]
                    codes = a[v, m, (t0 + t) * g : (t0 + t + 1) * g]
                    columns = b_panel[t * g : (t + 1) * g]
                    _block_sums(codes, columns, weights[t * groups : (t + 1) * groups], part, sums[:n])
                    for j in range(n):
                        values[t, j] = np.float64(sums[j]) * (value * b_values[t, j])
                        # NaN != 0 is true: a NaN term keeps its exponent.
                        raw[t, j] = exponent + b_exponents[t, j] if values[t, j] != 0 else NO_EXPONENT
                row = d[v, m, first : first + n]
                _step(values[:terms], raw[:terms], row, limits, top, factor, total, digits)
