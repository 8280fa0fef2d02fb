"""Thresholds beside what quantising gives: exhaustively for BF16, at every step for FP32."""

import numpy as np
import pytest

from hwsim import golden
from hwsim.golden.formats import E2M1, UE4M3, encode
from hwsim.golden.mixfp4 import E1M2_INTEGERS

F32 = np.float32
#: Every finite magnitude of BF16, and their bits.
BITS = np.arange(0x7F80)
BF16 = (BITS << 16).astype(np.int32).view(F32)
#: Tensors: largest magnitude and options of the rule.
RULES = {
    "nvfp4": {},
    "nvfp4, scales up": {"scale_rounding": "up"},
    "four over six, at 6": {"full_scale": 1536.0},
    "four over six, at 4": {"full_scale": 1536.0, "stretch": 1.5},
    "mixfp4, e1m2": {"element": E1M2_INTEGERS},
}


def codes(magnitudes, scale, amax, element=E2M1, full_scale=2688.0, **_):
    """Codes as the contract orders the operations, in FP32."""
    encoded = F32(full_scale) / F32(amax)
    inverse = F32(1) / (F32(1) / encoded * UE4M3.values[scale])
    return encode(magnitudes * inverse, element)


def scale_codes(magnitudes, amax, element=E2M1, full_scale=2688.0, scale_rounding="rne", stretch=1.0, **_):
    scale = magnitudes / F32(element.max_finite) * (F32(full_scale) / F32(amax)) * F32(stretch)
    nearest = encode(scale, UE4M3)
    if scale_rounding == "up":
        nearest = np.minimum(nearest + (UE4M3.values[nearest] < scale), UE4M3.max_code)
    return nearest


@pytest.mark.parametrize("amax", [1.0, 3.140625, 1.9921875 * 2.0**-90, 1.0078125 * 2.0**125])
@pytest.mark.parametrize("rule", RULES)
def test_every_bf16_magnitude_under_every_scale(rule, amax):
    options = RULES[rule]
    found = golden.thresholds(amax, **options)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found.scale_codes(BITS), scale_codes(BF16, amax, **options))
        for scale in range(1, UE4M3.max_code + 1):
            np.testing.assert_array_equal(found.codes(BITS, scale), codes(BF16, scale, amax, **options), str(scale))


@pytest.mark.slow
@pytest.mark.parametrize("full_scale", [2688.0, 1536.0])
@pytest.mark.parametrize("exponent", [-100, 0, 125])
def test_every_significand_of_the_tensor(full_scale, exponent):
    for significand in range(128):
        amax = float((1 + significand / 128) * 2.0**exponent)
        found = golden.thresholds(amax, full_scale=full_scale)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(found.scale_codes(BITS), scale_codes(BF16, amax, full_scale=full_scale))
            for scale in range(1, UE4M3.max_code + 1):
                expected = codes(BF16, scale, amax, full_scale=full_scale)
                np.testing.assert_array_equal(found.codes(BITS, scale), expected)


@pytest.mark.parametrize("amax", [1.0, 2.7182817, 5.1e-30])
def test_fp32_steps_are_where_quantising_has_them(amax):
    found = golden.thresholds(amax, fraction_width=23)
    for scale in range(1, UE4M3.max_code + 1):
        steps = found.of_scale(scale)
        around = (steps[:, None] + np.arange(-2, 3)).reshape(-1)
        values = around.astype(np.int32).view(F32)
        np.testing.assert_array_equal(found.codes(around, scale), codes(values, scale, amax))
    around = (found.scales[:, None] + np.arange(-2, 3)).reshape(-1)
    np.testing.assert_array_equal(found.scale_codes(around), scale_codes(around.astype(np.int32).view(F32), amax))


@pytest.mark.parametrize("fraction_width", [7, 23])
def test_a_tensor_is_quantised_by_its_thresholds(fraction_width):
    x = np.random.default_rng(3).standard_t(3, (64, 256)).astype(F32)
    if fraction_width == 7:
        x = (x.view(np.uint32) & 0xFFFF0000).view(F32)
    t = golden.quantize(x, "nvfp4")
    found = golden.thresholds(float(t.tensor_amax), fraction_width=fraction_width)
    bits = (x.view(np.int32) & 0x7FFFFFFF) >> (23 - fraction_width)
    blocks = bits.reshape(-1, 16)
    scales = found.scale_codes(blocks.max(axis=1))
    np.testing.assert_array_equal(scales, t.scales.reshape(-1))
    for block, scale, expected in zip(blocks, scales, t.codes.reshape(-1, 16) & 7, strict=True):
        np.testing.assert_array_equal(found.codes(block, scale), expected)


def test_codes_of_e2m1_need_four_thresholds():
    """Codes 5 and 7 begin one and two binades above code 3, and code 6 one above code 4."""
    elements = golden.thresholds(1.7).elements
    np.testing.assert_array_equal(elements[:, 4], elements[:, 2] + (1 << 7))
    np.testing.assert_array_equal(elements[:, 6], elements[:, 2] + (2 << 7))
    np.testing.assert_array_equal(elements[:, 5], elements[:, 3] + (1 << 7))


@pytest.mark.parametrize("amax", [0.0, 2.0**-101, 2.0**126, float("nan"), -1.0])
def test_tensors_out_of_the_domain_are_refused(amax):
    with pytest.raises(ValueError, match="amax must be"):
        golden.thresholds(amax)


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="fraction_width must be 7"):
        golden.thresholds(1.0, fraction_width=10)
    with pytest.raises(ValueError, match="scale_rounding must be"):
        golden.thresholds(1.0, scale_rounding="down")
