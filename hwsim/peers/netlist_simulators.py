"""Event-driven and compiled simulators on a mapped netlist: references for the bit-parallel engine."""

from __future__ import annotations

import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from vcd.reader import TokenKind, tokenize

from hwsim.analysis.netlist import Netlist
from hwsim.base import simulators
from hwsim.base.bits import to_integers
from hwsim.base.errors import ToolError
from hwsim.base.files import write
from hwsim.synthesis.mapping import Mapped
from hwsim.technology.cells import Cell
from hwsim.technology.expression import Expression

#: Periods before the first edge, in which the netlist settles: a value that is unknown then, a register could keep.
_SETTLE = 4

# Inputs change together with the registers, at the rising edge, as in the engine: a net settles once a cycle. They come
# from a clocked statement, because simulators differ in whether a clock's own process writes before registers sample.
_TESTBENCH = """
`timescale 1ps/1fs
module testbench;
  reg clk = 0;
  reg [{last}:0] vectors [0:{vectors_last}];
  reg [{last}:0] given = 0;
  integer next = 0;
  {instance}
  always @(posedge clk) begin
    given <= vectors[next];
    next <= next + 1;
  end
  initial begin
    {annotate}
    $readmemh("vectors.hex", vectors);
    $dumpfile("netlist.vcd");
    $dumpvars(1, {scopes});
    #{settle};
    repeat ({vectors}) begin
      #{half} clk = 1;
      #{half} clk = 0;
    end
    #{half} $finish;
  end
endmodule
"""


def toggles(
    mapped: Mapped,
    netlist: Netlist,
    inputs: dict[str, np.ndarray],
    warm_up: int,
    simulator: str,
    runtime: Path | None = None,
    sdf: str = "",
    period_ps: int = 2000,
) -> np.ndarray:
    """Toggles of every net of a mapped netlist over one stream, as a simulator's VCD has them.

    Parameters
    ----------
    inputs : dict of str to unsigned array [cycles, fields]
        One stream; reset stays low.
    warm_up : int
        Cycles not counted.
    simulator : str
        ``icarus`` or ``verilator``.
    runtime : Path, optional
        As in :func:`hwsim.base.simulators.environment`.
    sdf : str
        Delays of the netlist; empty for none. Icarus alone takes them.
    period_ps : int
        Clock period, even.

    Returns
    -------
    int64 [nets]
    """
    folder = mapped.netlist.parent / f"toggles-{simulator}{'-timed' if sdf else ''}"
    folder.mkdir(exist_ok=True)
    _write_models(netlist, folder / "cells.v", timed=bool(sdf))
    write(folder / "netlist.sdf", sdf)
    widths = {name: len(netlist.inputs[name]) for name in inputs}
    values = {name: to_integers(v, widths[name]) for name, v in inputs.items()}
    cycles = len(next(iter(values.values())))
    rows, at, pins = [0] * cycles, 0, []
    for name, width in widths.items():
        rows = [row | v << at for row, v in zip(rows, values[name], strict=True)]
        pins.append(f".{name}(given[{at + width - 1}:{at}])")
        at += width
    if "clk" in netlist.inputs:
        pins += [".clk(clk)", ".rst(1'b0)"]
    write(folder / "vectors.hex", "\n".join(f"{row:x}" for row in rows) + "\n")
    write(
        folder / "testbench.v",
        _TESTBENCH.format(
            last=at - 1,
            vectors=cycles,
            vectors_last=cycles - 1,
            instance=f"{netlist.top} dut ({', '.join(pins)});",
            half=period_ps // 2,
            settle=_SETTLE * period_ps,
            scopes=", ".join(".".join(filter(None, ("dut", scope))) for scope in netlist.scopes),
            annotate='$sdf_annotate("netlist.sdf", dut);' if sdf else "",
        ),
    )
    sources = ["testbench.v", str(mapped.netlist), "cells.v"]
    if simulator == "icarus":
        _run(["iverilog", "-gspecify", "-o", "simulation", *sources], folder)
        said = _run(["vvp", "simulation"], folder)
        if "SDF" in said.upper().replace("NETLIST.SDF", "") or "warning" in said.lower():
            raise ToolError(f"vvp does not take all of {folder / 'netlist.sdf'}: {said[:2000]}")
    else:
        # Verilator turns the testbench's delays into coroutines, which older compilers accept only as C++20.
        flags = ["-CFLAGS", "-std=gnu++20 -O0", "-Wno-fatal", "--top-module", "testbench"]
        _run(["verilator", "--binary", "--trace", *flags, *sources], folder, runtime)
        _run([str(folder / "obj_dir" / "Vtestbench")], folder)
    # Behind the time to settle, the rising edge of cycle i is at i and a half periods.
    first_ps = period_ps * (_SETTLE + warm_up) + period_ps // 2
    return _count(folder / "netlist.vcd", netlist, first_fs=1000 * first_ps)


def _count(vcd: Path, netlist: Netlist, first_fs: int) -> np.ndarray:
    """Toggles of every net in a VCD file from ``first_fs`` on, int64 [nets]."""
    # Nets that are always equal share an identifier.
    names: dict[str, set[str]] = defaultdict(set)
    last: dict[str, list[str]] = {}
    counted: Counter[tuple[str, int]] = Counter()
    scopes: list[str] = []
    now = 0
    scale = 1
    with vcd.open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.TIMESCALE:
                scale = {"fs": 1, "ps": 1000, "ns": 1_000_000}[
                    token.timescale.unit.value
                ] * token.timescale.magnitude.value
            elif token.kind is TokenKind.SCOPE:
                scopes.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                scopes.pop()
            elif token.kind is TokenKind.VAR:
                width = token.var.size
                # The first two scopes are the testbench and the netlist's top.
                names[token.var.id_code].add(".".join([*scopes[2:], token.var.reference]))
                last[token.var.id_code] = ["x"] * width
            elif token.kind is TokenKind.CHANGE_TIME:
                now = token.time_change * scale
            elif token.kind in (TokenKind.CHANGE_SCALAR, TokenKind.CHANGE_VECTOR):
                change = token.scalar_change if token.kind is TokenKind.CHANGE_SCALAR else token.vector_change
                width, value = len(last[change.id_code]), change.value
                # Leading zeros are left out, and all but one of leading x or z.
                text = f"{value:b}" if isinstance(value, int) else str(value)
                text = text.rjust(width, text[0] if text[0] in "xz" else "0")
                new = list(reversed(text))
                for bit, (a, b) in enumerate(zip(last[change.id_code], new, strict=True)):
                    if a != b and now >= first_fs:
                        for name in names[change.id_code]:
                            counted[name, bit if width > 1 else -1] += 1
                last[change.id_code] = new
    result = np.zeros(netlist.count, np.int64)
    for net, name in enumerate(netlist.nets):
        base, _, position = name.rpartition("[")
        key = (base, int(position[:-1])) if position.endswith("]") and base else (name, -1)
        result[net] = counted[key]
    return result


_HARNESS = """
#include "V{top}.h"
#include "verilated.h"
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>
int main() {{
  V{top} dut;
  std::vector<uint32_t> data({words} * {vectors});
  FILE* file = fopen("vectors.bin", "rb");
  if (!file || fread(data.data(), 4, data.size(), file) != data.size()) return 1;
  auto start = std::chrono::steady_clock::now();
  uint32_t sum = 0;
  for (int i = 0; i < {vectors}; ++i) {{
    const uint32_t* v = &data[size_t(i) * {words}];
    {drive}
    {clock}
    sum += {observe};
  }}
  std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  printf("%.9f %u\\n", seconds.count(), sum);
}}
"""


def verilator_seconds(mapped: Mapped, netlist: Netlist, inputs: dict[str, np.ndarray]) -> float:
    """Seconds that Verilator (-O3, one thread, no tracing, no toggle counts) takes for a stream on the netlist."""
    folder = mapped.netlist.parent / "verilated"
    folder.mkdir(exist_ok=True)
    _write_models(netlist, folder / "cells.v")
    columns: list[np.ndarray] = []
    drive: list[str] = []
    for name, values in inputs.items():
        width = len(netlist.inputs[name])
        count = -(-width // 32)
        packed = np.array(
            [[v >> 32 * k & 0xFFFFFFFF for k in range(count)] for v in to_integers(values, width)], np.uint32
        )
        at = sum(c.shape[1] for c in columns)
        if width <= 32:
            drive.append(f"dut.{name} = v[{at}];")
        elif width <= 64:
            drive.append(f"dut.{name} = v[{at}] | uint64_t(v[{at + 1}]) << 32;")
        else:
            drive += [f"dut.{name}[{k}] = v[{at + k}];" for k in range(count)]
        columns.append(packed)
    data = np.concatenate(columns, axis=1)
    data.tofile(folder / "vectors.bin")
    registered = "clk" in netlist.inputs
    first = next(iter(netlist.outputs))
    wide = len(netlist.outputs[first]) > 64
    write(
        folder / "harness.cpp",
        _HARNESS.format(
            top=netlist.top, words=data.shape[1], vectors=len(data), drive=" ".join(drive),
            clock="dut.clk = 1; dut.eval(); dut.clk = 0; dut.eval();" if registered else "dut.eval();",
            observe=f"dut.{first}[0]" if wide else f"dut.{first}",
        )
    )  # fmt: skip
    _run(
        ["verilator", "--cc", "--exe", "--build", "-O3", "-CFLAGS", "-O3 -march=native", "-Wno-fatal", "--top-module",
         netlist.top, str(mapped.netlist), "cells.v", "harness.cpp"],
        folder,
    )  # fmt: skip
    return float(_run([str(folder / "obj_dir" / f"V{netlist.top}")], folder).split()[0])


def _write_models(netlist: Netlist, path: Path, timed: bool = False) -> None:
    write(path, cell_models((group.cell for group in netlist.groups), timed))


def _run(command: list[str], folder: Path, runtime: Path | None = None) -> str:
    environment = simulators.environment(runtime)
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise ToolError(f"{command[0]} failed in {folder}: {(result.stdout + result.stderr)[-2000:]}")
    return result.stdout


def cell_models(cells: Iterable[Cell], timed: bool = False) -> str:
    """Verilog of models of library cells, one module each, in order of name: without delays, or with a path from every
    input to every output, whose delay SDF gives.

    Raises
    ------
    ValueError
        If an output has no function.
    """
    head = "`timescale 1ps/1fs\n" if timed else ""
    return head + "\n".join(_module(cell, timed) for cell in sorted(cells, key=lambda cell: cell.name))


def _paths(cell: Cell) -> list[str]:
    """The paths through a cell, as a specify block."""
    paths = {}
    for arc in cell.timing:
        edge = {"rising_edge": "posedge ", "falling_edge": "negedge "}.get(arc.kind, "")
        # The data of an edge-sensitive path matter to no delay; Verilog wants some.
        target = f"({arc.pin} : 1'b1)" if edge else arc.pin
        paths[arc.related_pin, arc.pin] = f"    ({edge}{arc.related_pin} => {target}) = 0;"
    return ["  specify", *paths.values(), "  endspecify"] if paths else []


def _module(cell: Cell, timed: bool) -> str:
    ports = [f"input {pin}" for pin in cell.inputs] + [f"output {pin}" for pin in cell.outputs]
    lines = [f"module {cell.name} ({', '.join(ports)});"]
    flop = cell.flip_flop
    if flop:
        sets = {name: e for name, e in (("clear", flop.clear), ("preset", flop.preset)) if e is not None}
        events = " or ".join(["posedge clocked_on", *(f"posedge {name}" for name in sets)])
        choice = "".join(f"{name} ? 1'b{int(name == 'preset')} : " for name in sets)
        lines += [
            # As in our engines. Unknown, a register that is fed back could stay so: tables do not know that 0 & x is 0.
            "  reg IQ = 1'b0;",
            f"  wire clocked_on = {_text(flop.clocked_on)};",
            *(f"  wire {name} = {_text(e)};" for name, e in sets.items()),
            f"  always @({events}) IQ <= {choice}{_text(flop.next_state)};",
            *(f"  assign {pin} = {'IQ' if state == 'IQ' else '~IQ'};" for pin, state in flop.outputs.items()),
        ]
    elif gate := cell.clock_gate:
        lines += [
            "  reg open = 1'b0;",
            f"  always @* if (!{gate.clock}) open = {_text(gate.enable)};",
            f"  assign {gate.output} = {gate.clock} & open;",
        ]
    else:
        for pin in cell.outputs:
            function = cell.pins[pin].function
            if function is None:
                raise ValueError(f"{cell.name}/{pin} has no function")
            lines += _as_table(pin, function) if timed and function.pins else [f"  assign {pin} = {_text(function)};"]
    return "\n".join([*lines, *(_paths(cell) if timed else []), "endmodule", ""])


def _as_table(pin: str, function: Expression) -> list[str]:
    """A function as a table that is looked up when all inputs that change at one time have changed.

    Operators, and inputs one after the other, would for no time at all show values that a cell never has, which paths
    with delays take for changes.
    """
    pins = function.pins
    size = 1 << len(pins)
    index = ", ".join(reversed(pins))
    return [
        f"  wire [{size - 1}:0] {pin}_of = {size}'h{function.table(pins):x};",
        f"  reg {pin}_now;",
        f"  initial {pin}_now <= {pin}_of[{{{index}}}];",
        f"  always @({' or '.join(pins)}) {pin}_now <= {pin}_of[{{{index}}}];",
        f"  assign {pin} = {pin}_now;",
    ]


def _text(e: Expression) -> str:
    if e.op == "pin":
        return e.operands[0]
    if e.op in "01":
        return f"1'b{e.op}"
    if e.op == "not":
        return f"~{_text(e.operands[0])}"
    return "(" + f" {'&|^'[('and', 'or', 'xor').index(e.op)]} ".join(_text(o) for o in e.operands) + ")"
