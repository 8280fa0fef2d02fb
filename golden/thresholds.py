"""The rules of NVFP4's family as thresholds: what a quantiser in hardware compares magnitudes with.

For a fixed block scale, the code of an element is a monotone function of its magnitude, whatever roundings the rule
consists of: seven thresholds describe it. Magnitudes of one float format compare like integers by their bits. A scale
twice as large moves all thresholds by one exponent, so that one row for each of the eight significands of a UE4M3 scale
is enough. The scale is a monotone function of the block's largest magnitude in the same way. All thresholds are found
by bisection on the functions that quantise here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .formats import E2M1, UE4M3, MiniFloat
from .kernels import cast_constants, nearest_code
from .nvfp4_layout import FULL_SCALES
from .tensor import one_of
from .ue4m3_blocks import ONE, SCALE_VALUES, encode_factors, reciprocal, scale_code

#: Magnitudes of the tensor for which powers of two only move thresholds: no intermediate result leaves FP32's normals.
_LEAST, _BEYOND = 2.0**-100, 2.0**126
_FP32_FRACTION = 23


@dataclass(frozen=True)
class Thresholds:
    """Thresholds on magnitudes, as bits of a float format with 8 exponent bits.

    Attributes
    ----------
    fraction_width : int
        Fraction bits of that format: 7 for BF16, 23 for FP32.
    elements : int64 [8, 7]
        Least magnitude of codes 1 to 7, for scales of significand ``1 + row / 8`` and exponent 0.
    scales : int64 [126]
        Least magnitude of a block's largest element for scale codes 1 to 126.
    """

    fraction_width: int
    elements: np.ndarray
    scales: np.ndarray

    def scale_codes(self, largest: np.ndarray) -> np.ndarray:
        """Scale codes, uint8, of blocks whose largest magnitudes have the bits ``largest``."""
        return np.searchsorted(self.scales, largest, side="right").astype(np.uint8)

    def of_scale(self, scale: int) -> np.ndarray:
        """Least magnitude of codes 1 to 7 under a scale code from 1 to 126, int64 [7]."""
        if not 1 <= scale <= UE4M3.max_code:
            raise ValueError(f"scale must be a code from 1 to {UE4M3.max_code}, got {scale}")
        significand, exponent = np.frexp(UE4M3.values[scale])
        row = int(significand * 16) - 8
        return self.elements[row] + ((int(exponent) - 1) << self.fraction_width)

    def codes(self, magnitudes: np.ndarray, scale: int) -> np.ndarray:
        """Magnitude codes, uint8, of elements with the bits ``magnitudes`` under a scale code; 0 for scale 0."""
        if scale == 0:
            return np.zeros(np.shape(magnitudes), np.uint8)
        return np.searchsorted(self.of_scale(scale), magnitudes, side="right").astype(np.uint8)


def thresholds(
    amax: float,
    *,
    full_scale: float = float(FULL_SCALES["nvfp4"]),
    element: MiniFloat = E2M1,
    fraction_width: int = 7,
    scale_rounding: str = "rne",
    stretch: float = 1.0,
) -> Thresholds:
    """Thresholds of a tensor.

    Parameters
    ----------
    amax : float
        Magnitude that the tensor scale is made for, from 2**-100 to below 2**126.
    full_scale : float
        Largest element times largest scale: 2688 for NVFP4 and MixFP4, 1536 for Four Over Six.
    element : MiniFloat
        Element format; its largest value is where a block's largest element goes.
    fraction_width : int
        Fraction bits of the values that are quantised: 7 (BF16) or 23 (FP32).
    scale_rounding : {"rne", "up"}
        As for :func:`golden.nvfp4.quantize`.
    stretch : float
        Factor of the scales: 1.5 for Four Over Six's blocks at 4.

    Raises
    ------
    ValueError
        If ``amax`` is out of its range, or an option is unknown.
    """
    amax32 = np.float32(amax)
    if not _LEAST <= amax32 < _BEYOND:
        raise ValueError(f"amax must be 2**-100 to below 2**126, got {amax}")
    if fraction_width not in (7, _FP32_FRACTION):
        raise ValueError(f"fraction_width must be 7 (BF16) or 23 (FP32), got {fraction_width!r}")
    one_of("full_scale", full_scale, tuple(map(float, sorted(set(FULL_SCALES.values())))))
    one_of("stretch", stretch, (1.0, 1.5))
    round_up = one_of("scale_rounding", scale_rounding, ("rne", "up")) == "up"
    encode, decode = encode_factors(amax32, np.float32(full_scale))
    cast, most = cast_constants(element), element.max_code
    largest = np.float32(element.max_finite)
    top = (255 << fraction_width) - 1

    def element_code(scale: np.float32) -> Callable[[int], int]:
        inverse = reciprocal(decode, scale)
        return lambda bits: nearest_code(_value(bits, fraction_width) * inverse, cast)

    def block_scale(bits: int) -> int:
        return scale_code(_value(bits, fraction_width) / largest * encode * np.float32(stretch), round_up, SCALE_VALUES)

    rows = [ONE + np.float32(row) / np.float32(8) for row in range(8)]
    elements = [[_least(element_code(scale), code, top) for code in range(1, most + 1)] for scale in rows]
    scales = [_least(block_scale, code, top) for code in range(1, UE4M3.max_code + 1)]
    return Thresholds(fraction_width, np.array(elements, np.int64), np.array(scales, np.int64))


def _value(bits: int, fraction_width: int) -> np.float32:
    """The float32 whose bits begin with those of a format with fewer fraction bits."""
    return np.int32(bits << (_FP32_FRACTION - fraction_width)).view(np.float32)


def _least(function: Callable[[int], int], wanted: int, top: int) -> int:
    """The least argument at which a monotone function reaches a value; ``top + 1`` if it does not up to ``top``."""
    low, high = 0, top + 1
    while low < high:
        middle = (low + high) // 2
        if function(middle) >= wanted:
            high = middle
        else:
            low = middle + 1
    return low
