"""NVFP4 in the layouts of compressed-tensors and ModelOpt, the swizzled order of scales, and torch tensors."""

import sys
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from hwsim import golden
from hwsim.golden.layouts import pack_bits, unpack_bits
from hwsim.golden.tensor import BlockTensor

FP4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def decompressed(arrays):
    """Values of a weight in compressed-tensors' layout, from its documentation alone: FP64, no rounding."""
    packed, scales = arrays["weight_packed"], arrays["weight_scale"].view(ml_dtypes.float8_e4m3fn)
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)
    values = np.array(FP4)[codes & 7] * np.where(codes & 8, -1.0, 1.0)
    return values * np.repeat(scales.astype(np.float64), 16, axis=1) / np.float64(arrays["weight_global_scale"][0])


@pytest.mark.parametrize("name", ["nvfp4", "four_over_six"])
def test_a_weight_for_compressed_tensors_stands_for_the_same_values(name):
    x = normal(32, 64)
    t = golden.quantize(x, name)
    arrays = t.to_compressed_tensors()
    assert {n: (a.dtype.name, a.shape) for n, a in arrays.items()} == {
        "weight_packed": ("uint8", (32, 32)),
        "weight_scale": ("uint8", (32, 4)),
        "weight_global_scale": ("float32", (1,)),
    }
    # Two roundings of the global scale, two of the product: at most 4 halves of 2**-23.
    np.testing.assert_allclose(decompressed(arrays), golden.dequantize(t), rtol=2.0**-22)


def test_the_global_scale_is_the_quotient_that_compressed_tensors_calculates():
    x = normal(8, 64)
    (factor,) = golden.quantize(x, "nvfp4").to_compressed_tensors()["weight_global_scale"]
    assert factor == np.float32(448 * 6) / np.abs(x).max()


def test_the_first_code_of_a_byte_is_its_low_nibble():
    x = np.zeros((1, 16), np.float32)
    x[0, :3] = 6, -3, 0.5
    arrays = golden.quantize(x, "nvfp4", amax=2688.0).to_compressed_tensors()
    assert arrays["weight_packed"][0, :2].tolist() == [0xD7, 0x01]
    assert (arrays["weight_scale"][0, 0], arrays["weight_global_scale"][0]) == (0x38, 1)


@pytest.mark.parametrize("layout", ["compressed_tensors", "modelopt"])
def test_reading_and_writing_again_gives_the_same_bits(layout):
    names = {"compressed_tensors": ("weight_packed", "weight_global_scale"), "modelopt": ("weight", "weight_scale_2")}
    read, write = getattr(BlockTensor, f"from_{layout}"), getattr(BlockTensor, f"to_{layout}")
    random = np.random.default_rng(3)
    packed, scale = names[layout]
    for factor in np.exp(random.uniform(-40, 40, 500)).astype(np.float32):
        arrays = {
            packed: random.integers(0, 256, (2, 16), np.uint8),
            "weight_scale": random.integers(0, 128, (2, 2), np.uint8),
            scale: np.array([factor]) if layout == "compressed_tensors" else np.array(factor),
        }
        again = write(read(arrays | {"input_global_scale": np.ones(1, np.float32)}))
        assert list(again) == list(arrays)
        for name, array in arrays.items():
            assert again[name].dtype == array.dtype
            np.testing.assert_array_equal(again[name], array)


def test_a_tensor_comes_back_with_its_codes_and_scales_and_is_written_alike():
    t = golden.quantize(normal(16, 64, seed=2), "nvfp4")
    arrays = t.to_compressed_tensors()
    back = BlockTensor.from_compressed_tensors(arrays)
    np.testing.assert_array_equal(back.codes, t.codes)
    np.testing.assert_array_equal(back.scales, t.scales)
    assert back.to_compressed_tensors()["weight_global_scale"].tobytes() == arrays["weight_global_scale"].tobytes()
    assert BlockTensor.from_modelopt(t.to_modelopt()).tensor_scale == t.tensor_scale
    assert BlockTensor.unpack(back.pack()) == back


def test_another_tensor_scale_is_not_written_as_the_stored_one():
    t = BlockTensor.from_compressed_tensors(golden.quantize(normal(1, 16), "nvfp4").to_compressed_tensors())
    doubled = replace(t, tensor_scale=np.float32(0.5)).to_compressed_tensors()
    assert doubled["weight_global_scale"] == 2


def test_scales_may_be_of_their_own_dtype_and_nan_stays():
    arrays = golden.quantize(normal(4, 32), "nvfp4").to_compressed_tensors()
    arrays["weight_scale"][1, 1] = 0x7F
    arrays["weight_scale"] = arrays["weight_scale"].view(ml_dtypes.float8_e4m3fn)
    values = golden.dequantize(BlockTensor.from_compressed_tensors(arrays))
    where = np.zeros((4, 32), bool)
    where[1, 16:] = True
    np.testing.assert_array_equal(np.isnan(values), where)


def test_a_tensor_of_zeros_has_a_global_scale_of_one():
    arrays = golden.quantize(np.zeros((2, 16), np.float32), "nvfp4").to_compressed_tensors()
    assert arrays["weight_global_scale"] == 1
    zeros = golden.quantize(np.zeros((2, 16), np.float32), "nvfp4")
    assert not golden.dequantize(BlockTensor.from_modelopt(zeros.to_modelopt())).any()


def test_the_arrays_are_copies():
    t = golden.quantize(normal(2, 32), "nvfp4")
    before = t.scales.copy()
    t.to_compressed_tensors()["weight_scale"][:] = 0
    np.testing.assert_array_equal(t.scales, before)


@pytest.mark.parametrize("width", range(1, 9))
def test_codes_of_every_width_come_back(width):
    codes = np.random.default_rng(width).integers(0, 1 << width, (3, 40), np.uint8)
    np.testing.assert_array_equal(unpack_bits(pack_bits(codes, width), width), codes)


@pytest.mark.parametrize(
    ("t", "message"),
    [
        (lambda: golden.quantize(normal(2, 32), "mixfp4"), "the layout holds nvfp4 and four_over_six, got mixfp4"),
        (lambda: golden.quantize(normal(2, 32), "nvfp4", block_size=32), "blocks of 16 without padding"),
        (lambda: golden.quantize(normal(2, 20), "nvfp4", pad=True), "blocks of 16 without padding"),
        (lambda: golden.quantize(normal(2, 16) * np.float32(1e-37), "nvfp4"), "no reciprocal that FP32 holds"),
    ],
)
def test_what_the_layout_does_not_hold_is_refused(t, message):
    with pytest.raises(ValueError, match=message):
        t().to_compressed_tensors()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_scale": None}, "no weight_scale among weight_global_scale, weight_packed"),
        ({"weight_scale": np.zeros((2, 3), np.uint8)}, r"a byte for every 8 bytes .* \(2, 3\) and \(2, 16\)"),
        ({"weight_scale": np.zeros((2, 2), np.float32)}, "weight_scale must be uint8 or float8_e4m3fn, got float32"),
        ({"weight_packed": np.zeros((2, 12), np.uint8)}, "a byte for every 8 bytes"),
        ({"weight_scale": np.full((2, 2), 0xB8, np.uint8)}, "the sign bit set in 4 of 4 bytes"),
        ({"weight_scale": np.ones((2, 2), ml_dtypes.float8_e5m2)}, "must be uint8 or float8_e4m3fn, got float8_e5m2"),
        ({"weight_scale": np.ma.masked_array(np.zeros((2, 2), np.uint8), True)}, "must not be a masked array"),
        ({"weight_global_scale": np.zeros(1, np.float32)}, "one positive finite float32, got 0.0"),
        ({"weight_global_scale": np.ones(2, np.float32)}, r"got float32 of shape \(2,\)"),
        ({"weight_global_scale": np.full(1, 1e-40, np.float32)}, "a reciprocal that FP32 holds"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    arrays = golden.quantize(normal(2, 32), "nvfp4").to_compressed_tensors() | change
    with pytest.raises(ValueError, match=message):
        BlockTensor.from_compressed_tensors({name: a for name, a in arrays.items() if a is not None})


@pytest.mark.parametrize("shape", [(1, 1), (128, 4), (130, 5), (256, 8), (300, 13), (2, 3, 40, 9)])
def test_swizzled_scales_lie_where_the_documentation_puts_them(shape):
    scales = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    swizzled = golden.swizzle_scales(scales)
    *lead, rows, blocks = shape
    tiles_across = -(-blocks // 4)
    expected = np.zeros((*lead, -(-rows // 128) * tiles_across * 512), np.uint8)
    for r in range(rows):
        for c in range(blocks):
            tile = (r // 128) * tiles_across + c // 4
            expected[..., tile * 512 + (r % 32) * 16 + (r % 128) // 32 * 4 + c % 4] = scales[..., r, c]
    np.testing.assert_array_equal(swizzled, expected)
    np.testing.assert_array_equal(golden.unswizzle_scales(swizzled, rows, blocks), scales)


def test_scales_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"uint8 \[..., 1024\] swizzled, got uint8 of shape \(512,\)"):
        golden.unswizzle_scales(np.zeros(512, np.uint8), 129, 4)
    with pytest.raises(ValueError, match=r"uint8 \[..., rows, blocks\], got uint8 of shape \(4,\)"):
        golden.swizzle_scales(np.zeros(4, np.uint8))


class Tensor:
    """What golden uses of a torch tensor, which is not installed here; with the refusals of torch 2.9."""

    __module__ = "torch"

    def __init__(self, values, dtype, requires_grad=False):
        self.values, self.dtype, self.requires_grad = values, f"torch.{dtype}", requires_grad

    def detach(self):
        return Tensor(self.values, self.dtype.removeprefix("torch."))

    def cpu(self):
        return self

    def float(self):
        return Tensor(self.values.astype(np.float32), "float32")

    def view(self, dtype):
        return Tensor(self.values.view(np.uint8), dtype)

    def numpy(self):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if self.dtype in ("torch.bfloat16", "torch.float8_e4m3fn", "torch.complex32"):
            raise TypeError(f"Got unsupported ScalarType {self.dtype}\nmore")
        return self.values

    __array__ = numpy


class Parameter(Tensor):
    __module__ = "torch.nn.parameter"


def test_torch_tensors_are_taken(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", type("torch", (), {"uint8": "uint8"}))
    x = normal(4, 32)
    expected = golden.quantize(x, "nvfp4")
    assert golden.quantize(Parameter(x, "float32", requires_grad=True), "nvfp4") == expected
    half = x.astype(ml_dtypes.bfloat16)
    assert golden.quantize(Tensor(half, "bfloat16"), "nvfp4") == golden.quantize(half, "nvfp4")
    arrays = expected.to_compressed_tensors()
    arrays["weight_scale"] = Tensor(arrays["weight_scale"].view(ml_dtypes.float8_e4m3fn), "float8_e4m3fn")
    np.testing.assert_array_equal(BlockTensor.from_compressed_tensors(arrays).scales, expected.scales)


def test_a_torch_tensor_that_numpy_cannot_hold_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"x: NumPy cannot hold .*\(Got unsupported ScalarType torch.complex32\)$"):
        golden.quantize(Tensor(normal(2, 16), "complex32"), "nvfp4")
    with pytest.raises(ValueError, match="x must be float32, float16 or bfloat16, got float64"):
        golden.quantize(Tensor(normal(2, 16).astype(np.float64), "float64"), "nvfp4")
