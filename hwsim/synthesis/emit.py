"""RTL of a design: as RTLIL for Yosys, and as Verilog that can be dropped into a flow.

The modules of a design are named after it and its settings, so that any two can be read together. Texts are
byte-identical for every run.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Callable
from typing import Any

from amaranth.back import rtlil
from amaranth.lib import wiring

from hwsim.base import yosys
from hwsim.rtl.hierarchy import all_parts
from hwsim.rtl.tile.gates import CELLS
from hwsim.synthesis.writer import ModuleWriter
from hwsim.units.describe import described_ports, settings_text, summary
from hwsim.units.unit import Design


def ports(component: wiring.Component) -> dict[str, tuple[str, int]]:
    """Direction (``"input"`` or ``"output"``) and width of every port, in declared order, clock and reset first."""
    declared = {"clk": ("input", 1), "rst": ("input", 1)} if getattr(component, "latency", 0) else {}
    for name, member in component.signature.members.items():
        declared[name] = ("output" if member.flow is wiring.Out else "input", len(getattr(component, name)))
    return declared


@functools.cache
def generator() -> str:
    """Names and versions of the tools that generate the RTL, for headers of generated files."""
    return f"hwsim {importlib.metadata.version('hwsim')}, Amaranth {importlib.metadata.version('amaranth')}, " \
           f"Yosys {yosys.version()}"  # fmt: skip


def module_names(design: Design) -> dict[str, str]:
    """Name of the module of every part of a design, by the part's own name, in the order of :func:`all_parts`."""
    return {part: f"{design.base}_{part.removeprefix('mma_')}" for part in all_parts(design.component())}


def cell_names(design: Design) -> dict[str, str]:
    """Name of the module of every adder and gate of :data:`hwsim.rtl.tile.gates.CELLS`, by its own name."""
    return {name: f"{design.base}_{name}" for name in CELLS}


#: Texts of designs by function and design, once :func:`remember` has been called.
_texts: dict[tuple[str, Any, str], str] | None = None


def remember() -> None:
    """Keep the texts of designs from now on, for the rest of the process: for those that map a few designs many times.

    Amaranth takes seconds for a tile, and the RTL depends on neither library nor clock.
    """
    global _texts
    _texts = {} if _texts is None else _texts


def _remembered(make: Callable[[Design], str]) -> Callable[[Design], str]:
    @functools.wraps(make)
    def text(design: Design) -> str:
        if _texts is None:
            return make(design)
        key = make.__name__, design.unit.builder, design.slug
        if key not in _texts:
            _texts[key] = make(design)
        return _texts[key]

    return text


@_remembered
def to_rtlil(design: Design) -> str:
    """RTLIL of a design: ports numbered in declared order, no initial values (hardware has none)."""
    component, names = design.component(), module_names(design) | cell_names(design)
    text = _rtlil(component, design.name, names)
    declared = ports(component)
    parts = "".join(_rtlil(part, names[name], names) for name, part in all_parts(component).items())
    head, top = _split_top(text, design.name)
    used = set(re.findall(r"^ *cell \\(\S+) ", parts + text, re.M))
    parts += "".join(_rtlil(cell(), names[name], names) for name, cell in CELLS.items() if names[name] in used)

    def renumber(match: re.Match[str]) -> str:
        number = list(declared).index(match[3]) + 1
        return f"{match[1]} {number} {match[2]}\\{match[3]}"

    return parts + head + re.sub(r"^(  wire width \d+ (?:input|output)) \d+ ( ?)\\(\S+)", renumber, top, flags=re.M)


def fingerprints(design: Design, rtlil: str) -> dict[str, str]:
    """By part of a design whose RTLIL is given, a hash of its hardware: equal for equal parts of different designs."""
    parts = {module: part for part, module in module_names(design).items()}
    bodies = re.findall(r"^module \\(\S+)$(.*?)^end$", rtlil, re.M | re.S)
    return {
        parts[name]: hashlib.sha256(body.replace(f"\\{design.base}_", "\\").encode()).hexdigest()
        for name, body in bodies
        if name in parts
    }


def _rtlil(component: wiring.Component, name: str, names: dict[str, str]) -> str:
    """RTLIL of a component as module ``name``, its parts called by their names."""
    text = rtlil.convert(component, name=name, emit_src=False)
    text = re.sub(r"^ *attribute \\(init|hwsim_comment) .*\n", "", text, flags=re.M)
    return re.sub(r"^( *cell) \\(\S+)", lambda cell: f"{cell[1]} \\{names.get(cell[2], cell[2])}", text, flags=re.M)


def _split_top(text: str, name: str) -> tuple[str, str]:
    """RTLIL in front of the top module, and the rest."""
    start = re.search(rf"^module \\{re.escape(name)}$", text, re.M)
    assert start, "Amaranth names the top module as asked"
    return text[: start.start()], text[start.start() :]


@_remembered
def to_verilog(design: Design) -> str:
    """Verilog of a design in one text: its modules, each behind those that it instantiates."""
    return "\n".join([header(design), _OPENING, *modules(design).values(), _CLOSING])


def files(design: Design) -> dict[str, str]:
    """Verilog of a design, a file for each module, by file name; the order is that of :func:`to_verilog`."""
    top = design.name
    return {
        f"{name}.v": "\n".join([header(design, f"part of {top}" if name != top else ""), _OPENING, text, _CLOSING])
        for name, text in modules(design).items()
    }


_OPENING, _CLOSING = "`default_nettype none\n", "`default_nettype wire\n"


def modules(design: Design) -> dict[str, str]:
    """Verilog of every module of a design by its name, each behind those that it instantiates."""
    component, names = design.component(), module_names(design) | cell_names(design)
    texts: dict[str, str] = {}
    cells = {name: cell() for name, cell in CELLS.items()}
    for part, module in (cells | all_parts(component) | {"": component}).items():
        name = names.get(part, design.name)
        text = summary(module) if part else f"{design.unit.summary}. {summary(module)}"
        texts[name] = ModuleWriter(module, name, names, ports(module), described_ports(module), text).text()
    # Only structured arithmetic instantiates adders and gates.
    used = set(re.findall(r"^ *(\w+) ", "\n".join(texts.values()), re.M))
    unused = set(cell_names(design).values()) - used
    return {name: text for name, text in texts.items() if name not in unused}


def header(design: Design, title: str = "") -> str:
    """Comment at the top of a generated file; ``title`` is what the file holds, by default the unit."""
    component = design.component()
    latency, interval = getattr(component, "latency", 0), getattr(component, "chain_interval", 0)
    timing = f"latency: {latency} cycles" if latency else "latency: combinational"
    if interval:
        timing += f", an instruction a cycle, a dependent one {interval} cycles later"
    elif latency:
        timing += ", a block a cycle"
    return "\n".join([
        "// SPDX-License-Identifier: Apache-2.0",
        f"// {design.name}: {title or design.unit.summary}",
        f"// parameters: {settings_text(design.parameters)}",
        f"// {timing}",
        f"// made by: {generator()}",
        "",
    ])  # fmt: skip
