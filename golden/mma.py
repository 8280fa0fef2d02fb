"""Matrix multiply-accumulate as a tensor core does it: D[m, n] = C[m, n] + sum over k of A[m, k] * B[n, k].

``golden.terms`` says what a term is, ``golden.accumulate`` how a step adds terms to C; this module chains steps:
each takes the next ``accumulator.terms`` terms along K, and its D is the C of the next step. A last step with
fewer terms is filled up with zeros, which change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .accumulate import BLACKWELL_FP8, BLACKWELL_FP16, BLOCK, CANONICAL_NAN, Accumulator
from .chain import block_terms, element_terms, tiles
from .engines import to_bf16
from .formats import E2M1, E8M0, Rounding, checked_codes
from .kernels import spread
from .layouts import pack_bits, unpack_bits
from .mbs import MACRO_BLOCK
from .tensor import BlockTensor, block_tensor, one_of
from .terms import (
    BLOCK_TERMS,
    ELEMENT_TERMS,
    MX_ELEMENTS,
    block_scale_tables,
    exponents,
    multipliers,
    operand_integers,
    scale_tables,
)

#: Names that :func:`instruction` takes.
FORMATS = (*BLOCK_TERMS, *ELEMENT_TERMS)
#: Systems of MXFP4 with blocks of 16; those of MBS have factors, which :func:`mma` takes account of.
_MXFP4_16 = ("mxfp4_oas", "mxfp4_mbs_static", "mxfp4_mbs_dynamic")
#: Names that :func:`mma_elements` takes.
UNSCALED = tuple(name for name in ELEMENT_TERMS if not name.startswith("mx"))
#: Pairs of systems that :func:`mma` multiplies, A's first, and the datapath formats of A and B that multiply them.
PAIRS = {
    **{(a, b): ("nvfp4", "nvfp4") for a in ("nvfp4", "four_over_six") for b in ("nvfp4", "four_over_six")},
    ("mixfp4", "mixfp4"): ("mixfp4", "mixfp4"),
    **{(a, b): ("mxfp4", "mxfp4") for a in ("mxfp4", *_MXFP4_16) for b in ("mxfp4", *_MXFP4_16)},
    **{(a, b): (a, b) for a in MX_ELEMENTS for b in MX_ELEMENTS},
    ("m2xfp_elem_em", "m2xfp_sg_em"): ("m2xfp", "m2xfp"),
}
#: MicroMix: datapath format of a segment, by its element.
SEGMENTS = {element.name: name for name, element in MX_ELEMENTS.items()}

_MX_BLOCK = 32
_METADATA_WIDTH = 2
_TYPE_BIT = 7


def default_accumulator(format: str, b_format: str | None = None) -> Accumulator:
    """The accumulator that Blackwell is reported to have: BLOCK for block terms, else BLACKWELL_FP16 or
    BLACKWELL_FP8, by the width of the elements."""
    if b_format in (None, format):
        if format in BLOCK_TERMS:
            return BLOCK
        if ELEMENT_TERMS[format].width == 16:
            return BLACKWELL_FP16
    return BLACKWELL_FP8


def instruction_k(format: str, b_format: str | None = None) -> int:
    """K of an instruction over 256 bits of each operand: 64 (4 bits), 32 (6 and 8 bits, two formats) or 16."""
    if b_format in (None, format):
        if format in BLOCK_TERMS:
            return 64
        if ELEMENT_TERMS[format].width == 16:
            return 16
    return 32


def mma(
    a: BlockTensor,
    b: BlockTensor,
    c: np.ndarray | None = None,
    accumulator: Accumulator | None = None,
    *,
    between_segments: str = "fp32",
) -> np.ndarray:
    """``c + a @ b.T`` of quantised matrices, bit for bit as a chain of instructions gives it.

    Tensor scales are left out: with them, the product is ``D * (a.tensor_scale * b.tensor_scale)``, two FP32
    multiplications after the tensor core. C is in the units of D. MicroMix takes one instruction chain per
    segment, in the segment's formats, and the D of a segment is the C of the next.

    MBS: the chain of a macro-block begins with C = 0, and vector units add its result to D:
    ``d = d + partial * (1/f_a * 1/f_b)``, every operation rounded to FP32 (nearest, ties to even); the factor of an
    operand without MBS is 1.

    Parameters
    ----------
    a, b : BlockTensor [M, K] and [N, K]
        Systems as in ``PAIRS``, or both MicroMix with one permutation. M2XFP: A Elem-EM, B Sg-EM.
    c : float32 [M, N], optional
        Zeros by default.
    accumulator : Accumulator, optional
        By default :func:`default_accumulator` of each pair of formats. EXACT rounds once (MicroMix: once a segment;
        MBS: once a macro-block).
    between_segments : {"fp32", "bf16"}
        MicroMix: format of D between segments; its public kernel writes BF16 (nearest, ties to even).

    Returns
    -------
    float32 [M, N]

    Raises
    ------
    TypeError
        If ``a`` or ``b`` is not a BlockTensor, or ``accumulator`` no Accumulator.
    ValueError
        For systems that no instruction multiplies, and shapes or block sizes that do not fit.
    """
    a, b = block_tensor("a", a), block_tensor("b", b)
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"a must be [M, K] and b [N, K], got shapes {a.shape} and {b.shape}")
    rows, columns = len(a.codes), len(b.codes)
    d = np.zeros((1, rows, columns), np.uint32)
    if c is not None:
        c = np.asarray(c)
        if c.dtype != np.float32 or c.shape != (a.shape[0], b.shape[0]):
            raise ValueError(f"c must be float32 {(a.shape[0], b.shape[0])}, got {c.dtype} {c.shape}")
        d[0, : c.shape[0], : c.shape[1]] = np.ascontiguousarray(c).view(np.uint32)
    one_of("between_segments", between_segments, ("fp32", "bf16"))
    if a.factors is not None or b.factors is not None:
        d = _macro_blocks(a, b, d, accumulator)
    else:
        for number, (formats, part) in enumerate(_segments(a, b)):
            if number and between_segments == "bf16":
                d = to_bf16(d).astype(np.uint32) << np.uint32(16)
            d = _segment(a, b, formats, part, d, accumulator)
    return d[0, : a.shape[0], : b.shape[0]].view(np.float32)


def _segment(
    a: BlockTensor,
    b: BlockTensor,
    formats: tuple[str, str],
    part: slice,
    d: np.ndarray,
    accumulator: Accumulator | None,
) -> np.ndarray:
    """C = ``d`` plus the product of a range of K, FP32 bits."""
    x, y = (_raw(t, format, part) for t, format in zip((a, b), formats, strict=True))
    return instruction(
        *x[:2], *y[:2], d, formats[0], accumulator, a_metadata=x[2], b_metadata=y[2], b_format=formats[1]
    )


def _macro_blocks(a: BlockTensor, b: BlockTensor, d: np.ndarray, accumulator: Accumulator | None) -> np.ndarray:
    """C = ``d`` plus the product of tensors at least one of which has factors; see :func:`mma`."""
    [(formats, whole)] = _segments(a, b)
    reciprocals = []
    for name, t in (("a", a), ("b", b)):
        shape = (len(t.codes), t.codes.shape[1] // MACRO_BLOCK)
        if t.codes.shape[1] % MACRO_BLOCK or (t.factors is not None and t.factors.shape != shape):
            raise ValueError(f"{name} must have whole macro-blocks of {MACRO_BLOCK}, got K = {t.codes.shape[1]}")
        stored = np.zeros(shape, np.uint8) if t.factors is None else t.factors
        reciprocals.append(np.float32(1) / (np.float32(1) + stored.astype(np.float32) / np.float32(256)))
    total = d.view(np.float32)
    for number in range(whole.stop // MACRO_BLOCK):
        part = slice(number * MACRO_BLOCK, (number + 1) * MACRO_BLOCK)
        partial = _segment(a, b, formats, part, np.zeros_like(d), accumulator).view(np.float32)
        of_a, of_b = (r[:, number] for r in reciprocals)
        with np.errstate(over="ignore", invalid="ignore"):
            total = total + partial * (of_a[:, None] * of_b)
    bits = np.ascontiguousarray(total).view(np.uint32)
    return np.where(np.isnan(total), np.uint32(CANONICAL_NAN), np.where(total == 0, np.uint32(0), bits))


def mma_elements(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray | None,
    format: str,
    accumulator: Accumulator | None = None,
) -> np.ndarray:
    """``c + a @ b.T`` of matrices of unscaled elements.

    Parameters
    ----------
    a, b : uint8 (e4m3, e5m2) or uint16 (fp16, bf16) [M, K] and [N, K]
        Raw bits.
    c : float32 [M, N] or None
        None: zeros.
    format : {"fp16", "bf16", "e4m3", "e5m2"}
    accumulator : Accumulator, optional
        By default :func:`default_accumulator`.

    Returns
    -------
    float32 [M, N]

    Raises
    ------
    TypeError
        If ``accumulator`` is no Accumulator.
    ValueError
        For another format, and dtypes or shapes that do not fit.
    """
    one_of("format", format, UNSCALED)
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"a must be [M, K] and b [N, K], got shapes {a.shape} and {b.shape}")
    shape = len(a), len(b)
    c = np.zeros(shape, np.float32) if c is None else np.asarray(c)
    if c.dtype != np.float32 or c.shape != shape:
        raise ValueError(f"c must be float32 {shape}, got {c.dtype} {c.shape}")
    bits = np.ascontiguousarray(c).view(np.uint32)
    return instruction(a[None], None, b[None], None, bits[None], format, accumulator)[0].view(np.float32)


def instruction(
    a_codes: np.ndarray,
    a_scales: np.ndarray | None,
    b_codes: np.ndarray,
    b_scales: np.ndarray | None,
    c: np.ndarray,
    format: str,
    accumulator: Accumulator | None = None,
    *,
    a_metadata: np.ndarray | None = None,
    b_metadata: np.ndarray | None = None,
    polarity: int = 0,
    b_format: str | None = None,
) -> np.ndarray:
    """A batch of independent instructions on raw bits.

    Parameters
    ----------
    a_codes, b_codes : uint8 [V, M, K] and [V, N, K]; uint16 for fp16 and bf16
        Element codes. K is any number of whole blocks; beyond one step, steps are chained.
    a_scales, b_scales : uint8 [V, M, K / g] and [V, N, K / g], or None
        Raw scale bytes. 4-bit formats: their shape sets the block size g, 16 or 32 (m2xfp: 32); mxfp6 and
        mxfp8: g = 32. None for fp16, bf16, e4m3 and e5m2, which have no scale.
    c : uint32 [V, M, N]
        FP32 bits.
    format : str
        One of ``FORMATS``. In m2xfp, A holds activations (Elem-EM) and B weights (Sg-EM).
    accumulator : Accumulator, optional
        By default :func:`default_accumulator`.
    a_metadata, b_metadata : uint8 [V, M, K / 32] and [V, N, K / 32]
        m2xfp only: the metadata of a block, with subgroup i in bits 2i + 1 and 2i.
    polarity : {0, 1}
        mixfp4 only: type bit (bit 7 of a scale byte) of E2M1 blocks.
    b_format : str, optional
        Format of B if it is another: both one of ``MX_ELEMENTS`` then, and each product is a term, those of mxfp4's
        elements too.

    Returns
    -------
    uint32 [V, M, N]
        FP32 bits.

    Raises
    ------
    TypeError
        If ``accumulator`` is no Accumulator.
    ValueError
        For an unknown format or pair of formats, arrays whose dtypes or shapes do not fit, codes beyond the element's
        width, and a ``polarity`` other than 0 in another format than mixfp4.
    """
    one_of("format", format, FORMATS)
    b_format = b_format or format
    if b_format != format:
        one_of("format of a pair", format, tuple(MX_ELEMENTS))
        one_of("b_format", b_format, tuple(MX_ELEMENTS))
    typed = format in BLOCK_TERMS and BLOCK_TERMS[format].has_type
    one_of("polarity", polarity, (0, 1) if typed else (0,))
    accumulator = default_accumulator(format, b_format) if accumulator is None else accumulator
    if not isinstance(accumulator, Accumulator):
        raise TypeError(f"accumulator must be a golden.Accumulator, got {type(accumulator).__name__}")
    _check_shapes(a_codes, b_codes, c)
    d = np.array(c, order="C")
    operands = (("a", a_codes, a_scales, a_metadata), ("b", b_codes, b_scales, b_metadata))
    if format in BLOCK_TERMS and b_format == format:
        a, b = (_block_tensor(format, *operand, polarity) for operand in operands)
        _block_mma(format, a, b, accumulator, d)
    else:
        _element_mma((format, b_format), operands, accumulator, d)
    return d


def _segments(a: BlockTensor, b: BlockTensor) -> Iterator[tuple[tuple[str, str], slice]]:
    """Datapath formats of A and B and range of K of each segment."""
    if a.format == b.format == "micromix":
        lengths = [length for _, length in a.segments]
        if lengths != [length for _, length in b.segments] or not np.array_equal(a.permutation, b.permutation):  # type: ignore[arg-type]
            raise ValueError(
                "a and b must have one channel assignment (the same segments and permutation): quantize both with "
                f"one assignment; got segments {a.segments} and {b.segments}"
            )
        pairs = zip(a.segments, b.segments, strict=True)
        formats = [((SEGMENTS[x], SEGMENTS[y]), length) for (x, length), (y, _) in pairs if length]
    elif (a.format, b.format) in PAIRS:
        formats = [(PAIRS[a.format, b.format], a.codes.shape[1])]
    else:
        raise ValueError(
            f"no instruction multiplies {a.format} by {b.format}, "
            f"expected micromix or one of {', '.join(f'{x} by {y}' for x, y in PAIRS)}"
        )
    first = 0
    for format, length in formats:
        yield format, slice(first, first + length)
        first += length


def _raw(t: BlockTensor, format: str, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Codes, scales and metadata of a range of K as :func:`instruction` takes them, with polarity 0."""
    g = t.block_size
    codes, scales = t.codes[None, :, part], t.scales[None, :, part.start // g : part.stop // g]
    if format in BLOCK_TERMS and BLOCK_TERMS[format].has_type:
        scales = scales ^ np.uint8(t.options.get("polarity", 0) << _TYPE_BIT)
    metadata = None if t.metadata is None else pack_bits(t.metadata, _METADATA_WIDTH)[None]
    return codes, scales, metadata


def _check_shapes(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    if a.ndim != 3 or b.ndim != 3 or a.shape[::2] != b.shape[::2] or 0 in a.shape + b.shape:
        raise ValueError(
            f"a_codes [V, M, K] and b_codes [V, N, K] must agree and not be empty, got {a.shape}, {b.shape}"
        )
    shape = *a.shape[:2], b.shape[1]
    if c.dtype != np.uint32 or c.shape != shape:
        raise ValueError(f"c must be uint32 {shape}, got {c.dtype} {c.shape}")


def _block_tensor(
    format: str,
    operand: str,
    codes: np.ndarray,
    scales: np.ndarray | None,
    metadata: np.ndarray | None,
    polarity: int,
) -> BlockTensor:
    """Operand "a" or "b" of :func:`instruction` as a tensor; ValueError for arrays that do not fit the format."""
    term = BLOCK_TERMS[format]
    shapes = [(*codes.shape[:2], codes.shape[2] // g) for g in term.block_sizes if codes.shape[2] % g == 0]
    if scales is None or scales.dtype != np.uint8 or scales.shape not in shapes:
        raise ValueError(f"{operand}_scales must be uint8 {_either(shapes)}, got {_described(scales)}")
    if term.has_metadata:
        if metadata is None or metadata.dtype != np.uint8 or metadata.shape != scales.shape:
            raise ValueError(f"{operand}_metadata must be uint8 {scales.shape}, got {_described(metadata)}")
        metadata = unpack_bits(np.ascontiguousarray(metadata), _METADATA_WIDTH)
    elif metadata is not None:
        raise ValueError(f"{format} has no metadata, got {operand}_metadata {_described(metadata)}")
    codes = checked_codes(codes, E2M1)
    system = term.systems[codes.shape[2] // scales.shape[2]][operand == "b"]
    segments = ((E2M1.name, codes.shape[2]),)
    return BlockTensor(system, codes.shape, segments, codes, scales, {"polarity": polarity}, metadata=metadata)


def _either(shapes: list) -> str:
    return " or ".join(map(str, shapes)) or "of whole blocks"


def _described(array: np.ndarray | None) -> str:
    return "None" if array is None else f"{array.dtype} {array.shape}"


def _limits(accumulator: Accumulator) -> tuple[int, int, bool]:
    """Fraction bits (-1: nothing is truncated), result bits, whether to round to nearest."""
    fraction_bits = -1 if accumulator.fraction_bits is None else accumulator.fraction_bits
    return fraction_bits, accumulator.result_bits, accumulator.rounding is Rounding.NEAREST_EVEN


def _step_terms(accumulator: Accumulator, instruction_terms: int, all_terms: int) -> int:
    """Terms of one step, at most ``all_terms``, the terms of the whole of K."""
    return all_terms if accumulator.is_exact else min(accumulator.terms or instruction_terms, all_terms)


def _chain(kernel: Callable, arrays: tuple, accumulator: Accumulator, step: int, work: int, d: np.ndarray) -> None:
    """Run a kernel over every tile of results; ``d`` holds C and becomes D."""
    spread(kernel, tiles(d.shape), work * d.size, *arrays, step, _limits(accumulator), d)


def _element_mma(formats: tuple[str, str], operands: tuple, accumulator: Accumulator, d: np.ndarray) -> None:
    arrays: list[Any] = []
    tables: list[np.ndarray] = []
    for format, (name, codes, scales, metadata) in zip(formats, operands, strict=True):
        if metadata is not None:
            raise ValueError(f"{format} has no metadata, got {name}_metadata {_described(metadata)}")
        element = MX_ELEMENTS[format] if format in MX_ELEMENTS else ELEMENT_TERMS[format]
        codes = checked_codes(codes, element)
        arrays += codes.astype(np.uint16, copy=False), _element_scales(format, name, codes.shape, scales)
        tables += element.values.astype(np.float64), exponents(element)
    k = arrays[0].shape[2]
    step = _step_terms(accumulator, instruction_k(*formats), k)
    _chain(element_terms, (*arrays, (*tables, *scale_tables(E8M0))), accumulator, step, k, d)


def _element_scales(format: str, operand: str, codes: tuple, scales: np.ndarray | None) -> np.ndarray:
    if format in UNSCALED:
        if scales is not None:
            raise ValueError(f"{format} has no scales, got {operand}_scales {_described(scales)}")
        return np.full((*codes[:2], 1), E8M0.bias, np.uint8)  # one block, scaled by 1
    shape = (*codes[:2], codes[2] // _MX_BLOCK)
    if scales is None or scales.dtype != np.uint8 or scales.shape != shape or codes[2] % _MX_BLOCK:
        raise ValueError(f"{operand}_scales must be uint8 {shape} for codes {codes}, got {_described(scales)}")
    return np.ascontiguousarray(scales)


def _block_mma(format: str, a: BlockTensor, b: BlockTensor, accumulator: Accumulator, d: np.ndarray) -> None:
    term, g = BLOCK_TERMS[format], a.block_size
    if b.block_size != g:
        raise ValueError(f"a and b must have one block size, got {g} and {b.block_size}")
    a_tables, (b_values, b_raw) = (block_scale_tables(t, term) for t in (a, b))
    # B's tables take in the units and the constant of both operands; a power of two scales values exactly.
    tables = *a_tables, b_values * 2.0**-term.unit, b_raw + np.int32(term.constant(g))
    step = _step_terms(accumulator, instruction_k(format) // g, a.scales.shape[-1])
    arrays = (
        operand_integers(a, term.a_unit),
        np.ascontiguousarray(a.scales),
        operand_integers(b, term.b_unit),
        np.ascontiguousarray(b.scales),
        multipliers(b),
        tables,
    )
    _chain(block_terms, arrays, accumulator, step, a.codes.shape[2], d)
