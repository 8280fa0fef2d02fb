"""OAS (overflow-aware scaling): MXFP4 in blocks of 16 whose scale puts the block maximum in (3.5, 7], clipped at 6.

Source: arXiv 2603.08713. Plain MXFP4 puts it in [4, 8): half of that range saturates.
"""

from __future__ import annotations

import numpy as np

from .e8m0_blocks import FP64_FRACTION, dequantize_blocks, quantize_blocks
from .formats import E2M1
from .tensor import BlockTensor, System

BLOCK_SIZE = 16
ZERO_SCALE = 127  # Scale byte of a block of zeros: 1.
#: Constants as :func:`hwsim.golden.e8m0_blocks.exponent_rule` gives them: a significand above 1.75 carries into
#: the exponent.
RULE = (np.float32(1), (1 << (FP64_FRACTION - 2)) - 1, E2M1.max_exponent)


def quantize(x: np.ndarray, maxima: np.ndarray, *, block_size: int = BLOCK_SIZE) -> BlockTensor:
    """Quantise with overflow-aware scales.

    Parameters
    ----------
    x : float32 [rows, K], C-contiguous, finite
    maxima : float32 [rows, K / 16]
        Largest magnitude of every 16 elements.
    block_size : int
        Elements that share a scale.

    Returns
    -------
    BlockTensor
    """
    codes, scales = quantize_blocks(x, maxima, E2M1, block_size, RULE, ZERO_SCALE)
    segments = ((E2M1.name, x.shape[1]),)
    return BlockTensor("mxfp4_oas", x.shape, segments, codes, scales, {"block_size": block_size})


def dequantize(t: BlockTensor) -> np.ndarray:
    """Values, float32 [rows, K], of a tensor with two-dimensional arrays: ``code * scale``."""
    return dequantize_blocks(t.codes, t.scales, E2M1)


SYSTEM = System("mxfp4_oas", BLOCK_SIZE, quantize, dequantize, (E2M1.name,), BLOCK_SIZE)
