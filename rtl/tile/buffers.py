"""What a tensor core holds beside its tile: buffers of operands, accumulators, buffers of results."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.rtl.arith import select
from hwsim.rtl.hierarchy import clocked, registered
from hwsim.rtl.tile.align import FP32_WIDTH
from hwsim.rtl.tile.stage import Stage

#: Bits of the number of an accumulator, and accumulators of every element of D: a power of two, about as many as there
#: are instructions in flight, so that independent sums keep the tile busy.
ACCUMULATOR_WIDTH = 3
ACCUMULATORS = 1 << ACCUMULATOR_WIDTH


class OperandBuffer(wiring.Component):
    """Two entries for one row of an operand, as it is stored: one is written while the other is in use.

    Parameters
    ----------
    width : int
        Bits of the codes, scales and metadata of a row.

    Ports
    -----
    clk : in, 1 bit
    write : in, 2 bits
        Which entry to load.
    entry : in, 1 bit
        Which entry is in use.
    data : in
    held : out
        What the entry in use holds.
    """

    stage = Stage.BUFFERS

    def __init__(self, width: int):
        super().__init__({"clk": In(1), "write": In(2), "entry": In(1), "data": In(width), "held": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocked(m, self.clk)
        low, high = (registered(m, self.data, f"entry_{i}", self.write[i]) for i in range(2))
        m.d.comb += self.held.eq(Mux(self.entry, high, low))
        return m


class Accumulators(wiring.Component):
    """The accumulators of one element of D, with the buffers in front of and behind them.

    Ports
    -----
    clk : in, 1 bit
    load : in, 1 bit
        Loads ``c`` into its buffer.
    c : in, 32 bits
        FP32 from outside.
    accumulate : in, 1 bit
        Whether an accumulator is the addend, or what the buffer of ``c`` holds.
    entry : in, 3 bits
        Which accumulator is the addend.
    addend : out, 32 bits
    write : in, 8 bits
        Which accumulator takes the result.
    finish : in, 1 bit
        Loads the buffer of the result.
    result : in, 32 bits
        FP32 from the dot unit.
    d : out, 32 bits
        The buffered result.
    """

    stage = Stage.BUFFERS

    def __init__(self) -> None:
        super().__init__({
            "clk": In(1), "load": In(1), "c": In(FP32_WIDTH), "accumulate": In(1), "entry": In(ACCUMULATOR_WIDTH),
            "addend": Out(FP32_WIDTH), "write": In(ACCUMULATORS), "finish": In(1), "result": In(FP32_WIDTH),
            "d": Out(FP32_WIDTH),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocked(m, self.clk)
        c = registered(m, self.c, "c_held", self.load)
        entries = [registered(m, self.result, f"accumulator_{i}", self.write[i]) for i in range(ACCUMULATORS)]
        held = Signal(FP32_WIDTH, name="accumulator_read")
        m.d.comb += held.eq(select(entries, self.entry))
        m.d.comb += self.addend.eq(Mux(self.accumulate, held, c))
        m.d.comb += self.d.eq(registered(m, self.result, "d_held", self.finish))
        return m
