"""``golden.mma`` on quantised matrices."""

import dataclasses
from fractions import Fraction

import mma_model
import numpy as np
import pytest

from hwsim import golden
from hwsim.golden.accumulate import BLOCK, EXACT, HOPPER_FP16
from hwsim.golden.formats import FP16, encode
from hwsim.golden.micromix import assign_channels
from hwsim.golden.mma import PAIRS, mma, mma_elements

M, N, K = 5, 4, 256
#: MBS rounds more often: test_mma_pairs.py.
ROUNDED_ONCE = [pair for pair in PAIRS if not any("mbs" in name for name in pair)]


def tensors(seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((rows, K)) * 3).astype(np.float32) for rows in (M, N)]


def exact_product(a, b, c):
    """FP32 bits of ``c + a @ b.T``, rounded once."""
    result = np.empty(c.shape, np.uint32)
    for m, n in np.ndindex(*c.shape):
        total = sum(
            (Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a[m], b[n], strict=True)),
            Fraction(float(c[m, n])),
        )
        result[m, n] = mma_model.round_value(total, 23, nearest=True)
    return result


def pair(a, b):
    """Tensors of two systems with one block size."""
    options = {"block_size": 16} if "mxfp4_oas" in (a, b) else {}
    return [golden.quantize(x, name, **options) for x, name in zip(tensors(), (a, b), strict=True)]


def unscaled(t):
    """Values of ``t`` without its tensor scale."""
    return golden.dequantize(dataclasses.replace(t, tensor_scale=None, tensor_amax=None))


@pytest.mark.parametrize(("a", "b"), ROUNDED_ONCE)
def test_exact_is_the_product_of_the_dequantised_matrices(a, b):
    x, y = pair(a, b)
    c = np.random.default_rng(1).standard_normal((M, N)).astype(np.float32)
    d = mma(x, y, c, EXACT)
    np.testing.assert_array_equal(d.view(np.uint32), exact_product(unscaled(x), unscaled(y), c))


@pytest.mark.parametrize(("a", "b"), ROUNDED_ONCE)
def test_the_default_accumulator_is_close_to_exact(a, b):
    x, y = pair(a, b)
    exact = mma(x, y, accumulator=EXACT)
    np.testing.assert_allclose(mma(x, y), exact, rtol=1e-5, atol=1e-6 * abs(exact).max())


def test_tensor_scales_multiply_afterwards():
    x, y = tensors()
    a, b = golden.quantize(x, "nvfp4"), golden.quantize(y, "nvfp4")
    d = mma(a, b, accumulator=EXACT) * (a.tensor_scale * b.tensor_scale)
    expected = golden.dequantize(a).astype(np.float64) @ golden.dequantize(b).astype(np.float64).T
    np.testing.assert_allclose(d, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("polarity", [0, 1])
def test_operands_may_differ_in_polarity(polarity):
    x, y = tensors()
    a, b = golden.quantize(x, "mixfp4", polarity=polarity), golden.quantize(y, "mixfp4", polarity=1)
    assert len(np.unique(a.scales >> 7)) == len(np.unique(b.scales >> 7)) == 2
    c = np.zeros((M, N), np.float32)
    np.testing.assert_array_equal(mma(a, b, c, EXACT).view(np.uint32), exact_product(unscaled(a), unscaled(b), c))


@pytest.mark.parametrize("fraction_bits", [None, *range(1, 41)])
def test_an_nvfp4_tensor_is_a_mixfp4_tensor(fraction_bits):
    a, b = (golden.quantize(x, "nvfp4") for x in tensors())
    mixed = [dataclasses.replace(t, format="mixfp4") for t in (a, b)]
    step = EXACT if fraction_bits is None else golden.Accumulator(4, fraction_bits)
    np.testing.assert_array_equal(
        mma(*mixed, accumulator=step).view(np.uint32), mma(a, b, accumulator=step).view(np.uint32)
    )


@pytest.mark.parametrize("format", ["nvfp4", "mixfp4", "mxfp4"])
def test_blocks_may_be_larger(format):
    a, b = (golden.quantize(x, format, block_size=32) for x in tensors())
    c = np.zeros((M, N), np.float32)
    np.testing.assert_array_equal(mma(a, b, c, EXACT).view(np.uint32), exact_product(unscaled(a), unscaled(b), c))


def test_micromix_chains_its_segments():
    rng = np.random.default_rng(3)
    x, y = (rng.standard_normal((rows, 512)).astype(np.float32) for rows in (M, N))
    x *= np.exp(rng.normal(0, 3, 512)).astype(np.float32)
    assignment = assign_channels(x)
    assert min(assignment.lengths) > 0
    a, b = (golden.quantize(z, "micromix", assignment=assignment) for z in (x, y))
    values = [golden.dequantize(t)[:, assignment.permutation] for t in (a, b)]
    d, first = np.zeros((M, N), np.float32), 0
    for length in assignment.lengths:
        part = slice(first, first + length)
        d = exact_product(*(v[:, part] for v in values), d).view(np.float32)
        first += length
    np.testing.assert_array_equal(mma(a, b, accumulator=EXACT), d)


def test_micromix_needs_one_assignment():
    rng = np.random.default_rng(0)
    a, b = (golden.quantize(rng.standard_normal((4, 256)).astype(np.float32), "micromix") for _ in range(2))
    with pytest.raises(ValueError, match="one channel assignment"):
        mma(a, b)


def test_padding_adds_nothing_and_is_cut_off():
    x, y = tensors()
    a, b = (golden.quantize(z[:, :200], "nvfp4", pad=True, block_2d=i) for z, i in ((x, False), (y, True)))
    d = mma(a, b, accumulator=EXACT)
    assert d.shape == (M, N)
    expected = exact_product(unscaled(a), unscaled(b), np.zeros((M, N), np.float32))
    np.testing.assert_array_equal(d.view(np.uint32), expected)


def test_a_long_k_is_a_chain_of_instructions():
    a, b = (golden.quantize(x, "nvfp4") for x in tensors())
    d = np.zeros((M, N), np.float32)
    for first in range(0, K, 64):
        parts = [
            dataclasses.replace(
                t,
                shape=(len(t.codes), 64),
                segments=(("e2m1", 64),),
                codes=t.codes[:, first : first + 64],
                scales=t.scales[:, first // 16 : first // 16 + 4],
            )
            for t in (a, b)
        ]
        d = mma(*parts, d, BLOCK)
    np.testing.assert_array_equal(d, mma(a, b, accumulator=BLOCK))


def test_elements_take_c_and_default_to_zero():
    x, y = (encode(z, FP16) for z in tensors())
    zero = np.zeros((M, N), np.float32)
    expected = mma_elements(x, y, zero, "fp16", HOPPER_FP16)
    np.testing.assert_array_equal(mma_elements(x, y, None, "fp16", HOPPER_FP16), expected)
    one = mma_elements(x, y, zero + 1, "fp16", EXACT)
    np.testing.assert_allclose(one, expected + 1, rtol=1e-5, atol=1e-4)


def test_bad_input_is_refused():
    x, y = tensors()
    a, b = golden.quantize(x, "nvfp4"), golden.quantize(y, "nvfp4")
    sg = golden.quantize(y, "m2xfp_sg_em")
    narrow = golden.quantize(y[:, :128], "nvfp4")
    three = golden.quantize(x[None], "nvfp4")
    for arguments, message in [
        ((sg, sg), "no instruction multiplies m2xfp_sg_em by m2xfp_sg_em, expected micromix or one of nvfp4 by"),
        ((a, sg), "no instruction multiplies nvfp4 by m2xfp_sg_em"),
        ((a, narrow), r"a must be \[M, K\] and b \[N, K\], got shapes \(5, 256\) and \(4, 128\)"),
        ((three, b), r"got shapes \(1, 5, 256\) and \(4, 256\)"),
        ((a, b, np.zeros((M, N))), r"c must be float32 \(5, 4\), got float64 \(5, 4\)"),
        ((a, b, np.zeros((N, M), np.float32)), r"c must be float32 \(5, 4\), got float32 \(4, 5\)"),
        ((a, golden.quantize(y, "nvfp4", block_size=32)), "one block size, got 16 and 32"),
    ]:
        with pytest.raises(ValueError, match=message):
            mma(*arguments)
    bits = encode(x, FP16)
    for arguments, message in [
        ((bits, bits, None, "nvfp4"), "format must be one of 'fp16', 'bf16', 'e4m3', 'e5m2', got 'nvfp4'"),
        ((bits[0], bits, None, "fp16"), r"got shapes \(256,\) and \(5, 256\)"),
        ((bits, bits, np.zeros((M, M)), "fp16"), r"c must be float32 \(5, 5\), got float64"),
        ((bits, bits, np.zeros((M, N), np.float32), "fp16"), r"c must be float32 \(5, 5\), got float32 \(5, 4\)"),
        ((x, bits, None, "fp16"), "codes must be unsigned integers, got float32"),
        ((bits, bits, None, "e4m3"), "e4m3 has 8 bits, got"),
    ]:
        with pytest.raises(ValueError, match=message):
            mma_elements(*arguments)
    for arguments, message in [
        ((x, b), "a must be a BlockTensor, as golden.quantize gives it, got ndarray"),
        ((a, b, None, "BLOCK"), "accumulator must be a golden.Accumulator, got str"),
    ]:
        with pytest.raises(TypeError, match=message):
            mma(*arguments)
