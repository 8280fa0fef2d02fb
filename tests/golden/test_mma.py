"""``golden.mma`` against an independent model in Python integers, bit for bit."""

import dataclasses
from fractions import Fraction

import mma_model
import numpy as np
import pytest
from mma_cases import ACCUMULATORS, C_CLASSES, MODES, SHAPES, UNSCALED, Case, make

from hwsim.golden import accumulate
from hwsim.golden.accumulate import BLOCK, EXACT, Accumulator
from hwsim.golden.mma import FORMATS, instruction


def assert_same(case: Case, accumulator: Accumulator) -> None:
    got, expected = case.run(accumulator), case.expected(accumulator)
    wrong = np.argwhere(got != expected)
    if len(wrong):
        at = tuple(wrong[0])
        pytest.fail(
            f"{len(wrong)} of {got.size} differ; {case.format} {accumulator} at {at}: got {got[at]:#010x}, "
            f"expected {expected[at]:#010x}; C {case.c[at]:#010x}, terms {case.terms(*at)}"
        )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("format", "g"), SHAPES)
def test_agrees_with_the_integer_model(format, g, mode):
    rng = np.random.default_rng([SHAPES.index((format, g)), MODES.index(mode)])
    for accumulator in ACCUMULATORS:
        assert_same(make(format, g, mode, rng, shape=(1, 1, 3)), accumulator)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("format", "g"), SHAPES)
def test_agrees_with_the_integer_model_on_many(format, g, mode):
    rng = np.random.default_rng([SHAPES.index((format, g)), MODES.index(mode), 1])
    for accumulator in ACCUMULATORS:
        assert_same(make(format, g, mode, rng, shape=(1, 4, 4), k=192), accumulator)


@pytest.mark.parametrize("format", FORMATS)
def test_every_class_of_c_passes_through_zeros(format):
    c = np.concatenate([C_CLASSES, C_CLASSES | np.uint32(1 << 31)])[:, None, None]
    case = make(format, 32, "plain", np.random.default_rng(0), shape=(len(c), 1, 1), k=64)
    case.a_codes[:], case.b_codes[:], case.c = 0, 0, c
    finite = np.where(c & 0x7FFFFFFF == 0, 0, c)
    expected = np.where(c & 0x7FFFFFFF > 0x7F800000, np.uint32(mma_model.NAN), finite)
    np.testing.assert_array_equal(case.run(), expected)


@pytest.mark.parametrize(
    ("format", "nan"),
    [(format, 0x7F if format == "nvfp4" else 0xFF) for format in FORMATS if format not in UNSCALED],
)
@pytest.mark.parametrize("accumulator", [BLOCK, EXACT])
def test_a_nan_scale_makes_nan_of_its_row_even_of_zeros(format, nan, accumulator):
    case = make(format, 32, "plain", np.random.default_rng(0))
    case.c[:] = 0x3F800000
    case.a_codes[:], case.b_codes[:] = 0, 0
    case.a_scales[0, 1, 0] = nan
    d = case.run(accumulator)
    assert (d[0, 1] == mma_model.NAN).all() and (d[0, 0] == 0x3F800000).all()


def test_raw_exponents_decide_not_leading_ones():
    """Subnormal fp16 operands have a raw exponent far above their value: they push C out of reach."""
    a = np.zeros((1, 1, 16), np.uint16)
    a[0, 0, 0], b = 1, a.copy()  # 2**-24 each, raw exponent -14
    b[0, 0, 0] = 0x7800  # 2**15
    c = np.array([[[(127 - 30) << 23]]], np.uint32)  # 2**-30
    low = Accumulator(16, fraction_bits=10)
    # top = 1: the unit is 2**-9, C and the product, 2**-9, of which only the product stays.
    assert instruction(a, None, b, None, c, "fp16", low)[0, 0, 0] == (127 - 9) << 23


@pytest.mark.parametrize(("fraction_bits", "expected"), [(3, 0), (4, 1 << 19)])
def test_a_subnormal_c_has_the_exponent_of_the_least_normal(fraction_bits, expected):
    a, b = np.zeros((1, 1, 16), np.uint16), np.zeros((1, 1, 16), np.uint16)
    a[0, 0, 0], b[0, 0, 0] = (127 - 100) << 7, (127 - 30) << 7  # bf16: their product is 2**-130
    c = np.array([[[1]]], np.uint32)
    d = instruction(a, None, b, None, c, "bf16", Accumulator(16, fraction_bits))
    assert d[0, 0, 0] == expected


def test_terms_are_cut_towards_zero_and_leave_no_sticky_bit():
    a = np.zeros((1, 1, 16), np.uint16)
    a[0, 0, :3] = 0x3C00, 0x9000, 0x9000  # 1, -2**-11 twice
    b = np.full((1, 1, 16), 0x3C00, np.uint16)
    c = np.zeros((1, 1, 1), np.uint32)
    run = {f: instruction(a, None, b, None, c, "fp16", Accumulator(16, f))[0, 0, 0] for f in (10, 11)}
    assert run[10] == 0x3F800000  # both are gone
    assert run[11].view(np.float32) == 1 - 2.0**-10


def test_a_zero_term_takes_no_part_in_the_largest_exponent():
    scales = np.array([[[0x7E, 0x08, 0, 0]]], np.uint8)  # the first block is all zeros, under the largest scale
    codes = np.zeros((1, 1, 64), np.uint8)
    codes[..., 16:32] = 1
    c = np.zeros((1, 1, 1), np.uint32)
    d = instruction(codes, scales, codes, scales, c, "nvfp4", Accumulator(None, 12))
    assert d[0, 0, 0].view(np.float32) == 16 * 0.25 * 2.0**-12


def test_products_that_cancel_inside_a_block_are_a_zero_term():
    codes = np.zeros((1, 1, 64), np.uint8)
    codes[..., :2] = 7, 15
    ones = np.zeros((1, 1, 64), np.uint8)
    ones[..., :2] = 7
    scales = np.full((1, 1, 4), 0x7E, np.uint8)
    c = np.array([[[1]]], np.uint32)
    assert instruction(codes, scales, ones, scales, c, "nvfp4")[0, 0, 0] == 1


def test_exact_rounds_once_over_all_of_k():
    """2**24 + 1 + ... + 1: chained steps lose every 1, the exact sum none."""
    a = np.full((1, 1, 64), 0x38, np.uint8)  # e4m3 1.0
    c = np.array([[[np.float32(2.0**24).view(np.uint32)]]], np.uint32)
    assert instruction(a, None, a, None, c, "e4m3", EXACT)[0, 0, 0].view(np.float32) == 2.0**24 + 64
    one = Accumulator(1, 23)
    assert instruction(a, None, a, None, c, "e4m3", one)[0, 0, 0].view(np.float32) == 2.0**24


@pytest.mark.parametrize("sign", [0, 1])
def test_exact_lets_any_bit_below_break_a_tie(sign):
    """2**s * (1 + 2**-24 +- 2**-k): halfway between two FP32 numbers but for the last term."""
    s, k = (x.reshape(-1) for x in np.meshgrid(np.arange(32), np.arange(25, 126)))
    a = np.zeros((len(s), 1, 16), np.uint16)
    for lane, exponent in enumerate((s, s - 24, s - k)):
        a[:, 0, lane] = (127 + exponent) << 7
    a[:, 0, 2] |= sign << 15
    b = np.full_like(a, 127 << 7)
    d = instruction(a, None, b, None, np.zeros((len(s), 1, 1), np.uint32), "bf16", EXACT)
    np.testing.assert_array_equal(d[:, 0, 0], ((127 + s) << 23) + (1 - sign))


def test_a_zero_result_is_positive():
    a = np.full((1, 1, 16), 0x0001, np.uint16)  # bf16: the least subnormal
    b = np.full((1, 1, 16), 0x8001, np.uint16)
    c = np.array([[[1 << 31]]], np.uint32)
    for accumulator in (accumulate.HOPPER_BF16, EXACT):
        assert instruction(a, None, b, None, c, "bf16", accumulator)[0, 0, 0] == 0


#: Rules of the contract, broken one at a time in the reference: the cases above must notice every one.
BROKEN = {
    "one fraction bit more": ("step", lambda s: lambda t, c, f, r, n: s(t, c, f and f + 1, r, n)),
    "one result bit less": ("step", lambda s: lambda t, c, f, r, n: s(t, c, f, r - 1, n)),
    "rounding to nearest": ("step", lambda s: lambda t, c, f, r, n: s(t, c, f, r, not n)),
    "C left out": ("step", lambda s: lambda t, c, f, r, n: s(t, 0, f, r, n)),
    "zero terms count": (
        "step",
        lambda s: lambda t, c, f, r, n: s([(k, v or Fraction(1, 1 << 600), e) for k, v, e in t], c, f, r, n),
    ),
    "exponent of the leading one": (
        "step",
        lambda s: lambda t, c, f, r, n: s([(k, v, leading_one(v) if v else e) for k, v, e in t], c, f, r, n),
    ),
    "cut towards minus infinity": ("int", lambda _: lambda x: x.__floor__()),
    "subnormal exponent 0": (
        "float_parts",
        lambda s: lambda code, name: (*(p := s(code, name))[:2], p[2] - (abs(p[1]) < least_normal(name))),
    ),
}  # fmt: skip


def leading_one(value) -> int:
    return abs(value).numerator.bit_length() - abs(value).denominator.bit_length()


def least_normal(name):
    return Fraction(2) ** (1 - mma_model.ELEMENTS[name][2])


@pytest.mark.parametrize("rule", BROKEN)
def test_the_cases_notice_a_broken_rule(rule, monkeypatch):
    name, change = BROKEN[rule]
    original = getattr(mma_model, name, None)
    monkeypatch.setattr(mma_model, name, change(original), raising=False)
    # E8M0 has no subnormals.
    exempt = {"subnormal exponent 0": {"mxfp4", "m2xfp"}}.get(rule, set())
    missed = [(format, g) for format, g in SHAPES if format not in exempt and not noticed(format, g)]
    assert missed == []


def noticed(format: str, g: int) -> bool:
    rng = np.random.default_rng(0)
    return any(
        (case.run(accumulator) != case.expected(accumulator)).any()
        for case in (make(format, g, mode, rng, shape=(1, 4, 3)) for mode in reversed(MODES))
        for accumulator in (Accumulator(None, 3, 12), Accumulator(None, 14, 6))
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "fp4"}, "format must be one of 'nvfp4', .*, got 'fp4'"),
        ({"polarity": 1}, "polarity must be one of 0, got 1"),
        ({"format": "mixfp4", "polarity": 2}, "polarity must be one of 0, 1, got 2"),
        (
            {"a_codes": np.zeros((1, 2, 64), np.uint8)},
            r"must agree and not be empty, got \(1, 2, 64\), \(1, 3, 128\)",
        ),
        ({"a_codes": np.full((1, 2, 128), 16, np.uint8)}, "e2m1 has 4 bits, got 16 at index"),
        ({"c": np.zeros((1, 2, 3), np.float32)}, r"c must be uint32 \(1, 2, 3\), got float32"),
        ({"a_scales": None}, r"a_scales must be uint8 \(1, 2, 8\) or \(1, 2, 4\), got None"),
        ({"b_scales": np.zeros((1, 3, 2), np.uint8)}, r"b_scales must be .*, got uint8 \(1, 3, 2\)"),
        ({"b_scales": np.zeros((1, 3, 4), np.uint8)}, "one block size, got 16 and 32"),
        ({"a_metadata": np.zeros((1, 2, 8), np.uint8)}, "nvfp4 has no metadata, got a_metadata uint8"),
        ({"format": "m2xfp"}, r"a_scales must be uint8 \(1, 2, 4\), got uint8 \(1, 2, 8\)"),
        ({"format": "e4m3"}, r"e4m3 has no scales, got a_scales uint8 \(1, 2, 8\)"),
        ({"format": "mxfp8_e4m3"}, r"a_scales must be uint8 \(1, 2, 4\) for codes \(1, 2, 128\), got"),
    ],
)
def test_bad_input_is_refused(change, message):
    case = make("nvfp4", 16, "plain", np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(case, **change).run()


def test_m2xfp_needs_metadata():
    case = make("m2xfp", 32, "plain", np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"b_metadata must be uint8 \(1, 3, 4\), got None"):
        dataclasses.replace(case, b_metadata=None).run()
