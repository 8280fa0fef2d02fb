"""What all quantisation engines share: ports, registers, and the way of a block through them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.rtl.hierarchy import Parts, Pipeline, Registers, clocked, instantiate
from hwsim.rtl.quantise.floats import Fields, ValueFormat
from hwsim.rtl.quantise.stage import QuantiserStage

SCALE_WIDTH = 8


class QuantiserPath(wiring.Component):
    """The data path of an engine, from values to codes and scale. A subclass says what is between the registers.

    No register has a reset.

    Parameters
    ----------
    fmt : ValueFormat
    block_size, code_width : int
    pipe : Pipeline
    ports : dict
        Further ports.

    Ports
    -----
    clk : in, 1 bit
    enable : in
        Bit i loads the registers that a block passes i cycles after it came: from those at the inputs to the outputs.
    x : in
    codes, scale : out
        See :class:`Engine`.
    """

    stage = QuantiserStage.REST

    def __init__(
        self, fmt: ValueFormat, block_size: int, code_width: int, pipe: Pipeline, ports: dict[str, Any] | None = None
    ):
        super().__init__({
            "clk": In(1),
            "enable": In(2 + pipe.count()),
            "x": In(block_size * fmt.width),
            "codes": Out(block_size * code_width),
            "scale": Out(SCALE_WIDTH),
            **(ports or {}),
        })  # fmt: skip
        self.fmt, self.block_size, self.pipe = fmt, block_size, pipe
        self.parts: Parts = {}

    def results(self, m: Module, registers: Registers, values: Value) -> dict[str, Value]:
        """Outputs by name, in front of the registers at the outputs, from values behind those at the inputs."""
        raise TypeError(f"{type(self).__name__} does not say what its results are")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocked(m, self.clk)
        registers = Registers(m, self.pipe, self.enable)
        for name, value in self.results(m, registers, registers.input(self.x, "x_q")).items():
            m.d.comb += getattr(self, name).eq(registers.output(value, f"{name}_q"))
        return m


class Engine(wiring.Component):
    """Quantise a block of values: fully pipelined, a block a cycle.

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

    def __init__(self, path: QuantiserPath):
        ports: dict[str, Any] = {"valid": In(1)}
        members = path.signature.members.items()
        ports |= {name: m for name, m in members if m.flow is wiring.In and name not in ("clk", "enable")}
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
        ports = {name: getattr(self, name) for name in self.path.signature.members if name not in ("clk", "enable")}
        enable = Cat(self.valid, in_flight[:-1])
        instantiate(m, self, "quantise_path", "path", enable=enable, **ports)
        return m


def fields(values: Value, fmt: ValueFormat) -> list[Fields]:
    """Fields of several values."""
    return [Fields.of(values.word_select(i, fmt.width), fmt) for i in range(len(values) // fmt.width)]
