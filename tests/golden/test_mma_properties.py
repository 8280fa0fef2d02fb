"""Properties of the MMA that hold for every input."""

import dataclasses

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mma_cases import ACCUMULATORS, MODES, SHAPES, UNSCALED, WIDTHS, make

from hwsim.golden.accumulate import EXACT, Accumulator

cases = st.builds(
    lambda shape, mode, seed: make(*shape, mode, np.random.default_rng(seed)),
    st.sampled_from(SHAPES),
    st.sampled_from(MODES),
    st.integers(0, 2**32),
)
accumulators = st.sampled_from(ACCUMULATORS) | st.builds(
    Accumulator, st.none() | st.integers(1, 64), st.integers(1, 40), st.integers(1, 23)
)
quick = settings(max_examples=60, deadline=None)


def same(x, y):
    np.testing.assert_array_equal(x, y)


@quick
@given(cases, accumulators)
def test_swapping_the_operands_transposes_the_result(case, accumulator):
    assume(case.format != "m2xfp")  # Its operands are not of one kind.
    swapped = dataclasses.replace(
        case,
        a_codes=case.b_codes,
        a_scales=case.b_scales,
        b_codes=case.a_codes,
        b_scales=case.a_scales,
        c=case.c.transpose(0, 2, 1),
    )
    same(swapped.run(accumulator), case.run(accumulator).transpose(0, 2, 1))


@quick
@given(cases, accumulators, st.integers(0, 1))
def test_every_result_depends_on_its_row_and_column_alone(case, accumulator, row):
    alone = dataclasses.replace(
        case,
        a_codes=case.a_codes[:, row : row + 1],
        a_scales=None if case.a_scales is None else case.a_scales[:, row : row + 1],
        a_metadata=None if case.a_metadata is None else case.a_metadata[:, row : row + 1],
        c=case.c[:, row : row + 1],
    )
    same(alone.run(accumulator), case.run(accumulator)[:, row : row + 1])


@quick
@given(cases, accumulators)
def test_the_order_of_terms_within_a_step_does_not_matter(case, accumulator):
    assume(case.format not in WIDTHS or case.format in UNSCALED)  # MX blocks are not of the length of a step.
    k = case.a_codes.shape[2]
    g = 1 if case.a_scales is None else k // case.a_scales.shape[2]
    step = k if accumulator.is_exact else accumulator.terms or case.step_terms
    terms = np.arange(k // g)
    terms = terms[np.lexsort((-terms, terms // step))]
    lanes = (terms[:, None] * g + np.arange(g)).reshape(-1)
    permuted = {
        name: array[:, :, lanes if name.endswith("codes") else terms]
        for name, array in vars(case).items()
        if name[:2] in ("a_", "b_") and array is not None
    }
    same(dataclasses.replace(case, **permuted).run(accumulator), case.run(accumulator))


@quick
@given(cases, accumulators)
def test_zeros_at_the_end_of_k_change_nothing(case, accumulator):
    # A step of zeros passes D on only if it keeps all of an FP32 number.
    assume(accumulator.is_exact or accumulator.fraction_bits >= 23)
    # Code 0, any scale but NaN, and the Elem-EM metadata that leaves a code as it is.
    ends = {"codes": 0, "scales": 64, "metadata": 0b01010101}
    longer = {
        name: np.concatenate([array, np.full_like(array, ends[name[2:]])], axis=2)
        for name, array in vars(case).items()
        if name[:2] in ("a_", "b_") and array is not None
    }
    same(dataclasses.replace(case, **longer).run(accumulator), case.run(accumulator))


@quick
@given(cases, accumulators)
def test_negating_a_and_c_negates_the_result(case, accumulator):
    sign = case.a_codes.dtype.type(1 << (WIDTHS.get(case.format, 4) - 1))
    negated = dataclasses.replace(case, a_codes=case.a_codes ^ sign, c=case.c ^ np.uint32(1 << 31))
    d = case.run(accumulator)
    unsigned = (d == 0) | (d == 0x7FC00000)
    same(negated.run(accumulator), np.where(unsigned, d, d ^ np.uint32(1 << 31)))


@pytest.mark.parametrize(("format", "g"), SHAPES)
def test_threads_do_not_change_a_bit(format, g):
    case = make(format, g, "plain", np.random.default_rng(0), shape=(2, 140, 300))
    results = []
    for threads in (1, 2):
        if threads > numba.config.NUMBA_NUM_THREADS:
            pytest.skip("one thread only")
        before = numba.get_num_threads()
        try:
            numba.set_num_threads(threads)
            results.append([case.run(), case.run(EXACT)])
        finally:
            numba.set_num_threads(before)
    same(results[0], results[1])
    # Panels of columns, whole and partial, give what their columns give alone.
    last = dataclasses.replace(
        case,
        b_codes=case.b_codes[:, -7:],
        b_scales=None if case.b_scales is None else case.b_scales[:, -7:],
        b_metadata=None if case.b_metadata is None else case.b_metadata[:, -7:],
        c=case.c[:, :, -7:],
    )
    same(last.run(), results[0][0][:, :, -7:])
