"""Power of a mapped netlist from its switching activity.

Leakage, weighted by the states that the activity makes likely where the library distinguishes them; internal power
from the library's energy tables; switching power ``C V**2 / 2`` per toggle of every net that a cell drives. Input ports
are charged by what drives them and not counted here. The clock's tree is not part of the netlist: what it takes to
bring the clock to all clock pins is an estimate (:mod:`hwsim.analysis.clock_tree`).

An output toggle does not say which input caused it. Each input gets the share of ``its toggle rate x probability that
the output depends on it``, pins taken as independent. A flip-flop's output depends on its clock and its asynchronous
pins alike: their toggle rates alone decide, so that a reset that stays inactive takes no share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.analysis.netlist import Group, Netlist, NetlistError
from hwsim.analysis.timing import FALL, RISE, Timing
from hwsim.technology import expression
from hwsim.technology.cells import Cell, EnergyArc


@dataclass(frozen=True)
class Power:
    """Power in mW.

    Attributes
    ----------
    internal : float
        Of the cells, by the library's energy tables; that of flip-flops whose clock alone toggles included.
    switching : float
        To charge the nets that cells drive.
    leakage : float
    clock : float
        Of the clock tree: its buffers, its wires and the clock pins.
    """

    internal: float
    switching: float
    leakage: float
    clock: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all four."""
        return self.internal + self.switching + self.leakage + self.clock


@dataclass(frozen=True)
class Energies:
    """Energy of a netlist per cycle, by the net whose toggles cause it.

    Attributes
    ----------
    internal, switching : float64 fJ [nets]
    leakage : float nW
    """

    internal: np.ndarray
    switching: np.ndarray
    leakage: float

    def power(self, period_ns: float) -> Power:
        """Power at a clock period, without the clock tree."""
        # fJ per ns = uW.
        internal, switching = (1e-3 * float(spent.sum()) / period_ns for spent in (self.internal, self.switching))
        return Power(internal, switching, self.leakage * 1e-6)


def energies(
    netlist: Netlist,
    timing: Timing,
    loads: np.ndarray,
    rate: np.ndarray,
    high: np.ndarray,
    group_of: type[CellGroup] | None = None,
) -> Energies:
    """Energy that the toggles of every net cost per cycle.

    Parameters
    ----------
    netlist : Netlist
    timing : Timing
        Gives every net's slew.
    loads : float64 [nets, 3]
        fF on every net, as :meth:`Netlist.loads` gives them; the mean over edges is used.
    rate, high : float64 [nets]
        Toggles per cycle, and probability of 1.
    group_of : subclass of CellGroup, optional
        Another rule for sharing output toggles among inputs, for comparisons with other tools.

    Raises
    ------
    NetlistError
        If a net has no activity: every net must be annotated.
    """
    missing = np.flatnonzero(~np.isfinite(rate) | ~np.isfinite(high))
    if len(missing) or len(rate) != netlist.count:
        some = [netlist.net_name(net) for net in missing[:3]]
        raise NetlistError(f"{netlist.top}: {len(missing)} nets have no activity, among them {some}")
    load = loads[:, 2]
    # fF V**2 = fJ.
    switching = np.where(netlist.driven > 0, 0.5 * netlist.library.voltage**2 * load * rate, 0.0)
    internal = np.zeros(netlist.count)
    leakage = 0.0
    for instances in netlist.groups:
        group = (group_of or CellGroup)(instances, timing, load, rate, high)
        for pin, spent in group.internal().items():
            nets = instances.pins[pin]
            internal += np.bincount(nets[nets >= 0], spent[nets >= 0], netlist.count)
        leakage += group.leakage()
    return Energies(internal, switching, leakage)


def by_instance(
    netlist: Netlist, timing: Timing, loads: np.ndarray, rate: np.ndarray, high: np.ndarray
) -> list[np.ndarray]:
    """Energy per cycle, fJ, of every instance of each group: internal, and of charging the nets that it drives.

    Parameters as of :func:`energies`, whose energies have the same sum.
    """
    charge = 0.5 * netlist.library.voltage**2 * loads[:, 2] * rate
    found = []
    for instances in netlist.groups:
        spent = sum(CellGroup(instances, timing, loads[:, 2], rate, high).internal().values(), np.zeros(len(instances)))
        for pin in instances.cell.outputs:
            nets = instances.pins[pin]
            spent = spent + np.where(nets >= 0, charge[nets], 0.0)
        found.append(spent)
    return found


class CellGroup:
    """Power of all instances of one cell, computed together; arrays run over instances."""

    def __init__(self, instances: Group, timing: Timing, load: np.ndarray, rate: np.ndarray, high: np.ndarray):
        self.cell: Cell = instances.cell
        self.count = len(instances)
        # An unconnected output has no net; it does not toggle and drives nothing.
        nets = instances.pins
        self.rate = {pin: np.where(n >= 0, rate[n], 0.0) for pin, n in nets.items()}
        self.high = {pin: np.where(n >= 0, high[n], 0.5) for pin, n in nets.items()}
        self.load = {pin: np.where(n >= 0, load[n], 0.0) for pin, n in nets.items()}
        self.slew = {pin: timing.slew_ns[n] for pin, n in nets.items()}

    def internal(self) -> dict[str, np.ndarray]:
        """Internal energy in fJ per cycle of every instance, by the pin whose toggles cost it."""
        by_pin = {}
        for pin in self.cell.pins:
            total = np.zeros(self.count)
            arcs = [arc for arc in self.cell.energy if arc.pin == pin]
            own = [arc for arc in arcs if arc.related_pin is None]
            for arc in own:
                total += self.rate[pin] * self.applies(arc, own) * self.energy(arc)
            caused = [arc for arc in arcs if arc.related_pin is not None]
            shares = [self.share(arc, caused) for arc in caused]
            for arc, weight in zip(caused, self.weights(pin, shares), strict=True):
                total += self.rate[pin] * weight * self.energy(arc)
            by_pin[pin] = total
        return by_pin

    def weights(self, pin: str, shares: list[np.ndarray]) -> list[np.ndarray]:
        """Shares of the arcs that cause an output's toggles, scaled to add up to 1; equal where all shares are 0."""
        whole = np.sum(shares, axis=0) if shares else np.zeros(self.count)
        return [np.where(whole > 0, s / np.where(whole > 0, whole, 1.0), 1.0 / len(shares)) for s in shares]

    def applies(self, arc: EnergyArc, among: Sequence[EnergyArc]) -> np.ndarray:
        """Probability that an arc applies: that its condition holds, or for one without, that no other's holds."""
        if arc.when:
            return self.probability(arc.when)
        rest = [self.probability(a.when) for a in among if a.when and a.related_pin == arc.related_pin]
        return np.clip(1.0 - np.sum(rest, axis=0), 0.0, 1.0) if rest else np.ones(self.count)

    def leakage(self) -> float:
        """Leakage in nW, the states of the library weighted by their probability."""
        if not self.cell.leakage_states:
            return self.count * self.cell.leakage
        shares = [self.probability(when) for when, _ in self.cell.leakage_states]
        known = sum(
            float((share * value).sum()) for share, (_, value) in zip(shares, self.cell.leakage_states, strict=True)
        )
        # States that the library leaves out leak like the average.
        rest = np.clip(1.0 - np.sum(shares, axis=0), 0.0, 1.0)
        return known + float(rest.sum()) * self.cell.leakage

    def energy(self, arc: EnergyArc) -> np.ndarray:
        """Energy in fJ per edge, the mean of rise and fall; an edge without a table costs nothing."""
        sense = next(
            (t.sense for t in self.cell.timing if (t.related_pin, t.pin) == (arc.related_pin, arc.pin)),
            "positive_unate",
        )
        source = arc.related_pin or arc.pin
        load = self.load[arc.pin] if self.cell.pins[arc.pin].direction == "output" else np.zeros(self.count)
        energies = []
        for edge, name in ((RISE, "rise"), (FALL, "fall")):
            table = arc.energy.get(name)
            if table is None:
                continue
            if sense == "non_unate":
                slew = self.slew[source].mean(axis=1)
            else:
                slew = self.slew[source][:, 1 - edge if sense == "negative_unate" else edge]
            # A table of one point gives a scalar.
            energies.append(np.broadcast_to(table.lookup(slew, load), self.count))
        return np.sum(energies, axis=0) / 2 if energies else np.zeros(self.count)

    def share(self, arc: EnergyArc, among: Sequence[EnergyArc]) -> np.ndarray:
        """Share of an output's toggles that an arc's input causes, up to a factor common to all its arcs."""
        assert arc.related_pin is not None
        function = self.cell.pins[arc.pin].function
        if self.cell.flip_flop or function is None or arc.related_pin not in function.pins:
            return self.rate[arc.related_pin] * self.applies(arc, among)
        pins = tuple(dict.fromkeys((*function.pins, *(expression.parse(arc.when).pins if arc.when else ()))))
        one, zero = expression.cofactors(function.table(pins), len(pins), pins.index(arc.related_pin))
        sensitive = one ^ zero
        if arc.when:
            sensitive &= expression.parse(arc.when).table(pins)
        return self.rate[arc.related_pin] * self.probability_of(sensitive, pins)

    def probability(self, when: str) -> np.ndarray:
        """Probability of a condition."""
        if not when:
            return np.ones(self.count)
        condition = expression.parse(when)
        return self.probability_of(condition.table(), condition.pins)

    def probability_of(self, table: int, pins: Sequence[str]) -> np.ndarray:
        """Probability that a truth table over pins is 1."""
        total = np.zeros(self.count)
        for row in range(1 << len(pins)):
            if table >> row & 1:
                term = np.ones(self.count)
                for k, pin in enumerate(pins):
                    term *= self.high[pin] if row >> k & 1 else 1.0 - self.high[pin]
                total += term
        return total
