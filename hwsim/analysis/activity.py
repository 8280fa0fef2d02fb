"""Switching activity by bit-parallel simulation of a mapped netlist.

A net is simulated in words of 64 bits, one bit for each of 64 independent stimulus streams. The netlist becomes a
straight-line program of two-input operations in topological order; flip-flops take their next state at the start of
every cycle. Toggles are counted per net between settled states: glitches within a cycle are not seen, which
:mod:`hwsim.analysis.timed` counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic  # mypy takes an intrinsic's ``context`` for an argument of its callers

from hwsim.analysis.netlist import Netlist
from hwsim.analysis.program import MASKS, compile_program
from hwsim.base.bits import to_bits

#: Words of 64 streams that one operation works on: one AVX-512 register, or two AVX2 ones.
_WORDS = 8


@dataclass(frozen=True)
class Activity:
    """Toggles and cycles at 1 of every net in one simulation, and the outputs.

    Attributes
    ----------
    toggles, ones : int64 [nets]
        Changes of value, and cycles at 1, over all streams; for a gated clock, cycles with a pulse instead.
    cycles : int
        Vector-cycles counted: streams times cycles, without the warm-up.
    clocks : frozenset of int
        Clock nets; they toggle twice a cycle.
    gated : int64 [clock gates]
        Gated clocks, which do so in cycles with a pulse.
    outputs : dict of str to uint8 [vectors, width]
        Settled outputs in every cycle of every stream, streams one after the other.
    """

    toggles: np.ndarray
    ones: np.ndarray
    cycles: int
    clocks: frozenset[int]
    gated: np.ndarray
    outputs: dict[str, np.ndarray]

    def toggle_rate(self) -> np.ndarray:
        """Toggles per cycle of every net."""
        rate = self.toggles / self.cycles
        rate[list(self.clocks)] = 2.0
        rate[self.gated] = 2.0 * self.ones[self.gated] / self.cycles
        return rate

    def probability(self) -> np.ndarray:
        """Share of time that every net spends at 1."""
        share = self.ones / self.cycles
        share[list(self.clocks)] = 0.5
        share[self.gated] = 0.5 * self.ones[self.gated] / self.cycles
        return share


def simulate(netlist: Netlist, inputs: dict[str, np.ndarray], streams: int = 64, warm_up: int = 0) -> Activity:
    """Simulate a netlist on stimulus, and count every net's toggles and cycles at 1.

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
    return Activity(run.toggles, run.ones, (run.cycles - warm_up) * streams, netlist.clocks, netlist.gated, outputs)


class Run:
    """A simulation with its stimulus packed, ready to be called; parameters and errors as :func:`simulate`.

    Attributes
    ----------
    cycles : int
        Cycles of every stream, with the warm-up.
    outputs : uint64 [cycles, output bits, words]
        Settled outputs, laid out as :func:`pack_streams` does.
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
        self._stimulus, self._slots = np.concatenate(planes, axis=1), np.array(nets, np.int64)
        self._out_nets = np.array([net for bits in netlist.outputs.values() for net in bits], np.int64)
        self.outputs = np.zeros((self.cycles, len(self._out_nets), groups * _WORDS), np.uint64)
        self._counts = np.zeros((2, groups, netlist.count), np.int64)
        self._words = streams // 64

    def __call__(self) -> None:
        """Simulate from the state of all zeros; counts start anew."""
        p = self._program
        _run(
            p.operations, p.slots, p.state, np.array(p.ones, np.int64), self._slots, self._stimulus, self._out_nets,
            self.outputs, self._warm_up, self._words, self._counts[0], self._counts[1],
        )  # fmt: skip

    @property
    def toggles(self) -> np.ndarray:
        """Toggles of every net over all streams, int64 [nets]."""
        return self._counts[0].sum(axis=0)

    @property
    def ones(self) -> np.ndarray:
        """Cycles at 1 of every net over all streams, int64 [nets]."""
        return self._counts[1].sum(axis=0)


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
    """One operation of a program, on `_WORDS` words of the slots ``to``, ``a`` and ``b`` in ``values`` [slots * words].

    The last three arguments are a row of `MASKS`. The operation is written as vector instructions, because the
    compiler cannot know that slots do not overlap and would go word by word.
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
def _run(operations, slots, state, constant_ones, in_slots, stimulus, out_nets, result, warm_up, words, toggles, ones):
    for group in prange(toggles.shape[0]):
        # A function of its own, because the compiler does not hoist loop invariants inside a parallel loop.
        _run_group(
            group, operations, slots, state, constant_ones, in_slots, stimulus, out_nets, result, warm_up, words,
            toggles[group], ones[group],
        )  # fmt: skip


@njit(cache=True)
def _run_group(
    group, operations, slots, state, constant_ones, in_slots, stimulus, out_nets, result, warm_up, words, changed, high
):
    """Simulate group number ``group`` of `_WORDS` words; count toggles and ones into ``changed`` and ``high`` [nets].

    Streams fill ``words`` words of all groups together.
    """
    first = group * _WORDS
    # The last group may have words to spare.
    used = min(_WORDS, words - first)
    values = np.zeros(slots * _WORDS, np.uint64)
    before = np.zeros(len(changed) * _WORDS, np.uint64)
    following = np.zeros(len(state) * _WORDS, np.uint64)
    for slot in constant_ones:
        values[slot * _WORDS : (slot + 1) * _WORDS] = ~np.uint64(0)
    for cycle in range(stimulus.shape[0]):
        for flop in range(len(state)):
            _copy(values, state[flop, 1] * _WORDS, following, flop * _WORDS)
        for k in range(len(in_slots)):
            _copy(values, in_slots[k] * _WORDS, stimulus[cycle, k], first)
        for k in range(len(operations)):
            kind = operations[k, 0]
            _operate(  # type: ignore[call-arg]
                values,
                np.int64(operations[k, 1]),
                np.int64(operations[k, 2]),
                np.int64(operations[k, 3]),
                MASKS[kind, 0],
                MASKS[kind, 1],
                MASKS[kind, 2],
            )
        _count(values, before, used, changed, high, cycle == warm_up)
        # All next states are read before any state changes: one flip-flop may feed another directly.
        for flop in range(len(state)):
            _copy(following, flop * _WORDS, values, state[flop, 0] * _WORDS)
        for k in range(len(out_nets)):
            _copy(result[cycle, k], first, values, out_nets[k] * _WORDS)


@njit(cache=True, inline="always")
def _copy(to, at, source, start):
    for w in range(_WORDS):
        to[at + w] = source[start + w]


@njit(cache=True)
def _count(values, before, used, changed, high, anew):
    """Add every net's toggles since the last call, and ones, in the words used; ``anew`` clears the counts first."""
    if anew:
        changed[:] = 0
        high[:] = 0
    for net in range(len(changed)):
        toggles, ones = np.int64(0), np.int64(0)
        for i in range(net * _WORDS, net * _WORDS + used):
            toggles += np.int64(_popcount(values[i] ^ before[i]))  # type: ignore[call-arg]
            ones += np.int64(_popcount(values[i]))  # type: ignore[call-arg]
            before[i] = values[i]
        changed[net] += toggles
        high[net] += ones
