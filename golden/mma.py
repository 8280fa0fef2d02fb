"""Matrix multiply-accumulate as a tensor core does it: ``D[m, n] = C[m, n] + sum over k of A[m, k] * B[n, k]``.

``golden.terms`` says what a term is, ``golden.accumulate`` how a step adds terms to C; here they are strung
together: an instruction takes its terms in the order of K, ``accumulator.terms`` a step, and the D of a step is
the C of the next. A last step with fewer terms adds zeros, which change nothing.
"""

from __future__ import annotations

import numpy as np

from .accumulate import (
    BLACKWELL_FP8,
    BLACKWELL_FP16,
    BLOCK,
    EXACT_DIGITS,
    NO_EXPONENT,
    Accumulator,
    aligned_step,
    exact_step,
)
from .formats import E2M1, E8M0, Rounding, checked_codes
from .kernels import kernel, lane, spread
from .m2xfp import SUBGROUP
from .tensor import BlockTensor, one_of, unpack_bits
from .terms import BLOCK_TERMS, ELEMENT_TERMS, exponents, multipliers, operand_integers, scale_tables

#: Names that :func:`instruction` takes.
FORMATS = (*BLOCK_TERMS, *ELEMENT_TERMS)

_PANEL = 32  # Columns that a kernel works on at a time: what one step needs of them stays in the L1 cache.
_METADATA_WIDTH = 2


def default_accumulator(format: str) -> Accumulator:
    """What Blackwell is reported to do: ``BLOCK`` for block terms, ``BLACKWELL_FP16`` or ``BLACKWELL_FP8``."""
    if format in BLOCK_TERMS:
        return BLOCK
    return BLACKWELL_FP16 if ELEMENT_TERMS[format].width == 16 else BLACKWELL_FP8


def instruction_k(format: str) -> int:
    """K of an instruction over 256 bits of each operand: 64, 32 (6 and 8 bits) or 16."""
    if format in BLOCK_TERMS:
        return 64
    return 16 if ELEMENT_TERMS[format].width == 16 else 32


def instruction(
    a_codes: np.ndarray,
    a_scales: np.ndarray | None,
    b_codes: np.ndarray,
    b_scales: np.ndarray | None,
    c: np.ndarray,
    format: str,
    accumulator: Accumulator | None = None,
    *,
    a_metadata: np.ndarray | None = None,
    b_metadata: np.ndarray | None = None,
    polarity: int = 0,
) -> np.ndarray:
    """A batch of independent instructions on raw bits.

    Parameters
    ----------
    a_codes, b_codes : uint8 [V, M, K] and [V, N, K]; uint16 for fp16 and bf16
        Element codes. K is any number of whole blocks; beyond one step, steps are chained.
    a_scales, b_scales : uint8 [V, M, K / g] and [V, N, K / g], or None
        Raw scale bytes; their shape sets the block size g, 16 or 32 (m2xfp and element terms: 32). None for
        fp16, bf16, e4m3 and e5m2, which have no scale.
    c : uint32 [V, M, N]
        FP32 bits.
    format : str
        One of ``FORMATS``. In m2xfp, A holds activations (Elem-EM) and B weights (Sg-EM).
    accumulator : Accumulator, optional
        By default :func:`default_accumulator`.
    a_metadata, b_metadata : uint8 [V, M, K / 32] and [V, N, K / 32]
        m2xfp only: the metadata of a block, subgroup i in bits 2i + 1 and 2i.
    polarity : {0, 1}
        mixfp4 only: type bit (bit 7 of a scale) of E2M1 blocks.

    Returns
    -------
    uint32 [V, M, N]
        FP32 bits.

    Raises
    ------
    ValueError
        For an unknown format, arrays whose dtypes or shapes do not fit, and codes beyond the element's width.
    """
    one_of("format", format, FORMATS)
    one_of("polarity", polarity, (0, 1))
    accumulator = accumulator or default_accumulator(format)
    _check_shapes(a_codes, b_codes, c)
    d = np.array(c, np.uint32, order="C")
    if format in ELEMENT_TERMS:
        _element_mma(format, (a_codes, a_scales), (b_codes, b_scales), accumulator, d)
        return d
    term = BLOCK_TERMS[format]
    if a_scales is None or b_scales is None:
        raise ValueError(f"{format} needs a_scales and b_scales, got None")
    options = {"polarity": polarity}
    a = _block_tensor(term.a, "a", a_codes, a_scales, a_metadata, options)
    b = _block_tensor(term.b, "b", b_codes, b_scales, b_metadata, options)
    _block_mma(format, a, b, accumulator, d)
    return d


def _check_shapes(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    if a.ndim != 3 or b.ndim != 3 or a.shape[0] != b.shape[0] or a.shape[2] != b.shape[2]:
        raise ValueError(f"a_codes [V, M, K] and b_codes [V, N, K] must agree, got {a.shape} and {b.shape}")
    if c.dtype != np.uint32 or c.shape != (a.shape[0], a.shape[1], b.shape[1]):
        raise ValueError(
            f"c must be uint32 {(a.shape[0], a.shape[1], b.shape[1])}, got {c.dtype} {c.shape}"
        )


def _block_tensor(system, operand, codes, scales, metadata, options) -> BlockTensor:
    if system.startswith("m2xfp"):
        if metadata is None or metadata.shape != scales.shape:
            shape = None if metadata is None else metadata.shape
            raise ValueError(f"{operand}_metadata must be uint8 {scales.shape}, a byte a block, got {shape}")
        metadata = unpack_bits(np.ascontiguousarray(metadata), _METADATA_WIDTH)
    elif metadata is not None:
        raise ValueError(f"{operand}_metadata is for m2xfp, got it for {system}")
    codes = checked_codes(codes, E2M1)
    return BlockTensor(
        system, codes.shape, ((E2M1.name, codes.shape[-1]),), codes, scales, options, metadata=metadata
    )


def _step_limits(accumulator: Accumulator, terms: int) -> tuple[int, int, bool]:
    """Fraction bits (-1: exact), result bits, whether to round to nearest: what a step needs to know."""
    fraction_bits = -1 if accumulator.fraction_bits is None else accumulator.fraction_bits
    return fraction_bits, accumulator.result_bits, accumulator.rounding is Rounding.NEAREST_EVEN


def _step_terms(accumulator: Accumulator, instruction_terms: int, all_terms: int) -> int:
    if accumulator.is_exact:
        return all_terms
    return min(accumulator.terms or instruction_terms, all_terms)


def _element_mma(format: str, a: tuple, b: tuple, accumulator: Accumulator, d: np.ndarray) -> None:
    element = ELEMENT_TERMS[format]
    codes, scales = [], []
    for name, (raw, scale) in (("a", a), ("b", b)):
        raw = checked_codes(raw, element)
        codes.append(raw.astype(np.uint16, copy=False))
        scales.append(_element_scales(format, name, raw, scale))
    step = _step_terms(accumulator, instruction_k(format), codes[0].shape[2])
    tables = element.values.astype(np.float64), exponents(element), *scale_tables(E8M0)
    panels = -(-d.shape[2] // _PANEL)
    work = d.size * codes[0].shape[2]
    spread(
        _element_kernel,
        len(d) * panels,
        work,
        *(array for pair in zip(codes, scales, strict=True) for array in pair),
        tables,
        step,
        _step_limits(accumulator, step),
        d,
    )


def _element_scales(format: str, operand: str, codes: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    if not format.startswith("mx"):
        if scales is not None:
            raise ValueError(f"{format} has no scales, got {operand}_scales of shape {scales.shape}")
        return np.full((*codes.shape[:2], 1), E8M0.bias, np.uint8)  # one block, scaled by 1
    shape = (*codes.shape[:2], codes.shape[2] // 32)
    if scales is None or scales.dtype != np.uint8 or scales.shape != shape or codes.shape[2] % 32:
        got = None if scales is None else f"{scales.dtype} {scales.shape}"
        raise ValueError(f"{operand}_scales must be uint8 {shape} for codes {codes.shape}, got {got}")
    return np.ascontiguousarray(scales)


@kernel
def _element_kernel(start, stop, a, a_scales, b, b_scales, tables, step, limits, d):
    element_values, element_exponents, scale_values, scale_exponents = tables
    k, block = a.shape[2], a.shape[2] // a_scales.shape[2]
    panels = (d.shape[2] + _PANEL - 1) // _PANEL
    b_values, b_exponents = np.empty((step, _PANEL)), np.empty((step, _PANEL), np.int32)
    values, raw = np.empty((step, _PANEL)), np.empty((step, _PANEL), np.int32)
    top, factor, total = np.empty(_PANEL, np.int32), np.empty(_PANEL), np.empty(_PANEL)
    digits = np.empty(EXACT_DIGITS, np.int64)
    for task in range(start, stop):
        v, first = task // panels, task % panels * _PANEL
        n = min(_PANEL, d.shape[2] - first)
        for k0 in range(0, k, step):
            terms = min(step, k - k0)
            for j in range(n):
                for t in range(terms):
                    code, scale = b[v, first + j, k0 + t], b_scales[v, first + j, (k0 + t) // block]
                    b_values[t, j] = element_values[code] * scale_values[scale]
                    b_exponents[t, j] = element_exponents[code] + scale_exponents[scale]
            for m in range(d.shape[1]):
                for t in range(terms):
                    code, scale = a[v, m, k0 + t], a_scales[v, m, (k0 + t) // block]
                    value = element_values[code] * scale_values[scale]
                    exponent = element_exponents[code] + scale_exponents[scale]
                    for j in range(n):
                        values[t, j] = value * b_values[t, j]
                        raw[t, j] = exponent + b_exponents[t, j]
                row = d[v, m, first : first + n]
                _step(values[:terms, :n], raw[:terms, :n], row, limits, top, factor, total, digits)


@lane
def _step(values, raw, d, limits, top, factor, total, digits):
    if limits[0] < 0:
        exact_step(values, d, limits[1], limits[2], digits)
    else:
        aligned_step(values, raw, d, limits[0], limits[1], limits[2], top, factor, total)


def _block_mma(format: str, a: BlockTensor, b: BlockTensor, accumulator: Accumulator, d: np.ndarray) -> None:
    term = BLOCK_TERMS[format]
    g = a.block_size
    if g not in term.block_sizes or b.block_size != g:
        raise ValueError(f"{format} blocks must both be of {term.block_sizes}, got {g} and {b.block_size}")
    scale_values, scale_exponents = scale_tables(term.scale)
    # Units and constant go to B, once: they are exact powers of two.
    tables = scale_values, scale_exponents, scale_values * 2.0**-term.unit, scale_exponents + term.constant(g)
    step = _step_terms(accumulator, instruction_k(format) // g, a.scales.shape[-1])
    panels = -(-d.shape[2] // _PANEL)
    spread(
        _block_kernel,
        len(d) * panels,
        d.size * a.codes.shape[-1],
        operand_integers(a, term.a_unit),
        np.ascontiguousarray(a.scales),
        operand_integers(b, term.b_unit),
        np.ascontiguousarray(b.scales),
        multipliers(b),
        tables,
        step,
        _step_limits(accumulator, step),
        d,
    )


@lane
def _block_sums(a, b, weights, part, total):
    """Exact sums of the products of a block of A with one of each column."""
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
def _block_kernel(start, stop, a, a_scales, b, b_scales, b_multipliers, tables, step, limits, d):
    a_scale_values, a_scale_exponents, b_scale_values, b_scale_exponents = tables
    k, blocks = a.shape[2], a_scales.shape[2]
    g = k // blocks
    groups = g // SUBGROUP
    panels = (d.shape[2] + _PANEL - 1) // _PANEL
    b_panel = np.empty((step * g, _PANEL), np.int16)
    weights = np.empty((step * groups, _PANEL), np.int32)
    b_values, b_exponents = np.empty((step, _PANEL)), np.empty((step, _PANEL), np.int32)
    values, raw = np.empty((step, _PANEL)), np.empty((step, _PANEL), np.int32)
    part, sums = np.empty(_PANEL, np.int16), np.empty(_PANEL, np.int32)
    top, factor, total = np.empty(_PANEL, np.int32), np.empty(_PANEL), np.empty(_PANEL)
    digits = np.empty(EXACT_DIGITS, np.int64)
    for task in range(start, stop):
        v, first = task // panels, task % panels * _PANEL
        n = min(_PANEL, d.shape[2] - first)
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
            for m in range(d.shape[1]):
                for t in range(terms):
                    scale = a_scales[v, m, t0 + t]
                    value, exponent = a_scale_values[scale], a_scale_exponents[scale]
                    codes = a[v, m, (t0 + t) * g : (t0 + t + 1) * g]
                    columns = b_panel[t * g : (t + 1) * g]
                    _block_sums(codes, columns, weights[t * groups : (t + 1) * groups], part, sums[:n])
                    for j in range(n):
                        values[t, j] = np.float64(sums[j]) * (value * b_values[t, j])
                        # A NaN differs from zero, and is kept.
                        raw[t, j] = exponent + b_exponents[t, j] if values[t, j] != 0 else NO_EXPONENT
                row = d[v, m, first : first + n]
                _step(values[:terms, :n], raw[:terms, :n], row, limits, top, factor, total, digits)
