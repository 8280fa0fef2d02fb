"""MixFP4: E2M1 or E1M2 elements, the choice in the sign bit of the block's E4M3 scale.

Decoder, MMA tile and quantiser.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value

from hwsim.golden.formats import E2M2, UE4M3
from hwsim.rtl.arith import Arithmetic
from hwsim.rtl.block_decoder import BlockDecoder, canonical_sign
from hwsim.rtl.hierarchy import COMMENT
from hwsim.rtl.nvfp4 import TensorEngine
from hwsim.rtl.quantise.choice import ChoosingPath
from hwsim.rtl.quantise.floats import checked_input
from hwsim.rtl.quantise.table_scale import checked_tensor_scale
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


class MixFP4Quantize(TensorEngine):
    """MixFP4: blocks of 16 BF16 values become E2M1 or E1M2 codes and a UE4M3 scale byte with the choice on top.

    Equal to ``golden.quantize`` of the block for ``mixfp4`` with ``measure="exact"`` and the tensor's ``amax``: the
    smaller squared error decides, E1M2 where they are equal. Where a value is infinite or NaN, the scale is NaN and all
    codes are 0. Ports: :class:`hwsim.rtl.nvfp4.TensorEngine`.

    Source: MixFP4, arXiv 2605.31035, Algorithm 1.

    Parameters
    ----------
    polarity : int
        Value of the scale's sign bit that means E2M1.
    pipeline : str
        Places of registers beyond those at inputs and outputs, separated by ``+``: ``maximum`` behind the block's
        largest magnitude, ``scale`` behind scales, ``row`` behind their thresholds, ``lanes`` behind codes,
        ``products`` behind sums over the block, ``sums`` in front of the decision; or ``none``.
    arithmetic : str
        ``structured`` or ``operators``: how sums are described.
    """

    def __init__(
        self, tensor_scale: str = "table", polarity: int = 0, amax: str = "bf16",
        pipeline: str = "maximum+scale+lanes+products+sums", arithmetic: str = "structured",
    ):  # fmt: skip
        if polarity not in (0, 1):
            raise ValueError(f"polarity must be 0 or 1, got {polarity!r}")
        constant = checked_tensor_scale(tensor_scale)
        super().__init__(ChoosingPath(
            "mixfp4", 16, constant, checked_input(amax, "amax"), int(polarity), pipeline, Arithmetic.of(arithmetic)
        ))  # fmt: skip
