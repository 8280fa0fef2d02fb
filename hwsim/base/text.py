"""Text for people: aligned tables, Markdown tables and paragraphs, and the message about an unknown name."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Sequence
from typing import Any


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A plain-text table with aligned columns; those whose index is in ``right`` are aligned to the right."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    return "\n".join(
        "  ".join(c.rjust(widths[i]) if i in right else c.ljust(widths[i]) for i, c in enumerate(row)).rstrip()
        for row in rows
    )


def unknown(what: str, name: str, known: Any) -> str:
    """Message about a name that does not exist: the names that do, and the nearest of them.

    Parameters
    ----------
    what : str
        Kind of the thing that has the name, for instance ``unit``.
    name : str
    known : iterable of str
    """
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown {what}: {name} (known: {', '.join(known)}){hint}"


def markdown(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A Markdown table; the first row is the header, columns in ``right`` are aligned to the right."""
    rule = ["---:" if i in right else "---" for i in range(len(rows[0]))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def paragraph(text: str) -> str:
    """A paragraph broken into lines of at most 120 characters, between words."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def filled(text: str) -> str:
    """Markdown whose paragraphs are broken into lines anew; headings and tables stay as they are."""
    parts = text.strip("\n").split("\n\n")
    return "\n\n".join(part if part.startswith(("#", "|")) else paragraph(part) for part in parts) + "\n"


def printable(text: str) -> str:
    """Text of a file for a terminal or a plot: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
