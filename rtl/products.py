"""Products of decoded 4-bit operands, as the bits of a compressor tree.

A decoded operand is ``{sign, magnitude}``, its magnitude an integer of four bits. Few of the sixteen magnitudes occur,
so some partial products of the 4 x 4 array exclude each other and share a column's place by an OR instead of an adder.
"""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Module, Signal, Value

from rtl.arith import Columns, columns, compress

MAGNITUDE_WIDTH = 4
OPERAND_WIDTH = MAGNITUDE_WIDTH + 1
#: Bits of a product of two magnitudes, at most 12 * 12.
PRODUCT_WIDTH = 8


def e2m1_product(m: Module, a: Value, b: Value, name: str) -> Columns:
    """Magnitudes 0, 1, 2, 3, 4, 6, 8, 12: at most two ones, side by side.

    Bits 0 and 2 of an operand are never set together, nor are 1 and 3: every column of the array holds at most two
    ones, and needs two places. Added to one row here, because every bit that goes on is inverted for the sign first.
    """
    bits = columns(PRODUCT_WIDTH)
    bits[0] = [a[0] & b[0]]
    bits[1] = [a[0] & b[1], a[1] & b[0]]
    bits[2] = [(a[0] & b[2]) | (a[2] & b[0]), a[1] & b[1]]
    bits[3] = [(a[0] & b[3]) | (a[2] & b[1]), (a[1] & b[2]) | (a[3] & b[0])]
    bits[4] = [(a[1] & b[3]) | (a[3] & b[1]), a[2] & b[2]]
    bits[5] = [a[2] & b[3], a[3] & b[2]]
    bits[6] = [a[3] & b[3]]
    [product] = compress(m, bits, name, rows=1)
    return [[bit] for bit in product]


def mixed_product(m: Module, a: Value, b: Value, name: str) -> Columns:
    """Magnitudes 0 to 7, 8 and 12: bit 3 is never set together with bits 0 and 1.

    5 and 7 set bits 0 and 2 together, so one column has a place more than in :func:`e2m1_product`. Not added to one
    row: a row of this array has carries that never happen, and paying for them costs more than inverting 13 bits.
    """
    partial = [
        [a[0] & b[0]],
        [a[0] & b[1], a[1] & b[0]],
        [a[0] & b[2], a[1] & b[1], a[2] & b[0]],
        [(a[0] & b[3]) | (a[2] & b[1]), (a[1] & b[2]) | (a[3] & b[0])],
        [(a[1] & b[3]) | (a[3] & b[1]), a[2] & b[2]],
        [a[2] & b[3], a[3] & b[2]],
        [a[3] & b[3]],
    ]
    named: Columns = []
    for position, column in enumerate(partial):
        named.append([])
        for i, bit in enumerate(column):
            signal = Signal(name=f"{name}_{position}_{i}")
            m.d.comb += signal.eq(bit)
            named[-1].append(signal)
    return named


Product = Callable[[Module, Value, Value, str], Columns]
