"""M2XFP: MXFP4 with two bits of metadata for each subgroup of 8, spent on its largest element (Elem-EM,
activations) or on a multiplier of its scale (Sg-EM, weights).

Source: arXiv 2601.19213, Algorithm 1; the authors' quantiser. The published RTL differs from the algorithm
twice: it ranks +v above -v in the search for the largest element, and it appends the metadata instead of
biasing it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .e8m0_blocks import BLOCK_SIZE, encode_part, exponent_rule, largest_of, power_of_two, shared_exponent
from .formats import E2M1, E2M3, E8M0
from .kernels import LANES, cast_constants, is_negative, kernel, lane, nearest_code, nearest_magnitude, spread
from .tensor import BlockTensor, System

SUBGROUP = 8
_SUBGROUPS = BLOCK_SIZE // SUBGROUP
_SUBGROUPS_OF_A_PART = LANES // SUBGROUP
_ELEM_EM, _SG_EM = "m2xfp_elem_em", "m2xfp_sg_em"
_E2M1_CAST, _E2M3_CAST = cast_constants(E2M1), cast_constants(E2M3)
_E2M3_SIGN = E2M3.magnitude_width
_E2M1_SIGN, _E2M1_MASK = E2M1.magnitude_width, (1 << E2M1.magnitude_width) - 1
_RULE = exponent_rule("floor", E2M1)
#: The authors' quantiser takes no block's maximum to be smaller: a block of zeros gets the scale of this.
_LEAST_MAXIMUM = np.float32(1e-8)
_MULTIPLIERS = 4
_SHIFTS = (-1, 0, 1)
#: Means are taken by multiplication, which for powers of two is exact.
_PER_ELEMENT, _PER_SUBGROUP = np.float32(1 / SUBGROUP), np.float32(1 / _SUBGROUPS)
#: Subgroups of a block times multipliers: what an exponent is tried with, side by side.
_CANDIDATES = _SUBGROUPS * _MULTIPLIERS


@lane
def _block_exponent(maxima):
    return shared_exponent(max(largest_of(maxima), _LEAST_MAXIMUM), _RULE)


@lane
def _top1(codes, first):
    """Index of the subgroup's largest magnitude code, the lowest index among equals."""
    # The maximum of keys (code on top, index counted down below it) finds both without branches to mispredict.
    best = np.uint8(0)
    for i in range(SUBGROUP):
        key = np.uint8(np.uint8(codes[first + i] << 3) & np.uint8(_E2M1_MASK << 3))
        best = np.uint8(max(best, np.uint8(key | np.uint8(SUBGROUP - 1 - i))))
    return first + SUBGROUP - 1 - np.int64(best & np.uint8(SUBGROUP - 1))


@kernel
def _quantize_elem_em(start, stop, x, maxima, codes, scales, metadata):
    for block in range(start, stop):
        exponent = _block_exponent(maxima[block])
        up = power_of_two(-exponent)
        scales[block] = exponent + 127
        for part in range(x.shape[1]):
            row, out = x[block, part], codes[block, part]
            encode_part(row, up, _E2M1_CAST, _E2M1_SIGN, out)
            for group in range(_SUBGROUPS_OF_A_PART):
                top = _top1(out, group * SUBGROUP)
                coarse = int(out[top] & _E2M1_MASK)
                fine = int(nearest_code(row[top] * up, _E2M3_CAST))
                metadata[block, part, group] = min(max(fine + 1 - 4 * coarse, 0), 3)


@kernel
def _decode_elem_em(start, stop, codes, scales, metadata, elements, fine_elements, values, result):
    for block in range(start, stop):
        scale = values[scales[block]]
        row = codes[block]
        for i in range(BLOCK_SIZE):
            result[block, i] = elements[row[i] & 15] * scale
        for group in range(_SUBGROUPS):
            top = _top1(row, group * SUBGROUP)
            code = row[top]
            fine = max(int(code & _E2M1_MASK) * 4 + int(metadata[block, group] & 3) - 1, 0)
            sign = int(code >> _E2M1_SIGN) & 1
            result[block, top] = fine_elements[fine | (sign << _E2M3_SIGN)] * scale


@lane
def _multiplier(k):
    return np.float32(1) + np.float32(k) * np.float32(0.25)


@lane
def _square(v, scale):
    """Squared error of an element under a scale."""
    difference = abs(v) - nearest_magnitude(v / scale, _E2M1_CAST) * scale
    return difference * difference


@lane
def _best_multipliers(values, lanes, exponent, multipliers):
    """Write each subgroup's multiplier of least squared error, the first among equals, to ``multipliers``; return
    the mean squared error of the block.

    ``values`` are below 8, element by element of all subgroups, once for each multiplier: no error overflows, and the
    first candidate always beats infinity. Squares are added left to right in FP32, for all subgroups and multipliers
    side by side: ``lanes`` holds the sum and the scale of each, one array, so that LLVM knows that they do not overlap.
    """
    for c in range(_CANDIDATES):
        lanes[_CANDIDATES + c] = power_of_two(exponent) * _multiplier(c // _SUBGROUPS)
    for c in range(_CANDIDATES):
        scale = lanes[_CANDIDATES + c]
        # Written out, because LLVM would not keep the sum in a register.
        lanes[c] = (
            _square(values[0, c], scale) + _square(values[1, c], scale) + _square(values[2, c], scale)
            + _square(values[3, c], scale) + _square(values[4, c], scale) + _square(values[5, c], scale)
            + _square(values[6, c], scale) + _square(values[7, c], scale)
        )  # fmt: skip
    total = np.float32(0)
    for group in range(_SUBGROUPS):
        least, best = lanes[group] * _PER_ELEMENT, np.uint8(0)
        # Selections, not branches, which no machine would predict.
        for k in range(1, _MULTIPLIERS):
            error = lanes[k * _SUBGROUPS + group] * _PER_ELEMENT
            best = np.uint8(k) if error < least else best
            least = min(error, least)
        multipliers[group] = best
        total += least
    return total * _PER_SUBGROUP


@kernel
def _quantize_sg_em(start, stop, x, maxima, codes, scales, metadata):
    multipliers = np.empty(_SUBGROUPS, np.uint8)
    values, lanes = np.empty((SUBGROUP, _CANDIDATES), np.float32), np.empty(2 * _CANDIDATES, np.float32)
    each = np.empty((_SUBGROUPS, SUBGROUP), np.float32)
    of_part = each.reshape(BLOCK_SIZE // LANES, LANES)
    for block in range(start, stop):
        unshifted = _block_exponent(maxima[block])
        # Scaling by a power of two changes no choice; without it, squares of elements above 1e19 would overflow.
        up = power_of_two(-unshifted)
        for i in range(SUBGROUP):
            for group in range(_SUBGROUPS):
                values[i, group] = (
                    x[block, group // _SUBGROUPS_OF_A_PART, group % _SUBGROUPS_OF_A_PART * SUBGROUP + i] * up
                )
            for c in range(_SUBGROUPS, _CANDIDATES):
                values[i, c] = values[i, c - _SUBGROUPS]
        least = np.float32(np.inf)
        exponent = unshifted
        for shift in _SHIFTS:
            error = _best_multipliers(values, lanes, shift, multipliers)
            if error < least:
                least, exponent = error, unshifted + shift
                for group in range(_SUBGROUPS):
                    metadata[block, group] = multipliers[group]
        scales[block] = exponent + 127
        for group in range(_SUBGROUPS):
            scale = power_of_two(exponent) * _multiplier(metadata[block, group])
            for i in range(SUBGROUP):
                each[group, i] = scale
        for part in range(BLOCK_SIZE // LANES):
            for i in range(LANES):
                v = x[block, part, i] / of_part[part, i]
                codes[block, part, i] = np.uint8(nearest_code(v, _E2M1_CAST) | (is_negative(v) << np.int32(_E2M1_SIGN)))


@kernel
def _decode_sg_em(start, stop, codes, scales, metadata, elements, values, result):
    for block in range(start, stop):
        for group in range(_SUBGROUPS):
            scale = values[scales[block]] * _multiplier(metadata[block, group] & 3)
            for i in range(group * SUBGROUP, (group + 1) * SUBGROUP):
                result[block, i] = elements[codes[block, i] & 15] * scale


def _quantize(x: np.ndarray, maxima: np.ndarray, name: str) -> BlockTensor:
    blocks = x.reshape(-1, BLOCK_SIZE)
    codes = np.empty(blocks.shape, np.uint8)
    scales, metadata = np.empty(len(blocks), np.uint8), np.empty((len(blocks), _SUBGROUPS), np.uint8)
    arrays = [blocks, maxima.reshape(len(blocks), -1), codes, scales, metadata]
    if name == _ELEM_EM:
        parts = len(blocks), BLOCK_SIZE // LANES, -1
        arrays[0], arrays[2], arrays[4] = blocks.reshape(parts), codes.reshape(parts), metadata.reshape(parts)
        spread(_quantize_elem_em, len(blocks), x.size, *arrays)
    else:
        parts = len(blocks), BLOCK_SIZE // LANES, LANES
        arrays[0], arrays[2] = blocks.reshape(parts), codes.reshape(parts)
        spread(_quantize_sg_em, len(blocks), x.size, *arrays)
    rows, k = x.shape
    return BlockTensor(
        name,
        x.shape,
        ((E2M1.name, k),),
        codes.reshape(rows, k),
        scales.reshape(rows, -1),
        metadata=metadata.reshape(rows, -1),
    )


def quantize_elem_em(x: np.ndarray, maxima: np.ndarray) -> BlockTensor:
    """Quantise with the largest element of each subgroup refined from E2M1 towards its E2M3 value.

    Parameters
    ----------
    x : float32 [rows, K], C-contiguous, finite; K a multiple of 32
    maxima : float32 [rows, K / 16]
        Largest magnitude of every 16 elements.

    Returns
    -------
    BlockTensor. With metadata m, the magnitude of a subgroup's largest element (the first among equals) is that of
    the E2M3 code ``4 * code + m - 1``, with ``code`` its E2M1 code.
    """
    return _quantize(x, maxima, _ELEM_EM)


def quantize_sg_em(x: np.ndarray, maxima: np.ndarray) -> BlockTensor:
    """Quantise with a multiplier for each subgroup and a shift of the block's exponent, by least squared
    error.

    Parameters as for :func:`quantize_elem_em`.

    Returns
    -------
    BlockTensor whose ``metadata`` k multiplies the subgroup's scale by ``1 + k / 4``.
    """
    return _quantize(x, maxima, _SG_EM)


def dequantize_elem_em(t: BlockTensor) -> np.ndarray:
    """Values, float32 [rows, K], of a tensor with two-dimensional arrays: ``code * scale``, with the E2M3 code for
    the largest element of each subgroup."""
    return _dequantize(t, _decode_elem_em, E2M1.values, E2M3.values)


def dequantize_sg_em(t: BlockTensor) -> np.ndarray:
    """Values, float32 [rows, K], of a tensor with two-dimensional arrays: ``code * (scale * multiplier)``."""
    return _dequantize(t, _decode_sg_em, E2M1.values)


def _dequantize(t: BlockTensor, decode: Callable, *elements: np.ndarray) -> np.ndarray:
    assert t.metadata is not None  # golden.dequantize has checked.
    result = np.empty(t.codes.shape, np.float32)
    codes = t.codes.reshape(-1, BLOCK_SIZE)
    spread(
        decode,
        len(codes),
        codes.size,
        codes,
        t.scales.reshape(-1),
        t.metadata.reshape(-1, _SUBGROUPS),
        *elements,
        E8M0.values,
        result.reshape(codes.shape),
    )
    return result


def choices(t: BlockTensor) -> dict[str, float]:
    """Share of subgroups by metadata: ``{"metadata 0": share, ...}``."""
    if t.metadata is None:
        raise ValueError(f"{t.format} needs metadata")
    counts = np.bincount(t.metadata.reshape(-1) & (_MULTIPLIERS - 1), minlength=_MULTIPLIERS) / t.metadata.size
    return {f"metadata {k}": float(share) for k, share in enumerate(counts)}


SYSTEMS = [
    System(name, BLOCK_SIZE, quantize, dequantize, (E2M1.name,), BLOCK_SIZE, {"metadata": SUBGROUP}, choices)
    for name, quantize, dequantize in (
        (_ELEM_EM, quantize_elem_em, dequantize_elem_em),
        (_SG_EM, quantize_sg_em, dequantize_sg_em),
    )
]
