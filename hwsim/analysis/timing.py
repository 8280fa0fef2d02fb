"""Static timing of a mapped netlist from the library's tables.

The analysis is graph-based, as in sign-off tools before path-based refinement: every net and edge gets the latest
arrival and the slowest slew over all arcs into it, and each arc's tables are read at the slew of its input and the load
of its output. The clock is ideal, also behind clock gates: its edges come at 0, with the library's clock slew. Inputs
arrive at 0, outputs are due after one period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit

from hwsim.analysis.netlist import Group, Netlist
from hwsim.analysis.tables import TableSet, lookup
from hwsim.technology.cells import TimingArc

RISE, FALL = 0, 1
_EDGES = ("rise", "fall")


@dataclass(frozen=True)
class PathStep:
    """One stage of a path: the cell, its arc (``through``, ``"A -> Y"``), and the net that it drives.

    Edge, arrival, slew and load are those at that net. At a start point the cell is ``"input"``.
    """

    cell: str
    instance: str
    through: str
    net: str
    edge: str
    arrival_ns: float
    slew_ns: float
    load_fF: float


@dataclass(frozen=True)
class Timing:
    """Timing of a netlist.

    Attributes
    ----------
    period_ns, arrival_ns, setup_ns, slack_ns : float
        Clock period; at the endpoint of least slack the arrival of data, the setup time (0 at an output port) and the
        slack.
    endpoint : str
        That endpoint: a port bit or ``instance/pin``; ``"none"`` if no path is timed.
    path : list of PathStep
        From the start point to the endpoint.
    slew_ns : float64 [nets, 2]
        Slew of every net, rise and fall.
    unconstrained : int
        Endpoint edges (two per endpoint) that no timed path reaches, because the data are constant.
    """

    period_ns: float
    arrival_ns: float
    setup_ns: float
    slack_ns: float
    endpoint: str
    path: list[PathStep]
    slew_ns: np.ndarray
    unconstrained: int

    @property
    def critical_path_ns(self) -> float:
        """Shortest clock period that meets timing: arrival and setup of the critical path."""
        return self.period_ns - self.slack_ns

    @property
    def fmax_mhz(self) -> float:
        """Highest clock frequency."""
        return 1000.0 / self.critical_path_ns


def analyse(netlist: Netlist, period_ns: float, loads: np.ndarray) -> Timing:
    """Static timing of a netlist at a clock period.

    Parameters
    ----------
    netlist : Netlist
    period_ns : float
        Clock period.
    loads : float64 [nets, 3]
        fF on every net, as :meth:`Netlist.loads` gives them.
    """
    library = netlist.library
    arrival = np.full((netlist.count, 2), -np.inf)
    slew = np.zeros((netlist.count, 2))
    for bits in netlist.inputs.values():
        arrival[bits], slew[bits] = 0.0, library.input_slew_ns
    for net in netlist.clocks:
        arrival[net], slew[net] = 0.0, library.clock_slew_ns
    arcs = _Arcs(netlist)
    came_from = np.full((netlist.count, 2, 2), -1, np.int32)
    _propagate(arcs.arcs, arcs.kinds, *arcs.tables.arrays(), loads, arrival, slew, came_from)
    worst: tuple[float, str, int, int, float] | None = None
    unconstrained = 0
    for end in _endpoints(netlist, slew, period_ns):
        for edge in (RISE, FALL):
            slack = end.due[:, edge] - arrival[end.nets, edge]
            # Nothing reaches an endpoint whose data are constant.
            unconstrained += int(np.isinf(slack).sum())
            for i in np.flatnonzero(slack == slack.min(initial=np.inf)) if np.isfinite(slack).any() else ():
                setup = period_ns - float(end.due[i, edge])
                candidate = float(slack[i]), end.name(int(i)), int(end.nets[i]), edge, setup
                # Of equal slacks the first name counts, whatever the order of the endpoints.
                worst = candidate if worst is None else min(worst, candidate)
    if worst is None:
        return Timing(period_ns, 0.0, 0.0, period_ns, "none", [], slew, unconstrained)
    least, name, net, edge, setup = worst
    path = _trace(netlist, arcs, came_from, arrival, slew, loads, net, edge)
    return Timing(period_ns, float(arrival[net, edge]), setup, least, name, path, slew, unconstrained)


class _Arcs:
    """All timing arcs of a netlist, in topological order.

    Attributes
    ----------
    arcs : int32 [arcs, 3]
        Input net, output net, kind (a row of ``kinds``).
    kinds : int64 [kinds, 6]
        One row for every arc of a library cell. Column 0 is 1 if an input edge causes the same output edge, 2 if only a
        rising and 3 if only a falling input edge causes output edges, of either direction (clock to output). Column 1
        is 1 if an input edge causes the opposite output edge. Then follow the numbers in ``tables`` of the delay
        tables (rise, fall) and of the slew tables (rise, fall), -1 for none.
    """

    def __init__(self, netlist: Netlist):
        self.tables = TableSet()
        self._netlist = netlist
        kinds: list[tuple[int, ...]] = []
        rows, ranks, owners = [np.zeros((0, 3), np.int32)], [np.zeros(0, np.int64)], [np.zeros((0, 2), np.int32)]
        self._of_kind: list[tuple[int, TimingArc]] = []
        for position, (group, rank) in enumerate(zip(netlist.groups, netlist.order, strict=True)):
            # The clock is ideal behind clock gates too.
            for arc in () if group.cell.clock_gate else group.cell.timing:
                if arc.related_pin not in group.pins or arc.pin not in group.pins:
                    continue
                source, sink = group.pins[arc.related_pin], group.pins[arc.pin]
                where = np.flatnonzero((source >= 0) & (sink >= 0))
                kind = np.full(len(where), len(kinds), np.int32)
                rows.append(np.stack([source[where], sink[where], kind], axis=1))
                ranks.append(rank[where])
                owners.append(np.stack([kind, where.astype(np.int32)], axis=1))
                kinds.append(self._kind(arc))
                self._of_kind.append((position, arc))
        order = np.argsort(np.concatenate(ranks), kind="stable")
        self.arcs, self._owners = np.concatenate(rows)[order], np.concatenate(owners)[order]
        self.kinds = np.array(kinds, np.int64).reshape(-1, 6)

    def _kind(self, arc: TimingArc) -> tuple[int, ...]:
        return (
            # Only the active edge of a clock launches data, and it causes either output edge.
            2 if arc.kind == "rising_edge" else 3 if arc.kind == "falling_edge"
            else int(arc.sense in ("positive_unate", "non_unate")),
            int(arc.kind == "combinational" and arc.sense in ("negative_unate", "non_unate")),
            *(self.tables.add(arc.delay.get(edge)) for edge in _EDGES),
            *(self.tables.add(arc.slew.get(edge)) for edge in _EDGES),
        )  # fmt: skip

    def owner(self, arc: int) -> tuple[Group, int, TimingArc]:
        """The group and the instance that an arc belongs to, and the arc of its cell."""
        kind, instance = self._owners[arc]
        position, cell_arc = self._of_kind[kind]
        return self._netlist.groups[position], int(instance), cell_arc


@njit(cache=True)
def _propagate(arcs, kinds, layout, data, loads, arrival, slew, came_from):
    """Fill in arrival and slew of every net and edge, and the arc and input edge that the arrival came by."""
    for k in range(len(arcs)):
        source, sink, kind = arcs[k, 0], arcs[k, 1], arcs[k, 2]
        same, opposite = kinds[kind, 0], kinds[kind, 1]
        for edge in range(2):
            for from_edge in range(2):
                if same >= 2:
                    active = from_edge == same - 2
                else:
                    active = (from_edge == edge and same == 1) or (from_edge != edge and opposite == 1)
                delay, steepness = kinds[kind, 2 + edge], kinds[kind, 4 + edge]
                if not active or delay < 0 or arrival[source, from_edge] == -np.inf:
                    continue
                steep = slew[source, from_edge]
                at = arrival[source, from_edge] + lookup(layout, data, delay, steep, loads[sink, edge])
                if at > arrival[sink, edge]:
                    arrival[sink, edge] = at
                    came_from[sink, edge, 0], came_from[sink, edge, 1] = k, from_edge
                if steepness >= 0:
                    out = lookup(layout, data, steepness, steep, loads[sink, edge])
                    slew[sink, edge] = max(slew[sink, edge], out)


@dataclass(frozen=True)
class _Endpoints:
    """Endpoints of one kind: their nets, when data are due for a rising and a falling edge, and their names."""

    nets: np.ndarray
    due: np.ndarray
    name: Callable[[int], str]


def _endpoints(netlist: Netlist, slew: np.ndarray, period: float) -> Iterator[_Endpoints]:
    """Output ports, then the pins of flip-flops and clock gates that have a setup time."""
    for name, bits in netlist.outputs.items():

        def port(i: int, name: str = name, wide: bool = len(bits) > 1) -> str:
            return f"{name}[{i}]" if wide else name

        yield _Endpoints(np.array(bits), np.full((len(bits), 2), period), port)
    clock = netlist.library.clock_slew_ns
    for group in (*netlist.flip_flops, *netlist.clock_gates):
        for arc in group.cell.constraints:
            if not arc.kind.startswith("setup") or arc.pin not in group.pins:
                continue
            gate = group.cell.clock_gate
            if gate and arc.pin != gate.enable.pins[0]:
                continue  # a test pin is constant
            used = np.flatnonzero(group.pins[arc.pin] >= 0)
            nets = group.pins[arc.pin][used]
            due = np.full((len(nets), 2), np.inf)
            for edge, table in ((e, arc.constraint.get(_EDGES[e])) for e in (RISE, FALL)):
                if table is not None:
                    due[:, edge] = period - table.lookup(clock, slew[nets, edge])

            def pin(i: int, group: Group = group, used: np.ndarray = used, name: str = arc.pin) -> str:
                return f"{netlist.instance_name(group, int(used[i]))}/{name}"

            yield _Endpoints(nets, due, pin)


def _trace(
    netlist: Netlist,
    arcs: _Arcs,
    came_from: np.ndarray,
    arrival: np.ndarray,
    slew: np.ndarray,
    loads: np.ndarray,
    net: int,
    edge: int,
) -> list[PathStep]:
    """The path by which the latest arrival at a net and edge came, from its start point."""
    steps = []
    while net >= 0:
        at, from_edge = came_from[net, edge]
        group, instance, arc = arcs.owner(at) if at >= 0 else (None, 0, None)
        steps.append(
            PathStep(
                cell=group.cell.name if group else "input",
                instance=netlist.instance_name(group, instance) if group else "",
                through=f"{arc.related_pin} -> {arc.pin}" if arc else "",
                net=netlist.net_name(net),
                edge=_EDGES[edge],
                arrival_ns=float(arrival[net, edge]),
                slew_ns=float(slew[net, edge]),
                load_fF=float(loads[net, edge]),
            )
        )
        net, edge = (int(arcs.arcs[at, 0]), int(from_edge)) if at >= 0 else (-1, 0)
    return steps[::-1]
