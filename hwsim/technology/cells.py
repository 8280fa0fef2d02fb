"""Data model of a standard cell: look-up tables, arcs, pins, flip-flops, clock gates.

Units are fixed: time in ns, capacitance in fF, energy in fJ, leakage in nW, area in um2.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwsim.base.errors import InputError
from hwsim.technology.expression import Expression


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A two-dimensional look-up table of the non-linear delay model.

    Attributes
    ----------
    index_1 : ndarray of float64, shape (n,)
        Input slew in ns; for a constraint the slew of the related pin (the clock).
    index_2 : ndarray of float64, shape (m,)
        Output load in fF; for a constraint the slew of the constrained pin (the data) in ns.
    values : ndarray of float64, shape (n, m)
        ns or fJ. An axis that the Liberty table does not have is one point at 0.
    """

    index_1: np.ndarray
    index_2: np.ndarray
    values: np.ndarray

    def lookup(self, x: Any, y: Any) -> Any:
        """Value at a point, interpolated bilinearly.

        Beyond the table the outermost interval of each axis continues, which is OpenSTA's rule (``dcalc``,
        ``TableModel``).

        Parameters
        ----------
        x, y : float or ndarray
            Points on axes 1 and 2, broadcast against each other.

        Returns
        -------
        float or ndarray
            In the unit of ``values``.
        """
        i, next_i, t = _locate(self.index_1, x)
        j, next_j, u = _locate(self.index_2, y)
        v = self.values
        near = v[i, j] * (1 - t) + v[next_i, j] * t
        far = v[i, next_j] * (1 - t) + v[next_i, next_j] * t
        return near * (1 - u) + far * u

    def plus(self, other: "Table") -> "Table":
        """Sum of two tables, at the points of both."""
        index_1, index_2 = (
            mine if len(theirs) == 1 else theirs if len(mine) == 1 else np.union1d(mine, theirs)
            for mine, theirs in ((self.index_1, other.index_1), (self.index_2, other.index_2))
        )
        x, y = np.meshgrid(index_1, index_2, indexing="ij")
        return Table(index_1, index_2, self.lookup(x, y) + other.lookup(x, y))


def _locate(axis: np.ndarray, x: Any) -> tuple[Any, Any, Any]:
    """Lower and upper index of the axis interval to use for ``x``, and the position in it (0 to 1 inside)."""
    if len(axis) == 1:
        return 0, 0, np.zeros(np.shape(x))
    i = np.clip(np.searchsorted(axis, x) - 1, 0, len(axis) - 2)
    return i, i + 1, (x - axis[i]) / (axis[i + 1] - axis[i])


@dataclass(frozen=True, slots=True, eq=False)
class TimingArc:
    """Delay from one pin to another.

    Attributes
    ----------
    related_pin, pin : str
        Pin at which the arc starts, and pin at which it ends.
    kind : str
        ``combinational``, ``rising_edge`` or ``falling_edge`` (of the related clock pin).
    sense : str
        ``positive_unate``, ``negative_unate`` or ``non_unate``.
    when : str
        Condition on other pins as Liberty text, or "".
    delay, slew : mapping of str to Table
        Tables in ns by output edge, ``"rise"`` and ``"fall"``; an edge that cannot happen is absent.
    """

    related_pin: str
    pin: str
    kind: str
    sense: str
    when: str
    delay: Mapping[str, Table]
    slew: Mapping[str, Table]


@dataclass(frozen=True, slots=True, eq=False)
class ConstraintArc:
    """Setup, hold, recovery or removal time of ``pin`` against the edge of ``related_pin``, in ns.

    ``kind`` is Liberty's ``timing_type``: ``setup_rising``, ``hold_rising``, ``setup_falling``, ...
    ``constraint`` is keyed by the edge of the constrained pin, ``"rise"`` and ``"fall"``.
    """

    related_pin: str
    pin: str
    kind: str
    when: str
    constraint: Mapping[str, Table]


@dataclass(frozen=True, slots=True, eq=False)
class EnergyArc:
    """Energy from the supply per edge of ``pin``, in fJ, as Liberty's ``internal_power`` counts it.

    If ``related_pin`` is a pin, the edge is one of an output, caused by that input; if it is None, an edge of ``pin``
    itself, of an input whether or not an output follows. Axis 2 of an output's tables is the load. ``when`` is the
    condition under which the figures hold. The energy of charging the load is not included: add ``C * V**2 / 2``
    per edge.
    """

    pin: str
    related_pin: str | None
    when: str
    energy: Mapping[str, Table]


@dataclass(frozen=True, slots=True)
class Pin:
    """A signal pin; capacitances in fF.

    ``max_capacitance`` is None where the file states no limit. ``edge_capacitance`` is the capacitance that a rising
    and a falling edge see, or None if both see ``capacitance``; read it through :meth:`load`.
    """

    name: str
    direction: str
    capacitance: float
    function: Expression | None
    max_capacitance: float | None
    edge_capacitance: tuple[float, float] | None = None

    def load(self, edge: int) -> float:
        """Capacitance in fF that an edge (0 rise, 1 fall) sees."""
        return self.capacitance if self.edge_capacitance is None else self.edge_capacitance[edge]


@dataclass(frozen=True, slots=True)
class FlipFlop:
    """State of an edge-triggered cell.

    Attributes
    ----------
    clocked_on, next_state : Expression
        The state takes ``next_state`` when ``clocked_on`` rises.
    outputs : mapping of str to str
        Output pin to ``"IQ"`` (the state) or ``"IQN"`` (its complement), whatever the file calls the two.
    clear, preset : Expression or None
        Asynchronous controls, active when true.
    """

    clocked_on: Expression
    next_state: Expression
    outputs: Mapping[str, str]
    clear: Expression | None = None
    preset: Expression | None = None


@dataclass(frozen=True, slots=True)
class ClockGate:
    """A cell that passes a pulse of the clock on if it is enabled when the clock rises: a latch and an AND.

    Attributes
    ----------
    clock, output : str
        Pins.
    enable : Expression
        Of the other inputs: the enable, or a test pin that overrides it.
    """

    clock: str
    output: str
    enable: Expression


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A standard cell.

    Attributes
    ----------
    area : float
        um2, as the file states it.
    leakage : float
        nW over all states: the file's ``cell_leakage_power``, else its unconditional ``leakage_power``,
        else the mean of the states.
    leakage_states : tuple of (str, float)
        Conditions, and the leakage in nW under each.
    pins : mapping of str to Pin
        Signal pins in file order.
    timing, constraints, energy : tuple
        Arcs in file order.
    flip_flop : FlipFlop or None
    clock_gate : ClockGate or None
    dont_use : bool
        As marked in the file.
    unusable : str
        Why logic synthesis must not choose this cell; "" if it may.
    """

    name: str
    area: float
    leakage: float
    leakage_states: tuple[tuple[str, float], ...]
    pins: Mapping[str, Pin]
    timing: tuple[TimingArc, ...] = ()
    constraints: tuple[ConstraintArc, ...] = ()
    energy: tuple[EnergyArc, ...] = ()
    flip_flop: FlipFlop | None = None
    clock_gate: ClockGate | None = None
    dont_use: bool = False
    unusable: str = field(default="")

    @property
    def is_usable(self) -> bool:
        """Whether logic synthesis may choose this cell."""
        return not self.unusable

    @property
    def is_clocked(self) -> bool:
        """Whether the cell is a flip-flop or a clock gate."""
        return self.flip_flop is not None or self.clock_gate is not None

    @property
    def clock_pins(self) -> tuple[str, ...]:
        """Names of the pins that the clock goes to."""
        if self.clock_gate:
            return (self.clock_gate.clock,)
        return self.flip_flop.clocked_on.pins if self.flip_flop else ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input pins, in file order."""
        return tuple(pin.name for pin in self.pins.values() if pin.direction == "input")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the output pins, in file order."""
        return tuple(pin.name for pin in self.pins.values() if pin.direction == "output")

    def tables(self) -> tuple[int, ...]:
        """Truth table of every output over :attr:`inputs`; empty unless all outputs are combinational."""
        functions = [self.pins[name].function for name in self.outputs]
        if self.flip_flop or not functions or None in functions:
            return ()
        return tuple(function.table(self.inputs) for function in functions if function)

    def computes(self, table: int, inputs: int) -> bool:
        """Whether the cell is a usable gate with one output and exactly this truth table over its ``inputs`` pins."""
        return self.is_usable and len(self.inputs) == inputs and self.tables() == (table,)


#: Truth tables, as :meth:`Cell.computes` takes them, of the gates that a library must have.
INVERTER, BUFFER, NAND2 = 0b01, 0b10, 0b0111


def smallest(cells: Iterable[Cell], table: int, inputs: int, what: str) -> Cell:
    """The usable gate of least area with this truth table.

    Raises
    ------
    InputError
        If there is none; ``what`` is the message's description of the gate and of the library.
    """
    cells = list(cells)
    gates = [cell for cell in cells if cell.computes(table, inputs)]
    if not gates:
        same = [cell for cell in cells if len(cell.inputs) == inputs and cell.tables() == (table,)]
        why = ", ".join(f"{cell.name}: {cell.unusable}" for cell in same[:4])
        raise InputError(f"no {what}; synthesis needs one" + (f" that it may use ({why})" if why else ""))
    return min(gates, key=lambda cell: (cell.area, cell.name))


def fanout_of_4(inverter: Cell) -> tuple[float, float, float]:
    """Slew (ns), load (fF) and delay (ns) of an inverter in a chain where each drives four like it.

    The slew is the fixed point at which input and output slew are equal; slew and delay are means of both edges.
    """
    (name,) = inverter.inputs
    load = 4 * inverter.pins[name].capacitance
    # A library may state the two edges in arcs of their own.
    slews = {edge: table for arc in reversed(inverter.timing) for edge, table in arc.slew.items()}
    delays = {edge: table for arc in reversed(inverter.timing) for edge, table in arc.delay.items()}
    slew = float(slews["rise"].index_1[0])
    for _ in range(50):
        slew = sum(float(table.lookup(slew, load)) for table in slews.values()) / len(slews)
    delay = sum(float(table.lookup(slew, load)) for table in delays.values()) / len(delays)
    return slew, load, delay
