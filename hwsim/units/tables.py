"""What NVFP4's engines are told of a tensor: its thresholds, as the values of their ports."""

from __future__ import annotations

import numpy as np

from hwsim.golden.formats import UE4M3
from hwsim.golden.nvfp4_layout import FULL_SCALES
from hwsim.golden.thresholds import thresholds
from hwsim.rtl.quantise.table_scale import FIRST, OF_ROW

#: Scale codes whose thresholds' fractions hold for all binades begin here.
_REGULAR = 2 * FIRST
#: Exponent of the smallest scale.
_SMALLEST = 1 - UE4M3.bias - UE4M3.fraction_width


def table_values(
    amax: float, fraction_width: int = 7, full_scale: float = float(FULL_SCALES["nvfp4"])
) -> dict[str, int]:
    """Values of the ports of :class:`hwsim.rtl.quantise.table_scale.TablePath` that describe a tensor.

    Parameters
    ----------
    amax : float
        Magnitude that the tensor scale is made for, from 2**-100 to below 2**126; 0 for a tensor of zeros.
    fraction_width : int
        Fraction bits of the values: 7 (BF16) or 23 (FP32).
    full_scale : float
        See :func:`hwsim.golden.thresholds.thresholds`.

    Raises
    ------
    ValueError
        If ``amax`` is out of its range.
    """
    live = amax != 0
    table = thresholds(amax if live else 1.0, full_scale=full_scale, fraction_width=fraction_width)
    mask = (1 << fraction_width) - 1
    exponents, fractions = table.elements[:, :OF_ROW] >> fraction_width, table.elements[:, :OF_ROW] & mask
    base = int(exponents[:, 0].min())
    # Exponents less those that the thresholds' ratios 1 : 3 : 5 : 7 give at least.
    carries = exponents - np.column_stack([np.full(len(exponents), base), *[exponents[:, 0] + n for n in (1, 2, 2)]])
    regular = table.scales[_REGULAR - 1 : _REGULAR - 1 + FIRST] & mask
    first = int(table.scales[_REGULAR - 1])
    reached = int(np.count_nonzero((first & mask) >= regular))
    return {
        "live": int(live),
        "element_base": base + _SMALLEST,
        "element_fractions": _packed(fractions, fraction_width),
        "element_carries": _packed(carries, 1),
        "scale_fractions": _packed(regular, fraction_width),
        "scale_offset": 8 * (first >> fraction_width) + reached - _REGULAR,
        "scale_thresholds": _packed(table.scales[:FIRST], fraction_width + 8),
    }


def _packed(values: np.ndarray, width: int) -> int:
    """Fields of equal width as one integer, the first in the lowest bits."""
    return sum(int(value) << (width * i) for i, value in enumerate(values.reshape(-1)))
