"""Boolean functions as Liberty writes them: parse, evaluate, tabulate, compare, simplify.

Precedence, highest first, per the *Liberty User Guide* ("function" attribute): inversion (prefix ``!``,
postfix ``'``), XOR (``^``), AND (``*``, ``&`` or nothing but juxtaposition), OR (``+``, ``|``). Binary
operators associate to the left. ``1`` and ``0`` are constants.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import combinations, permutations
from typing import Any

import numpy as np

from hwsim.base.errors import InputError

_TOKEN = re.compile(r"\s*(?:([A-Za-z_][\w.\[\]]*)|([01])(?![\w.])|([!'*&+|^()]))")
# `canonical_class` tries every order of up to this many inputs; 8! orders would take too long.
MAX_PERMUTED_INPUTS = 7


@dataclass(frozen=True, slots=True)
class Expression:
    """A node of a boolean expression.

    Attributes
    ----------
    op : str
        ``"pin"``, ``"0"``, ``"1"``, ``"not"``, ``"and"``, ``"or"`` or ``"xor"``.
    operands : tuple
        Subexpressions; for ``"pin"`` the name of the pin.
    """

    op: str
    operands: tuple = ()

    @property
    def pins(self) -> tuple[str, ...]:
        """Pin names in the order of their first appearance."""
        return tuple(dict.fromkeys(self._names()))

    def _names(self) -> Iterator[str]:
        if self.op == "pin":
            yield self.operands[0]
            return
        for operand in self.operands:
            yield from operand._names()

    def evaluate(self, values: Mapping[str, Any], ones: Any = 1) -> Any:
        """Value of the expression, bitwise, so that one call evaluates as many vectors as a value has bits.

        Parameters
        ----------
        values : mapping of str to int or ndarray
            Value of every pin: a bool, an int, or an integer array.
        ones : int or ndarray scalar
            All bits in use set, e.g. ``1`` for single bits, ``np.uint64(2**64 - 1)`` for words of 64 vectors.

        Raises
        ------
        KeyError
            If a pin has no value.
        """
        if self.op == "pin":
            return values[self.operands[0]]
        if self.op == "1":
            return ones
        if self.op == "0":
            return ones ^ ones
        parts = [operand.evaluate(values, ones) for operand in self.operands]
        if self.op == "not":
            return parts[0] ^ ones
        return reduce(_OPERATIONS[self.op], parts)

    def table(self, pins: Sequence[str] | None = None) -> int:
        """Truth table as an integer: bit ``i`` is the value where pin ``k`` equals bit ``k`` of ``i``.

        Parameters
        ----------
        pins : sequence of str, optional
            Order of the inputs, of which the expression need not use all; default :attr:`pins`.
        """
        pins = self.pins if pins is None else pins
        ones = (1 << (1 << len(pins))) - 1
        return self.evaluate({pin: _column(k, len(pins)) for k, pin in enumerate(pins)}, ones)

    def __str__(self) -> str:
        """Liberty text that parses to an equal expression."""
        if self.op == "pin":
            return self.operands[0]
        if self.op in "01":
            return self.op
        if self.op == "not":
            return f"!{_wrapped(self.operands[0], 3)}"
        level = _LEVEL[self.op]
        first, *others = self.operands
        # Only the first operand may be of the same level: operators associate to the left.
        return f" {_SYMBOL[self.op]} ".join([_wrapped(first, level - 1), *(_wrapped(other, level) for other in others)])


_OPERATIONS = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}
_LEVEL = {"or": 0, "and": 1, "xor": 2}
_SYMBOL = {"or": "|", "and": "&", "xor": "^"}


def _wrapped(expression: Expression, level: int) -> str:
    """Text of an operand, in parentheses unless its operator binds tighter than ``level``."""
    text = str(expression)
    return f"({text})" if _LEVEL.get(expression.op, 4) <= level else text


def _column(k: int, inputs: int) -> int:
    """Truth table of input ``k`` itself: blocks of ``2**k`` zeros and ones."""
    block = ((1 << (1 << k)) - 1) << (1 << k)
    return sum(block << shift for shift in range(0, 1 << inputs, 2 << k))


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Parse a Liberty boolean function.

    Parameters
    ----------
    text : str
        For instance ``"!(A1 A2 + B')"``; quotes around it are ignored.

    Raises
    ------
    InputError
        With the position, if the text is not a boolean function.
    """
    text = text.strip().strip('"')
    tokens: list[tuple[str, int]] = []
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise _syntax_error(text, position, "a pin, 0, 1, an operator or a parenthesis")
        tokens.append((match.group().strip(), position))
        position = match.end()
    expression, rest = _binary(text, tokens, 0, 0)
    if rest < len(tokens):
        raise _syntax_error(text, tokens[rest][1], "an operator or the end")
    return expression


def _syntax_error(text: str, position: int, expected: str) -> InputError:
    return InputError(f"boolean function {text!r}: expected {expected} at column {position + 1}")


_BINARY = (("or", "+|"), ("and", "*&"), ("xor", "^"))


def _binary(text: str, tokens: list[tuple[str, int]], at: int, level: int) -> tuple[Expression, int]:
    """Parse from token ``at`` the operators of ``level`` and tighter; return the tree and the next token."""
    if level == len(_BINARY):
        return _inversion(text, tokens, at)
    op, symbols = _BINARY[level]
    first, at = _binary(text, tokens, at, level + 1)
    operands = [first]
    while at < len(tokens):
        token = tokens[at][0]
        if token in symbols:
            at += 1
        # Without a symbol only AND goes on, by juxtaposition: the next operand starts right here.
        elif op != "and" or token in "+|^*&)'":
            break
        operand, at = _binary(text, tokens, at, level + 1)
        operands.append(operand)
    return (Expression(op, tuple(operands)) if len(operands) > 1 else first), at


def _inversion(text: str, tokens: list[tuple[str, int]], at: int) -> tuple[Expression, int]:
    """Parse from token ``at`` one operand with its inversions; return the tree and the next token."""
    if at == len(tokens):
        raise _syntax_error(text, len(text), "an operand")
    token, position = tokens[at]
    if token == "!":
        operand, at = _inversion(text, tokens, at + 1)
        return Expression("not", (operand,)), at
    if token == "(":
        operand, at = _binary(text, tokens, at + 1, 0)
        if at == len(tokens) or tokens[at][0] != ")":
            raise _syntax_error(text, tokens[at][1] if at < len(tokens) else len(text), "')'")
    elif token in "01":
        operand = Expression(token)
    elif token[0].isalpha() or token[0] == "_":
        operand = Expression("pin", (token,))
    else:
        raise _syntax_error(text, position, "an operand")
    at += 1
    while at < len(tokens) and tokens[at][0] == "'":
        operand, at = Expression("not", (operand,)), at + 1
    return operand, at


def canonical_class(tables: Sequence[int], inputs: int) -> tuple[int, tuple[int, ...]]:
    """Key that is equal for functions that differ only in the order of their inputs (and outputs).

    Parameters
    ----------
    tables : sequence of int
        Truth table (:meth:`Expression.table`) of every output over the same inputs.
    inputs : int
        Number of inputs. Beyond `MAX_PERMUTED_INPUTS` the inputs are taken in the order given.

    Returns
    -------
    tuple of int and tuple of int
        Number of inputs and the smallest sorted tables over all orders of the inputs.
    """
    if inputs > MAX_PERMUTED_INPUTS:
        return inputs, tuple(sorted(tables))
    shape = (2,) * inputs
    cubes = [np.array([table >> i & 1 for i in range(1 << inputs)], dtype=np.uint8) for table in tables]
    best = min(
        tuple(sorted(cube.reshape(shape).transpose(order).tobytes() for cube in cubes))
        for order in permutations(range(inputs))
    )
    return inputs, tuple(sum(bit << i for i, bit in enumerate(row)) for row in best)


def unateness(table: int, inputs: int, k: int) -> str:
    """Sense of a function in input ``k``: ``positive_unate``, ``negative_unate``, ``non_unate`` or ``none``."""
    high, low = cofactors(table, inputs, k)
    rises, falls = bool(high & ~low), bool(low & ~high)
    if rises and falls:
        return "non_unate"
    return "positive_unate" if rises else "negative_unate" if falls else "none"


def cofactors(table: int, inputs: int, k: int) -> tuple[int, int]:
    """Truth tables with input ``k`` fixed at 1 and at 0, still over all inputs."""
    column, step = _column(k, inputs), 1 << k
    high, low = table & column, table & (column >> step)
    return high | high >> step, low | low << step


def minimised(table: int, pins: Sequence[str]) -> str:
    """A short sum of products of a truth table, as Liberty text.

    It takes Quine-McCluskey primes, those that cover most first, until all ones of the table are covered: the
    result is short, not provably shortest, and always the same.

    Parameters
    ----------
    table : int
        Truth table over ``pins``.
    pins : sequence of str
        Names, input 0 first; up to about 8.
    """
    size = 1 << len(pins)
    missing = {i for i in range(size) if table >> i & 1}
    if len(missing) in (0, size):
        return "1" if missing else "0"
    cubes = {(i, 0) for i in missing}  # (value, mask of inputs that do not matter)
    primes: set[tuple[int, int]] = set()
    while cubes:
        merged, used = set(), set()
        for a, b in combinations(sorted(cubes), 2):
            difference = a[0] ^ b[0]
            if a[1] == b[1] and difference.bit_count() == 1:
                merged.add((a[0] & ~difference, a[1] | difference))
                used |= {a, b}
        primes |= cubes - used
        cubes = merged
    cover = []
    while missing:
        # Ties go to the cube with fewer literals, then to the smaller one.
        value, mask = max(primes, key=lambda p: (_covers(p, missing), p[1].bit_count(), -p[0], -p[1]))
        cover.append((value, mask))
        missing = {i for i in missing if i & ~mask != value}
    return " | ".join(
        "&".join(("" if value >> k & 1 else "!") + pin for k, pin in enumerate(pins) if not mask >> k & 1)
        for value, mask in cover
    )


def _covers(cube: tuple[int, int], minterms: set[int]) -> int:
    """Number of ``minterms`` that a cube (value, mask of inputs that do not matter) covers."""
    value, mask = cube
    return sum(i & ~mask == value for i in minterms)
