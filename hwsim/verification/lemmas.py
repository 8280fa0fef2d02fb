"""Lemmas: what each module of an MMA unit must do, for :mod:`hwsim.verification.lemma_proofs` to prove of its RTL.

The meaning of numbers, their biases and fraction bits, comes from the golden model's formats (:class:`Meaning`); the
widths of ports come from the RTL. A lemma that holds of an RTL module holds of its gates too, because they are proven
equal (:func:`hwsim.verification.proofs.by_module`). The logic between the modules, in ``mma_dot`` and in the tile, has
no lemma: wires, registers, flags of special values and the exponent field made of the largest exponent are left to
simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from hwsim.base.errors import ToolError
from hwsim.golden.formats import E2M1, E8M0, MiniFloat, Nan
from hwsim.rtl.hierarchy import all_parts
from hwsim.rtl.tile.align import FP32_BIAS, FP32_FRACTION
from hwsim.rtl.tile.blocks import BlockDot
from hwsim.rtl.tile.elements import BLOCK, ElementDot
from hwsim.rtl.tile.mixed import MixedDot
from hwsim.rtl.tile.operands import MXFP4
from hwsim.rtl.tile.products import MAGNITUDES, MIXED_MAGNITUDES, Product
from hwsim.units.mixed import MixedUnit
from hwsim.units.unit import Design
from hwsim.verification.engine_lemmas import engine_lemmas
from hwsim.verification.lemma import Lemma


@dataclass(frozen=True)
class Meaning:
    """What the integers of a term stand for.

    Attributes
    ----------
    fraction : int
        Fraction bits of the term's significand: q of :mod:`hwsim.golden.terms`.
    bias : int
        The raw exponent is the sum of what decoders make of both operands' exponent fields, less this.
    least : int
        The smallest raw exponent of a term that is not zero.
    """

    fraction: int
    bias: int
    least: int

    @classmethod
    def of(cls, design: Design, typed: bool = False) -> Meaning:
        """The meaning of a design's terms, from :mod:`hwsim.golden.terms`; ``typed`` where blocks have a type."""
        mma = design.unit.mma
        assert mma is not None, f"{design.name} is an MMA unit"
        block, term = mma.shape(design.parameters)[3], mma.term(design.parameters)
        if term is not None:
            bias = 2 * term.scale.bias - term.constant(block)
            # In a format with subnormals, exponent field 0 stands for the same exponent as field 1.
            least = 2 * int(term.scale.has_subnormals) - bias
            # Decoders of blocks with a type give field and type, less 1.
            return cls(term.q(block), bias - 2 * int(typed), least)
        if isinstance(mma, MixedUnit):
            formats = mma.formats(design.parameters)
            bias = 2 * max(e.bias for e in formats) + 2 * E8M0.bias
            return cls(2 * max(e.fraction_width for e in formats), bias, 2 - bias)
        element = mma.element(design.parameters)
        bias = 2 * element.bias + (2 * E8M0.bias if block else 0)
        return cls(2 * element.fraction_width, bias, 2 - bias)


def lemmas(design: Design) -> Iterator[Lemma]:
    """The lemmas of the modules of an MMA unit or of a quantisation engine."""
    parts: dict[str, Any] = dict(all_parts(design.component()))
    if not design.unit.mma:
        yield from engine_lemmas(parts)
        return
    dot, codes = parts["mma_dot"], ""
    if isinstance(dot, BlockDot):
        codes = _codes(dot.product, dot.scheme.typed)
        for lemma in _block_lemmas(parts, dot, design.parameters.get("polarity", 0)):
            yield replace(lemma, codes=codes)
    elif isinstance(dot, MixedDot):
        codes = _codes(MXFP4.multiplier(parts["mma_decode_a"].arithmetic), False)
        for lemma in _mixed_lemmas(parts, dot):
            yield replace(lemma, codes=codes)
    else:
        yield from _element_lemmas(parts, dot)
    typed = isinstance(dot, BlockDot) and dot.scheme.typed
    for lemma in _step_lemmas(parts, dot, design.parameters, Meaning.of(design, typed)):
        yield replace(lemma, codes=codes)


def _block_lemmas(parts: dict[str, Any], dot: BlockDot, polarity: int) -> Iterator[Lemma]:
    scheme, typed = dot.scheme, int(dot.scheme.typed)
    fraction = scheme.scale.fraction_width
    operand = dot.product.width("a")
    assert operand == dot.product.width("b"), "specifications have one width for both sides"
    for side in "ab":
        part = parts[f"mma_decode_{side}"]
        settings = {
            "K": part.k, "BLOCK": part.k // part.blocks, "FRACTION": fraction, "TYPED": typed, "POLARITY": polarity,
            "REFINED": int(part.refined), "WIDTH": operand, "OF_B": int(side == "b"),
        }  # fmt: skip
        yield Lemma(f"mma_decode_{side}", "operands and scales", "mma_block.v", "mma_decode_spec", settings)
    block = parts["mma_block"]
    width = len(block.total)
    if scheme.refined:
        group = parts["mma_subgroup"].total
        yield Lemma(
            "mma_subgroup", "total is the sum of products and refinement", "mma_block.v", "mma_subgroup_spec",
            {"W": len(group), "WIDTH": operand}, "total",
        )  # fmt: skip
        yield Lemma(
            "mma_block", "total is the sum of multiplied subgroups", "mma_block.v", "mma_multiplied_spec",
            {"S": len(group), "W": width, "G": block.subgroups}, "total",
        )  # fmt: skip
    else:
        yield Lemma(
            "mma_block", "total is the sum of products", "mma_block.v", "mma_block_spec",
            {"LANES": block.lanes, "W": width, "WIDTH": operand}, "total",
        )  # fmt: skip
    scale = parts["mma_scale"]
    settings = {"S": len(scale.total), "W": len(scale.q)}
    if fraction:
        yield Lemma("mma_factor", "factor is the product of significands", "mma_block.v", "mma_factor_spec", {})
        yield Lemma("mma_scale", "q is the sum times the factor", "mma_block.v", "mma_scale_spec", settings, "q")
    else:
        yield Lemma("mma_scale", "q is the sum", "mma_block.v", "mma_unscaled_spec", settings)


def _mixed_lemmas(parts: dict[str, Any], dot: MixedDot) -> Iterator[Lemma]:
    formats, common = dot.formats, dot.formats.common
    elements, blocks = formats.elements, formats.has_blocks

    def packed(width: int, value: Callable[[MiniFloat], int]) -> int:
        return sum(value(e) << (width * i) for i, e in enumerate(elements))

    settings = {
        "COUNT": len(elements), "C": max(formats.element_width, 1), "BLOCKS": int(blocks), "STRIDE": formats.stride,
        "EXPONENT": common.exponent_width, "FRACTION": common.fraction_width, "BIAS": common.bias,
        "FRACTIONS": packed(4, lambda e: e.fraction_width), "EXPONENTS": packed(4, lambda e: e.exponent_width),
        "BIASES": packed(5, lambda e: e.bias), "IEEE": packed(1, lambda e: int(e.nan is Nan.IEEE)),
        "ALL_ONES": packed(1, lambda e: int(e.nan is Nan.ALL_ONES)),
        "E2M1": elements.index(E2M1) if blocks else 0,
    }  # fmt: skip
    # A block's term is 2**(a + b - 2 * 127 + constant), an exponent of products 2**(sum - bias).
    offset = MXFP4.term.constant(BLOCK) + 2 * common.bias
    for side in "ab":
        part = parts[f"mma_decode_{side}"]
        of_side = {"OF_B": int(side == "b"), "OFFSET": offset if side == "a" else 0, "BW": part.base_width}
        if blocks:
            of_side["WIDTH"] = len(part.operands) // (2 * BLOCK)
        yield Lemma(
            f"mma_decode_{side}", "elements and scales of every format", "mma_mixed.v", "mma_mixed_decode_spec",
            settings | of_side,
        )  # fmt: skip
    yield Lemma(
        "mma_product", "q is the signed product", "mma_element.v", "mma_product_spec", {"S": common.significand_width}
    )
    if blocks:
        block, scale = parts["mma_block"], parts["mma_scale"]
        yield Lemma(
            "mma_block", "total is the sum of products", "mma_block.v", "mma_block_spec",
            {"LANES": block.lanes, "W": len(block.total), "WIDTH": of_side["WIDTH"]}, "total",
        )  # fmt: skip
        settings = {"S": len(scale.total), "W": len(scale.q)}
        yield Lemma("mma_scale", "q is the sum", "mma_block.v", "mma_unscaled_spec", settings)


def _codes(product: Product, typed: bool) -> str:
    """Verilog functions, for ``mma_codes.vh``, from an operand's code to its magnitude; 16 for codes not in use."""
    magnitudes = MIXED_MAGNITUDES if typed else MAGNITUDES
    text = ""
    for side, code in product.codes.items():
        name, width = f"decoded_{side}", len(code)
        written = {sum((magnitude in bit) << i for i, bit in enumerate(code)): magnitude for magnitude in magnitudes}
        rows = "".join(f" {width}'d{number}: {name} = {magnitude};" for number, magnitude in written.items())
        text += f"function [4:0] {name}(input [{width - 1}:0] code);\n"
        text += f"  case (code){rows} default: {name} = 16; endcase\nendfunction\n"
    return text


def _element_lemmas(parts: dict[str, Any], dot: ElementDot) -> Iterator[Lemma]:
    element = dot.element
    settings = {
        "K": dot.k, "EXPONENT": element.exponent_width, "FRACTION": element.fraction_width, "SCALED": int(dot.scaled),
        "IEEE": int(element.has_infinity), "ALL_ONES": int(element.nan is Nan.ALL_ONES),
    }  # fmt: skip
    for side in "ab":
        yield Lemma(f"mma_decode_{side}", "elements and scale", "mma_element.v", "mma_decode_spec", settings)
    settings = {"S": element.significand_width}
    yield Lemma("mma_product", "q is the signed product", "mma_element.v", "mma_product_spec", settings)


def _step_lemmas(
    parts: dict[str, Any], dot: BlockDot | ElementDot, settings: dict[str, Any], meaning: Meaning
) -> Iterator[Lemma]:
    shape, kept = dot.shape, settings["fraction_bits"]
    part, summed, normalise = parts["mma_exponents"], parts["mma_sum"], parts["mma_normalise"]
    distances = {"D": shape.distance_width(kept), "CD": len(part.c_distance)}
    up = kept - meaning.fraction
    # A distance of all ones also stands for all larger distances, so it must shift everything out.
    widths = {"D": shape.magnitude_width + max(up, 0), "CD": FP32_FRACTION + 1 + max(kept - FP32_FRACTION, 0)}
    extra = MXFP4.term.q(BLOCK) - meaning.fraction if shape.wide else 0
    widths["D"] = max(widths["D"], shape.magnitude_width + extra)
    for name, width in widths.items():
        if (1 << distances[name]) - 1 < width:
            raise ToolError(f"mma_sum: distances of {distances[name]} bits do not move all of {width} bits out")
    file = "mma_mixed.v" if shape.wide else "mma_step.v"
    mixed = "_mixed" if shape.wide else ""
    exponents = distances | {
        "T": shape.terms, "E": shape.exponent_width, "BASE": shape.base_width, "CW": shape.common_width,
        "C_OFFSET": max(0, meaning.bias - FP32_BIAS), "GROUPS": part.groups,
    }  # fmt: skip
    if not shape.wide:
        exponents["TERM_OFFSET"] = max(0, FP32_BIAS - meaning.bias)
    if isinstance(dot, ElementDot):
        exponents["GROUP"] = dot.group
    yield Lemma("mma_exponents", "largest exponent and distances", file, f"mma{mixed}_exponents_spec", exponents)
    moved = distances | {"T": shape.terms, "M": shape.magnitude_width, "KEPT": kept, "W": len(summed.total)}
    if shape.wide:
        moved |= {"EXTRA": extra, "FRACTION": meaning.fraction}
    else:
        # Yosys takes no negative numbers for parameters.
        moved |= {"UP": max(up, 0), "DOWN": max(-up, 0)}
    yield Lemma("mma_sum", "total is the sum of terms moved and cut", file, f"mma{mixed}_sum_spec", moved, "total")
    underflows = meaning.least - kept < 1 - FP32_BIAS
    if underflows != normalise.may_underflow:
        raise ToolError(f"mma_normalise: results of terms {'may' if underflows else 'cannot'} be subnormal")
    rounding, result = settings["rounding"], settings["result_bits"]
    bits = f" to {result} bits" if result < FP32_FRACTION else ""
    yield Lemma(
        "mma_normalise", f"d is the sum in FP32, rounded {rounding}{bits}", "mma_step.v", "mma_normalise_spec",
        {
            "W": len(normalise.total), "E": len(normalise.exponent), "KEPT": kept, "R": result,
            "LIMIT": len(normalise.limit) if underflows else 0, "RNE": int(rounding == "rne"),
        },
        cases=list(_normalised(len(normalise.total), len(normalise.exponent), underflows)),
    )  # fmt: skip


def _normalised(width: int, exponent: int, underflows: bool) -> Iterator[dict[str, int]]:
    """Cases of normalisation, which together cover every sum and every exponent.

    The exponent is the larger of the inputs ``any`` and ``least`` (see ``mma_step.v``). For each place of the leading
    one there is a case with all exponents that make the result normal. Where results may be subnormal, there is also a
    case for each exponent, with all sums that are subnormal then; exponents below -32 share cases.
    """
    lowest = word_of("least", exponent, -1 << (exponent - 1))
    for sign in (0, 1):
        equal = {f"total[{i}]": sign for i in range(width)}
        yield equal | lowest
        for zeros in range(width - 1):
            last = width - 2 - zeros
            leading = {f"total[{i}]": sign if i > last else 1 - sign for i in range(last, width)}
            yield leading | (word_of("least", exponent, zeros + 1) if underflows else lowest)
        if underflows:
            for value in range(-32, width - 1):
                above = {f"total[{i}]": sign for i in range(width - max(value, 1), width)}
                yield above | word_of("any", exponent, value) | lowest
            for first in range(5, exponent - 1):
                ones = {f"any[{i}]": int(i > first) for i in range(first, exponent)}
                yield {f"total[{width - 1}]": sign} | ones | lowest


def word_of(name: str, width: int, value: int) -> dict[str, int]:
    """Bits of input ``name`` for a constant ``value``, in two's complement if it is negative."""
    return {f"{name}[{i}]": value >> i & 1 for i in range(width)}
