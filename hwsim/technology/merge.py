"""Merge several Liberty files into one, because Yosys and ABC read only one."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.technology import liberty
from hwsim.technology.cell_reader import Units
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
        first.raw_args,
        dict(first.simple),
        list(first.complex),
        [group for group in first.groups if group.kind != "cell"],
    )
    templates = {group.name: liberty.write(group) for group in _templates(first)}
    for number, (group, path) in enumerate(zip(groups, paths, strict=True)):
        if Units.of(group) != Units.of(first) or any(group.get(key) != first.get(key) for key in _SHARED):
            raise InputError(f"{path}: units or thresholds differ from {paths[0]}, cannot write one library")
        cells = [cell for cell in group.all("cell") if library.cells[cell.name].is_usable]
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
    return liberty.write(out)


def _templates(library: liberty.Group) -> list[liberty.Group]:
    return [group for group in library.groups if group.kind.endswith("_template")]


def _rename(names: Mapping[str, str], groups: Iterable[liberty.Group]) -> None:
    """Rename templates in place, and the tables that refer to them."""
    for group in groups if names else ():
        if group.name in names and (group.kind.endswith("_template") or group.raw("values") is not None):
            group.raw_args = names[group.name]
        _rename(names, group.groups)
