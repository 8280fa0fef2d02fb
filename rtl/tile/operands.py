"""Operand decoders of the block-scaled formats. A row or column of dot units shares the decoder of its operand."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import E8M0, UE4M3, MiniFloat
from hwsim.golden.terms import BLOCK_TERMS, BlockTerm
from hwsim.rtl.arith import Arithmetic, select, sized
from hwsim.rtl.hierarchy import COMMENT, Pipeline, Registers, clocked
from hwsim.rtl.tile.products import BINARY, E2M1, MAGNITUDE_WIDTH, MAGNITUDES, MIXED, Code, Product
from hwsim.rtl.tile.refinement import ELEMENTS, METADATA_WIDTH, REFINEMENT_WIDTH, refinement
from hwsim.rtl.tile.scale import exponent_field, significand
from hwsim.rtl.tile.stage import Stage

CODE_WIDTH = 4
SCALE_CODE_WIDTH = 8


@dataclass(frozen=True)
class BlockScheme:
    """How the data path treats a format whose terms are blocks.

    Attributes
    ----------
    name : str
    term : BlockTerm
        The format's descriptor in golden.
    product : Product
        How its elements are encoded and multiplied in structured arithmetic.
    largest : int
        Largest product of two decoded magnitudes.
    typed : bool
        Whether bit 7 of a scale chooses between E2M1 and E1M2. Both enter the products in half units; an E1M2 code is
        then half of what it stands for, which the exponent of its block makes up for: it is the scale's exponent field
        for E1M2, and 1 less for E2M1, so that it needs no more bits than the field.
    refined : bool
        M2XFP: metadata refine an element of A and multiply subgroups of B.
    """

    name: str
    term: BlockTerm
    product: Product = E2M1
    largest: int = 12 * 12
    typed: bool = False
    refined: bool = False

    @property
    def scale(self) -> MiniFloat:
        """Format of the scales."""
        return self.term.scale

    @property
    def bias(self) -> int:
        """Bias of a block's exponent: that of its scale, or 1 less where exponents of E2M1 are 1 less."""
        return self.scale.bias - self.typed

    def multiplier(self, arithmetic: Arithmetic) -> Product:
        """How elements are encoded and multiplied in a kind of arithmetic."""
        return self.product if arithmetic is Arithmetic.STRUCTURED else BINARY


NVFP4 = BlockScheme("nvfp4", BLOCK_TERMS["nvfp4"])
MIXFP4 = BlockScheme("mixfp4", BLOCK_TERMS["mixfp4"], product=MIXED, typed=True)
MXFP4 = BlockScheme("mxfp4", BLOCK_TERMS["mxfp4"])
M2XFP = BlockScheme("m2xfp", BLOCK_TERMS["m2xfp"], refined=True)
assert NVFP4.scale is UE4M3 and MXFP4.scale is E8M0


class OperandDecoder(wiring.Component):
    """Decode one row of A or B: codes and scale bytes become what dot units take.

    Logic, then a register: latency 1. Significands come out a cycle later for a register at ``group``, NaN for each at
    ``group`` and ``block``, because dot units need them behind these places.

    Parameters
    ----------
    scheme : BlockScheme
        The format.
    k, block_size : int
        Elements of the row, and elements that share a scale.
    pipe : Pipeline
        Pipeline of the tile.
    side : str
        ``a`` or ``b``. Metadata of an M2XFP operand A refine elements.
    polarity : int
        Type bit of E2M1 blocks.
    arithmetic : Arithmetic

    Ports
    -----
    clk : in, 1 bit
    enable : in
        Loads the registers: bit 0 those at the inputs, the others those at ``group`` and ``block``.
    codes : in, 4 bits an element
    scales : in, 8 bits a block
    block_metadata : in, 2 bits a subgroup; only M2XFP
    operands : out
        Per element its magnitude in half units and the sign above it; structured, the magnitude is in a code
        (:data:`hwsim.rtl.tile.products.Code`).
    exponents : out
        Exponent fields of the scales, 1 for subnormals; those of MixFP4's E2M1 blocks less 1.
    significands : out; only scales with fraction bits
        Significands of the scales, with the hidden bit.
    multipliers : out, 2 bits a subgroup; only M2XFP, B
        k of every subgroup.
    refinements : out; only M2XFP, A
        Per subgroup which element is refined, by what power of two, and its sign; see
        :func:`hwsim.rtl.tile.refinement.refinement`.
    nan : out, 1 bit
        Whether a scale is NaN.
    """

    stage = Stage.DECODE

    def __init__(
        self, scheme: BlockScheme, k: int, block_size: int, pipe: Pipeline, side: str, polarity: int,
        arithmetic: Arithmetic,
    ):  # fmt: skip
        product = scheme.multiplier(arithmetic)
        blocks, scale = -(-k // block_size), scheme.scale
        refined = scheme.refined and side == "a"
        ports = {
            "clk": In(1),
            "enable": In(1 + pipe.count("group", "block")),
            "codes": In(k * CODE_WIDTH),
            "scales": In(blocks * SCALE_CODE_WIDTH),
            "operands": Out(k * product.width(side)),
            "exponents": Out(blocks * scale.exponent_width),
            "nan": Out(1),
        }
        if scale.fraction_width:
            ports["significands"] = Out(blocks * scale.significand_width)
        if scheme.refined:
            ports["block_metadata"] = In(k // ELEMENTS * METADATA_WIDTH)
            if refined:
                ports["refinements"] = Out(k // ELEMENTS * REFINEMENT_WIDTH)
            else:
                ports["multipliers"] = Out(k // ELEMENTS * METADATA_WIDTH)
        super().__init__(ports)
        self.scheme, self.k, self.blocks, self.pipe = scheme, k, blocks, pipe
        self.refined, self.polarity, self.encoding = refined, polarity, product.codes[side]
        self.arithmetic = arithmetic

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocked(m, self.clk)
        registers = Registers(m, self.pipe, self.enable)
        scales = [self.scales.word_select(i, SCALE_CODE_WIDTH) for i in range(self.blocks)]
        types = (
            [~scale[-1] if self.polarity else scale[-1] for scale in scales]
            if self.scheme.typed
            else [None] * self.blocks
        )
        block = self.k // self.blocks
        operands = []
        for i in range(self.k):
            code, is_integer = self.codes.word_select(i, CODE_WIDTH), types[i // block]
            if self.arithmetic is Arithmetic.OPERATORS:
                magnitude = decoded(m, code[:-1], is_integer, f"magnitude_{i}")
            else:
                magnitude = encoded(code[:-1], is_integer, self.encoding)
            operands.append(Cat(magnitude, code[-1]))
        m.d.comb += self.operands.eq(registers.input(Cat(*operands), "operands_q"))
        if self.refined:
            m.d.comb += self.refinements.eq(registers.input(self._refinements(m), "refinements_q"))
        self._scales(m, registers, scales, types)
        return m

    def _refinements(self, m: Module) -> Value:
        refinements = []
        for group in range(self.k // ELEMENTS):
            elements = [self.codes.word_select(group * ELEMENTS + i, CODE_WIDTH) for i in range(ELEMENTS)]
            metadata = self.block_metadata.word_select(group, METADATA_WIDTH)
            refinements.append(refinement(m, elements, metadata, f"group_{group}"))
        return Cat(*refinements)

    def _scales(self, m: Module, registers: Registers, scales: list[Value], types: list[Value | None]) -> None:
        scale = self.scheme.scale
        magnitudes = [s[: scale.magnitude_width] for s in scales]
        nan = Cat(*(s == scale.nan_code for s in magnitudes)).any()
        exponents: list[Value] = []
        for i, (code, kind) in enumerate(zip(magnitudes, types, strict=True)):
            field = exponent_field(code, scale)
            if kind is not None:
                note = "Exponent field of the block's scale, 1 less for E2M1"
                field = sized(m, field - ~kind, scale.exponent_width, f"exponent_{i}", note)
            exponents.append(field)
        m.d.comb += self.exponents.eq(registers.input(Cat(*exponents), "exponents_q"))
        m.d.comb += self.nan.eq(registers.delay(registers.input(nan, "nan_q"), "nan", "group", "block"))
        later: dict[str, Value] = {}
        if scale.fraction_width:
            later["significands"] = Cat(*(significand(s, scale) for s in magnitudes))
        if self.scheme.refined and not self.refined:
            later["multipliers"] = self.block_metadata
        for name, value in later.items():
            value = registers.input(value, f"{name}_q")
            m.d.comb += getattr(self, name).eq(registers.delay(value, name, "group"))
        unused = SCALE_CODE_WIDTH - scale.magnitude_width - self.scheme.typed
        if unused:
            # An unsigned scale leaves the top bit of its byte unread.
            ignored = Signal(unused * self.blocks, name="unused_scales")
            m.d.comb += ignored.eq(Cat(*(s[-1] for s in scales)))


def decoded(m: Module, code: Value, is_integer: Value | None, name: str) -> Signal:
    """Magnitude, in half units, of three bits of E2M1; where ``is_integer``, half that of E1M2: the integer."""
    magnitude = Signal(MAGNITUDE_WIDTH, name=name, attrs={COMMENT: "In halves; of E1M2 half of it, the integer"})
    with m.If(Const(0, 1) if is_integer is None else is_integer):
        m.d.comb += magnitude.eq(code)
    with m.Else(), m.Switch(code):
        for value, halves in enumerate(MAGNITUDES):
            with m.Case(value):
                m.d.comb += magnitude.eq(halves)
    return magnitude


def encoded(code: Value, is_integer: Value | None, bits: Code) -> Value:
    """Magnitude of three bits of E2M1 or, where ``is_integer``, of an E1M2 integer, in the code ``bits``."""
    if is_integer is None:
        magnitudes, index = list(MAGNITUDES), code
    else:
        magnitudes, index = [*MAGNITUDES, *range(len(MAGNITUDES))], Cat(code, is_integer)
    return Cat(*(select([Const(magnitude in bit, 1) for magnitude in magnitudes], index) for bit in bits))
