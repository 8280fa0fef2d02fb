"""``measure="exact"`` beside squared errors in rational numbers."""

from fractions import Fraction

import numpy as np
import pytest

from hwsim import golden
from hwsim.golden import exact_choice
from hwsim.golden.formats import E2M1, UE4M3

F32 = np.float32
#: Values of the codes of both ways, and the tensor's full scale: way a has to be strictly better.
WAYS = {
    "four_over_six": ((0, 0.5, 1, 1.5, 2, 3, 4, 6), (0, 0.5, 1, 1.5, 2, 3, 4, 6), 1536),
    "mixfp4": ((0, 0.5, 1, 1.5, 2, 3, 4, 6), (0, 1, 2, 3, 4, 5, 6, 7), 2688),
}


def nearest(values, x):
    """Code nearest to each |x|, ties to the even code, saturating: by comparison with all midpoints, exactly."""
    codes = np.zeros(len(x), int)
    for code in range(1, 8):
        middle = F32((values[code - 1] + values[code]) / 2)
        codes += (x >= middle) if code % 2 == 0 else (x > middle)
    return codes


def candidates(block, amax, full, format):
    """Scale and codes of both ways, in FP32 as the contract orders the operations."""
    encode = F32(full) / amax
    decode = F32(1) / encode
    top = np.abs(block).max()
    first, second, _ = WAYS[format]
    wanted = (
        [top / F32(6) * encode * F32(1.5), top / F32(6) * encode]
        if format == "four_over_six"
        else [top / F32(6) * encode, top / F32(7) * encode]
    )
    for values, scale in zip((first, second), wanted, strict=True):
        code = int(golden.formats.encode(np.array([scale], F32), UE4M3)[0])
        s = F32(UE4M3.values[code])
        inverse = F32(1) / (decode * s) if s else F32(0)
        yield values, s, nearest(values, np.abs(block) * inverse)


def first_is_better(block, amax, format):
    full = WAYS[format][2]
    errors = []
    for values, s, codes in candidates(block, amax, full, format):
        ideal = [Fraction(values[c]) * Fraction(float(s)) * Fraction(float(amax)) / full for c in codes]
        errors.append(sum((abs(Fraction(float(x))) - v) ** 2 for x, v in zip(block, ideal, strict=True)))
    return errors[0] < errors[1], errors[0] == errors[1]


RNG = np.random.default_rng(5)
TENSORS = {
    "gaussian": RNG.standard_normal((8, 64)),
    "heavy": RNG.standard_t(2, (8, 64)),
    "eighths": RNG.integers(-16, 17, (8, 64)) / 8,
    "powers of two": np.exp2(RNG.integers(-4, 3, (8, 64))),
    "few values": RNG.choice([0, 1, 1.5, 3, 6, 7], (8, 64)),
    "sizes of all kinds": np.exp2(RNG.uniform(-40, 40, (8, 64))) * RNG.choice([-1, 1], (8, 64)),
    "zeros among them": RNG.standard_normal((8, 64)) * (RNG.random((8, 64)) < 0.1),
}


@pytest.mark.parametrize("block_size", [16, 32])
@pytest.mark.parametrize("share", [None, 0.3, 1e-9])
@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("format", WAYS)
def test_the_choice_is_that_of_rational_numbers(format, name, share, block_size):
    x = TENSORS[name].astype(F32)
    amax = None if share is None else float(np.abs(x).max() * F32(share))
    t = golden.quantize(x, format, measure="exact", amax=amax, block_size=block_size)
    for block, codes, scale in zip(
        x.reshape(-1, block_size), t.codes.reshape(-1, block_size), t.scales.reshape(-1), strict=True
    ):
        better, _ = first_is_better(block, t.tensor_amax, format)
        ways = list(candidates(block, t.tensor_amax, WAYS[format][2], format))
        _, s, expected = ways[0] if better else ways[1]
        assert F32(UE4M3.values[scale & 0x7F]) == s
        np.testing.assert_array_equal(codes & 7, expected)
        if format == "mixfp4" and s:
            assert scale >> 7 == (not better)


@pytest.mark.parametrize("block_size", [1024, 4096])
@pytest.mark.parametrize("format", WAYS)
def test_long_blocks(format, block_size):
    """Blocks of which many elements are alike either way, and of sizes that leave FP32's squares."""
    rng = np.random.default_rng(block_size)
    x = (rng.integers(-8, 9, (3, block_size)) / 4).astype(F32)
    for factor in (1, 1e-22, 1e25):
        scaled = (x * F32(factor)).astype(F32)
        t = golden.quantize(scaled, format, measure="exact", block_size=block_size)
        for block, scale in zip(scaled, t.scales.reshape(-1), strict=True):
            better, _ = first_is_better(block, t.tensor_amax, format)
            ways = list(candidates(block, t.tensor_amax, WAYS[format][2], format))
            assert F32(UE4M3.values[scale & 0x7F]) == ways[0 if better else 1][1]
            assert format != "mixfp4" or scale >> 7 == (not better)


def test_blocks_of_all_sizes_go_the_long_way(monkeypatch):
    """Where 64 bits do not hold the sums, Python's integers decide."""
    calls = []
    decide = exact_choice._is_better
    monkeypatch.setattr(exact_choice, "_is_better", lambda *block: calls.append(1) or decide(*block))
    x = TENSORS["sizes of all kinds"].astype(F32)
    golden.quantize(x, "mixfp4", measure="exact", amax=1e-9)
    assert calls


def test_measures_differ_on_ties_alone():
    x = (RNG.integers(-16, 17, (4096, 64)) / 8).astype(F32)
    for format in WAYS:
        fp32, exact = (golden.quantize(x, format, measure=measure) for measure in ("fp32", "exact"))
        differs = np.flatnonzero((fp32.scales != exact.scales).reshape(-1))
        assert len(differs) > 0
        for block in differs[:200]:
            assert first_is_better(x.reshape(-1, 16)[block], exact.tensor_amax, format)[1]


def test_tiles_are_compared_whole():
    x = np.repeat(np.repeat(TENSORS["eighths"][:4, :4], 16, axis=0), 16, axis=1).astype(F32)
    x += RNG.standard_normal(x.shape).astype(F32)
    t = golden.quantize(x, "four_over_six", measure="exact", block_2d=True)
    tiles = x.reshape(4, 16, 4, 16).transpose(0, 2, 1, 3).reshape(16, 256)
    scales = t.scales.reshape(4, 16, 4)
    assert (scales == scales[:, :1]).all()
    for tile, scale in zip(tiles, scales[:, 0].reshape(-1), strict=True):
        better, _ = first_is_better(tile, t.tensor_amax, "four_over_six")
        ways = list(candidates(tile, t.tensor_amax, 1536, "four_over_six"))
        assert F32(UE4M3.values[scale]) == ways[0 if better else 1][1]


def test_polarity_turns_the_type_bit_alone():
    x = TENSORS["gaussian"].astype(F32)
    zero, one = (golden.quantize(x, "mixfp4", measure="exact", polarity=p) for p in (0, 1))
    np.testing.assert_array_equal(zero.codes, one.codes)
    np.testing.assert_array_equal(zero.scales ^ 0x80, one.scales)


def test_other_rules_have_no_exact_measure():
    with pytest.raises(ValueError, match=r'rule must be "mse", got \'mae\''):
        golden.quantize(np.ones((1, 16), F32), "four_over_six", rule="mae", measure="exact")
    with pytest.raises(ValueError, match="measure must be"):
        golden.quantize(np.ones((1, 16), F32), "mixfp4", measure="double")


def test_an_all_zero_tensor_is_zero_either_way():
    for format in WAYS:
        t = golden.quantize(np.zeros((2, 16), F32), format, measure="exact")
        assert not t.codes.any() and not t.scales.any()


def test_e2m1_is_what_the_tables_say():
    assert tuple(E2M1.values[:8]) == WAYS["mixfp4"][0]
