"""Element and scale formats, described by rules, and their exact decoding and encoding.

A format is one object: golden models decode and encode with it, and the hardware takes its widths and biases
from it. Bit patterns are sign-magnitude (a magnitude code below an optional sign bit), except for
``FixedPoint``.

Sources: OCP Microscaling Formats (MX) v1.0, sections 5.3 and 5.4; OCP FP8 v1.0; NVIDIA NVFP4 (UE4M3 scales);
MixFP4, arXiv 2605.31035 (E1M2 and E2M2).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit, prange


class Nan(enum.Enum):
    """Which magnitude codes are not numbers."""

    NONE = "none"  # every code is a number
    ALL_ONES = "all ones"  # only the largest magnitude code, as in OCP E4M3 and E8M0
    IEEE = "ieee"  # the top exponent, fraction not zero


class Rounding(enum.Enum):
    """How a value that the format does not hold is rounded."""

    NEAREST_EVEN = "nearest_even"  # to the nearest code, ties to the even code
    TOWARD_ZERO = "toward_zero"  # truncated


@dataclass(frozen=True)
class MiniFloat:
    """A floating-point format of at most 16 bits.

    A magnitude code ``c`` splits into exponent ``E = c >> fraction_width`` and fraction ``M``. It stands for
    ``(2**fraction_width + M) * 2**(E - bias - fraction_width)``; where the format has subnormals, ``E = 0``
    stands for ``M * 2**(1 - bias - fraction_width)`` instead.

    Parameters
    ----------
    name : str
        The field's name of the format, in lower case.
    exponent_width, fraction_width : int
        Stored bits.
    bias : int
        Exponent bias.
    signed : bool
        Whether a sign bit stands above the magnitude.
    nan : Nan
        Which magnitude codes are NaN.
    has_infinity : bool
        Whether the top exponent with fraction 0 is infinity.
    has_subnormals : bool
        False for E8M0: no zero, no subnormals.
    """

    name: str
    exponent_width: int
    fraction_width: int
    bias: int
    signed: bool = True
    nan: Nan = Nan.NONE
    has_infinity: bool = False
    has_subnormals: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.exponent_width <= 8:
            raise ValueError(f"{self.name}: exponent_width must be 1 to 8, got {self.exponent_width}")
        if self.fraction_width < 0 or self.width > 16:
            raise ValueError(f"{self.name}: a format has at most 16 bits, got {self.width}")
        if self.has_infinity and self.nan is not Nan.IEEE:
            raise ValueError(f"{self.name}: infinity needs Nan.IEEE, got {self.nan}")

    @property
    def magnitude_width(self) -> int:
        """Bits of a code without its sign."""
        return self.exponent_width + self.fraction_width

    @property
    def width(self) -> int:
        """Bits of a code."""
        return self.magnitude_width + self.signed

    @property
    def significand_width(self) -> int:
        """Fraction bits and the hidden bit."""
        return self.fraction_width + 1

    @property
    def max_code(self) -> int:
        """Magnitude code of the largest finite value."""
        top = (1 << self.magnitude_width) - 1
        if self.nan is Nan.IEEE:
            return top - (1 << self.fraction_width)
        return top - (self.nan is Nan.ALL_ONES)

    @property
    def max_finite(self) -> float:
        """Largest finite value."""
        return self.magnitude(self.max_code)

    @property
    def max_exponent(self) -> int:
        """Unbiased exponent of the largest finite value (``emax`` of the OCP MX specification)."""
        return (self.max_code >> self.fraction_width) - self.bias

    @property
    def unit_exponent(self) -> int:
        """``u`` such that every finite value is an integer times ``2**u``."""
        return int(self.has_subnormals) - self.bias - self.fraction_width

    @property
    def infinity_code(self) -> int:
        """Magnitude code of infinity.

        Raises
        ------
        ValueError
            If the format has none.
        """
        if not self.has_infinity:
            raise ValueError(f"{self.name} has no infinity")
        return self.max_code + 1

    @property
    def nan_code(self) -> int:
        """Magnitude code of the quiet NaN.

        Raises
        ------
        ValueError
            If the format has none.
        """
        if self.nan is Nan.NONE:
            raise ValueError(f"{self.name} has no NaN")
        if self.nan is Nan.ALL_ONES:
            return (1 << self.magnitude_width) - 1
        return self.max_code + 1 + (1 << self.fraction_width >> 1)

    def units(self, code: int) -> int:
        """The finite magnitude ``code`` in units of ``2**unit_exponent``, as an exact Python integer."""
        exponent, fraction = code >> self.fraction_width, code & ((1 << self.fraction_width) - 1)
        if self.has_subnormals and exponent == 0:
            return fraction
        return ((1 << self.fraction_width) + fraction) << (exponent - self.has_subnormals)

    def magnitude(self, code: int) -> float:
        """The value of magnitude ``code``: exact, infinity or NaN."""
        if code <= self.max_code:
            return float(self.units(code)) * 2.0**self.unit_exponent
        return float("inf") if self.has_infinity and code == self.infinity_code else float("nan")

    @cached_property
    def values(self) -> np.ndarray:
        """FP32 value of every code, in the order of the codes. Exact. Read-only."""
        magnitudes = [self.magnitude(c) for c in range(1 << self.magnitude_width)]
        table = np.array(magnitudes + [-v for v in magnitudes] * self.signed, dtype=np.float32)
        table.flags.writeable = False
        return table


@dataclass(frozen=True)
class FixedPoint:
    """A two's complement element: its value is the code, a signed integer, times ``2**unit_exponent`` (OCP MXINT8)."""

    name: str
    width: int
    unit_exponent: int
    signed: bool = True

    @property
    def max_code(self) -> int:
        """Code of the largest value. Encoders never produce the most negative code: their range is symmetric."""
        return (1 << (self.width - 1)) - 1

    @property
    def max_finite(self) -> float:
        """Largest value."""
        return self.max_code * 2.0**self.unit_exponent

    @property
    def max_exponent(self) -> int:
        """Exponent of the leading bit of the largest value (``emax`` of the OCP MX specification)."""
        return self.width - 2 + self.unit_exponent

    @cached_property
    def values(self) -> np.ndarray:
        """FP32 value of every code, in the order of the codes. Exact. Read-only."""
        codes = np.arange(1 << self.width)
        signed = np.where(codes > self.max_code, codes - (1 << self.width), codes)
        table = (signed * 2.0**self.unit_exponent).astype(np.float32)
        table.flags.writeable = False
        return table


E2M1 = MiniFloat("e2m1", 2, 1, bias=1)
# Integers 0 to 7 in units of 0.5: with one exponent bit, the subnormal and the normal range join to a uniform
# grid.
E1M2 = MiniFloat("e1m2", 1, 2, bias=0)
E2M2 = MiniFloat("e2m2", 2, 2, bias=1)
E2M3 = MiniFloat("e2m3", 2, 3, bias=1)
E3M2 = MiniFloat("e3m2", 3, 2, bias=3)
E4M3 = MiniFloat("e4m3", 4, 3, bias=7, nan=Nan.ALL_ONES)
E5M2 = MiniFloat("e5m2", 5, 2, bias=15, nan=Nan.IEEE, has_infinity=True)
FP16 = MiniFloat("fp16", 5, 10, bias=15, nan=Nan.IEEE, has_infinity=True)
BF16 = MiniFloat("bf16", 8, 7, bias=127, nan=Nan.IEEE, has_infinity=True)
UE4M3 = MiniFloat("ue4m3", 4, 3, bias=7, signed=False, nan=Nan.ALL_ONES)
E8M0 = MiniFloat("e8m0", 8, 0, bias=127, signed=False, nan=Nan.ALL_ONES, has_subnormals=False)
INT8 = FixedPoint("int8", 8, unit_exponent=-6)

FORMATS: dict[str, MiniFloat | FixedPoint] = {
    f.name: f for f in (E2M1, E1M2, E2M2, E2M3, E3M2, E4M3, E5M2, FP16, BF16, UE4M3, E8M0, INT8)
}


def decode(codes: np.ndarray, fmt: MiniFloat | FixedPoint) -> np.ndarray:
    """Exact value of every code.

    Parameters
    ----------
    codes : unsigned integer array, any shape
        Codes of ``fmt``, one per entry.
    fmt : MiniFloat or FixedPoint

    Returns
    -------
    float32 array of the same shape; NaN and infinities where the format has them.

    Raises
    ------
    ValueError
        If ``codes`` are not unsigned integers or one does not fit the format.
    """
    codes = checked_codes(codes, fmt)
    result = np.empty(codes.shape, np.float32)
    _look_up(codes.reshape(-1), fmt.values, result.reshape(-1))
    return result


def encode(
    x: np.ndarray,
    fmt: MiniFloat | FixedPoint,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    saturate: bool = True,
) -> np.ndarray:
    """Codes of ``x`` rounded to the format.

    Zeros, and values that round to zero, keep their sign. Without ``saturate``, a value that rounds beyond the
    largest finite value becomes infinity or, where the format has none, NaN.

    Parameters
    ----------
    x : float32 array, any shape
    fmt : MiniFloat or FixedPoint
    rounding : Rounding
    saturate : bool
        Whether values that overflow, infinities included, become the largest finite value.

    Returns
    -------
    uint8 array (uint16 for 16-bit formats) of the same shape.

    Raises
    ------
    ValueError
        If ``x`` is not float32; holds a NaN and the format has none; is negative and the format unsigned; or
        if ``saturate`` is false and the format has neither infinity nor NaN.
    """
    x = np.ascontiguousarray(x)
    if x.dtype != np.float32:
        raise ValueError(f"encode takes float32, got {x.dtype}")
    flat = x.reshape(-1)
    result = np.empty(x.shape, np.uint8 if fmt.width <= 8 else np.uint16)
    if isinstance(fmt, FixedPoint):
        if not saturate:
            raise ValueError(f"{fmt.name} has neither infinity nor NaN: it can only saturate")
        _refuse(np.isnan(flat), x, f"{fmt.name} has no NaN")
        _encode_fixed(flat, fmt.unit_exponent, fmt.max_code, rounding is Rounding.NEAREST_EVEN, result.reshape(-1))
        return result
    if saturate:
        overflow = fmt.max_code
    elif fmt.nan is Nan.NONE:
        raise ValueError(f"{fmt.name} has neither infinity nor NaN: it can only saturate")
    else:
        overflow = fmt.infinity_code if fmt.has_infinity else fmt.nan_code
    if fmt.nan is Nan.NONE:
        _refuse(np.isnan(flat), x, f"{fmt.name} has no NaN")
    if not fmt.signed:
        _refuse(flat < 0, x, f"{fmt.name} is unsigned")
    _encode(
        flat.view(np.uint32),
        fmt.fraction_width,
        fmt.bias,
        fmt.has_subnormals,
        fmt.max_code,
        overflow,
        fmt.max_code if fmt.nan is Nan.NONE else fmt.nan_code,
        fmt.magnitude_width if fmt.signed else -1,
        rounding is Rounding.NEAREST_EVEN,
        result.reshape(-1),
    )
    return result


def operand_table(elements: np.ndarray, operand: MiniFloat) -> np.ndarray:
    """Table from element codes to the operand codes that a block decoder outputs; both zeros give code 0.

    Parameters
    ----------
    elements : float32 [codes]
        Value of every element code, in the order of the codes.
    operand : MiniFloat
        Format of the operands.

    Returns
    -------
    uint8 [codes]

    Raises
    ------
    ValueError
        If ``operand`` does not hold every one of the values.
    """
    codes = encode(elements, operand)
    if not np.array_equal(decode(codes, operand), elements):
        raise ValueError(f"{operand.name} does not hold every one of {elements.tolist()}")
    return np.where(elements == 0, np.uint8(0), codes)


def checked_codes(codes: np.ndarray, fmt: MiniFloat | FixedPoint) -> np.ndarray:
    """``codes``, C-contiguous; ValueError if not unsigned integers or one does not fit the format."""
    codes = np.ascontiguousarray(codes)
    if codes.dtype.kind != "u":
        raise ValueError(f"codes must be unsigned integers, got {codes.dtype}")
    if codes.dtype.itemsize * 8 > fmt.width:
        _refuse(codes.reshape(-1) >> fmt.width != 0, codes, f"{fmt.name} has {fmt.width} bits")
    return codes


def _refuse(bad: np.ndarray, x: np.ndarray, why: str) -> None:
    """Raise for the first entry of ``x`` that is flagged in the flat array ``bad``."""
    if bad.any():
        where = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), x.shape))
        raise ValueError(f"{why}, got {x[where]} at index {where}")


@njit(cache=True, parallel=True)
def _look_up(codes, table, result):
    for i in prange(codes.size):
        result[i] = table[codes[i]]


@njit(cache=True, inline="always")
def round_shift(value, shift, nearest_even):
    """Non-negative integer ``value / 2**shift``, rounded to nearest even or truncated. ``shift`` is 0 to 31."""
    kept = value >> shift
    if nearest_even and shift > 0:
        half = np.uint32(1) << np.uint32(shift - 1)
        rest = value & ((half << np.uint32(1)) - np.uint32(1))
        kept += np.uint32(rest > half or (rest == half and (kept & np.uint32(1)) != 0))
    return kept


@njit(cache=True, parallel=True)
def _encode(bits, fraction_width, bias, subnormals, max_code, overflow, nan_code, sign_position, nearest_even, result):
    emin = int(subnormals) - bias
    for i in prange(bits.size):
        magnitude = bits[i] & np.uint32(0x7FFFFFFF)
        if magnitude > 0x7F800000:
            code = np.int64(nan_code)
        elif magnitude == 0x7F800000:
            code = np.int64(overflow)
        else:
            # x = significand * 2**(exponent - 23)
            exponent = np.int64(magnitude >> np.uint32(23)) - 127
            significand = magnitude & np.uint32(0x7FFFFF)
            if exponent == -127:
                exponent = np.int64(-126)
                # E8M0's least value is subnormal in FP32, but has a leading one of its own.
                while exponent > emin and np.uint32(0) < significand < np.uint32(0x800000):
                    significand = np.uint32(significand << np.uint32(1))
                    exponent -= np.int64(1)
            else:
                significand |= np.uint32(0x800000)
            stored = max(exponent, emin)
            # A shift of 26 already leaves 0 with less than half a unit discarded; round_shift takes at most 31.
            shift = min(23 - fraction_width + stored - exponent, 26)
            kept = np.int64(round_shift(significand, np.uint32(shift), nearest_even))
            # A carry out of the significand adds one to the exponent field, as it should.
            code = ((stored - emin) << fraction_width) + kept
            if not subnormals:
                code = max(code - (1 << fraction_width), np.int64(0))
            if code > max_code:
                code = np.int64(overflow)
        if sign_position >= 0:
            code |= np.int64(bits[i] >> np.uint32(31)) << sign_position
        result[i] = code


@njit(cache=True, parallel=True)
def _encode_fixed(x, unit_exponent, max_code, nearest_even, result):
    scale = 2.0**-unit_exponent
    for i in prange(x.size):
        # Exact in FP64, and np.rint rounds ties to even.
        units = np.float64(x[i]) * scale
        whole = np.rint(units) if nearest_even else np.trunc(units)
        result[i] = np.uint8(np.int64(min(max(whole, -max_code), max_code)))
