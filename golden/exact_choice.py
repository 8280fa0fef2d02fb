"""Which of two ways to quantise a block has the smaller squared error, exactly.

The values that codes stand for are ``code * scale * amax / full_scale``, in real numbers. With ``u = 2 * code * scale``
the squares of the elements cancel: with N the sum of ``u_a**2 - u_b**2`` and M that of ``|x| (u_a - u_b)``, way a is
strictly better if and only if ``amax * N < 4 * full_scale * M``. Scales are multiples of 2**-9, so that N and M are
integers but for powers of two, and the comparison needs no rounding. It is only made where errors that were summed in
FP32 are too close to tell, and, slowly, in integers of any size for blocks whose elements differ too much in size.

Source: the squared error of arXiv 2512.02010 and 2605.31035; the public implementations sum it in FP32, in orders that
differ.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from .formats import MiniFloat
from .kernels import LANES, lane, magnitude_bits, nearest_code
from .ue4m3_blocks import SCALE_VALUES, UE4M3, reciprocal

#: Scales are multiples of ``2**-SCALE_BITS``.
SCALE_BITS = UE4M3.bias - 1 + UE4M3.fraction_width
#: Every scale byte's scale in that unit, int64; 0 for NaN.
SCALES = np.nan_to_num(SCALE_VALUES.astype(np.float64) * (1 << SCALE_BITS)).astype(np.int64)
#: Bits of a product of significand and difference of u; the sum of a block has to fit 62 bits.
_PRODUCT_BITS, _SUM_BITS = 24 + 23, 62
#: What is known of a block: way b, way a, that its elements differ too much in size for 64 bits, or nothing yet.
B, A, WIDE, OPEN = 0, 1, 2, 3


def half_units(fmt: MiniFloat) -> np.ndarray:
    """Twice the value of every magnitude code, int64."""
    return (2 * fmt.values[: fmt.max_code + 1].astype(np.float64)).astype(np.int64)


def constants(amax: np.float32, full_scale: np.float32) -> tuple[int, int, int]:
    """Significand of ``amax``, odd part of ``full_scale``, and the power of two that stands beside their comparison.

    Way a is better if ``significand * N < odd * M * 2**(power + exponent)`` for M in units of ``2**exponent``.
    """
    significand, exponent = _parts(amax)
    odd, power = Fraction(float(full_scale)).numerator, 0
    while odd % 2 == 0:
        odd, power = odd // 2, power + 1
    return significand, odd, power + 2 + SCALE_BITS - exponent


def _parts(value: np.float32) -> tuple[int, int]:
    """Significand and exponent of the last place of a positive float32."""
    bits = int(np.float32(value).view(np.int32))
    field = max(bits >> 23, 1)
    return (bits & 0x7FFFFF) | (bits >= 0x800000) << 23, field - 150


@lane
def is_close(error_a, error_b, largest, count):
    """Whether squared errors of ``count`` elements, summed in FP32, leave open which is smaller.

    ``largest`` bounds the magnitude of the decoded values. A decoded value is off by at most 2**-23 of itself, a
    difference and a square by half a unit in the last place each, and a sum of n terms by n of these.
    """
    whole = np.float64(error_a) + np.float64(error_b)
    # Where squares leave FP32's normal numbers, nothing is known of them. NaN is close, too.
    if not 1e-30 < whole < 1e38:
        return True
    noise = 2.0**-21 * np.sqrt(whole * count) * np.float64(largest) + 2.0**-22 * (count + 4) * whole
    return abs(np.float64(error_a) - np.float64(error_b)) <= noise


@lane
def better(x, inverse_a, cast_a, units_a, scale_a, inverse_b, cast_b, units_b, scale_b, facts, room):
    """Whether way a has a strictly smaller squared error than way b: A, B, or WIDE.

    Parameters
    ----------
    x : float32 [parts, LANES]
    inverse_a, inverse_b : float32
        What elements are multiplied by to give codes.
    cast_a, cast_b
        As :func:`golden.kernels.nearest_code` takes them.
    units_a, units_b : int64
        Twice the value of every code.
    scale_a, scale_b : int64
        In units of ``2**-SCALE_BITS``.
    facts : (int, int, int)
        See :func:`constants`.
    room : int64 [parts * LANES]
        Scratch.
    """
    squares = np.int64(0)
    lowest, highest = np.int32(255), np.int32(0)
    for part in range(x.shape[0]):
        for i in range(LANES):
            value = x[part, i]
            a = units_a[nearest_code(value * inverse_a, cast_a)] * scale_a
            b = units_b[nearest_code(value * inverse_b, cast_b)] * scale_b
            squares += a * a - b * b
            room[part * LANES + i] = a - b
            if a != b:
                field = np.int32(max(np.int32(magnitude_bits(value) >> np.int32(23)), np.int32(1)))
                lowest, highest = np.int32(min(lowest, field)), np.int32(max(highest, field))
    if highest == 0:
        # All elements have the same values either way.
        return B
    count = x.shape[0] * LANES
    bits = 0
    while 1 << bits < count:
        bits += 1
    if highest - lowest + _PRODUCT_BITS + bits > _SUM_BITS:
        return WIDE
    products = np.int64(0)
    for part in range(x.shape[0]):
        for i in range(LANES):
            difference = room[part * LANES + i]
            if difference != 0:
                magnitude = np.int64(magnitude_bits(x[part, i]))
                # A subnormal has no hidden bit, and the exponent of the smallest normal number.
                hidden = np.int64(magnitude >= np.int64(0x800000))
                exponent = np.int64((magnitude >> 23) + np.int64(1) - hidden)
                significand = np.int64((magnitude & np.int64(0x7FFFFF)) | (hidden << 23))
                products += np.int64(significand << np.int64(exponent - lowest)) * difference
    return A if _less(facts[0], squares, facts[1], products, facts[2] + lowest - 150) else B


@lane
def _less(a, n, b, m, power):
    """``a * n < b * m * 2**power`` for positive a and b below 2**24, and integers of up to 62 bits."""
    if (n < 0) != (m < 0) or n == 0 or m == 0:
        return (n < 0 and m >= 0) or (n <= 0 and m > 0)
    # Both have one sign: compare magnitudes.
    left_high, left_low = _product(a, abs(n))
    right_high, right_low = _product(b, abs(m))
    left_bits, right_bits = _length(left_high, left_low), _length(right_high, right_low) + power
    if left_bits != right_bits:
        smaller = left_bits < right_bits
        return smaller if n > 0 else not smaller
    # Equal lengths: move the one with fewer places up.
    if power > 0:
        right_high, right_low = _shifted(right_high, right_low, power)
    else:
        left_high, left_low = _shifted(left_high, left_low, -power)
    if left_high == right_high and left_low == right_low:
        return False
    smaller = left_high < right_high or (left_high == right_high and left_low < right_low)
    return smaller if n > 0 else not smaller


@lane
def _product(a, n):
    """``a * n`` for a below 2**24 and n below 2**63, as uint64 halves of 128 bits."""
    low = np.uint64(n & np.int64(0xFFFFFFFF)) * np.uint64(a)
    middle = np.uint64(n >> np.int64(32)) * np.uint64(a) + (low >> np.uint64(32))
    return middle >> np.uint64(32), (middle << np.uint64(32)) | (low & np.uint64(0xFFFFFFFF))


@lane
def _length(high, low):
    """Bits up to the leading one."""
    word, bits = (high, 64) if high != np.uint64(0) else (low, 0)
    while word != np.uint64(0):
        word >>= np.uint64(1)
        bits += 1
    return bits


@lane
def _shifted(high, low, places):
    """A 128-bit number times ``2**places``; its leading one must stay inside."""
    while places >= 32:
        high = (high << np.uint64(32)) | (low >> np.uint64(32))
        low <<= np.uint64(32)
        places -= 32
    if places:
        high = (high << np.uint64(places)) | (low >> np.uint64(64 - places))
        low <<= np.uint64(places)
    return high, low


def choose(
    run: Callable[[tuple[int, int, int], np.ndarray], object],
    parts: np.ndarray,
    decode: np.float32,
    amax: np.float32,
    full_scale: np.float32,
    first: tuple[np.ndarray, tuple[int, int, int], np.ndarray],
    second: tuple[np.ndarray, tuple[int, int, int], np.ndarray],
) -> None:
    """Choose for all blocks; those that a kernel leaves WIDE are decided in Python's integers, and it runs once more.

    Parameters
    ----------
    run : callable (facts, known)
        Runs the kernel with what :func:`constants` gives and with what is known of every block, uint8 [bands, columns].
    parts : float32 [bands, parts, columns, LANES]
        Blocks as :func:`golden.ue4m3_blocks.parts_of` lays them out.
    decode, amax, full_scale : float32
        See :func:`golden.ue4m3_blocks.encode_factors`; values are ``code * scale * amax / full_scale``.
    first, second : (uint8 [bands, columns], cast, int64 [codes])
        Of way a and way b: scale codes, the element format as :func:`golden.kernels.nearest_code` takes it, and twice
        the value of every code.
    """
    facts, known = constants(amax, full_scale), np.full(first[0].shape, OPEN, np.uint8)
    run(facts, known)
    wide = np.argwhere(known == WIDE)
    if not len(wide):
        return
    known[:] = OPEN
    for band, column in wide:
        x = parts[band, :, column].reshape(-1)
        u_a, u_b = (
            _integers(x, reciprocal(decode, SCALE_VALUES[scales[band, column]]), cast, units)
            * SCALES[scales[band, column]]
            for scales, cast, units in (first, second)
        )
        known[band, column] = A if _is_better(x, u_a, u_b, amax, full_scale) else B
    run(facts, known)


def _integers(x: np.ndarray, inverse: np.float32, cast: tuple[int, int, int], units: np.ndarray) -> np.ndarray:
    """Twice the values of the codes of elements, int64."""
    with np.errstate(over="ignore"):
        return units[[nearest_code(value, cast) for value in x * inverse]]


def _is_better(x: np.ndarray, u_a: np.ndarray, u_b: np.ndarray, amax: np.float32, full_scale: np.float32) -> bool:
    """:func:`better` for one block of any elements."""
    pairs = list(zip(x.tolist(), u_a.tolist(), u_b.tolist(), strict=True))
    squares = sum(a * a - b * b for _, a, b in pairs)
    products = sum((abs(Fraction(value)) * (a - b) for value, a, b in pairs), Fraction(0))
    return Fraction(float(amax)) * squares < Fraction(float(full_scale)) * (1 << SCALE_BITS + 2) * products
