"""Bits of a product of real tensors, as the tile gives them, and how far they are from the exact product."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.layers.storage import Format
from hwsim.tensors.products import sqnr_db


def measure(a: np.ndarray, b: np.ndarray, format: Format) -> dict[str, Any]:
    """The product in a format, bit for bit, and its signal-to-noise ratio; ready for JSON.

    Parameters
    ----------
    a, b : float32 [M, K] and [N, K]
    format : Format
        One without a recipe stands for a product in FP32.
    """
    d = a @ b.T if format.recipe is None else format.recipe.product(a, b)
    exact = a.astype(np.float64) @ b.astype(np.float64).T
    return {"format": format.name, "sqnr_db": sqnr_db(exact, d), "d": d.view(np.uint32).tolist()}
