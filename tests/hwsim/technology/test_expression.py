"""Boolean functions as Liberty writes them."""

import itertools
import random

import pytest

from hwsim.base.errors import InputError
from hwsim.technology import expression

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
