"""The page of all reports."""

import base64
import re

import pytest
from conftest import ROOT

from hwsim.base.errors import InputError
from hwsim.reports import index

pytest.importorskip("markdown_it")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_reports_links_and_pictures(tmp_path):
    (tmp_path / "overhead.md").write_text("# Tiles & <more>\n\n[x](pareto.md#part)\n\n![p](overhead.png)\n")
    (tmp_path / "pareto.md").write_text("# Worth it?\n\n| a | b |\n| --- | ---: |\n| x | 1 |\n")
    (tmp_path / "overhead.png").write_bytes(PNG)
    page = index.page(tmp_path)
    assert re.findall(r'<section id="(\w+)">', page) == ["pareto", "overhead"]
    assert '<a href="#overhead">Tiles &amp; &lt;more&gt;</a>' in page and '<a href="#pareto">x</a>' in page
    assert "data:image/png;base64," + base64.b64encode(PNG).decode() in page
    assert '<td style="text-align:right">1</td>' in page


def test_the_page_needs_no_network():
    page = index.page(ROOT / "reports")
    outside = [u for u in re.findall(r'(?:src|href)="(https?:[^"]+)"', page) if "src=" in u]
    assert outside == [] and "<script src" not in page and "<link" not in page and "@import" not in page
    # Every picture of the reports is in it.
    assert not re.findall(r'src="[\w.-]+\.png"', page)


def test_no_reports(tmp_path):
    with pytest.raises(InputError, match="no reports in"):
        index.page(tmp_path)
