"""Lemmas of the tile of mixed formats; wrong specifications are refuted."""

import shutil

import pytest

from hwsim import units
from hwsim.verification import lemma_proofs, sources
from hwsim.verification.equivalence import PROVEN, REFUTED
from hwsim.verification.lemmas import lemmas

NARROW = {"m": 1, "n": 1, "formats": "e2m1+e4m3"}
#: Wrong specifications, each wrong in one thing: the module, what stands in the file, and what instead.
WRONG = {
    "a subnormal's exponent": ("mma_decode_a", "(field == 0 ? 1 : field)", "field"),
    "one format for both operands": ("mma_decode_a", "index == E2M1 && other == E2M1", "index == E2M1"),
    "a block that is zero leads": ("mma_exponents", "present = i < 2 && block_nonzero[i % 2];", "present = i < 2;"),
    "the first block's exponent": ("mma_exponents", "exponent = i == 0 ? first : second;", "exponent = first;"),
    "places of blocks": ("mma_sum", "fraction = i < 2 ? FRACTION + EXTRA : FRACTION;", "fraction = FRACTION;"),
}


def decided(module, build, settings=NARROW, twin=None):
    design = units.design("mx_mma", settings)
    modules = sources.graphs(design, sources.rtl_modules(design, build), build, "rtl")
    [lemma] = [lemma for lemma in lemmas(design) if lemma.module == module]
    return lemma_proofs.decide(lemma, modules[module], build, *([] if twin is None else [twin])).outcome


@pytest.mark.slow
@pytest.mark.parametrize("formats", ["e2m1+e4m3", "e2m1+e2m3+e3m2+e4m3+e5m2", "e2m3+e3m2"])
def test_every_module_does_what_its_specification_says(formats, tmp_path):
    settings = NARROW | {"formats": formats}
    names = [lemma.module for lemma in lemmas(units.design("mx_mma", settings))]
    assert len(names) == (8 if "e2m1" in formats else 6)
    for name in names:
        assert decided(name, tmp_path, settings) == PROVEN, name
        # Normalisation is the one of all tiles.
        if name != "mma_normalise":
            assert decided(name, tmp_path, settings, 1) == REFUTED, name


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_specifications_are_refuted(wrong, tmp_path, monkeypatch):
    module, right, instead = WRONG[wrong]
    specs = tmp_path / "specs"
    shutil.copytree(lemma_proofs.SPECS, specs)
    text = (specs / "mma_mixed.v").read_text()
    assert right in text
    (specs / "mma_mixed.v").write_text(text.replace(right, instead))
    monkeypatch.setattr(lemma_proofs, "SPECS", specs)
    assert decided(module, tmp_path) == REFUTED
