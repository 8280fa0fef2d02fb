"""Random tensors that look like weights and activations."""

from __future__ import annotations

import numpy as np


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
