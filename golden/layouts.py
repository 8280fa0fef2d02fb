"""How codes and scales lie in memory: bit streams of codes, and the order of scales that block-scaled GEMMs read."""

from __future__ import annotations

import math

import numpy as np

from .arrays import described

# A tile of scales is this many rows by this many blocks of K, 512 bytes; 32 rows apart share 16 bytes.
_TILE_ROWS, _TILE_COLUMNS, _INTERLEAVED = 128, 4, 32


def pack_bits(codes: np.ndarray, width: int) -> np.ndarray:
    """Rows of codes as a little-endian bit stream.

    Parameters
    ----------
    codes : uint8 [..., K]; K times ``width`` must be whole bytes
    width : int
        Bits of a code, 1 to 8.

    Returns
    -------
    uint8 [..., K * width / 8]

    Raises
    ------
    ValueError
        If K does not fill whole bytes or a code does not fit its bits.
    """
    if codes.size and int(codes.max()) >> width:
        raise ValueError(f"codes must fit {width} bits, got {codes.max():#x}")
    group = math.lcm(width, 8)
    if codes.shape[-1] * width % group:
        raise ValueError(f"{codes.shape[-1]} codes of {width} bits are not whole groups of {group} bits")
    if width == 8:
        return codes
    kind = _word(group)
    word = np.zeros((*codes.shape[:-1], codes.shape[-1] * width // group), kind)
    for i in range(group // width):
        word |= codes[..., i :: group // width].astype(kind) << kind(width * i)
    packed = np.stack([(word >> kind(8 * i)).astype(np.uint8) for i in range(group // 8)], axis=-1)
    return packed.reshape(*codes.shape[:-1], -1)


def unpack_bits(packed: np.ndarray, width: int) -> np.ndarray:
    """Codes, uint8 [..., K], of a bit stream that :func:`pack_bits` made."""
    if width == 8:
        return packed
    group = math.lcm(width, 8)
    kind = _word(group)
    word = np.zeros((*packed.shape[:-1], packed.shape[-1] * 8 // group), kind)
    for i in range(group // 8):
        word |= packed[..., i :: group // 8].astype(kind) << kind(8 * i)
    mask = np.uint8((1 << width) - 1)
    codes = np.stack([(word >> kind(width * i)).astype(np.uint8) & mask for i in range(group // width)], axis=-1)
    return codes.reshape(*packed.shape[:-1], -1)


def _word(bits: int) -> type[np.unsignedinteger]:
    """The smallest unsigned integer that holds a group of codes: large tensors are packed and unpacked whole."""
    return next(kind for kind in (np.uint8, np.uint32, np.uint64) if np.dtype(kind).itemsize * 8 >= bits)


def swizzle_scales(scales: np.ndarray) -> np.ndarray:
    """Block scales in the order in which block-scaled GEMMs (cuBLASLt, CUTLASS, tcgen05) read them.

    Tiles of 128 rows by 4 blocks lie one after the other, row by row of tiles. In a tile, the scale of row r and
    block c is byte ``(r % 32) * 16 + (r // 32) * 4 + c``. Partial tiles are padded with zeros. The same order serves
    UE4M3 scales of blocks of 16 and E8M0 scales of blocks of 32.

    Source: cuBLAS documentation, "1D Block Scaling Factors Layout"; the same as ``to_blocked`` of torchao.

    Parameters
    ----------
    scales : uint8 [..., rows, blocks]

    Returns
    -------
    uint8 [..., rows * blocks], rows rounded up to a multiple of 128 and blocks to one of 4

    Raises
    ------
    ValueError
        If ``scales`` is not uint8 with at least two axes.
    """
    scales = np.asarray(scales)
    if scales.dtype != np.uint8 or scales.ndim < 2:
        raise ValueError(f"scales must be uint8 [..., rows, blocks], got {described(scales)}")
    *lead, rows, columns = scales.shape
    short = [(0, 0)] * len(lead) + [(0, -rows % _TILE_ROWS), (0, -columns % _TILE_COLUMNS)]
    whole = np.pad(scales, short)
    down, across = whole.shape[-2] // _TILE_ROWS, whole.shape[-1] // _TILE_COLUMNS
    tiles = whole.reshape(*lead, down, _TILE_ROWS // _INTERLEAVED, _INTERLEAVED, across, _TILE_COLUMNS)
    # [tile row, 32s, row in 32, tile column, block] to [tile row, tile column, row in 32, 32s, block].
    order = [*range(len(lead)), *(len(lead) + axis for axis in (0, 3, 2, 1, 4))]
    return np.ascontiguousarray(tiles.transpose(order)).reshape(*lead, whole.shape[-2] * whole.shape[-1])


def unswizzle_scales(swizzled: np.ndarray, rows: int, blocks: int) -> np.ndarray:
    """The scales, uint8 [..., rows, blocks], of which :func:`swizzle_scales` made ``swizzled``, uint8 [..., bytes].

    Raises
    ------
    ValueError
        If ``swizzled`` is not uint8 of the size of whole tiles for ``rows`` and ``blocks``.
    """
    padded_rows, padded_blocks = rows + -rows % _TILE_ROWS, blocks + -blocks % _TILE_COLUMNS
    size = padded_rows * padded_blocks
    swizzled = np.asarray(swizzled)
    if swizzled.dtype != np.uint8 or swizzled.shape[-1:] != (size,):
        what = described(swizzled)
        raise ValueError(f"scales of {rows} rows and {blocks} blocks are uint8 [..., {size}] swizzled, got {what}")
    lead = swizzled.shape[:-1]
    down, across = padded_rows // _TILE_ROWS, padded_blocks // _TILE_COLUMNS
    tiles = swizzled.reshape(*lead, down, across, _INTERLEAVED, _TILE_ROWS // _INTERLEAVED, _TILE_COLUMNS)
    order = [*range(len(lead)), *(len(lead) + axis for axis in (0, 3, 2, 1, 4))]
    whole = tiles.transpose(order).reshape(*lead, padded_rows, padded_blocks)
    return np.ascontiguousarray(whole[..., :rows, :blocks])
