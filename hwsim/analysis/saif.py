"""Switching activity as SAIF (backward, version 2.0), so that any power tool can take it.

Instances are nested as in the netlist. Readers annotate pins, not nets: each cell is an instance whose pins have the
activity of the nets that they are on; ports of the top module are in its own list of nets, beside the nets inside.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections import defaultdict
from collections.abc import Iterator

from hwsim.analysis.netlist import Netlist
from hwsim.analysis.timed import Counts


def to_saif(netlist: Netlist, activity: Counts, period_ns: float) -> str:
    """SAIF text of the activity of every net and pin.

    All streams are laid end to end: the duration is that of all counted vector-cycles, in fs, and a net is at its
    settled value for all of a cycle. TC counts all toggles, TG those among them that are edges of glitches, and IG the
    edges that a cell's delay kept from its output.
    """
    period = round(period_ns * 1e6)
    duration = activity.cycles * period
    clocks, gated = netlist.clocks, set(netlist.gated.tolist())
    counts = []
    for net in range(netlist.count):
        high, toggles = int(activity.ones[net]) * period, int(activity.toggles[net])
        glitches, filtered = toggles - int(activity.settled[net]), int(activity.filtered[net])
        if net in clocks:
            pulses = int(activity.ones[net]) if net in gated else activity.cycles
            high, toggles = pulses * period // 2, 2 * pulses
        counts.append(f"(T0 {duration - high}) (T1 {high}) (TX 0) (TC {toggles}) (TG {glitches}) (IG {filtered})")
    lines = [
        "(SAIFILE",
        '  (SAIFVERSION "2.0")',
        '  (DIRECTION "backward")',
        '  (DESIGN "' + netlist.top + '")',
        '  (PROGRAM_NAME "hwsim")',
        f'  (VERSION "{importlib.metadata.version("hwsim")}")',
        "  (DIVIDER /)",
        "  (TIMESCALE 1 fs)",
        f"  (DURATION {duration})",
        *_instances(netlist, counts),
        ")",
    ]
    return "\n".join(lines) + "\n"


def _instances(netlist: Netlist, counts: list[str]) -> Iterator[str]:
    """The instance of the top module, with all instances in it; ``counts`` is the activity of every net."""
    nets: dict[int, dict[str, int]] = defaultdict(dict)
    for name, bits in (netlist.inputs | netlist.outputs).items():
        # A port may share its net with another name.
        nets[0] |= {f"{name}[{i}]" if len(bits) > 1 else name: net for i, net in enumerate(bits)}
    for net, (scope, name) in enumerate(zip(netlist.net_scopes.tolist(), netlist.net_names, strict=True)):
        # The netlist has no net for a constant, only pins that are tied to it.
        if net not in netlist.constants:
            nets[scope][name] = net
    cells: dict[int, list[str]] = defaultdict(list)
    for group in netlist.groups:
        pins = [(_escaped(pin), on.tolist()) for pin, on in group.pins.items()]
        for i, (scope, name) in enumerate(zip(group.scopes.tolist(), group.names, strict=True)):
            activity = " ".join(f"({pin} {counts[on[i]]})" for pin, on in pins if on[i] >= 0)
            cells[scope].append(f"(INSTANCE {_escaped(name)} (NET {activity}))")
    inside: dict[str, list[int]] = defaultdict(list)
    for scope, path in enumerate(netlist.scopes):
        if path:
            inside[path.rpartition(".")[0]].append(scope)

    def instance(scope: int, name: str, indent: str) -> Iterator[str]:
        yield f"{indent}(INSTANCE {_escaped(name)}"
        if nets[scope]:
            yield f"{indent}  (NET"
            yield from (f"{indent}    ({_escaped(name)} {counts[net]})" for name, net in nets[scope].items())
            yield f"{indent}  )"
        yield from (f"{indent}  {cell}" for cell in cells[scope])
        for child in inside[netlist.scopes[scope]]:
            yield from instance(child, netlist.scopes[child].rpartition(".")[2], indent + "  ")
        yield f"{indent})"

    yield from instance(0, netlist.top, "  ")


def _escaped(name: str) -> str:
    """Name as SAIF has it: a backslash in front of every character but letters, digits and underscores."""
    return re.sub(r"([^A-Za-z0-9_])", r"\\\1", name)
