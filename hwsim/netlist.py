"""A mapped netlist: instances of library cells, flat, in topological order."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsim.errors import ToolError
from hwsim.library import Cell, FlipFlop, Library


class NetlistError(ToolError):
    """The netlist cannot be analysed: an unresolved cell, an undriven or doubly driven net, a loop."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One cell: its name, what it is, and the net at every connected pin."""

    name: str
    cell: Cell
    nets: dict[str, int]


@dataclass(frozen=True)
class Netlist:
    """A flat netlist on a library.

    Attributes
    ----------
    top : str
    library : Library
    nets : list of str
        Names; nets are numbered by their position.
    inputs, outputs : dict of str to list of int
        Nets of every port, bit 0 first.
    instances : list of Instance
        Flip-flops first, then combinational cells so that drivers stand before what they drive.
    constants : dict of int to int
        Nets tied to 0 or 1 without a cell.
    """

    top: str
    library: Library
    nets: list[str]
    inputs: dict[str, list[int]]
    outputs: dict[str, list[int]]
    instances: list[Instance]
    constants: dict[int, int]

    @property
    def flip_flops(self) -> list[tuple[Instance, FlipFlop]]:
        """The sequential instances and what they do."""
        return [(i, i.cell.flip_flop) for i in self.instances if i.cell.flip_flop]

    @property
    def clocks(self) -> frozenset[int]:
        """Nets at the clock pins of flip-flops."""
        return frozenset(i.nets[pin] for i, flop in self.flip_flops for pin in flop.clocked_on.pins if pin in i.nets)

    @property
    def area(self) -> float:
        """um2, in the library's own measure."""
        return sum(i.cell.area for i in self.instances)

    @property
    def sequential_area(self) -> float:
        """um2 of the flip-flops."""
        return sum(i.cell.area for i in self.instances if i.cell.flip_flop)

    @classmethod
    def read(cls, path: Path, top: str, library: Library) -> Netlist:
        """Read the JSON that Yosys writes of a mapped, flat netlist.

        Raises
        ------
        NetlistError
            If a cell is not in the library or has no function, a net has no driver or two, or cells form a loop.
        """
        module = json.loads(path.read_text())["modules"][top]
        numbers: dict[int | str, int] = {}
        names: list[str] = []
        constants: dict[int, int] = {}

        def net(bit: int | str) -> int:
            if bit not in numbers:
                if isinstance(bit, str):
                    if bit not in "01":
                        raise NetlistError(f"{top}: a pin is tied to {bit!r}, expected a net, 0 or 1")
                    constants[len(names)] = int(bit)
                numbers[bit] = len(names)
                names.append(f"constant_{bit}" if isinstance(bit, str) else f"net_{bit}")
            return numbers[bit]

        inputs: dict[str, list[int]] = {}
        outputs: dict[str, list[int]] = {}
        for name, port in module["ports"].items():
            (inputs if port["direction"] == "input" else outputs)[name] = [net(b) for b in port["bits"]]
        instances = []
        for name, cell in module["cells"].items():
            if cell["type"] not in library.cells:
                raise NetlistError(f"{top}: cell {name} is a {cell['type']}, which {library.name} does not have")
            pins = {pin: net(bits[0]) for pin, bits in cell["connections"].items() if bits}
            instances.append(Instance(name, library.cells[cell["type"]], pins))
        # Public names before Yosys' own; the first of several wins.
        for name, entry in sorted(module["netnames"].items(), key=lambda item: (item[1]["hide_name"], item[0])):
            for position, bit in enumerate(entry["bits"]):
                if bit in numbers and names[numbers[bit]] == f"net_{bit}":
                    names[numbers[bit]] = name if len(entry["bits"]) == 1 else f"{name}[{position}]"
        found = cls(top, library, names, inputs, outputs, instances, constants)
        return cls(top, library, names, inputs, outputs, found._sorted(), constants)

    def fanout(self) -> list[list[tuple[Instance, str]]]:
        """Per net, the input pins that it drives."""
        loads: list[list[tuple[Instance, str]]] = [[] for _ in self.nets]
        for instance in self.instances:
            for pin in instance.cell.inputs:
                if pin in instance.nets:
                    loads[instance.nets[pin]].append((instance, pin))
        return loads

    def drivers(self) -> dict[int, Instance]:
        """Per net, the instance that drives it; ports and constants drive the others.

        Raises
        ------
        NetlistError
            If a net has two drivers.
        """
        found: dict[int, Instance] = {}
        given = {n for bits in self.inputs.values() for n in bits} | self.constants.keys()
        for instance in self.instances:
            for pin in instance.cell.outputs:
                if pin in instance.nets:
                    net = instance.nets[pin]
                    if net in found or net in given:
                        raise NetlistError(f"{self.top}: net {self.nets[net]} has two drivers, one is {instance.name}")
                    found[net] = instance
        return found

    def _sorted(self) -> list[Instance]:
        drivers, fanout = self.drivers(), self.fanout()
        given = {n for bits in self.inputs.values() for n in bits} | self.constants.keys()
        used = [n for n in range(len(self.nets)) if fanout[n]] + [n for bits in self.outputs.values() for n in bits]
        for net in used:
            if net not in drivers and net not in given:
                raise NetlistError(f"{self.top}: net {self.nets[net]} has no driver")
        flops = [i for i in self.instances if i.cell.flip_flop]
        gates = [i for i in self.instances if not i.cell.flip_flop]
        for gate in gates:
            for pin in gate.cell.outputs:
                if pin in gate.nets and gate.cell.pins[pin].function is None:
                    raise NetlistError(f"{self.top}: {gate.cell.name}/{pin} of {gate.name} has no function")
        waiting = {
            gate.name: sum(
                gate.nets[pin] in drivers and not drivers[gate.nets[pin]].cell.flip_flop
                for pin in gate.cell.inputs
                if pin in gate.nets
            )
            for gate in gates
        }
        ready = deque(gate for gate in gates if not waiting[gate.name])
        ordered = []
        while ready:
            gate = ready.popleft()
            ordered.append(gate)
            for pin in gate.cell.outputs:
                for sink, _ in fanout[gate.nets[pin]] if pin in gate.nets else ():
                    if not sink.cell.flip_flop:
                        waiting[sink.name] -= 1
                        if not waiting[sink.name]:
                            ready.append(sink)
        if len(ordered) < len(gates):
            stuck = next(name for name, count in waiting.items() if count)
            raise NetlistError(f"{self.top}: cells form a combinational loop, {stuck} among them")
        return flops + ordered

    def loads(self, wire_load: bool, output_load: float | None = None) -> np.ndarray:
        """Capacitance on every net: pins, wire, and what hangs on outputs.

        Parameters
        ----------
        wire_load : bool
            Whether the library's wire-load model is added.
        output_load : float or None
            fF on every output port; default the library's.

        Returns
        -------
        float64 [nets, 3]
            fF that a rising edge, a falling edge, and on average an edge sees.
        """
        outside = self.library.output_load_fF if output_load is None else output_load
        loads = np.zeros((len(self.nets), 3))
        # A wire to a port is a wire: a port counts as one fanout.
        ports = np.zeros(len(self.nets), int)
        for bits in self.outputs.values():
            for net in bits:
                ports[net] += 1
        for net, sinks in enumerate(self.fanout()):
            for sink, name in sinks:
                pin = sink.cell.pins[name]
                loads[net] += pin.load(0), pin.load(1), pin.capacitance
            wire = self.library.wire_load.capacitance(len(sinks) + int(ports[net])) if wire_load else 0.0
            loads[net] += wire + ports[net] * outside
        return loads
