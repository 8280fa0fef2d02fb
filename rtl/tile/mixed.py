"""One tile for the formats of OCP MX: elements of 4, 6 and 8 bits, each instruction with its own pair of formats.

Every operand's elements are decoded at the tile's edge to one format that holds them all, so that a dot unit multiplies
any pair as if both were of that format: 32 products, each a term. E2M1 by E2M1 has twice the K: 64 products, whose sums
over blocks of 32 are two terms (:mod:`hwsim.golden.terms`). They are formed beside the products of elements and enter
the alignment in the places of the first two of these. Operands of what an instruction does not use are zero: its
products and sums are zero too, take no part, and stay still until an instruction uses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import E2M1, E8M0, MiniFloat, Nan
from hwsim.rtl.arith import Arithmetic, saturated, sized
from hwsim.rtl.hierarchy import Pipeline, Registers, clocked, instantiate
from hwsim.rtl.tile.align import ExponentMaximum, TermShape
from hwsim.rtl.tile.block_sum import BlockSum, total_width
from hwsim.rtl.tile.blocks import LANES
from hwsim.rtl.tile.elements import BLOCK, PLACES, ElementDot, element_flags, term_shape
from hwsim.rtl.tile.operands import CODE_WIDTH, MXFP4, decoded, encoded
from hwsim.rtl.tile.scale import ScaledTerm, exponent_field, significand
from hwsim.rtl.tile.stage import Stage
from hwsim.rtl.tile.tile import Tile, accumulator, tile_size

#: Terms that an instruction of E2M1 by E2M1 has.
BLOCKS = 2
#: Terms whose exponents are compared in front of the register at ``exponent``: more than for a single format, because
#: blocks make what follows slower, and the sums of blocks, which are formed at the same time, slower still.
GROUP = 16


@dataclass(frozen=True)
class MixedFormats:
    """The element formats that a tile takes.

    Attributes
    ----------
    elements : tuple of MiniFloat
        In the order in which the ports ``a_element`` and ``b_element`` count them.
    """

    elements: tuple[MiniFloat, ...]

    def __post_init__(self) -> None:
        if set(self.elements) == {E2M1}:
            raise ValueError("formats must name more than e2m1 alone, got 'e2m1': mxfp4_mma is its tile")

    @property
    def has_blocks(self) -> bool:
        """Whether there are instructions of E2M1 by E2M1."""
        return E2M1 in self.elements

    @property
    def common(self) -> MiniFloat:
        """A format that holds the elements of all others."""
        bias = max(e.bias for e in self.elements)
        fields = max((1 << e.exponent_width) - 1 + bias - e.bias for e in self.elements)
        has_infinity = any(e.has_infinity for e in self.elements)
        return MiniFloat(
            "mixed",
            fields.bit_length(),
            max(e.fraction_width for e in self.elements),
            bias,
            nan=Nan.IEEE if has_infinity else Nan.NONE,
            has_infinity=has_infinity,
        )

    @property
    def stride(self) -> int:
        """Bits from one element to the next where there are 32 in a row; two of E2M1 where there are 64."""
        return 2 * CODE_WIDTH if self.has_blocks else max(e.width for e in self.elements)

    @property
    def element_width(self) -> int:
        """Bits of the ports that name an element format."""
        return (len(self.elements) - 1).bit_length()

    @property
    def shape(self) -> TermShape:
        """Widths of the terms."""
        shape = term_shape(self.common, BLOCK, True)
        if not self.has_blocks:
            return shape
        return replace(shape, wide=BLOCKS, wide_fraction_width=MXFP4.term.q(BLOCK))

    @property
    def block_offset(self) -> int:
        """Added to the sum of two blocks' scale bytes to give their term's exponent with the bias of the others."""
        return MXFP4.term.constant(BLOCK) + self.shape.bias - 2 * E8M0.bias


class MixedDecoder(wiring.Component):
    """Decode one row of A or B in the format that the instruction names.

    Logic, then a register: latency 1. Numbers, infinities and NaN come out a cycle later than exponents if there is a
    register at ``exponent``.

    Parameters
    ----------
    formats : MixedFormats
    pipe : Pipeline
        Pipeline of the tile.
    side : str
        ``a`` or ``b``.
    arithmetic : Arithmetic

    Ports
    -----
    clk : in, 1 bit
    enable : in
        Loads the registers: bit 0 those at the inputs, bit 1 those at ``exponent``.
    codes : in
        Element codes, element 0 in the lowest bits: 32 in the lowest bits of a stride each, or 64 of E2M1.
    scales : in, 8 bits a block
        Scale bytes; of two, the second is that of the second 32 of 64 elements.
    element : in; only with several formats
        Format of the elements.
    partner : in; only with blocks
        Format of the other operand's elements.
    exponents, nonzero, numbers, infinite, base : out
        As of :class:`hwsim.rtl.tile.elements.ElementDecoder`, in the common format; 0 for 64 elements.
    operands : out; only with blocks
        As of :class:`hwsim.rtl.tile.operands.OperandDecoder`; zeros for 32 elements.
    bases : out; only with blocks
        Scale bytes of 64 elements' blocks; of A, with the offset that makes the sum of both operands' an exponent.
        0 for 32 elements.
    nan : out, 1 bit
        Whether an element or a scale is NaN.
    """

    stage = Stage.DECODE

    def __init__(self, formats: MixedFormats, pipe: Pipeline, side: str, arithmetic: Arithmetic):
        common, blocks = formats.common, BLOCKS if formats.has_blocks else 1
        product = MXFP4.multiplier(arithmetic)
        ports = {
            "clk": In(1),
            "enable": In(1 + pipe.count("exponent")),
            "codes": In(BLOCK * formats.stride),
            "scales": In(blocks * E8M0.width),
            "exponents": Out(BLOCK * common.exponent_width),
            "nonzero": Out(BLOCK),
            "numbers": Out(BLOCK * (common.significand_width + 1)),
            "base": Out(E8M0.width),
            "nan": Out(1),
        }
        if formats.element_width:
            ports["element"] = In(formats.element_width)
        if common.has_infinity:
            ports["infinite"] = Out(BLOCK)
        self.offset = formats.block_offset if side == "a" else 0
        self.base_width = (((1 << E8M0.width) - 1) + self.offset).bit_length()
        if formats.has_blocks:
            ports["partner"] = In(formats.element_width)
            ports["operands"] = Out(2 * BLOCK * product.width(side))
            ports["bases"] = Out(BLOCKS * self.base_width)
        super().__init__(ports)
        self.formats, self.pipe, self.arithmetic = formats, pipe, arithmetic
        self.encoding = product.codes[side]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocked(m, self.clk)
        registers = Registers(m, self.pipe, self.enable)
        scales = [self.scales.word_select(i, E8M0.width) for i in range(len(self.scales) // E8M0.width)]
        chosen = self._chosen(m)
        in_blocks: Value = Const(0, 1)
        if self.formats.has_blocks:
            in_blocks = sized(m, chosen[E2M1] & self._is(self.partner, E2M1), 1, "in_blocks", "E2M1 by E2M1")
        single = ~in_blocks
        lanes = [self._lane(m, i, chosen) for i in range(BLOCK)]
        nan = Cat(*(lane["nan"] for lane in lanes)).any() & single
        nan = nan | (scales[0] == E8M0.nan_code)
        early: dict[str, Value] = {name: Cat(*(lane[name] for lane in lanes)) for name in ("exponents", "nonzero")}
        early["base"] = scales[0]
        late: dict[str, Value] = {"numbers": Cat(*(lane["numbers"] for lane in lanes))}
        if self.formats.common.has_infinity:
            late["infinite"] = Cat(*(lane["infinite"] for lane in lanes))
        early = {name: value & single.replicate(len(value)) for name, value in early.items()}
        late = {name: value & single.replicate(len(value)) for name, value in late.items()}
        if self.formats.has_blocks:
            nan = nan | (in_blocks & (scales[1] == E8M0.nan_code))
            early |= self._blocks(m, scales, in_blocks)
        late["nan"] = nan
        for name, value in early.items():
            m.d.comb += getattr(self, name).eq(registers.input(value, f"{name}_q"))
        for name, value in late.items():
            value = registers.at("exponent", registers.input(value, f"{name}_q"), name)
            m.d.comb += getattr(self, name).eq(value)
        return m

    def _is(self, index: Value, element: MiniFloat) -> Value:
        """Whether a port names a format; an unused index stands for the last."""
        place, last = self.formats.elements.index(element), len(self.formats.elements) - 1
        return index >= last if place == last else index == place

    def _chosen(self, m: Module) -> dict[MiniFloat, Value]:
        if not self.formats.element_width:
            return {self.formats.elements[0]: Const(1, 1)}
        return {
            e: sized(m, self._is(self.element, e), 1, f"is_{e.name}", f"The elements are {e.name.upper()}")
            for e in self.formats.elements
        }

    def _lane(self, m: Module, lane: int, chosen: dict[MiniFloat, Value]) -> dict[str, Value]:
        """An element as one of the common format."""
        common = self.formats.common
        word = self.codes.word_select(lane, self.formats.stride)
        found: dict[str, Value] = {}
        for element, taken in chosen.items():
            code = word[: element.magnitude_width]
            nan, infinite = element_flags(code, element)
            field = exponent_field(code, element) + (common.bias - element.bias)
            aligned = Cat(Const(0, common.fraction_width - element.fraction_width), significand(code, element))
            facts = {
                "exponents": field[: common.exponent_width] if len(field) > common.exponent_width else field,
                "nonzero": code.any(),
                "numbers": Cat(aligned, word[element.magnitude_width]),
                "nan": nan,
                "infinite": infinite,
            }
            widths = {"exponents": common.exponent_width, "numbers": common.significand_width + 1}
            for name, value in facts.items():
                width = widths.get(name, 1)
                gated = sized(m, value, width, f"{element.name}_{name}_{lane}") & taken.replicate(width)
                found[name] = found[name] | gated if name in found else gated
        return found

    def _blocks(self, m: Module, scales: Sequence[Value], in_blocks: Value) -> dict[str, Value]:
        """What 64 elements of E2M1 give."""
        operands, bases = [], []
        for i in range(2 * BLOCK):
            code = sized(
                m,
                self.codes.word_select(i, CODE_WIDTH) & in_blocks.replicate(CODE_WIDTH),
                CODE_WIDTH,
                f"code_{i}",
                "0 if the elements are 32",
            )
            if self.arithmetic is Arithmetic.OPERATORS:
                magnitude: Value = decoded(m, code[:-1], None, f"magnitude_{i}")
            else:
                magnitude = encoded(code[:-1], None, self.encoding)
            operands.append(Cat(magnitude, code[-1]))
        for i, scale in enumerate(scales):
            base = sized(m, scale + self.offset, self.base_width, f"base_{i}") if self.offset else scale
            bases.append(base & in_blocks.replicate(self.base_width))
        return {"operands": Cat(*operands), "bases": Cat(*bases)}


class MixedExponents(ExponentMaximum):
    """As :class:`ExponentMaximum`, and with the exponents of blocks, which then stand for the first terms'.

    Ports
    -----
    blocks : in
        Exponents of the blocks' terms, with the bias of ``largest``.
    block_nonzero : in, a bit a block
    apart : in
        Difference of the blocks' exponents, as a distance.
    second_above : in, 1 bit
        Whether the second is the larger.
    in_blocks : in, 1 bit
        Whether the terms are blocks. Then those of products are zero; otherwise, those of blocks.
    """

    def __init__(self, shape: TermShape, fraction_bits: int, groups: int):
        super().__init__(shape, fraction_bits, groups, {
            "blocks": In(BLOCKS * shape.common_width), "block_nonzero": In(BLOCKS),
            "apart": In(shape.distance_width(fraction_bits)), "second_above": In(1), "in_blocks": In(1),
        })  # fmt: skip

    def largest_with(self, m: Module, largest: Value) -> Value:
        width = self.shape.common_width
        first, second = (self.blocks.word_select(i, width) for i in range(BLOCKS))
        # Of two that are not zero, the larger.
        self.second_leads = sized(
            m, self.block_nonzero[1] & (self.second_above | ~self.block_nonzero[0]), 1, "second_leads"
        )
        leading = Mux(self.second_leads, second, first) & self.block_nonzero.any().replicate(width)
        return largest | sized(m, leading, width, "blocks_largest", "0 without blocks")

    def distances_with(self, m: Module, term: int, near: Value, far: Value, c_exponent: Value) -> tuple[Value, Value]:
        if term >= BLOCKS:
            return near, far
        width, count = self.shape.common_width, len(self.apart)
        leads = self.second_leads if term else ~self.second_leads
        block_near = self.apart & ~leads.replicate(count)
        difference = sized(
            m, c_exponent - self.blocks.word_select(term, width), width, f"block_from_c_{term}", "Distance if C leads"
        )
        block_far = saturated(m, difference, count, f"block_from_c_{term}")
        return Mux(self.in_blocks, block_near, near), Mux(self.in_blocks, block_far, far)


class MixedDot(ElementDot):
    """One element of D whose terms are products of elements of any two formats, or blocks of E2M1."""

    def __init__(
        self, formats: MixedFormats, operands: dict[str, wiring.Component], pipe: Pipeline, step: tuple[int, int, str],
        arithmetic: Arithmetic,
    ):  # fmt: skip
        super().__init__(formats.common, BLOCK, True, operands, pipe, step, arithmetic, formats.shape, GROUP)
        self.formats = formats
        if not formats.has_blocks:
            return
        product = MXFP4.multiplier(arithmetic)
        self.exponents = MixedExponents(self.shape, self.fraction_bits, self.exponents.groups)
        self.parts["mma_exponents"] = self.exponents
        self.parts["mma_block"] = BlockSum(LANES, product, MXFP4.largest, arithmetic)
        self.total_width = total_width(BLOCK, MXFP4.largest)
        self.parts["mma_scale"] = ScaledTerm(self.total_width, self.shape.width_of(0), E8M0, arithmetic)

    def terms(self, m: Module, registers: Registers) -> dict[str, Value]:
        terms = super().terms(m, registers)
        if not self.formats.has_blocks:
            return terms
        width = self.shape.magnitude_width + 1
        products = [terms["q"].word_select(i, width) for i in range(BLOCK)]
        numbers, nonzero = zip(*(self._block(m, registers, i) for i in range(BLOCKS)), strict=True)
        for i, number in enumerate(numbers):
            # Zero is no term of either kind: its bits, sign included, are 0.
            extended = Cat(products[i][-1].replicate(len(number) - width), products[i])
            products[i] = sized(m, extended | number, len(number), f"term_{i}", "The product's or the block's")
        return terms | {"q": Cat(*products), "block_nonzero": Cat(*nonzero), **self._block_exponents(m, registers)}

    def _block_exponents(self, m: Module, registers: Registers) -> dict[str, Value]:
        a_bases, b_bases = getattr(self, "a_bases"), getattr(self, "b_bases")  # noqa: B009
        width = self.shape.common_width
        first, second = (
            sized(
                m,
                a_bases.word_select(i, len(a_bases) // BLOCKS) + b_bases.word_select(i, len(b_bases) // BLOCKS),
                width,
                f"block_exponent_{i}",
                "Exponent of the block's term; 0 without blocks",
            )
            for i in range(BLOCKS)
        )
        second_above = sized(m, second > first, 1, "second_above")
        difference = sized(m, Mux(second_above, second - first, first - second), width, "difference")
        apart = saturated(m, difference, self.shape.distance_width(self.fraction_bits), "apart")
        # Of no sum of bytes and offset is the exponent 0.
        found = {
            "blocks": Cat(first, second), "apart": apart, "second_above": second_above, "in_blocks": first.any(),
        }  # fmt: skip
        return {name: registers.at("exponent", value, name) for name, value in found.items()}

    def _block(self, m: Module, registers: Registers, i: int) -> tuple[Signal, Value]:
        """The term of block ``i`` in one's complement, and whether it is not zero."""
        a_operands, b_operands = getattr(self, "a_operands"), getattr(self, "b_operands")  # noqa: B009
        parts, count = BLOCK // LANES, BLOCKS * BLOCK // LANES
        sums = []
        for part in range(i * parts, (i + 1) * parts):
            total = Signal(total_width(LANES, MXFP4.largest), name=f"block_total_{part}")
            a, b = (x.word_select(part, len(x) // count) for x in (a_operands, b_operands))
            instantiate(m, self, "mma_block", f"block_{part}", a=a, b=b, total=total)
            sums.append(registers.at("exponent", total, f"total_{part}"))
        low, high = sums
        total = sized(m, low.as_signed() + high.as_signed(), self.total_width, f"total_{i}")
        number = Signal(self.shape.width_of(i) + 1, name=f"block_q_{i}")
        instantiate(m, self, "mma_scale", f"scale_{i}", total=total, q=number)
        # Zero test without carry propagation: low + high = 0 if and only if low ^ high = (low | high) << 1.
        present = ((low ^ high) ^ ((low | high) << 1)[: len(low)]).any()
        return number, sized(m, present, 1, f"block_nonzero_{i}", "Whether the block's sum is not zero")


class MixedMMA(Tile):
    """MMA tile for several element formats of OCP MX; latency, chaining and the other ports:
    :class:`hwsim.rtl.tile.tile.Tile`.

    Where E2M1 is not among the formats, rows have 32 elements side by side, as wide as the widest, and one scale.

    Ports
    -----
    a_codes : in
        Elements of A, [m, 32], in the lowest bits of a byte each, or [m, 64] of E2M1, two in a byte; the first lowest.
    b_codes : in
        Elements of B transposed, [n, 32] or [n, 64], as those of A.
    a_scales : in
        Scale bytes of A's rows, [m, 2]; the second counts where a row has 64 elements.
    b_scales : in
        Scale bytes of B's rows, [n, 2], as those of A.
    a_element, b_element : in; only with several formats
        Formats of A's and B's elements in this instruction, 0 for the first that ``formats`` lists; an unused number
        stands for the last.

    Parameters
    ----------
    formats : sequence of MiniFloat
    m, n : int
        Rows and columns of D.
    fraction_bits, result_bits, rounding : int, int, str
        The accumulation step, the same for all formats: bits that terms keep below the largest exponent (1 to 40), bits
        of the result below its leading one (1 to 23), and how the result is rounded: ``rz`` (towards zero) or ``rne``
        (to nearest, ties to even).
    pipeline : str
        Places of registers beyond those at inputs and outputs, separated by ``+``, in the order of the data:
        ``exponent``, ``term``, ``align``, ``sum``, ``magnitude``; or ``none``.
    arithmetic : str
        ``structured`` (trees of adders, multiplexers) or ``operators`` (``+``, ``*``): see
        :class:`hwsim.rtl.arith.Arithmetic`.
    buffers : int
        1 for buffers and accumulators around the tile.
    """

    def __init__(
        self, formats: Sequence[MiniFloat], m: int, n: int, fraction_bits: int, result_bits: int, rounding: str,
        pipeline: str, arithmetic: str, buffers: int = 0,
    ):  # fmt: skip
        tile_size(m, n)
        self.formats = MixedFormats(tuple(formats))
        step = accumulator(fraction_bits, result_bits, rounding)
        pipe, kind = Pipeline(PLACES, pipeline), Arithmetic.of(arithmetic)
        operands: dict[str, wiring.Component] = {
            side: MixedDecoder(self.formats, pipe, side, kind) for side in ("a", "b")
        }
        super().__init__(m, n, operands, MixedDot(self.formats, operands, pipe, step, kind), buffers)

    def _ports(self) -> dict[str, wiring.Member]:
        ports = super()._ports()
        for side in "ab":
            ports.pop(f"{side}_partner", None)
            if self.formats.element_width:
                ports[f"{side}_element"] = In(self.formats.element_width)
        return ports

    def _row(self, side: str, name: str, row: int) -> Value:
        # All rows of an operand have one format.
        if name == "element":
            return getattr(self, f"{side}_element")
        if name == "partner":
            return getattr(self, f"{'ab'.replace(side, '')}_element")
        return super()._row(side, name, row)
