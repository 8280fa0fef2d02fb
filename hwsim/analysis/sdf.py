"""Delays of a mapped netlist as SDF (version 3.0), for timed simulation of the netlist with any simulator.

Every path through a cell has the delay that static timing calculates: at the slew of the input's net and the load of
the output's. Where a library distinguishes states of other pins, the longest delay counts; wires have no delay of their
own, their capacitance is in the loads. The clock is ideal: clock gates have no delay either. Setup and hold times are
those at the slews of the data and of the clock.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from hwsim.analysis.netlist import Group, Netlist
from hwsim.analysis.timing import FALL, RISE, Timing
from hwsim.technology.cells import TimingArc

#: Resolution of the file: three decimals of a ps.
FS_PER_NS = 1_000_000
_EDGES = ("rise", "fall")
_CLOCK_EDGE = {"rising": "posedge", "falling": "negedge"}


def to_sdf(netlist: Netlist, timing: Timing, loads: np.ndarray) -> str:
    """SDF text of a netlist.

    Parameters
    ----------
    netlist : Netlist
    timing : Timing
        Gives the slew of every net.
    loads : float64 [nets, 3]
        fF on every net, as :meth:`Netlist.loads` gives them.
    """
    library = netlist.library
    lines = [
        "(DELAYFILE",
        '  (SDFVERSION "3.0")',
        f'  (DESIGN "{netlist.top}")',
        f'  (VENDOR "{library.name}")',
        '  (PROGRAM "hwsim")',
        f'  (VERSION "{importlib.metadata.version("hwsim")}")',
        "  (DIVIDER .)",
        f"  (VOLTAGE {library.voltage:g}:{library.voltage:g}:{library.voltage:g})",
        f"  (TEMPERATURE {library.temperature:g}:{library.temperature:g}:{library.temperature:g})",
        "  (TIMESCALE 1ps)",
    ]
    for group in netlist.groups:
        lines += _cells(netlist, group, timing.slew_ns, loads)
    return "\n".join([*lines, ")"]) + "\n"


def path_delays(group: Group, slew: np.ndarray, loads: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Delay from every input to every output of all instances of a cell.

    Parameters
    ----------
    group : Group
    slew, loads : float64 [nets, 2 or more]
        Slew (ns) and load (fF) of every net at a rising and a falling edge.

    Returns
    -------
    dict of (input, output) to float64 [instances, 2]
        ns to a rising and to a falling edge of the output; -inf for an edge that the input does not cause.
    """
    found: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.full((len(group), 2), -np.inf))
    if gate := group.cell.clock_gate:
        return {(gate.clock, gate.output): np.zeros((len(group), 2))}
    for arc in group.cell.timing:
        if arc.related_pin not in group.pins or arc.pin not in group.pins:
            continue
        source, sink = group.pins[arc.related_pin], group.pins[arc.pin]
        for edge in (RISE, FALL):
            table = arc.delay.get(_EDGES[edge])
            if table is None:
                continue
            for cause in _causes(arc, edge):
                delay = table.lookup(slew[source, cause], loads[sink, edge])
                of_arc = found[arc.related_pin, arc.pin]
                of_arc[:, edge] = np.maximum(of_arc[:, edge], np.maximum(delay, 0.0))
    return found


def femtoseconds(delays: np.ndarray) -> np.ndarray:
    """Delays, ns, in the resolution of the SDF file; an edge that cannot be caused has none."""
    return np.where(np.isfinite(delays), np.round(delays * FS_PER_NS), 0).astype(np.int64)


def _causes(arc: TimingArc, edge: int) -> tuple[int, ...]:
    """Edges of an arc's input that cause an edge of its output."""
    if arc.kind.endswith("_edge"):
        return (RISE if arc.kind == "rising_edge" else FALL,)
    return {"positive_unate": (edge,), "negative_unate": (1 - edge,)}.get(arc.sense, (RISE, FALL))


def _cells(netlist: Netlist, group: Group, slew: np.ndarray, loads: np.ndarray) -> Iterator[str]:
    clock_edges = {
        arc.related_pin: "posedge" if arc.kind == "rising_edge" else "negedge"
        for arc in group.cell.timing
        if arc.kind.endswith("_edge")
    }
    delays = {
        (_port(related, clock_edges.get(related)), pin): _ps(values)
        for (related, pin), values in path_delays(group, slew, loads).items()
    }
    checks = list(_checks(netlist, group, slew))
    for i in range(len(group)):
        paths = [
            f"        (IOPATH {source} {_escaped(pin)} {rise[i]} {fall[i]})"
            for (source, pin), (rise, fall) in delays.items()
            if group.pins[pin][i] >= 0
        ]
        if not paths:
            continue
        yield f'  (CELL (CELLTYPE "{group.cell.name}") (INSTANCE {_escaped(netlist.instance_name(group, i), ".")})'
        yield "    (DELAY (ABSOLUTE"
        yield from paths
        yield "    ))"
        if checks:
            yield "    (TIMINGCHECK"
            yield from (f"      ({kind} {data} {clock} {values[i]})" for kind, data, clock, values in checks)
            yield "    )"
        yield "  )"


def _checks(netlist: Netlist, group: Group, slew: np.ndarray) -> Iterator[tuple[str, str, str, list[str]]]:
    """Setup and hold of all instances: kind, data with its edge, clock with its edge, values."""
    for constraint in group.cell.constraints:
        kind, _, edge = constraint.kind.partition("_")
        if kind not in ("setup", "hold") or constraint.pin not in group.pins:
            continue
        for direction, data_edge in ((RISE, "posedge"), (FALL, "negedge")):
            table = constraint.constraint.get(_EDGES[direction])
            if table is not None:
                at = slew[group.pins[constraint.pin], direction]
                values = np.broadcast_to(table.lookup(netlist.library.clock_slew_ns, at), len(group))
                # A negative time asks for nothing, and not every simulator knows such.
                text = [f"({max(1000 * value, 0.0):.3f})" for value in values]
                clock = _port(constraint.related_pin, _CLOCK_EDGE[edge])
                yield kind.upper(), _port(constraint.pin, data_edge), clock, text


def _port(name: str, edge: str | None) -> str:
    return f"({edge} {_escaped(name)})" if edge else _escaped(name)


def _ps(values: np.ndarray) -> tuple[list[str], list[str]]:
    """Delays, ns [instances, 2], as SDF writes them; empty where there is none."""
    rise, fall = (
        [f"({fs / 1000:.3f})" if v >= 0 else "()" for v, fs in zip(column, femtoseconds(column), strict=True)]
        for column in values.T
    )
    return rise, fall


def _escaped(name: str, divider: str = "") -> str:
    """Name as SDF has it: a backslash in front of every character but letters, digits, underscores and the divider."""
    return re.sub(rf"([^A-Za-z0-9_{re.escape(divider)}])", r"\\\1", name)
