"""NVFP4: E2M1 elements, one UE4M3 scale per block of 16."""

from amaranth.hdl import Cat, Module, Value

from golden.formats import E2M1, UE4M3
from rtl.block_decoder import BlockDecoder, canonical_sign


class NVFP4Decode(BlockDecoder):
    """Operands are the E2M1 codes themselves, with -0 made +0. Bit 7 of the scale byte is ignored.

    Source: NVIDIA's NVFP4 recipe. Ports, registers and latency: :class:`rtl.block_decoder.BlockDecoder`.
    """

    operand = E2M1
    scale_format = UE4M3
    scale_code_width = UE4M3.width

    def __init__(self, lanes: int = 16, registered: bool = True):
        super().__init__(lanes, registered)

    def decode_lane(self, m: Module, lane: int, code: Value, scale_code: Value) -> Value:
        return Cat(code[:-1], canonical_sign(code))
