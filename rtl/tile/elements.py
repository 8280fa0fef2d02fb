"""MMA units whose terms are products of elements: MXFP6, MXFP8, FP16, BF16, FP8."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import E8M0, MiniFloat, Nan
from hwsim.rtl.arith import Arithmetic, maximum, sized
from hwsim.rtl.hierarchy import Pipeline, Registers, instantiate
from hwsim.rtl.hierarchy import clocked as clock_from
from hwsim.rtl.tile.align import TermShape, present_exponent
from hwsim.rtl.tile.scale import exponent_field, significand
from hwsim.rtl.tile.stage import Stage
from hwsim.rtl.tile.tile import BACK, DotUnit, Tile, accumulator, tile_size

#: Places of pipeline registers, in the order of the data: ``exponent`` is behind the sums of both operands' exponents.
PLACES = ("exponent", *BACK)
#: Elements that share a scale.
BLOCK = 32
#: Terms whose exponents are compared in front of the register at ``exponent``, if there is one.
GROUP = 4


class ElementDecoder(wiring.Component):
    """Decode one row of A or B: element codes become signs, significands and exponents.

    Logic, then a register: latency 1. Significands, signs, infinities and NaN come out a cycle later than exponents if
    there is a register at ``exponent``, where the dot unit delays the exponents.

    Parameters
    ----------
    element : MiniFloat
        Element format.
    k : int
        Elements of the row.
    scaled : bool
        Whether the row has an E8M0 scale.
    pipe : Pipeline
        Pipeline of the tile.

    Ports
    -----
    clk : in, 1 bit
    enable : in
        Loads the registers: bit 0 those at the inputs, bit 1 those at ``exponent``.
    codes : in
        Element codes, element 0 in the lowest bits.
    scales : in, 8 bits; only scaled
        The row's E8M0 scale.
    exponents : out
        Exponent fields, 1 for subnormals.
    nonzero : out, a bit an element
        Whether the element is not zero.
    numbers : out
        Per element the significand with the hidden bit, and the sign above it.
    infinite : out, a bit an element; only elements that have infinities
        Whether the element is infinite.
    base : out, 8 bits; only scaled
        The scale.
    nan : out, 1 bit
        Whether an element or the scale is NaN.
    """

    stage = Stage.DECODE

    def __init__(self, element: MiniFloat, k: int, scaled: bool, pipe: Pipeline):
        ports = {
            "clk": In(1),
            "enable": In(1 + pipe.count("exponent")),
            "codes": In(k * element.width),
            "exponents": Out(k * element.exponent_width),
            "nonzero": Out(k),
            "numbers": Out(k * (element.significand_width + 1)),
            "nan": Out(1),
        }
        if element.has_infinity:
            ports["infinite"] = Out(k)
        if scaled:
            ports |= {"scales": In(E8M0.width), "base": Out(E8M0.width)}
        super().__init__(ports)
        self.element, self.k, self.scaled, self.pipe = element, k, scaled, pipe

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clock_from(m, self.clk)
        registers = Registers(m, self.pipe, self.enable)
        element = self.element
        codes = [self.codes.word_select(i, element.width) for i in range(self.k)]
        magnitudes = [code[: element.magnitude_width] for code in codes]
        flags = [element_flags(code, element) for code in magnitudes]
        nan: Value = Cat(*(flag for flag, _ in flags)).any()
        early = {
            "exponents": Cat(*(exponent_field(code, element) for code in magnitudes)),
            "nonzero": Cat(*(code.any() for code in magnitudes)),
        }
        numbers = [Cat(significand(code, element), code[-1]) for code in codes]
        late = {"numbers": Cat(*numbers)}
        if self.scaled:
            early["base"] = self.scales
            nan = nan | (self.scales == E8M0.nan_code)
        if element.has_infinity:
            late["infinite"] = Cat(*(infinite for _, infinite in flags))
        late["nan"] = nan
        for name, value in early.items():
            m.d.comb += getattr(self, name).eq(registers.input(value, f"{name}_q"))
        for name, value in late.items():
            value = registers.at("exponent", registers.input(value, f"{name}_q"), name)
            m.d.comb += getattr(self, name).eq(value)
        return m


def element_flags(code: Value, element: MiniFloat) -> tuple[Value, Value]:
    """Whether a magnitude code is NaN, and whether it is infinite."""
    # The OR of no bits: 0.
    infinite = code == element.infinity_code if element.has_infinity else code[:0].any()
    if element.nan is Nan.NONE:
        return code[:0].any(), infinite
    if element.nan is Nan.ALL_ONES:
        return code == element.nan_code, infinite
    fraction = element.fraction_width
    return code[fraction:].all() & code[:fraction].any(), infinite


class ElementProduct(wiring.Component):
    """Signed product of two elements' significands, in one's complement as the alignment takes it. Combinational.

    Ports
    -----
    a, b : in
        Significand, and the sign above it.
    q : out
        Magnitude, inverted where the product is negative, and the sign above it.
    """

    stage = Stage.PRODUCTS

    def __init__(self, element: MiniFloat):
        width = element.significand_width
        super().__init__({"a": In(width + 1), "b": In(width + 1), "q": Out(2 * width + 1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sign = self.a[-1] ^ self.b[-1]
        magnitude = sized(m, self.a[:-1] * self.b[:-1], len(self.q) - 1, "magnitude")
        m.d.comb += self.q.eq(Cat(magnitude ^ sign.replicate(len(magnitude)), sign))
        return m


def term_shape(element: MiniFloat, k: int, scaled: bool) -> TermShape:
    """Widths of the terms of an element format."""
    bias = 2 * element.bias + (2 * E8M0.bias if scaled else 0)
    return TermShape(
        terms=k,
        magnitude_width=2 * element.significand_width,
        fraction_width=2 * element.fraction_width,
        exponent_width=element.exponent_width + 1,
        bias=bias,
        least_exponent=2 - bias,
        base_width=E8M0.width + 1 if scaled else 0,
    )


class ElementDot(DotUnit):
    """One element of D whose terms are products of elements."""

    FRONT = ("exponent",)

    def __init__(
        self,
        element: MiniFloat,
        k: int,
        scaled: bool,
        operands: dict[str, wiring.Component],
        pipe: Pipeline,
        step: tuple[int, int, str],
        arithmetic: Arithmetic,
        shape: TermShape | None = None,
        group: int = GROUP,
    ):
        # With a register at ``exponent``, the maximum of every group is formed in front of it, the rest behind it.
        groups = -(-k // group) if "exponent" in pipe.chosen else 0
        super().__init__(shape or term_shape(element, k, scaled), operands, pipe, step, arithmetic, groups)
        self.element, self.k, self.scaled, self.group = element, k, scaled, group
        self.parts["mma_product"] = ElementProduct(element)

    def terms(self, m: Module, registers: Registers) -> dict[str, Value]:
        ports = {name: getattr(self, name) for name in self.signature.members}
        width, count = self.element.exponent_width, self.element.significand_width + 1
        q, exponents = [], []
        for i in range(self.k):
            product = Signal(self.shape.magnitude_width + 1, name=f"q_{i}")
            a, b = (ports[f"{side}_numbers"].word_select(i, count) for side in "ab")
            instantiate(m, self, "mma_product", f"product_{i}", a=a, b=b, q=product)
            q.append(product)
            a, b = (ports[f"{side}_exponents"].word_select(i, width) for side in "ab")
            exponents.append(sized(m, a + b, width + 1, f"exponent_{i}", "Sum of both elements' exponent fields"))
        nonzero = ports["a_nonzero"] & ports["b_nonzero"]
        outputs: dict[str, Value] = {"exponents": Cat(*exponents), "nonzero": nonzero}
        if self.exponents.groups:
            present = [
                sized(
                    m, present_exponent(e, nonzero[i]), len(e), f"present_{i}", "Exponent, 0 where the product is zero"
                )
                for i, e in enumerate(exponents)
            ]
            outputs["candidates"] = Cat(
                *(maximum(m, present[i : i + self.group], f"most_{i}") for i in range(0, self.k, self.group))
            )
        if self.scaled:
            outputs["base"] = sized(m, ports["a_base"] + ports["b_base"], self.shape.base_width, "base")
        outputs = {name: registers.at("exponent", value, name) for name, value in outputs.items()}
        outputs |= {"q": Cat(*q), "nan": ports["a_nan"] | ports["b_nan"]}
        return outputs | (self._infinities(m, registers, ports, q) if self.element.has_infinity else {})

    def _infinities(
        self, m: Module, registers: Registers, ports: dict[str, Value], q: list[Signal]
    ) -> dict[str, Value]:
        """``nan``, ``infinite`` and ``infinity_sign`` of the terms; zero times infinity and infinities of both signs
        are NaN."""
        zero = [registers.at("exponent", ~ports[f"{side}_nonzero"], f"{side}_zero") for side in "ab"]
        a, b = ports["a_infinite"], ports["b_infinite"]
        infinite = a | b
        negative = Cat(*(number[-1] for number in q))
        positive_any = sized(m, (infinite & ~negative).any(), 1, "infinite_positive")
        negative_any = sized(m, (infinite & negative).any(), 1, "infinite_negative")
        invalid = ((a & zero[1]) | (b & zero[0])).any() | (positive_any & negative_any)
        return {
            "nan": ports["a_nan"] | ports["b_nan"] | invalid,
            "infinite": positive_any | negative_any,
            "infinity_sign": negative_any,
        }


class ElementMMA(Tile):
    """MMA tile of a format whose terms are products; ports, latency and chaining: :class:`hwsim.rtl.tile.tile.Tile`.

    Parameters
    ----------
    elements : tuple of MiniFloat
        Formats that ``element`` may name.
    element : str
        Format of both operands' elements: ``e2m3`` or ``e3m2`` (MXFP6), ``e4m3`` or ``e5m2`` (MXFP8), ``fp16``,
        ``bf16``, ``e4m3`` or ``e5m2`` (without scales).
    scaled : bool
        Whether rows have E8M0 scales, one for 32 elements.
    k : int
        Elements of K in an instruction, 1 to 64, all of them terms of one accumulation step; 32 if scaled.
    m, n : int
        Rows and columns of D.
    fraction_bits, result_bits, rounding : int, int, str
        The accumulation step: bits that terms keep below the largest exponent (1 to 40), bits of the result below its
        leading one (1 to 23), and how the result is rounded: ``rz`` (towards zero) or ``rne`` (to nearest, ties to
        even). ``rne`` needs ``result_bits`` 23, or at least ``fraction_bits`` and no scale that reaches subnormals.
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
        self, elements: tuple[MiniFloat, ...], element: str, scaled: bool, k: int, m: int, n: int,
        fraction_bits: int, result_bits: int, rounding: str, pipeline: str, arithmetic: str,
        buffers: int = 0,
    ):  # fmt: skip
        tile_size(m, n)
        known = {e.name: e for e in elements}
        if element not in known:
            raise ValueError(f"element must be one of {', '.join(known)}, got {element!r}")
        if scaled and k != BLOCK:
            raise ValueError(f"k must be {BLOCK}, the elements that share a scale, got {k!r}")
        if not isinstance(k, int) or not 1 <= k <= 64:
            raise ValueError(f"k must be 1 to 64, got {k!r}")
        step = accumulator(fraction_bits, result_bits, rounding)
        pipe = Pipeline(PLACES, pipeline)
        operands: dict[str, wiring.Component] = {side: ElementDecoder(known[element], k, scaled, pipe) for side in "ab"}
        dot = ElementDot(known[element], k, scaled, operands, pipe, step, Arithmetic.of(arithmetic))
        super().__init__(m, n, operands, dot, buffers)
