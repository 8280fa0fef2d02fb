"""What engines give: the golden rules block by block, and a NaN scale for what is not finite."""

import numpy as np
import pytest

from hwsim import golden
from hwsim.golden.engines import quantize_bits, quantize_macro_bits, to_bf16


def bf16(values):
    return (np.asarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


@pytest.mark.parametrize(
    ("system", "size", "options"),
    [
        ("mxfp4", 32, {"scale_rule": "even"}),
        ("mxfp4_oas", 16, {}),
        ("m2xfp_elem_em", 32, {}),
        ("nvfp4", 16, {"amax": 8.0}),
    ],
)
def test_finite_blocks_are_those_of_quantize(system, size, options):
    rng = np.random.default_rng(1)
    bits = bf16(rng.standard_normal((200, size)) * np.exp2(rng.integers(-20, 3, (200, 1))))
    found = quantize_bits(bits, system, **options)
    values = np.ascontiguousarray(bits.astype(np.uint32) << 16).view(np.float32)
    t = golden.quantize(values, system, **options)
    assert np.array_equal(found.codes, t.codes.reshape(200, size))
    assert np.array_equal(found.scales, np.asarray(t.scales).reshape(-1))
    assert (found.metadata is None) == (t.metadata is None)
    wide = quantize_bits(bits.astype(np.uint32) << 16, system, **options)
    assert all(np.array_equal(a, b) for a, b in zip(found[:2], wide[:2], strict=True))


@pytest.mark.parametrize(("system", "nan"), [("mxfp4", 255), ("m2xfp_elem_em", 255), ("nvfp4", 0x7F)])
def test_what_is_not_finite_makes_the_scale_nan_and_all_else_0(system, nan):
    size = 16 if system == "nvfp4" else 32
    values = np.full((4, size), -3, np.float32)
    values[0, 3], values[1, 5], values[2, 7] = np.inf, -np.inf, np.nan
    found = quantize_bits(bf16(values), system)
    assert (found.scales[:3] == nan).all() and found.scales[3] != nan
    assert not found.codes[:3].any() and found.codes[3].all()
    assert found.metadata is None or not found.metadata[:3].any()


def test_subnormal_values_are_zeros_of_their_sign_if_asked_for():
    bits = np.zeros((2, 32), np.uint16)
    bits[0, 0], bits[0, 1] = 0x807F, 0x0080  # the largest subnormal, negative, beside the smallest normal number
    bits[1, 0] = 0x807F
    exact, flushed = (quantize_bits(bits, "mxfp4", subnormals=s) for s in (True, False))
    assert exact.codes[0, 0] & 7 and exact.codes[1, 0] & 7
    assert flushed.codes[0, 0] == 8 and flushed.codes[0, 1] == exact.codes[0, 1]
    assert not flushed.codes[1].any()


def test_other_arrays_are_refused():
    with pytest.raises(
        ValueError, match=r"bits must be uint16 or uint32 \[blocks, block size\], got float32 \[2, 32\]"
    ):
        quantize_bits(np.zeros((2, 32), np.float32), "mxfp4")


def test_blocks_of_a_macro_block_are_those_of_quantize():
    rng = np.random.default_rng(3)
    macro = bf16(rng.standard_normal((300, 128)) * np.exp2(rng.integers(-90, 90, (300, 1))))
    macro[0, :20] = 0x8000
    values = np.ascontiguousarray(macro.astype(np.uint32) << 16).view(np.float32)
    t = golden.quantize(values, "mxfp4_mbs_static")
    amax = (macro & 0x7FFF).max(axis=1).repeat(8)
    found = quantize_macro_bits(macro.reshape(-1, 16), amax)
    assert np.array_equal(found.codes.reshape(macro.shape), t.codes)
    assert np.array_equal(found.scales.reshape(-1, 8), t.scales)
    assert np.array_equal(found.factors.reshape(-1, 8), np.repeat(t.factors, 8, axis=1))


def test_the_largest_macro_blocks_are_twice_those_of_half_the_values():
    rng = np.random.default_rng(4)
    block = bf16(rng.standard_normal((100, 16)))
    half = (block & 0x807F) | (rng.integers(247, 254, block.shape).astype(np.uint16) << 7)
    low, high = (
        quantize_macro_bits(x, (x & 0x7FFF).max(axis=1)) for x in (half, (half + np.uint16(0x80)).astype(np.uint16))
    )
    assert np.array_equal(low.codes, high.codes) and np.array_equal(low.factors, high.factors)
    assert np.array_equal(low.scales + 1, high.scales)


def test_a_special_macro_block_has_nan_scales():
    block = bf16(np.ones((3, 16)))
    block[1, 2] = 0x7FC0
    found = quantize_macro_bits(block, np.array([0x7F80, 0x3F80, 0x3F80], np.uint16))
    assert found.scales.tolist()[:2] == [255, 255] and found.scales[2] != 255
    assert not found.codes[:2].any() and not found.factors[:2].any()


def test_a_macro_block_is_not_smaller_than_its_blocks():
    with pytest.raises(ValueError, match="amax must be at least the largest magnitude of its block, .* block 1"):
        quantize_macro_bits(bf16([[1] * 16, [3] * 16]), bf16([1, 2]))
    with pytest.raises(ValueError, match=r"amax must be uint16 \[2\], one for each block, got uint16 \[1\]"):
        quantize_macro_bits(bf16(np.ones((2, 16))), bf16([1]))


def test_rounding_to_bf16_is_that_of_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 1 << 32, 1 << 18, np.uint32)
    ties = (bits & 0xFFFF0000) | rng.choice(np.array([0x7FFF, 0x8000, 0x8001], np.uint32), bits.shape)
    special = np.array([0x7F800000, 0xFF800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800001, 0xFFC12345, 0x80000001], np.uint32)
    every = np.concatenate([bits, ties, special])
    with np.errstate(invalid="ignore"):
        wanted = every.view(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(to_bf16(every), wanted)
