"""The MMA contract once more, in Python integers and fractions, sharing only names with ``golden``.

Slow and obvious: every number is an exact ``Fraction`` until the contract cuts it.
"""

from __future__ import annotations

import math
from fractions import Fraction

NAN, INF = 0x7FC00000, 0x7F800000

#: exponent bits, fraction bits, bias, has infinity, NaN codes ("ieee", "top", "none")
ELEMENTS = {
    "fp16": (5, 10, 15, "ieee"),
    "bf16": (8, 7, 127, "ieee"),
    "e4m3": (4, 3, 7, "top"),
    "e5m2": (5, 2, 15, "ieee"),
    "e2m3": (2, 3, 1, "none"),
    "e3m2": (3, 2, 3, "none"),
    "e2m1": (2, 1, 1, "none"),
}
E2M1 = [Fraction(n, 2) for n in (0, 1, 2, 3, 4, 6, 8, 12)]
E1M2 = [Fraction(n) for n in range(8)]
E2M3 = [Fraction(n, 8) for n in (*range(16), *range(16, 32, 2), *range(32, 64, 4))]
#: Exponent constants, written out: the table of golden/terms.py by hand.
CONSTANTS = {
    ("nvfp4", 16): 9, ("nvfp4", 32): 10, ("mixfp4", 16): 9, ("mixfp4", 32): 10,
    ("mxfp4", 16): 8, ("mxfp4", 32): 9, ("m2xfp", 32): 10,
}  # fmt: skip


def float_parts(code, name):
    """(kind, value, raw exponent): kind "finite", "inf" or "nan"; value signed."""
    ebits, mbits, bias, specials = ELEMENTS[name]
    sign = -1 if code >> (ebits + mbits) & 1 else 1
    e, m = code >> mbits & ((1 << ebits) - 1), code & ((1 << mbits) - 1)
    if specials == "ieee" and e == (1 << ebits) - 1:
        return ("nan", 0, 0) if m else ("inf", sign, 0)
    if specials == "top" and e == (1 << ebits) - 1 and m == (1 << mbits) - 1:
        return "nan", 0, 0
    exponent = (e or 1) - bias
    return (
        "finite",
        sign * Fraction(m + ((1 << mbits) if e else 0), 1 << mbits) * Fraction(2) ** exponent,
        exponent,
    )


def fp32_parts(bits):
    sign, e, m = (-1 if bits >> 31 else 1), bits >> 23 & 255, bits & 0x7FFFFF
    if e == 255:
        return ("nan", 0, 0) if m else ("inf", sign, 0)
    exponent = (e or 1) - 127
    return "finite", sign * Fraction(m + ((1 << 23) if e else 0), 1 << 23) * Fraction(2) ** exponent, exponent


def scale_parts(byte, format):
    """(kind, value, raw exponent) of a block scale."""
    if format in ("nvfp4", "mixfp4"):
        return float_parts(byte & 0x7F, "e4m3")
    return ("nan", 0, 0) if byte == 255 else ("finite", Fraction(2) ** (byte - 127), byte - 127)


def signed(code, magnitudes):
    return -magnitudes[code & 7] if code & 8 else magnitudes[code & 7]


def block_values(codes, scale, format, operand, metadata=0, polarity=0):
    """The elements of a block before its scale."""
    if format == "mixfp4":
        return [signed(c, E2M1 if (scale >> 7) == polarity else E1M2) for c in codes]
    values = [signed(c, E2M1) for c in codes]
    if format == "m2xfp":
        for group in range(4):
            meta, lanes = metadata >> (2 * group) & 3, range(8 * group, 8 * group + 8)
            if operand == "b":
                for i in lanes:
                    values[i] *= Fraction(4 + meta, 4)
            else:
                top = max(lanes, key=lambda i: (codes[i] & 7, -i))
                fine = E2M3[max(4 * (codes[top] & 7) + meta - 1, 0)]
                values[top] = -fine if codes[top] & 8 else fine
    return values


def product(x, y):
    """Product of two (kind, value, exponent)."""
    if "nan" in (x[0], y[0]) or ("inf" in (x[0], y[0]) and 0 in (x[1], y[1])):
        return "nan", 0, 0
    kind = "inf" if "inf" in (x[0], y[0]) else "finite"
    return kind, x[1] * y[1], x[2] + y[2]


def terms_of_pair(a, a_scales, b, b_scales, a_element, b_element):
    """The terms of one row of A and one of B, in two OCP MX formats: every product is one."""
    terms = []
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        scales = product(scale_parts(a_scales[i // 32], "mx"), scale_parts(b_scales[i // 32], "mx"))
        terms.append(product(product(float_parts(x, a_element), float_parts(y, b_element)), scales))
    return terms


def terms_of(a, a_scales, b, b_scales, format, a_metadata=None, b_metadata=None, polarity=0):
    """The terms, (kind, value, raw exponent), of one row of A and one of B (sequences of int)."""
    if format in ("fp16", "bf16", "e4m3", "e5m2"):
        return [product(float_parts(x, format), float_parts(y, format)) for x, y in zip(a, b, strict=True)]
    g = len(a) // len(a_scales)
    result = []
    for block in range(len(a_scales)):
        lanes = slice(block * g, (block + 1) * g)
        scales = product(scale_parts(a_scales[block], format), scale_parts(b_scales[block], format))
        if format.startswith(("mxfp6", "mxfp8")):
            name = format.split("_")[1]
            for x, y in zip(a[lanes], b[lanes], strict=True):
                result.append(product(product(float_parts(x, name), float_parts(y, name)), scales))
            continue
        meta = [None if m is None else m[block] for m in (a_metadata, b_metadata)]
        xs = block_values(a[lanes], a_scales[block], format, "a", meta[0], polarity)
        ys = block_values(b[lanes], b_scales[block], format, "b", meta[1], polarity)
        dot = sum(x * y for x, y in zip(xs, ys, strict=True))
        types = sum(s >> 7 != polarity for s in (a_scales[block], b_scales[block])) if format == "mixfp4" else 0
        result.append(product(scales, ("finite", dot, CONSTANTS[format, g] + types)))
    return result


def round_value(value, result_bits, nearest):
    """FP32 bits of a Fraction."""
    if value == 0:
        return 0
    magnitude = abs(value)
    e = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    e -= magnitude < Fraction(2) ** e
    unit = Fraction(2) ** max(e - result_bits, -149)
    kept = round(magnitude / unit) if nearest else math.floor(magnitude / unit)  # round(): ties to even
    magnitude = kept * unit
    if magnitude == 0:
        return 0
    sign = (value < 0) << 31
    if magnitude >= Fraction(2) ** 128:
        return sign | INF
    e = max(magnitude.numerator.bit_length() - magnitude.denominator.bit_length(), -127)
    e = max(e - (magnitude < Fraction(2) ** e), -126)
    units = magnitude / Fraction(2) ** (e - 23)
    assert units.denominator == 1 and units < 1 << 24
    return sign | (((e + 127) << 23) + int(units) - (1 << 23) if units >= 1 << 23 else int(units))


def step(terms, c, fraction_bits, result_bits, nearest):
    """FP32 bits of C plus the terms."""
    addends = [*terms, fp32_parts(c)]
    infinities = {value > 0 for kind, value, _ in addends if kind == "inf"}
    if any(kind == "nan" for kind, _, _ in addends) or len(infinities) == 2:
        return NAN
    if infinities:
        return INF if infinities == {True} else INF | 1 << 31
    addends = [(value, exponent) for _, value, exponent in addends if value != 0]
    if not addends:
        return 0
    if fraction_bits is None:
        return round_value(sum(value for value, _ in addends), result_bits, nearest)
    unit = Fraction(2) ** (max(exponent for _, exponent in addends) - fraction_bits)
    total = sum(int(value / unit) for value, _ in addends)  # int(): towards zero
    return round_value(total * unit, result_bits, nearest)


def mma(terms, c, accumulator, step_terms):
    """FP32 bits of C plus all terms, ``step_terms`` a step (all of them where nothing is cut)."""
    nearest = accumulator.rounding.value == "nearest_even"
    size = len(terms) if accumulator.fraction_bits is None else accumulator.terms or step_terms
    for i in range(0, len(terms), size):
        c = step(terms[i : i + size], c, accumulator.fraction_bits, accumulator.result_bits, nearest)
    return c
