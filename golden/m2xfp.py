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
def _best_multipliers(x, exponent, multipliers, squares):
    """Write each subgroup's multiplier of least squared error, the first among equals, to ``multipliers``; return
    the mean squared error of the block.

    ``x`` is below 8: no error overflows, and the first candidate always beats infinity.
    """
    for k in range(_MULTIPLIERS):
        scale = power_of_two(exponent) * _multiplier(k)
        errors = squares[k]
        for i in range(BLOCK_SIZE):
            difference = abs(x[i]) - nearest_magnitude(x[i] / scale, _E2M1_CAST) * scale
            errors[i] = difference * difference
    total = np.float32(0)
    for group in range(_SUBGROUPS):
        least = np.float32(np.inf)
        for k in range(_MULTIPLIERS):
            error = np.float32(0)
            for i in range(group * SUBGROUP, (group + 1) * SUBGROUP):
                error += squares[k, i]
            error /= np.float32(SUBGROUP)
            if error < least:
                least, multipliers[group] = error, k
        total += least
    return total / np.float32(_SUBGROUPS)


@kernel
def _quantize_sg_em(start, stop, x, maxima, codes, scales, metadata):
    multipliers = np.empty(_SUBGROUPS, np.uint8)
    squares = np.empty((_MULTIPLIERS, BLOCK_SIZE), np.float32)
    scaled = np.empty(BLOCK_SIZE, np.float32)
    for block in range(start, stop):
        unshifted = _block_exponent(maxima[block])
        # Scaling by a power of two changes no choice; without it, squares of elements above 1e19 would overflow.
        up = power_of_two(-unshifted)
        for i in range(BLOCK_SIZE):
            scaled[i] = x[block, i] * up
        least = np.float32(np.inf)
        exponent = unshifted
        for shift in _SHIFTS:
            error = _best_multipliers(scaled, shift, multipliers, squares)
            if error < least:
                least, exponent = error, unshifted + shift
                metadata[block] = multipliers
        scales[block] = exponent + 127
        for group in range(_SUBGROUPS):
            scale = power_of_two(exponent) * _multiplier(metadata[block, group])
            for i in range(group * SUBGROUP, (group + 1) * SUBGROUP):
                v = x[block, i] / scale
                codes[block, i] = np.uint8(nearest_code(v, _E2M1_CAST) | (is_negative(v) << np.int32(_E2M1_SIGN)))


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
