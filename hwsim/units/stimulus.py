"""Realistic inputs of MMA units: tiles of quantised tensors, one instruction per cycle."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim import golden
from hwsim.golden.formats import E2M1
from hwsim.rtl.tile.buffers import ACCUMULATORS
from hwsim.tensors.random import realistic_tensor
from hwsim.units import edge_cases
from hwsim.units.mixed import SYSTEMS, MixedUnit, packed_pairs
from hwsim.units.mma import METADATA_BITS, MMAUnit
from hwsim.units.ports import Parameters, Ports

#: Slices of length K that a row of a tensor is divided into.
_SLICES = 16


def tiles(unit: MMAUnit, parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None) -> Ports:
    """Tiles of one tensor as A and as B, or of random ones; see :func:`instructions`."""
    return instructions(unit, parameters, vectors, seed, tensor, None)


def instructions(
    unit: MMAUnit,
    parameters: Parameters,
    vectors: int,
    seed: int,
    a: np.ndarray | None,
    b: np.ndarray | None,
    pair: tuple[str, str] | None = None,
) -> Ports:
    """Ports of a stream of independent instructions on quantised tensors, one slice of length K after the other.

    Parameters
    ----------
    unit : MMAUnit
    parameters : mapping
    vectors : int
        Instructions; tensors are repeated to that length.
    seed : int
        Seed of C and of random tensors.
    a, b : float32 [rows, columns], optional
        By default random tensors (:func:`hwsim.tensors.random.realistic_tensor`).
    pair : (str, str), optional
        Elements of A and B, for a unit whose instructions have formats of their own; by default, both are of its usual
        format (:meth:`hwsim.units.mixed.MixedUnit.usual`).
    """
    m, n, k, _ = unit.shape(parameters)
    rng = np.random.default_rng(seed)
    ports: Ports = {}
    if isinstance(unit, MixedUnit):
        pair = pair or (unit.usual(parameters),) * 2
        k = unit.k_of(pair)
    # C is about as large as the dot products, in the units of D, which does not include the tensor scales.
    size = np.float32(k**0.5)
    for side, rows, tensor in (("a", m, a), ("b", n, b)):
        shape, of_side = (rows, vectors), seed + (side == "b")
        if isinstance(unit, MixedUnit) and pair:
            operand, tensor_scale = _mixed_operand(unit, parameters, side, shape, of_side, tensor, pair), np.float32(1)
        else:
            operand, tensor_scale = _operand(unit, parameters, side, shape, of_side, tensor)
        ports, size = ports | operand, size / tensor_scale
    c = rng.standard_normal((vectors, m * n)).astype(np.float32) * size
    ones = np.ones((vectors, 1), np.uint8)
    control: Ports = {"valid": ones, "accumulate": 0 * ones}
    if parameters["buffers"]:
        # As a tile that is kept busy: one accumulator after the other.
        control["accumulator"] = (np.arange(vectors, dtype=np.uint8) % ACCUMULATORS)[:, None]
    return control | ports | {"c": c.view(np.uint32)}


def random_codes(unit: MMAUnit, parameters: Parameters, ports: Ports, rng: np.random.Generator) -> Ports:
    """``ports`` with uniformly random codes of finite numbers and random metadata; scales as they are."""
    replaced = {}
    for name, values in ports.items():
        if name.endswith("_codes"):
            plain = np.zeros(len(values), int)
            replaced[name] = edge_cases.codes(unit.element(parameters), plain, values.shape[1], rng)
        elif name.endswith("_metadata"):
            replaced[name] = rng.integers(0, 1 << unit.metadata_width(parameters), values.shape, np.uint16)
    return ports | replaced


def _matrix(shape: tuple[int, int], k: int, seed: int, tensor: np.ndarray | None) -> np.ndarray:
    """A tensor, by default a random one, as whole groups of rows that are slices of length K long."""
    rows, vectors = shape
    if tensor is None:
        tensor = realistic_tensor(vectors * rows * k, 64, seed)
    flat, columns = tensor.reshape(-1), _SLICES * k
    return np.resize(flat, (max(rows, flat.size // columns // rows * rows), columns))


def _by_tile(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """What belongs to each slice of each group of rows, [vectors, fields]."""
    rows, vectors = shape
    each = values.shape[1] // _SLICES
    shaped = values.reshape(-1, rows, _SLICES, each).transpose(0, 2, 1, 3).reshape(-1, rows * each)
    return np.ascontiguousarray(shaped[np.arange(vectors) % len(shaped)])


def _mixed_operand(
    unit: MixedUnit, parameters: Parameters, side: str, shape: tuple[int, int], seed: int, tensor: np.ndarray | None,
    pair: tuple[str, str],
) -> Ports:  # fmt: skip
    """Ports of one operand of a pair of formats."""
    k, element = unit.k_of(pair), pair[side == "b"]
    t = golden.quantize(_matrix(shape, k, seed, tensor), SYSTEMS[element])
    codes, scales, blocks = _by_tile(t.codes, shape), _by_tile(t.scales, shape), unit.blocks(parameters)
    if pair == (E2M1.name, E2M1.name):
        codes = packed_pairs(codes)
    elif blocks > 1:
        scales = np.stack([scales, 0 * scales], axis=-1).reshape(len(scales), -1)
    names = [e.name for e in unit.formats(parameters)]
    number = np.full((shape[1], 1), names.index(element), np.uint8)
    chosen = {f"{side}_element": number} if len(names) > 1 else {}
    return {f"{side}_codes": codes, f"{side}_scales": scales, **chosen}


def _operand(
    unit: MMAUnit, parameters: Parameters, side: str, shape: tuple[int, int], seed: int, tensor: np.ndarray | None
) -> tuple[Ports, np.float32]:
    """Ports of one operand, from some rows of the tensor at a time, slice after slice; and the tensor scale."""
    _, _, k, block = unit.shape(parameters)
    matrix = _matrix(shape, k, seed, tensor)
    if not unit.block_size:
        codes, scales, metadata = golden.formats.encode(matrix, unit.element(parameters)), None, None
        tensor_scale = None
    else:
        system = _system(unit, parameters, side)
        options = {"block_size": block, "polarity": parameters.get("polarity")}
        accepted: dict[str, Any] = {
            name: value for name, value in options.items() if name in golden.SYSTEMS[system].options
        }
        t = golden.quantize(matrix, system, **accepted)
        codes, scales, metadata, tensor_scale = t.codes, t.scales, t.metadata, t.tensor_scale

    ports = {f"{side}_codes": _by_tile(codes, shape)}
    if scales is not None:
        # Where K is a part of a block, slices share its scale.
        by_slice = np.asarray(scales).reshape(len(codes), -1)
        ports[f"{side}_scales"] = _by_tile(by_slice.repeat(max(block // k, 1), axis=1), shape)
    if metadata is not None:
        width = unit.metadata_width(parameters)
        subgroups = np.asarray(metadata).reshape(len(codes), -1, width // METADATA_BITS)
        places = np.arange(0, width, METADATA_BITS, dtype=np.uint8)
        ports[f"{side}_metadata"] = _by_tile((subgroups << places).sum(axis=2, dtype=np.uint8), shape)
    return ports, np.float32(1) if tensor_scale is None else tensor_scale


def _system(unit: MMAUnit, parameters: Parameters, side: str) -> str:
    """The system that an operand's tensor is quantised to."""
    term = unit.term(parameters)
    if term is None:
        return unit.format(parameters)
    return term.systems[unit.shape(parameters)[3]][side == "b"]
