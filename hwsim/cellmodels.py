"""Verilog models of library cells from their functions, for simulating mapped netlists."""

from __future__ import annotations

from collections.abc import Iterable

from hwsim.expression import Expression
from hwsim.library import Cell


def to_verilog(cells: Iterable[Cell]) -> str:
    """Zero-delay models of cells, one module each, in order of name.

    Raises
    ------
    ValueError
        If an output has no function.
    """
    return "\n".join(_module(cell) for cell in sorted(cells, key=lambda cell: cell.name))


def _module(cell: Cell) -> str:
    ports = [f"input {pin}" for pin in cell.inputs] + [f"output {pin}" for pin in cell.outputs]
    lines = [f"module {cell.name} ({', '.join(ports)});"]
    flop = cell.flip_flop
    if flop:
        sets = {name: e for name, e in (("clear", flop.clear), ("preset", flop.preset)) if e is not None}
        events = " or ".join(["posedge clocked_on", *(f"posedge {name}" for name in sets)])
        choice = "".join(f"{name} ? 1'b{int(name == 'preset')} : " for name in sets)
        lines += [
            "  reg IQ;",
            f"  wire clocked_on = {_text(flop.clocked_on)};",
            *(f"  wire {name} = {_text(e)};" for name, e in sets.items()),
            f"  always @({events}) IQ <= {choice}{_text(flop.next_state)};",
            *(f"  assign {pin} = {'IQ' if state == 'IQ' else '~IQ'};" for pin, state in flop.outputs.items()),
        ]
    else:
        for pin in cell.outputs:
            function = cell.pins[pin].function
            if function is None:
                raise ValueError(f"{cell.name}/{pin} has no function")
            lines.append(f"  assign {pin} = {_text(function)};")
    return "\n".join([*lines, "endmodule", ""])


def _text(e: Expression) -> str:
    if e.op == "pin":
        return e.operands[0]
    if e.op in "01":
        return f"1'b{e.op}"
    if e.op == "not":
        return f"~{_text(e.operands[0])}"
    return "(" + f" {'&|^'[('and', 'or', 'xor').index(e.op)]} ".join(_text(o) for o in e.operands) + ")"
