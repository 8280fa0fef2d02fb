"""A library as the one Liberty file that Yosys, ABC and OpenSTA read.

It is written from what :class:`~hwsim.technology.library.Library` holds, not from the text of the user's files: their
parsers, each of which knows less of Liberty than the other, see only plain and uniform text. It holds the cells that
synthesis may use, in the units of the first file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from hwsim.technology.cells import Cell, Pin, Table, TimingArc
from hwsim.technology.expression import parse
from hwsim.technology.liberty import Group, write
from hwsim.technology.library import Library

_SLEW, _EDGE, _LOAD = "input_net_transition", "input_transition_time", "total_output_net_capacitance"
_CLOCK, _DATA = "related_pin_transition", "constrained_pin_transition"
# What tables over some axes hold: a word for their names.
_TABLES = {
    (_SLEW, _LOAD): "delay",
    (_CLOCK, _DATA): "constraint",
    (_EDGE, _LOAD): "output_energy",
    (_EDGE,): "input_energy",
}


def render(library: Library) -> str:
    """Liberty text of a library; the same text for the same library."""
    renderer = _Renderer(library)
    cells = [renderer.cell(cell) for cell in library.cells.values() if cell.is_usable or cell.clock_gate]
    conditions = {"process": library.process, "voltage": library.voltage, "temperature": library.temperature}
    simple = {
        "delay_model": "table_lookup",
        "time_unit": f'"{_quantity(library.time_unit_ns, "ns", "ps")}"',
        "voltage_unit": '"1V"',
        "current_unit": '"1mA"',
        "pulling_resistance_unit": '"1kohm"',
        "leakage_power_unit": '"1nW"',
        **{f"nom_{name}": _number(value) for name, value in conditions.items()},
        "default_operating_conditions": '"corner"',
        "default_cell_leakage_power": "0",
        "default_input_pin_cap": "0",
        "default_output_pin_cap": "0",
        "default_inout_pin_cap": "0",
        "default_fanout_load": "1",
        **{key: _number(value) for key, value in library.thresholds.items()},
    }
    if library.max_transition_ns is not None:
        simple["default_max_transition"] = _number(library.max_transition_ns / library.time_unit_ns)
    groups = [Group("operating_conditions", '"corner"', {name: _number(v) for name, v in conditions.items()})]
    wire = library.wire_load
    if wire.lengths:
        simple["default_wire_load"] = f'"{wire.name}"'
        lengths = [("fanout_length", f"{fanout:g}, {_number(length)}") for fanout, length in wire.lengths]
        per_length = _number(wire.capacitance_per_length / library.capacitance_unit_fF)
        slope = {"capacitance": per_length, "resistance": "0", "area": "0", "slope": _number(wire.slope)}
        groups.append(Group("wire_load", f'"{wire.name}"', slope, lengths))
    unit = _quantity(library.capacitance_unit_fF / 1000, "pf", "ff", ", ")
    return write(
        Group(
            "library",
            f'"{library.name}"',
            simple,
            [("capacitive_load_unit", unit)],
            [*groups, *renderer.templates.values(), *cells],
        )
    )


class _Renderer:
    """Builds the cells of a library, and on the way the templates that their tables need."""

    def __init__(self, library: Library):
        self.time, self.capacitance = library.time_unit_ns, library.capacitance_unit_fF
        #: By the text of its axes.
        self.templates: dict[tuple[str, ...], Group] = {}

    def cell(self, cell: Cell) -> Group:
        """A ``cell`` group."""
        groups = [
            Group("leakage_power", "", {"when": _condition(when), "value": _number(nw)})
            for when, nw in cell.leakage_states
        ]
        if cell.flip_flop:
            parts = ("clocked_on", "next_state", "clear", "preset")
            stated = {part: getattr(cell.flip_flop, part) for part in parts}
            simple = {part: f'"{function}"' for part, function in stated.items() if function is not None}
            groups.append(Group("ff", '"IQ", "IQN"', simple))
        # Pins inside a clock gate are those of its state table.
        groups += [self._pin(cell, pin) for pin in cell.pins.values() if pin.direction != "internal"]
        simple = {"area": _number(cell.area), "cell_leakage_power": _number(cell.leakage)}
        if gate := cell.clock_gate:
            has_test = len(gate.enable.pins) > 1
            simple["clock_gating_integrated_cell"] = f'"latch_posedge{"_precontrol" if has_test else ""}"'
            # Of the clock and the enable, low and low: the latch is open and closes the gate; and so on.
            rows = ", ".join(["L L : - : L", "L H : - : H", "H - : - : N"])
            if has_test:
                rows = ", ".join(["L L L : - : L", "L H - : - : H", "L - H : - : H", "H - - : - : N"])
            table = Group("statetable", f'"{" ".join((gate.clock, *gate.enable.pins))}", "IQ"', {"table": f'"{rows}"'})
            groups += [table, Group("pin", '"IQ"', {"direction": "internal", "internal_node": '"IQ"'})]
        return Group("cell", f'"{cell.name}"', simple, groups=groups)

    def _pin(self, cell: Cell, pin: Pin) -> Group:
        simple = {"direction": pin.direction, "capacitance": _number(pin.capacitance / self.capacitance)}
        if pin.direction == "input" and pin.edge_capacitance is not None:
            for edge, value in zip(("rise", "fall"), pin.edge_capacitance, strict=True):
                simple[f"{edge}_capacitance"] = _number(value / self.capacitance)
        if pin.max_capacitance is not None:
            simple["max_capacitance"] = _number(pin.max_capacitance / self.capacitance)
        state = cell.flip_flop.outputs.get(pin.name) if cell.flip_flop else None
        if state or pin.function is not None:
            simple["function"] = f'"{state or pin.function}"'
        if pin.name in cell.clock_pins:
            simple["clock"] = "true"
        if gate := cell.clock_gate:
            enable, *tests = gate.enable.pins
            roles = {gate.clock: "clock", gate.output: "out", enable: "enable"} | dict.fromkeys(tests, "test")
            simple[f"clock_gate_{roles[pin.name]}_pin"] = "true"
            if pin.name == gate.output:
                simple["state_function"] = f'"{gate.clock} & IQ"'
        groups = [self._timing(arc) for arc in cell.timing if arc.pin == pin.name]
        for constraint in cell.constraints:
            if constraint.pin == pin.name:
                stated = _stated(constraint.related_pin, constraint.when) | {"timing_type": constraint.kind}
                tables = self._tables("{}_constraint", constraint.constraint, (_CLOCK, _DATA))
                groups.append(Group("timing", "", stated, groups=tables))
        for energy in cell.energy:
            if energy.pin == pin.name:
                axes = (_EDGE,) if pin.direction == "input" else (_EDGE, _LOAD)
                tables = self._tables("{}_power", energy.energy, axes)
                groups.append(Group("internal_power", "", _stated(energy.related_pin, energy.when), groups=tables))
        return Group("pin", f'"{pin.name}"', simple, groups=groups)

    def _timing(self, arc: TimingArc) -> Group:
        sense = "non_unate" if arc.sense == "none" else arc.sense
        simple = _stated(arc.related_pin, arc.when) | {"timing_sense": sense, "timing_type": arc.kind}
        tables = [
            table
            for pattern, by_edge in (("cell_{}", arc.delay), ("{}_transition", arc.slew))
            for table in self._tables(pattern, by_edge, (_SLEW, _LOAD))
        ]
        return Group("timing", "", simple, groups=tables)

    def _tables(self, pattern: str, by_edge: Mapping[str, Table], axes: tuple[str, ...]) -> list[Group]:
        return [self._table(pattern.format(edge), table, axes) for edge, table in by_edge.items()]

    def _table(self, kind: str, table: Table, axes: tuple[str, ...]) -> Group:
        """A table group. An axis of one point becomes one of two with equal values: a constant is then a table too,
        which ABC and Yosys take for granted."""
        of_energy = kind.endswith("_power")
        index_1, values = _two_points(table.index_1, table.values, 0)
        indices = [index_1 / self.time]
        if len(axes) == 2:
            index_2, values = _two_points(table.index_2, values, 1)
            indices.append(index_2 / (self.capacitance if axes[1] == _LOAD else self.time))
        elif values.shape[1] > 1:
            # An input's energy does not depend on a load: take the figures of the least.
            values = values[:, :1]
        if len(axes) == 1:
            values = values.T
        rows = [_row(row / (self.capacitance if of_energy else self.time)) for row in values]
        name = self._template("power_lut_template" if of_energy else "lu_table_template", axes, map(_row, indices))
        return Group(kind, name, complex=[("values", ", ".join(rows))])

    def _template(self, kind: str, axes: tuple[str, ...], indices: Iterable[str]) -> str:
        key = (kind, *axes, *indices)
        if key not in self.templates:
            simple = {f"variable_{k}": axis for k, axis in enumerate(axes, 1)}
            rows = [(f"index_{k}", row) for k, row in enumerate(key[1 + len(axes) :], 1)]
            self.templates[key] = Group(kind, f"{_TABLES[axes]}_{len(self.templates)}", simple, rows)
        return self.templates[key].name


def _two_points(axis: np.ndarray, values: np.ndarray, along: int) -> tuple[np.ndarray, np.ndarray]:
    if len(axis) > 1:
        return axis, values
    return np.array([axis[0], axis[0] + 1]), np.repeat(values, 2, axis=along)


def _stated(related_pin: str | None, when: str) -> dict[str, str]:
    simple = {"related_pin": f'"{related_pin}"'} if related_pin else {}
    return simple | ({"when": _condition(when)} if when else {})


def _condition(when: str) -> str:
    return f'"{parse(when)}"'


def _row(values: Iterable[float]) -> str:
    return '"' + ", ".join(map(_number, values)) + '"'


def _quantity(value: float, unit: str, thousandth: str, between: str = "") -> str:
    """A quantity with its unit, or with the unit a thousandth as large if that makes it a whole number."""
    if value < 1:
        value, unit = 1000 * value, thousandth
    return f"{_number(value)}{between}{unit}"


def _number(value: float) -> str:
    return f"{value:.9g}"
