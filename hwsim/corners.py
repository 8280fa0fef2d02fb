"""Random operands with many corner cases: element codes, scale bytes and FP32, by kind of vector."""

from __future__ import annotations

import numpy as np

from golden.formats import E2M1, Nan
from golden.terms import ELEMENT_TERMS


def codes(name, kind, rows, k, rng):
    """Element codes by kind of vector: random, sparse, small, large, positive, of middle exponents, special."""
    shape = (len(kind), rows * k)
    fmt = ELEMENT_TERMS.get(name, E2M1)
    dtype = np.uint16 if fmt.width > 8 else np.uint8
    top = (1 << fmt.magnitude_width) - 1
    codes = rng.integers(0, 1 << fmt.width, shape, dtype)
    magnitude, sign = codes & dtype(top), codes & dtype(top + 1)
    # NaN and infinity are rare: otherwise nothing else would be seen.
    if fmt.max_code < top:
        magnitude = np.where(magnitude > fmt.max_code, magnitude % dtype(fmt.max_code + 1), magnitude)
    if fmt.nan is not Nan.NONE:
        infinity = fmt.infinity_code if fmt.has_infinity else top
        row, column = np.nonzero(rng.random((np.count_nonzero(kind == 7), shape[1])) < 0.3 / shape[1])
        special = np.where(rng.random(len(row)) < 0.7, infinity, top)
        magnitude[np.flatnonzero(kind == 7)[row], column] = special
    sparse, small, middle = kind == 1, kind == 2, kind >= 5
    magnitude[sparse] *= rng.random((np.count_nonzero(sparse), shape[1])) < 0.1
    magnitude[small] = np.minimum(magnitude[small], 2)
    magnitude[kind == 3] = fmt.max_code
    near = rng.integers(0, 2 << fmt.fraction_width, (np.count_nonzero(middle), shape[1]), dtype)
    near = np.minimum(near + dtype(fmt.bias << fmt.fraction_width), fmt.max_code).astype(dtype)
    magnitude[middle] = np.where(magnitude[middle] > fmt.max_code, magnitude[middle], near)
    sign[kind == 4] = 0
    return magnitude | sign


def scales(name, kind, fields, rng):
    """Scale bytes by kind of vector."""
    shape = (len(kind), fields)
    full = rng.integers(0, 256, shape)
    k1 = kind[:, None]
    if name in ("nvfp4", "mixfp4"):
        typed = full & 0x80
        scale = np.where(full & 0x7F == 0x7F, 0x38, full & 0x7F)
        scale = np.where(k1 == 1, rng.integers(0, 12, shape), scale)
        scale = np.where(k1 == 2, rng.choice([0, 1, 0x77, 0x7E], shape), scale)
        scale = np.where((k1 == 3) & (rng.random(shape) < 0.3), 0, scale)
        scale = np.where((k1 == 4) & (rng.random(shape) < 0.5 / fields), 0x7F, scale)
        return (typed | scale).astype(np.uint8)
    near = rng.integers(119, 136, shape)
    scale = np.where(k1 < 4, near, np.minimum(full, 254))
    scale = np.where(k1 == 5, rng.integers(50, 70, shape), scale)
    scale = np.where(k1 == 6, rng.integers(180, 196, shape), scale)
    scale = np.where((k1 == 3) & (rng.random(shape) < 0.5 / fields), 255, scale)
    scale = np.where(k1 == 7, np.minimum(rng.choice([0, 1, 40, 127, 254], shape), 254), scale)
    return scale.astype(np.uint8)


def fp32(rng, shape):
    """FP32 bits of every class, uint32 of a shape."""
    bits = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    sign, fraction = bits & np.uint32(0x80000000), bits & np.uint32(0x7FFFFF)
    kind = rng.integers(0, 24, shape)
    middle = sign | (rng.integers(100, 160, shape).astype(np.uint32) << np.uint32(23)) | fraction
    found = np.where(kind < 12, middle, bits)
    found = np.where(kind == 12, sign, found)
    found = np.where(kind == 13, sign | fraction, found)
    found = np.where(kind == 14, sign | np.uint32(0x7F800000), found)
    found = np.where((kind == 15) & (rng.random(shape) < 0.3), sign | np.uint32(0x7F800001) | fraction, found)
    found = np.where(kind == 16, sign | np.uint32(0x7F7FFFFF), found)
    # Powers of two, which have one bit more than their predecessors.
    found = np.where(kind >= 21, found & np.uint32(0xFF800000), found)
    return found.astype(np.uint32)
