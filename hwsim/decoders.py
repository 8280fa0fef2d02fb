"""Golden outputs, stimulus and testbench of the block decoders."""

from __future__ import annotations

import numpy as np

import golden
from golden import mixfp4, mxfp4, nvfp4

# Block length of the format, from which quantised tensors are cut into the unit's lanes.
_NVFP4_BLOCK, _MX_BLOCK = 16, 32


def lanes(parameters) -> int:
    """Operands a cycle: one a lane."""
    return parameters["lanes"]


def nvfp4_golden(ports, parameters):
    """Outputs of ``nvfp4_decode``; see :class:`hwsim.units.Unit`."""
    return _outputs(nvfp4.decode_operands(ports["codes"], ports["scale_code"][:, 0]))


def mixfp4_golden(ports, parameters):
    """Outputs of ``mixfp4_decode``; see :class:`hwsim.units.Unit`."""
    return _outputs(mixfp4.decode_operands(ports["codes"], ports["scale_code"][:, 0], parameters["polarity"]))


def mxfp4_golden(ports, parameters):
    """Outputs of ``mxfp4_decode``; see :class:`hwsim.units.Unit`."""
    return _outputs(mxfp4.decode_operands(ports["codes"], ports["scale_code"][:, 0]))


def _outputs(decoded):
    operands, scale, scale_nan = decoded
    return {"operands": operands, "scale": scale[:, None], "scale_nan": scale_nan.astype(np.uint8)[:, None]}


def every_code_and_scale(parameters, seed):
    """Every lane sees every code with every scale byte; neighbours differ. 4096 vectors and a random tail."""
    n = parameters["lanes"]
    scale, code = np.divmod(np.arange(256 * 16), 16)
    codes = (code[:, None] + np.arange(n)) % 16
    rng = np.random.default_rng(seed)
    # In the sweep all lanes move together; the tail catches what depends on lanes differing.
    codes = np.concatenate([codes, rng.integers(0, 16, (1024, n))])
    scale = np.concatenate([scale, rng.integers(0, 256, 1024)])
    return {"codes": codes.astype(np.uint8), "scale_code": scale.astype(np.uint8)[:, None]}


def nvfp4_stimulus(parameters, vectors, seed, tensor):
    """Blocks of an NVFP4 tensor, as inputs of ``nvfp4_decode``."""
    return _stimulus("nvfp4", _NVFP4_BLOCK, {}, parameters, vectors, seed, tensor)


def mixfp4_stimulus(parameters, vectors, seed, tensor):
    """Blocks of a MixFP4 tensor, as inputs of ``mixfp4_decode``."""
    return _stimulus("mixfp4", _NVFP4_BLOCK, {"polarity": parameters["polarity"]}, parameters, vectors, seed, tensor)


def mxfp4_stimulus(parameters, vectors, seed, tensor):
    """Blocks of an MXFP4 tensor, as inputs of ``mxfp4_decode``."""
    return _stimulus("mxfp4", _MX_BLOCK, {}, parameters, vectors, seed, tensor)


def realistic_tensor(elements: int, block: int, seed: int) -> np.ndarray:
    """FP32 [rows, 16 blocks]: the first half of the rows Gaussian, the second Student's t with 3 degrees of freedom.

    Weights look like the first, activations with their outliers like the second.
    """
    columns = 16 * block
    rows = 2 * -(-elements // (2 * columns))
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.standard_normal((rows // 2, columns)), rng.standard_t(3, (rows // 2, columns))]).astype(
        np.float32
    )


def _stimulus(name, block, options, parameters, vectors, seed, tensor):
    """Blocks as long as the unit has lanes, rounded up to blocks of the format; fewer lanes see a part of each."""
    n = parameters["lanes"]
    length = -(-n // block) * block
    if tensor is None:
        tensor = realistic_tensor(vectors * length, length, seed)
    t = golden.quantize(tensor, name, pad=True, block_size=length, **options)
    codes = t.codes.reshape(-1, length)[:, :n]
    scale = t.scales.reshape(-1)
    # A short tensor is repeated.
    rows = np.arange(vectors) % len(codes)
    return {"codes": np.ascontiguousarray(codes[rows]), "scale_code": scale[rows][:, None]}
