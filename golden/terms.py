"""Definition of one term of an MMA, for every format: a significand P, a raw exponent E and fraction bits q. Its
value is ``P * 2**(E - q)``, with ``|P| * 2**-q < 4``.

The exponent of a code or scale is that of its hidden bit: ``max(field, 1) - bias``, so that a subnormal
(hidden bit 0) has ``1 - bias``; for E8M0, ``byte - 127``. Its significand is the fraction with the
hidden bit, an integer in units of ``2**-fraction_width``; for E8M0, 1.

**Element terms** (``ELEMENT_TERMS``: fp16, bf16, e4m3, e5m2, mxfp6_*, mxfp8_*). One term is one product.
P = the signed product of both significands, q = the sum of their fraction widths, E = the sum of both elements'
exponents and, for MX formats, of both scales' exponents. No constant. Two different MX formats (``MX_ELEMENTS``, mxfp4
among them) are multiplied so too.

**Block terms** (``BLOCK_TERMS``: nvfp4, mixfp4, mxfp4, m2xfp). One term is one block of g elements.
P = S * M: S the exact sum of the block's products, as an integer; M the product of both scales' significands.
q is the smallest that makes ``|P| * 2**-q < 4`` for the bound of P below. E = the sum of both scales' exponents
+ a constant, which makes up for q and for the units of S and M.

========  ==========================  =====  ====================  ===  ==  ========
format    products                    units  bound of P            g    q   constant
========  ==========================  =====  ====================  ===  ==  ========
nvfp4     12 * 12 half units          2**-2  16 * 144 * 15 * 15    16   17  9
mixfp4    12 * 12 half units          2**-2  16 * 144 * 15 * 15    16   17  9
mxfp4     12 * 12 half units          2**-2  32 * 144              32   11  9
mxfp4     (blocks of 16: OAS)         2**-2  16 * 144              16   10  8
m2xfp     56 eighths * 12 halves * 7  2**-6  32 * 56 * 12 * 7      32   16  10
========  ==========================  =====  ====================  ===  ==  ========

With S in units of ``2**-u``, ``q = bits(bound) - 2`` and ``constant = q - u - 2 * scale fraction bits``. That
gives every row, and also blocks of 32 in nvfp4 and mixfp4 (q 18, constant 10). In m2xfp the factor 4 + k of a
weight's subgroup multiplies the sum over the subgroup.

In mixfp4 an element n of an E1M2 block enters P as n half units, and the block's type adds 1 to E, which doubles the
term: an NVFP4 tensor gives the same bits as mixfp4 and as nvfp4.

A term with P = 0 takes no part in the largest exponent, whatever its scales. NaN is decided before P: a NaN
scale or element makes its term NaN, also where the other operand is zero.

Sources: NVIDIA NVFP4; MixFP4, arXiv 2605.31035; OCP MX v1.0; M2XFP, arXiv 2601.19213.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .accumulate import NO_EXPONENT
from .api import dequantize
from .formats import BF16, E2M1, E2M3, E3M2, E4M3, E5M2, E8M0, FP16, UE4M3, MiniFloat
from .m2xfp import SUBGROUP
from .tensor import BlockTensor

#: Element format of every format whose terms are products. MX formats also have an E8M0 scale per block.
ELEMENT_TERMS: dict[str, MiniFloat] = {
    "fp16": FP16,
    "bf16": BF16,
    "e4m3": E4M3,
    "e5m2": E5M2,
    "mxfp6_e2m3": E2M3,
    "mxfp6_e3m2": E3M2,
    "mxfp8_e4m3": E4M3,
    "mxfp8_e5m2": E5M2,
}

#: Element format of every OCP MX format, each of which an instruction multiplies by each: products of different formats
#: are terms of their own.
MX_ELEMENTS = {"mxfp4": E2M1, **{name: e for name, e in ELEMENT_TERMS.items() if name.startswith("mx")}}


@dataclass(frozen=True)
class BlockTerm:
    """A format whose terms are blocks.

    Parameters
    ----------
    systems : mapping
        By block size, the systems (``golden.SYSTEMS``) that operands A and B are quantised to and decoded as.
    a_largest, b_largest : int
        Largest magnitude of an operand in P, in its units; ``b_largest`` includes the subgroup's multiplier.
    a_unit, b_unit : int
        Decoded operands are integers in units of ``2**-unit``.
    multiplier_unit : int
        The subgroup's multiplier is an integer in units of ``2**-multiplier_unit``.
    scale : MiniFloat
        Format of the block scales.
    has_type : bool
        Whether the bit above the scale chooses, block by block, between E2M1 and E1M2; E1M2 adds 1 to the raw
        exponent.
    has_metadata : bool
        Whether a byte of metadata stands beside every block scale.
    """

    systems: Mapping[int, tuple[str, str]]
    a_largest: int
    b_largest: int
    scale: MiniFloat
    a_unit: int = 1
    b_unit: int = 1
    multiplier_unit: int = 0
    has_type: bool = False
    has_metadata: bool = False

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Block sizes that an instruction takes."""
        return tuple(self.systems)

    @property
    def unit(self) -> int:
        """u: S is in units of ``2**-u``."""
        return self.a_unit + self.b_unit + self.multiplier_unit

    def q(self, block_size: int) -> int:
        """Fraction bits of P: ``|P| * 2**-q < 4``."""
        significand = (1 << self.scale.significand_width) - 1
        return (block_size * self.a_largest * self.b_largest * significand**2).bit_length() - 2

    def constant(self, block_size: int) -> int:
        """Constant that is added to the sum of the scales' exponents to give the raw exponent."""
        return self.q(block_size) - self.unit - 2 * self.scale.fraction_width


BLOCK_TERMS: dict[str, BlockTerm] = {
    "nvfp4": BlockTerm(dict.fromkeys((16, 32), ("nvfp4", "nvfp4")), 12, 12, UE4M3),
    "mixfp4": BlockTerm(dict.fromkeys((16, 32), ("mixfp4", "mixfp4")), 12, 12, UE4M3, has_type=True),
    # Blocks of 16 belong to OAS, which is MXFP4 with another rule for the scale.
    "mxfp4": BlockTerm({16: ("mxfp4_oas", "mxfp4_oas"), 32: ("mxfp4", "mxfp4")}, 12, 12, E8M0),
    "m2xfp": BlockTerm(
        {32: ("m2xfp_elem_em", "m2xfp_sg_em")},
        a_largest=56,
        b_largest=12 * 7,
        a_unit=3,
        multiplier_unit=2,
        scale=E8M0,
        has_metadata=True,
    ),
}


def exponents(fmt: MiniFloat) -> np.ndarray:
    """Raw exponent of every code, int32; NO_EXPONENT for zero."""
    codes = np.arange(1 << fmt.width)
    field = (codes & ((1 << fmt.magnitude_width) - 1)) >> fmt.fraction_width
    raw = np.maximum(field, int(fmt.has_subnormals)) - fmt.bias
    return np.where(fmt.values == 0, NO_EXPONENT, raw).astype(np.int32)


def scale_tables(fmt: MiniFloat) -> tuple[np.ndarray, np.ndarray]:
    """Value (float64) and raw exponent (int32) of every scale byte; bit 7 of a UE4M3 byte is ignored."""
    copies = 256 >> fmt.width
    return np.tile(fmt.values.astype(np.float64), copies), np.tile(exponents(fmt), copies)


def block_scale_tables(t: BlockTensor, term: BlockTerm) -> tuple[np.ndarray, np.ndarray]:
    """:func:`scale_tables` of an operand's block scales; the raw exponents include the type, where there is one."""
    values, raw = scale_tables(term.scale)
    if term.has_type:
        raw = raw + (np.arange(256, dtype=np.int32) >> term.scale.width ^ t.options.get("polarity", 0))
    return values, raw


def operand_integers(t: BlockTensor, unit: int) -> np.ndarray:
    """Decoded elements of ``t``, without block scales, tensor scale and M2XFP multipliers, as integers.

    Returns
    -------
    int8, of the shape of ``t.codes``, in units of ``2**-unit``.
    """
    one = E8M0.bias  # Scale byte of 1.
    scales, metadata = np.full_like(t.scales, one), t.metadata
    if t.format in ("nvfp4", "mixfp4"):
        one = UE4M3.bias << UE4M3.fraction_width
        scales = (t.scales & np.uint8(0x80)) | np.uint8(one)
    if t.format == "m2xfp_sg_em":
        metadata = np.zeros_like(t.metadata)
    unscaled = replace(t, shape=t.codes.shape, scales=scales, metadata=metadata, tensor_scale=None, tensor_amax=None)
    return (dequantize(unscaled) * np.float32(1 << unit)).astype(np.int8)


def multipliers(t: BlockTensor) -> np.ndarray:
    """Factor that multiplies each subgroup's sum: uint8 [..., K / 8], ``4 + k`` for M2XFP weights, else 1."""
    if t.format == "m2xfp_sg_em":
        assert t.metadata is not None
        return t.metadata + np.uint8(4)
    return np.ones((*t.codes.shape[:-1], t.codes.shape[-1] // SUBGROUP), np.uint8)
