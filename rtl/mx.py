"""OCP MX: decoder of MXFP4, MMA tiles of MXFP4, MXFP6 and MXFP8."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Value

from hwsim.golden.formats import E2M1, E2M3, E3M2, E4M3, E5M2, E8M0
from hwsim.rtl.block_decoder import BlockDecoder, canonical_sign
from hwsim.rtl.tile.blocks import BlockMMA
from hwsim.rtl.tile.elements import ElementMMA
from hwsim.rtl.tile.operands import MXFP4


class MXFP4Decode(BlockDecoder):
    """Decode an MXFP4 block: operands are the E2M1 codes, with -0 made +0; the scale is the whole byte.

    Source: OCP Microscaling Formats (MX) v1.0. Ports, registers and latency:
    :class:`hwsim.rtl.block_decoder.BlockDecoder`.
    """

    operand = E2M1
    scale_format = E8M0

    def __init__(self, lanes: int = 32, registered: bool = True):
        super().__init__(lanes, registered)

    def decode_lane(self, m: Module, lane: int, code: Value, scale_code: Value) -> Value:
        return Cat(code[:-1], canonical_sign(code))


class MXFP4MMA(BlockMMA):
    """OCP MXFP4, and OAS with blocks of 16: E2M1, E8M0 scales. Parameters and ports: :class:`BlockMMA`."""

    def __init__(
        self, k: int = 64, m: int = 8, n: int = 8, block_size: int = 32,
        fraction_bits: int = 35, result_bits: int = 23, rounding: str = "rz",
        pipeline: str = "block+term+align+sum+magnitude",
        arithmetic: str = "structured", buffers: int = 0,
    ):  # fmt: skip
        super().__init__(
            MXFP4, k, m, n, block_size, fraction_bits, result_bits, rounding, pipeline, arithmetic, buffers
        )


class MXFP6MMA(ElementMMA):
    """OCP MXFP6: E2M3 or E3M2, E8M0 scales. Parameters and ports: :class:`ElementMMA`."""

    def __init__(
        self, element: str = "e2m3", k: int = 32, m: int = 8, n: int = 8,
        fraction_bits: int = 25, result_bits: int = 23, rounding: str = "rz",
        pipeline: str = "exponent+term+align+sum+magnitude",
        arithmetic: str = "structured", buffers: int = 0,
    ):  # fmt: skip
        super().__init__(
            (E2M3, E3M2), element, True, k, m, n, fraction_bits, result_bits, rounding, pipeline, arithmetic,
            buffers,
        )  # fmt: skip


class MXFP8MMA(ElementMMA):
    """OCP MXFP8: E4M3 or E5M2, E8M0 scales. Parameters and ports: :class:`ElementMMA`."""

    def __init__(
        self, element: str = "e4m3", k: int = 32, m: int = 8, n: int = 8,
        fraction_bits: int = 25, result_bits: int = 23, rounding: str = "rz",
        pipeline: str = "exponent+term+align+sum+magnitude",
        arithmetic: str = "structured", buffers: int = 0,
    ):  # fmt: skip
        super().__init__(
            (E4M3, E5M2), element, True, k, m, n, fraction_bits, result_bits, rounding, pipeline, arithmetic,
            buffers,
        )  # fmt: skip
