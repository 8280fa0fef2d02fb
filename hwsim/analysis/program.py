"""A netlist as a straight-line program of two-input operations, for bit-parallel simulation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hwsim.analysis.netlist import Group, Netlist, NetlistError
from hwsim.technology.expression import Expression, minimised, parse

# Every operation is ``(AND & a & b) ^ (XOR & (a ^ b)) ^ INVERT`` with masks of all ones or all zeros: no branch in the
# inner loop, and an OR is an AND and a XOR together.
_AND, _OR, _XOR, _NAND, _NOR, _XNOR = range(6)
# Added to an operation, this gives the one with inverted result.
_INVERTED = _NAND - _AND
_COPY, _NOT = _AND, _NAND
#: Name, in place of a pin, of the slot that says whether a flip-flop's clock has a pulse.
_ENABLED = "enabled"
MASKS = np.array(
    [
        (conjunction, exclusive, inversion)
        for inversion in (0, 1)
        for conjunction, exclusive in ((1, 0), (1, 1), (0, 1))
    ],
    np.uint64,
) * np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Program:
    """A netlist as operations on slots.

    A slot holds one value in all streams: that of a net, an intermediate result or a constant. The first slots are
    the nets. That of a gated clock is 1 in cycles that begin with a pulse of it.

    Attributes
    ----------
    operations : int32 [n, 4]
        Row of `MASKS`, destination slot and two source slots. The dtype is small because the whole array goes through
        the cache in every cycle.
    slots : int
        Number of slots.
    state : int64 [flip-flops, 2]
        Slot of the next state and slot of the state.
    ones : list of int
        Slots that hold constant 1.
    """

    operations: np.ndarray
    slots: int
    state: np.ndarray
    ones: list[int]


def compile_program(netlist: Netlist) -> Program:
    """Turn a netlist into operations.

    Raises
    ------
    NetlistError
        If a clear or preset of a flip-flop is not tied to its inactive value.
    """
    program = _Assembly(netlist)
    for group in netlist.flip_flops:
        program.outputs(group)
    for group in netlist.clock_gates:
        program.enables(group)
    for group, rank in zip(netlist.groups, netlist.order, strict=True):
        if not group.cell.is_clocked:
            program.functions(group, rank)
    for group in netlist.flip_flops:
        program.next_state(group)
    return program.assembled()


class _Assembly:
    """Collects the operations of a netlist, group by group.

    A cell is compiled once, to a template of operations on places (see :class:`_Compiler`). Every instance gets a copy
    with its own slots in the places.
    """

    def __init__(self, netlist: Netlist):
        self.netlist = netlist
        #: The first slots are the nets, then comes one that holds constant 1.
        self.one = netlist.count
        self.slots = netlist.count + 1
        #: Slots of intermediate results that nothing reads once the next instance is computed. All instances share
        #: them, so that they stay in the cache.
        self._scratch: list[int] = []
        self._operations: list[np.ndarray] = []
        self._ranks: list[np.ndarray] = []
        self._pairs: list[np.ndarray] = []
        self._states: dict[str, np.ndarray] = {}
        #: By gated clock, the slot that says whether it has a pulse in the next cycle; that of 1 for other nets.
        self._enabled = np.full(netlist.count + 1, self.one)

    def outputs(self, group: Group) -> None:
        """Copy the states of flip-flops to their outputs.

        The slot of a state is that of the net at the first connected true output, which then needs no copy.
        """
        flop = group.cell.flip_flop
        assert flop is not None
        true = [group.pins[pin] for pin, which in flop.outputs.items() if which == "IQ"]
        state = np.full(len(group), -1)
        for nets in true:
            state = np.where(state < 0, nets, state)
        state = np.where(state < 0, self._fresh(len(group)), state)
        self._states[group.cell.name] = state
        for pin, which in flop.outputs.items():
            nets = group.pins[pin]
            where = np.flatnonzero((nets >= 0) & (nets != state))
            kind = np.full(len(where), _COPY if which == "IQ" else _NOT)
            operations = np.stack([kind, nets[where], state[where], state[where]], axis=1)
            self._add(operations[:, None], np.full(len(where), -1))

    def enables(self, group: Group) -> None:
        """Compute the enables of clock gates, which decide on the pulses of the next cycle."""
        gate = group.cell.clock_gate
        assert gate is not None
        template = _Compiler(group.pins)
        result = template.expression(gate.enable)
        where = self._slots(template, group.pins)
        self._add(template.filled(where), np.full(len(group), self.netlist.cells))
        gated = group.pins[gate.output]
        self._enabled[gated] = where[:, result]
        self._pairs.append(np.stack([where[:, result], gated], axis=1))

    def functions(self, group: Group, rank: np.ndarray) -> None:
        """Compute the outputs of combinational cells."""
        outputs = [pin for pin in group.cell.outputs if (group.pins[pin] >= 0).any()]
        template = _Compiler(group.cell.pins)
        for pin in outputs:
            function = group.cell.pins[pin].function
            assert function is not None
            template.expression(_cheapest(function), to=template.places[pin])
        # A net that an instance lacks becomes a slot that nothing reads.
        nets = {pin: np.where(n >= 0, n, self._fresh(len(group)) if (n < 0).any() else n)
                for pin, n in group.pins.items()}  # fmt: skip
        self._add(template.filled(self._slots(template, nets, shared=True)), rank)

    def next_state(self, group: Group) -> None:
        """Compute the next states of flip-flops."""
        flop = group.cell.flip_flop
        assert flop is not None
        for asynchronous in (flop.clear, flop.preset):
            if asynchronous is not None:
                self._check_tied_off(asynchronous, group)
        state = self._states[group.cell.name]
        # The next state may be a function of the state itself, IQ.
        nets = group.pins | {"IQ": state}
        (clock,) = flop.clocked_on.pins
        enabled = self._enabled[group.pins[clock]]
        template = _Compiler(nets | {_ENABLED: enabled})
        function = flop.next_state
        if (enabled != self.one).any():
            # Without a pulse the state stays as it is.
            pulse, held = Expression("pin", (_ENABLED,)), Expression("pin", ("IQ",))
            changes = Expression("and", (pulse, Expression("xor", (held, function))))
            function = Expression("xor", (held, changes))
        nets |= {_ENABLED: enabled}
        result = template.expression(function)
        where = self._slots(template, nets)
        self._add(template.filled(where), np.full(len(group), self.netlist.cells))
        self._pairs.append(np.stack([where[:, result], state], axis=1))

    def assembled(self) -> Program:
        """The program, in order."""
        operations = np.concatenate([np.zeros((0, 4), np.int32), *self._operations])
        order = np.argsort(np.concatenate([np.zeros(0, np.int64), *self._ranks]), kind="stable")
        constants = [net for net, value in self.netlist.constants.items() if value]
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._pairs])
        return Program(operations[order], self.slots, pairs, [*constants, self.one])

    def _add(self, operations: np.ndarray, rank: np.ndarray) -> None:
        """Add operations [instances, operations, 4], to be run in the order of the instances' ranks."""
        self._operations.append(operations.reshape(-1, 4).astype(np.int32))
        self._ranks.append(np.repeat(rank, operations.shape[1]))

    def _fresh(self, count: int) -> np.ndarray:
        """New slots, int64 [count]."""
        self.slots += count
        return np.arange(self.slots - count, self.slots)

    def _slots(self, template: _Compiler, nets: dict[str, np.ndarray], shared: bool = False) -> np.ndarray:
        """Slots in the places of a template, int64 [instances, places]: nets, constant 1, intermediate results.

        Intermediate results that are ``shared`` last until the next instance is computed.
        """
        count, places = len(next(iter(nets.values()))), template.count - len(nets) - 1
        if shared:
            while len(self._scratch) < places:
                self._scratch += self._fresh(1).tolist()
            temporary = [np.full(count, slot) for slot in self._scratch[:places]]
        else:
            temporary = [self._fresh(count) for _ in range(places)]
        return np.stack([*nets.values(), np.full(count, self.one), *temporary], axis=1)

    def _check_tied_off(self, asynchronous: Expression, group: Group) -> None:
        values = {pin: self.netlist.tied[group.pins[pin]] for pin in asynchronous.pins}
        for i in range(len(group)):
            at = {pin: int(value[i]) for pin, value in values.items()}
            if min(at.values()) < 0 or asynchronous.evaluate(at):
                raise NetlistError(
                    f"{self.netlist.top}: asynchronous {asynchronous} of {self.netlist.instance_name(group, i)} is not "
                    "tied off: not simulated"
                )


@lru_cache(maxsize=4096)
def _cheapest(function: Expression) -> Expression:
    """An equal expression of few operations: libraries write an AOI21, say, as a sum of products of complements."""
    pins = function.pins
    table, ones = function.table(), (1 << (1 << len(pins))) - 1
    candidates = [
        function,
        parse(minimised(table, pins)),
        Expression("not", (parse(minimised(table ^ ones, pins)),)),
    ]
    parity = Expression("xor", tuple(Expression("pin", (pin,)) for pin in pins))
    if len(pins) > 1:
        candidates += [e for e in (parity, Expression("not", (parity,))) if e.table(pins) == table]
    return min(candidates, key=_cost)


def _cost(e: Expression) -> int:
    """Number of operations that an expression compiles to, about."""
    if e.op in ("pin", "0", "1"):
        return 0
    if e.op == "not":
        # The last operation inverts its own result at no cost; an inverted pin costs an operation.
        return max(_cost(e.operands[0]), 1)
    return len(e.operands) - 1 + sum(map(_cost, e.operands))


class _Compiler:
    """Compiles the functions of one cell to operations on places.

    A place stands for the slot that an instance has there: first come the pins, then constant 1, then intermediate
    results.
    """

    def __init__(self, pins: Iterable[str]):
        self.places = {pin: place for place, pin in enumerate(pins)}
        self._one = len(self.places)
        self.count = self._one + 1
        self.operations: list[tuple[int, int, int, int]] = []

    def emit(self, operation: int, a: int, b: int, to: int | None = None) -> int:
        """Append an operation; return the place of its result, a new one if ``to`` is None."""
        if to is None:
            to = self.count
            self.count += 1
        self.operations.append((operation, to, a, b))
        return to

    def expression(self, e: Expression, to: int | None = None) -> int:
        """Append the operations of an expression; return the place of its value, which is ``to`` if that is given."""
        if e.op == "pin":
            source = self.places[e.operands[0]]
            return source if to is None else self.emit(_COPY, source, source, to)
        if e.op in "01":
            return self.emit(_COPY if e.op == "1" else _NOT, self._one, self._one, to)
        if e.op == "not":
            inner = e.operands[0]
            if inner.op in ("and", "or", "xor"):
                return self._chain(inner, to, inverted=True)
            source = self.expression(inner)
            return self.emit(_NOT, source, source, to)
        return self._chain(e, to, inverted=False)

    def _chain(self, e: Expression, to: int | None, inverted: bool) -> int:
        operation = {"and": _AND, "or": _OR, "xor": _XOR}[e.op]
        *first, last = [self.expression(operand) for operand in e.operands]
        value = first[0]
        for operand in first[1:]:
            value = self.emit(operation, value, operand)
        return self.emit(operation + _INVERTED * inverted, value, last, to)

    def filled(self, slots: np.ndarray) -> np.ndarray:
        """The operations of every instance, int32 [instances, operations, 4], from its slots [instances, places]."""
        template = np.array(self.operations, np.int64).reshape(-1, 4)
        operations = np.empty((len(slots), *template.shape), np.int32)
        operations[:, :, 0] = template[:, 0]
        operations[:, :, 1:] = slots[:, template[:, 1:]]
        return operations
