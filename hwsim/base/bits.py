"""Port values between their three shapes: fields, Python integers, and bit planes."""

from __future__ import annotations

import numpy as np


def to_integers(fields: np.ndarray, width: int) -> list[int]:
    """One Python integer per vector.

    Parameters
    ----------
    fields : unsigned array [vectors, fields]
        Field 0 in the lowest bits, all of equal width.
    width : int
        Width of the port in bits.

    Raises
    ------
    ValueError
        If the fields do not divide the port, or a value does not fit its field.
    """
    bits = to_bits(fields, width)
    packed = np.packbits(bits, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def to_bits(fields: np.ndarray, width: int) -> np.ndarray:
    """Bits of a port, uint8 [vectors, width], bit 0 first; parameters and errors as :func:`to_integers`."""
    fields = np.asarray(fields)
    if fields.ndim != 2 or fields.dtype.kind != "u":
        raise ValueError(f"port values are unsigned [vectors, fields], got {fields.dtype} {fields.shape}")
    count = fields.shape[1]
    if width % count:
        raise ValueError(f"{count} fields do not divide a port of {width} bits")
    each = width // count
    if each < fields.dtype.itemsize * 8 and (fields >> np.uint8(each)).any():
        raise ValueError(f"a value does not fit its field of {each} bits: {fields.max():#x}")
    stored = np.ascontiguousarray(fields, fields.dtype.newbyteorder("<"))[:, :, None].view(np.uint8)
    return np.unpackbits(stored, axis=2, bitorder="little")[:, :, :each].reshape(len(fields), width)
