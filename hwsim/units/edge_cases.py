"""Inputs that verify an MMA unit: every class of operand and of C, cancellation, chains, bubbles and resets."""

from __future__ import annotations

import numpy as np

from hwsim.golden.formats import E2M1, E8M0, MiniFloat, Nan
from hwsim.rtl.tile.buffers import ACCUMULATORS
from hwsim.units.mixed import MixedUnit, packed_pairs
from hwsim.units.mma import MMAUnit, source_of_chain
from hwsim.units.ports import Parameters, Ports

#: Vectors of a testbench; every ``_RESET_EVERY``-th is a reset.
TESTBENCH_VECTORS, _RESET_EVERY = 3000, 97


def stream(unit: MMAUnit, parameters: Parameters, seed: int) -> Ports:
    """Ports of TESTBENCH_VECTORS cycles: edge cases mixed with random operands, with bubbles, chains and resets."""
    rng = np.random.default_rng(seed)
    count = TESTBENCH_VECTORS
    ports = instructions(unit, parameters, count, rng)
    component = unit.builder(**parameters)
    # 50 cycles back to back, then 50 with bubbles, and so on.
    valid = rng.random(count) < np.where(np.arange(count) // 50 % 2, 0.5, 1.0)
    rst = np.arange(count) % _RESET_EVERY == _RESET_EVERY - 1
    last_reset = np.maximum.accumulate(np.where(rst, np.arange(count), -1))
    alive = valid & ~_any_ahead(rst, component.latency)
    control: Ports = {}
    if parameters["buffers"]:
        control["accumulator"] = rng.integers(0, ACCUMULATORS, (count, 1), np.uint8)
    source = source_of_chain(alive, component.chain_interval, control.get("accumulator"))
    chained = (rng.random(count) < 0.3) & (source > last_reset)
    return (
        {
            "rst": rst.astype(np.uint8)[:, None],
            "valid": valid.astype(np.uint8)[:, None],
            "accumulate": chained.astype(np.uint8)[:, None],
        }
        | control
        | ports
    )


def instructions(unit: MMAUnit, parameters: Parameters, count: int, rng: np.random.Generator) -> Ports:
    """Operands and C of independent instructions: edge cases mixed with random ones.

    Parameters
    ----------
    unit : MMAUnit
    parameters : mapping
    count : int
        Instructions.
    rng : Generator

    Returns
    -------
    dict of arrays [count, fields]
        Ports of A, B and C.
    """
    if isinstance(unit, MixedUnit):
        ports = _mixed_operands(unit, parameters, count, rng)
    else:
        ports = _operands(unit, parameters, count, rng)
    return ports | {"c": _addends(unit, parameters, ports, rng)}


def _operands(unit: MMAUnit, parameters: Parameters, count: int, rng: np.random.Generator) -> Ports:
    """Ports of A and B."""
    m, n, k, _ = unit.shape(parameters)
    element, scale, term = unit.element(parameters), unit.scale(parameters), unit.term(parameters)
    ports: Ports = {}
    kind = rng.integers(0, 8, count)
    for side, rows in (("a", m), ("b", n)):
        ports[f"{side}_codes"] = codes(element, kind, rows * k, rng)
        if scale is not None:
            fields = rows * unit.blocks(parameters)
            ports[f"{side}_scales"] = scales(scale, rng.integers(0, 8, count), fields, rng)
            if term is not None and term.has_metadata:
                ports[f"{side}_metadata"] = rng.integers(
                    0, 1 << unit.metadata_width(parameters), (count, fields), np.uint16
                )
    # Terms that cancel in pairs: the second half of K repeats the first, with B negated.
    pairs = np.flatnonzero(rng.random(count) < 0.2)
    if k >= 2:
        _cancel(unit, parameters, ports, pairs)
    # Only one element along K is not zero; over the vectors, every term is the only one.
    alone = np.flatnonzero(rng.random(count) < 0.2)
    a_codes = ports["a_codes"].reshape(count, m, k)
    a_codes[alone] = np.where(np.arange(k) == rng.integers(0, k, (len(alone), 1, 1)), a_codes[alone], 0)
    return ports


def _mixed_operands(unit: MixedUnit, parameters: Parameters, count: int, rng: np.random.Generator) -> Ports:
    """Ports of A and B whose formats change from vector to vector; with E2M1, every third one is of two of it."""
    m, n, k, _ = unit.shape(parameters)
    formats = unit.formats(parameters)
    names = 1 << (len(formats) - 1).bit_length()
    both = rng.random(count) < (1 / 3 if unit.has_blocks(parameters) else 0)
    # Many with one element alone: every place of K is wanted in every format.
    kind, pairs, alone = rng.integers(0, 8, count), rng.random(count) < 0.2, rng.random(count) < 0.4
    place, half = rng.integers(0, 2 * k, (count, 1, 1)), k // 2
    void = rng.random(count) < 0.2
    found: Ports = {}
    in_blocks = both
    for side in "ab":
        number = rng.integers(0, names, count)
        if unit.has_blocks(parameters):
            number[both] = formats.index(E2M1)
        if names > 1:
            found[f"{side}_element"] = number.astype(np.uint8)[:, None]
        chosen = np.minimum(number, len(formats) - 1)
        in_blocks = (in_blocks | (side == "a")) & (chosen == (formats.index(E2M1) if E2M1 in formats else -1))
    for side, rows in (("a", m), ("b", n)):
        number = unit.chosen({"a_codes": kind, **found}, parameters, side)
        width = 8 if unit.has_blocks(parameters) else max(e.width for e in formats)
        # Bits above an element mean nothing.
        stored = rng.integers(0, 1 << width, (count, rows, k), np.uint8)
        negated = side == "b"
        for i, element in enumerate(formats):
            which = np.flatnonzero((number == i) & ~in_blocks)
            values = codes(element, kind[which], rows * k, rng).reshape(-1, rows, k)
            _repeat(values, pairs[which], half, element, negated)
            if side == "a":
                values = np.where(alone[which, None, None] & (np.arange(k) != place[which] % k), 0, values)
            above = np.uint8((1 << width) - (1 << element.width))
            stored[which] = stored[which] & above | values
        which = np.flatnonzero(in_blocks)
        values = codes(E2M1, kind[which], rows * 2 * k, rng).reshape(-1, rows, 2 * k)
        _repeat(values, pairs[which], k, E2M1, negated)
        if side == "a":
            values = np.where(alone[which, None, None] & (np.arange(2 * k) != place[which]), 0, values)
            values = np.where(void[which, None, None] & (np.arange(2 * k) // k == place[which] // k), 0, values)
        if len(which):
            stored[which] = packed_pairs(values.astype(np.uint8))
        found[f"{side}_codes"] = stored.reshape(count, -1)
        scale_bytes = scales(E8M0, rng.integers(0, 8, count), rows * unit.blocks(parameters), rng)
        by_row = scale_bytes.reshape(count, rows, -1)
        by_row[pairs] = by_row[pairs][..., :1]
        if unit.has_blocks(parameters):
            # Of a block that is zero, though its scale is by far the larger one, nothing may be seen.
            at = np.flatnonzero(void & in_blocks)
            by_row[at, :, place[at, 0, 0] // k] = rng.integers(140, 200, (len(at), rows))
        # The second byte means nothing where there are 32 elements.
        by_row[~in_blocks, :, 1:] = rng.integers(0, 256, by_row[~in_blocks, :, 1:].shape)
        found[f"{side}_scales"] = scale_bytes
    return found


def _repeat(values: np.ndarray, which: np.ndarray, half: int, element: MiniFloat, negated: bool) -> None:
    """Make the second half of K repeat the first in some vectors, negated or not."""
    flip = np.uint8(1 << (element.width - 1) if negated else 0)
    values[which, :, half : 2 * half] = values[which, :, :half] ^ flip


def _addends(unit: MMAUnit, parameters: Parameters, ports: Ports, rng: np.random.Generator) -> np.ndarray:
    """C of instructions on these operands, uint32 [vectors, m n]."""
    m, n, _, _ = unit.shape(parameters)
    count = len(ports["a_codes"])
    zero = np.zeros((count, m * n), np.uint32)
    c = fp32(rng, (count, m * n))
    # C is minus the terms' sum, that plus or minus a power of two, of a similar exponent, or random (choice 0 to 3).
    terms = unit.step(ports, parameters, zero)
    choice = rng.integers(0, 4, (count, 1))
    place = np.uint32(1) << rng.integers(0, 24, terms.shape).astype(np.uint32)
    nudge = np.where(rng.random(terms.shape) < 0.5, place, -place.astype(np.int64)).astype(np.uint32)
    near = (terms ^ np.uint32(0x80000000)) + nudge * (choice == 1)
    similar = (terms + (rng.integers(-40, 41, terms.shape) << 23).astype(np.uint32)) ^ rng.integers(
        0, 1 << 23, terms.shape
    ).astype(np.uint32)
    return np.where(choice <= 1, near, np.where(choice == 2, similar, c)).astype(np.uint32)


def _cancel(unit: MMAUnit, parameters: Parameters, ports: Ports, which: np.ndarray) -> None:
    """Make the second half of K cancel the first, in the vectors ``which``: equal A, negated B, equal scales."""
    m, n, k, _ = unit.shape(parameters)
    half = k // 2
    sign = 1 << (unit.element(parameters).width - 1)
    for side, rows in (("a", m), ("b", n)):
        values = ports[f"{side}_codes"].reshape(-1, rows, k)
        flip = values.dtype.type(sign if side == "b" else 0)
        values[which, :, half : 2 * half] = values[which, :, :half] ^ flip
        scale_bytes = ports.get(f"{side}_scales")
        if scale_bytes is not None and scale_bytes.shape[1] > rows:
            by_row = scale_bytes.reshape(len(scale_bytes), rows, -1)
            middle = by_row.shape[2] // 2
            by_row[which, :, middle : 2 * middle] = by_row[which, :, :middle]


def _any_ahead(flags: np.ndarray, distance: int) -> np.ndarray:
    """Whether a flag is set at a vector or at one of the ``distance - 1`` after it; bool [vectors]."""
    ahead = flags.copy()
    for i in range(1, distance):
        ahead[:-i] |= flags[i:]
    return ahead


def codes(fmt: MiniFloat, kind: np.ndarray, fields: int, rng: np.random.Generator) -> np.ndarray:
    """Element codes by kind of vector.

    Kind 0: uniform among finite numbers. 1: nine in ten are zero. 2: the three smallest magnitudes. 3: the largest
    magnitude. 4: positive. 5 to 7: exponents around 1, so that products align; 7 with rare infinities and NaN.

    Parameters
    ----------
    fmt : MiniFloat
        Format of the elements.
    kind : int [vectors], 0 to 7
    fields : int
        Codes of a vector.
    rng : Generator

    Returns
    -------
    uint8 [vectors, fields]; uint16 for elements of 16 bits
    """
    shape = (len(kind), fields)
    dtype = np.uint16 if fmt.width > 8 else np.uint8
    top = (1 << fmt.magnitude_width) - 1
    bits = rng.integers(0, 1 << fmt.width, shape, dtype)
    magnitude, sign = bits & dtype(top), bits & dtype(top + 1)
    # NaN and infinities are rare: one of them decides the result and hides everything else.
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


def scales(scale_format: MiniFloat, kind: np.ndarray, fields: int, rng: np.random.Generator) -> np.ndarray:
    """Scale bytes by kind of vector: near 1, random, extreme, with some zeros, with some NaN.

    Parameters
    ----------
    scale_format : MiniFloat
        UE4M3, whose byte has a random bit above the scale, or E8M0.
    kind : int [vectors], 0 to 7
    fields : int
        Scales of a vector.
    rng : Generator

    Returns
    -------
    uint8 [vectors, fields]
    """
    shape = (len(kind), fields)
    full = rng.integers(0, 256, shape)
    k1 = kind[:, None]
    if scale_format.fraction_width:
        one = scale_format.bias << scale_format.fraction_width
        nan, largest = scale_format.nan_code, scale_format.max_code
        below = full & nan
        scale = np.where(below == nan, one, below)
        scale = np.where(k1 == 1, rng.integers(0, 12, shape), scale)
        scale = np.where(k1 == 2, rng.choice([0, 1, largest - 7, largest], shape), scale)
        scale = np.where((k1 == 3) & (rng.random(shape) < 0.3), 0, scale)
        scale = np.where((k1 == 4) & (rng.random(shape) < 0.5 / fields), nan, scale)
        return (full & ~nan | scale).astype(np.uint8)
    near = rng.integers(119, 136, shape)
    scale = np.where(k1 < 4, near, np.minimum(full, 254))
    scale = np.where(k1 == 5, rng.integers(50, 70, shape), scale)
    scale = np.where(k1 == 6, rng.integers(180, 196, shape), scale)
    scale = np.where((k1 == 3) & (rng.random(shape) < 0.5 / fields), 255, scale)
    scale = np.where(k1 == 7, np.minimum(rng.choice([0, 1, 40, 127, 254], shape), 254), scale)
    return scale.astype(np.uint8)


def fp32(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random FP32 bits, uint32 of ``shape``: every class of numbers, infinities and NaN."""
    bits = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    sign, fraction = bits & np.uint32(0x80000000), bits & np.uint32(0x7FFFFF)
    kind = rng.integers(0, 24, shape)
    middle = sign | (rng.integers(100, 160, shape).astype(np.uint32) << np.uint32(23)) | fraction
    values = np.where(kind < 12, middle, bits)
    values = np.where(kind == 12, sign, values)
    values = np.where(kind == 13, sign | fraction, values)
    values = np.where(kind == 14, sign | np.uint32(0x7F800000), values)
    values = np.where((kind == 15) & (rng.random(shape) < 0.3), sign | np.uint32(0x7F800001) | fraction, values)
    values = np.where(kind == 16, sign | np.uint32(0x7F7FFFFF), values)
    # Powers of two: any subtraction from them moves the leading one.
    values = np.where(kind >= 21, values & np.uint32(0xFF800000), values)
    return values.astype(np.uint32)
