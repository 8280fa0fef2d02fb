"""Lemmas: what each module of an MMA unit must do, for :mod:`hwsim.verification.lemma_proofs` to prove of its RTL.

The meaning of numbers, their biases and fraction bits, comes from the golden model's formats (:class:`Meaning`); the
widths of ports come from the RTL. A lemma that holds of an RTL module holds of its gates too, because they are proven
equal (:func:`hwsim.verification.proofs.by_module`). The logic between the modules, in ``mma_dot`` and in the tile, has
no lemma: wires, registers, flags of special values and the exponent field made of the largest exponent are left to
simulation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hwsim.base.errors import ToolError
from hwsim.golden.formats import E8M0, Nan
from hwsim.rtl.hierarchy import all_parts
from hwsim.rtl.tile.align import FP32_BIAS, FP32_FRACTION
from hwsim.rtl.tile.blocks import BlockDot
from hwsim.rtl.tile.elements import ElementDot
from hwsim.rtl.tile.products import MAGNITUDES, MIXED_MAGNITUDES
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
        element = mma.element(design.parameters)
        bias = 2 * element.bias + (2 * E8M0.bias if block else 0)
        return cls(2 * element.fraction_width, bias, 2 - bias)


def lemmas(design: Design) -> Iterator[Lemma]:
    """The lemmas of the modules of an MMA unit or of a quantisation engine."""
    parts: dict[str, Any] = dict(all_parts(design.component()))
    if not design.unit.mma:
        yield from engine_lemmas(parts)
        return
    dot = parts["mma_dot"]
    if isinstance(dot, BlockDot):
        codes = _codes(dot)
        for lemma in _block_lemmas(parts, dot, design.parameters.get("polarity", 0)):
            yield replace(lemma, codes=codes)
    else:
        yield from _element_lemmas(parts, dot)
    typed = isinstance(dot, BlockDot) and dot.scheme.typed
    yield from _step_lemmas(parts, dot, design.parameters, Meaning.of(design, typed))


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


def _codes(dot: BlockDot) -> str:
    """Verilog functions, for ``mma_codes.vh``, from an operand's code to its magnitude; 16 for codes not in use."""
    magnitudes = MIXED_MAGNITUDES if dot.scheme.typed else MAGNITUDES
    text = ""
    for side, code in dot.product.codes.items():
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
    for name, width in widths.items():
        if (1 << distances[name]) - 1 < width:
            raise ToolError(f"mma_sum: distances of {distances[name]} bits do not move all of {width} bits out")
    yield Lemma(
        "mma_exponents", "largest exponent and distances", "mma_step.v", "mma_exponents_spec",
        distances | {
            "T": shape.terms, "E": shape.exponent_width, "BASE": shape.base_width, "CW": shape.common_width,
            "TERM_OFFSET": max(0, FP32_BIAS - meaning.bias), "C_OFFSET": max(0, meaning.bias - FP32_BIAS),
            "GROUPS": part.groups,
        },
    )  # fmt: skip
    yield Lemma(
        "mma_sum", "total is the sum of terms moved and cut", "mma_step.v", "mma_sum_spec",
        distances | {
            "T": shape.terms, "M": shape.magnitude_width, "KEPT": kept, "W": len(summed.total),
            # Yosys takes no negative numbers for parameters.
            "UP": max(up, 0), "DOWN": max(-up, 0),
        },
        "total",
    )  # fmt: skip
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
