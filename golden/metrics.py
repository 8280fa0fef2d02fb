"""How far a quantised tensor is from the original."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .api import dequantize
from .arrays import floats
from .kernels import kernel, spread
from .tensor import BlockTensor, block_tensor


@dataclass(frozen=True, eq=False)
class Error:
    """Sums from which the error measures of a tensor follow, or, as arrays, those of each of its blocks.

    The errors of two tensors add up to the error of both taken as one.

    Parameters
    ----------
    count : int
        Elements.
    signal, decoded, noise, product : float64
        Sums of the squares of the original, of the decoded values and of their differences, and of the
        products of original and decoded.
    max_error : float64
        Largest magnitude of a difference.
    blocks : Error, optional
        Errors of the blocks, its fields arrays [..., K / block_size]; None for a sum of tensors.
    """

    count: Any
    signal: Any
    decoded: Any
    noise: Any
    product: Any
    max_error: Any
    blocks: Error | None = None

    @property
    def mse(self) -> Any:
        """Mean squared error."""
        return self.noise / self.count

    @property
    def sqnr(self) -> Any:
        """Signal to quantisation noise in dB; infinite without noise."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(self.noise == 0, np.inf, np.divide(self.signal, self.noise))
            return (10 * np.log10(ratio))[()]

    @property
    def cosine(self) -> Any:
        """Cosine of the angle between original and decoded; 1 if both are zero, 0 if one is."""
        lengths = np.sqrt(self.signal) * np.sqrt(self.decoded)
        both_zero = np.logical_and(self.signal == 0, self.decoded == 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(lengths == 0, both_zero.astype(float), np.divide(self.product, lengths))[()]

    def __add__(self, other: Error) -> Error:
        """The error of two tensors taken as one."""
        names = ("count", "signal", "decoded", "noise", "product")
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return Error(**sums, max_error=max(self.max_error, other.max_error))


@kernel
def _sums(start, stop, x, y, signal, decoded, noise, product, largest):
    for block in range(start, stop):
        # FP64: the squares of FP32 values neither overflow nor lose digits that matter.
        s = d = n = p = m = 0.0
        for i in range(x.shape[1]):
            a, b = np.float64(x[block, i]), np.float64(y[block, i])
            s += a * a
            d += b * b
            n += (a - b) * (a - b)
            p += a * b
            m = max(m, abs(a - b))
        signal[block], decoded[block], noise[block], product[block], largest[block] = s, d, n, p, m


def error(x: np.ndarray, t: BlockTensor) -> Error:
    """Error of ``t`` against the tensor that it was made from.

    Parameters
    ----------
    x : float32, float16 or bfloat16 array of shape ``t.shape``
    t : BlockTensor

    Returns
    -------
    Error, with ``blocks`` of shape [..., K / block_size] in the order in which ``t`` holds them.

    Raises
    ------
    TypeError
        If ``t`` is not a BlockTensor.
    ValueError
        If the shapes differ, ``x`` is of another dtype, or not finite.
    """
    x, t = floats("x", x), block_tensor("t", t)
    if x.shape != t.shape:
        raise ValueError(f"x must have the shape of the quantised tensor, {t.shape}, got {x.shape}")
    lead, k = t.codes.shape[:-1], t.codes.shape[-1]
    pad = [(0, whole - n) for whole, n in zip((*lead, k), t.shape, strict=True)]
    original, values = np.asarray(x, np.float32), dequantize(t)
    if any(after for _, after in pad):
        original, values = np.pad(original, pad), np.pad(values, pad)
    if t.permutation is not None:
        original, values = original[..., t.permutation], values[..., t.permutation]
    shape = t.scales.shape
    sums = [np.empty(shape) for _ in range(5)]
    blocks = [np.ascontiguousarray(a).reshape(-1, t.block_size) for a in (original, values)]
    spread(_sums, t.scales.size, t.codes.size, *blocks, *(s.reshape(-1) for s in sums))
    signal, decoded, noise, product, largest = sums
    if not np.isfinite(signal.sum()):
        raise ValueError("x must be finite, got NaN or infinity")
    # Blocks at the edge hold padding too, which does not count.
    inside = np.pad(np.ones(t.shape, bool), pad) if any(after for _, after in pad) else None
    size = t.block_size
    count = np.full(shape, size) if inside is None else inside.reshape(*shape, size).sum(axis=-1)
    per_block = Error(count, signal, decoded, noise, product, largest)
    return Error(
        math.prod(t.shape),
        float(signal.sum()),
        float(decoded.sum()),
        float(noise.sum()),
        float(product.sum()),
        float(largest.max()),
        per_block,
    )
