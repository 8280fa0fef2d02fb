"""The interface: shapes, dtypes, padding, packing, files, errors."""

import json
import re
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from hwsim import golden
from hwsim.golden import BlockTensor
from hwsim.golden.layouts import pack_bits, unpack_bits

BITS = {
    "nvfp4": 4.5,
    "four_over_six": 4.5,
    "mixfp4": 4.5,
    "mxfp4": 4.25,
    "mxfp6_e2m3": 6.25,
    "mxfp6_e3m2": 6.25,
    "mxfp8_e4m3": 8.25,
    "mxfp8_e5m2": 8.25,
    "mxint8": 8.25,
    "mxfp4_oas": 4.5,
    "mxfp4_mbs_static": 4.5625,
    "mxfp4_mbs_dynamic": 4.5625,
    "m2xfp_elem_em": 4.5,
    "m2xfp_sg_em": 4.5,
}
ALL = list(golden.SYSTEMS)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", ALL)
def test_shapes_and_arrays(name):
    x = normal(2, 3, 256)
    t = golden.quantize(x, name)
    assert (t.format, t.shape, t.codes.shape, t.codes.dtype) == (name, x.shape, x.shape, np.uint8)
    assert t.scales.shape == (2, 3, 256 // t.block_size)
    y = golden.dequantize(t)
    assert (y.shape, y.dtype, y.flags.c_contiguous) == (x.shape, np.float32, True)
    assert golden.error(x, t).sqnr > 15


@pytest.mark.parametrize("name", BITS)
def test_bits_per_element(name):
    assert golden.quantize(normal(4, 256), name).bits_per_element == BITS[name]


@pytest.mark.parametrize("name", ALL)
def test_padding_is_remembered_and_changes_no_block(name):
    x = normal(3, 100)
    t = golden.quantize(x, name, pad=True)
    whole = np.pad(x, ((0, 0), (0, t.codes.shape[-1] - 100)))
    assert t.shape == x.shape
    np.testing.assert_array_equal(t.codes, golden.quantize(whole, name).codes)
    np.testing.assert_array_equal(golden.dequantize(t), golden.dequantize(golden.quantize(whole, name))[:, :100])
    assert golden.error(x, t).count == 300
    assert golden.error(x, t).blocks.count.sum() == 300


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_input_is_its_fp32_value(dtype):
    x = normal(4, 64).astype(dtype)
    assert golden.quantize(x, "nvfp4") == golden.quantize(x.astype(np.float32), "nvfp4")


@pytest.mark.parametrize("dtype", [">f4", ">f2"])
def test_byte_order_does_not_matter(dtype):
    x = normal(4, 64).astype(dtype)
    assert golden.quantize(x, "nvfp4") == golden.quantize(x.astype(np.float32), "nvfp4")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nvfp4", {"amax": np.float32(7), "stochastic_seed": np.int64(3), "block_2d": np.bool_(True)}),
        ("nvfp4", {"amax": np.array(7.0), "block_size": np.int32(32)}),
        ("mixfp4", {"polarity": np.int64(1)}),
        ("mxfp4", {"stochastic_seed": np.uint64(2**64 - 1)}),
        ("micromix", {"multiplier": np.float32(2), "via_bf16": np.bool_(True)}),
    ],
)
def test_numpy_scalars_as_options_can_be_saved(name, options, tmp_path):
    x = normal(16, 64)
    t = golden.quantize(x, name, **options)
    t.save(tmp_path / "t.npz")
    assert BlockTensor.load(tmp_path / "t.npz") == t
    assert t == golden.quantize(x, name, **{key: value.item() for key, value in options.items()})


@pytest.mark.parametrize("name", ALL)
def test_pack_save_and_load_give_the_tensor_back(name, tmp_path):
    t = golden.quantize(normal(3, 5, 200), name, pad=True)
    assert BlockTensor.unpack(t.pack()) == t
    t.save(tmp_path / "t.npz")
    assert BlockTensor.load(tmp_path / "t.npz") == t
    width = sum(golden.formats.FORMATS[e].width * n for e, n in t.segments)
    assert t.pack()["codes"].shape == (3, 5, width // 8)


def test_packed_layout():
    np.testing.assert_array_equal(pack_bits(np.uint8([1, 2, 0xF, 0]), 4), [0x21, 0x0F])
    np.testing.assert_array_equal(pack_bits(np.uint8([1, 2, 3, 0x3F]), 6), [0x81, 0x30, 0xFC])
    np.testing.assert_array_equal(unpack_bits(np.uint8([0x81, 0x30, 0xFC]), 6), [1, 2, 3, 0x3F])
    with pytest.raises(ValueError, match="3 codes of 4 bits are not whole groups of 8 bits"):
        pack_bits(np.zeros(3, np.uint8), 4)


@pytest.mark.parametrize("name", ALL)
def test_equality_sees_every_array(name):
    t = golden.quantize(normal(4, 256), name)
    assert t == golden.quantize(normal(4, 256), name)
    for field in ("codes", "scales", "metadata", "factors", "permutation"):
        array = getattr(t, field)
        if array is not None:
            other = array.copy()
            other.flat[-1] ^= 1
            assert t != replace(t, **{field: other})
    assert t != replace(t, shape=(1024,))
    assert t != "t"


def test_zero_tensor():
    for name in ALL:
        t = golden.quantize(-np.zeros((2, 128), np.float32), name)
        assert not golden.dequantize(t).any()
        assert golden.error(np.zeros((2, 128), np.float32), t).sqnr == np.inf
        if "m2xfp" not in name:
            assert not t.codes.any()


@pytest.mark.parametrize("largest", [1.4e-45, 1e-40, 1e-36, 1e-30, 1.6e38])
@pytest.mark.parametrize("name", ALL)
def test_the_whole_range_of_fp32_stays_finite(name, largest):
    x = np.linspace(-1, 1, 256, dtype=np.float32)[None] * np.float32(largest)
    x[0, 7] = 0
    y = golden.dequantize(golden.quantize(x, name))
    assert np.isfinite(y).all()
    assert y[0, 7] == 0
    assert np.all(y * np.sign(x) >= 0)


NAN, INF = np.float32("nan"), np.float32("inf")


def with_one(value):
    x = np.zeros((2, 3, 32), np.float32)
    x[1, 2, 5] = value
    return x


@pytest.mark.parametrize(
    ("x", "name", "options", "message"),
    [
        (with_one(NAN), "nvfp4", {}, "x must be finite, got nan at index (1, 2, 5)"),
        (with_one(-INF), "mxfp4", {}, "x must be finite, got -inf at index (1, 2, 5)"),
        (np.zeros((2, 40), np.float32), "mxfp4", {}, "axis 1 must be a multiple of 32, got 40; pad=True"),
        (np.zeros((2, 64), np.float32), "mxfp4_mbs_static", {}, "axis 1 must be a multiple of 128, got 64"),
        (
            np.zeros((8, 32), np.float32),
            "nvfp4",
            {"block_2d": True},
            "axis 0 must be a multiple of 16, got 8",
        ),
        (
            np.zeros(32, np.float32),
            "nvfp4",
            {"block_2d": True},
            "2D blocks need at least two axes, got shape (32,)",
        ),
        (np.zeros((2, 32), np.float32), "fp4", {}, "format must be one of nvfp4, "),
        (np.zeros((0, 32), np.float32), "nvfp4", {}, "at least one axis and one element, got shape (0, 32)"),
        (np.float32(1), "nvfp4", {}, "at least one axis and one element, got shape ()"),
        (np.zeros((2, 32)), "nvfp4", {}, "x must be float32, float16 or bfloat16, got float64"),
        (np.zeros((2, 32), np.int8), "mxint8", {}, "x must be float32, float16 or bfloat16, got int8"),
        (np.ones((2, 32), np.float32), "mxfp4", {"rule": "mse"}, "mxfp4 takes the options scale_rule, "),
        (np.ones((2, 32), np.float32), "mxfp4", {"scale_rule": "up"}, "scale_rule must be one of 'floor', "),
        (np.ones((2, 32), np.float32), "mixfp4", {"polarity": 2}, "polarity must be one of 0, 1, got 2"),
        (
            np.ones((2, 32), np.float32),
            "nvfp4",
            {"block_size": 24},
            "block_size must be a multiple of 16, got 24",
        ),
        (
            np.ones((2, 32), np.float32),
            "nvfp4",
            {"stochastic_seed": -1},
            "stochastic_seed must be 0 to 2**64 - 1",
        ),
        (np.ones((2, 32), np.float32), "nvfp4", {"amax": 1e39}, "amax must be finite in FP32"),
        (np.ones((2, 32), np.float32), "mixfp4", {"amax": "x"}, "amax must be a number, got 'x'"),
        (np.ones((2, 32), np.float32), "nvfp4", {"amax": [1, 2]}, "amax must be a number, got [1, 2]"),
        (np.ones((2, 32), np.float32), "mxfp4", {"stochastic_seed": 1.5}, "stochastic_seed must be a whole number"),
        (np.ones((2, 32), np.float32), "mxfp4", {"stochastic_seed": "a"}, "must be a whole number, got 'a'"),
        (np.ones((2, 32), np.float32), "mxfp4", {"block_size": 32.0}, "block_size must be a whole number, got 32.0"),
        (np.ones((2, 32), np.float32), "mxfp4", {"block_size": None}, "block_size must be a whole number, got None"),
        (np.ones((16, 32), np.float32), "nvfp4", {"block_2d": "no"}, "block_2d must be True or False, got 'no'"),
        (np.ma.masked_array(np.ones(32, np.float32)), "nvfp4", {}, "x must not be a masked array"),
        (np.ones(32, ">f8"), "nvfp4", {}, "x must be float32, float16 or bfloat16, got >f8"),
    ],
)
def test_bad_input_is_named(x, name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        golden.quantize(x, name, **options)


def test_a_file_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="not a packed BlockTensor: no 'header'"):
        BlockTensor.load(tmp_path / "x.npz")


def test_arrays_that_do_not_fit_are_refused():
    t = golden.quantize(normal(2, 64), "nvfp4")
    with pytest.raises(ValueError, match=re.escape("scales of shape (2, 3) do not fit codes of shape (2, 64)")):
        replace(t, scales=np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match="codes must be a uint8 array with elements, got int64"):
        replace(t, codes=np.zeros((2, 64), int))


BYTES = np.zeros((2, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("nvfp4", {"codes": None}, "codes must be a uint8 array with elements, got None"),
        ("nvfp4", {"scales": np.zeros((2, 0), np.uint8)}, "scales must be a uint8 array with elements, got uint8 of"),
        ("nvfp4", {"segments": (("e2m1", 64), ("e2m1", -64), ("e2m1", 128))}, "up to 128, got ('e2m1', -64)"),
        ("nvfp4", {"segments": (("fp4", 128),)}, "segments must be of element formats"),
        ("nvfp4", {"segments": (("e2m3", 128),)}, "segments of nvfp4 must be of ('e2m1',), got ('e2m3',)"),
        ("nvfp4", {"shape": (2, 129)}, "shape (2, 129) does not fit codes of shape (2, 128)"),
        ("nvfp4", {"shape": (2, 8, 8)}, "shape (2, 8, 8) does not fit codes of shape (2, 128)"),
        ("nvfp4", {"format": "fp4"}, "format must be one of nvfp4, "),
        ("nvfp4", {"tensor_amax": np.float32("nan")}, "tensor_amax must be a finite float32"),
        ("nvfp4", {"tensor_scale": 1.0}, "tensor_scale must be a finite float32, not negative, got 1.0"),
        ("mixfp4", {"options": {"polarity": 3}}, "polarity must be one of 0, 1, got 3"),
        ("m2xfp_sg_em", {"metadata": None}, "m2xfp_sg_em needs metadata"),
        ("m2xfp_elem_em", {"metadata": np.zeros((2, 8), np.uint8)}, "metadata must hold one entry for 8 elements"),
        ("m2xfp_elem_em", {"metadata": BYTES}, "metadata of shape (2, 3) do not fit codes of shape (2, 128)"),
        ("m2xfp_elem_em", {"metadata": np.zeros((2, 16))}, "metadata must be a uint8 array with elements, got float64"),
        ("m2xfp_sg_em", {"scales": np.zeros((2, 8), np.uint8)}, "has blocks of 32 and K a multiple of 32, got 16"),
        ("mxfp4_mbs_static", {"factors": None}, "mxfp4_mbs_static needs factors"),
        ("mxfp4_mbs_static", {"factors": np.zeros((2, 2), np.uint8)}, "factors must hold one entry for 128"),
        ("mxfp4_mbs_static", {"scales": np.zeros((2, 4), np.uint8)}, "of 16 and K a multiple of 128, got 32"),
        ("micromix", {"permutation": None}, "micromix needs permutation"),
        ("micromix", {"permutation": np.zeros(128, np.int32)}, "permutation must hold every channel 0 to 127 once"),
        ("micromix", {"permutation": np.zeros(128)}, "permutation must be int32 of shape (128,), got float64"),
        ("micromix", {"permutation": np.zeros(64, np.int32)}, "permutation must be int32 of shape (128,)"),
        ("micromix", {"scales": np.zeros((2, 8), np.uint8)}, "has blocks of 32 and K a multiple of 32, got 16"),
    ],
)
def test_tensors_that_no_kernel_may_see_are_refused(name, changes, message):
    t = golden.quantize(normal(2, 128), name)
    with pytest.raises(ValueError, match=re.escape(message)):
        golden.dequantize(replace(t, **changes))


@pytest.mark.parametrize("name", ["codes", "metadata"])
def test_codes_that_do_not_fit_are_not_packed(name):
    t = golden.quantize(normal(2, 128), "m2xfp_elem_em")
    getattr(t, name)[1, 3] = 0x10
    with pytest.raises(ValueError, match=r"codes must fit \d bits, got 0x10"):
        t.pack()


def with_header(packed, **changes):
    header = json.loads(str(packed["header"])) | changes
    return packed | {"header": np.array(json.dumps(header))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p | {"header": np.array("{")}, "not the header of a BlockTensor (Expecting"),
        (lambda p: p | {"header": np.array("[]")}, "not the header of a BlockTensor"),
        (lambda p: p | {"header": np.array("{}")}, "not the header of a BlockTensor ('format')"),
        (lambda p: with_header(p, segments=[["fp4", 64]]), "not the header of a BlockTensor ('fp4')"),
        (lambda p: with_header(p, segments=[["e2m1", 6.5]]), "not the header of a BlockTensor"),
        (lambda p: with_header(p, segments=[]), "segments must be of element formats, got ()"),
        (lambda p: with_header(p, segments=[["fp16", 16]]), "segments must be of element formats"),
        (lambda p: with_header(p, segments=[["e2m1", 32]]), "need 16 bytes a row, got 32"),
        (lambda p: p | {"codes": np.zeros((2, 32))}, "codes must be uint8, got float64 of shape (2, 32)"),
        (lambda p: p | {"codes": np.uint8(0)}, "codes must be uint8, got "),
        (lambda p: p | {"metadata": np.zeros((2, 4), int)}, "metadata must be uint8, got int64"),
        (lambda p: p | {"tensor_amax": np.ones(3, np.float32)}, "tensor_amax must be a finite float32"),
    ],
)
def test_packed_tensors_that_do_not_fit_are_refused(change, message):
    packed = golden.quantize(normal(2, 64), "nvfp4").pack()
    with pytest.raises(ValueError, match=re.escape(message)):
        BlockTensor.unpack(change(packed))


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "t.npz"
    golden.quantize(normal(2, 64), "nvfp4").save(path)
    for content in (b"", b"text", path.read_bytes()[:-40]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a readable .npz file"):
            BlockTensor.load(path)


def test_a_list_has_no_error():
    t = golden.quantize(normal(2, 64), "nvfp4")
    with pytest.raises(ValueError, match="x must be float32, float16 or bfloat16, got float64"):
        golden.error(normal(2, 64).tolist(), t)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_error_against_what_is_not_finite_is_refused(value):
    x = normal(2, 32)
    t = golden.quantize(x, "nvfp4")
    x[1, 3] = value
    with pytest.raises(ValueError, match="x must be finite"):
        golden.error(x, t)


def test_what_is_not_quantised_is_refused():
    for function in (golden.dequantize, lambda t: golden.error(normal(2, 32), t)):
        with pytest.raises(TypeError, match="t must be a BlockTensor, as golden.quantize gives it, got ndarray"):
            function(normal(2, 32))


def test_error_measures():
    x = np.float32([[3.0, 4.0] + [0.0] * 30])
    t = golden.quantize(x, "mxfp4")
    e = golden.error(np.float32([[3.0, 4.25] + [0.0] * 30]), t)
    assert e.mse == pytest.approx(0.25**2 / 32)
    assert e.max_error == 0.25
    assert e.sqnr == pytest.approx(10 * np.log10((9 + 4.25**2) / 0.0625))
    assert e.cosine == pytest.approx((9 + 17) / (5 * np.hypot(3, 4.25)))
    assert e.blocks.mse.shape == t.scales.shape
    both = e + e
    assert (both.mse, both.count) == (e.mse, 64)
    with pytest.raises(ValueError, match=re.escape("the shape of the quantised tensor, (1, 32), got (32,)")):
        golden.error(x[0], t)
