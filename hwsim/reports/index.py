"""``reports/index.html``: all reports on one page that needs no network; tables can be sorted and filtered."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.base.files import replace_all

#: Order of the reports on the page; others follow by name.
ORDER = ("pareto", "headlines", "layers", "overhead", "mixed", "quantise", "decode", "accuracy", "verification")


def write(folder: Path, build: Path) -> list[Path]:
    """Put the Markdown reports of a folder on one page.

    Raises
    ------
    InputError
        If the package ``markdown-it-py`` is missing, or there are no reports.
    """
    del build
    path = folder / "index.html"
    replace_all({path: page(folder)})
    return [path]


def page(folder: Path) -> str:
    """The page, with all pictures in it."""
    try:
        from markdown_it import MarkdownIt
    except ImportError:
        raise InputError("this report needs the package markdown-it-py: pip install 'hwsim[index]'") from None
    names = sorted((p.stem for p in folder.glob("*.md")), key=lambda n: (ORDER.index(n) if n in ORDER else 99, n))
    if not names:
        raise InputError(f"no reports in {folder}: python -m hwsim.report NAME makes them")
    render = MarkdownIt("commonmark").enable("table").render
    sections, links = [], []
    for name in names:
        text = (folder / f"{name}.md").read_text()
        title = html.escape(text.splitlines()[0].removeprefix("# "))
        body = _with_pictures(_with_anchors(render(text)), folder)
        sections.append(f'<section id="{name}">{body}</section>')
        links.append(f'<a href="#{name}">{title}</a>')
    return _PAGE.replace("@LINKS@", "\n".join(links)).replace("@SECTIONS@", "\n".join(sections))


def _with_anchors(body: str) -> str:
    """Links from report to report lead to places of the page."""
    return re.sub(r'href="(\w+)\.md(?:#[\w-]*)?"', r'href="#\1"', body)


def _with_pictures(body: str, folder: Path) -> str:
    def embedded(match: re.Match[str]) -> str:
        path = folder / match.group(1)
        if not path.exists():
            return match.group(0)
        return f'src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"'

    return re.sub(r'src="([\w.-]+\.png)"', embedded, body)


_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>hwsim: reports</title>
<style>
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; display: grid; grid-template-columns: 15em minmax(0, 1fr); }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; box-sizing: border-box; padding: 1em;
  border-right: 1px solid var(--line); }
nav a { display: block; padding: .2em 0; text-decoration: none; }
nav input { width: 100%; box-sizing: border-box; margin-bottom: .8em; padding: .3em; font: inherit; }
main { padding: 0 2em 4em; min-width: 0; }
section { border-bottom: 1px solid var(--line); padding-bottom: 2em; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; display: block;
  overflow-x: auto; }
th, td { padding: .2em .7em; border-bottom: 1px solid var(--line); white-space: nowrap; text-align: left; }
th { cursor: pointer; user-select: none; }
th[data-way="1"]::after { content: " \\25b2"; } th[data-way="-1"]::after { content: " \\25bc"; }
td[style*="right"], th[style*="right"] { text-align: right; }
img { max-width: 100%; background: white; }
code { font-size: 90%; }
.none { display: none; }
@media (max-width: 50em) { body { display: block; } nav { position: static; height: auto; border: 0; } }
</style>
</head>
<body>
<nav>
<input id="filter" type="search" placeholder="asap7 mixfp4"
  aria-label="Show only rows with all of these words">
@LINKS@
</nav>
<main>
@SECTIONS@
</main>
<script>
"use strict";
// Numbers sort as numbers: the first number of a cell, whatever unit or sign stands around it.
function value(cell) {
  const text = cell.textContent.trim(), number = text.match(/[-+]?[0-9]*\\.?[0-9]+(e[-+]?[0-9]+)?/i);
  return number && /^[-+*]?[0-9.]/.test(text) ? parseFloat(number[0]) : text.toLowerCase();
}
for (const table of document.querySelectorAll("table")) {
  const head = [...table.querySelectorAll("th")], body = table.tBodies[0];
  if (!body) continue;
  head.forEach((cell, column) => cell.addEventListener("click", () => {
    const way = cell.dataset.way === "1" ? -1 : 1;
    head.forEach(other => delete other.dataset.way);
    cell.dataset.way = way;
    const rows = [...body.rows].map(row => [value(row.cells[column]), row]);
    const order = (a, b) => typeof a !== typeof b ? (typeof a === "number" ? -1 : 1) : a < b ? -1 : a > b ? 1 : 0;
    rows.sort(([a], [b]) => way * order(a, b));
    body.append(...rows.map(([, row]) => row));
  }));
}
document.getElementById("filter").addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(/\\s+/).filter(Boolean);
  for (const body of document.querySelectorAll("tbody")) {
    const rows = [...body.rows], texts = rows.map(row => row.textContent.toLowerCase());
    // A word that no row of a table has does not concern that table.
    const ours = words.filter(word => texts.some(text => text.includes(word)));
    rows.forEach((row, i) => row.classList.toggle("none", !ours.every(word => texts[i].includes(word))));
  }
});
</script>
</body>
</html>
"""
