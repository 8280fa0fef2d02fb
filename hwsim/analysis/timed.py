"""Switching activity with delays: every glitch that a simulator with pin-to-pin delays would show.

A cell's output follows its function after the delay of the path from the input that changed. Where several inputs
change at once the shortest of their delays counts. What becomes of pulses that are shorter than the delay is the choice
of a model (:class:`Pulses`).

Within a cycle the netlist is levelised: cells of which an input has events are visited once, drivers first, and each
visit turns the events of the inputs into those of the output. A cycle takes time in proportion to its events, and a
look at one byte for every cell. Registers take their next state from settled values, so that the clock must not be
faster than timing allows. Times are integers of fs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields

import numpy as np
from numba import get_num_threads, njit, prange

from hwsim.analysis.netlist import Netlist, NetlistError
from hwsim.analysis.sdf import FS_PER_NS, femtoseconds, path_delays
from hwsim.base.bits import to_bits
from hwsim.technology.cells import Cell

#: Events of a cycle that a stream has room for, per net; a simulation that needs more starts again with twice the room.
_EVENTS_PER_NET = 4
#: Looks at one output that may be scheduled at a time.
_PENDING = 64
_NEVER = np.int64(2**62)
_INERTIAL, _TRANSPORT = 1, 2  # places in `Pulses`
# What a stream returns instead of its latest event if it could not go on.
_NO_ROOM, _TOO_MANY_LOOKS = -1, -2


class Pulses(enum.Enum):
    """What a cell does with pulses of its function that are shorter than its delay."""

    #: As Verilog's specify paths (IEEE 1364-2005, 14.6): when the function changes, a look at it is scheduled one delay
    #: later, and the output takes the value that the function has then.
    SPECIFY = "specify"
    #: As VHDL's inertial delay: a change of the function cancels all changes that still wait for their delay.
    INERTIAL = "inertial"
    #: As VHDL's transport delay: every change comes through, unless a later one comes through sooner.
    TRANSPORT = "transport"


@dataclass(frozen=True)
class Delays:
    """How cells delay: the model of pulses, and by how much delays are off those of static timing.

    Attributes
    ----------
    pulses : Pulses
    spread : float
        Every delay of every instance is multiplied by a random factor between ``1 - spread`` and ``1 + spread``.
    seed : int
        Seed of these factors.
    """

    pulses: Pulses = Pulses.SPECIFY
    spread: float = 0.0
    seed: int = 1

    def __str__(self) -> str:
        model = {
            Pulses.SPECIFY: "inertial as Verilog's specify paths",
            Pulses.INERTIAL: "inertial as in VHDL",
            Pulses.TRANSPORT: "transport",
        }[self.pulses]
        return model + (f", all within {100 * self.spread:g} %, seed {self.seed}" if self.spread else "")


#: Delays of static timing, as Verilog's specify paths.
NOMINAL = Delays()


@dataclass(frozen=True)
class Counts:
    """What a simulation with delays counts at every net.

    Attributes
    ----------
    toggles : int64 [nets]
        Changes of value, glitches included.
    settled : int64 [nets]
        Changes between the settled values of two cycles: those that are not glitches.
    filtered : int64 [nets]
        Changes of a cell's function that were over before they came through its delay.
    ones : int64 [nets]
        Cycles whose settled value is 1; of a gated clock, cycles with a pulse.
    cycles : int
        Counted cycles of all streams.
    """

    toggles: np.ndarray
    settled: np.ndarray
    filtered: np.ndarray
    ones: np.ndarray
    cycles: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class TimedActivity:
    """One simulation with delays.

    Attributes
    ----------
    toggles, glitches : int32 [streams, nets]
        Changes of value of every net in each stream; and how many more they are than those between settled values.
    counts : Counts
        Of all streams together.
    cycles : int
        Counted cycles of every stream.
    latest_ns : float
        The latest time in a cycle at which any net changed.
    outputs : dict of str to uint8 [vectors, width]
        Settled outputs in every cycle of every stream, streams one after the other.
    """

    toggles: np.ndarray
    glitches: np.ndarray
    counts: Counts
    cycles: int
    latest_ns: float
    outputs: dict[str, np.ndarray]


class Simulator:
    """Simulates a netlist with the delays of static timing.

    Parameters
    ----------
    netlist : Netlist
    slew, loads : float64 [nets, 2 or more]
        Slew (ns) and load (fF) of every net at a rising and a falling edge.
    delays : Delays
        The model of pulses, and random factors.

    Raises
    ------
    NetlistError
        If a flip-flop's next state is a function of several pins.
    """

    def __init__(self, netlist: Netlist, slew: np.ndarray, loads: np.ndarray, delays: Delays = NOMINAL):
        in_fs = _InFemtoseconds(delays)
        self._netlist, self._model = netlist, list(Pulses).index(delays.pulses)
        self._gates, self._flops = _Gates(netlist, slew, loads, in_fs), _Flops(netlist, slew, loads, in_fs)

    def __call__(self, inputs: dict[str, np.ndarray], streams: int, warm_up: int) -> TimedActivity:
        """Simulate the netlist on a stimulus.

        Parameters
        ----------
        inputs : dict of str to unsigned array [vectors, fields]
            As :func:`hwsim.analysis.activity.simulate` takes them: every input port but clock and reset, which stays
            low. They change with the clock's edge.
        streams : int
            Independent sequences, each an equal share of the vectors.
        warm_up : int
            Cycles of each stream that are simulated but not counted.

        Raises
        ------
        ValueError
            If there are fewer than ``warm_up + 1`` vectors a stream.
        NetlistError
            If a cell has too many changes waiting.
        """
        cycles = len(next(iter(inputs.values()))) // streams
        if cycles <= warm_up:
            raise ValueError(f"{cycles} vectors a stream are too few with a warm-up of {warm_up} cycles")
        netlist = self._netlist
        nets = np.array([net for name in inputs for net in netlist.inputs[name]], np.int64)
        stimulus = np.concatenate(
            [
                to_bits(values[: cycles * streams], len(netlist.inputs[name])).reshape(streams, cycles, -1)
                for name, values in inputs.items()
            ],
            axis=2,
        )
        out_nets = np.array([net for bits in netlist.outputs.values() for net in bits], np.int64)
        constants = np.zeros(netlist.count, np.uint8)
        for net, value in netlist.constants.items():
            constants[net] = value
        room = _EVENTS_PER_NET
        while True:
            toggles, glitches = np.zeros((2, streams, netlist.count), np.int32)
            others = np.zeros((min(streams, get_num_threads()), 2, netlist.count), np.int64)
            outputs = np.zeros((streams, cycles, len(out_nets)), np.uint8)
            latest = np.zeros(streams, np.int64)
            _run(
                *self._gates.arrays, *self._flops.arrays, nets, stimulus, out_nets, constants, warm_up,
                room * netlist.count, self._model, toggles, glitches, others, outputs, latest,
            )  # fmt: skip
            if (latest == _TOO_MANY_LOOKS).any():
                raise NetlistError(
                    f"{netlist.top}: more than {_PENDING} changes of one cell wait for its delay at a time"
                )
            if (latest >= 0).all():
                break
            room *= 2
        by_port, at = {}, 0
        for name, bits in netlist.outputs.items():
            by_port[name] = outputs[:, :, at : at + len(bits)].reshape(streams * cycles, len(bits))
            at += len(bits)
        counted = cycles - warm_up
        filtered, ones = others.sum(axis=0)
        changes = toggles.sum(axis=0, dtype=np.int64)
        settled = changes - glitches.sum(axis=0, dtype=np.int64)
        counts = Counts(changes, settled, filtered, ones, counted * streams)
        return TimedActivity(toggles, glitches, counts, counted, float(latest.max()) / FS_PER_NS, by_port)


def simulate(
    netlist: Netlist,
    slew: np.ndarray,
    loads: np.ndarray,
    inputs: dict[str, np.ndarray],
    streams: int,
    warm_up: int,
    delays: Delays = NOMINAL,
) -> TimedActivity:
    """One simulation of :class:`Simulator`."""
    return Simulator(netlist, slew, loads, delays)(inputs, streams, warm_up)


class _InFemtoseconds:
    """Turns delays, ns, into whole fs, each with a random factor if there are any."""

    def __init__(self, delays: Delays):
        self._spread, self._rng = delays.spread, np.random.default_rng(delays.seed)

    def __call__(self, delays: np.ndarray) -> np.ndarray:
        return femtoseconds(delays * self._rng.uniform(1 - self._spread, 1 + self._spread, delays.shape))


class _Gates:
    """Outputs of combinational cells, drivers first.

    ``arrays`` are: the net of every output; where its pins begin in the next two, with one more at the end; their nets;
    their delays to a rising and a falling edge; where the truth table begins; all truth tables; and where the outputs
    of cells that read each net begin in the last, with one more at the end; these outputs.
    """

    def __init__(self, netlist: Netlist, slew: np.ndarray, loads: np.ndarray, in_fs: _InFemtoseconds):
        tables: list[np.ndarray] = []
        table_at: dict[tuple[str, str], int] = {}
        size = 0
        none = np.zeros(0, np.int64)
        rows = [(none, none, np.zeros((0, 0), np.int64), np.zeros((0, 0, 2), np.int64), 0)]
        for group, rank in zip(netlist.groups, netlist.order, strict=True):
            if group.cell.is_clocked:
                continue
            delays = path_delays(group, slew, loads)
            for pin in group.cell.outputs:
                where = np.flatnonzero(group.pins[pin] >= 0)
                function = group.cell.pins[pin].function
                assert function is not None
                pins = function.pins
                key = (group.cell.name, pin)
                if key not in table_at:
                    table_at[key] = size
                    tables.append(_bits_of_table(function.table(pins), len(pins)))
                    size += len(tables[-1])
                sources = (
                    np.stack([group.pins[p][where] for p in pins], axis=1) if pins else np.zeros((len(where), 0), int)
                )
                to_fs = [in_fs(delays[p, pin][where]) for p in pins]
                times = np.stack(to_fs, axis=1) if pins else np.zeros((len(where), 0, 2), np.int64)
                rows.append((rank[where], group.pins[pin][where], sources, times, table_at[key]))
        order = np.argsort(np.concatenate([rank for rank, *_ in rows]), kind="stable")
        counts = np.concatenate([np.full(len(rank), sources.shape[1]) for rank, _, sources, _, _ in rows])
        starts = np.concatenate([[0], np.cumsum(counts)])
        flat_sources = np.concatenate([sources.reshape(-1) for _, _, sources, _, _ in rows])
        flat_times = np.concatenate([times.reshape(-1, 2) for _, _, _, times, _ in rows])
        ends = np.cumsum(counts[order])
        pick = np.repeat(starts[order] - (ends - counts[order]), counts[order]) + np.arange(len(flat_sources))
        sources, reader = flat_sources[pick].astype(np.int32), np.repeat(np.arange(len(order)), counts[order])
        table = np.concatenate([np.full(len(rank), at) for rank, *_, at in rows])
        self.arrays = (
            np.concatenate([nets for _, nets, *_ in rows])[order].astype(np.int64),
            np.concatenate([[0], ends]).astype(np.int64),
            sources,
            flat_times[pick],
            table[order].astype(np.int64),
            np.concatenate([np.zeros(0, np.uint8), *tables]),
            np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=netlist.count))]).astype(np.int64),
            reader[np.argsort(sources, kind="stable")].astype(np.int32),
        )


def _bits_of_table(table: int, pins: int) -> np.ndarray:
    return np.array([table >> row & 1 for row in range(1 << pins)], np.uint8)


class _Flops:
    """Flip-flops: the nets of their data, whether the next state is the complement, and their outputs.

    ``arrays`` are: data nets, inversions and enables (a net, or -1) of the states; for every output its net, its state,
    whether it is the complement, and the delays from the clock to a rising and a falling edge; the nets of gated clocks
    and their enables.
    """

    def __init__(self, netlist: Netlist, slew: np.ndarray, loads: np.ndarray, in_fs: _InFemtoseconds):
        data, inverted, enables, states = [np.zeros(0, int)], [np.zeros(0, bool)], [np.zeros(0, int)], 0
        enable_of = _enables(netlist)
        outputs: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        for group in netlist.flip_flops:
            flop = group.cell.flip_flop
            assert flop is not None
            pin, is_complement = _data(group.cell)
            data.append(group.pins[pin])
            inverted.append(np.full(len(group), is_complement))
            delays = path_delays(group, slew, loads)
            (clock,) = flop.clocked_on.pins
            enables.append(enable_of[group.pins[clock]])
            for name, which in flop.outputs.items():
                where = np.flatnonzero(group.pins[name] >= 0)
                complement = np.full(len(where), which == "IQN")
                outputs.append((group.pins[name][where], states + where, complement, in_fs(delays[clock, name][where])))
            states += len(group)
        empty = (np.zeros(0, int), np.zeros(0, int), np.zeros(0, bool), np.zeros((0, 2), np.int64))
        nets, of, complements, times = (np.concatenate(column) for column in zip(empty, *outputs, strict=True))
        self.arrays = (
            np.concatenate(data).astype(np.int64), np.concatenate(inverted),
            np.concatenate(enables).astype(np.int64), nets.astype(np.int64), of.astype(np.int64), complements, times,
            netlist.gated.astype(np.int64), enable_of[netlist.gated],
        )  # fmt: skip


def _enables(netlist: Netlist) -> np.ndarray:
    """The net that enables each net's clock, int64 [nets + 1]; -1 where nothing gates it."""
    enable_of = np.full(netlist.count + 1, -1)
    for group in netlist.clock_gates:
        gate = group.cell.clock_gate
        assert gate is not None
        enable, *tests = gate.enable.pins
        if not all((netlist.tied[group.pins[pin]] == 0).all() for pin in tests):
            raise NetlistError(f"{group.cell.name}: a test pin is not tied to 0, so it is not simulated with delays")
        enable_of[group.pins[gate.output]] = group.pins[enable]
    return enable_of


def _data(cell: Cell) -> tuple[str, bool]:
    """The data pin of a flip-flop, and whether the state is its complement."""
    assert cell.flip_flop is not None
    state = cell.flip_flop.next_state
    inner = state.operands[0] if state.op == "not" else state
    if inner.op != "pin":
        raise NetlistError(f"{cell.name}: its next state, {state}, is not simulated with delays")
    return inner.operands[0], state.op == "not"


@njit(cache=True, parallel=True)
def _run(
    nets, starts, sources, delays, table_at, tables, readers_at, readers, data, inverted, enables, q_nets, q_of,
    q_inverted, q_delays, gated, gated_by, in_nets, stimulus, out_nets, constants, warm_up, room, model, toggles,
    glitches, others, outputs, latest,
):  # fmt: skip
    # One worker a thread, so that the counts that are summed over streams exist once a thread.
    for worker in prange(len(others)):
        for stream in range(worker, len(stimulus), len(others)):
            latest[stream] = _run_stream(
                nets, starts, sources, delays, table_at, tables, readers_at, readers, data, inverted, enables, q_nets,
                q_of, q_inverted, q_delays, gated, gated_by, in_nets, stimulus[stream], out_nets, constants, warm_up,
                room, model, toggles[stream], glitches[stream], others[worker], outputs[stream],
            )  # fmt: skip


@njit(cache=True)
def _run_stream(
    nets, starts, sources, delays, table_at, tables, readers_at, readers, data, inverted, enables, q_nets, q_of,
    q_inverted, q_delays, gated, gated_by, in_nets, stimulus, out_nets, constants, warm_up, room, model, toggles,
    glitches, others, outputs,
):  # fmt: skip
    """Simulate one stream; the latest event in fs, or why it ended early.

    ``others`` [2, nets] takes the filtered changes and the ones.
    """
    values = constants.copy()
    state = np.zeros(len(data), np.uint8)
    first, count = np.zeros(len(values), np.int32), np.zeros(len(values), np.int32)
    # Nets with events in this cycle, outputs of which an input has some, and since which cycle every net has its value.
    changed, touched, since = np.empty(len(values), np.int32), np.zeros(len(nets), np.uint8), np.zeros_like(first)
    times = np.empty(room, np.int64)
    pending = np.empty(_PENDING, np.int64)
    at = np.zeros(np.diff(starts).max() if len(nets) else 0, np.int64)
    following = np.zeros_like(at)
    latest = 0
    # The netlist with all registers and inputs at 0, settled.
    for k in range(len(q_nets)):
        values[q_nets[k]] = np.uint8(q_inverted[k])
    for k in range(len(nets)):
        row = 0
        for p in range(starts[k], starts[k + 1]):
            row |= np.int64(values[sources[p]]) << (p - starts[k])
        values[nets[k]] = tables[table_at[k] + row]
    for cycle in range(len(stimulus)):
        for f in range(len(state) if cycle else 0):
            if enables[f] < 0 or values[enables[f]]:
                state[f] = values[data[f]] ^ np.uint8(inverted[f])
        for g in range(len(gated) if cycle else 0):
            net, new = gated[g], values[gated_by[g]]
            if values[net] != new:
                others[1, net] += values[net] * max(0, cycle - max(since[net], warm_up))
                since[net], values[net] = cycle, new
        used = 0
        for k in range(len(q_nets)):
            new = state[q_of[k]] ^ np.uint8(q_inverted[k])
            if values[q_nets[k]] != new:
                values[q_nets[k]] = new
                first[q_nets[k]], count[q_nets[k]] = used, 1
                times[used] = q_delays[k, 1 - new]
                changed[used] = q_nets[k]
                used += 1
        for k in range(len(in_nets)):
            if values[in_nets[k]] != stimulus[cycle, k]:
                values[in_nets[k]] = stimulus[cycle, k]
                first[in_nets[k]], count[in_nets[k]] = used, 1
                times[used] = 0
                changed[used] = in_nets[k]
                used += 1
        # So far every one of these nets has one event.
        many = used
        for i in range(many):
            for r in range(readers_at[changed[i]], readers_at[changed[i] + 1]):
                touched[readers[r]] = 1
        for k in range(len(nets)):
            if touched[k] == 0:
                continue
            touched[k] = 0
            begin, end = starts[k], starts[k + 1]
            start = used
            used, values[nets[k]], filtered = _events_of(
                begin,
                end,
                sources,
                delays,
                tables,
                table_at[k],
                values,
                first,
                count,
                times,
                used,
                pending,
                at,
                following,
                model,
            )
            if used < 0:
                return used
            if cycle >= warm_up:
                others[0, nets[k]] += filtered
            if used > start:
                first[nets[k]], count[nets[k]] = start, used - start
                latest = max(latest, times[used - 1])
                changed[many] = nets[k]
                many += 1
                for r in range(readers_at[nets[k]], readers_at[nets[k] + 1]):
                    touched[readers[r]] = 1
        for i in range(many):
            net = changed[i]
            if cycle >= warm_up:
                toggles[net] += count[net]
                glitches[net] += count[net] & ~1
                if count[net] & 1 and not values[net]:
                    others[1, net] += cycle - max(since[net], warm_up)
            if count[net] & 1:
                since[net] = cycle
            count[net] = 0
        for k in range(len(out_nets)):
            outputs[cycle, k] = values[out_nets[k]]
    for net in range(len(values)):
        others[1, net] += values[net] * max(0, len(stimulus) - max(since[net], warm_up))
    return latest


@njit(cache=True)
def _events_of(
    begin, end, sources, delays, tables, table, values, first, count, times, used, pending, at, following, model
):
    """Append the events of one output to ``times``, of which ``used`` are in use.

    Returns how many are in use then, the output, and how many changes of the function did not come through.

    The output's pins are ``begin`` to ``end`` in ``sources`` and ``delays``, its truth table begins at ``table``;
    ``at`` and ``following`` are scratch: the number of a pin's next event, and its time. So is ``pending``: looks that
    are scheduled, as twice their time plus the value that the function had. ``model`` is the place in `Pulses`. Instead
    of the number of events it may return why it could not go on.
    """
    row, now = 0, _NEVER
    for p in range(end - begin):
        net = sources[begin + p]
        # The row is of the values before the cycle's events.
        row |= (np.int64(values[net]) ^ (count[net] & 1)) << p
        at[p] = first[net]
        following[p] = times[first[net]] if count[net] else _NEVER
        now = min(now, following[p])
    function = tables[table + row]
    output = function
    waiting = filtered = 0
    while True:
        if waiting and pending[0] >> 1 <= now:
            # A look that is due comes before changes of inputs at the same time.
            new = np.uint8(pending[0] & 1) if model == _TRANSPORT else function
            if output != new:
                if used == len(times):
                    return _NO_ROOM, output, filtered
                times[used] = pending[0] >> 1
                used += 1
                output = new
            else:
                filtered += 1
            waiting -= 1
            for i in range(waiting):
                pending[i] = pending[i + 1]
            continue
        if now == _NEVER:
            return used, output, filtered
        rising, falling, later = _NEVER, _NEVER, _NEVER
        for p in range(end - begin):
            if following[p] == now:
                rising, falling = min(rising, delays[begin + p, 0]), min(falling, delays[begin + p, 1])
                row ^= 1 << p
                net = sources[begin + p]
                at[p] += 1
                following[p] = times[at[p]] if at[p] < first[net] + count[net] else _NEVER
            later = min(later, following[p])
        if tables[table + row] != function:
            function = tables[table + row]
            due = (now + (rising if function else falling)) << 1 | np.int64(function)
            if model == _INERTIAL:
                filtered += waiting
                waiting = 0
            while model == _TRANSPORT and waiting and pending[waiting - 1] >> 1 >= due >> 1:
                filtered += 1
                waiting -= 1
            if waiting == _PENDING:
                return _TOO_MANY_LOOKS, output, filtered
            i = waiting
            while i > 0 and pending[i - 1] > due:
                pending[i] = pending[i - 1]
                i -= 1
            pending[i] = due
            waiting += 1
        now = later
