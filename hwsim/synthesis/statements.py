"""What Amaranth's statements and values drive, read and consist of: what the writer of Verilog asks of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from amaranth.hdl import Const, Fragment, Signal, Value
from amaranth.hdl._ast import Assign, ClockSignal, Concat, Operator, Slice, Statement, Switch, SwitchValue


def connections(fragment: Fragment) -> Iterator[tuple[Value, str]]:
    """What the ports of instances are connected to, but for clocks, and the kind of the port: ``i`` or ``o``."""
    for part, _, _ in fragment.subfragments:
        for value, kind in part.ports.values():  # type: ignore[attr-defined]
            if not isinstance(value, ClockSignal):
                yield value, kind


def live(fragment: Fragment, ports: Iterable[int]) -> tuple[list[Statement], list[Statement]]:
    """Statements, combinational and clocked, that drive what is read: by ports, instances or each other.

    Signals called ``unused*`` take bits that a component ignores, so that linters find these read.
    """
    statements = dict(fragment.statements)
    sides = [s for s in statements.pop("comb", []) if not _drives_clock(s)], [*itertools.chain(*statements.values())]
    waiting = list(itertools.chain(*sides))
    read = {*ports} | {id(s) for value, kind in connections(fragment) if kind == "i" for s in value._rhs_signals()}
    live: set[int] = set()
    while found := [s for s in waiting if any(id(d) in read or d.name.startswith("unused") for d in s._lhs_signals())]:
        live |= {id(s) for s in found}
        read |= {id(r) for s in found for r in s._rhs_signals()}
        waiting = [s for s in waiting if id(s) not in live]
    combinational, clocked = ([s for s in side if id(s) in live] for side in sides)
    return combinational, clocked


def _drives_clock(statement: Statement) -> bool:
    return isinstance(statement, Assign) and isinstance(statement.lhs, ClockSignal)


def driven(statements: Iterable[Statement]) -> list[Signal]:
    """Signals that statements assign, in the order in which the component made them."""
    signals = {id(s): s for statement in statements for s in statement._lhs_signals()}
    return sorted(signals.values(), key=lambda s: s.duid)


def groups(statements: Iterable[Statement]) -> list[list[Statement]]:
    """Statements that assign the same signals, or signals that one ``If`` or ``Switch`` assigns together."""
    groups: list[tuple[set[int], list[Statement]]] = []
    of: dict[int, int] = {}
    for statement in statements:
        driven = {id(s) for s in statement._lhs_signals()}
        places = sorted({of[d] for d in driven if d in of})
        if not places:
            places = [len(groups)]
            groups.append((set(), []))
        first = groups[places[0]]
        for other in places[1:]:
            first[0].update(groups[other][0])
            first[1].extend(groups[other][1])
            groups[other] = (set(), [])
        first[0].update(driven)
        first[1].append(statement)
        of |= dict.fromkeys(first[0], places[0])
    return [group for _, group in groups if group]


def is_partition(statements: Iterable[Statement]) -> bool:
    """Whether assignments drive every bit of their signals at most once."""
    bits = [(id(s), bit) for t in statements if isinstance(t, Assign) for s, bit in _bits_of(t.lhs)]
    return len(bits) == len(set(bits))


def _bits_of(value: Value) -> list[tuple[Signal, int]]:
    """Bits that a target consists of, the lowest first."""
    match value:
        case Operator():
            return _bits_of(value.operands[0])
        case Concat():
            return [bit for part in value.parts for bit in _bits_of(part)]
        case Slice():
            return _bits_of(value.value)[value.start : value.stop]
        case Signal():
            return [(value, i) for i in range(len(value))]
    raise NotImplementedError(f"an assignment to {type(value).__name__}")


def alike(value: Value) -> list[Value]:
    """The parts of a concatenation of at least three parts of equal width; empty for everything else."""
    parts = [part for part in value.parts if len(part)] if isinstance(value, Concat) else []
    return parts if len(parts) >= 3 and len({len(part) for part in parts}) == 1 else []


def values(statement: Statement) -> list[Value]:
    """Values that a statement reads."""
    if isinstance(statement, Assign):
        return [statement.rhs]
    assert isinstance(statement, Switch)
    return [statement.test, *(v for _, body, _ in statement.cases for s in body for v in values(s))]


def inner(value: Value) -> tuple[Value, ...]:
    """Values that a value is made of."""
    match value:
        case Operator():
            return tuple(value.operands)
        case Concat():
            return tuple(value.parts)
        case Slice():
            return (value.value,)
        case SwitchValue():
            return (value.test, *(v for _, v in value.cases))
    return ()


def is_plain(value: Value) -> bool:
    """Whether a value is no more than bits of a signal, or their inversion."""
    if isinstance(value, Operator):
        return value.operator in ("u", "s", "~") and is_plain(value.operands[0])
    return isinstance(value, Signal | Const) or (isinstance(value, Slice) and is_plain(value.value))
