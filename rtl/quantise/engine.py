"""What all quantisation engines share: ports, registers, and the way of a block through them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.rtl.hierarchy import Parts, Pipeline, Registers, clocked, instantiate
from hwsim.rtl.quantise.floats import Fields, ValueFormat
from hwsim.rtl.quantise.stage import QuantiserStage

SCALE_WIDTH = 8
#: Ports of a path that are not those of its engine.
_CONTROL = ("clk", "enable")


class Path(wiring.Component):
    """A data path between registers at its inputs and at its outputs. A subclass says what is between them.

    No register has a reset.

    Parameters
    ----------
    pipe : Pipeline
    ports : dict
        Inputs and outputs. Every input has registers but for the steady ones.
    steady : iterable of str
        Inputs that are held while anything is in flight.

    Ports
    -----
    clk : in, 1 bit
    enable : in
        Bit i loads the registers that a block passes i cycles after it came: from those at the inputs to the outputs.
    """

    stage = QuantiserStage.REST

    def __init__(self, pipe: Pipeline, ports: dict[str, Any], steady: Iterable[str] = ()):
        super().__init__({"clk": In(1), "enable": In(2 + pipe.count()), **ports})
        self.pipe, self.steady = pipe, tuple(steady)
        self.parts: Parts = {}

    def results(self, m: Module, registers: Registers, inputs: dict[str, Value]) -> dict[str, Value]:
        """Outputs by name, in front of the registers at the outputs, from inputs behind their own registers."""
        raise TypeError(f"{type(self).__name__} does not say what its results are")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocked(m, self.clk)
        registers = Registers(m, self.pipe, self.enable)
        given = [n for n, member in self.signature.members.items() if member.flow is wiring.In]
        inputs = {
            name: getattr(self, name) if name in self.steady else registers.input(getattr(self, name), f"{name}_q")
            for name in given if name not in _CONTROL
        }  # fmt: skip
        for name, value in self.results(m, registers, inputs).items():
            m.d.comb += getattr(self, name).eq(registers.output(value, f"{name}_q"))
        return m


class QuantiserPath(Path):
    """The data path of a quantiser, from values to codes and scale.

    Parameters
    ----------
    fmt : ValueFormat
    block_size, code_width : int
    pipe : Pipeline
    ports : dict
        Further ports.
    steady : iterable of str
        See :class:`Path`.

    Ports
    -----
    clk, enable : in
        See :class:`Path`.
    x : in
    codes, scale : out
        See :class:`Engine`.
    """

    def __init__(
        self, fmt: ValueFormat, block_size: int, code_width: int, pipe: Pipeline, ports: dict[str, Any] | None = None,
        steady: Iterable[str] = (),
    ):  # fmt: skip
        common = {
            "x": In(block_size * fmt.width), "codes": Out(block_size * code_width), "scale": Out(SCALE_WIDTH),
        }  # fmt: skip
        super().__init__(pipe, common | (ports or {}), steady)
        self.fmt, self.block_size = fmt, block_size


class Engine(wiring.Component):
    """A block of values a cycle, fully pipelined.

    Latency: :attr:`latency` cycles, registers at inputs and outputs included. A register loads with a block only, so
    that an engine without work is still. ``rst`` clears the blocks in flight: none that came before or during the reset
    comes out after it. Nothing else is reset.

    Ports
    -----
    valid : in, 1 bit
        There is a block at ``x``.
    x : in
        The block's values, element 0 in the lowest bits.
    out_valid : out, 1 bit
        There is a result at the outputs.
    codes : out
        Element codes, element 0 in the lowest bits.
    scale : out, 8 bits
        Scale byte as it is stored.
    """

    def __init__(self, path: Path):
        ports: dict[str, Any] = {"valid": In(1)}
        members = path.signature.members.items()
        ports |= {name: m for name, m in members if m.flow is wiring.In and name not in _CONTROL}
        ports |= {"out_valid": Out(1)} | {name: m for name, m in members if m.flow is wiring.Out}
        super().__init__(ports)
        self.path = path
        self.parts: Parts = {"quantise_path": path}

    @property
    def latency(self) -> int:
        """Cycles from inputs to outputs."""
        return 2 + self.path.pipe.count()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Bit i is set while a block is behind its register i.
        in_flight = Signal(self.latency)
        m.d.sync += in_flight.eq(Cat(self.valid, in_flight[:-1]))
        m.d.comb += self.out_valid.eq(in_flight[-1])
        ports = {name: getattr(self, name) for name in self.path.signature.members if name not in _CONTROL}
        enable = Cat(self.valid, in_flight[:-1])
        instantiate(m, self, "quantise_path", "path", enable=enable, **ports)
        return m


def fields(values: Value, fmt: ValueFormat) -> list[Fields]:
    """Fields of several values."""
    return [Fields.of(values.word_select(i, fmt.width), fmt) for i in range(len(values) // fmt.width)]
