"""Verilog that can be dropped into a flow: ``python -m hwsim.verilog --unit NAME``.

Amaranth writes RTLIL, Yosys turns it into Verilog, and this module rewrites that as people expect to read it: ports in
declared order, declarations before statements, statements in the order in which data flows, no attributes and no
initial values. The text is byte-identical for every run.
"""

from __future__ import annotations

import functools
import importlib.metadata
import itertools
import re
from collections.abc import Iterable
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from hwsim.base import yosys
from hwsim.rtl.hierarchy import all_parts
from hwsim.units.unit import Design

_IDENTIFIER = re.compile(r"\\\S+ |[A-Za-z_][A-Za-z0-9_$]*")
_DECLARATION = re.compile(r"  (input|output|wire|reg)( signed)?( \[[^]]+\])? (\\\S+ |\S+?)( \[[^]]+\])?( = [^;]*)?;$")
_LONGER, _BOTH_SIGNED = "(A_WIDTH > B_WIDTH ? A_WIDTH : B_WIDTH)", "A_SIGNED && B_SIGNED"
_LONGEST = f"{_LONGER} > Y_WIDTH ? {_LONGER} : Y_WIDTH"
#: Verilog modules for Yosys' ``techmap``, which extend short operands explicitly: Verilog would do so by itself, but
#: linters warn of it. Operands of arithmetic become as wide as the widest of both and the result, those of comparisons
#: as wide as the longer one. Shift distances stay as they are.
_EQUAL_WIDTHS = "".join(
    f"""\
(* techmap_celltype = "${cell}" *)
module {cell}_of_equal_widths (A, B, Y);
  parameter A_SIGNED = 0, B_SIGNED = 0, A_WIDTH = 1, B_WIDTH = 1, Y_WIDTH = 1;
  localparam A_WIDER = {a_width};
  localparam B_WIDER = {b_width};
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  output [Y_WIDTH-1:0] Y;
  wire _TECHMAP_FAIL_ = A_WIDTH >= A_WIDER && B_WIDTH >= B_WIDER;
  wire [A_WIDER-1:0] a;
  wire [B_WIDER-1:0] b;
  if ({signed}) begin
    assign a = $signed(A);
    assign b = $signed(B);
  end else begin
    assign a = A;
    assign b = B;
  end
  \\${cell} #(
    .A_SIGNED(A_SIGNED), .B_SIGNED(B_SIGNED), .A_WIDTH(A_WIDER), .B_WIDTH(B_WIDER), .Y_WIDTH(Y_WIDTH)
  ) _TECHMAP_REPLACE_ (.A(a), .B(b), .Y(Y));
endmodule
"""
    for cells, a_width, b_width, signed in (
        ("add sub mul", _LONGEST, _LONGEST, _BOTH_SIGNED),
        ("lt le ge gt eq ne", _LONGER, _LONGER, _BOTH_SIGNED),
        ("shl", "A_WIDTH > Y_WIDTH ? A_WIDTH : Y_WIDTH", "B_WIDTH", "A_SIGNED"),
    )
    for cell in cells.split()
)


def ports(component: wiring.Component) -> dict[str, tuple[str, int]]:
    """Direction (``"input"`` or ``"output"``) and width of every port, in declared order, clock and reset first."""
    declared = {"clk": ("input", 1), "rst": ("input", 1)} if getattr(component, "latency", 0) else {}
    for name, member in component.signature.members.items():
        declared[name] = ("output" if member.flow is wiring.Out else "input", len(getattr(component, name)))
    return declared


@functools.cache
def generator() -> str:
    """Names and versions of the tools that generate the Verilog, for headers of generated files."""
    return f"hwsim {importlib.metadata.version('hwsim')}, Amaranth {importlib.metadata.version('amaranth')}, " \
           f"Yosys {yosys.version()}"  # fmt: skip


def to_rtlil(design: Design) -> str:
    """RTLIL of a design: ports numbered in declared order, no initial values (hardware has none)."""
    component = design.component()
    text = rtlil.convert(component, name=design.name, emit_src=False)
    text = re.sub(r"^ *attribute \\init .*\n", "", text, flags=re.M)
    declared = ports(component)
    parts = "".join(
        re.sub(r"^ *attribute \\init .*\n", "", rtlil.convert(part, name=name, emit_src=False), flags=re.M)
        for name, part in all_parts(component).items()
    )
    head, top = _split_top(text, design.name)

    def renumber(match: re.Match[str]) -> str:
        number = list(declared).index(match[3]) + 1
        return f"{match[1]} {number} {match[2]}\\{match[3]}"

    return parts + head + re.sub(r"^(  wire width \d+ (?:input|output)) \d+ ( ?)\\(\S+)", renumber, top, flags=re.M)


def _split_top(text: str, name: str) -> tuple[str, str]:
    """RTLIL in front of the top module, and the rest."""
    start = re.search(rf"^module \\{re.escape(name)}$", text, re.M)
    assert start, "Amaranth names the top module as asked"
    return text[: start.start()], text[start.start() :]


def to_verilog(design: Design, build: Path) -> str:
    """Verilog of a design; ``build`` keeps the RTLIL and Yosys' script and log.

    Raises
    ------
    YosysError
        If Yosys fails; its log stays in ``build``.
    """
    build.mkdir(parents=True, exist_ok=True)
    (build / "rtl.il").write_text(to_rtlil(design))
    (build / "widths.v").write_text(_EQUAL_WIDTHS)
    yosys.run(
        [
            "read_rtlil rtl.il",
            "proc",
            "opt_expr -keepdc",
            # Amaranth repeats an expression for every bit that is taken from it; merge the copies.
            "opt_merge",
            "opt_clean",
            "memory_map",
            # Amaranth's results have room for every carry; drop the bits that nothing reads.
            "wreduce -keepdc",
            # Signals called unused* take inputs that a unit ignores, so that linters find these read: keep them. All
            # other signals that nothing reads go.
            "setattr -set keep 1 w:unused*",
            "opt_clean -purge",
            "techmap -map widths.v",
            "opt_clean -purge",
            "write_verilog -noattr rtl.raw.v",
        ],
        build,
        "verilog",
    )
    raw = (build / "rtl.raw.v").read_text()
    modules = re.findall(r"^module .*?^endmodule$", raw, re.M | re.S)
    # Submodules first, as readers and single-pass tools expect.
    modules.sort(key=lambda module: (_module_name(module) == design.name, _module_name(module)))
    return "\n\n".join([_header(design), *(_arranged(module) for module in modules)]) + "\n"


def _header(design: Design) -> str:
    latency = getattr(design.component(), "latency", 0)
    settings = " ".join(f"{k}={int(v) if isinstance(v, bool) else v}" for k, v in design.parameters.items())
    return "\n".join([
        f"// {design.name}: {design.unit.summary}",
        f"// parameters: {settings}",
        f"// latency: {latency} cycles, one block a cycle" if latency else "// latency: combinational",
        f"// made by: {generator()}",
    ])  # fmt: skip


def _module_name(module: str) -> str:
    return module.split("(", 1)[0].removeprefix("module ").strip()


def _arranged(module: str) -> str:
    """One module of Yosys' Verilog, rewritten as the docstring of this file says."""
    header, *lines = module.splitlines()[:-1]
    port_order = [p.strip() for p in header[header.index("(") + 1 : header.rindex(")")].split(",")]
    port_kinds: dict[str, str] = {}
    nets: dict[str, tuple[str, str, str]] = {}
    statements: list[str] = []
    for line in lines:
        declaration = _DECLARATION.match(line)
        if declaration:
            kind, signed, width, name, depth = (declaration[i] or "" for i in range(1, 6))
            if kind in ("input", "output"):
                port_kinds[name.strip()] = kind
            nets[name.strip()] = (kind if kind == "reg" else "wire", signed + width, depth)
        elif line.startswith("   ") or line in ("  );", "  end", "  endfunction"):
            statements[-1] += "\n" + line
        elif line.strip():
            statements.append(line)
    statements = _in_data_order(statements, nets)
    head = [
        f"  {port_kinds[p]:6} {nets[p][0]:4}{nets[p][1]} {_plain(p)}{',' if p != port_order[-1] else ''}"
        for p in port_order
    ]
    declarations = [
        f"  {kind}{width} {_plain(name)}{depth};"
        for name, (kind, width, depth) in sorted(nets.items(), key=lambda item: (item[1][0], _natural(item[0])))
        if name not in port_kinds
    ]
    body = "\n".join([
        f"module {_module_name(module)} (", *head, ");", *declarations, "", *statements, "endmodule"
    ])  # fmt: skip
    return _renumbered(body)


def _in_data_order(statements: list[str], nets: dict[str, tuple[str, str, str]]) -> list[str]:
    """Statements, each assignment before those that read it, clocked ones last; otherwise by the name they drive."""
    driver: dict[str, list[int]] = {}
    reads: list[set[str]] = []
    keys = []
    for index, statement in enumerate(statements):
        assigned = re.match(r"  assign (\{.*?\}|\\\S+ |[^\s=\[]+)", statement)
        targets = set(_names(assigned[1])) if assigned else set()
        for target in targets:
            driver.setdefault(target, []).append(index)
        reads.append((set(_names(statement)) - targets) & nets.keys())
        clocked = statement.startswith("  always")
        key = statement.split("<=")[0].split("\n")[-1] if clocked else statement
        keys.append((clocked, _natural(key)))
    ordered: list[str] = []
    state = [0] * len(statements)
    # Depth first, without recursion: trees may be deeper than Python's stack.
    for root in sorted(range(len(statements)), key=lambda i: keys[i]):
        stack = [(root, False)]
        while stack:
            index, done = stack.pop()
            if done:
                ordered.append(statements[index])
                continue
            if state[index]:
                continue
            state[index] = 1
            stack.append((index, True))
            if not keys[index][0]:
                before = {d for name in reads[index] for d in driver.get(name, ()) if not state[d]}
                stack.extend((d, False) for d in sorted(before, key=lambda i: keys[i], reverse=True))
    # Clocked statements read combinational ones and never the other way round.
    return [s for s in ordered if not s.startswith("  always")] + [s for s in ordered if s.startswith("  always")]


def _names(text: str) -> Iterable[str]:
    """All identifiers (and keywords) in Verilog text."""
    return (name.strip() for name in _IDENTIFIER.findall(text))


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key that puts ``a2`` before ``a10``."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _plain(name: str) -> str:
    """A name as Verilog needs it: a blank ends an escaped identifier."""
    return f"{name} " if name.startswith("\\") else name


def _renumbered(body: str) -> str:
    """Rename Yosys' temporaries ``_12_`` to ``n0``, ``n1``, ... by first use, and declare them where assigned."""
    taken = set(_names(body))
    numbers = (f"n{i}" for i in itertools.count() if f"n{i}" not in taken)
    declarations, _, statements = body.partition("\n\n")
    lines = statements.split("\n")
    first: dict[str, int] = {}
    for position, line in enumerate(lines):
        for name in re.findall(r"\b_\d+_\b", line):
            first.setdefault(name, position)
    order = {name: next(numbers) for name in first}
    kept = []
    for line in declarations.split("\n"):
        declared = re.fullmatch(r"  wire((?: signed)?(?: \[[^]]+\])?) (_\d+_);", line)
        # A wire can be declared where it is assigned only if one statement drives all of it, before any reads it.
        at = first.get(declared[2]) if declared else None
        if declared and at is not None and lines[at].startswith(f"  assign {declared[2]} ="):
            lines[at] = lines[at].replace(f"  assign {declared[2]} =", f"  wire{declared[1]} {declared[2]} =", 1)
        else:
            kept.append(line)
    text = "\n".join(kept) + "\n\n" + "\n".join(lines)
    return re.sub(r"\b_\d+_\b", lambda match: order.get(match[0], match[0]), text)
