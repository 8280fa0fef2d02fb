"""MBS: MXFP4 whose macro-blocks of 128 are multiplied by a factor first. Quantiser."""

from __future__ import annotations

from hwsim.rtl.quantise.engine import Engine
from hwsim.rtl.quantise.macro_block import FactorPath


class MBSQuantize(Engine):
    """MBS, static: blocks of 16 BF16 values become E2M1 codes, an E8M0 scale byte and the factor of the macro-block.

    Equal to ``golden.quantize`` of the macro-block for ``mxfp4_mbs_static``, subnormal values taken for zeros of their
    sign. A macro-block is eight blocks; its largest magnitude comes with each of them, from a first pass over the data.
    Where a value of the block, or that magnitude, is infinite or NaN, the scale is NaN, and codes and factor are 0.
    Registers: :class:`hwsim.rtl.quantise.engine.Engine`.

    Source: arXiv 2603.08713.

    Ports
    -----
    valid : in, 1 bit
        There is a block at ``x``.
    x : in
        The block's values, element 0 in the lowest bits.
    macro_max : in, 15 bits
        Magnitude bits of the largest element of the block's macro-block, at least those of the block.
    out_valid : out, 1 bit
        There is a result at the outputs.
    codes : out
        Element codes, element 0 in the lowest bits.
    scale : out, 8 bits
        Scale byte as it is stored.
    factor : out, 8 bits
        Decoded values are divided by 1 + factor / 256.
    block_max : out, 15 bits
        Bits of the block's largest magnitude.

    Parameters
    ----------
    pipeline : str
        Places of registers beyond those at inputs and outputs, separated by ``+``: ``maximum`` behind the block's
        largest magnitude, ``scale`` behind its scale; or ``none``.
    """

    def __init__(self, pipeline: str = "maximum"):
        super().__init__(FactorPath(pipeline))
