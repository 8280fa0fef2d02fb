"""Inputs of instructions that reach every rule of the contract, and the reference's answer to them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import mma_model
import numpy as np

from hwsim.golden import accumulate
from hwsim.golden.accumulate import Accumulator
from hwsim.golden.formats import Rounding
from hwsim.golden.mma import instruction

WIDTHS = {"fp16": 16, "bf16": 16, "e4m3": 8, "e5m2": 8,
          "mxfp6_e2m3": 6, "mxfp6_e3m2": 6, "mxfp8_e4m3": 8, "mxfp8_e5m2": 8}  # fmt: skip
UNSCALED = ("fp16", "bf16", "e4m3", "e5m2")
#: (format, block size)
SHAPES = [
    ("nvfp4", 16), ("nvfp4", 32), ("mixfp4", 16), ("mixfp4", 32), ("mxfp4", 16), ("mxfp4", 32), ("m2xfp", 32),
    *((name, 32) for name in WIDTHS),
]  # fmt: skip
PRESETS = [
    accumulate.BLOCK, accumulate.EXACT, accumulate.HOPPER_FP16, accumulate.HOPPER_FP8, accumulate.AMPERE_FP16,
    accumulate.ADA_FP8, accumulate.BLACKWELL_FP8,
]  # fmt: skip
ACCUMULATORS = [
    *PRESETS,
    Accumulator(3, 10, 8, Rounding.NEAREST_EVEN),
    Accumulator(None, 40, 23, Rounding.NEAREST_EVEN),
    Accumulator(1, 1, 1),
    Accumulator(None, None, 5, Rounding.TOWARD_ZERO),
]
MODES = ("any", "sparse", "cancel", "plain", "tiny", "huge")
#: FP32: zeros, subnormals, normals at both ends, infinities, NaN.
C_CLASSES = np.array(
    [0, 1, 0x007FFFFF, 0x00400001, 0x00800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x7F800001],
    np.uint32,
)


@dataclass
class Case:
    """Arguments of :func:`golden.mma.instruction`."""

    format: str
    a_codes: np.ndarray
    a_scales: np.ndarray | None
    b_codes: np.ndarray
    b_scales: np.ndarray | None
    c: np.ndarray
    a_metadata: np.ndarray | None = None
    b_metadata: np.ndarray | None = None
    polarity: int = 0

    def run(self, accumulator: Accumulator | None = None) -> np.ndarray:
        options = {name: getattr(self, name) for name in ("a_metadata", "b_metadata", "polarity")}
        arrays = self.a_codes, self.a_scales, self.b_codes, self.b_scales, self.c
        return instruction(*arrays, self.format, accumulator, **options)

    def expected(self, accumulator: Accumulator) -> np.ndarray:
        """What the reference gives."""
        result = np.empty_like(self.c)
        for v, m, n in np.ndindex(*self.c.shape):
            result[v, m, n] = mma_model.mma(self.terms(v, m, n), int(self.c[v, m, n]), accumulator, self.step_terms)
        return result

    def terms(self, v: int, m: int, n: int) -> list:
        pick = {f.name: getattr(self, f.name) for f in fields(self)}
        row = {
            name: pick[name] if pick[name] is None else pick[name][v, m if name[0] == "a" else n].tolist()
            for name in ("a_codes", "a_scales", "b_codes", "b_scales", "a_metadata", "b_metadata")
        }
        return mma_model.terms_of(
            row["a_codes"], row["a_scales"], row["b_codes"], row["b_scales"], self.format,
            row["a_metadata"], row["b_metadata"], self.polarity,
        )  # fmt: skip

    @property
    def step_terms(self) -> int:
        """Terms of an instruction over 256 bits of each operand."""
        if self.format in WIDTHS:
            return 16 if WIDTHS[self.format] == 16 else 32
        return 64 * self.a_scales.shape[-1] // self.a_codes.shape[-1]


def make(format: str, g: int, mode: str, rng: np.random.Generator, shape=(1, 2, 3), k: int = 128) -> Case:
    """A random case of the given mode."""
    v, m, n = shape
    # Two ends of BF16's range would leave FP32 far behind.
    b_mode = "plain" if format == "bf16" and mode in ("tiny", "huge") else mode
    a, b = _codes((v, m, k), format, mode, rng), _codes((v, n, k), format, b_mode, rng)
    scales: list = [None, None]
    metadata: list = [None, None]
    if format not in UNSCALED:
        scales = [_scales((v, rows, k // g), format, mode, rng) for rows in (m, n)]
    if format == "m2xfp":
        metadata = [rng.integers(0, 256, s.shape, dtype=np.uint8) for s in scales]
    if mode == "cancel":
        half = k // 2
        a[..., half:] = a[..., :half] ^ (1 << (WIDTHS.get(format, 4) - 1))
        b[..., half:] = b[..., :half]
        b[..., -1:] = _codes((v, n, 1), format, "plain", rng)
        for array in (x for x in (*scales, *metadata) if x is not None):
            array[..., array.shape[-1] // 2 :] = array[..., : array.shape[-1] // 2]
    c = rng.normal(size=shape).astype(np.float32) * np.float32(2.0) ** rng.integers(-20, 20, shape)
    c = c.astype(np.float32).view(np.uint32)
    if mode == "huge":
        c = (c & 0x807FFFFF) | rng.integers(250, 255, shape).astype(np.uint32) << 23
    if mode == "tiny":
        c = c & 0x81FFFFFF
    if mode == "sparse":
        c = np.where(rng.random(shape) < 0.4, 0, c).astype(np.uint32)
    special = rng.choice(C_CLASSES, shape) | rng.integers(0, 2, shape).astype(np.uint32) << 31
    c = np.where(rng.random(shape) < (0.5 if mode == "any" else 0.15), special, c)
    polarity = int(rng.integers(2)) if format == "mixfp4" else 0
    return Case(format, a, scales[0], b, scales[1], c, *metadata, polarity)


def _codes(shape, format, mode, rng) -> np.ndarray:
    width = WIDTHS.get(format, 4)
    x = rng.integers(0, 1 << width, shape)
    if mode == "sparse":
        x = np.where(rng.random(shape) < 0.85, x & (1 << (width - 1)), x)  # zeros of both signs
    if mode != "any" and width >= 6:
        # No infinity and no NaN; tiny (some rows all subnormal) and huge: the ends of the exponent range.
        exponent, fraction = mma_model.ELEMENTS[format[-4:]][:2]
        top = (1 << exponent) - 2
        low, high = 0, top + 1
        if mode == "tiny":
            high = rng.integers(1, 4, (*shape[:2], 1))
        if mode == "huge":
            low = top - 1
        if format == "bf16" and mode in ("cancel", "plain"):
            low, high = 100, 150
        field = rng.integers(low, high, shape)
        zero = x & ((1 << (width - 1)) - 1) == 0 if mode == "sparse" else np.zeros(shape, bool)
        mask = ((1 << exponent) - 1) << fraction
        x = np.where(zero, x, (x & ~mask) | field << fraction)
    return x.astype(np.uint16 if width == 16 else np.uint8)


def _scales(shape, format, mode, rng) -> np.ndarray:
    if format in ("nvfp4", "mixfp4"):
        some_all_subnormal = rng.choice([8, 24], (*shape[:2], 1))
        low, high = {"any": (0, 128), "tiny": (0, some_all_subnormal), "huge": (112, 127)}.get(mode, (40, 70))
        return (rng.integers(low, high, shape) | rng.integers(0, 2, shape) << 7).astype(np.uint8)
    tiny = 60 + mma_model.ELEMENTS.get(format[-4:], (2, 1, 1))[2]
    low, high = {"any": (0, 256), "tiny": (tiny, tiny + 10), "huge": (180, 192)}.get(mode, (118, 136))
    return rng.integers(low, high, shape).astype(np.uint8)
