"""Recipes: which system the weights and which the activations of a product are quantised to, and with what options.

Several systems of the literature are pairs: M2XFP searches the metadata of weights offline and encodes activations
online, MBS-H corrects weights by the exact and activations by the static factor, MicroMix assigns channels by
calibration on activations and quantises weights by the same assignment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .api import SYSTEMS, quantize
from .arrays import floats
from .mma import mma
from .tensor import BlockTensor


@dataclass(frozen=True)
class Recipe:
    """How the operands of a product are quantised.

    Parameters
    ----------
    name : str
    weights, activations : str
        Names in ``golden.SYSTEMS``.
    options : mapping
        Options of both quantisers.
    source : str
        Where the pair is from.
    """

    name: str
    weights: str
    activations: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_calibrated(self) -> bool:
        """Whether both operands take options that calibration on activations gives."""
        return SYSTEMS[self.activations].calibrate is not None

    @property
    def needs_tensor_maximum(self) -> bool:
        """Whether activations have a tensor scale, made from the largest magnitude of the tensor."""
        return "amax" in SYSTEMS[self.activations].options

    @property
    def multiple(self) -> int:
        """What K is padded to a multiple of."""
        size = self.options.get("block_size", 0)
        return max(size or SYSTEMS[name].multiple for name in (self.weights, self.activations))

    def quantize(
        self, activations: np.ndarray, weights: np.ndarray, calibration: np.ndarray | None = None
    ) -> tuple[BlockTensor, BlockTensor]:
        """Both operands of ``activations @ weights.T``, K padded with zeros to whole blocks.

        Parameters
        ----------
        activations : float32, float16 or bfloat16 [M, K]
        weights : float32, float16 or bfloat16 [N, K]
        calibration : float32, float16 or bfloat16 [tokens, K], optional
            Activations that the recipe is calibrated on, where it is calibrated; by default, ``activations``.

        Returns
        -------
        BlockTensor, BlockTensor
            What :func:`golden.mma` takes as A and B.

        Raises
        ------
        ValueError
            For shapes that do not fit, and as :func:`golden.quantize`.
        """
        a, b = floats("activations", activations), floats("weights", weights)
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
            raise ValueError(f"expected activations [M, K] and weights [N, K], got shapes {a.shape} and {b.shape}")
        samples = a if calibration is None else floats("calibration", calibration)
        if samples.shape[-1] != a.shape[1]:
            raise ValueError(f"calibration must have K = {a.shape[1]}, got shape {samples.shape}")
        options = {**self.options, **self.calibrate(samples.reshape(-1, samples.shape[-1]))}
        return (
            quantize(self.padded(a), self.activations, **options),
            quantize(self.padded(b), self.weights, **options),
        )

    def calibrate(self, samples: np.ndarray) -> dict[str, Any]:
        """Options that calibration on activations, float32 [tokens, K], gives both operands; none where the recipe is
        not calibrated."""
        calibrate = SYSTEMS[self.activations].calibrate
        return calibrate(self.padded(samples)) if calibrate else {}

    def padded(self, x: np.ndarray) -> np.ndarray:
        """A matrix [rows, K] with zeros up to whole blocks."""
        return np.pad(x, ((0, 0), (0, -x.shape[1] % self.multiple)))

    def product(
        self, activations: np.ndarray, weights: np.ndarray, calibration: np.ndarray | None = None
    ) -> np.ndarray:
        """``activations @ weights.T`` as the hardware gives it, bit for bit, tensor scales included; float32 [M, N].

        Parameters and errors as of :meth:`quantize`; the accumulator is the default of :func:`golden.mma`.
        """
        return scaled_product(*self.quantize(activations, weights, calibration))


def scaled_product(a: BlockTensor, b: BlockTensor) -> np.ndarray:
    """``golden.mma(a, b)`` times the tensor scales, where the operands have them; float32 [M, N]."""
    d = mma(a, b)
    if a.tensor_scale is None or b.tensor_scale is None:
        return d
    return d * (np.float32(a.tensor_scale) * np.float32(b.tensor_scale))


_MBS = "OAS and MBS, arXiv 2603.08713"
_OCP = "OCP Microscaling Formats (MX) v1.0"
#: Every recipe, by name.
RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in (
        Recipe("nvfp4", "nvfp4", "nvfp4", "NVFP4, arXiv 2509.25149"),
        Recipe("four_over_six", "four_over_six", "four_over_six", "Four Over Six, arXiv 2512.02010"),
        Recipe("mixfp4", "mixfp4", "mixfp4", "MixFP4, arXiv 2605.31035"),
        Recipe("mxfp4", "mxfp4", "mxfp4", _OCP),
        Recipe("mxfp4_16", "mxfp4", "mxfp4", "OCP MX with blocks of 16", {"block_size": 16}),
        Recipe("oas", "mxfp4_oas", "mxfp4_oas", _MBS),
        Recipe("mbs_static", "mxfp4_mbs_static", "mxfp4_mbs_static", _MBS),
        Recipe("mbs_h", "mxfp4_mbs_dynamic", "mxfp4_mbs_static", _MBS),
        Recipe("mbs_dynamic", "mxfp4_mbs_dynamic", "mxfp4_mbs_dynamic", _MBS),
        Recipe("m2xfp", "m2xfp_sg_em", "m2xfp_elem_em", "M2XFP, arXiv 2601.19213"),
        Recipe("micromix", "micromix", "micromix", "MicroMix, arXiv 2508.02343"),
        Recipe("mxfp6", "mxfp6_e2m3", "mxfp6_e2m3", _OCP),
        Recipe("mxfp6_e3m2", "mxfp6_e3m2", "mxfp6_e3m2", _OCP),
        Recipe("mxfp8", "mxfp8_e4m3", "mxfp8_e4m3", _OCP),
        Recipe("mxfp8_e5m2", "mxfp8_e5m2", "mxfp8_e5m2", _OCP),
    )
}
