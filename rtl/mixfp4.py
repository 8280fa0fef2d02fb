"""MixFP4: E2M1 or E1M2 elements, the choice in the sign bit of the block's E4M3 scale. Decoder and MMA tile."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value

from hwsim.golden.formats import E2M2, UE4M3
from hwsim.rtl.block_decoder import BlockDecoder, canonical_sign
from hwsim.rtl.hierarchy import COMMENT
from hwsim.rtl.tile.blocks import BlockMMA
from hwsim.rtl.tile.operands import MIXFP4


class MixFP4Decode(BlockDecoder):
    """Decode a MixFP4 block: E2M1 or E1M2 elements become E2M2 operands.

    Source: MixFP4, arXiv 2605.31035. Ports, registers and latency: :class:`hwsim.rtl.block_decoder.BlockDecoder`.

    Parameters
    ----------
    polarity : int
        Value of the scale's sign bit that means E2M1. The paper leaves it open; 0 makes every NVFP4 tensor a
        MixFP4 tensor.
    """

    operand = E2M2
    scale_format = UE4M3

    def __init__(self, lanes: int = 16, registered: bool = True, polarity: int = 0):
        if polarity not in (0, 1):
            raise ValueError(f"polarity must be 0 or 1, got {polarity!r}")
        super().__init__(lanes, registered)
        self.polarity = int(polarity)

    def decode_lane(self, m: Module, lane: int, code: Value, scale_code: Value) -> Value:
        is_e1m2 = scale_code[7] ^ self.polarity
        c0, c1, c2 = code[0], code[1], code[2]
        # An E1M2 code is an integer: its leading one sets the E2M2 exponent, the bits below it the fraction.
        integer = Cat(c2 & c0, c1 & (c2 | c0), c2 | (~c1 & c0), c2 | c1)
        # E2M1 has E2M2's bias: a code gains a zero below its fraction; 0.5 becomes the E2M2 subnormal 0b10.
        minifloat = Cat(0, c0, c1, c2)
        attributes = {COMMENT: "E2M2 code without its sign"}
        magnitude = Signal(self.operand.magnitude_width, name=f"magnitude_{lane}", attrs=attributes)
        with m.If(is_e1m2):
            m.d.comb += magnitude.eq(integer)
        with m.Else():
            m.d.comb += magnitude.eq(minifloat)
        return Cat(magnitude, canonical_sign(code))


class MixFP4MMA(BlockMMA):
    """MixFP4: E2M1 or E1M2 per block. Parameters and ports: :class:`BlockMMA`."""

    def __init__(
        self, k: int = 64, m: int = 8, n: int = 8, block_size: int = 16, polarity: int = 0,
        fraction_bits: int = 35, result_bits: int = 23, rounding: str = "rz", pipeline: str = "block+term+align+sum",
        arithmetic: str = "structured", buffers: int = 0,
    ):  # fmt: skip
        super().__init__(
            MIXFP4, k, m, n, block_size, fraction_bits, result_bits, rounding, pipeline, arithmetic, buffers, polarity
        )
