"""Read Liberty ``cell`` groups as `hwsim.technology.cells.Cell`.

Units and the order of table axes become the same for all libraries, figures of ground pins are left out, and cells
that synthesis must not use are marked.

Slews stay as the tables have them, at the thresholds that the library states. ``slew_derate_from_library`` is not
applied: tables are indexed by, and contain, slews on the same derated scale, so that a path never leaves it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hwsim.base.errors import InputError
from hwsim.technology.cells import Cell, ClockGate, ConstraintArc, EnergyArc, FlipFlop, Pin, Table, TimingArc
from hwsim.technology.expression import Expression, parse, unateness
from hwsim.technology.liberty import Group, numbers

_PREFIX = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0}
# Liberty's names for the axes of tables.
_SLEW = ("input_net_transition", "input_transition_time")
_LOAD = ("total_output_net_capacitance", "equal_or_opposite_output_net_capacitance")
_CLOCK_SLEW = ("related_pin_transition",)
_DATA_SLEW = ("constrained_pin_transition",)
# timing_type values of arcs that carry a signal; an absent timing_type means combinational.
_DELAY_KINDS = {
    "": "combinational",
    "combinational": "combinational",
    "combinational_rise": "combinational",
    "combinational_fall": "combinational",
    "rising_edge": "rising_edge",
    "falling_edge": "falling_edge",
}
_CONSTRAINT_KIND = re.compile(r"(setup|hold|recovery|removal)_(rising|falling)")
_SPECIAL_CELLS = {
    "is_level_shifter": "level shifter",
    "is_isolation_cell": "isolation cell",
    "always_on": "always-on cell",
    "retention_cell": "retention cell",
    "clock_gating_integrated_cell": "clock gate",
    "is_macro_cell": "macro",
    "pad_cell": "pad",
}
_SPECIAL_GROUPS = {
    "latch": "latch",
    "latch_bank": "latch",
    "statetable": "state table",
    "ff_bank": "flip-flop bank",
}


@dataclass(frozen=True)
class Units:
    """Factors that convert the figures of a file to ns, fF, fJ and nW."""

    time: float
    capacitance: float
    energy: float
    leakage: float

    @classmethod
    def of(cls, library: Group) -> "Units":
        """Units that a library states; where it states none, Liberty's defaults 1 ns and 1 V, and 1 pF and 1 nW."""
        volt = _unit(library, "voltage_unit", "1V", "V")
        scale, suffix = next(library.values("capacitive_load_unit"), ("1", "pf"))
        farad = _quantity(library, "capacitive_load_unit", f"{scale}{suffix}", "F")
        return cls(
            time=_unit(library, "time_unit", "1ns", "s") / 1e-9,
            capacitance=farad / 1e-15,
            # Liberty states no unit of internal energy: it is capacitance times voltage squared.
            energy=farad * volt**2 / 1e-15,
            leakage=_unit(library, "leakage_power_unit", "1nW", "W") / 1e-9,
        )


def _unit(library: Group, name: str, default: str, symbol: str) -> float:
    return _quantity(library, name, library.get(name, default), symbol)


def _quantity(library: Group, name: str, text: str, symbol: str) -> float:
    match = re.fullmatch(rf"([\d.eE+-]+)\s*([fpnum]?){symbol}", text, re.IGNORECASE)
    if match is None:
        raise InputError(f"library {library.name}: {name} must be like '1n{symbol}', got {text!r}")
    return float(match[1]) * _PREFIX[match[2].lower()]


@lru_cache(maxsize=1024)
def _axis(raw: str, scale: float) -> np.ndarray:
    """Axis of a table from the text of its index; cached, because files repeat a few of them thousands of times."""
    axis = numbers(raw) * scale
    if axis.size == 0 or np.any(np.diff(axis) <= 0):
        raise InputError(f"a table index must be increasing numbers, got {raw.strip()!r}")
    axis.flags.writeable = False
    return axis


# Stands for an axis that a table does not have.
_ABSENT = np.zeros(1)
_ABSENT.flags.writeable = False


class UnsupportedError(InputError):
    """A cell is described by means of Liberty that are not supported here."""


class CellReader:
    """Reads the cells of one library.

    Attributes
    ----------
    left_out : dict of str to str
        Cells that cannot be read, because they use means of Liberty that are not supported here, and why.

    Parameters
    ----------
    library : Group
        As parsed by `hwsim.technology.liberty`.

    Raises
    ------
    InputError
        From any method, naming the cell, on contradictory or unsupported content.
    """

    def __init__(self, library: Group):
        self.library = library
        self.left_out: dict[str, str] = {}
        self.units = Units.of(library)
        kinds = ("lu_table_template", "power_lut_template")
        self.templates = {group.name: group for group in library.groups if group.kind in kinds}
        supplies = (args for args in library.values("voltage_map") if len(args) == 2)
        self.grounds = {name for name, volt in supplies if numbers(volt)[0] == 0.0}

    def cells(self) -> list[Cell]:
        """All cells that can be read, in file order; :attr:`left_out` has the others."""
        cells = []
        for group in self.library.all("cell"):
            try:
                cells.append(self.cell(group))
            except UnsupportedError as error:
                self.left_out[group.name] = str(error)
        return cells

    def cell(self, group: Group) -> Cell:
        """One cell."""
        try:
            return self._cell(group)
        except UnsupportedError:
            raise
        except InputError as error:
            raise InputError(f"library {self.library.name}, cell {group.name}: {error}") from None

    def _cell(self, group: Group) -> Cell:
        grounds = self.grounds | {pin.name for pin in group.all("pg_pin") if pin.get("pg_type").endswith("ground")}
        flip_flop_group = group.first("ff")
        states = flip_flop_group.args if flip_flop_group else ()
        pins: dict[str, Pin] = {}
        timing: list[TimingArc] = []
        constraints: list[ConstraintArc] = []
        energy: list[EnergyArc] = []
        pin_groups = [(name, pin) for pin in group.all("pin") for name in pin.args]
        _name_states(group, pin_groups, states)
        for name, pin_group in pin_groups:
            pins[name] = self._pin(name, pin_group, states)
        flip_flop = _flip_flop(flip_flop_group, pin_groups) if flip_flop_group else None
        has_buses = any(child.kind in ("bus", "bundle") for child in group.groups)
        for name, pin_group in pin_groups:
            # Arcs may start at buses, whose pins are not read: such a cell is not for synthesis.
            for arc in pin_group.all("timing") if not has_buses else ():
                self._timing(name, pins, arc, timing, constraints)
            energy += self._energy(name, pin_group, grounds)
        leakage, leakage_states = self._leakage(group, grounds)
        return Cell(
            name=group.name,
            area=group.number("area"),
            leakage=leakage,
            leakage_states=leakage_states,
            pins=pins,
            timing=tuple(timing),
            constraints=tuple(constraints),
            energy=tuple(energy),
            flip_flop=flip_flop,
            clock_gate=_clock_gate(group, pin_groups),
            dont_use=group.is_true("dont_use"),
            unusable=_unusable(group, pins, flip_flop) or _untimed(pins, flip_flop, timing),
        )

    def _pin(self, name: str, group: Group, states: tuple[str, ...]) -> Pin:
        direction = group.get("direction")
        edges = [c for c in ("rise_capacitance", "fall_capacitance") if c in group.simple]
        capacitance = self.library.number(f"default_{direction}_pin_cap")
        if "capacitance" in group.simple:
            capacitance = group.number("capacitance")
        elif edges:
            capacitance = sum(group.number(edge) for edge in edges) / len(edges)
        text = group.get("function")
        function = parse(text) if text else None
        if function and set(function.pins) & set(states):
            function = None  # a state output: `FlipFlop.outputs` says which
        limit = group.number("max_capacitance") if "max_capacitance" in group.simple else None
        return Pin(
            name=name,
            direction=direction,
            capacitance=capacitance * self.units.capacitance,
            function=function,
            max_capacitance=None if limit is None else limit * self.units.capacitance,
            edge_capacitance=tuple(  # type: ignore[arg-type]
                _edge_capacitance(group, edge, capacitance) * self.units.capacitance for edge in ("rise", "fall")
            ),
        )

    def _timing(
        self,
        name: str,
        pins: Mapping[str, Pin],
        group: Group,
        timing: list[TimingArc],
        constraints: list[ConstraintArc],
    ) -> None:
        """Append the arcs of one ``timing`` group to ``timing`` or to ``constraints``.

        Pulse widths, three-state arcs and asynchronous arcs are left out. So are arcs that start at another output,
        as adders have them: the arcs from the inputs cover their paths.
        """
        kind = group.get("timing_type")
        when = group.get("when")
        time = self.units.time
        for related in group.get("related_pin").split():
            if related not in pins:
                raise InputError(f"arc {related} -> {name}: related_pin {related} is not a pin of the cell")
            if pins[related].direction != "input":
                continue
            if kind in _DELAY_KINDS:
                delay = self._edges(group, "cell_{}", _SLEW, _LOAD, time)
                slew = self._edges(group, "{}_transition", _SLEW, _LOAD, time)
                if delay.keys() != slew.keys():
                    raise InputError(f"arc {related} -> {name}: delay without transition table, or reverse")
                sense = group.get("timing_sense") or _sense(pins[name].function, related)
                timing.append(TimingArc(related, name, _DELAY_KINDS[kind], sense, when, delay, slew))
            elif _CONSTRAINT_KIND.fullmatch(kind):
                tables = self._edges(group, "{}_constraint", _CLOCK_SLEW, _DATA_SLEW, time, time)
                constraints.append(ConstraintArc(related, name, kind, when, tables))

    def _edges(
        self,
        group: Group,
        pattern: str,
        first: tuple[str, ...],
        second: tuple[str, ...],
        unit: float,
        second_unit: float | None = None,
    ) -> dict[str, Table]:
        """Tables of a group by edge: for the pattern ``cell_{}`` those of ``cell_rise`` and ``cell_fall``.

        Other parameters as in :meth:`_table`; ``second_unit`` defaults to that of capacitance.
        """
        by_kind = {child.kind: child for child in group.groups}
        return {
            edge: self._table(by_kind[kind], first, second, unit, second_unit or self.units.capacitance)
            for edge in ("rise", "fall")
            if (kind := pattern.format(edge)) in by_kind
        }

    def _table(
        self, group: Group, first: tuple[str, ...], second: tuple[str, ...], unit: float, second_unit: float
    ) -> Table:
        """A table with its axes in the order (``first``, ``second``), which are Liberty's names for either axis.

        ``unit`` converts the values and ``second_unit`` the second axis to ns, fF or fJ; the first is always a slew.
        """
        raw = group.raw("values")
        if raw is None:
            raise InputError(f"{group.kind} has no values")
        values = numbers(raw) * unit
        axes: list[np.ndarray] = []
        order: list[int] = []
        template = self.templates.get(group.name)
        if template is None and values.size > 1:
            raise InputError(f"{group.kind}: table template {group.name!r} is not defined in the library")
        for k in (1, 2, 3):
            variable = template.get(f"variable_{k}") if template else ""
            if not variable:
                break
            if variable not in first + second:
                expected = " or ".join(first + second)
                raise UnsupportedError(f"{group.kind}: cannot use a table over {variable}, expected {expected}")
            if k == 3:
                raise UnsupportedError(f"{group.kind}: cannot use a table of three dimensions")
            index = group.raw(f"index_{k}") or template.raw(f"index_{k}") or ""  # type: ignore[union-attr]
            order.append(0 if variable in first else 1)
            axes.append(_axis(index, self.units.time if order[-1] == 0 else second_unit))
        if values.size != np.prod([len(axis) for axis in axes], dtype=int):
            shape = " x ".join(str(len(axis)) for axis in axes) or "1"
            raise InputError(f"{group.kind}: {values.size} values where the index has {shape}")
        if len(order) != len(set(order)):
            raise InputError(f"{group.kind}: template {group.name!r} has the same axis twice")
        if order == [1, 0]:
            return Table(axes[1], axes[0], values.reshape(len(axes[0]), len(axes[1])).T.copy())
        full = dict(zip(order, axes, strict=True))
        index_1, index_2 = full.get(0, _ABSENT), full.get(1, _ABSENT)
        return Table(index_1, index_2, values.reshape(len(index_1), len(index_2)))

    def _energy(self, name: str, pin: Group, grounds: set[str]) -> list[EnergyArc]:
        """Energy arcs of a pin.

        A file may split ``internal_power`` by ``related_pg_pin``. All energy enters through the positive
        supply; figures of the ground are of the same charge where it leaves the cell, and adding them would
        count it twice. Several positive supplies are summed.
        """
        arcs: dict[tuple[str, str], dict[str, Table]] = {}
        for group in pin.all("internal_power"):
            if group.get("related_pg_pin") in grounds:
                continue
            tables = self._edges(group, "{}_power", _SLEW, _LOAD, self.units.energy)
            both = group.first("power")
            if both:  # one figure for both edges
                table = self._table(both, _SLEW, _LOAD, self.units.energy, self.units.capacitance)
                tables = {"rise": table, "fall": table}
            for related in group.get("related_pin").split() or [""]:
                arc = arcs.setdefault((related, group.get("when")), {})
                for edge, table in tables.items():
                    arc[edge] = arc[edge].plus(table) if edge in arc else table
        return [EnergyArc(name, related or None, when, energy) for (related, when), energy in arcs.items()]

    def _leakage(self, group: Group, grounds: set[str]) -> tuple[float, tuple[tuple[str, float], ...]]:
        """Leakage in nW over all states, and per state; of the positive supplies only, as in :meth:`_energy`."""
        states: dict[str, float] = {}
        for state in group.all("leakage_power"):
            if state.get("related_pg_pin") not in grounds:
                when = state.get("when")
                states[when] = states.get(when, 0.0) + state.number("value") * self.units.leakage
        unconditional = states.pop("", None)
        if "cell_leakage_power" in group.simple:
            total = group.number("cell_leakage_power") * self.units.leakage
        elif unconditional is not None:
            total = unconditional
        elif states:
            total = sum(states.values()) / len(states)
        else:
            total = self.library.number("default_cell_leakage_power") * self.units.leakage
        return total, tuple(states.items())


def _edge_capacitance(pin: Group, edge: str, otherwise: float) -> float:
    """Capacitance that an edge sees: of a range, the upper end, with which late arrivals are calculated."""
    ends = pin.raw(f"{edge}_capacitance_range")
    return max(numbers(ends)) if ends else pin.number(f"{edge}_capacitance", otherwise)


def _untimed(pins: Mapping[str, Pin], flip_flop: FlipFlop | None, timing: Iterable[TimingArc]) -> str:
    """Which delay a cell does not state that logic synthesis needs, or an empty string."""
    stated = {(arc.related_pin, arc.pin, edge) for arc in timing for edge in arc.delay}
    for name, pin in pins.items():
        if pin.direction != "output":
            continue
        needed = flip_flop.clocked_on.pins if flip_flop else pin.function.pins if pin.function else ()
        for related in needed:
            if any((related, name, edge) not in stated for edge in ("rise", "fall")):
                return f"no delay from {related} to {name}"
    return ""


def _sense(function: Expression | None, related: str) -> str:
    """Timing sense, derived from the function, of an arc for which the file states none."""
    if function is None or related not in function.pins:
        return "non_unate"
    pins = function.pins
    return unateness(function.table(), len(pins), pins.index(related))


def _name_states(cell: Group, pins: Iterable[tuple[str, Group]], states: tuple[str, ...]) -> None:
    """Let conditions on the state of a flip-flop name the outputs that show it: others know nothing of the state."""
    shown: dict[str, str] = {}
    for name, pin in pins:
        text = pin.get("function")
        function = parse(text) if text and pin.get("direction") == "output" else None
        if function is not None and function.pins and function.pins[0] in states:
            shown.setdefault(function.pins[0], f"!{name}" if function.op == "not" else name)
    if len(states) == 2:
        for state, complement in (states, states[::-1]):
            if complement in shown:
                shown.setdefault(state, f"!({shown[complement]})")
    groups = [*cell.all("leakage_power")]
    groups += [g for _, pin in pins for g in pin.groups if g.kind in ("timing", "internal_power")]
    for group in groups:
        text = group.get("when")
        if not text:
            continue
        condition = parse(text)
        for state in set(condition.pins) & set(states):
            if state not in shown:
                raise UnsupportedError(f"{group.kind}: a condition on {state}, which no output shows")
            text = re.sub(rf"\b{re.escape(state)}\b", f"({shown[state]})", text)
            group.simple["when"] = f'"{text}"'


def _flip_flop(group: Group, pins: Iterable[tuple[str, Group]]) -> FlipFlop | None:
    """The flip-flop of a cell; None if an output is more than the state or its complement."""
    names = (*group.args, "", "")[:2]
    state_of: Callable[[str], str] = dict(zip(names, ("IQ", "IQN"), strict=True)).__getitem__
    complement = {"IQ": "IQN", "IQN": "IQ"}
    outputs: dict[str, str] = {}
    for name, pin in pins:
        text = pin.get("function")
        if pin.get("direction") != "output" or not text:
            continue
        function = parse(text)
        inverted = function.op == "not"
        inner = function.operands[0] if inverted else function
        if inner.op != "pin" or inner.operands[0] not in names:
            return None
        state = state_of(inner.operands[0])
        outputs[name] = complement[state] if inverted else state
    for needed in ("clocked_on", "next_state"):
        if not group.get(needed):
            raise UnsupportedError(f"ff has no {needed}")
    optional = {key: parse(group.get(key)) if group.get(key) else None for key in ("clear", "preset")}
    return FlipFlop(parse(group.get("clocked_on")), parse(group.get("next_state")), outputs, **optional)


#: Clock gates whose latch is open while the clock is low, with no more than a test pin beside the enable.
_CLOCK_GATES = {"latch_posedge", "latch_posedge_precontrol"}


def _clock_gate(group: Group, pins: Iterable[tuple[str, Group]]) -> ClockGate | None:
    """The clock gate that a cell is; None for all other cells, and kinds of gates that are not used."""
    if group.get("clock_gating_integrated_cell") not in _CLOCK_GATES:
        return None
    roles: dict[str, list[str]] = {}
    for name, pin in pins:
        for role in ("clock", "enable", "test", "out"):
            if pin.is_true(f"clock_gate_{role}_pin"):
                roles.setdefault(role, []).append(name)
    if [len(roles.get(role, ())) for role in ("clock", "enable", "out")] != [1, 1, 1]:
        return None
    enable = parse(" | ".join(roles["enable"] + roles.get("test", [])))
    return ClockGate(roles["clock"][0], roles["out"][0], enable)


def _unusable(group: Group, pins: Mapping[str, Pin], flip_flop: FlipFlop | None) -> str:
    """Why logic synthesis must not choose a cell, or an empty string."""
    if group.is_true("dont_use"):
        return "marked dont_use"
    if group.number("area") <= 0:
        return f"area {group.number('area'):g}"
    for name, what in _SPECIAL_CELLS.items():
        if group.get(name, "false") != "false":
            return what
    for child in group.groups:
        if child.kind in _SPECIAL_GROUPS:
            return _SPECIAL_GROUPS[child.kind]
        if child.kind == "pin" and "three_state" in child.simple:
            return "three-state output"
        if child.kind in ("bus", "bundle"):
            return "bus pins"
    outputs = [pin for pin in pins.values() if pin.direction == "output"]
    if not outputs:
        return "no output"
    if any(pin.direction not in ("input", "output") for pin in pins.values()):
        return "pin that is neither input nor output"
    if group.first("ff"):
        if flip_flop is None:
            return "flip-flop with logic behind its state"
        if flip_flop.next_state.op not in ("pin", "not") or len(flip_flop.next_state.pins) != 1:
            return "scan or enable flip-flop"
        return ""
    missing = [pin.name for pin in outputs if pin.function is None]
    return f"output {missing[0]} has no function" if missing else ""
