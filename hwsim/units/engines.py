"""Golden outputs, stimulus and testbench of the quantisation engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hwsim.golden.e8m0_blocks import BLOCK_SIZE
from hwsim.golden.engines import quantize_bits
from hwsim.rtl.quantise.floats import INPUTS
from hwsim.tensors.random import realistic_tensor
from hwsim.units.ports import Parameters, Ports, comes_out

#: Vectors of a testbench; every ``_RESET_EVERY``-th is a reset.
TESTBENCH_VECTORS, _RESET_EVERY = 3000, 97
#: Fractions, in 128ths, at and beside the points where rules and codes change: all of them multiples of 1/8.
_POINTS = np.array([0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 79, 80, 81, 95, 96, 97, 111, 112, 113, 127])
_SIGN, _INFINITY = 0x8000, 0x7F80


def block_size(parameters: Parameters) -> int:
    """Elements per cycle."""
    return parameters.get("block_size", BLOCK_SIZE)


def dtype(parameters: Parameters) -> type[np.unsignedinteger]:
    """Type of the bits of a value."""
    return np.uint16 if INPUTS[parameters["input"]].width == 16 else np.uint32


def golden(
    system: Callable[[Parameters], tuple[str, dict[str, Any]]], latency: Callable[[Parameters], int]
) -> Callable:
    """The golden function of an engine.

    Parameters
    ----------
    system : callable
        Name and options of the golden system for parameters of the unit.
    latency : callable
        Cycles from inputs to outputs.
    """

    def outputs(ports: Ports, parameters: Parameters) -> Ports:
        name, options = system(parameters)
        x = np.ascontiguousarray(ports["x"].astype(dtype(parameters)))
        found = quantize_bits(x, name, subnormals=bool(parameters.get("subnormals", 1)), **options)
        valid = comes_out(ports, latency(parameters))
        results = {"out_valid": valid.astype(np.uint8)[:, None], "codes": found.codes, "scale": found.scales[:, None]}
        return results if found.metadata is None else results | {"metadata_code": found.metadata}

    return outputs


def mxfp4(parameters: Parameters) -> tuple[str, dict[str, Any]]:
    """Golden system and options of ``mxfp4_quantize``."""
    rule = parameters["scale_rule"]
    return ("mxfp4_oas", {}) if rule == "oas" else ("mxfp4", {"scale_rule": rule})


def m2xfp(parameters: Parameters) -> tuple[str, dict[str, Any]]:
    """Golden system and options of ``m2xfp_quantize``."""
    return "m2xfp_elem_em", {}


def stimulus(parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None) -> Ports:
    """Blocks of a tensor, by default a random one, rounded to BF16 where the engine takes that."""
    size = block_size(parameters)
    if tensor is None:
        tensor = realistic_tensor(vectors * size, 64 * size, seed)
    flat = tensor.reshape(-1)
    blocks = flat[: flat.size // size * size].reshape(-1, size)
    bits = blocks.astype(np.float32).view(np.uint32)
    if dtype(parameters) is np.uint16:
        # Round to nearest, ties to even.
        bits = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    x = np.ascontiguousarray(bits.astype(dtype(parameters))[np.arange(vectors) % len(bits)])
    return {"valid": np.ones((vectors, 1), np.uint8), "x": x}


def testbench(parameters: Parameters, seed: int) -> Ports:
    """A stream of blocks of every class, with bubbles and resets.

    Classes: exponents mostly within a few binades of each other, anywhere; all bits random, some infinite or NaN; one
    element alone; zeros and subnormals. Half of the fractions are at or beside the points where rules and codes change.
    """
    rng = np.random.default_rng(seed)
    count, size = TESTBENCH_VECTORS, block_size(parameters)
    random = rng.integers(0, 1 << 16, (count, size), np.uint16)
    base = rng.choice([0, 1, 2, 3, 4, 5, 100, 127, 252, 254], (count, 1))
    base = np.where(rng.random((count, 1)) < 0.5, base, rng.integers(0, 255, (count, 1)))
    below = rng.integers(0, 8, (count, size))
    # Distances whose low bits are those of small ones.
    below += (rng.random((count, size)) < 0.2) * rng.choice([8, 16, 32, 64, 128], (count, size))
    exponents = np.clip(base - below, 0, 254).astype(np.uint16)
    near = (random & 0x807F) | (exponents << 7)
    kind = rng.integers(0, 8, (count, 1))
    x = np.where(kind < 5, near, np.where(kind == 5, random, random & 0x80FF))
    # A block of which one element is not zero, and the signs of the zeros.
    alone = np.arange(size) == rng.integers(0, size, (count, 1))
    x = np.where((kind == 7) & ~alone, x & _SIGN, x)
    x = np.where(rng.random((count, size)) < 0.05, x & _SIGN, x)
    x[rng.random(count) < 0.02] &= _SIGN
    points = rng.choice(_POINTS, (count, size)).astype(np.uint16)
    finite = (x & _INFINITY) != _INFINITY
    x = np.where((rng.random((count, size)) < 0.5) & finite, (x & 0xFF80) | points, x).astype(np.uint16)
    if dtype(parameters) is not np.uint16:
        low = rng.choice([0, 0, 1, 0xFFFF], (count, size)).astype(np.uint32)
        low = np.where(rng.random((count, size)) < 0.5, low, rng.integers(0, 1 << 16, (count, size)))
        x = (x.astype(np.uint32) << 16) | low.astype(np.uint32)
    valid = rng.random(count) < np.where(np.arange(count) // 50 % 2, 0.5, 1.0)
    rst = np.arange(count) % _RESET_EVERY == _RESET_EVERY - 1
    return {"rst": rst.astype(np.uint8)[:, None], "valid": valid.astype(np.uint8)[:, None], "x": x}
