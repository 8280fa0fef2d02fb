"""How a tensor core adds: a step aligns some terms and C, truncates them, sums them and rounds the sum once.

A term has an exact integer significand P and a raw exponent E, the sum of its operands' exponents, **not**
the position of its leading one. Its value is ``P * 2**(E - q)`` with ``|P| * 2**-q < 4``; ``golden.terms``
pins P, E and q down for every format. For C, P is the FP32 significand with its hidden bit, q = 23, and E its
exponent (-126 for subnormals). One step:

1. ``top`` = the largest E over the terms with P != 0, and C if C != 0.
2. The magnitudes of all terms and of C are truncated (towards zero, no sticky bit) to multiples of
   ``2**(top - fraction_bits)``.
3. The truncated terms and C are summed exactly.
4. The sum is rounded once, to a multiple of ``2**max(e - result_bits, -149)`` where ``e`` is the exponent of
   the leading one of the sum. A rounded magnitude of 2**128 or more is infinity; every zero is +0.
5. D is the C of the next step.

Special values follow IEEE 754: a NaN (element, scale or C), infinity times zero, or infinities of both signs
give the canonical quiet NaN 0x7FC00000; any other infinity (element or C) is kept.

Sources: results recorded on an NVIDIA H200 (``tests/conformance/test_silicon.py``) for Hopper;
north-numerical-computing/MATLAB-tensor-core for the parameters of Ampere, Ada and Blackwell; mmaemu, whose
author measured on an RTX 4060 that a sum truncated to zero is +0 too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .formats import Rounding
from .kernels import as_bits, as_float, lane

#: Raw exponent of zero: so low that it stays below every term's after the exponent of the other operand is added.
NO_EXPONENT = -4096
#: Most terms of one step. With MAX_FRACTION_BITS it keeps the aligned sum an integer that FP64 represents exactly.
MAX_TERMS = 1 << 10
MAX_FRACTION_BITS = 40

CANONICAL_NAN = 0x7FC00000
_FP32_FRACTION, _FP64_FRACTION, _FP64_BIAS = 23, 52, 1023
_FP32_MIN_EXPONENT = -126
_LOWEST_TOP = -512  # Below the exponent of every term; 2**-top is still a normal FP64 number.


@dataclass(frozen=True)
class Accumulator:
    """The parameters of a step.

    Parameters
    ----------
    terms : int or None
        Terms that one step adds. None: all terms of an instruction that takes 256 bits of each operand, which is
        K = 64 for 4-bit elements, 32 for 6 and 8 bits, 16 for 16 bits.
    fraction_bits : int or None
        Bits that the terms keep below the largest raw exponent. None: nothing is truncated, and the whole of K
        is one step.
    result_bits : int
        Bits that the result keeps below its leading one, at most the 23 of FP32.
    rounding : Rounding
        Rounding of the result. Terms are always truncated.
    """

    terms: int | None
    fraction_bits: int | None
    result_bits: int = _FP32_FRACTION
    rounding: Rounding = Rounding.TOWARD_ZERO

    def __post_init__(self) -> None:
        limits = {"terms": MAX_TERMS, "fraction_bits": MAX_FRACTION_BITS, "result_bits": _FP32_FRACTION}
        for name, most in limits.items():
            value = getattr(self, name)
            if value is None and name != "result_bits":
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= most:
                or_none = "" if name == "result_bits" else " or None"
                raise ValueError(f"{name} must be 1 to {most}{or_none}, got {value!r}")
        if not isinstance(self.rounding, Rounding):
            raise ValueError(f"rounding must be a golden.formats.Rounding, got {self.rounding!r}")

    @property
    def is_exact(self) -> bool:
        """Whether terms keep all their bits, so that only the final rounding loses any."""
        return self.fraction_bits is None


HOPPER_FP16 = HOPPER_BF16 = Accumulator(terms=16, fraction_bits=25)
HOPPER_FP8 = Accumulator(terms=32, fraction_bits=13, result_bits=13)
AMPERE_FP16 = Accumulator(terms=8, fraction_bits=24)
ADA_FP8 = Accumulator(terms=16, fraction_bits=13, result_bits=13)
BLACKWELL_FP16 = Accumulator(terms=16, fraction_bits=25)
BLACKWELL_FP8 = Accumulator(terms=32, fraction_bits=25)
#: Block-scaled 4-bit terms. How Blackwell aligns them is not public; 34 to 37 bits are reported.
BLOCK = Accumulator(terms=None, fraction_bits=35)
EXACT = Accumulator(terms=None, fraction_bits=None, rounding=Rounding.NEAREST_EVEN)


@lane
def power_of_two(exponent):
    """``2**exponent`` in FP64, a normal number."""
    return np.int64((exponent + _FP64_BIAS) << _FP64_FRACTION).view(np.float64)


@lane
def fp32_exponent(bits):
    """Raw exponent of the FP32 number with these bits; NO_EXPONENT for zero."""
    if bits & 0x7FFFFFFF == 0:
        return NO_EXPONENT
    return max(np.int32((bits >> _FP32_FRACTION) & 0xFF) - 127, _FP32_MIN_EXPONENT)


@lane
def round_to_fp32(value, result_bits, nearest):
    """FP32 bits of ``value`` (FP64), rounded once to ``result_bits`` below its leading one."""
    if np.isnan(value):
        return np.uint32(CANONICAL_NAN)
    bits = np.float64(abs(value)).view(np.int64)
    exponent = (bits >> _FP64_FRACTION) - _FP64_BIAS
    if exponent < _FP32_MIN_EXPONENT - _FP32_FRACTION - 1:
        return np.uint32(0)  # less than half of the least subnormal
    if exponent <= 127:
        unit = max(exponent - result_bits, _FP32_MIN_EXPONENT - _FP32_FRACTION)
        significand = (bits & ((1 << _FP64_FRACTION) - 1)) | (1 << _FP64_FRACTION)
        drop = _FP64_FRACTION - (exponent - unit)
        kept = significand >> drop
        if nearest:
            rest, half = significand - (kept << drop), 1 << (drop - 1)
            kept += rest > half or (rest == half and kept & 1 == 1)
        magnitude = np.float64(kept) * power_of_two(unit)
    else:
        magnitude = np.inf
    if magnitude == 0:
        return np.uint32(0)
    # The conversion to FP32 is exact, except that 2**128 becomes infinity.
    return np.uint32(as_bits(np.float32(magnitude))) | np.uint32(np.uint32(value < 0) << np.uint32(31))


@lane
def aligned_step(values, exponents, d, fraction_bits, result_bits, nearest, top, factor, total):
    """One step for a row of results.

    The arithmetic is FP64 and exact: terms, their products with powers of two, truncated terms and the sum of
    ``MAX_TERMS`` of them all fit its significand. Infinities and NaN propagate as the contract asks.

    Parameters
    ----------
    values : float64 [terms, n]
    exponents : int32 [terms, n]
        Raw exponents. Where the value is zero: NO_EXPONENT, alone or added to another exponent.
    d : uint32 [n]
        FP32 bits of C, replaced by those of D.
    fraction_bits, result_bits, nearest
        Settings of the accumulator; ``nearest``: whether it rounds to nearest even.
    top, factor, total : int32, float64, float64 [n]
        Scratch: largest raw exponent, power of two that scales to units of the sum, running sum.
    """
    n = d.size
    for j in range(n):
        top[j] = max(fp32_exponent(d[j]), _LOWEST_TOP)
    for t in range(values.shape[0]):
        for j in range(n):
            top[j] = max(top[j], exponents[t, j])
    for j in range(n):
        factor[j] = power_of_two(np.int64(fraction_bits - top[j]))
        total[j] = np.trunc(np.float64(as_float(d[j])) * factor[j])
    for t in range(values.shape[0]):
        for j in range(n):
            total[j] += np.trunc(values[t, j] * factor[j])
    for j in range(n):
        d[j] = round_to_fp32(total[j] * power_of_two(np.int64(top[j] - fraction_bits)), result_bits, nearest)


#: The exact sum is a long integer in units of 2**_EXACT_UNIT: EXACT_DIGITS digits of _DIGIT bits, each in an int64.
#: It has room for every term (from 2**-338, the last FP64 place of the smallest, to 2**291) and for the carries of
#: 2**31 terms.
EXACT_DIGITS, _EXACT_UNIT, _DIGIT = 26, -448, 32
_DIGIT_MASK = (1 << _DIGIT) - 1


@lane
def _add_exactly(value, digits):
    """Add a finite FP64 number to the digits; :func:`_carry` propagates carries later."""
    bits = np.float64(value).view(np.int64)
    field = (bits >> _FP64_FRACTION) & 0x7FF
    if field == 0:
        return  # Zero: no term is that small.
    significand = (bits & ((1 << _FP64_FRACTION) - 1)) | (1 << _FP64_FRACTION)
    place = field - _FP64_BIAS - _FP64_FRACTION - _EXACT_UNIT
    digit, shift = place // _DIGIT, place % _DIGIT
    low = (significand & _DIGIT_MASK) << shift
    high = ((significand >> _DIGIT) << shift) + (low >> _DIGIT)
    sign = -1 if bits < 0 else 1
    digits[digit] += sign * (low & _DIGIT_MASK)
    digits[digit + 1] += sign * (high & _DIGIT_MASK)
    digits[digit + 2] += sign * (high >> _DIGIT)


@lane
def _carry(digits):
    """Propagate carries, so that digits are 0 to 2**32 - 1; returns 0, or -1 if the whole is negative."""
    carry = np.int64(0)
    for i in range(digits.size):
        total = digits[i] + carry
        digits[i] = total & _DIGIT_MASK
        carry = total >> _DIGIT
    return carry


@lane
def _rounded_to_odd(digits):
    """The exact sum in FP64, rounded to odd: at least 33 bits, the last one set if any bit is lost. Rounding that
    to FP32 gives the same as rounding the exact sum once."""
    negative = _carry(digits) < 0
    if negative:
        for i in range(digits.size):
            digits[i] = -digits[i]
        _carry(digits)
    first = digits.size - 1
    while first > 1 and digits[first] == 0:
        first -= 1
    upper, lower, lost = digits[first], digits[first - 1], np.int64(0)
    for i in range(first - 1):
        lost |= digits[i]
    # FP64 holds 53 bits; the two leading digits have at least 33.
    drop = 0 if upper < 1 << (_FP64_FRACTION + 1 - _DIGIT) else 2 * _DIGIT - _FP64_FRACTION - 1
    lost |= lower & ((1 << drop) - 1)
    kept = (upper << (_DIGIT - drop)) | (lower >> drop)
    scale = _EXACT_UNIT + _DIGIT * (first - 1) + drop
    magnitude = np.float64(kept | np.int64(lost != 0)) * power_of_two(scale)
    return -magnitude if negative else magnitude


@lane
def exact_step(values, d, result_bits, nearest, digits):
    """One step without truncation: the exact sum, rounded once. Parameters are those of :func:`aligned_step`, and
    ``digits``, int64 [EXACT_DIGITS], for scratch."""
    for j in range(d.size):
        digits[:] = 0
        # FP64 addition of infinities and NaN follows IEEE 754; 0 means that there are none.
        special = np.float64(0)
        for t in range(-1, values.shape[0]):
            value = np.float64(as_float(d[j])) if t < 0 else values[t, j]
            if np.isfinite(value):
                _add_exactly(value, digits)
            else:
                special += value
        if special == 0:
            special = _rounded_to_odd(digits)
        d[j] = round_to_fp32(special, result_bits, nearest)
