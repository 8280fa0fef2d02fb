"""What stands around quantisation engines: FP32 to BF16 in front of them, and the largest magnitude of a tensor."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import BF16
from hwsim.rtl.arith import maximum, sized
from hwsim.rtl.hierarchy import Pipeline, Registers, instantiate
from hwsim.rtl.quantise.engine import Engine, Path
from hwsim.rtl.quantise.floats import INPUTS, checked_input
from hwsim.rtl.quantise.stage import QuantiserStage

_NARROW, _WIDE = INPUTS["bf16"], INPUTS["fp32"]
_CUT = _WIDE.fraction_width - _NARROW.fraction_width


class Rounder(wiring.Component):
    """An FP32 value rounded to BF16, to nearest, ties to even.

    Combinational.

    Ports
    -----
    x : in, 32 bits
    y : out, 16 bits
    """

    stage = QuantiserStage.LANES

    def __init__(self) -> None:
        super().__init__({"x": In(_WIDE.width), "y": Out(_NARROW.width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kept, cut = self.x[_CUT : _WIDE.magnitude_width], self.x[:_CUT]
        exponent = self.x[_WIDE.fraction_width : _WIDE.magnitude_width]
        nan = sized(m, exponent.all() & self.x[: _WIDE.fraction_width].any(), 1, "nan")
        up = sized(m, cut[-1] & (cut[:-1].any() | kept[0]), 1, "up", "Rounds up; a carry may make it infinite")
        magnitude = sized(m, kept + up, _NARROW.magnitude_width, "magnitude")
        m.d.comb += self.y.eq(Cat(Mux(nan, BF16.nan_code, magnitude), self.x[-1]))
        return m


class RoundPath(Path):
    """FP32 values to BF16.

    Parameters
    ----------
    lanes : int

    Ports
    -----
    clk, enable : in
        See :class:`hwsim.rtl.quantise.engine.Path`.
    x, y : in, out
    """

    def __init__(self, lanes: int):
        super().__init__(Pipeline((), "none"), {"x": In(lanes * _WIDE.width), "y": Out(lanes * _NARROW.width)})
        self.lanes = lanes
        self.parts = {"quantise_rounder": Rounder()}

    def results(self, m: Module, registers: Registers, inputs: dict[str, Value]) -> dict[str, Value]:
        rounded = []
        for i in range(self.lanes):
            rounded.append(Signal(_NARROW.width, name=f"y_{i}"))
            x = inputs["x"].word_select(i, _WIDE.width)
            instantiate(m, self, "quantise_rounder", f"lane_{i}", x=x, y=rounded[-1])
        return {"y": Cat(*rounded)}


class FP32ToBF16(Engine):
    """Round FP32 values to BF16: to nearest, ties to even; too large becomes infinite, NaN a quiet NaN of its sign.

    Quantising what comes out is another function than quantising FP32: ``golden.quantize`` of the rounded values.
    Registers: :class:`hwsim.rtl.quantise.engine.Engine`.

    Ports
    -----
    valid : in, 1 bit
        There are values at ``x``.
    x : in
        FP32 values, the first in the lowest bits.
    out_valid : out, 1 bit
        There are results at ``y``.
    y : out
        BF16 values.

    Parameters
    ----------
    lanes : int
        Values a cycle.
    """

    def __init__(self, lanes: int = 32):
        if not 1 <= lanes <= 1024:
            raise ValueError(f"lanes must be 1 to 1024, got {lanes!r}")
        super().__init__(RoundPath(lanes))


class TensorMax(wiring.Component):
    """The largest magnitude of a tensor, from the largest of its blocks, ``block_max`` of an engine.

    What comes out one cycle after a block is the maximum of all blocks since the last with ``first``, or the last
    reset; infinities and NaN count by their bits.

    Ports
    -----
    valid : in, 1 bit
        There is a block.
    first : in, 1 bit
        The block is the first of a tensor.
    block_max : in
        Bits of the block's largest magnitude.
    out_valid : out, 1 bit
        There was a block.
    largest : out
        Bits of the tensor's largest magnitude so far; held without blocks.

    Parameters
    ----------
    input : str
        Format of the values: ``bf16`` or ``fp32``.
    """

    latency = 1

    def __init__(self, input: str = "bf16"):
        self.fmt = checked_input(input)
        width = self.fmt.magnitude_width
        super().__init__({
            "valid": In(1), "first": In(1), "block_max": In(width), "out_valid": Out(1), "largest": Out(width),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        before = sized(m, Mux(self.first, Const(0, len(self.largest)), self.largest), len(self.largest), "before")
        m.d.sync += self.out_valid.eq(self.valid)
        with m.If(self.valid):
            m.d.sync += self.largest.eq(maximum(m, [before, self.block_max], "larger"))
        return m
