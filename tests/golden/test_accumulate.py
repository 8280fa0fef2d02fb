"""The accumulator's parameters, its rounding, and the term conventions that the hardware shares."""

from fractions import Fraction

import mma_model
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from hwsim.golden import accumulate
from hwsim.golden.accumulate import Accumulator, round_to_fp32
from hwsim.golden.formats import Rounding
from hwsim.golden.terms import BLOCK_TERMS, ELEMENT_TERMS, exponents, scale_tables


def test_presets_are_those_of_the_contract():
    table = {
        "HOPPER_FP16": (16, 25, 23),
        "HOPPER_BF16": (16, 25, 23),
        "HOPPER_FP8": (32, 13, 13),
        "AMPERE_FP16": (8, 24, 23),
        "ADA_FP8": (16, 13, 13),
        "BLACKWELL_FP16": (16, 25, 23),
        "BLACKWELL_FP8": (32, 25, 23),
        "BLOCK": (None, 35, 23),
    }
    for name, (terms, fraction_bits, result_bits) in table.items():
        assert getattr(accumulate, name) == Accumulator(terms, fraction_bits, result_bits), name
    assert Accumulator(None, None, 23, Rounding.NEAREST_EVEN) == accumulate.EXACT
    assert accumulate.EXACT.is_exact and not accumulate.BLOCK.is_exact


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 13), "terms must be 1 to 1024 or None, got 0"),
        ((1025, 13), "terms must be 1 to 1024 or None, got 1025"),
        ((4, 0), "fraction_bits must be 1 to 40 or None, got 0"),
        ((4, 41), "fraction_bits must be 1 to 40 or None, got 41"),
        ((4, 35, 0), "result_bits must be 1 to 23, got 0"),
        ((4, 35, 24), "result_bits must be 1 to 23, got 24"),
        ((4, 35, None), "result_bits must be 1 to 23, got None"),
        ((8.0, 13), "terms must be 1 to 1024 or None, got 8.0"),
        ((True, 13), "terms must be 1 to 1024 or None, got True"),
        ((4, 25.5), "fraction_bits must be 1 to 40 or None, got 25.5"),
        ((4, 35, 23, "rz"), "rounding must be a golden.formats.Rounding, got 'rz'"),
    ],
)
def test_bad_parameters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Accumulator(*arguments)


@njit
def rounded(value, result_bits, nearest):
    return round_to_fp32(value, result_bits, nearest)


@settings(max_examples=1000, deadline=None)
@given(st.floats(), st.integers(1, 23), st.booleans())
def test_rounding_agrees_with_fractions(value, result_bits, nearest):
    if np.isnan(value):
        expected = mma_model.NAN
    elif np.isinf(value):
        expected = mma_model.INF | (value < 0) << 31
    else:
        expected = mma_model.round_value(Fraction(value), result_bits, nearest)
    assert rounded(value, result_bits, nearest) == expected


@pytest.mark.parametrize("exponent", range(-152, -120))
def test_rounding_to_nearest_is_the_processors_also_for_subnormals(exponent):
    values = np.arange(1, 1 << 12) * 2.0 ** (exponent - 11)
    for sign in (1, -1):
        for value, expected in zip(sign * values, (sign * values).astype(np.float32), strict=True):
            assert rounded(value, 23, True) == (expected.view(np.uint32) if expected else 0)


@pytest.mark.parametrize(
    ("value", "nearest", "bits"),
    [
        (float.fromhex("0x1.ffffffp127"), False, 0x7F7FFFFF),  # cut: the largest finite number
        (float.fromhex("0x1.ffffffp127"), True, 0x7F800000),  # halfway: up
        (float.fromhex("0x1.fffffefp127"), True, 0x7F7FFFFF),
        (2.0**128, False, 0x7F800000),
        (-(2.0**128), False, 0xFF800000),
        (2.0**-150, True, 0),  # a tie with zero, which is even
        (2.0**-150 * 1.5, True, 1),
        (-(2.0**-149) * 0.75, False, 0),  # no -0
    ],
)
def test_ends_of_the_range(value, nearest, bits):
    assert rounded(value, 23, nearest) == bits


@pytest.mark.parametrize(
    ("name", "block_size", "q", "constant"),
    [
        ("nvfp4", 16, 17, 9),
        ("nvfp4", 32, 18, 10),
        ("mixfp4", 16, 17, 9),
        ("mixfp4", 32, 18, 10),
        ("mxfp4", 16, 10, 8),
        ("mxfp4", 32, 11, 9),
        ("m2xfp", 32, 16, 10),
    ],
)
def test_block_terms_have_the_documented_exponents(name, block_size, q, constant):
    term = BLOCK_TERMS[name]
    assert (term.q(block_size), term.constant(block_size)) == (q, constant)
    significand = (2 << term.scale.fraction_width) - 1
    bound = block_size * term.a_largest * term.b_largest * significand**2
    assert Fraction(bound, 1 << q) < 4 <= Fraction(bound, 1 << (q - 1))


def test_exponents_are_those_of_the_leading_place():
    e4m3 = exponents(ELEMENT_TERMS["e4m3"])
    assert e4m3[0] == e4m3[0x80] == accumulate.NO_EXPONENT
    assert list(e4m3[[0x01, 0x07, 0x08, 0x0F, 0x10, 0x38, 0x7E]]) == [-6, -6, -6, -6, -5, 0, 8]
    np.testing.assert_array_equal(e4m3[:128], e4m3[128:])
    for scale, codes, expected in (
        (BLOCK_TERMS["nvfp4"].scale, [0x00, 0x01, 0x08, 0x10, 0x7E, 0x81], [accumulate.NO_EXPONENT, -6, -6, -5, 8, -6]),
        (BLOCK_TERMS["mxfp4"].scale, [0, 127, 254], [-127, 0, 127]),
    ):  # fmt: skip
        values, raw = scale_tables(scale)
        assert len(values) == len(raw) == 256
        assert list(raw[codes]) == expected


def test_two_absent_exponents_are_below_every_other():
    most = max(-int(exponents(f)[1]) for f in ELEMENT_TERMS.values()) * 2 + 2 * 127
    assert accumulate.NO_EXPONENT + most + 2 * 128 < -(2 * most)
    assert np.iinfo(np.int32).min < 4 * accumulate.NO_EXPONENT
