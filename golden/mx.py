"""OCP MX: MXFP4, MXFP6, MXFP8 and MXINT8. Blocks of 32 with an E8M0 scale.

Source: OCP Microscaling Formats (MX) v1.0. How scales are chosen: :mod:`hwsim.golden.e8m0_blocks`.
"""

from __future__ import annotations

import numpy as np

from .e8m0_blocks import BLOCK_SIZE, dequantize_blocks, exponent_rule, quantize_blocks
from .formats import E2M1, E2M3, E3M2, E4M3, E5M2, E8M0, INT8, FixedPoint, MiniFloat, checked_codes, operand_table
from .tensor import BlockTensor, System

_OPERANDS = operand_table(E2M1.values, E2M1)


def decode_operands(codes: np.ndarray, scale_codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operands, scales and NaN flags that an MXFP4 block decoder hands to the multipliers.

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


def _system(name: str, fmt: MiniFloat | FixedPoint) -> System:
    def quantize(
        x: np.ndarray,
        maxima: np.ndarray,
        *,
        scale_rule: str = "floor",
        block_size: int = BLOCK_SIZE,
        stochastic_seed: int | None = None,
    ) -> BlockTensor:
        """Quantise to an OCP MX format.

        Parameters
        ----------
        x : float32 [rows, K], C-contiguous, finite
        maxima : float32 [rows, K / 16]
            Largest magnitude of every 16 elements.
        scale_rule : {"floor", "ceil", "even", "rceil"}
            How the shared exponent is made: :func:`exponent_rule`.
        block_size : int
            Elements that share a scale.
        stochastic_seed : int, optional
            Round elements to a neighbour with the probability of its nearness. The outcome depends on the
            seed and an element's position alone.

        Returns
        -------
        BlockTensor
        """
        rule = exponent_rule(scale_rule, fmt)
        codes, scales = quantize_blocks(x, maxima, fmt, block_size, rule, stochastic_seed=stochastic_seed)
        options = {"scale_rule": scale_rule, "block_size": block_size, "stochastic_seed": stochastic_seed}
        return BlockTensor(name, x.shape, ((fmt.name, x.shape[1]),), codes, scales, options)

    def dequantize(t: BlockTensor) -> np.ndarray:
        """Values, float32 [rows, K]: ``code * scale``."""
        return dequantize_blocks(t.codes, t.scales, fmt)

    return System(name, BLOCK_SIZE, quantize, dequantize, (fmt.name,), BLOCK_SIZE)


_ELEMENTS: dict[str, MiniFloat | FixedPoint] = {
    "mxfp4": E2M1,
    "mxfp6_e2m3": E2M3,
    "mxfp6_e3m2": E3M2,
    "mxfp8_e4m3": E4M3,
    "mxfp8_e5m2": E5M2,
    "mxint8": INT8,
}
SYSTEMS = [_system(name, fmt) for name, fmt in _ELEMENTS.items()]
