"""Golden outputs, stimulus and testbench of the block decoders."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim import golden
from hwsim.golden import mixfp4, mx, nvfp4
from hwsim.golden.formats import E2M1
from hwsim.golden.tensor import BlockTensor, pack_bits, unpack_bits
from hwsim.golden.terms import operand_integers
from hwsim.tensors.random import realistic_tensor
from hwsim.units.ports import Parameters, Ports


def lanes(parameters: Parameters) -> int:
    """Operands per cycle: one per lane."""
    return parameters["lanes"]


def nvfp4_golden(ports: Ports, parameters: Parameters) -> Ports:
    """Outputs of ``nvfp4_decode``; see :class:`hwsim.units.unit.Unit`."""
    return _outputs(nvfp4.decode_operands(ports["codes"], ports["scale_code"][:, 0]))


def mixfp4_golden(ports: Ports, parameters: Parameters) -> Ports:
    """Outputs of ``mixfp4_decode``; see :class:`hwsim.units.unit.Unit`."""
    return _outputs(mixfp4.decode_operands(ports["codes"], ports["scale_code"][:, 0], parameters["polarity"]))


def mxfp4_golden(ports: Ports, parameters: Parameters) -> Ports:
    """Outputs of ``mxfp4_decode``; see :class:`hwsim.units.unit.Unit`."""
    return _outputs(mx.decode_operands(ports["codes"], ports["scale_code"][:, 0]))


def _outputs(decoded: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Ports:
    operands, scale, scale_nan = decoded
    return {"operands": operands, "scale": scale[:, None], "scale_nan": scale_nan.astype(np.uint8)[:, None]}


def every_code_and_scale(parameters: Parameters, seed: int) -> Ports:
    """Inputs that give every lane every code with every scale byte, neighbours different: 4096 vectors and a random
    tail."""
    n = parameters["lanes"]
    scale, code = np.divmod(np.arange(256 * 16), 16)
    codes = (code[:, None] + np.arange(n)) % 16
    rng = np.random.default_rng(seed)
    # In the sweep all lanes move together; the tail catches what depends on lanes differing.
    codes = np.concatenate([codes, rng.integers(0, 16, (1024, n))])
    scale = np.concatenate([scale, rng.integers(0, 256, 1024)])
    return {"codes": codes.astype(np.uint8), "scale_code": scale.astype(np.uint8)[:, None]}


def nvfp4_stimulus(parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None) -> Ports:
    """Blocks of an NVFP4 tensor, as inputs of ``nvfp4_decode``."""
    return _stimulus("nvfp4", {}, parameters, vectors, seed, tensor)


def mixfp4_stimulus(parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None) -> Ports:
    """Blocks of a MixFP4 tensor, as inputs of ``mixfp4_decode``."""
    return _stimulus("mixfp4", {"polarity": parameters["polarity"]}, parameters, vectors, seed, tensor)


def mxfp4_stimulus(parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None) -> Ports:
    """Blocks of an MXFP4 tensor, as inputs of ``mxfp4_decode``."""
    return _stimulus("mxfp4", {}, parameters, vectors, seed, tensor)


def _stimulus(
    name: str, options: dict[str, Any], parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None
) -> Ports:
    """Blocks of ``tensor``, or of a random one, as inputs of a decoder.

    Blocks have as many elements as the unit has lanes, rounded up to a multiple of the format's block size; the decoder
    sees the first ones of each.
    """
    n, block = parameters["lanes"], golden.SYSTEMS[name].block_size
    length = -(-n // block) * block
    if tensor is None:
        tensor = realistic_tensor(vectors * length, length, seed)
    t = golden.quantize(tensor, name, pad=True, block_size=length, **options)
    codes = t.codes.reshape(-1, length)[:, :n]
    scale = t.scales.reshape(-1)
    # A short tensor is repeated.
    rows = np.arange(vectors) % len(codes)
    return {"codes": np.ascontiguousarray(codes[rows]), "scale_code": scale[rows][:, None]}


_SUBGROUPS, _BLOCK = 4, 32


def m2xfp_decode_golden(ports: Ports, parameters: Parameters) -> Ports:
    """Outputs of ``m2xfp_decode``; see :class:`hwsim.units.unit.Unit`."""
    codes, scale = ports["codes"], ports["scale_code"]
    metadata = unpack_bits(ports["metadata_code"], 2)
    t = BlockTensor("m2xfp_elem_em", codes.shape, ((E2M1.name, _BLOCK),), codes, scale, metadata=metadata)
    eighths = operand_integers(t, 3)
    operands = np.abs(eighths).astype(np.uint8) | ((eighths < 0).astype(np.uint8) << np.uint8(6))
    return {"operands": operands, "scale": scale, "scale_nan": (scale == 255).astype(np.uint8)}


def m2xfp_decode_testbench(parameters: Parameters, seed: int) -> Ports:
    """Random blocks, half of them with only two codes and so with many ties, every scale byte, random metadata."""
    rng = np.random.default_rng(seed)
    count = 4096
    codes = rng.integers(0, 16, (count, _BLOCK), np.uint8)
    few = rng.integers(0, 16, (count, 2), np.uint8)
    codes = np.where(rng.random((count, 1)) < 0.5, np.take_along_axis(few, codes % 2, axis=1), codes)
    scale, metadata = np.arange(count) % 256, rng.integers(0, 256, count)
    return {
        "codes": codes.astype(np.uint8), "scale_code": scale.astype(np.uint8)[:, None],
        "metadata_code": metadata.astype(np.uint8)[:, None],
    }  # fmt: skip


def m2xfp_decode_stimulus(parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None) -> Ports:
    """Blocks of an M2XFP tensor of activations."""
    t = golden.quantize(realistic_tensor(vectors * _BLOCK, _BLOCK, seed) if tensor is None else tensor, "m2xfp_elem_em")
    codes = t.codes.reshape(-1, _BLOCK)
    rows = np.arange(vectors) % len(codes)
    packed = pack_bits(np.asarray(t.metadata).reshape(len(codes), _SUBGROUPS), 2)
    return {
        "codes": codes[rows],
        "scale_code": t.scales.reshape(-1)[rows][:, None],
        "metadata_code": packed[rows],
    }


def m2xfp_decode_operands(parameters: Parameters) -> int:
    """Operands per cycle: those of a block."""
    return _BLOCK
