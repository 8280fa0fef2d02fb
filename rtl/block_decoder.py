"""Base of all block decoders: ports, registers, one lane decoder per element."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import MiniFloat
from hwsim.rtl.hierarchy import registered


class BlockDecoder(wiring.Component):
    """Decode a block, packed element codes and a scale byte, into the operands that the datapath multiplies.

    Registered at inputs and outputs: latency 2 cycles, one block a cycle. ``rst`` clears the output registers, so
    that the datapath behind sees zero operands; the input registers need no reset, because a decoder keeps no state.
    With ``registered=False`` the unit is combinational and has neither ``clk`` nor ``rst``.

    Subclasses name the formats and say what one lane does.

    Parameters
    ----------
    lanes : int
        Elements in a block, at least 1.
    registered : bool
        Whether registers stand at inputs and outputs.

    Ports
    -----
    codes : in, 4 bits a lane
        Element codes, lane 0 in the lowest bits.
    scale_code : in, 8 bits
        The scale byte as stored.
    operands : out, ``operand.width`` bits a lane
        Sign and magnitude, lane 0 in the lowest bits. Zero is +0 only.
    scale : out
        The scale as the datapath reads it, without a sign bit.
    scale_nan : out, 1 bit
        Whether the scale is NaN. ``operands`` and ``scale`` are decoded all the same.
    """

    #: Bits of one stored element code.
    element_width = 4
    #: Low bits of the scale byte that the decoder reads; it ignores the others.
    scale_code_width = 8
    #: Format of one operand.
    operand: MiniFloat
    #: Format of the scale; its magnitude bits are the port ``scale``.
    scale_format: MiniFloat

    def __init__(self, lanes: int, registered: bool = True):
        if not isinstance(lanes, int) or lanes < 1:
            raise ValueError(f"lanes must be a positive integer, got {lanes!r}")
        if not isinstance(registered, bool | int) or registered not in (0, 1):
            raise ValueError(f"registered must be 0 or 1, got {registered!r}")
        super().__init__({
            "codes": In(lanes * self.element_width),
            "scale_code": In(8),
            "operands": Out(lanes * self.operand.width),
            "scale": Out(self.scale_format.magnitude_width),
            "scale_nan": Out(1),
        })  # fmt: skip
        self.lanes = lanes
        self.registered = bool(registered)

    @property
    def latency(self) -> int:
        """Cycles from inputs to outputs."""
        return 2 if self.registered else 0

    def decode_lane(self, m: Module, lane: int, code: Value, scale_code: Value) -> Value:
        """Operand of element ``code`` in a block with ``scale_code``; ``lane`` is for the names of signals."""
        raise TypeError(f"{type(self).__name__} does not say how a lane decodes")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        codes, scale_code = self.codes, self.scale_code[: self.scale_code_width]
        if self.scale_code_width < 8:
            unused = Signal(8 - self.scale_code_width, name="unused_scale_code")
            m.d.comb += unused.eq(self.scale_code[self.scale_code_width :])
        if self.registered:
            codes = registered(m, codes, "codes_q")
            scale_code = registered(m, scale_code, "scale_code_q")
        result = m.d.sync if self.registered else m.d.comb
        for lane in range(self.lanes):
            code = codes.word_select(lane, self.element_width)
            operand = self.decode_lane(m, lane, code, scale_code)
            result += self.operands.word_select(lane, self.operand.width).eq(operand)
        scale = scale_code[: self.scale_format.magnitude_width]
        result += [
            self.scale.eq(scale),
            self.scale_nan.eq(scale == self.scale_format.nan_code),
        ]
        return m


def canonical_sign(code: Value) -> Value:
    """Sign bit of a sign-magnitude ``code``, 0 for -0."""
    return code[-1] & code[:-1].any()
