"""Exact sum of a block's products."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.rtl.arith import Arithmetic, Columns, Sum, add_bits, add_constant, columns, compress, sized
from hwsim.rtl.tile.products import MAGNITUDE_WIDTH, PRODUCT_WIDTH, Product
from hwsim.rtl.tile.refinement import ELEMENTS, METADATA_WIDTH, REFINEMENT_WIDTH
from hwsim.rtl.tile.stage import Stage

#: Largest sum of a subgroup in sixteenths: one refined activation of up to 56 eighths, the others of up to 48, times
#: weights of up to 12 halves.
LARGEST_SUBGROUP = (56 + (ELEMENTS - 1) * 48) * 12
SUBGROUP_WIDTH = LARGEST_SUBGROUP.bit_length() + 1


class BlockSum(wiring.Component):
    """Exact sum of the signed products of a block, in units of the product of both operands' units.

    Combinational. Structured, the bits of the products' magnitudes, inverted where the product is negative, go through
    one tree of full adders. Inversion leaves every negative product off by the same constant, so one multiple of their
    number corrects them all.

    Parameters
    ----------
    lanes : int
        Elements of a block.
    product : Product
        Codes of the operands, and their multiplier.
    largest : int
        Largest magnitude of a product.
    arithmetic : Arithmetic

    Ports
    -----
    a, b : in
        Codes of ``product`` with signs, lane 0 in the lowest bits.
    total : out
        Two's complement.
    """

    stage = Stage.PRODUCTS

    def __init__(self, lanes: int, product: Product, largest: int, arithmetic: Arithmetic):
        super().__init__({
            "a": In(lanes * product.width("a")),
            "b": In(lanes * product.width("b")),
            "total": Out(total_width(lanes, largest)),
        })  # fmt: skip
        self.lanes, self.product, self.arithmetic = lanes, product, arithmetic

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = Sum(len(self.total), self.arithmetic)
        add_products(m, total, self.a, self.b, self.lanes, self.product)
        m.d.comb += self.total.eq(total.total(m, "sum"))
        return m


def total_width(lanes: int, largest: int) -> int:
    """Bits of a two's complement sum of products."""
    return (lanes * largest).bit_length() + 1


def add_products(m: Module, to: Sum, a: Value, b: Value, lanes: int, product: Product, shift: int = 0) -> None:
    """Add the products of ``lanes`` operands, times ``2**shift``."""
    if product.columns is None:
        for lane in range(lanes):
            left, right = a.word_select(lane, product.width("a")), b.word_select(lane, product.width("b"))
            magnitude = sized(
                m, left[:-1] * right[:-1], PRODUCT_WIDTH, f"magnitude_{lane}", "Product of the magnitudes"
            )
            negative = left[-1] ^ right[-1]
            signed = sized(
                m,
                Mux(negative, -magnitude, magnitude),
                PRODUCT_WIDTH + 1,
                f"product_{lane}",
                "The same with its sign, two's complement",
            )
            to.add_signed(Cat(Const(0, shift), signed) if shift else signed)
        return
    signs = columns(lanes.bit_length())
    for lane in range(lanes):
        left, right = a.word_select(lane, product.width("a")), b.word_select(lane, product.width("b"))
        negative = Signal(name=f"negative_{lane}")
        m.d.comb += negative.eq(left[-1] ^ right[-1])
        signs[0].append(negative)
        weight = 0
        for position, column in enumerate(product.columns(m, left[:-1], right[:-1], f"product_{lane}")):
            for i, bit in enumerate(column):
                signed = Signal(name=f"signed_{lane}_{position}_{i}")
                m.d.comb += signed.eq(bit ^ negative)
                to.bits[shift + position].append(signed)
                weight += 1 << position
    # Inverting a bit of weight w gives w - w * bit: a negative product comes out as the sum of all weights minus its
    # magnitude, so each one needs minus that sum.
    low, high = compress(m, signs, "negatives")
    negatives = sized(m, low + high, len(signs), "negatives")
    add_multiple(to.bits, negatives, -weight << shift)


def add_multiple(to: Columns, value: Value, factor: int) -> None:
    """Add ``value * factor`` to columns, for an integer factor of any sign: one row per nonzero signed digit of it."""
    position, ones = 0, (1 << len(value)) - 1
    while factor and position < len(to):
        if factor & 1:
            digit = 2 - (factor & 3)
            factor -= digit
            if digit > 0:
                add_bits(to, value, position)
            else:
                add_bits(to, Cat(*(~bit for bit in value)), position)
                add_constant(to, -ones << position)
        factor >>= 1
        position += 1


class SubgroupSum(wiring.Component):
    """M2XFP: sum of a subgroup's products, its largest activation refined, in sixteenths.

    Combinational. The refinement is a power of two, so it adds one row to the products' tree: the weight (operand B)
    that meets the refined activation, shifted.

    Parameters
    ----------
    product : Product
        Codes of the operands, and their multiplier.
    arithmetic : Arithmetic

    Ports
    -----
    a, b : in
        Activations and weights, in codes of ``product`` with signs.
    refinement : in
        See :func:`hwsim.rtl.tile.refinement.refinement`.
    total : out
        Two's complement.
    """

    stage = Stage.PRODUCTS

    def __init__(self, product: Product, arithmetic: Arithmetic) -> None:
        super().__init__({
            "a": In(ELEMENTS * product.width("a")),
            "b": In(ELEMENTS * product.width("b")),
            "refinement": In(REFINEMENT_WIDTH),
            "total": Out(SUBGROUP_WIDTH),
        })  # fmt: skip
        self.product, self.arithmetic = product, arithmetic

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = Sum(len(self.total), self.arithmetic)
        # Halves times halves are quarters, the sum is in sixteenths: shift by 2.
        add_products(m, total, self.a, self.b, ELEMENTS, self.product, shift=2)
        width = MAGNITUDE_WIDTH + 1
        inverted = self.product.columns is not None
        weight: Value = Const(0, width)
        for i in range(ELEMENTS):
            code = self.b.word_select(i, self.product.width("b"))
            magnitude = ~code[:-1] if inverted else code[:-1]
            chosen = Cat(magnitude, code[-1]) & self.refinement[i].replicate(width)
            weight = sized(
                m, weight | chosen, width, f"weight_{i}", "The other operand at the refined lane, from that lane on"
            )
        distance, smaller = self.refinement[ELEMENTS : ELEMENTS + 2], self.refinement[-1]
        negative = sized(m, weight[-1] ^ smaller, 1, "refinement_negative")
        added = sized(
            m,
            weight[:-1] << distance,
            MAGNITUDE_WIDTH + 3,
            "refinement_magnitude",
            "What the refinement adds, without its sign",
        )
        total.add_ones_complement(added ^ negative.replicate(len(added)), negative)
        m.d.comb += self.total.eq(total.total(m, "sum"))
        return m


class MultipliedSum(wiring.Component):
    """M2XFP: sum of a block's subgroups, each times its multiplier ``(4 + k) / 4``, in 64ths.

    Combinational.

    Parameters
    ----------
    subgroups : int
    arithmetic : Arithmetic

    Ports
    -----
    totals : in
        Sums of the subgroups, two's complement, subgroup 0 in the lowest bits.
    multipliers : in, 2 bits a subgroup
        k of every subgroup.
    total : out
        Two's complement.
    """

    stage = Stage.PRODUCTS

    def __init__(self, subgroups: int, arithmetic: Arithmetic) -> None:
        super().__init__({
            "totals": In(subgroups * SUBGROUP_WIDTH),
            "multipliers": In(subgroups * METADATA_WIDTH),
            "total": Out(total_width(subgroups, LARGEST_SUBGROUP * 7)),
        })  # fmt: skip
        self.subgroups, self.arithmetic = subgroups, arithmetic

    def elaborate(self, platform: object) -> Module:
        m = Module()
        result = Sum(len(self.total), self.arithmetic)
        bits = result.bits
        for group in range(self.subgroups):
            total = self.totals.word_select(group, SUBGROUP_WIDTH)
            k = self.multipliers.word_select(group, METADATA_WIDTH)
            if self.arithmetic is Arithmetic.OPERATORS:
                product = total.as_signed() * Cat(k, 1)
                result.add_signed(
                    sized(
                        m,
                        product,
                        SUBGROUP_WIDTH + METADATA_WIDTH + 1,
                        f"product_{group}",
                        "Sum of the subgroup times its factor, 4 to 7 quarters",
                    )
                )
                continue
            for shift, factor in ((2, Const(1, 1)), (1, k[1]), (0, k[0])):
                add_bits(bits, total[:-1] & factor.replicate(SUBGROUP_WIDTH - 1), shift)
                # The sign bit has a negative weight: -bit = ~bit - 1.
                top = shift + SUBGROUP_WIDTH - 1
                bits[top].append(~(total[-1] & factor))
                add_constant(bits, -(1 << top))
        m.d.comb += self.total.eq(result.total(m, "sum"))
        return m
