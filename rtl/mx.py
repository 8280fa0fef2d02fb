"""OCP MX: decoder of MXFP4, quantisers, MMA tiles of MXFP4, MXFP6 and MXFP8."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Value

from hwsim.golden import oas
from hwsim.golden.formats import E2M1, E2M3, E3M2, E4M3, E5M2, E8M0
from hwsim.rtl.block_decoder import BlockDecoder, canonical_sign
from hwsim.rtl.quantise.elements import ElementPath, chosen_elements
from hwsim.rtl.quantise.engine import Engine
from hwsim.rtl.quantise.floats import checked_input
from hwsim.rtl.quantise.power_of_two import CARRIES, E2M1Path
from hwsim.rtl.tile.blocks import BlockMMA
from hwsim.rtl.tile.elements import ElementMMA
from hwsim.rtl.tile.mixed import MixedMMA
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


class MXMMA(MixedMMA):
    """OCP MX: every instruction with its own pair of formats. Two of E2M1 have K = 64, all others K = 32.

    D is that of the single formats' tiles with the same accumulation step. Ports and the other parameters:
    :class:`MixedMMA`.

    Source: OCP Microscaling Formats (MX) v1.0; MicroMix, arXiv 2508.02343, multiplies in three of the formats.

    Parameters
    ----------
    formats : str
        Element formats, separated by ``+``: e2m1, e2m3, e3m2, e4m3, e5m2. What is left out costs nothing.
    """

    def __init__(
        self, formats: str = "e2m1+e2m3+e3m2+e4m3+e5m2", m: int = 8, n: int = 8,
        fraction_bits: int = 25, result_bits: int = 23, rounding: str = "rz",
        pipeline: str = "exponent+term+align+sum+magnitude",
        arithmetic: str = "structured", buffers: int = 0,
    ):  # fmt: skip
        super().__init__(
            chosen_elements(formats), m, n, fraction_bits, result_bits, rounding, pipeline, arithmetic, buffers
        )


class MXFP4Quantize(Engine):
    """OCP MXFP4 (and OAS): blocks of BF16 or FP32 values become E2M1 codes and an E8M0 scale byte.

    Equal to ``golden.quantize`` of the block, for ``mxfp4`` or, with ``scale_rule`` ``oas``, ``mxfp4_oas``. Where a
    value is infinite or NaN, the scale is NaN and all codes are 0. Ports and registers:
    :class:`hwsim.rtl.quantise.engine.Engine`.

    Sources: OCP Microscaling Formats (MX) v1.0, section 6.3; OAS, arXiv 2603.08713.

    Parameters
    ----------
    block_size : int
        Values of a block: 16 or 32.
    scale_rule : str
        How the scale is made from the largest magnitude: ``floor``, ``ceil``, ``even``, ``rceil`` or ``oas``.
    input : str
        Format of the values: ``bf16`` or ``fp32``.
    subnormals : int
        1 if subnormal values count, 0 to take them for zeros of their sign.
    pipeline : str
        Places of registers beyond those at inputs and outputs: ``maximum`` or ``none``.
    """

    def __init__(
        self, block_size: int = 32, scale_rule: str = "floor", input: str = "bf16", subnormals: int = 0,
        pipeline: str = "maximum",
    ):  # fmt: skip
        if block_size not in (16, 32):
            raise ValueError(f"block_size must be 16 or 32, got {block_size!r}")
        if scale_rule not in CARRIES:
            raise ValueError(f"scale_rule must be one of {', '.join(CARRIES)}, got {scale_rule!r}")
        if subnormals not in (0, 1):
            raise ValueError(f"subnormals must be 0 or 1, got {subnormals!r}")
        path = E2M1Path(
            checked_input(input), block_size, scale_rule, oas.ZERO_SCALE if scale_rule == "oas" else 0,
            bool(subnormals), pipeline,
        )  # fmt: skip
        super().__init__(path)


class MXQuantize(Engine):
    """OCP MX: blocks of BF16 or FP32 values become codes of a float format and an E8M0 scale byte.

    Equal to ``golden.quantize`` of the block, subnormal values taken for zeros of their sign, for ``mxfp4``,
    ``mxfp6_e2m3``, ``mxfp6_e3m2``, ``mxfp8_e4m3`` or ``mxfp8_e5m2``, by the format that comes with the block: the
    segments of MicroMix, whose permutation is a matter of addresses. Where a value is infinite or NaN, the scale is NaN
    and all codes are 0. Registers: :class:`hwsim.rtl.quantise.engine.Engine`.

    Sources: OCP Microscaling Formats (MX) v1.0, section 6.3; MicroMix, arXiv 2508.02343.

    Ports
    -----
    valid : in, 1 bit
        There is a block at ``x``.
    x : in
        The block's values, element 0 in the lowest bits.
    element : in; only with several formats
        Which of the formats the block takes, 0 for the first that ``formats`` lists.
    out_valid : out, 1 bit
        There is a result at the outputs.
    codes : out
        Element codes, element 0 in the lowest bits; each as wide as those of the widest format, in the lowest bits.
    scale : out, 8 bits
        Scale byte as it is stored.

    Parameters
    ----------
    formats : str
        Element formats, separated by ``+``: e2m1, e2m3, e3m2, e4m3, e5m2. What is left out costs nothing.
    block_size : int
        Values of a block: 16 or 32.
    scale_rule : str
        How the scale is made from the largest magnitude: ``floor``, ``ceil``, ``even`` or ``rceil``.
    input : str
        Format of the values: ``bf16`` or ``fp32``.
    pipeline : str
        Places of registers beyond those at inputs and outputs: ``maximum`` or ``none``.
    """

    def __init__(
        self, formats: str = "e2m1+e2m3+e3m2+e4m3+e5m2", block_size: int = 32, scale_rule: str = "rceil",
        input: str = "bf16", pipeline: str = "maximum",
    ):  # fmt: skip
        if block_size not in (16, 32):
            raise ValueError(f"block_size must be 16 or 32, got {block_size!r}")
        rules = [rule for rule in CARRIES if rule != "oas"]
        if scale_rule not in rules:
            raise ValueError(f"scale_rule must be one of {', '.join(rules)}, got {scale_rule!r}")
        super().__init__(ElementPath(checked_input(input), chosen_elements(formats), block_size, scale_rule, pipeline))
