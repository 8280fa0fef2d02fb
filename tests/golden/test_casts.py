"""Element casts: the integer definition in ``formats`` and the vector code in ``kernels``."""

from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from numba import njit

from hwsim.golden.formats import (
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    E8M0,
    FORMATS,
    INT8,
    UE4M3,
    FixedPoint,
    decode,
    encode,
)
from hwsim.golden.kernels import cast_constants, kernel, nearest_code, nearest_magnitude, spread
from hwsim.golden.mixfp4 import E1M2_INTEGERS

ELEMENTS = [FORMATS[name] for name in ("e2m1", "e1m2", "e2m2", "e2m3", "e3m2", "e4m3", "e5m2", "int8")]
ELEMENTS.append(E1M2_INTEGERS)
ML_DTYPES = {
    E2M1: ml_dtypes.float4_e2m1fn,
    E2M3: ml_dtypes.float6_e2m3fn,
    E3M2: ml_dtypes.float6_e3m2fn,
    E4M3: ml_dtypes.float8_e4m3fn,
    E5M2: ml_dtypes.float8_e5m2,
    E8M0: ml_dtypes.float8_e8m0fnu,
}
INFINITY = 0x7F800000
CHUNK = 1 << 24


def by_name(fmt):
    return fmt.name


def magnitudes(fmt):
    """Finite magnitudes in the order of their codes."""
    return fmt.values[: fmt.max_code + 1].astype(np.float64)


def first_bits(fmt):
    """FP32 bits at which each magnitude code begins: an encoder by definition, without arithmetic on the
    input.

    The halfway point between two values belongs to the even code; FP32 bits of one sign are ordered as the
    values.
    """
    starts = [0]
    for code, (low, high) in enumerate(pairwise(magnitudes(fmt))):
        middle = np.float32((low + high) / 2)
        assert float(middle) == (low + high) / 2
        starts.append(int(middle.view(np.int32)) + (code % 2 == 0))
    return np.array([*starts, INFINITY + 1], np.int64)


def expected_codes(fmt, start, stop):
    """Magnitude codes of the FP32 bit patterns ``start`` to ``stop - 1``."""
    edges = np.clip(first_bits(fmt), start, stop)
    return np.repeat(np.arange(fmt.max_code + 1, dtype=np.uint8), np.diff(edges))


def with_sign(fmt, codes):
    return (-codes.astype(np.int16)).astype(np.uint8) if isinstance(fmt, FixedPoint) else codes | 1 << fmt.width - 1


@njit
def vector_codes(x, cast, codes, values):
    for i in range(x.size):
        codes[i] = nearest_code(x[i], cast)
        values[i] = nearest_magnitude(x[i], cast)


def samples(fmt, seed=0):
    """FP32 around every value and halfway point of the format, and random bits."""
    bits = np.concatenate([np.linspace(f - 3, f + 3, 7) for f in first_bits(fmt)[1:-1]]).astype(np.int32)
    random = np.random.default_rng(seed).integers(0, INFINITY, 200_000).astype(np.int32)
    x = np.concatenate([bits, random]).view(np.float32)
    return np.concatenate([x, -x])


# Written out from the contract, not computed: what each magnitude code stands for.
MAGNITUDES = {
    "e2m1": [0, 0.5, 1, 1.5, 2, 3, 4, 6],
    "e1m2": [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5],
    "e1m2_integers": [0, 1, 2, 3, 4, 5, 6, 7],
    "e2m2": [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7],
    "int8": [n / 64 for n in range(128)],
}


@pytest.mark.parametrize("fmt", [f for f in ELEMENTS if f.name in MAGNITUDES], ids=by_name)
def test_values_are_those_of_the_contract(fmt):
    expected = np.float32(MAGNITUDES[fmt.name])
    mirrored = np.float32([-2, *(n / 64 for n in range(-127, 0))]) if fmt is INT8 else -expected
    np.testing.assert_array_equal(fmt.values.view(np.int32), np.concatenate([expected, mirrored]).view(np.int32))


@pytest.mark.parametrize("fmt", [*ELEMENTS, UE4M3, FORMATS["fp16"], FORMATS["bf16"]], ids=by_name)
def test_every_finite_code_encodes_back_from_its_value(fmt):
    codes = np.arange(1 << fmt.width, dtype=np.uint16 if fmt.width > 8 else np.uint8)
    finite = codes[np.isfinite(fmt.values)]
    if isinstance(fmt, FixedPoint):
        finite = finite[finite != 0x80]
    np.testing.assert_array_equal(encode(decode(finite, fmt), fmt), finite)


@pytest.mark.parametrize("fmt", ELEMENTS, ids=by_name)
def test_vector_cast_is_the_integer_cast(fmt):
    x = samples(fmt)
    codes, values = np.empty(x.size, np.uint8), np.empty(x.size, np.float32)
    vector_codes(x, cast_constants(fmt), codes, values)
    signed = np.where(np.signbit(x), with_sign(fmt, codes), codes)
    if isinstance(fmt, FixedPoint):
        signed = np.where(codes == 0, 0, signed)
    np.testing.assert_array_equal(signed, encode(x, fmt))
    np.testing.assert_array_equal(values, magnitudes(fmt)[codes].astype(np.float32))


def test_the_least_scales_round_like_all_others():
    """Up from one and a half, also where FP32 has subnormal numbers: OCP MX 1.0 gives E8M0 no subnormal values."""
    x = np.array([1, 1.25, 1.4999, 1.5, 1.75, 2, 2.5, 3, 4], np.float32)
    for exponent in (-127, -126, -100, 0):
        low = np.float32(2.0**exponent)
        np.testing.assert_array_equal(encode(x * low, E8M0), exponent + 127 + np.array([0, 0, 0, 1, 1, 1, 1, 2, 2]))


@pytest.mark.parametrize("fmt", ML_DTYPES, ids=by_name)
def test_codes_are_those_of_ml_dtypes(fmt):
    x = samples(fmt) if fmt is not E8M0 else np.abs(samples(E5M2))
    limit = np.float32(fmt.max_finite)
    # Between E8M0's two least values, which FP32 has as subnormal numbers, versions of ml_dtypes differ.
    x = np.clip(x, -limit, limit) if fmt.signed else np.clip(x, np.float32(2.0**-126), limit)
    with np.errstate(under="ignore"):
        theirs = x.astype(ML_DTYPES[fmt]).view(np.uint8)
    np.testing.assert_array_equal(encode(x, fmt), theirs)


@kernel
def count_wrong(start, stop, cast, starts, wrong):
    for code in range(start, stop):
        for bits in range(starts[code], starts[code + 1]):
            wrong[code] += nearest_code(np.int32(bits).view(np.float32), cast) != code


def vector_mismatches(cast, fmt):
    wrong = np.zeros(fmt.max_code + 1, np.int64)
    spread(count_wrong, wrong.size, 1 << 31, cast, first_bits(fmt), wrong)
    return int(wrong.sum())


@pytest.mark.slow
@pytest.mark.parametrize("fmt", ELEMENTS, ids=by_name)
def test_every_fp32_input_encodes_by_definition(fmt):
    for start in range(0, INFINITY + 1, CHUNK):
        stop = min(start + CHUNK, INFINITY + 1)
        expected = expected_codes(fmt, start, stop)
        bits = np.arange(start, stop, dtype=np.uint32)
        np.testing.assert_array_equal(encode(bits.view(np.float32), fmt), expected)
        negative = encode((bits | 0x80000000).view(np.float32), fmt)
        np.testing.assert_array_equal(negative, with_sign(fmt, expected))
    assert vector_mismatches(cast_constants(fmt), fmt) == 0


@pytest.mark.slow
@pytest.mark.parametrize("fmt", ELEMENTS, ids=by_name)
def test_every_fp32_nan_is_refused_or_encodes_as_nan(fmt):
    for start in range(INFINITY + 1, 1 << 31, CHUNK):
        x = np.arange(start, min(start + CHUNK, 1 << 31), dtype=np.uint32)
        for bits in (x, x | 0x80000000):
            if isinstance(fmt, FixedPoint) or fmt.nan.value == "none":
                with pytest.raises(ValueError, match=f"{fmt.name} has no NaN"):
                    encode(bits.view(np.float32), fmt)
            else:
                assert np.isnan(decode(encode(bits.view(np.float32), fmt), fmt)).all()


def test_the_definition_notices_a_wrong_cast():
    emin, fraction_width, largest = cast_constants(E2M1)
    assert vector_mismatches((emin, fraction_width, largest - (1 << 22)), E2M1) > 0
    assert vector_mismatches((emin + (1 << 23), fraction_width, largest), E2M1) > 0


def test_int8_encodes_the_symmetric_range():
    np.testing.assert_array_equal(encode(np.float32([-3, -2, 1.99, 3]), INT8), [0x81, 0x81, 0x7F, 0x7F])
