"""Four Over Six (4/6): NVFP4 whose blocks are scaled so that their maximum lies at 6 or at 4, whichever gives the
smaller error.

Sources: arXiv 2512.02010 and its public reference. The scale ceiling is 256, not 448: the scale of a block at
4 is 1.5 times larger and must still fit E4M3.
"""

from __future__ import annotations

import numpy as np

from .exact_choice import OPEN, SCALES, A, better, choose, half_units, is_close
from .formats import E2M1
from .kernels import LANES, kernel, lane, nearest_magnitude, spread
from .nvfp4_layout import FULL_SCALES
from .tensor import BlockTensor, System, one_of
from .ue4m3_blocks import (
    E2M1_CAST,
    E2M1_MAX,
    ELEMENTS,
    SCALE_VALUES,
    block_tensor,
    decode_factors,
    decode_tensor,
    encode_factors,
    encode_part,
    parts_of,
    reciprocal,
    scale_codes,
    tensor_amax,
)

FULL_SCALE = FULL_SCALES["four_over_six"]
_FOUR = np.float32(4)
# Ratio of a block's scale with its maximum at 4 to its scale with the maximum at 6.
_STRETCH = np.float32(1.5)
_UNITS = half_units(E2M1)
_RULES = ("mse", "mae", "abs_max")
_MSE, _MAE, _ABS_MAX = range(len(_RULES))


@lane
def _errors(x, inverse, scale, multiplier, divisor, squared, errors):
    """Write the absolute or squared errors of LANES decoded values to ``errors``."""
    for i in range(LANES):
        value = nearest_magnitude(x[i] * inverse, E2M1_CAST) * scale * multiplier / divisor
        difference = abs(abs(x[i]) - value)
        errors[i] = difference * difference if squared else difference


@kernel
def _choose(
    start, stop, x, scales6, scales4, decode, multiplier, divisor, rule, exact, facts, known, values, codes, scales
):
    errors6, errors4 = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    room = np.empty(x.shape[1] * LANES, np.int64)
    for band in range(start, stop):
        for column in range(x.shape[2]):
            scale6, scale4 = scales6[band, column], scales4[band, column]
            inverse6, inverse4 = reciprocal(decode, values[scale6]), reciprocal(decode, values[scale4])
            error6 = error4 = np.float32(0)
            for part in range(x.shape[1]):
                row = x[band, part, column]
                _errors(row, inverse6, values[scale6], multiplier, divisor, rule == _MSE, errors6)
                _errors(row, inverse4, values[scale4], multiplier, divisor, rule == _MSE, errors4)
                # Both sums in one loop: each addition waits for the one before it, so two chains hide their latency.
                for i in range(LANES):
                    error6 = max(error6, errors6[i]) if rule == _ABS_MAX else error6 + errors6[i]
                    error4 = max(error4, errors4[i]) if rule == _ABS_MAX else error4 + errors4[i]
            four = error4 < error6
            if exact:
                largest = E2M1_MAX * max(values[scale4], values[scale6]) * multiplier / divisor
                choice = known[band, column]
                if choice == OPEN and is_close(error4, error6, largest, x.shape[1] * LANES):
                    choice = known[band, column] = better(
                        x[band, :, column], inverse4, E2M1_CAST, _UNITS, SCALES[scale4],
                        inverse6, E2M1_CAST, _UNITS, SCALES[scale6], facts, room,
                    )  # fmt: skip
                four = choice == A or (choice == OPEN and four)
            for part in range(x.shape[1]):
                scales[band, part, column] = scale4 if four else scale6
                inverse = inverse4 if four else inverse6
                encode_part(x[band, part, column], inverse, E2M1_CAST, codes[band, part, column])


def quantize(
    x: np.ndarray,
    maxima: np.ndarray,
    *,
    amax: float | None = None,
    rule: str = "mse",
    measure: str = "fp32",
    block_size: int = 16,
    block_2d: bool = False,
) -> BlockTensor:
    """Quantise to NVFP4's layout, each block at 6 or at 4; a tie keeps 6.

    As for NVFP4, precision is lost where the largest magnitude is below 4.5e-36. With
    ``measure="fp32"``, squared errors that overflow FP32 (differences above 1e19) count as a tie.

    Parameters
    ----------
    x : float32 [rows, K], C-contiguous, finite
    maxima : float32 [rows, K / 16]
        Largest magnitude of every 16 elements.
    amax : float, optional
        As for :func:`golden.nvfp4.quantize`.
    rule : {"mse", "mae", "abs_max"}
        Error that decides.
    measure : {"fp32", "exact"}
        How errors are compared: summed in FP32, as the public reference does, or exactly
        (:mod:`golden.exact_choice`; with ``rule="mse"`` alone). They differ on ties, which noise decides in FP32, and
        where squares leave FP32's range.
    block_size : int
        Elements that share a scale, a multiple of 16.
    block_2d : bool
        Scale and decide for tiles of 16 x 16, as in :func:`golden.nvfp4.quantize`; errors are added row by
        row.

    Returns
    -------
    BlockTensor
    """
    rule_index = _RULES.index(one_of("rule", rule, _RULES))
    exact = one_of("measure", measure, ("fp32", "exact")) == "exact"
    if exact and rule_index != _MSE:
        raise ValueError(f'measure="exact" compares squared errors: rule must be "mse", got {rule!r}')
    parts, block_maxima = parts_of(x, maxima, block_size, block_2d)
    amax32 = tensor_amax(amax, maxima)
    codes, scales = np.zeros(parts.shape, np.uint8), np.zeros(parts.shape[:-1], np.uint8)
    if amax32 > 0:
        encode, decode = encode_factors(amax32, FULL_SCALE)
        candidates = [scale_codes(block_maxima, E2M1_MAX, encode, stretch) for stretch in (np.float32(1), _STRETCH)]
        factors = decode, *decode_factors(amax32, FULL_SCALE)
        arrays = parts, *candidates, *factors
        six, four = ((candidate, E2M1_CAST, _UNITS) for candidate in candidates)
        choose(
            lambda *known: spread(
                _choose, len(parts), x.size, *arrays, rule_index, exact, *known, SCALE_VALUES, codes, scales
            ),
            parts, decode, amax32, FULL_SCALE, four, six,
        )  # fmt: skip
    options = {
        "amax": amax,
        "rule": rule,
        "measure": measure,
        "block_size": block_size,
        "block_2d": block_2d,
    }
    return block_tensor("four_over_six", x, codes, scales, amax32, FULL_SCALE, options)


def dequantize(t: BlockTensor) -> np.ndarray:
    """Values: ``code * scale * amax / 1536``, FP32, left to right; divided first for ``amax`` above 2.2e35.

    Parameters
    ----------
    t : BlockTensor with two-dimensional arrays

    Returns
    -------
    float32 [rows, K]
    """
    return decode_tensor(t, ELEMENTS, 0, FULL_SCALE)


def choices(t: BlockTensor) -> dict[str, float]:
    """Share of all blocks whose maximum lies at 4: ``{"4": share}``. A block of zeros counts as neither.

    The choice is not stored: it is read off the largest code, which is 6 in the other blocks unless the
    rounding of a subnormal scale or of the scale itself kept the maximum away from it.
    """
    largest = (t.codes & E2M1.max_code).reshape(-1, t.block_size).max(axis=1)
    return {"4": float(np.mean((largest > 0) & (E2M1.values[largest] <= _FOUR)))}


SYSTEM = System("four_over_six", LANES, quantize, dequantize, (E2M1.name,), LANES, choices=choices)
