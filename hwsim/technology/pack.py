"""Technology packs: compact linear models of standard cells as TOML, and their rendering as Liberty.

A plane ``constant + per_slew * slew + per_load * load`` is rendered as a small table of points on it:
bilinear interpolation and linear extrapolation, which every tool does, give back the plane exactly.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.technology.liberty import Group, write

FORMAT = 1
_DIGITS = 4
_HEADER = """\
# Linear standard-cell models, written by `python -m hwsim.tech fit`; only [about] is edited by hand.
# Units: ns, fF, fJ, nW, um2, V, C. A model is three figures: constant, per ns of slew, per fF of load.
#   timing      from, to, sense or clock edge; delay rise, delay fall, slew rise, slew fall (3 figures each)
#   constraints clock, pin, kind; rise, fall (constant, per ns of clock slew, per ns of data slew)
#   energy      from, to; rise, fall (3 each). Or: pin, condition; rise, fall (2 each), for edges of an input
# inputs: fF of each pin. outputs: function, or for a flip-flop its state IQ or the complement IQN.
"""


def load(path: str | Path) -> dict:
    """Read a pack.

    Raises
    ------
    InputError
        If the file is missing, is not TOML, or is not a pack of this format.
    """
    path = Path(path)
    try:
        pack = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read technology pack {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a technology pack: {error}") from None
    if pack.get("format") != FORMAT:
        raise InputError(f"{path}: pack format {pack.get('format')!r}, expected {FORMAT}")
    missing = [name for name in ("about", "sources", "library", "fit", "cell") if name not in pack]
    if missing:
        raise InputError(f"{path}: technology pack has no [{missing[0]}]")
    return pack


def dumps(pack: Mapping) -> str:
    """TOML text of a pack; figures to four significant digits, one line per arc."""
    lines = [_HEADER, f"format = {pack['format']}"]
    for section in ("about", "sources", "library", "fit"):
        lines += ["", f"[{section}]"]
        digits = 17 if section == "about" else _DIGITS  # what was written by hand stays as it was
        lines += [f"{_key(key)} = {_value(value, digits)}" for key, value in pack[section].items()]
    for name, cell in pack["cell"].items():
        lines += ["", f"[cell.{_key(name)}]"]
        for key, value in cell.items():
            if key in ("timing", "constraints", "energy"):
                lines += [f"{key} = [", *(f"  {_value(row)}," for row in value), "]"]
            else:
                lines.append(f"{_key(key)} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _key(text: str) -> str:
    return text if text.replace("_", "").replace("-", "").isalnum() else _value(text)


def _value(value, digits: int = _DIGITS) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(float(f"{value:.{digits}g}") + 0.0)  # adding zero turns -0.0 into 0.0
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item, digits)}" for key, item in value.items()) + " }"
    return "[" + ", ".join(_value(item, digits) for item in value) + "]"


class _Renderer:
    """Builds the Liberty groups of one pack.

    Delay tables have three loads because ABC takes delay per load from the first load and the last but one.
    They begin at a usual slew because ABC maps with the slew that lies a third into the table.

    Figures are in the units of the files that the pack was fitted to (``time`` in ns, ``capacitance`` in fF), so that
    constraints written for either are read right with both.
    """

    def __init__(self, slew: float, load: float, time: float, capacitance: float):
        slews, loads = [slew, 4 * slew], [0.0, load, 8 * load]
        self.time, self.capacitance = time, capacitance
        net, edge, total = "input_net_transition", "input_transition_time", "total_output_net_capacitance"
        clock, data = "related_pin_transition", "constrained_pin_transition"
        self.axes = {
            "delay": ("lu_table_template", {net: slews, total: loads}),
            "constraint": ("lu_table_template", {clock: slews, data: slews}),
            "output_energy": ("power_lut_template", {edge: slews, total: loads}),
            "input_energy": ("power_lut_template", {edge: slews}),
        }

    def templates(self) -> list[Group]:
        """Table templates, which carry the indices for all tables."""
        return [
            Group(
                kind,
                name,
                {f"variable_{k}": variable for k, variable in enumerate(axes, 1)},
                [
                    (f"index_{k}", _row(axis, self.capacitance if "capacitance" in variable else self.time))
                    for k, (variable, axis) in enumerate(axes.items(), 1)
                ],
            )
            for name, (kind, axes) in self.axes.items()
        ]

    def table(self, kind: str, template: str, plane: Sequence[float]) -> Group:
        """A table group with the points of a plane; one of two coefficients depends on the slew alone."""
        constant, per_x, *per_y = plane
        xs, *ys = self.axes[template][1].values()
        column = [constant + per_x * x for x in xs]
        rows = [[value + per_y[0] * y for y in ys[0]] for value in column] if per_y else [column]
        # Liberty's unit of energy is that of capacitance times volts squared.
        unit = self.capacitance if template.endswith("energy") else self.time
        return Group(kind, template, complex=[("values", ", ".join(_row(row, unit) for row in rows))])

    def cell(self, name: str, model: Mapping) -> Group:
        """A ``cell`` group."""
        flip_flop = model.get("flip_flop")
        groups = []
        if flip_flop:
            simple = {key: f'"{text}"' for key, text in flip_flop.items()}
            groups.append(Group("ff", '"IQ", "IQN"', simple))
        groups += [self._input(pin, capacitance, model) for pin, capacitance in model.get("inputs", {}).items()]
        groups += [self._output(pin, function, model) for pin, function in model["outputs"].items()]
        simple = {"area": _number(model["area"]), "cell_leakage_power": _number(model["leakage"])}
        return Group("cell", f'"{name}"', simple, groups=groups)

    def _input(self, name: str, capacitance: float, model: Mapping) -> Group:
        pin = Group("pin", f'"{name}"', {"direction": "input", "capacitance": _number(capacitance / self.capacitance)})
        if name in model.get("flip_flop", {}).get("clocked_on", "").replace("!", "").split():
            pin.simple["clock"] = "true"
        for related, to, kind, *planes in model.get("constraints", ()):
            if to == name:
                simple = {"related_pin": f'"{related}"', "timing_type": kind}
                pin.groups.append(
                    self._arc("timing", simple, ("rise_constraint", "fall_constraint"), "constraint", planes)
                )
        for first, when, *planes in model.get("energy", ()):
            if first == name and len(planes) == 4:
                simple = {"when": f'"{when}"'} if when else {}
                pin.groups.append(
                    self._arc("internal_power", simple, ("rise_power", "fall_power"), "input_energy", planes)
                )
        return pin

    def _output(self, name: str, function: str, model: Mapping) -> Group:
        pin = Group("pin", f'"{name}"', {"direction": "output", "function": f'"{function}"'})
        limit = model.get("max_capacitance", {}).get(name)
        if limit is not None:
            pin.simple["max_capacitance"] = _number(limit / self.capacitance)
        for related, to, kind, *planes in model.get("timing", ()):
            if to == name:
                edge = kind.endswith("_edge")
                simple = {
                    "related_pin": f'"{related}"',
                    "timing_sense": "non_unate" if edge else kind,
                    "timing_type": kind if edge else "combinational",
                }
                tables = ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
                pin.groups.append(self._arc("timing", simple, tables, "delay", planes))
        for related, to, *planes in model.get("energy", ()):
            if to == name and len(planes) == 6:
                simple = {"related_pin": f'"{related}"'}
                pin.groups.append(
                    self._arc("internal_power", simple, ("rise_power", "fall_power"), "output_energy", planes)
                )
        return pin

    def _arc(
        self, kind: str, simple: dict[str, str], tables: Sequence[str], template: str, planes: Sequence[float]
    ) -> Group:
        size = len(planes) // len(tables)
        parts = (planes[k * size : (k + 1) * size] for k in range(len(tables)))
        groups = [self.table(table, template, plane) for table, plane in zip(tables, parts, strict=True)]
        return Group(kind, "", simple, groups=groups)


def _row(values: Iterable[float], unit: float) -> str:
    """Values as Liberty writes them, in a unit."""
    return '"' + ", ".join(_number(value / unit) for value in values) + '"'


def _quantity(value: float, unit: str, thousandth: str, between: str = "") -> str:
    """A quantity with its unit, or with the unit a thousandth as large if that makes it a whole number."""
    if value < 1:
        value, unit = 1000 * value, thousandth
    return f"{_number(value)}{between}{unit}"


def _number(value: float) -> str:
    return f"{value:.9g}"


def render(pack: Mapping) -> str:
    """Liberty text of a pack, for Yosys, ABC, OpenSTA and `hwsim.technology.library`; the same text every time."""
    library = pack["library"]
    time, capacitance = library.get("time_unit_ns", 1.0), library.get("capacitance_unit_fF", 1.0)
    conditions = "typical"
    simple = {
        "delay_model": "table_lookup",
        "time_unit": f'"{_quantity(time, "ns", "ps")}"',
        "voltage_unit": '"1V"',
        "current_unit": '"1mA"',
        "pulling_resistance_unit": '"1kohm"',
        "leakage_power_unit": '"1nW"',
        "nom_process": _number(library["process"]),
        "nom_voltage": _number(library["voltage"]),
        "nom_temperature": _number(library["temperature"]),
        "default_operating_conditions": conditions,
        "default_cell_leakage_power": "0",
        "default_input_pin_cap": "0",
        "default_output_pin_cap": "0",
        "default_inout_pin_cap": "0",
        "default_fanout_load": "1",
        **{key: _number(value) for key, value in library["thresholds"].items()},
    }
    if "max_transition_ns" in library:
        simple["default_max_transition"] = _number(library["max_transition_ns"] / time)
    groups = [
        Group(
            "operating_conditions",
            conditions,
            {
                "process": _number(library["process"]),
                "voltage": _number(library["voltage"]),
                "temperature": _number(library["temperature"]),
            },
        )
    ]
    wire = library.get("wire_load")
    if wire:
        simple["default_wire_load"] = f'"{wire["name"]}"'
        # With a unit of capacitance per unit of length, Liberty's lengths are capacitances.
        lengths = [
            ("fanout_length", f"{fanout:g}, {_number(load / capacitance)}") for fanout, load in wire["fanout_fF"]
        ]
        slope = {"capacitance": "1", "resistance": "0", "area": "0", "slope": _number(wire["slope_fF"] / capacitance)}
        groups.append(Group("wire_load", f'"{wire["name"]}"', slope, lengths))
    renderer = _Renderer(library["input_slew_ns"], library["output_load_fF"], time, capacitance)
    groups += renderer.templates()
    groups += [renderer.cell(name, model) for name, model in pack["cell"].items()]
    units = [("capacitive_load_unit", ", ".join(_quantity(capacitance / 1000, "pf", "ff", " ").split()))]
    return write(Group("library", f'"{pack["about"]["name"]}"', simple, units, groups))
