"""MMA units of the formats whose terms are blocks: NVFP4, MixFP4, MXFP4, M2XFP."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring

from hwsim.rtl.arith import Arithmetic, sized
from hwsim.rtl.hierarchy import Pipeline, Registers, instantiate
from hwsim.rtl.tile.align import TermShape
from hwsim.rtl.tile.block_sum import SUBGROUP_WIDTH, BlockSum, MultipliedSum, SubgroupSum, total_width
from hwsim.rtl.tile.operands import BlockScheme, OperandDecoder
from hwsim.rtl.tile.refinement import ELEMENTS, METADATA_WIDTH, REFINEMENT_WIDTH
from hwsim.rtl.tile.scale import ScaledTerm, ScaleProduct
from hwsim.rtl.tile.tile import BACK, DotUnit, Tile, accumulator, tile_size

#: Places of pipeline registers, in the order of the data. Only M2XFP has ``group``, behind the sums of subgroups.
PLACES = ("group", "block", *BACK)


def term_shape(scheme: BlockScheme, k: int, block_size: int) -> TermShape:
    """Widths of the terms of a format."""
    scale, term, lanes = scheme.scale, scheme.term, min(k, block_size)
    significand = (1 << scale.significand_width) - 1
    # The exponent of a term is the sum of those of both blocks.
    bias = 2 * scheme.bias - term.constant(block_size)
    return TermShape(
        terms=k // lanes,
        magnitude_width=(lanes * term.a_largest * term.b_largest * significand**2).bit_length(),
        fraction_width=term.q(block_size),
        exponent_width=scale.exponent_width + 1,
        bias=bias,
        least_exponent=2 * (int(scale.has_subnormals) - scheme.typed) - bias,
    )


#: Products that one tree sums; the two halves of a block of 32 are added behind the register at ``block``.
LANES = 16


class BlockDot(DotUnit):
    """One element of D whose terms are blocks: exact sums of products, times the significands of the scales."""

    FRONT = ("group", "block")

    def __init__(
        self,
        scheme: BlockScheme,
        k: int,
        block_size: int,
        operands: dict[str, wiring.Component],
        pipe: Pipeline,
        step: tuple[int, int, str],
        arithmetic: Arithmetic,
    ):
        shape = term_shape(scheme, k, block_size)
        super().__init__(shape, operands, pipe, step, arithmetic)
        self.scheme, self.lanes, self.product = scheme, min(k, block_size), scheme.multiplier(arithmetic)
        self.subgroups = self.lanes // ELEMENTS
        if scheme.refined:
            multiplied = MultipliedSum(self.subgroups, arithmetic)
            self.parts |= {"mma_subgroup": SubgroupSum(self.product, arithmetic), "mma_block": multiplied}
            self.total_width = len(multiplied.total)
        else:
            self.parts["mma_block"] = BlockSum(min(self.lanes, LANES), self.product, scheme.largest, arithmetic)
            self.total_width = total_width(self.lanes, scheme.largest)
        if scheme.scale.fraction_width:
            self.parts["mma_factor"] = ScaleProduct(scheme.scale, arithmetic)
        self.parts["mma_scale"] = ScaledTerm(self.total_width, shape.magnitude_width, scheme.scale, arithmetic)

    def terms(self, m: Module, registers: Registers) -> dict[str, Value]:
        scale = self.scheme.scale
        ports = {name: getattr(self, name) for name in self.signature.members}
        q, exponents, nonzero = [], [], []
        for i in range(self.shape.terms):
            total, present = self._block(m, registers, i)
            number = Signal(self.shape.magnitude_width + 1, name=f"q_{i}")
            inputs = {}
            if scale.fraction_width:
                # Registered as a product: it is ready before the sum is, and leaves the multiplier more time.
                a, b = (ports[f"{side}_significands"].word_select(i, scale.significand_width) for side in "ab")
                product = Signal(2 * scale.significand_width, name=f"factor_product_{i}")
                instantiate(m, self, "mma_factor", f"factor_{i}", a=a, b=b, factor=product)
                factor = registers.at("block", product, f"factor_{i}")
                inputs["factor"] = factor
                present = present & factor.any()
            instantiate(m, self, "mma_scale", f"scale_{i}", total=total, q=number, **inputs)
            a, b = (ports[f"{side}_exponents"].word_select(i, scale.exponent_width) for side in "ab")
            exponent = registers.delay(
                sized(m, a + b, self.shape.exponent_width, f"exponent_{i}", "Sum of both blocks' exponents"),
                f"exponent_{i}",
                *self.FRONT,
            )
            q.append(number)
            exponents.append(exponent)
            nonzero.append(sized(m, present, 1, f"nonzero_{i}", "Whether neither the sum nor a scale is zero"))
        nan = ports["a_nan"] | ports["b_nan"]
        return {"q": Cat(*q), "exponents": Cat(*exponents), "nonzero": Cat(*nonzero), "nan": nan}

    def _block(self, m: Module, registers: Registers, i: int) -> tuple[Value, Value]:
        """Sum of block ``i`` behind the register at ``block``, and whether it is not zero."""
        if self.scheme.refined:
            total = registers.at("block", self._refined(m, registers, i), f"total_{i}")
            return total, total.any()
        a_operands, b_operands = getattr(self, "a_operands"), getattr(self, "b_operands")  # noqa: B009
        parts = -(-self.lanes // LANES)
        count = self.shape.terms * parts
        sums = []
        for part in range(i * parts, (i + 1) * parts):
            block_total = Signal(total_width(self.lanes // parts, self.scheme.largest), name=f"block_total_{part}")
            a, b = (x.word_select(part, len(x) // count) for x in (a_operands, b_operands))
            instantiate(m, self, "mma_block", f"block_{part}", a=a, b=b, total=block_total)
            sums.append(registers.at("block", block_total, f"total_{part}"))
        if parts == 1:
            return sums[0], sums[0].any()
        low, high = sums
        total = sized(m, low.as_signed() + high.as_signed(), self.total_width, f"total_{i}")
        # Zero test without carry propagation: low + high = 0 if and only if low ^ high = (low | high) << 1.
        return total, ((low ^ high) ^ ((low | high) << 1)[: len(low)]).any()

    def _refined(self, m: Module, registers: Registers, i: int) -> Signal:
        """M2XFP: sum of block ``i``, of refined activations and weights with their multipliers."""
        a_operands, b_operands = getattr(self, "a_operands"), getattr(self, "b_operands")  # noqa: B009
        total = Signal(self.total_width, name=f"block_total_{i}")
        refinements, multipliers = getattr(self, "a_refinements"), getattr(self, "b_multipliers")  # noqa: B009
        parts = []
        for group in range(self.subgroups):
            part = Signal(SUBGROUP_WIDTH, name=f"subgroup_total_{i}_{group}")
            instantiate(
                m, self, "mma_subgroup", f"subgroup_{i}_{group}",
                a=a_operands.word_select(i * self.subgroups + group, ELEMENTS * self.product.width("a")),
                b=b_operands.word_select(i * self.subgroups + group, ELEMENTS * self.product.width("b")),
                refinement=refinements.word_select(i * self.subgroups + group, REFINEMENT_WIDTH), total=part,
            )  # fmt: skip
            parts.append(registers.at("group", part, f"subgroup_{i}_{group}"))
        instantiate(
            m, self, "mma_block", f"block_{i}", totals=Cat(*parts),
            multipliers=multipliers.word_select(i, METADATA_WIDTH * self.subgroups), total=total,
        )  # fmt: skip
        return total


class BlockMMA(Tile):
    """MMA tile of a format whose terms are blocks; ports, latency and chaining: :class:`hwsim.rtl.tile.tile.Tile`.

    Parameters
    ----------
    scheme : BlockScheme
        The format.
    k : int
        Elements of K in an instruction: a multiple of ``block_size``, all blocks of which are one accumulation step; or
        8 or 16 elements of a block, as a processing element has them that works through a block in several cycles. Then
        the term is that of a block whose other elements are zero.
    m, n : int
        Rows and columns of D.
    block_size : int
        Elements that share a scale: 16 or 32; M2XFP's are 32.
    fraction_bits, result_bits, rounding : int, int, str
        The accumulation step: bits that terms keep below the largest exponent (1 to 40), bits of the result below its
        leading one (1 to 23), and how the result is rounded: ``rz`` (towards zero) or ``rne`` (to nearest, ties to
        even). ``rne`` needs ``result_bits`` 23, or at least ``fraction_bits`` and no scale that reaches subnormals.
    pipeline : str
        Places of registers beyond those at inputs and outputs, separated by ``+``, in the order of the data:
        ``group`` (M2XFP only), ``block``, ``term``, ``align``, ``sum``, ``magnitude``; or ``none``.
    polarity : int
        MixFP4: type bit of E2M1 blocks, 0 or 1.
    arithmetic : str
        ``structured`` (trees of adders, multiplexers) or ``operators`` (``+``, ``*``): see
        :class:`hwsim.rtl.arith.Arithmetic`.
    buffers : int
        1 for buffers and accumulators around the tile.
    """

    def __init__(
        self, scheme: BlockScheme, k: int, m: int, n: int, block_size: int,
        fraction_bits: int, result_bits: int, rounding: str, pipeline: str, arithmetic: str,
        buffers: int = 0, polarity: int = 0,
    ):  # fmt: skip
        tile_size(m, n)
        if block_size not in scheme.term.block_sizes:
            allowed = " or ".join(map(str, scheme.term.block_sizes))
            raise ValueError(f"block_size must be {allowed}, got {block_size!r}")
        partial = [n for n in (ELEMENTS, 2 * ELEMENTS) if n < block_size]
        if not isinstance(k, int) or k < 1 or (k % block_size and k not in partial):
            shown = " or ".join(map(str, partial))
            raise ValueError(f"k must be a positive multiple of {block_size}, or {shown} of its elements, got {k!r}")
        if polarity not in (0, 1):
            raise ValueError(f"polarity must be 0 or 1, got {polarity!r}")
        step = accumulator(fraction_bits, result_bits, rounding)
        places = PLACES if scheme.refined else tuple(p for p in PLACES if p != "group")
        pipe = Pipeline(places, pipeline)
        style = Arithmetic.of(arithmetic)
        operands = {side: OperandDecoder(scheme, k, block_size, pipe, side, polarity, style) for side in "ab"}
        super().__init__(m, n, operands, BlockDot(scheme, k, block_size, operands, pipe, step, style), buffers)
