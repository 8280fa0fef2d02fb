"""The golden models against vectors that other people's implementations made.

A vector file is an .npz: ``x/{distribution}`` holds FP32 inputs, ``amax/{distribution}`` the largest
magnitude of the tensor that they were cut from (that of the input if the key is missing), and the other keys
what ``tests/data/README.md`` says. Raw bits are compared; a difference is counted as explained only where it
is shown to be one that the two rules are known to have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import golden
from hwsim.base.errors import InputError
from hwsim.golden import mixfp4, nvfp4
from hwsim.golden.formats import E2M1, E8M0, FORMATS, decode, encode
from hwsim.golden.tensor import BlockTensor
from hwsim.peers.checkout import DATA

SLICE = DATA / "conformance.npz"
_MX = {
    "fp4_e2m1": "mxfp4",
    "fp6_e2m3": "mxfp6_e2m3",
    "fp6_e3m2": "mxfp6_e3m2",
    "fp8_e4m3": "mxfp8_e4m3",
    "fp8_e5m2": "mxfp8_e5m2",
    "int8": "mxint8",
}
_TIE_SENSITIVE = {"oas": "mxfp4_oas", "mbs_static": "mxfp4_mbs_static", "mbs_dynamic": "mxfp4_mbs_dynamic"}
_M2XFP = {"elem_em": "m2xfp_elem_em", "sg_em": "m2xfp_sg_em"}
_NEAR_TIE = 1e-6
# Halfway points that round to the even code below.
_TIES_DOWN = [float(E2M1.values[c] + E2M1.values[c + 1]) / 2 for c in range(0, E2M1.max_code, 2)]
TIES_UP = "exact FP4 tie, which the source rounds up and the contract to the even code"
SUM_ORDER = "errors of 6 and 4 within 1e-6 of each other: the choice hangs on the order of summation"
NO_TYPE = "zero block: byte 0x00 stores no type; the source names E1M2, which wins a tie"


@dataclass(frozen=True)
class Comparison:
    """One array of a vector file against the golden model.

    ``explained`` counts the mismatches that are shown to be a case of ``why``.
    """

    source: str
    format: str
    distribution: str
    what: str
    compared: int
    mismatches: int
    explained: int = 0
    why: str = ""

    @property
    def unexplained(self) -> int:
        """Mismatches without an explanation: must be 0."""
        return self.mismatches - self.explained


def compare(path: Path = SLICE, quantize: Callable = golden.quantize) -> list[Comparison]:
    """Every comparison that a vector file holds.

    Parameters
    ----------
    path : Path
    quantize : callable
        The quantiser to compare; a wrong one is a negative control.

    Raises
    ------
    InputError
        If there is no such file or it holds no inputs.
    """
    if not path.exists():
        raise InputError(f"no vector file {path}")
    with np.load(path) as file:
        vectors = {key: file[key] for key in file.files}
    distributions = [key[2:] for key in vectors if key.startswith("x/")]
    if not distributions:
        raise InputError(f"{path} holds no inputs: expected keys x/..., got {sorted(vectors)[:5]}")
    comparisons = list(_elements(vectors))
    for d in distributions:
        x = vectors[f"x/{d}"]
        amax = vectors.get(f"amax/{d}", np.abs(x).max())
        for compare_system in (_nvfp4, _mixfp4, _values):
            comparisons += compare_system(vectors, d, x, amax, quantize)
    return comparisons


def _differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where values differ; +0 equals -0, because sources that store values do not agree on the sign of zero."""
    return a != b


def _elements(vectors: Mapping[str, np.ndarray]) -> Iterator[Comparison]:
    for name, fmt in FORMATS.items():
        if f"elem/{name}" in vectors:
            limit = np.float32(fmt.max_finite)
            codes = encode(np.clip(vectors["elem/x"], -limit, limit), fmt)
            wrong = codes != vectors[f"elem/{name}"]
            yield Comparison("ml_dtypes", name, "elements", "codes", codes.size, int(wrong.sum()))


def _nvfp4(
    vectors: Mapping[str, np.ndarray], d: str, x: np.ndarray, amax: Any, quantize: Callable
) -> Iterator[Comparison]:
    for rule in ("static_6", "mse", "mae", "abs_max"):
        if f"nvfp4/{rule}/{d}/q" not in vectors:
            continue
        name, options = ("nvfp4", {}) if rule == "static_6" else ("four_over_six", {"rule": rule})
        t = quantize(x, name, amax=float(amax), **options)
        values, scales = vectors[f"nvfp4/{rule}/{d}/q"], vectors[f"nvfp4/{rule}/{d}/scale"]
        wrong_scales = t.scales != scales
        wrong = _differences(decode(t.codes, E2M1), values)
        label = name if rule == "static_6" else f"{name} {rule}"
        near = _near_ties(t, x, values, scales, rule)
        for what, bad, explained in (
            ("scales", wrong_scales, near),
            ("elements", wrong, np.repeat(near, t.block_size, axis=-1)),
        ):
            both = int((bad & explained).sum())
            why = SUM_ORDER if both else ""
            yield Comparison("fouroversix", label, d, what, bad.size, int(bad.sum()), both, why)


def _near_ties(t: BlockTensor, x: np.ndarray, values: np.ndarray, scales: np.ndarray, rule: str) -> np.ndarray:
    """Blocks where our choice of scale and the source's have nearly the same error, computed in FP64."""
    if rule == "static_6":
        return np.zeros(t.scales.shape, bool)
    assert t.tensor_scale is not None, "NVFP4 has a tensor scale"
    magnitudes = decode(scales, FORMATS["ue4m3"]).astype(np.float64)
    theirs = values * np.repeat(magnitudes, t.block_size, axis=-1) * float(t.tensor_scale)
    errors = []
    for decoded in (golden.dequantize(t).astype(np.float64), theirs):
        difference = np.abs(x - decoded).reshape(*t.scales.shape, t.block_size)
        measure = {
            "mse": lambda e: (e * e).sum(-1),
            "mae": lambda e: e.sum(-1),
            "abs_max": lambda e: e.max(-1),
        }
        errors.append(measure[rule](difference))
    ours, other = errors
    return np.abs(ours - other) <= _NEAR_TIE * np.maximum(ours, other)


def _mixfp4(
    vectors: Mapping[str, np.ndarray], d: str, x: np.ndarray, amax: Any, quantize: Callable
) -> Iterator[Comparison]:
    if f"mixfp4/{d}/q" not in vectors:
        return
    source = "scalar MixFP4"
    t = quantize(x, "mixfp4", amax=float(amax))
    e1m2 = t.scales >> mixfp4.TYPE_SHIFT
    values = mixfp4.ELEMENTS[np.repeat(e1m2, t.block_size, axis=-1), t.codes]
    wrong = _differences(values.reshape(-1), vectors[f"mixfp4/{d}/q"].reshape(-1))
    yield Comparison(source, "mixfp4", d, "elements", wrong.size, int(wrong.sum()))
    scales = vectors[f"mixfp4/{d}/scale"]
    wrong = (t.scales & 0x7F) != scales
    yield Comparison(source, "mixfp4", d, "scales", wrong.size, int(wrong.sum()))
    # The contract's arithmetic on the source's numbers, in FP32 from left to right.
    theirs = vectors[f"mixfp4/{d}/q"].reshape(t.shape).astype(np.float32)
    theirs = theirs * np.repeat(decode(scales, FORMATS["ue4m3"]), t.block_size, axis=-1)
    wrong = _differences(golden.dequantize(t), theirs * np.float32(amax) / nvfp4.FULL_SCALE)
    yield Comparison(source, "mixfp4", d, "values", wrong.size, int(wrong.sum()))
    wrong = (e1m2 == 0) != vectors[f"mixfp4/{d}/is_e2m1"]
    no_type = int((wrong & (t.scales == 0) & (scales == 0)).sum())
    yield Comparison(source, "mixfp4", d, "choices", wrong.size, int(wrong.sum()), no_type, NO_TYPE if no_type else "")


def _values(
    vectors: Mapping[str, np.ndarray], d: str, x: np.ndarray, amax: Any, quantize: Callable
) -> Iterator[Comparison]:
    sources = [("microxcaling", f"mx/{key}/{d}", name) for key, name in _MX.items()]
    sources += [("M2XFP authors", f"m2xfp/{key}/{d}", name) for key, name in _M2XFP.items()]
    sources += [("OAS re-implementation", f"{key}/{d}", name) for key, name in _TIE_SENSITIVE.items()]
    for source, key, name in sources:
        if key not in vectors:
            continue
        t = quantize(x, name)
        wrong = _differences(golden.dequantize(t), vectors[key])
        ties = int((wrong & _ties_rounded_up(t, x, vectors[key])).sum()) if name in _TIE_SENSITIVE.values() else 0
        why = TIES_UP if ties else ""
        yield Comparison(source, name, d, "values", wrong.size, int(wrong.sum()), ties, why)


def _ties_rounded_up(t: BlockTensor, x: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Elements that lie exactly between two FP4 values and for which ``theirs`` is the upper one."""
    factors = np.zeros_like(t.scales[:, :1]) if t.factors is None else t.factors
    factor = np.repeat(1 + factors.astype(np.float32) / 256, x.shape[-1] // factors.shape[-1], axis=-1)
    scale = np.repeat(decode(t.scales, E8M0), t.block_size, axis=-1)
    tie = np.isin(np.abs(x * factor) / scale, _TIES_DOWN)
    upper = E2M1.values[np.minimum((t.codes & E2M1.max_code) + 1, E2M1.max_code)]
    return tie & (np.abs(theirs) == upper * scale / factor)
