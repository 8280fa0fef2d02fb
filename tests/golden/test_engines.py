"""What engines give: the golden rules block by block, and a NaN scale for what is not finite."""

import numpy as np
import pytest

from hwsim import golden
from hwsim.golden.engines import quantize_bits


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
