"""FP16, BF16 and FP8 without block scales: MMA tile."""

from __future__ import annotations

from hwsim.golden.formats import BF16, E4M3, E5M2, FP16
from hwsim.rtl.tile.elements import ElementMMA


class FP16MMA(ElementMMA):
    """FP16, BF16 or FP8 without scales. Parameters and ports: :class:`ElementMMA`."""

    def __init__(
        self, element: str = "fp16", k: int = 16, m: int = 8, n: int = 8,
        fraction_bits: int = 25, result_bits: int = 23, rounding: str = "rz",
        pipeline: str = "exponent+term+align+sum",
        arithmetic: str = "structured", buffers: int = 0,
    ):  # fmt: skip
        super().__init__(
            (FP16, BF16, E4M3, E5M2), element, False, k, m, n, fraction_bits, result_bits, rounding, pipeline,
            arithmetic, buffers,
        )  # fmt: skip
