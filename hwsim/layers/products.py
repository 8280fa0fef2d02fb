"""Bits of a product of real tensors, and how far quantisation takes it from the exact one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hwsim.base.errors import InputError
from hwsim.golden.recipes import Recipe
from hwsim.layers.storage import Format
from hwsim.tensors.files import read_tensor


def read(a: Path, b: Path, rows: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Activations and weights of a product.

    Returns
    -------
    float32 [M, K], float32 [N, K]

    Raises
    ------
    InputError
        If a file cannot be read, or shapes do not fit.
    """
    activations, weights = read_tensor("--tensor", a), read_tensor("--tensor", b)
    activations = activations.reshape(-1, activations.shape[-1])
    if weights.ndim != 2 or activations.shape[1] != weights.shape[1]:
        raise InputError(f"--tensor: expected A [..., K] and B [N, K], got {a} {activations.shape} and {b} "
                         f"{weights.shape}")  # fmt: skip
    return activations[:rows], weights


def measure(a: np.ndarray, b: np.ndarray, format: Format) -> dict[str, Any]:
    """The product in a format, as the tile gives it bit for bit, and its signal-to-noise ratio; ready for JSON.

    Parameters
    ----------
    a, b : float32 [M, K] and [N, K]
    format : Format
    """
    exact = a.astype(np.float64) @ b.astype(np.float64).T
    d = product(a, b, format.recipe)
    return {"format": format.name, "sqnr_db": sqnr_db(exact, d), "d": d.view(np.uint32).tolist()}


def product(a: np.ndarray, b: np.ndarray, recipe: Recipe | None) -> np.ndarray:
    """``a @ b.T`` in a recipe, bit for bit; without one, in FP32."""
    return a @ b.T if recipe is None else recipe.product(a, b)


def sqnr_db(exact: np.ndarray, actual: np.ndarray) -> float:
    """Signal over noise in dB; infinite where nothing differs."""
    noise = float(np.square(actual - exact).sum())
    signal = float(np.square(exact).sum())
    return float("inf") if not noise else 10 * float(np.log10(signal / noise)) if signal else -float("inf")
