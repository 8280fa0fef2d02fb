"""What the bits mean: bit-exact models of block-scaled low-precision formats, in NumPy and Numba.

``t = golden.quantize(x, "nvfp4")`` and ``golden.dequantize(t)``; ``golden.SYSTEMS`` lists the formats;
``golden.error(x, t)`` measures. ``golden.mma(a, b)`` multiplies quantised matrices as a tensor core does, with the
:class:`Accumulator` of a machine (``HOPPER_FP16``, ...) or ``EXACT``.
"""

from . import formats
from .accumulate import (
    BLACKWELL_FP8,
    BLACKWELL_FP16,
    BLOCK,
    EXACT,
    HOPPER_BF16,
    HOPPER_FP8,
    HOPPER_FP16,
    Accumulator,
)
from .api import SYSTEMS, dequantize, quantize
from .layouts import swizzle_scales, unswizzle_scales
from .metrics import Error, error
from .micromix import Assignment, assign_channels

# The functions ``mma`` and ``thresholds`` shadow the modules of their names as attributes of the package, so that
# ``golden.mma(a, b)`` works; ``from hwsim.golden.mma import instruction`` still finds the module.
from .mma import mma
from .recipes import RECIPES, Recipe
from .tensor import BlockTensor
from .thresholds import Thresholds, thresholds

__all__ = [
    "BLACKWELL_FP8",
    "BLACKWELL_FP16",
    "BLOCK",
    "EXACT",
    "HOPPER_BF16",
    "HOPPER_FP8",
    "HOPPER_FP16",
    "RECIPES",
    "SYSTEMS",
    "Accumulator",
    "Assignment",
    "BlockTensor",
    "Error",
    "Recipe",
    "Thresholds",
    "assign_channels",
    "dequantize",
    "error",
    "formats",
    "mma",
    "quantize",
    "swizzle_scales",
    "thresholds",
    "unswizzle_scales",
]
