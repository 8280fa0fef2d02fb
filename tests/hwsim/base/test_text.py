"""Text for people."""

from hwsim.base.text import filled


def test_paragraphs_are_filled_and_tables_left_alone():
    table = "| " + "wide " * 40 + "|\n| --- |"
    text = f"# Heading\n\none\ntwo {'word ' * 40}\n\n{table}\n"
    lines = filled(text).split("\n")
    assert lines[:2] == ["# Heading", ""] and lines[2].startswith("one two word") and table in filled(text)
    assert max(len(line) for line in lines if not line.startswith("|")) <= 120
