"""The page of all reports."""

import base64
import re
import shutil
import subprocess

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


CHECK = """
<script>
const table = document.querySelector("table"), cells = table.querySelectorAll("th");
const column = i => [...table.tBodies[0].rows].filter(r => r.offsetParent).map(r => r.cells[i].textContent).join(" ");
const found = [];
cells[1].click(); found.push(column(1));
cells[1].click(); found.push(column(1));
const filter = document.getElementById("filter");
filter.value = "mixfp4"; filter.dispatchEvent(new Event("input")); found.push(column(0));
document.title = found.join("; ");
</script>
"""


@pytest.mark.slow
def test_tables_are_sorted_and_filtered_in_a_browser(tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium")
    (tmp_path / "overhead.md").write_text(
        "# Tiles\n\n| tile | um2 |\n| --- | ---: |\n| nvfp4 | 100.5 |\n| mixfp4 | +9.2 % |\n| mxfp4 | -3 |\n"
    )
    page = tmp_path / "index.html"
    page.write_text(index.page(tmp_path).replace("</body>", f"{CHECK}</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "<title>-3 +9.2 % 100.5; 100.5 +9.2 % -3; mixfp4</title>" in done.stdout


def test_the_committed_page_has_every_report():
    page = (ROOT / "reports" / "index.html").read_text()
    for path in (ROOT / "reports").glob("*.md"):
        assert f'<section id="{path.stem}">' in page
