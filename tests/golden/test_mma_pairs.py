"""Instructions of two OCP MX formats, MBS and MicroMix: against the model in fractions and against single formats."""

import itertools
from dataclasses import replace
from fractions import Fraction

import mma_model
import numpy as np
import pytest

from hwsim import golden
from hwsim.golden.accumulate import BLACKWELL_FP8, BLOCK, EXACT, Accumulator
from hwsim.golden.formats import Rounding
from hwsim.golden.micromix import assign_channels
from hwsim.golden.mma import instruction, mma
from hwsim.golden.terms import MX_ELEMENTS

ACCUMULATORS = [BLACKWELL_FP8, EXACT, BLOCK, Accumulator(16, 13, 13), Accumulator(5, 9, 7, Rounding.NEAREST_EVEN)]
DIFFERENT = list(itertools.permutations(MX_ELEMENTS, 2))
MACRO = 128


def codes_of(element, shape, rng):
    """Codes, finite but for one in 200."""
    codes = rng.integers(0, 1 << element.width, shape).astype(np.uint8)
    finite = np.isfinite(element.values)
    return np.where(finite[codes] | (rng.random(shape) < 0.005), codes, 1).astype(np.uint8)


@pytest.mark.parametrize(("x", "y"), DIFFERENT)
def test_a_pair_is_what_fractions_give(x, y):
    rng = np.random.default_rng(7)
    shape, k = (4, 2, 3), 64
    a, b = codes_of(MX_ELEMENTS[x], (4, 2, k), rng), codes_of(MX_ELEMENTS[y], (4, 3, k), rng)
    a[1], b[1] = a[1] & 0x83, b[1] & 0x83  # small ones
    b[2, :, 32:], a[2, :, 32:] = b[2, :, :32], a[2, :, :32] ^ (1 << (MX_ELEMENTS[x].width - 1))  # cancel
    scales = [rng.integers(115, 140, (4, n, 2)).astype(np.uint8) for n in (2, 3)]
    scales[0][2, :, 1], scales[1][2, :, 1] = scales[0][2, :, 0], scales[1][2, :, 0]
    scales[0][3, 0, 0], scales[1][3, 1, 1] = 255, 0
    c = (rng.standard_normal(shape) * 2.0 ** rng.integers(-20, 20, shape)).astype(np.float32).view(np.uint32)
    c[0, 0, 0], c[0, 0, 1], c[0, 1, 0] = 0x7F800000, 1, 0x7FC00001
    names = x.rpartition("_")[2] if "_" in x else "e2m1", y.rpartition("_")[2] if "_" in y else "e2m1"
    for accumulator in ACCUMULATORS:
        d = instruction(a, scales[0], b, scales[1], c, x, accumulator, b_format=y)
        for v, m, n in np.ndindex(*shape):
            rows = (t.tolist() for t in (a[v, m], scales[0][v, m], b[v, n], scales[1][v, n]))
            terms = mma_model.terms_of_pair(*rows, *names)
            assert d[v, m, n] == mma_model.mma(terms, int(c[v, m, n]), accumulator, 32), (v, m, n, accumulator)


def test_products_of_mxfp4_elements_are_terms_beside_another_format_only():
    """Values of E2M1 that E4M3 holds too give the same bits as E4M3, which blocks of MXFP4 by MXFP4 do not."""
    rng = np.random.default_rng(1)
    w = golden.quantize(rng.standard_normal((3, 64)).astype(np.float32), "mxfp4")
    x = golden.quantize((rng.standard_normal((5, 64)) * 9).astype(np.float32), "mxfp8_e4m3")
    narrow, wide = MX_ELEMENTS["mxfp4"], MX_ELEMENTS["mxfp8_e4m3"]
    same = np.array([np.flatnonzero(wide.values == v)[0] for v in narrow.values], np.uint8)
    as_wide = replace(w, format="mxfp8_e4m3", segments=(("e4m3", 64),), codes=same[w.codes])
    for step in (Accumulator(32, 9), BLACKWELL_FP8):
        assert np.array_equal(mma(x, w, accumulator=step), mma(x, as_wide, accumulator=step))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("mxfp4_mbs_static", "mxfp4_mbs_dynamic"), ("mxfp4_mbs_static", "mxfp4_oas"),
        ("mxfp4_oas", "mxfp4_mbs_dynamic"),
    ],
)  # fmt: skip
def test_macro_blocks_are_scaled_and_added_in_fp32(x, y):
    rng = np.random.default_rng(2)
    a, b = (golden.quantize(rng.standard_normal((n, 3 * MACRO)).astype(np.float32), f) for n, f in ((4, x), (5, y)))
    c = rng.standard_normal((4, 5)).astype(np.float32)
    plain = [replace(t, format="mxfp4_oas", factors=None) for t in (a, b)]

    def rounded(value):
        return Fraction(float(np.uint32(mma_model.round_value(value, 23, True)).view(np.float32)))

    wanted = c.copy()
    for macro in range(3):
        part = slice(macro * MACRO, (macro + 1) * MACRO)
        blocks = slice(macro * 8, (macro + 1) * 8)
        cut = [
            replace(t, shape=(len(t.codes), MACRO), segments=(("e2m1", MACRO),), codes=t.codes[:, part],
                    scales=np.ascontiguousarray(t.scales[:, blocks]))
            for t in plain
        ]  # fmt: skip
        partial = mma(*cut)
        for m, n in np.ndindex(4, 5):
            stored = [0 if t.factors is None else int(t.factors[i, macro]) for t, i in ((a, m), (b, n))]
            both = rounded(rounded(1 / Fraction(256 + stored[0], 256)) * rounded(1 / Fraction(256 + stored[1], 256)))
            product = rounded(Fraction(float(partial[m, n])) * both)
            wanted[m, n] = float(rounded(Fraction(float(wanted[m, n])) + product))
    assert np.array_equal(mma(a, b, c), wanted)
    dense = golden.dequantize(a).astype(np.float64) @ golden.dequantize(b).astype(np.float64).T + c
    assert np.abs(mma(a, b, c, EXACT) - dense).max() < 1e-4


def test_macro_blocks_must_be_whole():
    rng = np.random.default_rng(2)
    a = golden.quantize(rng.standard_normal((2, MACRO)).astype(np.float32), "mxfp4_mbs_static")
    short = replace(a, shape=(2, 64), segments=(("e2m1", 64),), codes=a.codes[:, :64], scales=a.scales[:, :4])
    with pytest.raises(ValueError, match="a must have whole macro-blocks of 128, got K = 64"):
        mma(replace(short, factors=a.factors), replace(short, format="mxfp4_oas", factors=None))


def micromix(elements="e2m1+e3m2+e4m3"):
    rng = np.random.default_rng(3)
    x, w = (rng.standard_normal((rows, 512)).astype(np.float32) for rows in (6, 7))
    x *= np.exp(rng.normal(0, 3, 512)).astype(np.float32)
    assignment = assign_channels(x)
    assert min(assignment.lengths) > 0
    a = golden.quantize(x, "micromix", assignment=assignment)
    return a, golden.quantize(w, "micromix", assignment=assignment, elements=elements)


def segments(t):
    """The segments of a MicroMix tensor as tensors of their formats."""
    names = {"e2m1": "mxfp4", "e3m2": "mxfp6_e3m2", "e4m3": "mxfp8_e4m3"}
    first = 0
    for element, length in t.segments:
        part, blocks = slice(first, first + length), slice(first // 32, (first + length) // 32)
        codes, scales = (np.ascontiguousarray(x) for x in (t.codes[:, part], t.scales[:, blocks]))
        yield golden.BlockTensor(names[element], codes.shape, ((element, length),), codes, scales)
        first += length


@pytest.mark.parametrize("elements", ["e2m1+e3m2+e4m3", "e2m1+e2m1+e2m1"])
@pytest.mark.parametrize("between", ["fp32", "bf16"])
def test_segments_of_any_formats_are_one_chain(elements, between):
    a, w = micromix(elements)
    assert np.array_equal(golden.dequantize(w)[:, w.permutation[:32]], golden.dequantize(next(segments(w)))[:, :32])
    d = None
    for number, (x, y) in enumerate(zip(segments(a), segments(w), strict=True)):
        if number and between == "bf16":
            bits = d.view(np.uint32)
            d = ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).astype(np.uint32).view(np.float32)
        d = mma(x, y, d)
    assert np.array_equal(mma(a, w, between_segments=between), d)


def test_weights_in_fp4_are_stored_so():
    _, w = micromix("e2m1+e2m1+e2m1")
    assert w.bits_per_element == 4.25 and w.codes.max() < 16
    back = golden.BlockTensor.unpack(w.pack())
    assert np.array_equal(golden.dequantize(back), golden.dequantize(w))
    assert golden.SYSTEMS["micromix"].choices(w) == {"E2M1": 1.0}


def test_bad_pairs_are_refused():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 128)).astype(np.float32)
    a, b = golden.quantize(x, "mxfp8_e4m3"), golden.quantize(x, "mxfp4", block_size=16)
    with pytest.raises(ValueError, match=r"b_scales must be uint8 \(1, 2, 4\)"):
        mma(a, b)
    with pytest.raises(ValueError, match="b_format must be one of 'mxfp4'"):
        instruction(a.codes[None], a.scales[None], a.codes[None], a.scales[None], np.zeros((1, 2, 2), np.uint32),
                    "mxfp8_e4m3", b_format="nvfp4")  # fmt: skip
    with pytest.raises(ValueError, match="between_segments must be one of 'fp32', 'bf16', got 'fp16'"):
        mma(a, a, between_segments="fp16")
    with pytest.raises(ValueError, match="elements must be 3 of e2m1, .*joined by .*, got 'e2m1'"):
        golden.quantize(x, "micromix", elements="e2m1")
    foreign = replace(golden.quantize(x, "micromix"), segments=(("e2m1", 64), ("e3m2", 0), ("ue4m3", 64)))
    with pytest.raises(ValueError, match="segments of micromix must be of"):
        golden.dequantize(foreign)
