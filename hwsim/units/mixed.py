"""The golden side of the tile whose instructions each have their own pair of OCP MX formats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.golden.accumulate import Accumulator
from hwsim.golden.e8m0_blocks import BLOCK_SIZE
from hwsim.golden.formats import E2M1, MiniFloat
from hwsim.golden.mma import instruction
from hwsim.golden.terms import MX_ELEMENTS, BlockTerm
from hwsim.units.mma import MMAUnit, rounding
from hwsim.units.ports import Parameters, Ports

#: Blocks of an instruction of E2M1 by E2M1.
_BLOCKS = 2
_NIBBLE = 4
#: Golden systems by the names of their elements.
SYSTEMS = {element.name: name for name, element in MX_ELEMENTS.items()}


@dataclass(frozen=True)
class MixedUnit(MMAUnit):
    """What the tools know of ``mx_mma``.

    Codes come in fields of 8 bits, 32 a row, which hold an element in their lowest bits or two of E2M1; without E2M1
    among the formats, in fields as wide as the widest element. ``element`` and K are those of rows of 32 elements.
    """

    def formats(self, parameters: Parameters) -> list[MiniFloat]:
        """Element formats, as the ports ``a_element`` and ``b_element`` count them."""
        return [MX_ELEMENTS[SYSTEMS[name]] for name in str(parameters["formats"]).split("+")]

    def has_blocks(self, parameters: Parameters) -> bool:
        """Whether there are instructions of E2M1 by E2M1, whose terms are blocks."""
        return E2M1 in self.formats(parameters)

    def term(self, parameters: Parameters) -> BlockTerm | None:
        """None: terms of two blocks are one of several kinds."""
        return None

    def element(self, parameters: Parameters) -> MiniFloat:
        """The format with the most special values."""
        return max(self.formats(parameters), key=lambda e: (e.has_infinity, e.width, e.exponent_width))

    def usual(self, parameters: Parameters) -> str:
        """The element that activity is counted with by default: the widest, the most precise of these."""
        return max(self.formats(parameters), key=lambda e: (e.width, e.fraction_width)).name

    def k_of(self, pair: tuple[str, str]) -> int:
        """K of an instruction on a pair of elements, by name."""
        return BLOCK_SIZE * (_BLOCKS if pair == (E2M1.name, E2M1.name) else 1)

    def shape(self, parameters: Parameters) -> tuple[int, int, int, int]:
        """m, n, K of an instruction on elements that are not both E2M1, and block size."""
        return parameters["m"], parameters["n"], BLOCK_SIZE, BLOCK_SIZE

    def in_blocks(self, parameters: Parameters) -> int:
        """Elements of a row in instructions of E2M1 by E2M1."""
        return _BLOCKS * BLOCK_SIZE

    def blocks(self, parameters: Parameters) -> int:
        """Scales of a row."""
        return _BLOCKS if self.has_blocks(parameters) else 1

    def chosen(self, ports: Ports, parameters: Parameters, side: str) -> np.ndarray:
        """Number of the format of every vector; an unused one stands for the last."""
        last = len(self.formats(parameters)) - 1
        if not last:
            return np.zeros(len(ports["a_codes"]), int)
        return np.minimum(ports[f"{side}_element"][:, 0].astype(int), last)

    def step(self, ports: Ports, parameters: Parameters, c: np.ndarray) -> np.ndarray:
        """D of independent instructions: see :meth:`MMAUnit.step`."""
        m, n, k, _ = self.shape(parameters)
        formats = self.formats(parameters)
        d = np.zeros_like(c, np.uint32)
        of_a, of_b = (self.chosen(ports, parameters, side) for side in "ab")
        for x, y in sorted(set(zip(of_a.tolist(), of_b.tolist(), strict=True))):
            rows = np.flatnonzero((of_a == x) & (of_b == y))
            in_blocks = formats[x] is formats[y] is E2M1
            operands: list[np.ndarray] = []
            for side, lines, element in (("a", m, formats[x]), ("b", n, formats[y])):
                codes = ports[f"{side}_codes"][rows].astype(np.uint8).reshape(len(rows), lines, k)
                codes = pairs_of_codes(codes) if in_blocks else codes & np.uint8((1 << element.width) - 1)
                scales = ports[f"{side}_scales"][rows].astype(np.uint8).reshape(len(rows), lines, -1)
                operands += [
                    np.ascontiguousarray(codes),
                    np.ascontiguousarray(scales if in_blocks else scales[..., :1]),
                ]
            addends = np.ascontiguousarray(c[rows].reshape(len(rows), m, n), np.uint32)
            step = Accumulator(
                _BLOCKS if in_blocks else k, parameters["fraction_bits"], parameters["result_bits"],
                rounding(parameters),
            )  # fmt: skip
            a_codes, a_scales, b_codes, b_scales = operands
            results = instruction(
                a_codes, a_scales, b_codes, b_scales, addends, SYSTEMS[formats[x].name], step,
                b_format=SYSTEMS[formats[y].name],
            )  # fmt: skip
            d[rows] = results.reshape(len(rows), m * n)
        return d


def pairs_of_codes(codes: np.ndarray) -> np.ndarray:
    """Two codes of 4 bits from every byte, the lower first; uint8 [..., 2 K]."""
    return np.stack([codes & 15, codes >> _NIBBLE], axis=-1).reshape(*codes.shape[:-1], -1)


def packed_pairs(codes: np.ndarray) -> np.ndarray:
    """Bytes of two codes of 4 bits each, from uint8 [..., 2 K]."""
    return (codes[..., ::2] | codes[..., 1::2] << np.uint8(_NIBBLE)).astype(np.uint8)
