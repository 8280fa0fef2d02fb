"""Merge several Liberty files into one, because Yosys and ABC read only one."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.technology import liberty
from hwsim.technology.cell_reader import Units
from hwsim.technology.cells import Cell
from hwsim.technology.library import Library

# Attributes that must be equal in all files, because the merged file has only the header of the first.
_SHARED = (
    "time_unit",
    "voltage_unit",
    "leakage_power_unit",
    "input_threshold_pct_rise",
    "output_threshold_pct_rise",
    "slew_lower_threshold_pct_rise",
    "slew_upper_threshold_pct_rise",
)


def merged(groups: Sequence[liberty.Group], paths: Sequence[str | Path], library: Library) -> str:
    """Liberty text of several parsed files as one.

    The header is that of the first file; only cells that synthesis may use are kept (`Cell.unusable`). A table template
    that a later file defines differently gets a new name there.

    Parameters
    ----------
    groups : sequence of Group
        The libraries of the files.
    paths : sequence of path
        Names of the files, for messages.
    library : Library
        The same libraries, read as one.

    Raises
    ------
    InputError
        If the files differ in units or thresholds.
    """
    first = groups[0]
    out = liberty.Group(
        first.kind,
        library.name,
        dict(first.simple),
        list(first.complex),
        [group for group in first.groups if group.kind != "cell"],
    )
    templates = {group.name: liberty.write(group) for group in _templates(first)}
    for number, (group, path) in enumerate(zip(groups, paths, strict=True)):
        if Units.of(group) != Units.of(first) or any(group.get(key) != first.get(key) for key in _SHARED):
            raise InputError(f"{path}: units or thresholds differ from {paths[0]}, cannot write one library")
        known_cells = ((cell, library.cells.get(cell.name)) for cell in group.all("cell"))
        cells = [_plain(cell, read) for cell, read in known_cells if read and read.is_usable]
        renamed: dict[str, str] = {}
        for template in _templates(group):
            text = liberty.write(template)
            known = templates.setdefault(template.name, text)
            if known != text:
                renamed[template.name] = f"{template.name}__{number}"
            elif any(template.name == other.name for other in _templates(out)):
                continue
            out.groups.append(template)
        _rename(renamed, [*cells, *_templates(group)])
        out.groups += cells
    # Tools look for a wire load of any name and die where there is a table of that name instead.
    if not any(load.name == out.get("default_wire_load") for load in out.all("wire_load")):
        out.simple.pop("default_wire_load", None)
    _own_indices(out)
    return liberty.write(out)


def _plain(group: liberty.Group, cell: Cell) -> liberty.Group:
    """A cell as every tool understands it: usable without saying so, its functions in quotes and with operators."""
    group.simple.pop("dont_use", None)
    for pin in group.all("pin"):
        for name in pin.args:
            function = cell.pins[name].function
            text = pin.simple.get("function", "")
            odd = not text.startswith('"') or "\n" in text or re.search(r"[\w)'\]]\s+[\w(!]", text)
            if function is not None and odd:
                pin.simple["function"] = f'"{function}"'
    for child in (*group.all("ff"), *group.all("pin")):
        child.simple = {k: v.replace("\\\n", " ").replace("\n", " ") for k, v in child.simple.items()}
    return group


def _own_indices(library: liberty.Group) -> None:
    """Give a template of its own to every table whose index is not as long as that of its template: ABC takes the
    template's length for granted."""
    templates = {template.name: template for template in _templates(library)}
    made: dict[tuple, str] = {}

    def visit(group: liberty.Group) -> None:
        template = templates.get(group.name)
        if template is not None and group.raw("values") is not None:
            own = {key: raw for key, raw in group.complex if key.startswith("index_")}
            if any(_length(raw) != _length(template.raw(key) or "") for key, raw in own.items()):
                key = (template.name, *sorted(own.items()))
                if key not in made:
                    made[key] = f"{template.name}__own{len(made)}"
                    indices = [(k, own.get(k, raw)) for k, raw in template.complex]
                    library.groups.append(liberty.Group(template.kind, made[key], dict(template.simple), indices))
                group.raw_args = made[key]
        for child in group.groups:
            visit(child)

    for cell in list(library.all("cell")):
        visit(cell)


def _length(raw: str) -> int:
    return len(liberty.numbers(raw))


def _templates(library: liberty.Group) -> list[liberty.Group]:
    return [group for group in library.groups if group.kind.endswith("_template")]


def _rename(names: Mapping[str, str], groups: Iterable[liberty.Group]) -> None:
    """Rename templates in place, and the tables that refer to them."""
    for group in groups if names else ():
        if group.name in names and (group.kind.endswith("_template") or group.raw("values") is not None):
            group.raw_args = names[group.name]
        _rename(names, group.groups)
