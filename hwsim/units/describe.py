"""Units, their parameters and ports, as text."""

from __future__ import annotations

import fnmatch
import inspect
import re
import textwrap
from typing import cast

from amaranth.lib import wiring

from hwsim.base.text import table
from hwsim.units.ports import Parameters
from hwsim.units.table import UNITS
from hwsim.units.unit import Unit


def described(unit: Unit) -> str:
    """Text on a unit: summary, parameters, defaults and ports, from the docstrings of its component and the bases."""
    documented = [inspect.cleandoc(c.__doc__ or "").replace("``", "") for c in inspect.getmro(cast(type, unit.builder))]
    undescribed = set(unit.defaults)
    parameters: list[str] = []
    for entry in (entry for text in documented for entry in _entries(text, "Parameters")):
        names = undescribed & set(re.findall(r"\w+", entry.partition(" :")[0]))
        if names:
            parameters.append(entry)
            undescribed -= names
    ports: list[str] = []
    seen: set[str] = set()
    # What a class says of a port takes the place of what its bases say.
    for entry in (entry for text in documented for entry in _entries(text, "Ports")):
        named = set(re.findall(r"\w+", entry.partition(" :")[0]))
        if not named <= seen:
            ports.append(entry)
            seen |= named
    lines = [f"{unit.name}: {unit.summary}"]
    for title, entries in (("parameters", parameters), ("defaults", [settings_text(unit.defaults)]), ("ports", ports)):
        lines += ["", f"{title}:", *(textwrap.indent(entry, "  ") for entry in entries)]
    return "\n".join(lines)


def _entries(text: str, section: str) -> list[str]:
    """The entries of a section of a docstring."""
    body = text.partition(f"\n{section}\n{'-' * len(section)}\n")[2].partition("\n\n")[0]
    return re.split(r"\n(?=\S)", body) if body else []


def settings_text(parameters: Parameters) -> str:
    """Parameters as ``--set`` takes them."""
    return " ".join(f"{k}={int(v) if isinstance(v, bool) else v}" for k, v in parameters.items())


def summary(component: object) -> str:
    """What a component does: the first paragraph of its docstring, as plain text."""
    text = _plain(inspect.cleandoc(type(component).__doc__ or "").partition("\n\n")[0].replace("\n", " "))
    # Where to read on is a class in Python.
    return re.sub(r" ?(Parameters|Ports)[^.]*: \w+\.", "", text)


def described_ports(component: object) -> dict[str, str]:
    """A line on every port that the docstrings of a component's class and its bases describe, by name."""
    notes: dict[str, str] = {"clk": "clock", "rst": "synchronous reset, active high"}
    available = list(cast(wiring.Component, component).signature.members)
    for cls in inspect.getmro(type(component)):
        for entry in _entries(inspect.cleandoc(cls.__doc__ or ""), "Ports"):
            head, _, body = entry.partition("\n")
            # The first sentence; the remark on the width says it where there is none.
            text = re.split(r"(?<=[.;]) ", _plain(inspect.cleandoc(body).replace("\n", " ")))[0].rstrip(".;")
            for names, remark in re.findall(r"([\w*]+(?:, [\w*]+)*) : (?:in|out)\b(?:, ((?![\w*]+ : ).*))?", head):
                for pattern in names.split(", "):
                    for port in fnmatch.filter(available, pattern):
                        notes.setdefault(port, text or _plain(remark))
    return notes


def _plain(text: str) -> str:
    """Text of a docstring without its markup."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text)
    return text.replace("``", "")


def listed() -> str:
    """Table of all units, one per line: parameters, baseline, summary."""
    rows = [["unit", "parameters", "baseline", "what it is"]]
    for unit in UNITS.values():
        rows.append([unit.name, settings_text(unit.defaults), unit.baseline or "-", unit.summary])
    return table(rows)
