"""What must hold for every input."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hwsim import golden
from hwsim.golden import BlockTensor
from hwsim.golden.formats import E2M1, UE4M3, decode, encode

ALL = list(golden.SYSTEMS)
MX = [name for name in ALL if name.startswith("mx")]
OWN_SCALE = [name for name in MX if "mbs" not in name]


MODERATE = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
# Small integers and halves make the ties and equal candidates that random floats never hit.
GRID = st.integers(-24, 24).map(lambda n: n / 4)
# Rounding up must stay within FP32.
LARGE = st.floats(-(2.0**126), 2.0**126, width=32)
# Around and below the least magnitude that 2688 / amax holds for; the second only subnormals.
TINY = st.floats(-(2.0**-110), 2.0**-110, width=32)
SUBNORMAL = st.floats(-(2.0**-127), 2.0**-127, width=32)


def tensors(*elements):
    """Tensors of 128 columns; each draws its elements from one of the strategies."""
    shapes = st.tuples(st.integers(1, 3), st.just(128))
    return st.one_of(*(hnp.arrays(np.float32, shapes, elements=e) for e in elements))


def moderate():
    return tensors(st.one_of(MODERATE, GRID))


def of_every_magnitude():
    return tensors(st.one_of(MODERATE, GRID), LARGE, TINY, SUBNORMAL, st.one_of(MODERATE, TINY, SUBNORMAL, LARGE))


def quick(f):
    return settings(max_examples=20, deadline=None)(f)


@pytest.mark.parametrize("name", OWN_SCALE)
@given(x=moderate(), shift=st.integers(-40, 40))
@quick
def test_a_power_of_two_moves_only_scales(name, x, shift):
    x = np.where(np.abs(x) < 1e-6, np.float32(0), x)
    plain, moved = golden.quantize(x, name), golden.quantize(x * np.float32(2.0**shift), name)
    np.testing.assert_array_equal(moved.codes, plain.codes)
    live = golden.error(x, plain).blocks.signal > 0
    np.testing.assert_array_equal(moved.scales[live].astype(int), plain.scales[live].astype(int) + shift)


@pytest.mark.parametrize("name", ALL)
@given(x=of_every_magnitude())
@quick
def test_signs_are_symmetric(name, x):
    plain, mirrored = golden.quantize(x, name), golden.quantize(-x, name)
    np.testing.assert_array_equal(mirrored.scales, plain.scales)
    np.testing.assert_array_equal(golden.dequantize(mirrored), -golden.dequantize(plain))


@pytest.mark.parametrize("name", OWN_SCALE)
@given(x=of_every_magnitude())
@quick
def test_decoded_values_quantise_to_themselves(name, x):
    y = golden.dequantize(golden.quantize(x, name))
    np.testing.assert_array_equal(golden.dequantize(golden.quantize(y, name)), y)


def squared_errors(x, y):
    """Per block of 16, FP32, added left to right."""
    total = np.zeros(x.size // 16, np.float32)
    with np.errstate(over="ignore"):
        for column in ((x - y) ** 2).reshape(-1, 16).T:
            total = total + column
    return total


@given(x=of_every_magnitude())
@quick
def test_mixfp4_never_errs_more_than_nvfp4(x):
    mixed, plain = (golden.dequantize(golden.quantize(x, name)) for name in ("mixfp4", "nvfp4"))
    assert np.all(squared_errors(x, mixed) <= squared_errors(x, plain))


def six(x):
    """Four Over Six without the four, in NumPy, as the paper has it."""
    amax = np.abs(x).max()
    if amax == 0:
        return x
    blocks = x.reshape(-1, 16)
    factor = np.float32(1536) / amax
    scale = decode(encode(np.abs(blocks).max(axis=1) / np.float32(6) * factor, UE4M3), UE4M3)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        v = blocks * (np.float32(1) / (np.float32(1) / factor * scale))
    q = decode(encode(np.where(scale == 0, np.float32(0), v), E2M1), E2M1)
    return (q * scale * amax / np.float32(1536)).reshape(x.shape)


@given(x=moderate())
@quick
def test_four_over_six_never_errs_more_than_six_alone(x):
    alone = six(x)
    y = golden.dequantize(golden.quantize(x, "four_over_six"))
    assert np.all(squared_errors(x, y) <= squared_errors(x, alone))
    mae = golden.dequantize(golden.quantize(x, "four_over_six", rule="mae"))
    worst = golden.dequantize(golden.quantize(x, "four_over_six", rule="abs_max"))
    difference = [np.abs(x - z).reshape(-1, 16) for z in (mae, worst, alone)]
    assert np.all(np.add.accumulate(difference[0], 1)[:, -1] <= np.add.accumulate(difference[2], 1)[:, -1])
    assert np.all(difference[1].max(1) <= difference[2].max(1))


@given(x=of_every_magnitude())
@quick
def test_an_nvfp4_tensor_is_a_mixfp4_tensor(x):
    t = golden.quantize(x, "nvfp4")
    as_mixed = replace(t, format="mixfp4", options={"polarity": 0})
    np.testing.assert_array_equal(golden.dequantize(as_mixed), golden.dequantize(t))


@given(x=of_every_magnitude(), polarity=st.integers(0, 1))
@quick
def test_polarity_changes_the_type_bit_alone(x, polarity):
    zero, one = (golden.quantize(x, "mixfp4", polarity=p) for p in (0, 1))
    np.testing.assert_array_equal(zero.codes, one.codes)
    np.testing.assert_array_equal(zero.scales ^ one.scales, np.where(zero.scales & 0x7F, 0x80, 0))
    np.testing.assert_array_equal(golden.dequantize(zero), golden.dequantize(one))


@pytest.mark.parametrize("name", ALL)
@given(
    x=hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=40), elements=st.floats(-9, 9, width=32))
)
@quick
def test_unpack_inverts_pack_for_any_shape(name, x):
    t = golden.quantize(x, name, pad=True)
    assert BlockTensor.unpack(t.pack()) == t
    assert golden.dequantize(t).shape == x.shape


def big(seed=3):
    return np.random.default_rng(seed).standard_t(3, (256, 512)).astype(np.float32)


def digest(t):
    return hashlib.sha256(b"".join(a.tobytes() for a in t.pack().values())).hexdigest()


VARIANTS = [(name, {}) for name in ALL] + [
    ("nvfp4", {"stochastic_seed": 5}),
    ("nvfp4", {"block_2d": True}),
    ("four_over_six", {"block_2d": True}),
    ("mxfp4", {"stochastic_seed": 5}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_threads_and_array_layout_do_not_change_a_bit(name, options):
    x = big()
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone, values = (
            golden.quantize(x, name, **options),
            golden.dequantize(golden.quantize(x, name, **options)),
        )
    finally:
        numba.set_num_threads(before)
    strided = np.empty((256, 1024), np.float32)[:, ::2]
    strided[:] = x
    for same in (x, np.asfortranarray(x), strided):
        t = golden.quantize(same, name, **options)
        assert t == alone
        np.testing.assert_array_equal(golden.dequantize(t), values)


@pytest.mark.slow
def test_threads_and_hash_seed_of_another_process_do_not_change_a_bit():
    script = "import sys; sys.path.insert(0, sys.argv[1]); import test_properties as t; t.print_digests()"
    outputs = set()
    for threads, seed in (("1", "0"), ("2", "1"), ("7", "2")):
        environment = os.environ | {"NUMBA_NUM_THREADS": threads, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", script, os.path.dirname(__file__)]
        outputs.add(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    assert len(outputs) == 1
    assert outputs.pop().count(b"\n") == len(VARIANTS)


def print_digests():
    for name, options in VARIANTS:
        print(name, digest(golden.quantize(big(), name, **options)))
