"""What engines are told of a tensor: the fields of their ports say golden's thresholds again."""

import numpy as np
import pytest

from hwsim.golden.formats import E2M1, UE4M3
from hwsim.golden.mixfp4 import E1M2_INTEGERS
from hwsim.golden.thresholds import thresholds
from hwsim.rtl.quantise.tables import FAMILIES, prefixes, tensor_fields

SMALLEST = -9  # exponent of the smallest scale


def fields_of_scale(scale):
    """Row and binades above the smallest scale."""
    significand, exponent = np.frexp(UE4M3.values[scale])
    return int(significand * 16) - 8, int(exponent) - 1 - SMALLEST


def of_columns(fields, name, scale, fraction_width, steps, columns):
    """Thresholds that the fields of one kind of columns stand for."""
    row, binades = fields_of_scale(scale)
    fractions = fields[f"{name}_fractions"].reshape(8, -1)[row].astype(np.int64)
    carries = fields[f"{name}_carries"].reshape(8, -1)[row].astype(np.int64)
    first = int(fields["element_base"][0]) + binades + int(fields["element_carries"].reshape(8, -1)[row, 0])
    exponents = [first if i == 0 and name == "element" else first + n + carries[i] for i, n in enumerate(columns)]
    return [((exponents[column] + up) << fraction_width) + fractions[column] for column, up in steps]


def scale_code(fields, prefix, largest, fraction_width):
    """The scale byte by the fields, as the hardware finds it."""
    fraction, exponent = largest & ((1 << fraction_width) - 1), largest >> fraction_width
    reached = int(np.count_nonzero(largest >= fields[f"{prefix}scale_thresholds"].astype(np.int64)))
    above = int(np.count_nonzero(fraction >= fields[f"{prefix}scale_fractions"].astype(np.int64)))
    code = min(max(8 * exponent + above - int(fields[f"{prefix}scale_offset"][0]), 8), 126)
    return code if reached == 8 else reached


def check(system, amax, input="bf16", amax_format="bf16"):
    fraction = 7 if input == "bf16" else 23
    fields, family = tensor_fields(amax, system, input, amax_format), FAMILIES[system]
    table = thresholds(amax, full_scale=family.full_scale, fraction_width=fraction)
    steps = [(0, 0), (1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (2, 2)]
    for scale in range(1, 127):
        found = of_columns(fields, "element", scale, fraction, steps, (0, 1, 2, 2))
        assert found == table.of_scale(scale).tolist(), (system, amax, scale)
    if system == "mixfp4":
        uniform = thresholds(amax, element=E1M2_INTEGERS, fraction_width=fraction)
        for scale in range(1, 127):
            high = of_columns(fields, "e1m2", scale, fraction, [(0, 0), (1, 0), (2, 0)], (4, 4, 4))
            low = (table.of_scale(scale)[:4] + (1 << fraction)).tolist()
            assert low + high == uniform.of_scale(scale).tolist()
    for prefix, (ladder, stretch) in zip(prefixes(family), family.candidates, strict=True):
        own = thresholds(
            amax, full_scale=family.full_scale, element=ladder.element, stretch=stretch, fraction_width=fraction
        )
        for code, least in enumerate(own.scales.tolist(), 1):
            assert scale_code(fields, prefix, least, fraction) == code
            assert scale_code(fields, prefix, least - 1, fraction) == code - 1


@pytest.mark.parametrize("system", FAMILIES)
def test_fields_are_goldens_thresholds(system):
    for significand in range(128, 256, 9):
        check(system, significand * 2.0 ** (significand % 50 - 25))
    check(system, 2.0**-100)
    check(system, 1.9921875 * 2.0**125)


@pytest.mark.parametrize("system", FAMILIES)
def test_values_and_largest_magnitudes_in_fp32(system):
    for amax in (1.2345678, 3.1415927e-12):
        check(system, float(np.float32(amax)), "fp32", "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("system", FAMILIES)
def test_fields_of_every_significand(system):
    for significand in range(128, 256):
        for exponent in (-107, -7, 118):
            check(system, significand * 2.0**exponent)


def test_engines_that_choose_are_told_bf16_or_fp32_largest_magnitudes():
    with pytest.raises(ValueError, match="amax must be a number of bf16, got 1.00000"):
        tensor_fields(float(np.float32(1.0000001)), "mixfp4")
    assert tensor_fields(float(np.float32(1.0000001)), "mixfp4", amax_format="fp32")["choice_factor"][0] > 1 << 23


def test_a_tensor_of_zeros_is_not_live():
    assert tensor_fields(0.0)["live"][0] == 0 and tensor_fields(1.0)["live"][0] == 1
    assert E2M1.max_code == 7
