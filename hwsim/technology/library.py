"""A standard-cell library as one object, from one or several Liberty files.

Units are fixed whatever the files use: time ns, capacitance fF, energy fJ, leakage nW, area um2, voltage V,
temperature C. Slews are those of the tables (see `hwsim.technology.cell_reader`).
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.technology import liberty
from hwsim.technology.cell_reader import CellReader, Units
from hwsim.technology.cells import INVERTER, NAND2, Cell, fanout_of_4, smallest

#: Default clock period in fanout-of-4 inverter delays, for libraries that state none: long enough that area rather
#: than speed decides which cells synthesis takes.
CLOCK_PERIOD_IN_FO4 = 60


@dataclass(frozen=True, slots=True)
class WireLoad:
    """Wire capacitance estimated from the fanout of a net, as a Liberty ``wire_load`` gives it.

    Attributes
    ----------
    name : str
        As in the file; "none" for no wire load.
    capacitance_per_length : float
        fF per unit of length.
    lengths : tuple of (float, float)
        Fanout and length, by increasing fanout.
    slope : float
        Length per fanout beyond the last entry, and before the first.
    """

    name: str = "none"
    capacitance_per_length: float = 0.0
    lengths: tuple[tuple[float, float], ...] = ()
    slope: float = 0.0

    def capacitance(self, fanout: int) -> float:
        """Wire capacitance in fF of a net with ``fanout`` sinks, interpolated as OpenSTA does."""
        if not self.lengths or fanout <= 0:
            return 0.0
        first, last = self.lengths[0], self.lengths[-1]
        if fanout <= first[0]:
            length = first[1] - (first[0] - fanout) * self.slope
        elif fanout >= last[0]:
            length = last[1] + (fanout - last[0]) * self.slope
        else:
            k = next(k for k, (f, _) in enumerate(self.lengths) if f >= fanout)
            (f0, l0), (f1, l1) = self.lengths[k - 1 : k + 1]
            length = l0 + (l1 - l0) * (fanout - f0) / (f1 - f0)
        return max(length, 0.0) * self.capacitance_per_length


@dataclass(frozen=True, eq=False, kw_only=True)
class Library:
    """A standard-cell library at one corner.

    Attributes
    ----------
    name : str
    files : tuple of str
        Files that the library was read from.
    cells : mapping of str to Cell
    voltage, temperature, process : float
        V, C, and the scale factor of the process.
    corner : str
        Voltage, temperature and process in words.
    wire_load : WireLoad
    input_slew_ns, clock_slew_ns : float
        Slew at the inputs and at the clock pins of a design, unless the user says otherwise.
    output_load_fF : float
        Load on every output of a design.
    clock_period_ns : float
    nand2_area : float
        um2 of the smallest two-input NAND: one gate equivalent.
    time_unit_ns, capacitance_unit_fF : float
        Units of the (first) Liberty file, for other files that must use the same.
    thresholds : mapping of str to float
        Where delays and slews are measured, in percent of the supply, and the derating of slews, by Liberty's names.
    max_transition_ns : float or None
        The longest slew that a net may have, where the library states one.
    row_height_um, wire_fF_per_um : float or None
        Height of a row of cells, and capacitance of a wire; Liberty states neither, packs and the command line do.
    area_note, source, licence, attribution : str
    left_out : mapping of str to str
        Cells that could not be read, and why.
    liberty_path : Path or None
        The one Liberty file to give to Yosys, ABC and OpenSTA; `hwsim.technology.load` sets it.
    """

    name: str
    files: tuple[str, ...]
    cells: Mapping[str, Cell]
    voltage: float
    temperature: float
    process: float
    corner: str
    wire_load: WireLoad
    input_slew_ns: float
    clock_slew_ns: float
    output_load_fF: float
    clock_period_ns: float
    nand2_area: float
    time_unit_ns: float
    capacitance_unit_fF: float
    thresholds: Mapping[str, float]
    max_transition_ns: float | None = None
    row_height_um: float | None = None
    wire_fF_per_um: float | None = None
    area_note: str = "as the file states it"
    source: str = ""
    licence: str = "see the Liberty files"
    attribution: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    liberty_path: Path | None = None

    @cached_property
    def usable_cells(self) -> tuple[Cell, ...]:
        """Cells that logic synthesis may choose, in file order."""
        return tuple(cell for cell in self.cells.values() if cell.is_usable)

    @cached_property
    def stand_ins(self) -> dict[str, list[Cell]]:
        """By the name of every cell, usable ones with the same gates at the same pins, in file order."""
        gates = {name: (cell.inputs, cell.outputs, cell.tables()) for name, cell in self.cells.items()}
        alike: dict[tuple, list[Cell]] = defaultdict(list)
        for cell in self.usable_cells:
            if gates[cell.name][-1]:
                alike[gates[cell.name]].append(cell)
        return {name: alike[key] for name, key in gates.items()}

    @classmethod
    def load(cls, paths: Sequence[str | Path] | str | Path) -> "Library":
        """Read Liberty files, plain or gzip-compressed, as one library.

        Every file is converted from its own units. Corner and wire load are those of the first file that
        states them. Slews, load and clock period are defaults by rule: the slew at the output of an
        inverter that drives four copies of itself, four times the data pin of a flip-flop, and
        `CLOCK_PERIOD_IN_FO4`.

        Raises
        ------
        InputError
            If a file is missing or broken, two files hold the same cell, voltages or thresholds differ, or there is no
            flip-flop, inverter or two-input NAND that synthesis may use.
        """
        paths = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
        return cls.from_groups([liberty.read(path) for path in paths], [str(path) for path in paths])

    @classmethod
    def from_groups(cls, groups: Sequence[liberty.Group], files: Sequence[str]) -> "Library":
        """Like :meth:`load`, from parsed Liberty; ``files`` names the groups in messages."""
        if not groups:
            raise InputError("no Liberty file given, expected at least one")
        cells: dict[str, Cell] = {}
        used: list[tuple[liberty.Group, str]] = []
        origin: dict[str, str] = {}
        left_out: dict[str, str] = {}
        for group, file in zip(groups, files, strict=True):
            reader = CellReader(group)
            read = reader.cells()
            # A file of macros, say, beside that of the gates may be measured in its own way.
            if any(cell.is_usable for cell in read):
                used.append((group, file))
            for cell in read:
                if cell.name in cells:
                    raise InputError(f"cell {cell.name} is in {origin[cell.name]} and again in {file}")
                cells[cell.name], origin[cell.name] = cell, file
            left_out |= {name: f"{reason} ({file})" for name, reason in reader.left_out.items()}
        where = ", ".join(files)
        inverter = smallest(cells.values(), INVERTER, 1, f"inverter in {where}")
        flops = [cell for cell in cells.values() if cell.is_usable and cell.flip_flop]
        if not flops:
            raise InputError(f"no edge-triggered flip-flop that synthesis may use in {where}")
        flop = min(flops, key=lambda cell: (cell.area, cell.name))
        slew, _, delay = fanout_of_4(inverter)
        corner = _corner(groups, files)
        nand2 = smallest(cells.values(), NAND2, 2, f"two-input NAND in {where}")
        return cls(
            name=re.sub(r"\W+", "_", groups[0].name),
            left_out=left_out,
            files=tuple(files),
            cells=cells,
            wire_load=next(filter(lambda load: load.lengths, map(_wire_load, groups)), WireLoad()),
            input_slew_ns=slew,
            clock_slew_ns=slew,
            output_load_fF=4 * flop.pins[_data_pin(flop)].capacitance,
            clock_period_ns=float(f"{CLOCK_PERIOD_IN_FO4 * delay:.1g}"),
            nand2_area=nand2.area,
            time_unit_ns=Units.of(groups[0]).time,
            capacitance_unit_fF=Units.of(groups[0]).capacitance,
            thresholds=_thresholds(*zip(*used, strict=True)),
            max_transition_ns=min((limit for group in groups if (limit := _max_transition(group))), default=None),
            **corner,
        )


def _data_pin(flop: Cell) -> str:
    assert flop.flip_flop is not None
    return flop.flip_flop.next_state.pins[0]


# Liberty's defaults.
_THRESHOLDS = {
    f"{kind}_{edge}": default
    for kind, default in (
        ("input_threshold_pct", 50.0),
        ("output_threshold_pct", 50.0),
        ("slew_lower_threshold_pct", 20.0),
        ("slew_upper_threshold_pct", 80.0),
    )
    for edge in ("rise", "fall")
} | {"slew_derate_from_library": 1.0}


def _thresholds(groups: Sequence[liberty.Group], files: Sequence[str]) -> dict[str, float]:
    """Where files measure delays and slews, which must be the same in all."""
    stated = [{key: group.number(key, default) for key, default in _THRESHOLDS.items()} for group in groups]
    for file, mine in zip(files, stated, strict=True):
        if mine != stated[0]:
            key = next(key for key in mine if mine[key] != stated[0][key])
            raise InputError(
                f"{file}: {key} is {mine[key]:g}, but {stated[0][key]:g} in {files[0]}: not files of one library"
            )
    return stated[0]


def _max_transition(group: liberty.Group) -> float:
    return group.number("default_max_transition") * Units.of(group).time


def _corner(groups: Sequence[liberty.Group], files: Sequence[str]) -> dict:
    """Voltage, temperature, process and their description; the voltage must be the same in all files."""
    stated = [
        (group.number("nom_voltage"), file)
        for group, file in zip(groups, files, strict=True)
        if "nom_voltage" in group.simple
    ]
    if not stated:
        raise InputError(f"{files[0]}: library has no nom_voltage")
    for volt, file in stated:
        if volt != stated[0][0]:
            raise InputError(
                f"libraries of different corners: {stated[0][1]} is at {stated[0][0]} V, {file} at {volt} V"
            )
    first = groups[0]
    voltage = stated[0][0]
    temperature, process = first.number("nom_temperature", 25.0), first.number("nom_process", 1.0)
    name = first.get("default_operating_conditions")
    corner = f"{voltage:g} V, {temperature:g} C, process {process:g}" + (f" ({name})" if name else "")
    return {"voltage": voltage, "temperature": temperature, "process": process, "corner": corner}


def _wire_load(group: liberty.Group) -> WireLoad:
    """The wire load that ``default_wire_load`` names, else the first of ``default_wire_load_selection``, else none."""
    name = group.get("default_wire_load")
    if not name:
        wanted = group.get("default_wire_load_selection")
        selection = next((s for s in group.all("wire_load_selection") if s.name == wanted), None)
        rows = selection.values("wire_load_from_area") if selection else iter(())
        name = next(rows, ("",))[-1]
    wire_load = next((load for load in group.all("wire_load") if load.name == name), None)
    if wire_load is None:
        return WireLoad()
    pairs = [liberty.numbers(raw) for key, raw in wire_load.complex if key == "fanout_length"]
    if any(len(pair) < 2 for pair in pairs):
        raise InputError(f"wire_load {name}: fanout_length must be a fanout and a length")
    lengths = sorted((float(pair[0]), float(pair[1])) for pair in pairs)
    return WireLoad(
        name=name,
        capacitance_per_length=wire_load.number("capacitance") * Units.of(group).capacitance,
        lengths=tuple(lengths),
        slope=wire_load.number("slope"),
    )
