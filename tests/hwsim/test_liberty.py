"""Liberty syntax and boolean functions."""

import gzip
import itertools
import random

import pytest

from hwsim import expression, liberty
from hwsim.errors import InputError

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


# Liberty text against Python: every operator, both inversions, and each pair of neighbouring precedences.
FUNCTIONS = {
    "!(A1 A2 + B')": lambda A1, A2, B: not ((A1 and A2) or not B),
    "A ^ B * C | D": lambda A, B, C, D: ((A != B) and C) or D,
    "A B ^ C D + E": lambda A, B, C, D, E: (A and (B != C) and D) or E,
    "A & !B | !A & B": lambda A, B: A != B,
    '"(A)(B)"': lambda A, B: A and B,
    "!A' ^ B": lambda A, B: A != B,
    "!(A + B)'": lambda A, B: A or B,
    "A * 1 + B * 0": lambda A, B: A,
    "D[0] + D[1]": lambda a, b: a or b,
}


@pytest.mark.parametrize("text", FUNCTIONS)
def test_functions_against_python(text):
    parsed = expression.parse(text)
    table = parsed.table()
    for i, values in enumerate(itertools.product((0, 1), repeat=len(parsed.pins))):
        # The first pin is bit 0 of the table's index, so it changes fastest.
        assert table >> i & 1 == bool(FUNCTIONS[text](*reversed(values))), (text, values)
        assert parsed.evaluate(dict(zip(parsed.pins, reversed(values), strict=True))) == table >> i & 1


def random_expression(generator, depth):
    if depth == 0:
        return expression.Expression("pin", (generator.choice("ABCD"),))
    op = generator.choice(["not", "and", "or", "xor"])
    count = 1 if op == "not" else generator.choice([2, 3])
    return expression.Expression(op, tuple(random_expression(generator, depth - 1) for _ in range(count)))


def test_text_of_an_expression_means_the_same():
    generator = random.Random(1)
    for _ in range(300):
        drawn = random_expression(generator, generator.choice([1, 2, 3]))
        parsed = expression.parse(str(drawn))
        assert parsed.table("ABCD") == drawn.table("ABCD"), str(drawn)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A +", "an operand at column 4"),
        ("(A", "')' at column 3"),
        ("A)", "an operator or the end at column 2"),
        ("", "an operand at column 1"),
        ("A # B", "a pin, 0, 1, an operator or a parenthesis at column 2"),
        ("* A", "an operand at column 1"),
        ("2A", "a pin, 0, 1, an operator or a parenthesis at column 1"),
    ],
)
def test_broken_functions_are_refused_with_their_column(text, expected):
    with pytest.raises(InputError) as error:
        expression.parse(text)
    assert f"expected {expected}" in str(error.value)


def class_of(text, pins):
    return expression.canonical_class([expression.parse(text).table(pins)], len(pins))


def test_class_ignores_the_order_of_inputs_only():
    assert class_of("A B + C", "ABC") == class_of("C B + A", "ABC") == class_of("A + B C", "ABC")
    assert class_of("A B + C", "ABC") != class_of("A B + !C", "ABC")
    assert class_of("A B", "AB") != class_of("A B", "ABC")


def test_class_of_all_three_input_functions():
    # 256 functions fall into 80 classes under permutation of three inputs (OEIS A003180).
    assert len({expression.canonical_class([table], 3) for table in range(256)}) == 80


@pytest.mark.parametrize("inputs", [1, 2, 3, 4])
def test_minimised_text_means_the_same(inputs):
    pins = "ABCD"[:inputs]
    tables = range(1 << (1 << inputs)) if inputs < 4 else random.Random(2).sample(range(1 << 16), 300)
    for table in tables:
        assert expression.parse(expression.minimised(table, pins)).table(pins) == table


def test_unateness():
    mux = expression.parse("A !S + B S").table("ABS")
    assert [expression.unateness(mux, 3, k) for k in range(3)] == ["positive_unate"] * 2 + ["non_unate"]
    nand = expression.parse("!(A B)").table("ABC")
    assert [expression.unateness(nand, 3, k) for k in range(3)] == ["negative_unate"] * 2 + ["none"]
