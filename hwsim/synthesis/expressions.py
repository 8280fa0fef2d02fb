"""Amaranth values as Verilog expressions whose every operand has the width that the operator needs.

Verilog sizes and signs expressions by their context, Amaranth by their operands, and linters warn where the context
extends or cuts. So extensions and truncations are written out here, and every printed expression has the width that was
asked for whatever stands around it.

Amaranth does not export the classes of its expression tree; ``pyproject.toml`` holds it to the series whose classes
these are.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from amaranth.hdl import Const, Signal, Value
from amaranth.hdl._ast import ClockSignal, Concat, Operator, Slice, SwitchValue

#: Precedence of what was printed: a name or brackets, a unary operator, a binary operator, a conditional.
ATOM, UNARY, BINARY, CONDITIONAL = range(4)
_ASSOCIATIVE = ("+", "&", "|", "^")
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_REDUCTIONS = {"r|": "|", "r&": "&", "r^": "^", "b": "|"}


class Printer:
    """Prints values.

    Parameters
    ----------
    place : callable (Signal) -> (str, int, int)
        Vector that holds a signal in Verilog, the place of its lowest bit there, and the vector's width.
    temporary : callable (Value) -> str
        Name of a wire, as wide as the value, that holds a value which Verilog cannot take bits from.
    """

    def __init__(self, place: Callable[[Signal], tuple[str, int, int]], temporary: Callable[[Value], str]):
        self._place, self._temporary = place, temporary
        #: Wires for values that occur several times, by the identity of the value.
        self.shared: dict[int, str] = {}

    def text(self, value: Value, width: int | None = None) -> str:
        """Verilog of the low ``width`` bits of a value (default: all), extended by its sign if it has fewer."""
        return self._print(value, len(value) if width is None else width)[0]

    def condition(self, value: Value) -> str:
        """Verilog of whether a value is not zero, for ``if`` and ``?``."""
        return self._print(value, 1)[0] if len(value) == 1 else f"|{self._operand(value, len(value))}"

    def _operand(self, value: Value, width: int, operator: str = "") -> str:
        """A value as an operand: in brackets unless it binds more strongly than any binary operator."""
        while isinstance(value, Operator) and id(value) not in self.shared and _adds_nothing(value):
            value = value.operands[0]
        text, binds = self._print(value, width)
        same = operator in _ASSOCIATIVE and isinstance(value, Operator) and value.operator == operator
        if binds == ATOM or (binds == UNARY and operator) or (same and id(value) not in self.shared):
            return text
        return f"({text})"

    def _print(self, value: Value, width: int) -> tuple[str, int]:
        if id(value) in self.shared:
            return self._of_name(self.shared[id(value)], len(value), 0, len(value), value.shape().signed, width)
        match value:
            case Const():
                return constant(value.value, width), ATOM
            case ClockSignal():
                return "clk", ATOM
            case Signal():
                name, at, whole = self._place(value)
                return self._of_name(name, whole, at, at + len(value), value.shape().signed, width)
            case Slice():
                return self._slice(value, width)
            case Concat():
                return self._concatenation(list(value.parts), width)
            case SwitchValue():
                return self._choice(value, width)
            case Operator():
                return self._operator(value, width)
        raise NotImplementedError(f"Verilog of {type(value).__name__}")

    def _of_name(self, name: str, whole: int, start: int, stop: int, signed: bool, width: int) -> tuple[str, int]:
        """Bits ``start`` to ``stop`` of a named vector of ``whole`` bits, cut or extended to ``width``."""
        have = stop - start
        taken = min(have, width)
        select = "" if taken == whole else f"[{start}]" if taken == 1 else f"[{start + taken - 1}:{start}]"
        text = name + select
        if width <= have:
            return text, ATOM
        if not signed:
            return f"{{{constant(0, width - have)}, {text}}}", ATOM
        sign = name if whole == 1 else f"{name}[{stop - 1}]"
        return f"{{{repeated(sign, width - have)}, {text}}}", ATOM

    def _slice(self, value: Slice, width: int) -> tuple[str, int]:
        inner, start, stop = value.value, value.start, value.stop
        while id(inner) not in self.shared:
            if isinstance(inner, Slice):
                inner, start, stop = inner.value, start + inner.start, stop + inner.start
            elif isinstance(inner, Operator) and inner.operator in ("u", "s"):
                inner = inner.operands[0]
            else:
                break
        if start == stop:
            return constant(0, width), ATOM
        if id(inner) in self.shared:
            return self._of_name(self.shared[id(inner)], len(inner), start, stop, False, width)
        if isinstance(inner, Signal):
            name, at, whole = self._place(inner)
            return self._of_name(name, whole, at + start, at + stop, False, width)
        if isinstance(inner, Const):
            return constant((inner.value >> start) & ((1 << (stop - start)) - 1), width), ATOM
        if isinstance(inner, Concat):
            parts, at = [], 0
            for part in inner.parts:
                low, high = max(start - at, 0), min(stop - at, len(part))
                if low < high:
                    parts.append(part if (low, high) == (0, len(part)) else part[low:high])
                at += len(part)
            return self._concatenation(parts, width)
        if start == 0 and width <= stop:
            return self._print(inner, width)
        if start == 0 and not isinstance(inner, SwitchValue):
            return f"{{{constant(0, width - stop)}, {self._operand(inner, stop)}}}", ATOM
        return self._of_name(self._temporary(inner), len(inner), start, stop, False, width)

    def _concatenation(self, parts: list[Value], width: int) -> tuple[str, int]:
        """Parts, the lowest first, with equal neighbours as a replication and bits of one signal as a slice."""
        merged: list[Value] = []
        left = width
        for part in parts:
            taken = part if len(part) <= left else part[:left]
            left -= len(taken)
            if merged and isinstance(taken, Const) and isinstance(merged[-1], Const):
                merged[-1] = Const(_bits(taken) << len(merged[-1]) | _bits(merged[-1]), len(taken) + len(merged[-1]))
            elif len(taken):
                merged.append(taken)
        if left and merged and isinstance(merged[-1], Const):
            merged[-1] = Const(_bits(merged[-1]), len(merged[-1]) + left)
        elif left:
            merged.append(Const(0, left))
        if len(merged) == 1:
            return self._print(merged[0], width)
        # Each entry is a text, and where it is a vector's bits: the vector, the lowest, the highest and all.
        texts: list[tuple[str, tuple[str, int, int, int] | None, int]] = []
        for part in merged:
            bits = self._bits_of(part)
            text = self.text(part)
            if texts and texts[-1][0] == text:
                texts[-1] = (text, None, texts[-1][2] + 1)
                continue
            last = texts[-1][1] if texts else None
            if bits and last and last[0] == bits[0] and last[2] == bits[1]:
                bits = (last[0], last[1], bits[2], last[3])
                text = self._of_name(bits[0], bits[3], bits[1], bits[2], False, bits[2] - bits[1])[0]
                texts.pop()
            texts.append((text, bits, 1))
        if len(texts) == 1:
            return repeated(texts[0][0], texts[0][2]), ATOM
        return f"{{{', '.join(repeated(t, n) for t, _, n in reversed(texts))}}}", ATOM

    def _bits_of(self, value: Value) -> tuple[str, int, int, int] | None:
        """Vector, lowest bit, highest bit and one, and width of the vector, of a value that is bits of a vector."""
        if id(value) in self.shared:
            return None
        if isinstance(value, Concat):
            bits = [self._bits_of(part) for part in value.parts if len(part)]
            follow = all(a and b and (a[0], a[2]) == (b[0], b[1]) for a, b in pairwise(bits))
            return (
                (bits[0][0], bits[0][1], bits[-1][2], bits[0][3]) if bits and bits[0] and bits[-1] and follow else None
            )
        start, stop = 0, len(value)
        while isinstance(value, Slice) and id(value) not in self.shared:
            value, start, stop = value.value, value.start + start, value.start + stop
        if not isinstance(value, Signal):
            return None
        name, at, whole = self._place(value)
        return name, at + start, at + stop, whole

    def _choice(self, value: SwitchValue, width: int) -> tuple[str, int]:
        """A conditional for each case but the last."""
        *cases, (_, otherwise) = value.cases
        text, binds = self._print(otherwise, width)
        for patterns, chosen in reversed(cases):
            if len(value.test) == 1 and patterns == ("0",):
                test, first, last = self._operand(value.test, 1), text, self._operand(chosen, width)
                text = f"{test} ? {first if binds < CONDITIONAL else f'({first})'} : {last}"
            else:
                tests = [f"{self._operand(value.test, len(value.test))} == {len(value.test)}'b{p}" for p in patterns]
                test = tests[0] if len(tests) == 1 else " || ".join(f"({t})" for t in tests)
                text = f"({test}) ? {self._operand(chosen, width)} : {text}"
            binds = CONDITIONAL
        return text, binds

    def _operator(self, value: Operator, width: int) -> tuple[str, int]:
        operator, operands = value.operator, value.operands
        natural = len(value)
        if operator in ("u", "s"):
            inner = operands[0]
            if width <= natural or inner.shape().signed == (operator == "s"):
                return self._print(inner, width)
            if bits := self._bits_of(inner):
                name, start, stop, whole = bits
                return self._of_name(name, whole, start, stop, operator == "s", width)
            return self._of_name(self._temporary(inner), natural, 0, natural, operator == "s", width)
        if operator in _REDUCTIONS and len(operands) == 1:
            [inner] = operands
            if not len(inner):
                return constant(operator == "r&", width), ATOM
            single = len(inner) == 1 and operator != "r^"
            text = self._operand(inner, len(inner)) if single else f"{_REDUCTIONS[operator]}{self._wide(inner)}"
            return self._bit(text, ATOM if single else UNARY, width)
        if operator == "~":
            if width > natural and not value.shape().signed:
                return f"{{{constant(0, width - natural)}, ~{self._operand(operands[0], natural)}}}", ATOM
            return f"~{self._operand(operands[0], width)}", UNARY
        if operator == "-" and len(operands) == 1:
            return f"-{self._operand(operands[0], width)}", UNARY
        left, right = operands
        if operator in _COMPARISONS:
            return self._bit(self._comparison(operator, left, right), BINARY, width)
        if _adds_nothing(value):
            return self._print(left, width)
        if operator in ("+", "-", "*", "&", "|", "^"):
            # Modulo 2**width the low bits need no more than the low bits of the operands, and extended operands give
            # the extended result.
            return f"{self._operand(left, width, operator)} {operator} {self._right(right, width, operator)}", BINARY
        if operator == "<<" and isinstance(right, Const) and not right.value:
            return self._print(left, width)
        if operator == "<<":
            return f"{self._operand(left, width)} << {self._operand(right, len(right))}", BINARY
        if operator == ">>":
            if width < len(left):
                return self._of_name(self._temporary(value), natural, 0, natural, False, width)
            distance = self._operand(right, len(right))
            if left.shape().signed:
                return f"$unsigned($signed({self.text(left, width)}) >>> {distance})", ATOM
            return f"{self._operand(left, width)} >> {distance}", BINARY
        raise NotImplementedError(f"Verilog of operator {operator}")

    def _right(self, value: Value, width: int, operator: str) -> str:
        """A right operand: of operators that group to the left, so that ``a - (b + c)`` keeps its brackets."""
        return self._operand(value, width, operator if operator in _ASSOCIATIVE else "")

    def _wide(self, value: Value) -> str:
        """An operand of a reduction."""
        return self._operand(value, len(value))

    def _comparison(self, operator: str, left: Value, right: Value) -> str:
        shapes = [left.shape(), right.shape()]
        signed = any(s.signed for s in shapes)
        width = max(s.width + (signed and not s.signed) for s in shapes)
        texts = []
        for value in (left, right):
            if signed and operator not in ("==", "!="):
                texts.append(f"$signed({self.text(value, width)})")
            else:
                texts.append(self._operand(value, width))
        return f"{texts[0]} {operator} {texts[1]}"

    @staticmethod
    def _bit(text: str, binds: int, width: int) -> tuple[str, int]:
        """An expression of one bit, extended to ``width``."""
        return (text, binds) if width == 1 else (f"{{{constant(0, width - 1)}, {text}}}", ATOM)


def _adds_nothing(value: Operator) -> bool:
    """Whether an operator leaves its left operand as it is, because the right one is the constant 0."""
    zero = len(value.operands) == 2 and isinstance(value.operands[1], Const) and not value.operands[1].value
    return zero and value.operator in ("^", "|", "+", "-")


def _bits(value: Const) -> int:
    """The bits of a constant as an unsigned number."""
    return value.value & ((1 << len(value)) - 1)


def constant(value: int, width: int) -> str:
    """A sized constant: decimal where that is short, hexadecimal where it is not; of replicated bits for all ones."""
    value &= (1 << width) - 1
    if width > 4 and value == (1 << width) - 1:
        return f"{{{width}{{1'b1}}}}"
    if width == 1:
        return f"1'b{value}"
    return f"{width}'d{value}" if value < 1000 else f"{width}'h{value:x}"


def repeated(text: str, count: int) -> str:
    """``count`` copies of an expression, as one part of a concatenation."""
    return text if count == 1 else f"{{{count}{{{text}}}}}"
