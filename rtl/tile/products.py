"""Products of decoded 4-bit operands, and the codes in which the operands come.

One decoder serves a whole row or column of dot units, so its output may be any code that makes the multipliers small.
Each bit of a code is defined by the set of magnitudes for which it is 1. Simulated annealing chose codes and gate
networks together, with the areas of ASAP7's gates as cost (``python -m hwsim.products``): every step kept the products
of all magnitudes that occur; codes that do not occur are don't-cares. The networks have no structure to read.
``hwsim.report mma_choices`` checks every product and compares their size with arrays of partial products designed by
hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Module, Value

from hwsim.rtl.arith import Columns
from hwsim.rtl.tile.gates import GateNetwork

#: Magnitudes of E2M1 in half units, in the order of its codes.
MAGNITUDES = (0, 1, 2, 3, 4, 6, 8, 12)
#: Magnitudes of E2M1 in half units, and the integers of E1M2.
MIXED_MAGNITUDES = tuple(sorted({*MAGNITUDES, *range(len(MAGNITUDES))}))
MAGNITUDE_WIDTH = 4
#: Bits of a product of two magnitudes, at most 12 * 12.
PRODUCT_WIDTH = 8
#: A code: for each of its bits, the magnitudes that set it.
Code = tuple[frozenset[int], ...]


@dataclass(frozen=True)
class Product:
    """Codes of operands and the product of two.

    Attributes
    ----------
    codes : dict
        Code of the magnitudes of each side, ``a`` and ``b``.
    columns : function of a module, two codes and a name, or None
        The product's bits, by weight; None where the codes are the magnitudes themselves, to be multiplied by ``*``.
    """

    codes: dict[str, Code]
    columns: Callable[[Module, Value, Value, str], Columns] | None

    def width(self, side: str) -> int:
        """Bits of an operand: its code and its sign."""
        return len(self.codes[side]) + 1


_BINARY: Code = tuple(frozenset(n for n in range(1 << MAGNITUDE_WIDTH) if n >> i & 1) for i in range(MAGNITUDE_WIDTH))
#: Magnitudes as they are.
BINARY = Product({"a": _BINARY, "b": _BINARY}, None)
#: Every bit of a magnitude inverted: of the codes of 4 and of 5 bits that were searched, those of the smallest products
#: together with the registers that hold the codes.
_INVERTED: Code = tuple(frozenset(range(1 << MAGNITUDE_WIDTH)) - bit for bit in _BINARY)
#: Network of the products of E2M1; see :mod:`hwsim.rtl.tile.gates`.
E2M1_NETWORK = """\
n0 = oai22 b3 a2 a3 b2
n1 = oai22 a0 b2 b0 a2
n2 = nor2 b1 a1
n3 = nor2 b0 a0
n4 = oai21 n1 n3 n2
n5 = or3 b2 a2 n2
n6 = oai22 b1 a0 a1 b0
n7 = aoi22 b1 a1 b3 a3
n8 = xnor2 n5 n7
n9 = oai22 b2 a1 a3 b0
n10 = aoi22 a2 b3 a0 b1
n11 = xor2 n10 n9
n12 = oai21 n1 n2 n4
n13 = xor2 n11 n4
n14 = inv n11
n15 = oaoi211 b3 a3 n5 n8
n16 = or3 b3 n15 a3
n17 = nand2 n13 n6
n18 = oai21 n8 n1 n12
n19 = oai211 n0 n9 n16 n14
columns n3 ~n17 ~n12 ~n13 ~n18 ~n19 n15 ~n16
"""
#: Products of magnitudes 0, 1, 2, 3, 4, 6, 8, 12.
E2M1 = Product({"a": _INVERTED, "b": _INVERTED}, GateNetwork(E2M1_NETWORK))
#: Network of the products of E2M1 and E1M2.
MIXED_NETWORK = """\
n0 = oai22 a0 b2 b0 a2
n1 = nor2 a0 b0
n2 = nor2 b1 a1
n3 = inv n1
n4 = or2 b2 a2
n5 = oai21 n0 n1 n2
n6 = or3 b3 n4 a3
n7 = oai22 b1 a0 b0 a1
n8 = oai21 n5 n3 n7
n9 = oai22 b1 a3 b3 a1
n10 = xnor2 n4 n9
n11 = oai22 a1 b2 b0 a3
n12 = oai22 a2 b1 b3 a0
n13 = maji n11 n12 n1
n14 = aoi22 n6 n10 n4 n13
n15 = oa21 n3 n4 n5
n16 = oai22 n15 n14 n2 n0
n17 = oai22 n1 n13 n12 n11
n18 = xor2 n17 n15
n19 = oaoi211 a3 b3 n4 n10
n20 = aoi22 n0 n19 n13 n10
n21 = oai21 n17 n5 n20
n22 = oa21 b3 a2 n13
n23 = oaoi211 b2 a3 n22 n14
columns n1 ~n8 ~n16 n18 n21 n23 n19 ~n6
"""
#: Products of magnitudes 0 to 8 and 12: those of E2M1 in half units, and the integers of E1M2. Mapping keeps the gates,
#: where the library has them: what ABC makes of this network is larger. Of E2M1's it makes a smaller one.
MIXED = Product({"a": _INVERTED, "b": _INVERTED}, GateNetwork(MIXED_NETWORK, keep=True))
