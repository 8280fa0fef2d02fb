"""Static timing of a mapped netlist from the library's tables.

Graph-based, as sign-off tools do it first: per net and edge the latest arrival and the steepest-to-slowest worst slew
over all arcs, each arc's tables read at the slew of its input and the load of its output. The clock is ideal: edges
at 0 and with the library's clock slew. Inputs arrive at 0, outputs are due after one period.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from hwsim.netlist import Instance, Netlist
from hwsim.tables import TableSet, lookup

RISE, FALL = 0, 1
_EDGES = ("rise", "fall")


@dataclass(frozen=True)
class PathStep:
    """One stage of a path: the cell and its pins, the net it drives, edge, arrival (ns), slew (ns), load (fF)."""

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
        Clock period; at the endpoint of least slack the arrival of data and the setup time (0 at an output port).
    endpoint : str
        That endpoint.
    path : list of PathStep
        From the start point to the endpoint.
    slew_ns : float64 [nets, 2]
        Slew of every net, rise and fall.
    unconstrained : int
        Endpoints that no timed path reaches: constants.
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
    """Time a netlist.

    Parameters
    ----------
    netlist : Netlist
    period_ns : float
        Clock period.
    loads : float64 [nets, 3]
        fF on every net, as :meth:`Netlist.loads` gives them.
    """
    library = netlist.library
    count = len(netlist.nets)
    arrival = np.full((count, 2), -np.inf)
    slew = np.zeros((count, 2))
    for bits in netlist.inputs.values():
        for net in bits:
            arrival[net], slew[net] = 0.0, library.input_slew_ns
    for net in netlist.clocks:
        arrival[net], slew[net] = 0.0, library.clock_slew_ns
    tables = TableSet()
    arcs, owners = _arcs(netlist, tables)
    layout, data = tables.arrays()
    came_from = np.full((count, 2, 2), -1)
    if len(arcs):
        _propagate(arcs, layout, data, loads, arrival, slew, came_from)
    endpoints = list(_endpoints(netlist, arrival, slew, period_ns))
    reached = [e for e in endpoints if np.isfinite(e[0])]
    if not reached:
        return Timing(period_ns, 0.0, 0.0, period_ns, "none", [], slew, len(endpoints))
    slack, name, net, edge, setup = min(reached, key=lambda e: (e[0], e[1]))
    path = _trace(netlist, owners, arcs, came_from, arrival, slew, loads, net, edge)
    return Timing(
        period_ns, float(arrival[net, edge]), setup, float(slack), name, path, slew, len(endpoints) - len(reached)
    )


def _arcs(netlist: Netlist, tables: TableSet) -> tuple[np.ndarray, list[tuple[Instance, str, str]]]:
    """Per arc: input net, output net, whether an equal and whether an opposite input edge causes an output edge,
    delay tables (rise, fall) and slew tables (rise, fall)."""
    per_cell: dict[str, list[tuple[Any, ...]]] = {}
    rows, owners = [], []
    for instance in netlist.instances:
        cell = instance.cell
        if cell.name not in per_cell:
            per_cell[cell.name] = [
                (
                    arc.related_pin,
                    arc.pin,
                    # Only the active edge of a clock launches: rising gives either output edge, falling none.
                    2 if arc.kind == "rising_edge" else 3 if arc.kind == "falling_edge"
                    else int(arc.sense in ("positive_unate", "non_unate")),
                    int(arc.kind == "combinational" and arc.sense in ("negative_unate", "non_unate")),
                    *(tables.add(arc.delay.get(edge)) for edge in _EDGES),
                    *(tables.add(arc.slew.get(edge)) for edge in _EDGES),
                )
                for arc in cell.timing
            ]  # fmt: skip
        for related, pin, *rest in per_cell[cell.name]:
            if related in instance.nets and pin in instance.nets:
                rows.append((instance.nets[related], instance.nets[pin], *rest))
                owners.append((instance, related, pin))
    return np.array(rows, np.int64).reshape(-1, 8), owners


@njit(cache=True)
def _propagate(arcs, layout, data, loads, arrival, slew, came_from):
    for k in range(len(arcs)):
        source, sink, same, opposite = arcs[k, 0], arcs[k, 1], arcs[k, 2], arcs[k, 3]
        for edge in range(2):
            for from_edge in range(2):
                if same >= 2:
                    active = from_edge == same - 2
                else:
                    active = (from_edge == edge and same == 1) or (from_edge != edge and opposite == 1)
                if not active or arcs[k, 4 + edge] < 0 or arrival[source, from_edge] == -np.inf:
                    continue
                steep = slew[source, from_edge]
                at = arrival[source, from_edge] + lookup(layout, data, arcs[k, 4 + edge], steep, loads[sink, edge])
                if at > arrival[sink, edge]:
                    arrival[sink, edge] = at
                    came_from[sink, edge, 0], came_from[sink, edge, 1] = k, from_edge
                if arcs[k, 6 + edge] >= 0:
                    out = lookup(layout, data, arcs[k, 6 + edge], steep, loads[sink, edge])
                    slew[sink, edge] = max(slew[sink, edge], out)


def _endpoints(netlist, arrival, slew, period):
    """(slack, name, net, edge, setup) of every endpoint and edge."""
    for name, bits in netlist.outputs.items():
        for position, net in enumerate(bits):
            for edge in (RISE, FALL):
                port = f"{name}[{position}]" if len(bits) > 1 else name
                yield period - arrival[net, edge], port, net, edge, 0.0
    clock = netlist.library.clock_slew_ns
    for flop, _ in netlist.flip_flops:
        for arc in flop.cell.constraints:
            if not arc.kind.startswith("setup") or arc.pin not in flop.nets:
                continue
            net = flop.nets[arc.pin]
            for edge in (RISE, FALL):
                table = arc.constraint.get(_EDGES[edge])
                if table is not None:
                    setup = float(table.lookup(clock, slew[net, edge]))
                    yield period - setup - arrival[net, edge], f"{flop.name}/{arc.pin}", net, edge, setup


def _trace(netlist, owners, arcs, came_from, arrival, slew, loads, net, edge) -> list[PathStep]:
    steps = []
    while net >= 0:
        arc, from_edge = came_from[net, edge]
        instance, related, pin = owners[arc] if arc >= 0 else (None, "", "")
        steps.append(
            PathStep(
                cell=instance.cell.name if instance else "input",
                instance=instance.name if instance else "",
                through=f"{related} -> {pin}" if instance else "",
                net=netlist.nets[net],
                edge=_EDGES[edge],
                arrival_ns=float(arrival[net, edge]),
                slew_ns=float(slew[net, edge]),
                load_fF=float(loads[net, edge]),
            )
        )
        net, edge = (int(arcs[arc, 0]), int(from_edge)) if arc >= 0 else (-1, 0)
    return steps[::-1]
