"""What the bits mean: bit-exact models of block-scaled low-precision formats, in NumPy and Numba.

``t = golden.quantize(x, "nvfp4")`` and ``golden.dequantize(t)``; ``golden.SYSTEMS`` lists the formats.
"""

from .api import SYSTEMS, dequantize, quantize
from .tensor import BlockTensor

__all__ = ["SYSTEMS", "BlockTensor", "dequantize", "quantize"]
