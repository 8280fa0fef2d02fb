"""Recipes: pairs of systems that a product is quantised to."""

import numpy as np
import pytest

from hwsim import golden
from hwsim.golden.mma import PAIRS
from hwsim.golden.recipes import scaled_product


def operands(rows=(5, 7), k=200, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, k)).astype(np.float32) for n in rows]


@pytest.mark.parametrize("name", golden.RECIPES)
def test_both_operands_are_what_an_instruction_multiplies(name):
    recipe = golden.RECIPES[name]
    a, b = operands()
    qa, qb = recipe.quantize(a, b)
    assert (qa.format, qb.format) == (recipe.activations, recipe.weights)
    if not recipe.is_calibrated:
        assert (recipe.activations, recipe.weights) in PAIRS or "mbs" in name
        for x, t in ((a, qa), (b, qb)):
            again = golden.quantize(x, t.format, pad=True, **recipe.options)
            assert np.array_equal(again.codes, t.codes) and np.array_equal(again.scales, t.scales)
    d = recipe.product(a, b)
    assert d.dtype == np.float32 and d.shape == (5, 7)
    near = golden.dequantize(qa).astype(np.float64) @ golden.dequantize(qb).astype(np.float64).T
    assert np.allclose(d, near, rtol=1e-4, atol=1e-4)


def test_tensor_scales_are_applied_after_the_tensor_core():
    a, b = (1e-4 * x for x in operands())
    recipe = golden.RECIPES["nvfp4"]
    qa, qb = recipe.quantize(a, b)
    assert np.array_equal(scaled_product(qa, qb), golden.mma(qa, qb) * (qa.tensor_scale * qb.tensor_scale))
    assert recipe.needs_tensor_maximum and not golden.RECIPES["mxfp4"].needs_tensor_maximum


def test_weights_of_micromix_take_the_assignment_of_activations():
    a, b = operands(k=512)
    a[:, 100:140] *= 50
    calibration = a[::-1]
    recipe = golden.RECIPES["micromix"]
    qa, qb = recipe.quantize(a, b, calibration)
    assert qa.segments == qb.segments and np.array_equal(qa.permutation, qb.permutation)
    assert len([1 for _, length in qa.segments if length]) > 1
    other = recipe.quantize(a, b, operands(k=512)[0])[0]
    assert other.segments != qa.segments or not np.array_equal(other.permutation, qa.permutation)


def test_k_is_padded_to_whole_blocks():
    assert {name: golden.RECIPES[name].multiple for name in ("nvfp4", "mxfp4", "oas", "mbs_h", "micromix")} == {
        "nvfp4": 16, "mxfp4": 32, "oas": 16, "mbs_h": 128, "micromix": 32
    }  # fmt: skip
    a, b = operands(k=130)
    assert golden.RECIPES["mbs_h"].quantize(a, b)[0].codes.shape == (5, 256)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [(((5, 32), (7, 64)), r"got shapes \(5, 32\) and \(7, 64\)"), (((32,), (7, 32)), r"got shapes \(32,\)")],
)
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(ValueError, match=message):
        golden.RECIPES["mxfp4"].quantize(*(np.ones(shape, np.float32) for shape in shapes))


def test_calibration_of_another_k():
    a, b = operands(k=64)
    with pytest.raises(ValueError, match=r"calibration must have K = 64, got shape \(5, 200\)"):
        golden.RECIPES["micromix"].quantize(a, b, operands()[0])
