"""The golden models reproduce what public implementations make of the same inputs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwsim import golden
from hwsim.base.errors import InputError
from hwsim.peers.conformance import NO_TYPE, SLICE, SUM_ORDER, TIES_UP, compare

WHOLE = Path(__file__).parents[2].parent / "shared" / "vectors" / "conformance_seed11.npz"
VECTORS = WHOLE if WHOLE.exists() else SLICE
#: Formats that no other implementation has made vectors of.
WITHOUT_VECTORS = {"micromix"}


@pytest.mark.parametrize("path", sorted({SLICE, VECTORS}), ids=lambda p: p.stem)
def test_no_difference_is_left_unexplained(path):
    comparisons = compare(path)
    # Four Over Six is compared under the names of its rules.
    assert {c.format.split()[0] for c in comparisons} >= set(golden.SYSTEMS) - WITHOUT_VECTORS
    for c in comparisons:
        assert c.compared > 0
        assert c.unexplained == 0, c


def test_explained_differences_are_few_and_of_the_known_kinds():
    explained = [c for c in compare(VECTORS) if c.explained]
    assert {(c.format, c.distribution, c.what, c.explained, c.why) for c in explained} == {
        ("four_over_six mae", "special", "scales", 1, SUM_ORDER),
        ("four_over_six mae", "special", "elements", 5, SUM_ORDER),
        ("mixfp4", "special", "choices", 33, NO_TYPE),
        ("mxfp4_oas", "special", "values", 107, TIES_UP),
        ("mxfp4_mbs_static", "special", "values", 70, TIES_UP),
        ("mxfp4_mbs_dynamic", "special", "values", 5, TIES_UP),
    }


def test_values_of_mixfp4_are_compared():
    def wrong(x, format, **options):
        t = golden.quantize(x, format, **options)
        return replace(t, tensor_amax=np.nextafter(t.tensor_amax, np.float32(0))) if format == "mixfp4" else t

    assert not any(c.unexplained for c in compare(SLICE) if c.format == "mixfp4")
    assert {c.what for c in compare(SLICE, wrong) if c.unexplained} == {"values"}


@pytest.mark.parametrize("name", sorted(set(golden.SYSTEMS) - WITHOUT_VECTORS))
def test_one_wrong_code_is_noticed(name):
    def wrong(x, format, **options):
        t = golden.quantize(x, format, **options)
        if format == name:
            t = replace(t, codes=t.codes.copy())
            block = np.argmax(t.codes[0] & 7)
            t.codes[0, block] ^= 1
        return t

    assert any(c.unexplained and c.format.split()[0] == name for c in compare(SLICE, wrong))


def test_another_scale_rounding_is_noticed():
    def wrong(x, format, **options):
        return golden.quantize(x, format, **options, **({"scale_rounding": "up"} if format == "nvfp4" else {}))

    assert any(c.unexplained for c in compare(SLICE, wrong) if c.format == "nvfp4" and c.what == "scales")


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no vector file"):
        compare(tmp_path / "none.npz")
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="holds no inputs"):
        compare(tmp_path / "foreign.npz")
