"""M2XFP: MXFP4 with two bits of metadata a subgroup. Decoder of activations and MMA tile."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import E2M3, E8M0
from hwsim.rtl.arith import sized
from hwsim.rtl.hierarchy import registered
from hwsim.rtl.quantise.elem_em import ElemEMPath
from hwsim.rtl.quantise.engine import Engine
from hwsim.rtl.quantise.floats import checked_input
from hwsim.rtl.tile.blocks import BlockMMA
from hwsim.rtl.tile.operands import M2XFP
from hwsim.rtl.tile.refinement import BLOCK, ELEMENTS, FINE_WIDTH, METADATA_WIDTH, SUBGROUPS, top1


class M2XFPDecode(wiring.Component):
    """Decode a block of M2XFP activations, E2M1 codes with metadata, into operands in eighths.

    The magnitude of the largest element of each subgroup of 8 (the first among equals, whatever the signs) becomes that
    of the E2M3 code ``4 * code + metadata - 1``, at least 0; the others keep their values. Registered at inputs and
    outputs: latency 2 cycles, one block a cycle. ``rst`` clears the output registers.

    Source: M2XFP, arXiv 2601.19213, Algorithm 1.

    Parameters
    ----------
    registered : bool
        Without registers the unit is combinational and has neither ``clk`` nor ``rst``.

    Ports
    -----
    codes : in, 128 bits
        E2M1 codes, element 0 in the lowest bits.
    scale_code : in, 8 bits
        E8M0 scale.
    metadata_code : in, 8 bits
        Two bits a subgroup, subgroup 0 in the lowest.
    operands : out, 7 bits an element
        Sign and magnitude; zero is +0 only.
    scale : out, 8 bits
        The E8M0 scale.
    scale_nan : out, 1 bit
        Whether the scale is NaN.
    """

    def __init__(self, registered: bool = True):
        if not isinstance(registered, bool | int) or registered not in (0, 1):
            raise ValueError(f"registered must be 0 or 1, got {registered!r}")
        super().__init__({
            "codes": In(BLOCK * 4),
            "scale_code": In(8),
            "metadata_code": In(SUBGROUPS * METADATA_WIDTH),
            "operands": Out(BLOCK * FINE_WIDTH),
            "scale": Out(8),
            "scale_nan": Out(1),
        })  # fmt: skip
        self.registered = bool(registered)

    @property
    def latency(self) -> int:
        """Cycles from inputs to outputs."""
        return 2 if self.registered else 0

    def elaborate(self, platform: object) -> Module:
        m = Module()
        codes, scale, metadata = self.codes, self.scale_code, self.metadata_code
        if self.registered:
            codes = registered(m, codes, "codes_q")
            scale = registered(m, scale, "scale_code_q")
            metadata = registered(m, metadata, "metadata_q")
        result = m.d.sync if self.registered else m.d.comb
        for group in range(SUBGROUPS):
            elements = [codes.word_select(group * ELEMENTS + i, 4) for i in range(ELEMENTS)]
            code, places = top1(m, [c[:-1] for c in elements], f"group_{group}")
            fine = self._fine(m, code, metadata.word_select(group, METADATA_WIDTH), group)
            for i, element in enumerate(elements):
                value = Mux(places[i], fine, _eighths(Cat(0, 0, element[:-1])))
                lane = group * ELEMENTS + i
                magnitude = sized(
                    m,
                    value,
                    FINE_WIDTH - 1,
                    f"magnitude_{lane}",
                    "In eighths; the largest of a subgroup as its metadata refine it",
                )
                result += self.operands.word_select(lane, FINE_WIDTH).eq(Cat(magnitude, element[-1] & magnitude.any()))
        result += [self.scale.eq(scale), self.scale_nan.eq(scale == E8M0.nan_code)]
        return m

    @staticmethod
    def _fine(m: Module, code: Value, metadata: Value, group: int) -> Signal:
        """Refined magnitude, in eighths, of a subgroup's largest element with magnitude code ``code``."""
        appended = Cat(metadata, code)
        biased = sized(m, Mux(appended.any(), appended - 1, 0), len(appended), f"fine_code_{group}")
        return sized(m, _eighths(biased), FINE_WIDTH - 1, f"fine_{group}")


def _eighths(code: Value) -> Value:
    """Value of an E2M3 magnitude code as an integer, in eighths."""
    fraction, exponent = code[: E2M3.fraction_width], code[E2M3.fraction_width :]
    return Mux(
        exponent[1],
        Mux(exponent[0], Cat(0, 0, fraction, 1), Cat(0, fraction, 1)),
        Cat(fraction, exponent[0]),
    )


class M2XFPMMA(BlockMMA):
    """M2XFP: A are activations (Elem-EM), B weights (Sg-EM). Parameters and ports: :class:`BlockMMA`."""

    def __init__(
        self, k: int = 64, m: int = 8, n: int = 8,
        fraction_bits: int = 35, result_bits: int = 23, rounding: str = "rz",
        pipeline: str = "group+block+term+align+sum+magnitude",
        arithmetic: str = "structured", buffers: int = 0,
    ):  # fmt: skip
        super().__init__(M2XFP, k, m, n, 32, fraction_bits, result_bits, rounding, pipeline, arithmetic, buffers)


class M2XFPQuantize(Engine):
    """M2XFP's Elem-EM, for activations: blocks of 32 values become E2M1 codes, an E8M0 scale byte and metadata.

    Equal to ``golden.quantize`` of the block for ``m2xfp_elem_em``. Where a value is infinite or NaN, the scale is NaN,
    and codes and metadata are 0. Registers: :class:`hwsim.rtl.quantise.engine.Engine`.

    Source: M2XFP, arXiv 2601.19213, Algorithm 1.

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
    metadata_code : out, 8 bits
        Two bits for every subgroup of 8, the first in the lowest.

    Parameters
    ----------
    input : str
        Format of the values: ``bf16`` or ``fp32``.
    pipeline : str
        Places of registers beyond those at inputs and outputs, separated by ``+``: ``maximum`` behind the largest
        exponent, ``top`` behind codes and the choice of each subgroup's largest; or ``none``.
    """

    def __init__(self, input: str = "bf16", pipeline: str = "maximum+top"):
        super().__init__(ElemEMPath(checked_input(input), pipeline))
