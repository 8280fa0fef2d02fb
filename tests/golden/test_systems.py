"""What is particular to each system, against definitions written out here in plain Python."""

import math
import re
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from hwsim import golden
from hwsim.golden import four_over_six, m2xfp, micromix, mixfp4, mx, nvfp4
from hwsim.golden.formats import E2M1, E2M2, E2M3, E4M3, E8M0, FORMATS, UE4M3, decode

ELEMENT = {"mxfp4": "e2m1", "mxfp6_e3m2": "e3m2", "mxfp8_e4m3": "e4m3", "mxint8": "int8"}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def floor_log2(v: Fraction) -> int:
    e = v.numerator.bit_length() - v.denominator.bit_length()
    return e if Fraction(2) ** e <= v else e - 1


def ceil_log2(v: Fraction) -> int:
    e = floor_log2(v)
    return e if Fraction(2) ** e == v else e + 1


def exponent(rule, bmax, fmt):
    """Shared exponent in exact arithmetic; only rceil's division is FP32, as the rule says."""
    v = Fraction(float(bmax))
    if rule == "floor":
        e = floor_log2(v) - fmt.max_exponent
    elif rule == "ceil":
        e = ceil_log2(v) - fmt.max_exponent
    elif rule == "even":
        fraction_width = 6 if fmt.name == "int8" else fmt.fraction_width
        e = floor_log2(v + Fraction(2) ** (floor_log2(v) - fraction_width - 1)) - fmt.max_exponent
    else:
        quotient = Fraction(float(np.float32(bmax) / np.float32(fmt.max_finite)))
        e = ceil_log2(quotient) if quotient else -127
    return min(max(e, -127), 127)


@pytest.mark.parametrize("rule", ["floor", "ceil", "even", "rceil"])
@pytest.mark.parametrize("name", ELEMENT)
def test_mx_scale_rules(name, rule):
    significands = np.float32([1, 1 + 2**-23, 1.25, 1.5, 1.75, 1.75 + 2**-22, 1.875, 1.96875, 2 - 2**-23])
    powers = np.float32(2) ** np.array([-126, -125, -20, -1, 0, 1, 2, 9, 100], np.float32)
    maxima = np.concatenate([np.outer(significands, powers).reshape(-1), np.float32([1.4e-45, 1e-40, 5.9e-39])])
    x = np.zeros((maxima.size, 32), np.float32)
    x[:, 3] = -maxima
    fmt = FORMATS[ELEMENT[name]]
    expected = [exponent(rule, m, fmt) + 127 for m in maxima]
    np.testing.assert_array_equal(golden.quantize(x, name, scale_rule=rule).scales[:, 0], expected)


def test_oas_scales_put_the_maximum_in_its_interval():
    maxima = np.float32([1, 1.5, 1.75, np.nextafter(np.float32(1.75), np.float32(2)), 1.99, 2, 3.5, 3.6, 7, 7.1])
    x = np.zeros((maxima.size, 16), np.float32)
    x[:, 0] = maxima
    scaled = maxima / decode(golden.quantize(x, "mxfp4_oas").scales[:, 0], E8M0)
    assert np.all((scaled > 3.5) & (scaled <= 7))
    assert golden.quantize(np.zeros((1, 16), np.float32), "mxfp4_oas").scales[0, 0] == 127


def test_mbs_static_factor_is_cut_to_eight_bits():
    x = np.zeros((2, 128), np.float32)
    x[0, 5] = 5.0
    t = golden.quantize(x, "mxfp4_mbs_static")
    np.testing.assert_array_equal(t.factors[:, 0], [math.floor((6 / 5 - 1) * 256), 0])


def test_mbs_dynamic_never_errs_more_than_oas():
    x = normal(64, 256)
    dynamic, plain = (golden.error(x, golden.quantize(x, n)) for n in ("mxfp4_mbs_dynamic", "mxfp4_oas"))
    macro = [e.blocks.noise.reshape(64, 2, 8).sum(-1) for e in (dynamic, plain)]
    assert np.all(macro[0] <= macro[1] * (1 + 1e-6))


def test_nvfp4_scale_rounding_up_keeps_every_element_from_saturating():
    x = normal(64, 256)
    nearest, up = golden.quantize(x, "nvfp4"), golden.quantize(x, "nvfp4", scale_rounding="up")
    assert set(np.unique(up.scales.astype(int) - nearest.scales)) == {0, 1}
    room = decode(up.scales, UE4M3) * 6 * up.tensor_scale
    assert np.all(np.abs(x).reshape(64, 16, 16).max(-1) <= room * (1 + 1e-6))


@pytest.mark.parametrize("name", ["nvfp4", "four_over_six"])
def test_2d_blocks_do_not_care_for_transposition(name):
    x = normal(32, 64)
    t = golden.quantize(x, name, block_2d=True)
    np.testing.assert_array_equal(t.scales[:16], np.repeat(t.scales[:1], 16, axis=0))
    if name == "nvfp4":
        y = golden.dequantize(golden.quantize(np.ascontiguousarray(x.T), name, block_2d=True))
        np.testing.assert_array_equal(golden.dequantize(t), y.T)
    single = golden.quantize(np.ascontiguousarray(x[:1].repeat(16, axis=0)), name, block_2d=True)
    np.testing.assert_array_equal(single.codes[:1], golden.quantize(x[:1], name).codes)


@pytest.mark.parametrize("name", ["nvfp4", "mxfp4", "mxint8"])
def test_stochastic_rounding(name):
    x = np.repeat(normal(1, 64), 4096, axis=0)
    nearest = golden.quantize(x, name)
    t = golden.quantize(x, name, stochastic_seed=1)
    assert t == golden.quantize(x, name, stochastic_seed=1)
    assert t != golden.quantize(x, name, stochastic_seed=2)
    np.testing.assert_array_equal(t.scales, nearest.scales)
    y, step = golden.dequantize(t), np.abs(golden.dequantize(nearest)).max()
    for column in range(64):
        drawn = np.unique(y[:, column])
        assert drawn.size <= 2
        inside = np.abs(x[0, column]) <= step
        if inside and drawn.size == 2:
            assert drawn[0] <= x[0, column] <= drawn[1]
            deviation = (y[:, column].mean() - x[0, column]) / (np.diff(drawn)[0] / 2 / math.sqrt(4096))
            assert abs(deviation) < 5


def test_a_given_maximum_fixes_the_tensor_scale():
    x = normal(32, 64)
    halves = [golden.quantize(part, "mixfp4", amax=float(np.abs(x).max())) for part in (x[:16], x[16:])]
    whole = golden.quantize(x, "mixfp4")
    np.testing.assert_array_equal(np.concatenate([h.codes for h in halves]), whole.codes)
    np.testing.assert_array_equal(np.concatenate([h.scales for h in halves]), whole.scales)


@pytest.mark.parametrize("name", ["nvfp4", "mixfp4", "mxfp4", "mxfp4_oas"])
def test_larger_blocks_are_blocks_of_their_maximum(name):
    x = normal(8, 128)
    x[:, 16:] *= np.float32(0.01)
    x[:, 0] = 3
    t = golden.quantize(x, name, block_size=64)
    assert t.block_size == 64
    assert t.bits_per_element == 4 + 8 / 64
    if name == "nvfp4":
        np.testing.assert_array_equal(t.scales[:, 0], golden.quantize(x, name).scales[:, 0])


def test_elem_em_decodes_by_decrement_for_every_code_and_metadata():
    for code in range(16):
        for meta in range(4):
            t = golden.quantize(np.full((1, 32), 6, np.float32), "m2xfp_elem_em")
            t.codes[:] = 0
            t.codes[0, 8] = code
            t.metadata[0, :] = 1
            t.metadata[0, 1] = meta
            magnitude = float(E2M3.values[max(4 * (code & 7) + meta - 1, 0)])
            assert golden.dequantize(t)[0, 8] == (-magnitude if code & 8 else magnitude)


def test_elem_em_refines_the_largest_and_of_equals_the_lowest():
    x = np.zeros((1, 32), np.float32)
    x[0, :4] = [1.1, -4.4, 4.4, 3]
    t = golden.quantize(x, "m2xfp_elem_em")
    np.testing.assert_array_equal(golden.dequantize(t)[0, :4], [1, -4.5, 4, 3])
    assert golden.dequantize(t).max() == 4
    assert golden.SYSTEMS["m2xfp_elem_em"].choices(t)["metadata 2"] == 0.25


def test_elem_em_never_errs_more_than_mxfp4():
    x = normal(64, 256)
    fine, coarse = (golden.error(x, golden.quantize(x, n)).blocks.noise for n in ("m2xfp_elem_em", "mxfp4"))
    assert np.all(fine <= coarse)


def test_sg_em_multipliers_are_quarters():
    x = np.zeros((1, 32), np.float32)
    x[0, ::8] = 6 * np.float32([1, 1.25, 1.5, 1.75])
    t = golden.quantize(x, "m2xfp_sg_em")
    np.testing.assert_array_equal(golden.dequantize(t), x)
    assert m2xfp.choices(t) == {f"metadata {k}": 0.25 for k in range(4)}


@pytest.mark.parametrize("power", [-20, 60, 90, 123])
def test_sg_em_chooses_alike_at_every_magnitude(power):
    # Squares of elements above 2**64 overflow FP32.
    x = normal(64, 256)
    plain, moved = (golden.quantize(v, "m2xfp_sg_em") for v in (x, x * np.float32(2.0**power)))
    np.testing.assert_array_equal(moved.codes, plain.codes)
    np.testing.assert_array_equal(moved.metadata, plain.metadata)
    np.testing.assert_array_equal(moved.scales.astype(int), plain.scales.astype(int) + power)
    assert moved.metadata.max() <= 3


@pytest.mark.parametrize("name", golden.SYSTEMS)
def test_nothing_depends_on_what_memory_held(name):
    x = normal(16, 256, seed=4) * np.float32(1e25)
    found = []
    for dirt in (0x00, 0xFF):
        # The allocator hands out again what was just freed.
        for size in (x.size, x.size // 8, x.size // 16, x.size // 32, x.size // 128, 4, 16, 128, 512):
            for _ in range(4):
                np.full(size, dirt, np.uint8)
        found.append(golden.quantize(x, name))
    assert found[0] == found[1]
    assert golden.error(x, found[0]).sqnr > 15


def test_micromix_assigns_channels_by_share_and_mean():
    x = np.full((4, 512), 0.01, np.float32)
    x[:, 7] = 100  # FP8: the row maximum itself
    x[:, 9] = 20  # FP6: between T4 = 7.29 and T6 = 25
    a = micromix.assign_channels(x)
    assert a.lengths == (256, 128, 128)
    assert a.permutation[-2:].tolist() == [9, 7]
    assert a.permutation[0] == 0
    assert micromix.assign_channels(x, multiplier=4.0).lengths == (384, 128, 0)
    with pytest.raises(ValueError, match="K must be a multiple of 32, got 40"):
        micromix.assign_channels(np.ones((2, 40), np.float32))


def test_micromix_segments_are_mx_with_rceil():
    x = normal(8, 512)
    x[:, ::5] *= 30
    a = micromix.assign_channels(x)
    t = golden.quantize(x, "micromix", assignment=a)
    y = golden.dequantize(t)
    first = 0
    for (element, length), name in zip(t.segments, ("mxfp4", "mxfp6_e3m2", "mxfp8_e4m3"), strict=True):
        channels = a.permutation[first : first + length]
        if length:
            same = golden.quantize(np.ascontiguousarray(x[:, channels]), name, scale_rule="rceil")
            np.testing.assert_array_equal(t.codes[:, first : first + length], same.codes)
            np.testing.assert_array_equal(y[:, channels], golden.dequantize(same))
        assert element == {"mxfp4": "e2m1", "mxfp6_e3m2": "e3m2", "mxfp8_e4m3": "e4m3"}[name]
        first += length
    w = golden.quantize(normal(3, 512, seed=1), "micromix", assignment=a)
    np.testing.assert_array_equal(w.permutation, t.permutation)
    with pytest.raises(ValueError, match="assignment is for K = 512, got K = 64"):
        golden.quantize(normal(2, 64), "micromix", assignment=a)
    with pytest.raises(ValueError, match=r"lengths must be 3 multiples of 32 that add up to 512, got \(512, 0, 32\)"):
        micromix.Assignment(a.permutation, (512, 0, 32))
    with pytest.raises(ValueError, match="permutation must hold every channel 0 to 511 once"):
        micromix.Assignment(np.zeros(512, np.int32), (512, 0, 0))


@pytest.mark.parametrize(
    ("activations", "multiplier", "message"),
    [
        (np.full((2, 2, 32), np.nan, np.float32), 1.0, "activations must be finite, got nan at index (0, 0, 0)"),
        (np.float32([[1] * 32, [1] * 31 + [-np.inf]]), 1.0, "activations must be finite, got -inf at index (1, 31)"),
        (np.ones((2, 32), np.int8), 1.0, "activations must be float32, float16 or bfloat16, got int8"),
        ([[1.0] * 32], 1.0, "activations[0] must be float32, float16 or bfloat16, got float64"),
        ([np.ones(32, np.float32)], 1.0, "activations[0] must be [tokens, K], got shape (32,)"),
        ([np.ones((1, n), np.float32) for n in (32, 64)], 1.0, "samples must have one K, got 32 and 64"),
        ([], 1.0, "activations must have elements, got none"),
        (np.ones((2, 32), np.float32), math.nan, "multiplier must be finite and not negative, got nan"),
        (np.ones((2, 32), np.float32), -1, "multiplier must be finite and not negative, got -1"),
        (np.ones((2, 32), np.float32), "2", "multiplier must be finite and not negative, got '2'"),
        (np.ones(32, np.float32), 1.0, "activations must be [tokens, K] or [samples, tokens, K], got shape (32,)"),
    ],
)
def test_micromix_calibration_refuses(activations, multiplier, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        micromix.assign_channels(activations, multiplier)


def test_micromix_calibration_on_samples_of_any_length():
    x = normal(3, 4, 512, seed=5)
    x[1, :, 7] *= 40
    whole, one_by_one = golden.assign_channels(x), golden.assign_channels(sample for sample in x)
    assert np.array_equal(whole.permutation, one_by_one.permutation) and whole.lengths == one_by_one.lengths
    ragged = golden.assign_channels([x[0], x[1][:2]])
    means = np.maximum(np.abs(x[0]).mean(axis=0, dtype=float), np.abs(x[1][:2]).mean(axis=0, dtype=float))
    assert np.array_equal(ragged.permutation, np.argsort(means, kind="stable"))


def test_micromix_granule():
    x = normal(64, 576, seed=6)
    x[:, 5] *= 100
    coarse, fine = golden.assign_channels(x), golden.assign_channels(x, granule=32)
    assert all(n % 128 == 0 for n in coarse.lengths[1:]) and all(n % 32 == 0 for n in fine.lengths)
    assert fine.lengths[0] > coarse.lengths[0] and sum(fine.lengths) == 576
    with pytest.raises(ValueError, match="granule must be a positive multiple of 32, got 48"):
        golden.assign_channels(x, granule=48)


@pytest.mark.parametrize("permutation", [np.arange(32.0), np.arange(32), list(range(32)), np.zeros((1, 32), np.int32)])
def test_micromix_permutations_are_int32(permutation):
    with pytest.raises(ValueError, match=r"permutation must be an int32 array \[K\], got "):
        micromix.Assignment(permutation, (32, 0, 0))


def test_micromix_takes_no_other_assignment():
    with pytest.raises(ValueError, match="assignment must be an Assignment, got tuple"):
        golden.quantize(normal(2, 32), "micromix", assignment=(32, 0, 0))


def test_micromix_calibration_allocates_no_copy_of_its_input(monkeypatch):
    x = normal(1, 4096, 512)
    x[..., ::7] *= 30
    small = micromix.assign_channels(x)
    tracemalloc.start()
    micromix.assign_channels(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 2 + 4 * 4 * micromix._PIECE
    monkeypatch.setattr(micromix, "_PIECE", 1 << 30)
    whole = micromix.assign_channels(x[0])
    np.testing.assert_array_equal(small.permutation, whole.permutation)
    assert small.lengths == whole.lengths


def test_micromix_orders_channels_by_the_largest_mean_of_a_sample():
    x = np.full((2, 4, 32), 1, np.float32)
    x[0, :, 3], x[1, :, 3] = 9, 0
    x[:, :, 5] = 5
    assert micromix.assign_channels(x).permutation[-2:].tolist() == [5, 3]
    assert micromix.assign_channels(x.reshape(8, 32)).permutation[-2:].tolist() == [3, 5]


def test_choices_of_zero_blocks_are_none():
    x = np.zeros((2, 32), np.float32)
    x[0, :16] = np.linspace(-7, 7, 16)  # Uniform values are for E1M2.
    for polarity in (0, 1):
        t = golden.quantize(x, "mixfp4", polarity=polarity)
        assert mixfp4.choices(t) == {"E1M2": 0.25}
        assert mixfp4.choices(golden.quantize(np.zeros_like(x), "mixfp4", polarity=polarity)) == {"E1M2": 0}
    assert four_over_six.choices(golden.quantize(np.zeros_like(x), "four_over_six")) == {"4": 0}
    x[0, :16] = [4, 3, 2, 1] * 4
    assert four_over_six.choices(golden.quantize(x, "four_over_six")) == {"4": 0.25}


def test_micromix_double_rounding_is_an_option():
    x = np.zeros((1, 32), np.float32)
    x[0, 0], x[0, 1] = 6, np.float32(1.25) + np.float32(2.0**-12)
    a = micromix.Assignment(np.arange(32, dtype=np.int32), (32, 0, 0))
    once, twice = (golden.quantize(x, "micromix", assignment=a, via_bf16=b) for b in (False, True))
    assert golden.dequantize(once)[0, 1] == 1.5
    assert golden.dequantize(twice)[0, 1] == 1.0


def every_operand():
    codes = np.tile(np.arange(16, dtype=np.uint8), (256, 1))
    return codes, np.arange(256, dtype=np.uint8)


def test_nvfp4_operands():
    codes, scales = every_operand()
    operands, scale, nan = nvfp4.decode_operands(codes, scales)
    np.testing.assert_array_equal(operands, np.where(codes == 8, 0, codes))
    np.testing.assert_array_equal(scale, scales & 0x7F)
    np.testing.assert_array_equal(nan, (scales & 0x7F) == 0x7F)


def test_mxfp4_operands():
    codes, scales = every_operand()
    operands, scale, nan = mx.decode_operands(codes, scales)
    np.testing.assert_array_equal(operands, np.where(codes == 8, 0, codes))
    np.testing.assert_array_equal(scale, scales)
    np.testing.assert_array_equal(nan, scales == 0xFF)


@pytest.mark.parametrize("polarity", [0, 1])
def test_mixfp4_operands(polarity):
    codes, scales = every_operand()
    operands, scale, nan = mixfp4.decode_operands(codes, scales, polarity)
    e2m1 = (scales >> 7 == polarity)[:, None]
    integers = np.where(codes & 8, -1.0, 1.0) * (codes & 7)
    np.testing.assert_array_equal(decode(operands, E2M2), np.where(e2m1, decode(codes, E2M1), integers))
    assert not (operands == 0x10).any()
    np.testing.assert_array_equal(scale, scales & 0x7F)
    np.testing.assert_array_equal(nan, scale == 0x7F)


@pytest.mark.parametrize("module", [nvfp4, mixfp4, mx])
def test_operand_codes_that_do_not_fit_are_refused(module):
    with pytest.raises(ValueError, match=r"e2m1 has 4 bits, got 16 at index \(1, 2\)"):
        module.decode_operands(np.uint8([[0, 0, 0], [0, 0, 16]]), np.uint8([0, 0]))


def test_a_nan_scale_makes_its_block_nan():
    for name, byte in (
        ("mxfp4", E8M0.nan_code),
        ("nvfp4", UE4M3.nan_code),
        ("mixfp4", 0x80 | UE4M3.nan_code),
    ):
        t = golden.quantize(normal(2, 64), name)
        t.scales[1, 0] = byte
        nan = np.isnan(golden.dequantize(t))
        assert nan[1, : t.block_size].all()
        assert nan.sum() == t.block_size
    assert np.isnan(decode(np.uint8([0x7F]), E4M3)).all()
