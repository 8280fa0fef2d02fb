"""Bind adders and gates that the RTL instantiates to the library's cells, in Yosys' JSON of a design.

ABC builds adders from gates, which takes nearly twice the area of a cell made for it. The RTL therefore instantiates
its full and half adders (:data:`hwsim.rtl.arith.ADDERS`), and the gates of networks that were searched and that ABC
would make larger (:class:`hwsim.rtl.tile.gates.NetworkGate`). Here they become cells that ABC leaves as they are.

A cell may invert both outputs. A full adder of inverted bits gives the inverted sum and carry, so such a cell either
takes true bits and gives inverted ones, or the other way round. Where two meet, their ways should differ: then no
inverter is needed between them. Which way every adder takes is found by flipping single adders as long as that saves
inverters. Inverters towards other logic are left to ABC, which often absorbs them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from hwsim.rtl.arith import ADDERS
from hwsim.rtl.tile.gates import GATES, arity
from hwsim.synthesis.json_module import Additions
from hwsim.technology.cells import Cell
from hwsim.technology.choice import AdderCell, full_adder, gate_cell, half_adder
from hwsim.technology.library import Library

#: Modules of the RTL that add.
FULL, HALF = ADDERS
_OUTPUTS = ("s", "co")
#: A bit in Yosys' JSON: the number of a net, or "0" or "1".
Bit = int | str


def bind(modules: dict[str, Any], library: Library, names: Mapping[str, str]) -> int:
    """Replace adders and gates by the library's cells, in place; return how many adders.

    Those for which the library has no cell stay.

    Parameters
    ----------
    modules : dict
        The ``modules`` of Yosys' JSON.
    library : Library
    names : mapping of str to str
        Names of the modules of :data:`hwsim.rtl.tile.gates.CELLS`, at least those of adders.
    """
    gates = {
        names[gate]: found
        for gate in GATES
        if gate in names and (found := gate_cell(library, GATES[gate], arity(gate)))
    }
    for module in modules.values():
        _bind_gates(module, gates)
    cells = {names[FULL]: full_adder(library), names[HALF]: half_adder(library)}
    return sum(_Binding(module, cells).count for module in modules.values())


def _bind_gates(module: dict[str, Any], gates: Mapping[str, tuple[Cell, tuple[str, ...]]]) -> None:
    """Replace gates by cells, which are given with their pins by the name of the gate's module."""
    for name, instance in list(module["cells"].items()):
        if instance["type"] in gates:
            cell, pins = gates[instance["type"]]
            bits = instance["connections"]
            given = {pin: bits[port][0] for pin, port in zip(pins, "abcd", strict=False)}
            Additions(module).cell(name, cell.name, given, {cell.outputs[0]: bits["y"][0]}, hidden=False)


def _inputs(cell: dict[str, Any]) -> list[Bit]:
    """Bits that an adder adds."""
    return [cell["connections"][port][0] for port in "abc" if port in cell["connections"]]


class _Binding:
    """Binds the adders of one module; ``count`` are bound."""

    def __init__(self, module: dict[str, Any], cells: dict[str, AdderCell | None]):
        self._cells = cells
        self._adders = {name: cell for name, cell in module["cells"].items() if cells.get(cell["type"])}
        self.count = len(self._adders)
        if not self.count:
            return
        self._module, self._added = module, Additions(module)
        #: Inverse of a bit, where there is one.
        self._inverse: dict[Bit, Bit] = {"0": "1", "1": "0"}
        complemented = self._ways()
        # Outputs that come inverted get a net of their own first, so that whoever wants the inverse finds it.
        bound = {}
        for name, cell in self._adders.items():
            bound[name] = {port: cell["connections"][port][0] for port in _OUTPUTS}
            if self._inverts(cell) and not complemented[name]:
                for port, bit in bound[name].items():
                    bound[name][port] = self._inverse[bit] = self._added.net("inverted_{bit}")
        for name, cell in self._adders.items():
            adder = cells[cell["type"]]
            assert adder is not None
            inputs = _inputs(cell)
            if complemented[name]:
                inputs = [self._inverted(bit) for bit in inputs]
            given = dict(zip(adder.cell.inputs, inputs, strict=True))
            driven = {adder.sum: bound[name]["s"], adder.carry: bound[name]["co"]}
            self._added.cell(name, adder.cell.name, given, driven, hidden=False)
        # The true bits of outputs that come inverted, where anybody reads them.
        read = set(self._read())
        for name, cell in self._adders.items():
            for port in _OUTPUTS:
                bit = cell["connections"][port][0]
                if bit in read and bound[name][port] != bit:
                    self._inverter(bound[name][port], bit)

    def _read(self) -> Iterator[Bit]:
        """Bits that cells or output ports of the module read."""
        for port in self._module["ports"].values():
            if port["direction"] == "output":
                yield from port["bits"]
        for cell in self._module["cells"].values():
            for port, bits in cell["connections"].items():
                if cell.get("port_directions", {}).get(port) != "output":
                    yield from bits

    def _inverts(self, cell: dict[str, Any]) -> bool:
        adder = self._cells[cell["type"]]
        assert adder is not None
        return adder.inverts

    def _ways(self) -> dict[str, bool]:
        """Whether an adder takes inverted bits and gives true ones, by its name."""
        driver = {cell["connections"][port][0]: name for name, cell in self._adders.items() for port in _OUTPUTS}
        may_flip = [name for name, cell in self._adders.items() if len(_inputs(cell)) == 3 and self._inverts(cell)]
        # Adders that read an output, by the adder and the port.
        readers: dict[Bit, list[str]] = defaultdict(list)
        for name, cell in self._adders.items():
            for bit in _inputs(cell):
                readers[bit].append(name)
        way = dict.fromkeys(self._adders, False)
        # Adders come in the order of the tree: start with every other level.
        for name in may_flip:
            drivers = [driver[bit] for bit in _inputs(self._adders[name]) if bit in driver]
            way[name] = 2 * sum(not way[other] for other in drivers) > len(drivers)

        def inverters(names: set[str]) -> int:
            """Inverters behind outputs of some adders."""
            count = 0
            for name in names:
                gives_true = way[name] or not self._inverts(self._adders[name])
                for port in _OUTPUTS:
                    bit = self._adders[name]["connections"][port][0]
                    # A reader in the other way wants the other polarity.
                    count += any(way[reader] == gives_true for reader in readers[bit])
            return count

        improved = True
        while improved:
            improved = False
            for name in may_flip:
                around = {name, *(driver[bit] for bit in _inputs(self._adders[name]) if bit in driver)}
                before = inverters(around)
                way[name] = not way[name]
                if inverters(around) < before:
                    improved = True
                else:
                    way[name] = not way[name]
        return way

    def _inverted(self, bit: Bit) -> Bit:
        if bit not in self._inverse:
            self._inverse[bit] = self._added.net("inverted_{bit}")
            self._inverter(bit, self._inverse[bit])
        return self._inverse[bit]

    def _inverter(self, source: Bit, target: Bit) -> None:
        self._added.cell(f"inverter_{target}", "$_NOT_", {"A": source}, {"Y": target})
