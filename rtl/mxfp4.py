"""OCP MXFP4: E2M1 elements, one E8M0 scale per block of 32."""

from amaranth.hdl import Cat, Module, Value

from golden.formats import E2M1, E8M0
from rtl.block_decoder import BlockDecoder, canonical_sign


class MXFP4Decode(BlockDecoder):
    """Operands are the E2M1 codes themselves, with -0 made +0; the scale is the whole byte.

    Source: OCP Microscaling Formats (MX) v1.0. Ports, registers and latency:
    :class:`rtl.block_decoder.BlockDecoder`.
    """

    operand = E2M1
    scale_format = E8M0

    def __init__(self, lanes: int = 32, registered: bool = True):
        super().__init__(lanes, registered)

    def decode_lane(self, m: Module, lane: int, code: Value, scale_code: Value) -> Value:
        return Cat(code[:-1], canonical_sign(code))
