"""A mapped netlist as arrays: for every library cell its instances, and the nets at their pins.

Large designs hold hundreds of thousands of cells, most of them in copies of few modules. A hierarchical netlist is read
module by module, and copies are made by renumbering arrays. All analyses work on these arrays, one library cell at a
time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numba import njit

from hwsim.base.errors import ToolError
from hwsim.technology.cells import Cell
from hwsim.technology.library import Library


class NetlistError(ToolError):
    """The netlist cannot be analysed: an unresolved cell, an undriven or doubly driven net, a loop."""


@dataclass(frozen=True)
class Group:
    """All instances of one library cell.

    Attributes
    ----------
    cell : Cell
    names : object [instances]
        Names of the instances within their modules.
    scopes : int32 [instances]
        The module instance that each stands in, as an index into :attr:`Netlist.scopes`.
    pins : dict of str to int32 [instances]
        The net at every pin; -1 where nothing is connected.
    """

    cell: Cell
    names: np.ndarray
    scopes: np.ndarray
    pins: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Netlist:
    """A flattened netlist of library cells.

    Attributes
    ----------
    top : str
        Name of the top module.
    library : Library
    net_names : object [nets]
        Names of the nets within their modules; a net's number is its position here.
    net_scopes : int32 [nets]
        The module instance that each net lies in, as an index into ``scopes``.
    scopes : list of str
        Path of every module instance, for example ``dot_0_0.sum``; the first is the top, whose path is empty.
    scope_modules : list of str
        Name of the module that each scope is an instance of.
    inputs, outputs : dict of str to list of int
        Nets of every port, bit 0 first.
    groups : list of Group
        One for every library cell in use.
    constants : dict of int to int
        Nets that are constant without a tie cell, and their values, 0 or 1.

    Raises
    ------
    NetlistError
        If a cell has no function, a net has no driver or two, or cells form a loop.
    """

    top: str
    library: Library
    net_names: np.ndarray
    net_scopes: np.ndarray
    scopes: list[str]
    scope_modules: list[str]
    inputs: dict[str, list[int]]
    outputs: dict[str, list[int]]
    groups: list[Group]
    constants: dict[int, int]

    def __post_init__(self) -> None:
        for group in self.groups:
            cell = group.cell
            for pin in () if cell.is_clocked else cell.outputs:
                if cell.pins[pin].function is None:
                    raise NetlistError(f"{self.top}: {cell.name}/{pin} of {self.instance_name(group, 0)} "
                                       "has no function")  # fmt: skip
        self._check_drivers()
        _ = self.order  # raises if there is a combinational loop

    @property
    def count(self) -> int:
        """Number of nets."""
        return len(self.net_names)

    @property
    def cells(self) -> int:
        """Number of instances."""
        return sum(map(len, self.groups))

    @cached_property
    def nets(self) -> list[str]:
        """Names of the nets, with the path of the module instance they are in."""
        return [_path(self.scopes[s], n) for s, n in zip(self.net_scopes.tolist(), self.net_names, strict=True)]

    def net_name(self, net: int) -> str:
        """Name of one net, with its path."""
        return _path(self.scopes[self.net_scopes[net]], self.net_names[net])

    def instance_name(self, group: Group, position: int) -> str:
        """Name of an instance, with its path."""
        return _path(self.scopes[group.scopes[position]], group.names[position])

    @cached_property
    def flip_flops(self) -> list[Group]:
        """The groups of sequential cells."""
        return [group for group in self.groups if group.cell.flip_flop]

    @cached_property
    def clock_gates(self) -> list[Group]:
        """The groups of clock gates."""
        return [group for group in self.groups if group.cell.clock_gate]

    @cached_property
    def clocks(self) -> frozenset[int]:
        """Nets at the clock pins of flip-flops and clock gates."""
        clocks: set[int] = set()
        for group in (*self.flip_flops, *self.clock_gates):
            for pin in group.cell.clock_pins:
                clocks.update(np.unique(group.pins[pin]).tolist())
        return frozenset(clocks - {-1})

    @cached_property
    def gated(self) -> np.ndarray:
        """Nets that clock gates drive, int64 [clock gates], in the order of :attr:`clock_gates`."""
        nets = [g.pins[g.cell.clock_gate.output] for g in self.clock_gates if g.cell.clock_gate]
        return np.concatenate([np.zeros(0, np.int64), *nets])

    @cached_property
    def tied(self) -> np.ndarray:
        """Value of every constant net, also at a tie cell, -1 of all others; int64 [nets + 1], the last for no net."""
        tied = np.full(self.count + 1, -1)
        for net, value in self.constants.items():
            tied[net] = value
        for group in self.groups:
            for pin in group.cell.outputs:
                function = group.cell.pins[pin].function
                if function is not None and function.op in "01":
                    tied[group.pins[pin]] = int(function.op)
        tied[-1] = -1
        return tied

    def clocked_freely(self, group: Group) -> np.ndarray:
        """Whether the clock of each instance of a group reaches it without a clock gate, bool [instances]."""
        (pin,) = group.cell.clock_pins
        return (group.pins[pin] >= 0) & ~np.isin(group.pins[pin], self.gated)

    @property
    def area(self) -> float:
        """Area of all cells in um2, as the library states it."""
        return sum(len(group) * group.cell.area for group in self.groups)

    @property
    def sequential_area(self) -> float:
        """Area of flip-flops and clock gates in um2."""
        return sum(len(group) * group.cell.area for group in self.groups if group.cell.is_clocked)

    @cached_property
    def given(self) -> np.ndarray:
        """Whether a net is that of an input port or constant, bool [nets]."""
        no_cell_needed = np.zeros(self.count, bool)
        no_cell_needed[[n for bits in self.inputs.values() for n in bits]] = True
        no_cell_needed[list(self.constants)] = True
        return no_cell_needed

    @cached_property
    def driven(self) -> np.ndarray:
        """Number of cell outputs that drive each net, int64 [nets]."""
        return self._at_pins(lambda cell: cell.outputs)

    @cached_property
    def fanout(self) -> np.ndarray:
        """Number of cell inputs on each net, int64 [nets]."""
        return self._at_pins(lambda cell: cell.inputs)

    @cached_property
    def ports(self) -> np.ndarray:
        """Number of output port bits on each net, int64 [nets]."""
        return np.bincount([n for bits in self.outputs.values() for n in bits], minlength=self.count)

    def _at_pins(self, which: Callable[[Cell], tuple[str, ...]]) -> np.ndarray:
        """Number of pins on each net, of those that ``which`` names for a cell."""
        nets = np.concatenate([np.zeros(0, int), *(g.pins[pin] for g in self.groups for pin in which(g.cell))])
        return np.bincount(nets[nets >= 0], minlength=self.count)

    def _check_drivers(self) -> None:
        twice = np.flatnonzero(self.driven + self.given > 1)
        if len(twice):
            net = int(twice[0])
            one = next(
                self.instance_name(group, int(np.flatnonzero(group.pins[pin] == net)[-1]))
                for group in self.groups for pin in group.cell.outputs if (group.pins[pin] == net).any()
            )  # fmt: skip
            raise NetlistError(f"{self.top}: net {self.net_name(net)} has two drivers, one is {one}")
        floating = np.flatnonzero((self.fanout + self.ports > 0) & (self.driven == 0) & ~self.given)
        if len(floating):
            raise NetlistError(f"{self.top}: net {self.net_name(int(floating[0]))} has no driver")

    @cached_property
    def order(self) -> list[np.ndarray]:
        """Topological rank of every instance, one array per group; flip-flops and clock gates have rank -1.

        A combinational cell ranks after the cells that drive it. The order is depth-first, which puts drivers shortly
        before their readers, so that a simulation finds its operands in the cache.
        """
        starts = np.cumsum([0, *map(len, self.groups)])
        driver = np.full(self.count + 1, -1)
        width = max((len(group.cell.inputs) for group in self.groups), default=1)
        fanin = np.full((starts[-1], width), -1)
        for start, group in zip(starts, self.groups, strict=False):
            for pin in () if group.cell.is_clocked else group.cell.outputs:
                driver[group.pins[pin]] = start + np.arange(len(group))
        # Unconnected pins have net -1, which indexes the last element: it must have no driver.
        driver[-1] = -1
        for start, group in zip(starts, self.groups, strict=False):
            for k, pin in enumerate(group.cell.inputs):
                fanin[start : start + len(group), k] = driver[group.pins[pin]]
        sequential = np.zeros(starts[-1], bool)
        for start, group in zip(starts, self.groups, strict=False):
            sequential[start : start + len(group)] = group.cell.is_clocked
        # Search from registers and output ports first, and last from cells that neither needs.
        outputs = driver[[n for bits in self.outputs.values() for n in bits]]
        roots = np.concatenate([np.flatnonzero(sequential), outputs[outputs >= 0], np.flatnonzero(~sequential)])
        rank, loop = _depth_first(fanin, sequential, roots)
        if loop >= 0:
            at = int(np.searchsorted(starts, loop, "right")) - 1
            stuck = self.instance_name(self.groups[at], loop - int(starts[at]))
            raise NetlistError(f"{self.top}: cells form a combinational loop, {stuck} among them")
        return [rank[a:b] for a, b in pairwise(starts)]

    def loads(self, wire_load: bool | np.ndarray, output_load: float | None = None) -> np.ndarray:
        """Capacitance on every net: that of input pins, of the wire, and of what output ports drive.

        Parameters
        ----------
        wire_load : bool, or float64 [nets]
            Whether the library's wire-load model is added; or the capacitance of every net's wire, fF.
        output_load : float or None
            fF on every output port; default the library's.

        Returns
        -------
        float64 [nets, 3]
            Capacitance in fF for a rising edge, for a falling edge, and for either edge on average.
        """
        outside = self.library.output_load_fF if output_load is None else output_load
        at = [(group.pins[name], group.cell.pins[name]) for group in self.groups for name in group.cell.inputs]
        nets = np.concatenate([np.zeros(0, int), *(n for n, _ in at)])
        count = [len(n) for n, _ in at]
        loads = np.stack([
            np.bincount(nets, np.repeat([value(pin) for _, pin in at], count), self.count)
            for value in (lambda pin: pin.load(0), lambda pin: pin.load(1), lambda pin: pin.capacitance)
        ], axis=1)  # fmt: skip
        wire = wire_load if isinstance(wire_load, np.ndarray) else self._by_fanout() if wire_load else 0.0
        return loads + (wire + self.ports * outside)[:, None]

    def _by_fanout(self) -> np.ndarray:
        """Capacitance in fF of every net's wire by the library's wire-load model."""
        # An output port counts as one fanout, for a wire leads to it as to a cell.
        fanout, position = np.unique(self.fanout + self.ports, return_inverse=True)
        return np.array([self.library.wire_load.capacitance(int(f)) for f in fanout])[position]


def _path(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name


@njit(cache=True)
def _depth_first(fanin, sequential, roots):
    """Rank of every combinational instance, higher than those of its drivers; and an instance in a loop, or -1.

    ``fanin`` [instances, inputs] holds the instance that drives each input, or -1.
    """
    count, width = fanin.shape
    rank = np.full(count, -1)
    # 0: not seen, 1: waiting for its drivers, 2: placed.
    state = np.zeros(count, np.uint8)
    stack, pin = np.empty(count + 1, np.int64), np.empty(count + 1, np.int64)
    placed = 0
    for root in roots:
        if state[root]:
            continue
        depth = 0
        stack[0], pin[0], state[root] = root, 0, 1
        while depth >= 0:
            at = stack[depth]
            if pin[depth] < width:
                driver = fanin[at, pin[depth]]
                pin[depth] += 1
                if driver >= 0:
                    if state[driver] == 0:
                        depth += 1
                        stack[depth], pin[depth], state[driver] = driver, 0, 1
                    elif state[driver] == 1:
                        return rank, driver
            else:
                state[at] = 2
                if not sequential[at]:
                    rank[at] = placed
                    placed += 1
                depth -= 1
    return rank, -1
