"""Fields of the values that engines take."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Value

EXPONENT_WIDTH = 8


@dataclass(frozen=True)
class ValueFormat:
    """A float format with FP32's exponents.

    Attributes
    ----------
    name : str
    fraction_width : int
    """

    name: str
    fraction_width: int

    @property
    def magnitude_width(self) -> int:
        """Bits without the sign."""
        return EXPONENT_WIDTH + self.fraction_width

    @property
    def width(self) -> int:
        """Bits of a value."""
        return self.magnitude_width + 1


#: Formats of the values that engines take, by the name of the parameter ``input``.
INPUTS = {fmt.name: fmt for fmt in (ValueFormat("bf16", 7), ValueFormat("fp32", 23))}


@dataclass(frozen=True)
class Fields:
    """Fields of a value.

    Attributes
    ----------
    fraction, exponent, sign : Value
    """

    fraction: Value
    exponent: Value
    sign: Value

    @classmethod
    def of(cls, value: Value, fmt: ValueFormat) -> Fields:
        """Fields of a value."""
        return cls(value[: fmt.fraction_width], value[fmt.fraction_width : fmt.magnitude_width], value[-1])

    def above(self, numerator: int, bits: int) -> Value:
        """Whether the fraction is greater than ``numerator / 2**bits``."""
        low = self.fraction[: len(self.fraction) - bits]
        high = self.fraction[len(self.fraction) - bits :]
        beside = (high == numerator) & low.any()
        return beside if numerator + 1 == 1 << bits else (high > numerator) | beside

    def at_least(self, numerator: int, bits: int) -> Value:
        """Whether the fraction is at least ``numerator / 2**bits``."""
        return self.fraction[len(self.fraction) - bits :] >= numerator


def checked_input(name: str, parameter: str = "input") -> ValueFormat:
    """The input format called ``name``; ValueError, which names the parameter, if there is none."""
    if name not in INPUTS:
        raise ValueError(f"{parameter} must be {' or '.join(INPUTS)}, got {name!r}")
    return INPUTS[name]
