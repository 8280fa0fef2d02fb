"""What quantisation does to a product of activations and weights: the error that a layer sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import golden
from hwsim.base import text
from hwsim.base.errors import InputError
from hwsim.golden.recipes import RECIPES, Recipe, scaled_product
from hwsim.tensors.files import read_tensor


@dataclass(frozen=True)
class Output:
    """Errors of a product in a recipe.

    Attributes
    ----------
    recipe : str
    weight_bits, activation_bits : float
        Bits of an element as stored, padding counted.
    both_db, weights_db, activations_db : float
        Signal over noise of the product with both operands, or one of them, quantised; infinite without an error.
    exact_db : float or None
        Of the product with both, as a tensor core gives it bit for bit, if asked for.
    """

    recipe: str
    weight_bits: float
    activation_bits: float
    both_db: float
    weights_db: float
    activations_db: float
    exact_db: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in vars(self).items()}


def read(activations: Path, weights: Path, rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Activations, all leading axes as rows, and weights of a product.

    Parameters
    ----------
    activations, weights : Path
        .npy files of [..., K] and [N, K].
    rows : int, optional
        Take the first rows of the activations alone.

    Returns
    -------
    float32 [M, K], float32 [N, K]

    Raises
    ------
    InputError
        If a file cannot be read, or shapes do not fit.
    """
    a, b = read_tensor("activations", activations), read_tensor("weights", weights)
    if a.ndim < 1 or b.ndim != 2 or a.shape[-1] != b.shape[1]:
        raise InputError(f"expected activations [..., K] and weights [N, K], got {activations} {a.shape} and {weights} "
                         f"{b.shape}")  # fmt: skip
    return np.ascontiguousarray(a.reshape(-1, a.shape[-1])[:rows]), b


def sqnr_db(exact: np.ndarray, actual: np.ndarray) -> float:
    """Signal over noise in dB; infinite where nothing differs."""
    noise = float(np.square(actual - exact, dtype=np.float64).sum())
    signal = float(np.square(exact, dtype=np.float64).sum())
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def measure(
    activations: np.ndarray,
    weights: np.ndarray,
    recipes: Sequence[str],
    calibration: np.ndarray | None = None,
    exact: bool = False,
) -> list[Output]:
    """Errors of ``activations @ weights.T`` in some recipes, against the product of the values given, in FP64.

    Parameters
    ----------
    activations, weights : float32 [M, K] and [N, K]
    recipes : sequence of str
        Names in ``golden.RECIPES``.
    calibration : float32 [tokens, K], optional
        Activations that recipes are calibrated on; by default, ``activations``.
    exact : bool
        Whether to multiply through ``golden.mma`` too.

    Raises
    ------
    InputError
        If an operand is not finite.
    """
    for name, x in (("activations", activations), ("weights", weights)):
        if not np.isfinite(x).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
            raise InputError(f"{name}: expected finite values, got {x[where]} at index {where}")
    a, b = activations.astype(np.float64), weights.astype(np.float64)
    wanted = a @ b.T
    return [_measured(RECIPES[name], (activations, weights), (a, b), wanted, calibration, exact) for name in recipes]


def _measured(
    recipe: Recipe, stored: tuple[np.ndarray, np.ndarray], values: tuple[np.ndarray, np.ndarray], wanted: np.ndarray,
    calibration: np.ndarray | None, exact: bool,
) -> Output:  # fmt: skip
    k = stored[0].shape[1]
    quantised = recipe.quantize(*stored, calibration)
    qa, qb = (golden.dequantize(t)[:, :k].astype(np.float64) for t in quantised)
    a, b = values
    d = scaled_product(*quantised) if exact else None
    # The recipe pads K itself.
    bits = [t.bits_per_element * t.shape[1] / k for t in quantised]
    return Output(
        recipe.name, bits[1], bits[0], sqnr_db(wanted, qa @ qb.T), sqnr_db(wanted, a @ qb.T), sqnr_db(wanted, qa @ b.T),
        None if d is None else sqnr_db(wanted, d),
    )  # fmt: skip


def table(outputs: Sequence[Output]) -> str:
    """The errors as a table, best first."""
    exact = any(o.exact_db is not None for o in outputs)
    rows = [["recipe", "weight bits", "activation bits", "output SQNR (dB)", "weights alone", "activations alone",
             *(["bit for bit"] if exact else [])]]  # fmt: skip
    for o in sorted(outputs, key=lambda o: -o.both_db):
        each = [o.both_db, o.weights_db, o.activations_db, *([o.exact_db] if exact else [])]
        rows.append([o.recipe, f"{o.weight_bits:.3f}", f"{o.activation_bits:.3f}", *(f"{v:.2f}" for v in each)])
    return text.table(rows, right=range(1, 7))
