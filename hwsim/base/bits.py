"""Values of a port: from arrays of equally wide fields to Python integers or to arrays of bits."""

from __future__ import annotations

import numpy as np


def to_integers(fields: np.ndarray, width: int) -> list[int]:
    """Values of a port as Python integers, one per vector.

    Parameters
    ----------
    fields : unsigned array [vectors, fields]
        Field 0 takes the lowest bits of the port; all fields are equally wide.
    width : int
        Width of the port in bits.

    Raises
    ------
    ValueError
        If ``width`` is no multiple of the number of fields, or a value does not fit its field.
    """
    bits = to_bits(fields, width)
    packed = np.packbits(bits, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def to_bits(fields: np.ndarray, width: int) -> np.ndarray:
    """Values of a port as bits, uint8 [vectors, width], bit 0 first; parameters and errors as :func:`to_integers`."""
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
