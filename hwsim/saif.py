"""Switching activity as SAIF (backward, version 2.0), so that any power tool can take it."""

from __future__ import annotations

import re

from hwsim.activity import Activity
from hwsim.netlist import Netlist


def to_saif(netlist: Netlist, activity: Activity, period_ns: float, comment: str) -> str:
    """SAIF text of the activity of every net.

    All streams are laid end to end: the duration is that of all counted vector-cycles, in ps.
    """
    period = round(period_ns * 1000)
    duration = activity.cycles * period
    lines = [
        "(SAIFILE",
        '  (SAIFVERSION "2.0")',
        '  (DIRECTION "backward")',
        '  (DESIGN "' + netlist.top + '")',
        f'  (PROGRAM_NAME "{comment}")',
        "  (DIVIDER /)",
        "  (TIMESCALE 1 ps)",
        f"  (DURATION {duration})",
        f"  (INSTANCE {netlist.top}",
        "    (NET",
    ]
    for net, name in enumerate(netlist.nets):
        if net in activity.clocks:
            high, toggles = duration // 2, 2 * activity.cycles
        else:
            high, toggles = int(activity.ones[net]) * period, int(activity.toggles[net])
        lines.append(f"      ({_escaped(name)} (T0 {duration - high}) (T1 {high}) (TX 0) (TC {toggles}) (IG 0))")
    return "\n".join([*lines, "    )", "  )", ")"]) + "\n"


def _escaped(name: str) -> str:
    return re.sub(r"([^A-Za-z0-9_])", r"\\\1", name)
