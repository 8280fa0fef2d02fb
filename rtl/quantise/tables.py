"""What engines of NVFP4's family are told of a tensor: its thresholds, as fields of ports, or as constants.

With ``table``, the thresholds come through ports, for a tensor of any largest magnitude: whoever drives the engine
takes them from :func:`tensor_fields` once per tensor. With ``pow2``, the tensor scale is a power of two; thresholds of
such tensors differ by exponents only, and are constants of the hardware.

Magnitudes of a float format compare as integers. Thresholds of block scales that differ by a power of two differ by
exponents, so that eight rows, one for each significand of a scale, are all there is
(:mod:`hwsim.golden.thresholds`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.golden.formats import E2M1, UE4M3, MiniFloat
from hwsim.golden.mixfp4 import E1M2_INTEGERS
from hwsim.golden.nvfp4_layout import FULL_SCALES
from hwsim.golden.thresholds import Thresholds, thresholds
from hwsim.rtl.quantise.floats import EXPONENT_WIDTH, INPUTS, ValueFormat

#: Rows of thresholds: one for each significand of a scale.
ROWS = 1 << UE4M3.fraction_width
#: Scale codes that have thresholds of their own: 1 to 8.
FIRST = ROWS
#: Scale codes whose thresholds' fractions hold for all binades begin here.
_REGULAR = 2 * FIRST
OFFSET_WIDTH = EXPONENT_WIDTH + UE4M3.fraction_width
#: Exponent of the smallest scale.
_SMALLEST = 1 - UE4M3.bias - UE4M3.fraction_width


@dataclass(frozen=True)
class Ladder:
    """How the seven thresholds of an element format follow from the columns of a row of thresholds.

    Attributes
    ----------
    element : MiniFloat
    columns : tuple of int
        For each column, how many binades it begins above E2M1's first one at least; its carry may add one.
    steps : tuple of (int, int)
        For codes 1 to 7: the column, and how many binades above it the code begins.
    """

    element: MiniFloat
    columns: tuple[int, ...]
    steps: tuple[tuple[int, int], ...]


#: E2M1 begins its codes at 1, 3, 5, 7, 10, 14 and 20 quarters: codes 5 and 7 one and two binades above code 3, and code
#: 6 one above code 4.
E2M1_LADDER = Ladder(E2M1, (0, 1, 2, 2), ((0, 0), (1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (2, 2)))
#: E1M2 begins its codes at 1, 3, ..., 13 halves, the first four a binade above those of E2M1.
E1M2_LADDER = Ladder(E1M2_INTEGERS, (1, 2, 3, 3, 4, 4, 4), tuple((i, 0) for i in range(7)))
_OF_E2M1 = len(E2M1_LADDER.columns)
_OF_E1M2 = len(E1M2_LADDER.columns) - _OF_E2M1


@dataclass(frozen=True)
class Family:
    """A system of NVFP4's family.

    Attributes
    ----------
    name : str
        Golden system.
    full_scale : float
        What the tensor scale brings the tensor's largest magnitude to.
    candidates : tuple of (Ladder, float)
        For each scale that a block may have, the smaller first: the ladder, and the factor of the scale.
    """

    name: str
    full_scale: float
    candidates: tuple[tuple[Ladder, float], ...]

    @property
    def chooses(self) -> bool:
        """Whether blocks have two candidates."""
        return len(self.candidates) > 1

    @property
    def uniform(self) -> bool:
        """Whether there is a candidate of E1M2."""
        return any(ladder is E1M2_LADDER for ladder, _ in self.candidates)

    @property
    def least_distance(self) -> int:
        """Binades, at least, from E2M1's first threshold under scale 1 up to the tensor's largest magnitude."""
        return int(self.full_scale).bit_length() + 1


_FULL = float(FULL_SCALES["nvfp4"])
FAMILIES = {
    family.name: family
    for family in (
        Family("nvfp4", _FULL, ((E2M1_LADDER, 1.0),)),
        Family("four_over_six", float(FULL_SCALES["four_over_six"]), ((E2M1_LADDER, 1.0), (E2M1_LADDER, 1.5))),
        Family("mixfp4", _FULL, ((E1M2_LADDER, 1.0), (E2M1_LADDER, 1.0))),
    )
}
#: Names of the ports of a scale's thresholds; with two candidates each has its own, behind these prefixes.
SCALE_PORTS = ("scale_fractions", "scale_offset", "scale_thresholds")
CANDIDATES = ("small", "large")


def prefixes(family: Family) -> tuple[str, ...]:
    """What stands before :data:`SCALE_PORTS` in the names of a family's ports, by candidate."""
    return tuple(f"{name}_" for name in CANDIDATES) if family.chooses else ("",)


def factor_width(amax: ValueFormat) -> int:
    """Width of the port ``choice_factor`` for tensors whose largest magnitude has this format."""
    return amax.fraction_width + 2


def table_widths(fmt: ValueFormat, family: Family, amax: ValueFormat) -> dict[str, tuple[int, int]]:
    """Fields of every port that holds a tensor's thresholds, by name: their number, and the width of one.

    live
        0 for a tensor of zeros.
    element_base
        Exponent field of E2M1's first threshold under the smallest scale, less the carry of row 0.
    element_fractions, element_carries
        By row, of E2M1's codes 1 to 4: fraction of the threshold, and whether its exponent is one more than
        ``element_base`` for code 1, and one more than that of code 1 plus 1, 2 and 2 for the others.
    e1m2_fractions, e1m2_carries
        The same of E1M2's codes 5 to 7, whose exponents are 4 more than that of E2M1's code 1, or 5.
    scale_fractions
        Fractions of the thresholds of scale codes 16 to 23, and so of all further binades.
    scale_offset
        Eight times the exponent field of code 16's threshold, plus the number of those fractions that its own reaches,
        less 16.
    scale_thresholds
        Least largest magnitude of scale codes 1 to 8.
    choice_factor
        Significand of the tensor's largest magnitude, doubled where E2M1's first threshold lies one binade further
        below that magnitude than it has to (:attr:`Family.least_distance`).
    """
    widths = {"live": (1, 1), "element_base": (1, EXPONENT_WIDTH)}
    widths |= {"element_fractions": (ROWS * _OF_E2M1, fmt.fraction_width), "element_carries": (ROWS * _OF_E2M1, 1)}
    if family.uniform:
        widths |= {"e1m2_fractions": (ROWS * _OF_E1M2, fmt.fraction_width), "e1m2_carries": (ROWS * _OF_E1M2, 1)}
    sizes = (FIRST, fmt.fraction_width), (1, OFFSET_WIDTH), (FIRST, fmt.magnitude_width)
    for prefix in prefixes(family):
        widths |= {prefix + name: size for name, size in zip(SCALE_PORTS, sizes, strict=True)}
    if family.chooses:
        widths["choice_factor"] = (1, factor_width(amax))
    return widths


def tensor_fields(
    amax: float, system: str = "nvfp4", input: str = "bf16", amax_format: str = "bf16"
) -> dict[str, np.ndarray]:
    """What an engine with ``tensor_scale=table`` is told of a tensor: fields of its ports (:func:`table_widths`).

    Parameters
    ----------
    amax : float
        Magnitude that the tensor scale is made for, from 2**-100 to below 2**126; 0 for a tensor of zeros.
    system : {"nvfp4", "four_over_six", "mixfp4"}
    input : {"bf16", "fp32"}
        Format of the values that are quantised.
    amax_format : {"bf16", "fp32"}
        Format that holds ``amax``, for engines that choose.

    Returns
    -------
    dict of str to uint32 [fields]

    Raises
    ------
    ValueError
        If ``amax`` is out of its range, or its format does not hold it where the engine chooses.
    """
    fmt, family = INPUTS[input], FAMILIES[system]
    live = amax != 0
    magnitude = np.float32(amax if live else 1.0)

    def table(ladder: Ladder, stretch: float) -> Thresholds:
        return thresholds(
            float(magnitude), full_scale=family.full_scale, element=ladder.element, fraction_width=fmt.fraction_width,
            stretch=stretch,
        )  # fmt: skip

    mask = (1 << fmt.fraction_width) - 1
    elements = table(E2M1_LADDER, 1.0).elements
    exponents = elements >> fmt.fraction_width
    base = int(exponents[:, 0].min())
    fields: dict[str, Any] = {"live": [int(live)], "element_base": [base + _SMALLEST]}
    fields |= _columns("element", elements, E2M1_LADDER, range(_OF_E2M1), exponents[:, 0], base, mask)
    if family.uniform:
        uniform = table(E1M2_LADDER, 1.0).elements
        if (uniform[:, :_OF_E2M1] != elements[:, :_OF_E2M1] + (1 << fmt.fraction_width)).any():
            raise ValueError(f"thresholds of E1M2 are not a binade above those of E2M1 for amax {amax}")
        columns = range(_OF_E2M1, _OF_E2M1 + _OF_E1M2)
        fields |= _columns("e1m2", uniform, E1M2_LADDER, columns, exponents[:, 0], base, mask)
    for prefix, (ladder, stretch) in zip(prefixes(family), family.candidates, strict=True):
        scales = table(ladder, stretch).scales
        regular, first = scales[_REGULAR - 1 : _REGULAR - 1 + FIRST] & mask, int(scales[_REGULAR - 1])
        reached = int(np.count_nonzero((first & mask) >= regular))
        offset = 8 * (first >> fmt.fraction_width) + reached - _REGULAR
        fields |= {prefix + name: v for name, v in zip(SCALE_PORTS, (regular, [offset], scales[:FIRST]), strict=True)}
    if family.chooses:
        fields["choice_factor"] = [_choice_factor(magnitude, base, family, INPUTS[amax_format])]
    return {name: np.array(values, np.uint32).reshape(-1) for name, values in fields.items()}


def _columns(
    name: str, elements: np.ndarray, ladder: Ladder, columns: range, first: np.ndarray, base: int, mask: int
) -> dict[str, np.ndarray]:
    """Fractions and carries of some columns of a ladder; ``first`` are exponents of E2M1's first thresholds."""
    carries = []
    for column in columns:
        least = base if ladder.columns[column] == 0 else first + ladder.columns[column]
        carries.append((elements[:, column] >> mask.bit_length()) - least)
    if not np.isin(carries, (0, 1)).all():
        raise ValueError(f"exponents of thresholds of {ladder.element.name} are not as far apart as their values")
    return {
        f"{name}_fractions": elements[:, columns.start : columns.stop] & mask,
        f"{name}_carries": np.stack(carries, axis=1),
    }


def _choice_factor(amax: np.float32, base: int, family: Family, fmt: ValueFormat) -> int:
    """The significand of ``amax``, doubled where the first threshold lies one binade further below ``amax``."""
    bits = int(amax.view(np.uint32))
    dropped = INPUTS["fp32"].fraction_width - fmt.fraction_width
    if bits & ((1 << dropped) - 1):
        raise ValueError(f"amax must be a number of {fmt.name}, got {float(amax)}")
    significand = ((bits & 0x7FFFFF) | 0x800000) >> dropped
    distance = (bits >> 23) - base
    least = family.least_distance
    if distance not in (least, least + 1):
        raise ValueError(f"the first threshold is {distance} binades below amax, not {least} or {least + 1}")
    return significand << (distance - least)
