"""Switching activity by bit-parallel simulation of a mapped netlist.

A machine word holds one net in 64 independent stimulus streams. The netlist becomes a straight program of two-input
operations in topological order; flip-flops take their next state at the start of every cycle. Toggles are counted per
net between settled states, so glitches within a cycle are not seen: reports say so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic  # mypy sees its functions with the arguments of their compilers

from hwsim.bits import to_bits
from hwsim.expression import Expression, minimised, parse
from hwsim.netlist import Group, Netlist, NetlistError

#: Words that one operation works on: one AVX-512 register, two AVX2 ones.
_WORDS = 8

# Every operation is ``(AND & a & b) ^ (XOR & (a ^ b)) ^ INVERT`` with masks of all ones or all zeros: no branch in the
# inner loop, and an OR is an AND and a XOR together.
_AND, _OR, _XOR, _NAND, _NOR, _XNOR = range(6)
_INVERTED = _NAND - _AND
_COPY, _NOT = _AND, _NAND
_MASKS = np.array(
    [
        (conjunction, exclusive, inversion)
        for inversion in (0, 1)
        for conjunction, exclusive in ((1, 0), (1, 1), (0, 1))
    ],
    np.uint64,
) * np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Program:
    """A netlist as operations on slots; the first slots are the nets.

    Attributes
    ----------
    operations : int32 [n, 4]
        What to do (a row of the masks), the destination and the two sources as slots. Small, because all of it goes
        through the cache in every cycle.
    slots : int
    state : int64 [flip-flops, 2]
        Slot of the next state and slot of the state.
    ones : list of int
        Slots that hold constant 1.
    """

    operations: np.ndarray
    slots: int
    state: np.ndarray
    ones: list[int]


@dataclass(frozen=True)
class Activity:
    """What simulation counted.

    Attributes
    ----------
    toggles, ones : int64 [nets]
        Changes of value, and cycles at 1, over all streams.
    cycles : int
        Vector-cycles counted: streams times cycles, without the warm-up.
    clocks : frozenset of int
        Clock nets; they toggle twice a cycle.
    outputs : dict of str to uint8 [vectors, width]
        Settled outputs in every cycle of every stream, streams one after the other.
    """

    toggles: np.ndarray
    ones: np.ndarray
    cycles: int
    clocks: frozenset[int]
    outputs: dict[str, np.ndarray]

    def toggle_rate(self) -> np.ndarray:
        """Toggles per cycle of every net."""
        rate = self.toggles / self.cycles
        rate[list(self.clocks)] = 2.0
        return rate

    def probability(self) -> np.ndarray:
        """Share of time that every net spends at 1."""
        share = self.ones / self.cycles
        share[list(self.clocks)] = 0.5
        return share


def compile_program(netlist: Netlist) -> Program:
    """Turn a netlist into operations.

    Raises
    ------
    NetlistError, InputError
        From the netlist or from functions that are not boolean.
    """
    program = _Assembly(netlist)
    for group in netlist.flip_flops:
        program.outputs(group)
    for group, rank in zip(netlist.groups, netlist.order, strict=True):
        if not group.cell.flip_flop:
            program.functions(group, rank)
    for group in netlist.flip_flops:
        program.next_state(group)
    return program.assembled()


class _Assembly:
    """Operations of whole groups of cells: one template each, its places filled with the instances' nets."""

    def __init__(self, netlist: Netlist):
        self.netlist = netlist
        #: The first slots are the nets, then comes one that holds constant 1.
        self.one = netlist.count
        self.slots = netlist.count + 1
        self._tied = _tied(netlist)
        self._operations: list[np.ndarray] = []
        self._ranks: list[np.ndarray] = []
        self._pairs: list[np.ndarray] = []
        self._states: dict[str, np.ndarray] = {}

    def outputs(self, group: Group) -> None:
        """Copy the states of flip-flops to their outputs; the net at a true output is the state."""
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
        self._add(template.filled(self._slots(template, nets)), rank)

    def next_state(self, group: Group) -> None:
        """Compute the next states of flip-flops."""
        flop = group.cell.flip_flop
        assert flop is not None
        for asynchronous in (flop.clear, flop.preset):
            if asynchronous is not None:
                self._check_tied_off(asynchronous, group)
        state = self._states[group.cell.name]
        # Liberty writes the state as IQ, whatever the library calls it (hwsim.cell_reader renames it).
        nets = group.pins | {"IQ": state}
        template = _Compiler(nets)
        result = template.expression(flop.next_state)
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
        self._operations.append(operations.reshape(-1, 4).astype(np.int32))
        self._ranks.append(np.repeat(rank, operations.shape[1]))

    def _fresh(self, count: int) -> np.ndarray:
        self.slots += count
        return np.arange(self.slots - count, self.slots)

    def _slots(self, template: _Compiler, nets: dict[str, np.ndarray]) -> np.ndarray:
        """Slot of every place of a template, by instance."""
        count = len(next(iter(nets.values())))
        temporary = [self._fresh(count) for _ in range(template.count - len(nets) - 1)]
        return np.stack([*nets.values(), np.full(count, self.one), *temporary], axis=1)

    def _check_tied_off(self, asynchronous: Expression, group: Group) -> None:
        values = {pin: self._tied[group.pins[pin]] for pin in asynchronous.pins}
        for i in range(len(group)):
            at = {pin: int(value[i]) for pin, value in values.items()}
            if min(at.values()) < 0 or asynchronous.evaluate(at):
                raise NetlistError(
                    f"{self.netlist.top}: asynchronous {asynchronous} of {self.netlist.instance_name(group, i)} is not "
                    "tied off: not simulated"
                )


def _tied(netlist: Netlist) -> np.ndarray:
    """Value of every net that always has one (constants and outputs of tie cells), else -1; one more for no net."""
    tied = np.full(netlist.count + 1, -1)
    for net, value in netlist.constants.items():
        tied[net] = value
    for group in netlist.groups:
        for pin in group.cell.outputs:
            function = group.cell.pins[pin].function
            if function is not None and function.op in "01":
                tied[group.pins[pin]] = int(function.op)
    tied[-1] = -1
    return tied


@lru_cache(maxsize=4096)
def _cheapest(function: Expression) -> Expression:
    """An equal expression of few operations: libraries write an AOI21 as a sum of products of complements."""
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
    if e.op in ("pin", "0", "1"):
        return 0
    if e.op == "not":
        # An inverted output costs nothing, an inverted input an operation.
        return max(_cost(e.operands[0]), 1)
    return len(e.operands) - 1 + sum(map(_cost, e.operands))


class _Compiler:
    """Operations of one cell on places: its pins, then constant 1, then intermediate values."""

    def __init__(self, pins: Iterable[str]):
        self.places = {pin: place for place, pin in enumerate(pins)}
        self._one = len(self.places)
        self.count = self._one + 1
        self.operations: list[tuple[int, int, int, int]] = []

    def emit(self, operation: int, a: int, b: int, to: int | None = None) -> int:
        if to is None:
            to = self.count
            self.count += 1
        self.operations.append((operation, to, a, b))
        return to

    def expression(self, e: Expression, to: int | None = None) -> int:
        """Emit an expression; the place that holds it, which is ``to`` if given."""
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
        found = np.empty((len(slots), *template.shape), np.int32)
        found[:, :, 0] = template[:, 0]
        found[:, :, 1:] = slots[:, template[:, 1:]]
        return found


def simulate(netlist: Netlist, inputs: dict[str, np.ndarray], streams: int = 64, warm_up: int = 0) -> Activity:
    """Run a netlist on stimulus and count.

    Parameters
    ----------
    netlist : Netlist
    inputs : dict of str to unsigned array [vectors, fields]
        Every input port but clock and reset; reset stays low. Consecutive vectors are consecutive cycles of one
        stream; each stream takes an equal share and left-over vectors are dropped.
    streams : int
        Independent sequences, a multiple of 64.
    warm_up : int
        Cycles of each stream that are simulated but not counted.

    Raises
    ------
    ValueError
        If ``streams`` is not a multiple of 64, or there are fewer than ``warm_up + 2`` vectors a stream.
    """
    run = Run(netlist, inputs, streams, warm_up)
    run()
    outputs, at = {}, 0
    for name, bits in netlist.outputs.items():
        outputs[name] = unpack_streams(run.outputs[:, at : at + len(bits)], streams)
        at += len(bits)
    return Activity(run.toggles, run.ones, (run.cycles - warm_up) * streams, netlist.clocks, outputs)


class Run:
    """A simulation with its stimulus packed, ready to be called; parameters and errors as :func:`simulate`.

    Attributes
    ----------
    cycles : int
        Of every stream.
    outputs : uint64 [cycles, output bits, words]
    """

    def __init__(self, netlist: Netlist, inputs: dict[str, np.ndarray], streams: int, warm_up: int = 0):
        if streams < 64 or streams % 64:
            raise ValueError(f"streams must be a positive multiple of 64, got {streams}")
        vectors = len(next(iter(inputs.values())))
        self.cycles = vectors // streams
        if self.cycles < warm_up + 2:
            raise ValueError(f"{vectors} vectors are too few for {streams} streams with a warm-up of {warm_up} cycles")
        self._program = compile_program(netlist)
        self._warm_up = warm_up
        groups = -(-streams // (64 * _WORDS))
        nets: list[int] = []
        planes = []
        for name, values in inputs.items():
            nets += netlist.inputs[name]
            used = values[: self.cycles * streams]
            planes.append(pack_streams(used, len(netlist.inputs[name]), streams, groups * _WORDS))
        self._given, self._slots = np.concatenate(planes, axis=1), np.array(nets, np.int64)
        self._out_nets = np.array([net for bits in netlist.outputs.values() for net in bits], np.int64)
        self.outputs = np.zeros((self.cycles, len(self._out_nets), groups * _WORDS), np.uint64)
        self._counts = np.zeros((2, groups, netlist.count, _WORDS), np.int64)
        self._words = streams // 64

    def __call__(self) -> None:
        """Simulate from the state of all zeros; counts start anew."""
        p = self._program
        _run(
            p.operations, p.slots, p.state, np.array(p.ones, np.int64), self._slots, self._given, self._out_nets,
            self.outputs, self._warm_up, self._counts[0], self._counts[1],
        )  # fmt: skip

    @property
    def toggles(self) -> np.ndarray:
        """Changes of every net, int64 [nets]."""
        return self._total(self._counts[0])

    @property
    def ones(self) -> np.ndarray:
        """Cycles at 1 of every net over all streams, int64 [nets]."""
        return self._total(self._counts[1])

    def _total(self, counts: np.ndarray) -> np.ndarray:
        groups, nets, _ = counts.shape
        return counts.transpose(1, 0, 2).reshape(nets, groups * _WORDS)[:, : self._words].sum(axis=1)


def pack_streams(values: np.ndarray, width: int, streams: int, words: int) -> np.ndarray:
    """Port values [vectors, fields] as words [cycles, width, words]; bit ``i`` of word ``j`` is stream ``64 j + i``."""
    bits = to_bits(values, width)
    cycles = len(bits) // streams
    by_stream = np.zeros((cycles, width, words * 64), np.uint8)
    by_stream[:, :, :streams] = bits.reshape(streams, cycles, width).transpose(1, 2, 0)
    return np.packbits(by_stream, axis=2, bitorder="little").view(np.uint64)


def unpack_streams(words: np.ndarray, streams: int) -> np.ndarray:
    """Words [cycles, width, words] back to bits, uint8 [vectors, width], streams one after the other."""
    cycles, width, _ = words.shape
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=2, bitorder="little")[:, :, :streams]
    return np.ascontiguousarray(bits.transpose(2, 0, 1)).reshape(streams * cycles, width)


@intrinsic
def _popcount(context, word):
    """Bits set in a uint64. Inline LLVM: NumPy's ``bitwise_count`` is not known to Numba."""

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), generate


@intrinsic
def _operate(context, values, to, a, b, conjunction, exclusive, inversion):
    """One operation on `_WORDS` words of ``values`` [slots * words].

    Written as vector instructions because the compiler cannot know that rows do not overlap, and would go word by
    word.
    """
    signature = types.void(values, *[types.int64] * 3, *[types.uint64] * 3)

    def generate(context, builder, signature, args):
        vector = ir.VectorType(ir.IntType(64), _WORDS)
        data = context.make_array(signature.args[0])(context, builder, args[0]).data

        def row(index):
            at = builder.gep(data, [builder.mul(index, ir.Constant(ir.IntType(64), _WORDS))])
            return builder.bitcast(at, vector.as_pointer())

        def everywhere(scalar):
            first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), _WORDS), [0] * _WORDS)
            return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)

        x, y = builder.load(row(args[2]), align=8), builder.load(row(args[3]), align=8)
        both = builder.and_(everywhere(args[4]), builder.and_(x, y))
        either = builder.and_(everywhere(args[5]), builder.xor(x, y))
        new = builder.xor(builder.xor(both, either), everywhere(args[6]))
        builder.store(new, row(args[1]), align=8)
        return context.get_dummy_value()

    return signature, generate


@njit(cache=True, parallel=True)
def _run(operations, slots, state, constant_ones, in_slots, given, out_nets, result, warm_up, toggles, ones):
    for group in prange(toggles.shape[0]):
        # A function of its own: inside the parallel loop the compiler would not keep what does not change.
        _run_group(
            group, operations, slots, state, constant_ones, in_slots, given, out_nets, result, warm_up,
            toggles[group].reshape(-1), ones[group].reshape(-1),
        )  # fmt: skip


@njit(cache=True)
def _run_group(
    group, operations, slots, state, constant_ones, in_slots, given, out_nets, result, warm_up, changed, high
):
    first = group * _WORDS
    values = np.zeros(slots * _WORDS, np.uint64)
    before = np.zeros(len(changed), np.uint64)
    following = np.zeros(len(state) * _WORDS, np.uint64)
    for slot in constant_ones:
        values[slot * _WORDS : (slot + 1) * _WORDS] = ~np.uint64(0)
    for cycle in range(given.shape[0]):
        for flop in range(len(state)):
            _copy(values, state[flop, 1] * _WORDS, following, flop * _WORDS)
        for k in range(len(in_slots)):
            _copy(values, in_slots[k] * _WORDS, given[cycle, k], first)
        for k in range(len(operations)):
            kind = operations[k, 0]
            _operate(  # type: ignore[call-arg]
                values,
                np.int64(operations[k, 1]),
                np.int64(operations[k, 2]),
                np.int64(operations[k, 3]),
                _MASKS[kind, 0],
                _MASKS[kind, 1],
                _MASKS[kind, 2],
            )
        _count(values, before, changed, high, cycle == warm_up)
        for flop in range(len(state)):
            _copy(following, flop * _WORDS, values, state[flop, 0] * _WORDS)
        for k in range(len(out_nets)):
            _copy(result[cycle, k], first, values, out_nets[k] * _WORDS)


@njit(cache=True, inline="always")
def _copy(to, at, source, start):
    for w in range(_WORDS):
        to[at + w] = source[start + w]


@njit(cache=True)
def _count(values, before, changed, high, anew):
    """Add toggles and ones per word; with ``anew`` forget what was counted so far."""
    if anew:
        changed[:] = 0
        high[:] = 0
    for i in range(len(before)):
        changed[i] += np.int64(_popcount(values[i] ^ before[i]))  # type: ignore[call-arg]
        high[i] += np.int64(_popcount(values[i]))  # type: ignore[call-arg]
        before[i] = values[i]
