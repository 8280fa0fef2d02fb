"""Fit linear models of delay, slew, energy and constraints to the cells of a Liberty library.

Every arc becomes planes ``constant + per_slew * slew + per_load * load``, one per edge and quantity. They are
fitted by least squares over the slews and loads of `Region`, the range in which the nets of a synthesised
design lie. ``timing`` groups of one pin pair and sense that differ only in their ``when`` are fitted jointly:
one arc per (input, output, sense). Where a file has such groups, its group without ``when`` is the default for
states not listed, a copy of the worst, and is left out. Tables of a single zero stand for "no such event in
this state" and are left out too.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from hwsim.technology.cells import Cell, EnergyArc, Table, fanout_of_4
from hwsim.technology.choice import smallest_inverter
from hwsim.technology.expression import cofactors, minimised, parse
from hwsim.technology.library import Library

# Sample points, as multiples of the slew and load of an inverter that drives four of its kind.
SLEWS = (0.25, 0.5, 1.0, 2.0, 3.0)
LOADS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# Loads that make the output's slew a larger multiple than this are not fitted; the three smallest always are.
SLOWEST_OUTPUT = 3.0
REGION_TEXT = (
    f"input slews {', '.join(f'{s:g}' for s in SLEWS)} x the fanout-of-4 slew; loads {LOADS[0]:g} to"
    f" {LOADS[-1]:g} x the fanout-of-4 load in octaves, while the output slew is at most {SLOWEST_OUTPUT:g} x"
    " the fanout-of-4 slew"
)


@dataclass(frozen=True, slots=True)
class Region:
    """Yardsticks of a library: slew (ns), load (fF) and delay (ns) of an inverter that drives four of its kind.

    ``energy`` (fJ) is ``C * V**2 / 2`` of that load, which one edge of it costs.
    """

    slew: float
    load: float
    delay: float
    energy: float

    @classmethod
    def of(cls, library: Library) -> "Region":
        """Yardsticks of ``library``, with its smallest inverter."""
        slew, load, delay = fanout_of_4(smallest_inverter(library))
        return cls(slew, load, delay, load * library.voltage**2 / 2)

    @property
    def slews(self) -> np.ndarray:
        """Input slews in ns at which cells are fitted."""
        return self.slew * np.array(SLEWS)

    def loads(self, cell: Cell, output: str) -> np.ndarray:
        """Loads in fF at which an output of a cell is fitted (see `SLOWEST_OUTPUT`)."""
        tables = [table for arc in cell.timing if arc.pin == output for table in arc.slew.values()]
        loads = self.load * np.array(LOADS)
        slews = np.mean([table.lookup(self.slew, loads) for table in tables], axis=0)
        return loads[: max(3, int(np.sum(slews <= SLOWEST_OUTPUT * self.slew)))]


@dataclass(slots=True)
class Errors:
    """Differences between fit and tables at every sample point, by quantity: relative, and in ns or fJ."""

    relative: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    absolute: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))

    def rows(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Per quantity (mean, 95th percentile, maximum) of the relative and of the absolute error."""
        return [
            (quantity, _summary(self.relative[quantity]), _summary(self.absolute[quantity]))
            for quantity in self.relative
        ]


def _summary(parts: list[np.ndarray]) -> np.ndarray:
    errors = np.concatenate(parts)
    return np.array([errors.mean(), np.percentile(errors, 95), errors.max()])


class Fit:
    """Fits the cells of one library and keeps the errors.

    Parameters
    ----------
    library : Library
    """

    def __init__(self, library: Library):
        self.region = Region.of(library)
        self.errors = Errors()

    def plane(
        self,
        tables: Iterable[Table],
        x: np.ndarray,
        y: np.ndarray,
        quantity: str,
        floor: float,
        weighted: bool = False,
    ) -> list[float]:
        """Fit one plane to all tables on the grid of ``x`` and ``y``: constant, slope on axis 1, slope on axis 2.

        ``floor`` is the magnitude below which errors stop being relative. ``weighted`` fits relative errors
        and allows no negative coefficient; otherwise absolute errors count and any sign is allowed.
        """
        grid_x, grid_y = (axis.ravel() for axis in np.meshgrid(x, y, indexing="ij"))
        targets = [table.lookup(grid_x, grid_y) for table in tables]
        if not targets:
            return [0.0, 0.0, 0.0]
        target = np.concatenate(targets)
        design = np.tile(np.column_stack([np.ones_like(grid_x), grid_x, grid_y]), (len(targets), 1))
        scale = np.maximum(np.abs(target), floor)
        weight = 1 / scale if weighted else np.ones_like(target)
        coefficients = least_squares(design * weight[:, None], target * weight, nonnegative=weighted)
        error = np.abs(design @ coefficients - target)
        self.errors.relative[quantity].append(error / scale)
        self.errors.absolute[quantity].append(error)
        return [float(c) for c in coefficients]

    def cell(self, cell: Cell) -> dict:
        """Model of one cell, in the form in which a pack holds it (`hwsim.technology.pack`)."""
        model: dict = {"area": cell.area, "leakage": cell.leakage}
        model["inputs"] = {name: cell.pins[name].capacitance for name in cell.inputs}
        if cell.flip_flop:
            flip_flop = cell.flip_flop
            model["outputs"] = dict(flip_flop.outputs)
            model["flip_flop"] = {
                key: str(getattr(flip_flop, key))
                for key in ("clocked_on", "next_state", "clear", "preset")
                if getattr(flip_flop, key) is not None
            }
        elif gate := cell.clock_gate:
            model["outputs"] = {gate.output: "gated"}
            model["clock_gate"] = {"clock": gate.clock, "enable": str(gate.enable)}
        else:
            model["outputs"] = {name: str(cell.pins[name].function) for name in cell.outputs}
        limits = {name: cell.pins[name].max_capacitance for name in cell.outputs}
        model["max_capacitance"] = {name: limit for name, limit in limits.items() if limit is not None}
        model["timing"] = self._timing(cell)
        model["constraints"] = self._constraints(cell)
        model["energy"] = self._output_energy(cell) + self._input_energy(cell)
        return {key: value for key, value in model.items() if value != [] and value != {}}

    def _timing(self, cell: Cell) -> list:
        """Rows ``[from, to, kind or sense, delay rise x3, delay fall x3, slew rise x3, slew fall x3]``."""
        groups = defaultdict(list)
        for arc in cell.timing:
            name = arc.sense if arc.kind == "combinational" else arc.kind
            groups[arc.related_pin, arc.pin, name].append(arc)
        pairs_with_conditions = {(arc.related_pin, arc.pin) for arc in cell.timing if arc.when}
        rows = []
        for (related, pin, name), arcs in groups.items():
            if (related, pin) in pairs_with_conditions:
                arcs = [arc for arc in arcs if arc.when]
            if not arcs:
                continue
            x, y = self.region.slews, self.region.loads(cell, pin)
            row: list = [related, pin, name]
            for quantity, floor in (("delay", self.region.delay / 2), ("slew", self.region.slew / 2)):
                for edge in ("rise", "fall"):
                    tables = [t for arc in arcs if (t := getattr(arc, quantity).get(edge))]
                    row += self.plane(tables, x, y, f"{quantity} {edge}", floor, weighted=True)
            rows.append(row)
        return rows

    def _constraints(self, cell: Cell) -> list:
        """Rows ``[clock, pin, kind, rise x3, fall x3]`` of setup and hold times."""
        groups = defaultdict(list)
        for arc in cell.constraints:
            if arc.kind.startswith(("setup", "hold")):
                groups[arc.related_pin, arc.pin, arc.kind].append(arc.constraint)
        slews = self.region.slews
        rows = []
        for (related, pin, kind), arcs in groups.items():
            row: list = [related, pin, kind]
            for edge in ("rise", "fall"):
                tables = [tables[edge] for tables in arcs if edge in tables]
                row += self.plane(tables, slews, slews, kind.partition("_")[0], self.region.delay)
            rows.append(row)
        return rows

    def _output_energy(self, cell: Cell) -> list:
        """Rows ``[from, to, rise x3, fall x3]`` of output edges, by the input that causes them."""
        groups = defaultdict(list)
        for arc in cell.energy:
            if arc.related_pin in cell.inputs and any(
                t.related_pin == arc.related_pin and t.pin == arc.pin for t in cell.timing
            ):
                groups[arc.related_pin, arc.pin].append(arc)
        rows = []
        for (related, pin), arcs in groups.items():
            if any(arc.when for arc in arcs):
                arcs = [arc for arc in arcs if arc.when]
            row: list = [related, pin]
            for edge in ("rise", "fall"):
                tables = [arc.energy[edge] for arc in arcs if edge in arc.energy]
                x, y = self.region.slews, self.region.loads(cell, pin)
                row += self.plane(_events(tables), x, y, "energy, output", self.region.energy)
            rows.append(row)
        return rows

    def _input_energy(self, cell: Cell) -> list:
        """Rows ``[pin, when, rise x2, fall x2]`` of input edges, which have no load.

        A gate has one row per pin. A flip-flop or a clock gate has one per pin and condition, because an edge of its
        clock costs several times more where the state is about to change.
        """
        rows: list[list] = []
        for pin in cell.inputs:
            arcs = [arc for arc in cell.energy if arc.pin == pin and arc.related_pin is None]
            everywhere = any(not arc.when for arc in arcs)
            arcs = [arc for arc in arcs if arc.when and not _under_reset(cell, arc.when)] or arcs
            if cell.is_clocked:
                for arc in arcs:
                    rows += self._input_energy_rows(cell, pin, [arc], not arc.when)
            else:
                rows += self._input_energy_rows(cell, pin, arcs, everywhere)
        return [row for row in rows if any(row[2:])]

    def _input_energy_rows(self, cell: Cell, pin: str, arcs: list[EnergyArc], everywhere: bool) -> list[list]:
        """One row fitted to all ``arcs``, or two if their rises and falls happen under different conditions.

        ``everywhere`` says that the row needs no condition.
        """
        planes, conditions = [], []
        for edge in ("rise", "fall"):
            present = [arc for arc in arcs if edge in arc.energy and _events([arc.energy[edge]])]
            tables = [arc.energy[edge] for arc in present]
            no_load = np.zeros(1)
            plane = self.plane(tables, self.region.slews, no_load, "energy, input", self.region.energy)
            planes.append(plane[:2])
            whens = [arc.when for arc in present or arcs]
            conditions.append("" if everywhere else condition(cell, pin, whens))
        (rise, fall), none = planes, [0.0, 0.0]
        if conditions[0] == conditions[1]:
            return [[pin, conditions[0], *rise, *fall]]
        return [[pin, conditions[0], *rise, *none], [pin, conditions[1], *none, *fall]]


def _events(tables: Sequence[Table]) -> list[Table]:
    """Tables without those of a single zero, which stand for an edge that cannot happen."""
    return [table for table in tables if table.values.size > 1 or table.values.any()]


def _under_reset(cell: Cell, when: str) -> bool:
    """Whether a condition can hold only while clear or preset is active: a design computes nothing then."""
    flip_flop = cell.flip_flop
    forces = [e for e in (flip_flop.clear, flip_flop.preset) if e is not None] if flip_flop else []
    state = parse(when)
    pins = sorted({pin for expression in (state, *forces) for pin in expression.pins})
    running = state.table(pins)
    for force in forces:
        running &= ~force.table(pins)
    return running == 0


def condition(cell: Cell, pin: str, whens: Sequence[str]) -> str:
    """Short Liberty condition, without ``pin``, that holds where any of ``whens`` can; "" if always.

    Outputs of a gate are replaced by their functions; outputs of a flip-flop stay.
    """
    parsed = [parse(when) for when in whens]
    functions = {} if cell.is_clocked else {name: cell.pins[name].function for name in cell.outputs}
    names = {name for expression in parsed for name in expression.pins} - set(functions)
    if functions:
        names |= set(cell.inputs)
    pins = sorted(names | {pin})
    ones = (1 << (1 << len(pins))) - 1
    values = {name: parse(name).table(pins) for name in pins}
    values |= {name: function.evaluate(values, ones) for name, function in functions.items() if function}
    table = 0
    for expression in parsed:
        table |= expression.evaluate(values, ones)
    high, low = cofactors(table, len(pins), pins.index(pin))
    text = minimised(high | low, pins)
    return "" if text == "1" else text


def least_squares(design: np.ndarray, target: np.ndarray, nonnegative: bool) -> np.ndarray:
    """Coefficients of least squares, optionally with none negative.

    The bounded problem is solved exactly: with only three coefficients, every choice of those that are zero is tried.
    """
    count = design.shape[1]
    best, best_error = np.zeros(count), float("inf")
    for size in range(count, -1, -1):
        for kept in combinations(range(count), size):
            coefficients = np.zeros(count)
            if kept:
                coefficients[list(kept)] = _solve(design[:, kept], target)
            error = float(np.sum((design @ coefficients - target) ** 2))
            if not nonnegative:
                return coefficients
            if coefficients.min() >= 0 and error < best_error:
                best, best_error = coefficients, error
    return best


def _solve(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    # ns and fF differ by orders of magnitude: without columns of length one, lstsq would take small ones for zero.
    lengths = np.linalg.norm(design, axis=0)
    lengths[lengths == 0] = 1.0
    return np.linalg.lstsq(design / lengths, target, rcond=None)[0] / lengths
