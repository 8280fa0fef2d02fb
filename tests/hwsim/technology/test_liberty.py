"""Liberty text: parsed, written, refused."""

import gzip

import pytest

from hwsim.base.errors import InputError
from hwsim.technology import liberty

LIBRARY = """
/* comment with { brace */
library ("tiny") {
  time_unit : "1ns" ;   // to the end of the line
  capacitive_load_unit (1, pf);
  default_wire_load : "small";
  wire_load ("small") { slope : 2; fanout_length (1, 0.5); fanout_length (2, 1.5); }
  cell (INV) {
    area : 1.5
    pin (Y) {
      function : "!A";
      timing () {
        values ("1, 2", \\
                "3, 4");
      }
    }
  }
}
"""


def tree(group):
    return group.kind, group.args, group.simple, group.complex, [tree(child) for child in group.groups]


def test_statements_of_each_kind():
    library = liberty.parse(LIBRARY)
    assert library.name == "tiny"
    assert library.get("time_unit") == "1ns"
    assert list(library.values("capacitive_load_unit")) == [("1", "pf")]
    wire, cell = library.groups
    assert list(wire.values("fanout_length")) == [("1", "0.5"), ("2", "1.5")]
    assert cell.number("area") == 1.5  # no semicolon: ends with the line
    timing = cell.first("pin").first("timing")
    assert liberty.numbers(timing.raw("values")).tolist() == [1, 2, 3, 4]


def test_writing_and_parsing_gives_the_same_tree():
    library = liberty.parse(LIBRARY)
    assert tree(liberty.parse(liberty.write(library))) == tree(library)


def test_defaults_are_written_between_what_they_name_and_the_cells():
    text = liberty.write(liberty.parse(LIBRARY))
    assert text.index("wire_load (") < text.index("default_wire_load") < text.index("cell (")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("library (a) {\n  cell (b) {\n  }\n", "x.lib:4: file ends inside library (a), expected '}'"),
        ("library (a) {\n}\n}\n", "x.lib:3: unexpected '}', no group is open"),
        ("library (a) {\n  area : ;\n}", "x.lib:2: broken statement in library (a)"),
        ('library (a) {\n  index_1 ("1, 2);\n}', "x.lib:2: broken statement in library (a)"),
        ("hello world", "x.lib:1: not a Liberty file"),
        ("module top (a, b);\nendmodule\n", "not a Liberty file"),
        ("", "not a Liberty file: expected one library (...) {...}, found no group"),
        ("cell (a) { }", "expected one library (...) {...}, found cell"),
    ],
)
def test_broken_text_is_refused_with_its_place(text, message):
    with pytest.raises(InputError) as error:
        liberty.parse(text, "x.lib")
    assert message in str(error.value)


def test_megabytes_of_garbage_fail_at_once():
    with pytest.raises(InputError, match="broken statement in library"):
        liberty.parse("library (a) { values (" + '"1, 2, 3", ' * 200_000, "x.lib")


def test_files_plain_and_compressed(tmp_path):
    plain, packed = tmp_path / "a.lib", tmp_path / "b.lib"
    plain.write_text(LIBRARY)
    packed.write_bytes(gzip.compress(LIBRARY.encode()))
    assert tree(liberty.read(plain)) == tree(liberty.read(packed))


def test_truncated_gzip_and_missing_file(tmp_path):
    broken = tmp_path / "a.lib.gz"
    broken.write_bytes(gzip.compress(LIBRARY.encode())[:-20])
    with pytest.raises(InputError, match=r"a\.lib\.gz: truncated or corrupt gzip"):
        liberty.read(broken)
    with pytest.raises(InputError, match=r"cannot read Liberty file .*missing\.lib: No such file"):
        liberty.read(tmp_path / "missing.lib")


def test_words_among_numbers_are_named():
    with pytest.raises(InputError, match="expected numbers in a table, got 'x'"):
        liberty.numbers('"1, x, 3"')
    group = liberty.parse("library (a) { nom_voltage : high; }")
    with pytest.raises(InputError, match="nom_voltage must be a number, got 'high'"):
        group.number("nom_voltage")
