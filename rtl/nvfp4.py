"""NVFP4: E2M1 elements, one UE4M3 scale per block of 16. Decoder, MMA tile, and quantisers of NVFP4 and 4/6."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Value

from hwsim.golden.formats import E2M1, UE4M3
from hwsim.rtl.arith import Arithmetic
from hwsim.rtl.block_decoder import BlockDecoder, canonical_sign
from hwsim.rtl.quantise.choice import ChoosingPath
from hwsim.rtl.quantise.engine import Engine
from hwsim.rtl.quantise.floats import checked_input
from hwsim.rtl.quantise.table_scale import TablePath, checked_tensor_scale
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


class TensorEngine(Engine):
    """A block of values a cycle, fully pipelined, for tensors with a scale of their own.

    Everything that tells the engine of a tensor is held while blocks of it are in flight: it changes only when
    ``valid`` has been low for the latency. Registers: :class:`hwsim.rtl.quantise.engine.Engine`.

    Ports
    -----
    valid : in, 1 bit
        There is a block at ``x``.
    x : in
        The block's values, element 0 in the lowest bits.
    out_valid : out, 1 bit
        There is a result at the outputs.
    codes : out
        Element codes, element 0 in the lowest bits.
    scale : out, 8 bits
        Scale byte as it is stored.
    block_max : out
        Bits of the block's largest magnitude: what a running maximum of the tensor needs.
    live : in, 1 bit
        0 for a tensor of zeros.
    tensor_scale : in, 8 bits; only with tensor_scale=pow2
        The tensor scale as an E8M0 byte; the tensor's largest magnitude counts as full_scale times it.
    element_base, element_fractions, element_carries : in; these and all below only with tensor_scale=table
        Thresholds of E2M1: see hwsim.rtl.quantise.tables, which makes them.
    e1m2_fractions, e1m2_carries : in
        Thresholds of E1M2.
    scale_fractions, scale_offset, scale_thresholds : in
        Thresholds of the scale.
    small_scale_fractions, small_scale_offset, small_scale_thresholds : in
        Thresholds of the smaller scale.
    large_scale_fractions, large_scale_offset, large_scale_thresholds : in
        Thresholds of the larger scale.
    choice_factor : in
        Significand of the tensor's largest magnitude.

    Parameters
    ----------
    tensor_scale : str
        ``table`` for tensor scales of any value, whose thresholds come through ports; ``pow2`` for powers of two,
        whose thresholds are constants.
    amax : str
        Format that holds the largest magnitudes of tensors: ``bf16`` or ``fp32``. With ``pow2`` it has no effect.
    """


class NVFP4Quantize(TensorEngine):
    """NVFP4: blocks of 16 values become E2M1 codes and a UE4M3 scale byte.

    Equal to ``golden.quantize`` of the block for ``nvfp4`` with the tensor's ``amax``. Where a value is infinite or
    NaN, the scale is NaN and all codes are 0. Ports: :class:`TensorEngine`.

    Source: NVIDIA's NVFP4 recipe.

    Parameters
    ----------
    input : str
        Format of the values: ``bf16`` or ``fp32``.
    pipeline : str
        Places of registers beyond those at inputs and outputs, separated by ``+``: ``maximum`` behind the block's
        largest magnitude, ``scale`` behind its scale, ``row`` behind the scale's thresholds; or ``none``.
    """

    def __init__(self, tensor_scale: str = "table", input: str = "bf16", pipeline: str = "maximum+scale"):
        super().__init__(TablePath(checked_input(input), 16, checked_tensor_scale(tensor_scale), pipeline))


class FourOverSixQuantize(TensorEngine):
    """Four Over Six: blocks of 16 BF16 values become E2M1 codes and a UE4M3 scale byte: the largest goes to 6 or 4.

    Equal to ``golden.quantize`` of the block for ``four_over_six`` with ``measure="exact"`` and the tensor's ``amax``:
    the smaller squared error decides, 6 where they are equal. Where a value is infinite or NaN, the scale is NaN and
    all codes are 0. Ports: :class:`TensorEngine`.

    Source: arXiv 2512.02010.

    Parameters
    ----------
    pipeline : str
        Places of registers beyond those at inputs and outputs, separated by ``+``: ``maximum`` behind the block's
        largest magnitude, ``scale`` behind scales, ``row`` behind their thresholds, ``lanes`` behind codes,
        ``products`` behind sums over the block, ``sums`` in front of the decision; or ``none``.
    arithmetic : str
        ``structured`` or ``operators``: how sums are described.
    """

    def __init__(
        self, tensor_scale: str = "table", amax: str = "bf16", pipeline: str = "maximum+scale+lanes+products+sums",
        arithmetic: str = "structured",
    ):  # fmt: skip
        constant = checked_tensor_scale(tensor_scale)
        super().__init__(ChoosingPath(
            "four_over_six", 16, constant, checked_input(amax, "amax"), 0, pipeline, Arithmetic.of(arithmetic)
        ))  # fmt: skip
