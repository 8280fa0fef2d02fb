"""Encodings of products: every one is checked, and one measured again."""

from dataclasses import replace

import pytest
from conftest import ROOT

from hwsim.reports import choices
from hwsim.rtl.tile.products import E2M1, MAGNITUDES


@pytest.mark.parametrize("title", choices.CHOICES)
def test_every_product_is_right(title):
    product, magnitudes = choices.CHOICES[title]
    assert choices.wrong_products(product, magnitudes) == []


def test_a_code_with_two_magnitudes_exchanged_is_noticed():
    first, *others = E2M1.codes["a"]
    exchanged = frozenset({12 if n == 3 else 3 if n == 12 else n for n in first})
    wrong = replace(E2M1, codes=E2M1.codes | {"a": (exchanged, *others)})
    assert choices.wrong_products(wrong, MAGNITUDES)


def test_a_row_of_the_report_is_measured_again(library, tmp_path):
    area, delay = choices.measure(E2M1, library("asap7"), choices.TECHNOLOGIES["asap7"], tmp_path)
    row = next(r for r in (ROOT / "reports" / "mma_choices.md").read_text().splitlines() if "NVFP4, MXFP4" in r)
    assert f"| {area:.0f}, {delay:.0f} ps |" in row
