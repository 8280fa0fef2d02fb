"""Switching activity as SAIF (backward, version 2.0), so that any power tool can take it."""

from __future__ import annotations

import importlib.metadata
import re

from hwsim.analysis.activity import Activity
from hwsim.analysis.netlist import Netlist


def to_saif(netlist: Netlist, activity: Activity, period_ns: float) -> str:
    """SAIF text of the activity of every net.

    All streams are laid end to end: the duration is that of all counted vector-cycles, in fs.
    """
    period = round(period_ns * 1e6)
    duration = activity.cycles * period
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
        f"  (INSTANCE {netlist.top}",
        "    (NET",
    ]
    for net, name in enumerate(netlist.nets):
        if net in netlist.constants:
            continue  # the netlist file has no net for a constant
        if net in activity.clocks:
            high, toggles = duration // 2, 2 * activity.cycles
        else:
            high, toggles = int(activity.ones[net]) * period, int(activity.toggles[net])
        lines.append(f"      ({_escaped(name)} (T0 {duration - high}) (T1 {high}) (TX 0) (TC {toggles}) (IG 0))")
    return "\n".join([*lines, "    )", "  )", ")"]) + "\n"


def _escaped(name: str) -> str:
    """Name as SAIF has it: a backslash in front of every character but letters, digits and underscores."""
    return re.sub(r"([^A-Za-z0-9_])", r"\\\1", name)
