"""Energy of memories, with the sources of the figures.

Figures of papers were read through public notes that quote them, not in the papers themselves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Memory:
    """A kind of DRAM: pJ of a bit moved, the range that sources give, and the source."""

    pj_per_bit: float
    low: float
    high: float
    source: str


#: Kinds of DRAM by name.
DRAM: dict[str, Memory] = {
    "hbm": Memory(3.97, 3.0, 5.0, "O'Connor et al., MICRO 2017, Table 3 (HBM2, device; 4.3 for HBM2E, SK hynix, IEDM "
                  "2023; no vendor figure for HBM3)"),
    "lpddr5": Memory(10.0, 5.0, 20.0, "PIM-AI, arXiv 2411.17309, Table 1 (system, with both PHYs)"),
    "ddr5": Memory(12.0, 10.0, 20.0, "DDR5-6400 from IDD values by DRAMsim3 (11.8); 20.3 for DDR3/4, Jouppi et al., "
                   "ISCA 2021, Table 2"),
}  # fmt: skip
#: SRAM by process: KiB of a macro and pJ of a bit read.
SRAM: dict[str, tuple[Mapping[float, float], str]] = {
    "7nm": ({8: 0.117, 32: 0.133, 1024: 0.219}, "Jouppi et al., ISCA 2021, Table 2 (64 bit an access, 7 nm)"),
    "28nm": ({4: 0.024, 64: 0.043, 256: 0.141, 1024: 0.334}, "CACTI 7 (28 nm, itrs-hp, 512 bit an access); CACTI is "
             "free to use with HP's notice"),
    "45nm": ({8: 0.156, 32: 0.31, 1024: 1.56}, "Horowitz, ISSCC 2014 (64 bit an access, 45 nm)"),
}  # fmt: skip
#: The two SRAM sources differ five times where they meet: energies carry the range from this factor to 1.
SRAM_LOW = 0.2
#: FP32 operations of the vector lanes, in pJ.
FP32_MULTIPLY_PJ, FP32_ADD_PJ = 1.31, 0.38
FP32_SOURCE = "Jouppi et al., ISCA 2021, Table 2 (7 nm: FP32 multiply 1.31 pJ, add 0.38 pJ)"


def sram_pj_per_bit(process: str, kib: float) -> float:
    """pJ of a bit of an SRAM of that many KiB, between the sizes of the source along straight lines on log scales."""
    points = sorted(SRAM[process][0].items())
    if kib <= points[0][0]:
        return points[0][1]
    if kib >= points[-1][0]:
        return points[-1][1]
    for (low, at_low), (high, at_high) in itertools.pairwise(points):
        if kib <= high:
            share = math.log(kib / low) / math.log(high / low)
            return at_low * (at_high / at_low) ** share
    raise AssertionError("sizes are sorted")
