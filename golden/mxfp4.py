"""MXFP4: E2M1 elements and an E8M0 scale for each block. What the hardware's block decoder does.

Quantisation is that of every OCP MX format, in :mod:`golden.mx`. Source: OCP Microscaling Formats (MX) v1.0.
"""

from __future__ import annotations

import numpy as np

from .formats import E2M1, E8M0, checked_codes
from .nvfp4 import operand_table

_OPERANDS = operand_table(E2M1.values, E2M1)


def decode_operands(codes: np.ndarray, scale_codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a block decoder hands to the multipliers.

    Parameters
    ----------
    codes : uint8 [n, lanes]
        E2M1 codes.
    scale_codes : uint8 [n]
        E8M0 scale bytes.

    Returns
    -------
    operands : uint8 [n, lanes]
        E2M1 codes, -0 turned into 0.
    scale : uint8 [n]
        E8M0 codes.
    scale_nan : bool [n]

    Raises
    ------
    ValueError
        If a code does not fit four bits.
    """
    return _OPERANDS[checked_codes(codes, E2M1)], scale_codes, scale_codes == E8M0.nan_code
