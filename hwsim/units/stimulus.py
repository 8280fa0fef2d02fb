"""Realistic inputs of MMA units: tiles of quantised tensors, one instruction per cycle."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim import golden
from hwsim.rtl.tile.buffers import ACCUMULATORS
from hwsim.tensors.random import realistic_tensor
from hwsim.units import edge_cases
from hwsim.units.mma import METADATA_BITS, MMAUnit
from hwsim.units.ports import Parameters, Ports

#: Slices of length K that a row of a tensor is divided into.
_SLICES = 16


def tiles(unit: MMAUnit, parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None) -> Ports:
    """Tiles of one tensor as A and as B, or of random ones; see :func:`instructions`."""
    return instructions(unit, parameters, vectors, seed, tensor, None)


def instructions(
    unit: MMAUnit, parameters: Parameters, vectors: int, seed: int, a: np.ndarray | None, b: np.ndarray | None
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
    """
    m, n, k, _ = unit.shape(parameters)
    rng = np.random.default_rng(seed)
    ports: Ports = {}
    # C is about as large as the dot products, in the units of D, which does not include the tensor scales.
    size = np.float32(k**0.5)
    for side, rows, tensor in (("a", m, a), ("b", n, b)):
        operand, tensor_scale = _operand(unit, parameters, side, rows, vectors, seed + (side == "b"), tensor)
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


def _operand(
    unit: MMAUnit, parameters: Parameters, side: str, rows: int, vectors: int, seed: int, tensor: np.ndarray | None
) -> tuple[Ports, np.float32]:
    """Ports of one operand, from ``rows`` rows of the tensor at a time, slice after slice; and the tensor scale."""
    _, _, k, block = unit.shape(parameters)
    if tensor is None:
        tensor = realistic_tensor(vectors * rows * k, 64, seed)
    flat = tensor.reshape(-1)
    columns = _SLICES * k
    matrix = np.resize(flat, (max(rows, flat.size // columns // rows * rows), columns))
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

    def by_tile(values: np.ndarray) -> np.ndarray:
        each = values.shape[1] // _SLICES
        shaped = values.reshape(-1, rows, _SLICES, each).transpose(0, 2, 1, 3).reshape(-1, rows * each)
        return np.ascontiguousarray(shaped[np.arange(vectors) % len(shaped)])

    ports = {f"{side}_codes": by_tile(codes)}
    if scales is not None:
        # Where K is a part of a block, slices share its scale.
        by_slice = np.asarray(scales).reshape(len(codes), -1)
        ports[f"{side}_scales"] = by_tile(by_slice.repeat(max(block // k, 1), axis=1))
    if metadata is not None:
        width = unit.metadata_width(parameters)
        subgroups = np.asarray(metadata).reshape(len(codes), -1, width // METADATA_BITS)
        places = np.arange(0, width, METADATA_BITS, dtype=np.uint8)
        ports[f"{side}_metadata"] = by_tile((subgroups << places).sum(axis=2, dtype=np.uint8))
    return ports, np.float32(1) if tensor_scale is None else tensor_scale


def _system(unit: MMAUnit, parameters: Parameters, side: str) -> str:
    """The system that an operand's tensor is quantised to."""
    term = unit.term(parameters)
    if term is None:
        return unit.format(parameters)
    return term.systems[unit.shape(parameters)[3]][side == "b"]
