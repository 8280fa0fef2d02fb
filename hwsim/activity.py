"""Switching activity by bit-parallel simulation of a mapped netlist.

A machine word holds one net in 64 independent stimulus streams. The netlist becomes a straight program of two-input
operations in topological order; flip-flops take their next state at the start of every cycle. Toggles are counted per
net between settled states, so glitches within a cycle are not seen: reports say so.
"""

from __future__ import annotations

from dataclasses import dataclass

import llvmlite.ir
import numpy as np
from numba import njit, prange, types
from numba.extending import intrinsic

from hwsim.bits import to_bits
from hwsim.expression import Expression
from hwsim.netlist import Netlist

#: Words that one pass of the program works on; wide enough for the vector unit, small enough for the cache.
_WORDS = 8
_AND, _OR, _XOR, _NOT, _COPY, _NAND, _NOR, _XNOR = range(8)
_INVERTED = {_AND: _NAND, _OR: _NOR, _XOR: _XNOR}


@dataclass(frozen=True)
class Program:
    """A netlist as operations on slots; the first slots are the nets.

    Attributes
    ----------
    operations : int32 [n, 4]
        Operation, destination, two sources.
    slots : int
    state : int32 [flip-flops, 2]
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
    compiler = _Compiler(len(netlist.nets))
    constants = [net for net, value in netlist.constants.items() if value]
    flops = netlist.flip_flops
    states = [compiler.slot() for _ in flops]
    for flop, state in zip(flops, states, strict=True):
        for pin, which in flop.cell.flip_flop.outputs.items():
            if pin in flop.nets:
                compiler.emit(_COPY if which == "IQ" else _NOT, state, state, flop.nets[pin])
    for gate in netlist.instances:
        if not gate.cell.flip_flop:
            for pin in gate.cell.outputs:
                if pin in gate.nets:
                    compiler.expression(gate.cell.pins[pin].function, gate.nets, gate.nets[pin])
    pairs = []
    for flop, state in zip(flops, states, strict=True):
        # Liberty writes the state as IQ, whatever the library calls it (hwsim.cell_reader renames it).
        names = dict(flop.nets) | {"IQ": state}
        pairs.append((compiler.expression(flop.cell.flip_flop.next_state, names), state))
    if compiler.one is not None:
        constants.append(compiler.one)
    return Program(
        np.array(compiler.operations, np.int32).reshape(-1, 4),
        compiler.slots,
        np.array(pairs, np.int32).reshape(-1, 2),
        constants,
    )


class _Compiler:
    def __init__(self, nets: int):
        self.slots = nets
        self.operations: list[tuple[int, int, int, int]] = []
        self.one: int | None = None

    def slot(self) -> int:
        self.slots += 1
        return self.slots - 1

    def emit(self, operation: int, a: int, b: int, to: int | None = None) -> int:
        to = self.slot() if to is None else to
        self.operations.append((operation, to, a, b))
        return to

    def expression(self, e: Expression, nets: dict[str, int], to: int | None = None) -> int:
        """Emit an expression; the slot that holds it, which is ``to`` if given."""
        if e.op == "pin":
            source = nets[e.operands[0]]
            return source if to is None else self.emit(_COPY, source, source, to)
        if e.op in "01":
            if self.one is None:
                self.one = self.slot()
            return self.emit(_COPY if e.op == "1" else _NOT, self.one, self.one, to)
        if e.op == "not":
            inner = e.operands[0]
            if inner.op in ("and", "or", "xor"):
                return self._chain(inner, nets, to, inverted=True)
            source = self.expression(inner, nets)
            return self.emit(_NOT, source, source, to)
        return self._chain(e, nets, to, inverted=False)

    def _chain(self, e: Expression, nets: dict[str, int], to: int | None, inverted: bool) -> int:
        operation = {"and": _AND, "or": _OR, "xor": _XOR}[e.op]
        *first, last = [self.expression(operand, nets) for operand in e.operands]
        value = first[0]
        for operand in first[1:]:
            value = self.emit(operation, value, operand)
        return self.emit(_INVERTED[operation] if inverted else operation, value, last, to)


def simulate(
    netlist: Netlist, inputs: dict[str, np.ndarray], streams: int = 64, warm_up: int = 0, program: Program | None = None
) -> Activity:
    """Run a netlist on stimulus and count.

    Parameters
    ----------
    netlist : Netlist
    inputs : dict of str to unsigned array [vectors, fields]
        Every input port but clock and reset; reset stays low. Consecutive vectors are consecutive cycles of one
        stream; each stream takes an equal share and left-over vectors are dropped.
    streams : int
        Independent sequences.
    warm_up : int
        Cycles of each stream that are simulated but not counted.
    program : Program, optional
        From :func:`compile_program`, if at hand.

    Raises
    ------
    ValueError
        If there are fewer than ``warm_up + 2`` vectors a stream.
    """
    program = program or compile_program(netlist)
    vectors = len(next(iter(inputs.values())))
    cycles = vectors // streams
    if cycles < warm_up + 2:
        raise ValueError(f"{vectors} vectors are too few for {streams} streams with a warm-up of {warm_up} cycles")
    words = -(-streams // 64)
    groups = -(-words // _WORDS)
    nets, planes = [], []
    for name, values in inputs.items():
        nets += netlist.inputs[name]
        planes.append(pack_streams(values[: cycles * streams], len(netlist.inputs[name]), streams, groups * _WORDS))
    given = np.concatenate(planes, axis=1)
    mask = np.zeros(groups * _WORDS, np.uint64)
    mask[: streams // 64] = ~np.uint64(0)
    if streams % 64:
        mask[streams // 64] = (np.uint64(1) << np.uint64(streams % 64)) - np.uint64(1)
    out_nets = [net for bits in netlist.outputs.values() for net in bits]
    result = np.zeros((cycles, len(out_nets), groups * _WORDS), np.uint64)
    toggles = np.zeros((groups, len(netlist.nets)), np.int64)
    ones = np.zeros((groups, len(netlist.nets)), np.int64)
    _run(
        program.operations, program.slots, program.state, np.array(program.ones, np.int32), np.array(nets, np.int32),
        given, np.array(out_nets, np.int32), result, mask, warm_up, toggles, ones,
    )  # fmt: skip
    clocks = frozenset(
        flop.nets[pin] for flop in netlist.flip_flops for pin in flop.cell.flip_flop.clocked_on.pins if pin in flop.nets
    )
    outputs, at = {}, 0
    for name, bits in netlist.outputs.items():
        outputs[name] = unpack_streams(result[:, at : at + len(bits)], streams)
        at += len(bits)
    return Activity(toggles.sum(0), ones.sum(0), (cycles - warm_up) * streams, clocks, outputs)


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
    """Bits set in a uint64; NumPy's ``bitwise_count`` is not known to Numba."""

    def generate(context, builder, signature, args):
        function = builder.module.declare_intrinsic("llvm.ctpop", [llvmlite.ir.IntType(64)])
        return builder.call(function, args)

    return types.uint64(types.uint64), generate


@njit(cache=True, parallel=True)
def _run(operations, slots, state, constant_ones, in_nets, given, out_nets, result, mask, warm_up, toggles, ones):
    cycles = given.shape[0]
    nets = toggles.shape[1]
    for group in prange(toggles.shape[0]):
        first = group * _WORDS
        masked = mask[first : first + _WORDS]
        values = np.zeros((slots, _WORDS), np.uint64)
        following = np.zeros((len(state), _WORDS), np.uint64)
        new = np.zeros(_WORDS, np.uint64)
        values[constant_ones] = ~np.uint64(0)
        for cycle in range(cycles):
            counted = cycle >= warm_up
            for flop in range(len(state)):
                for w in range(_WORDS):
                    values[state[flop, 1], w] = following[flop, w]
            for k in range(len(in_nets)):
                for w in range(_WORDS):
                    new[w] = given[cycle, k, first + w]
                _store(values, in_nets[k], new, masked, counted, toggles[group], ones[group])
            for k in range(len(operations)):
                a, b = operations[k, 2], operations[k, 3]
                _operate(operations[k, 0], values, a, b, new)
                to = operations[k, 1]
                if to < nets:
                    _store(values, to, new, masked, counted, toggles[group], ones[group])
                else:
                    for w in range(_WORDS):
                        values[to, w] = new[w]
            for flop in range(len(state)):
                for w in range(_WORDS):
                    following[flop, w] = values[state[flop, 0], w]
            for k in range(len(out_nets)):
                for w in range(_WORDS):
                    result[cycle, k, first + w] = values[out_nets[k], w]


@njit(cache=True, inline="always")
def _operate(operation, values, a, b, new):
    if operation == _NAND:
        for w in range(_WORDS):
            new[w] = ~(values[a, w] & values[b, w])
    elif operation == _NOR:
        for w in range(_WORDS):
            new[w] = ~(values[a, w] | values[b, w])
    elif operation == _AND:
        for w in range(_WORDS):
            new[w] = values[a, w] & values[b, w]
    elif operation == _OR:
        for w in range(_WORDS):
            new[w] = values[a, w] | values[b, w]
    elif operation == _XOR:
        for w in range(_WORDS):
            new[w] = values[a, w] ^ values[b, w]
    elif operation == _XNOR:
        for w in range(_WORDS):
            new[w] = ~(values[a, w] ^ values[b, w])
    elif operation == _NOT:
        for w in range(_WORDS):
            new[w] = ~values[a, w]
    else:
        for w in range(_WORDS):
            new[w] = values[a, w]


@njit(cache=True, inline="always")
def _store(values, net, new, masked, counted, toggles, ones):
    if counted:
        changed = np.uint64(0)
        high = np.uint64(0)
        for w in range(_WORDS):
            changed += _popcount((values[net, w] ^ new[w]) & masked[w])
            high += _popcount(new[w] & masked[w])
        toggles[net] += changed
        ones[net] += high
    for w in range(_WORDS):
        values[net, w] = new[w]
