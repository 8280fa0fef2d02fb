"""What the bits mean: bit-exact models of block-scaled low-precision formats, in NumPy and Numba.

``t = golden.quantize(x, "nvfp4")`` and ``golden.dequantize(t)``; ``golden.SYSTEMS`` lists the formats;
``golden.error(x, t)`` measures.
"""

from .api import SYSTEMS, dequantize, quantize
from .metrics import Error, error
from .tensor import BlockTensor

__all__ = ["SYSTEMS", "BlockTensor", "Error", "dequantize", "error", "quantize"]
