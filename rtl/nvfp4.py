"""NVFP4: E2M1 elements, one UE4M3 scale per block of 16. Decoder and MMA tile."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Value

from hwsim.golden.formats import E2M1, UE4M3
from hwsim.rtl.block_decoder import BlockDecoder, canonical_sign
from hwsim.rtl.tile.blocks import BlockMMA
from hwsim.rtl.tile.operands import NVFP4


class NVFP4Decode(BlockDecoder):
    """Decode an NVFP4 block: operands are the E2M1 codes, with -0 made +0. Bit 7 of the scale byte is ignored.

    Source: NVIDIA's NVFP4 recipe. Ports, registers and latency: :class:`hwsim.rtl.block_decoder.BlockDecoder`.
    """

    operand = E2M1
    scale_format = UE4M3
    scale_code_width = UE4M3.width

    def __init__(self, lanes: int = 16, registered: bool = True):
        super().__init__(lanes, registered)

    def decode_lane(self, m: Module, lane: int, code: Value, scale_code: Value) -> Value:
        return Cat(code[:-1], canonical_sign(code))


class NVFP4MMA(BlockMMA):
    """NVFP4 (and Four Over Six): E2M1, UE4M3 scales. Parameters and ports: :class:`BlockMMA`."""

    def __init__(
        self, k: int = 64, m: int = 8, n: int = 8, block_size: int = 16,
        fraction_bits: int = 35, result_bits: int = 23, rounding: str = "rz", pipeline: str = "block+term+align+sum",
        arithmetic: str = "structured", buffers: int = 0,
    ):  # fmt: skip
        super().__init__(
            NVFP4, k, m, n, block_size, fraction_bits, result_bits, rounding, pipeline, arithmetic, buffers
        )
