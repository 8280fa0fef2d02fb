"""The table of units: the only place where a unit is registered, and where golden and RTL meet."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from amaranth.hdl import UnusedElaboratable
from amaranth.lib import wiring

from hwsim import decoders, mma_units
from hwsim.errors import InputError
from rtl.block_mma import M2XFPMMA, MXFP4MMA, NVFP4MMA, MixFP4MMA
from rtl.element_mma import FP16MMA, MXFP6MMA, MXFP8MMA
from rtl.m2xfp import M2XFPDecode
from rtl.mixfp4 import MixFP4Decode
from rtl.mxfp4 import MXFP4Decode
from rtl.nvfp4 import NVFP4Decode

#: Values of ports over time, by name: unsigned arrays [vectors, fields]. The fields of a port have equal widths,
#: field 0 in the lowest bits.
Ports = dict[str, np.ndarray]
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """A figure from the literature to stand beside ours."""

    area_percent: float | None
    power_percent: float | None
    source: str
    differs: str


@dataclass(frozen=True)
class Unit:
    """Everything the tools know of a unit.

    Parameters
    ----------
    name : str
        Name of the unit, and of its top module in Verilog.
    builder : subclass of wiring.Component
        Its constructor's keyword arguments are the unit's parameters.
    summary : str
        One line for lists.
    golden : callable (Ports, Parameters) -> Ports
        Outputs that the golden model gives for inputs, without latency.
    stimulus : callable (Parameters, vectors, seed, tensor or None) -> Ports
        Realistic inputs: what the unit sees when it works on quantised tensors.
    testbench : callable (Parameters, seed) -> Ports
        Inputs that verify: exhaustive, or directed corners and random.
    operands : callable (Parameters) -> int
        Operands, or what ``counted`` says, handled a cycle: for the energy of one.
    baseline : str or None
        The unit that overheads refer to by default.
    spec : str
        File in ``hwsim/specs``: the bit-level statement of the contract that the RTL is proven against.
    published : Published or None
    counted : str
        What is done a cycle: an operand decoded, a multiply-add.
    """

    name: str
    builder: Callable[..., wiring.Component]
    summary: str
    golden: Callable[[Ports, Parameters], Ports]
    stimulus: Callable[[Parameters, int, int, np.ndarray | None], Ports]
    testbench: Callable[[Parameters, int], Ports]
    operands: Callable[[Parameters], int]
    baseline: str | None
    spec: str
    published: Published | None = None
    counted: str = "operand"

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters and their default values, in declared order."""
        return {p.name: p.default for p in inspect.signature(self.builder).parameters.values()}

    def parameters(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults with ``settings`` applied.

        Raises
        ------
        InputError
            For a parameter that the unit does not have.
        """
        defaults = self.defaults
        for key in settings:
            if key not in defaults:
                raise InputError(unknown(f"parameter of {self.name}", key, defaults))
        return defaults | dict(settings)

    def build(self, parameters: Parameters) -> wiring.Component:
        """The Amaranth component.

        Raises
        ------
        InputError
            If the constructor refuses a value.
        """
        try:
            # Often only the ports are wanted; Amaranth would complain of every component that is not elaborated.
            warnings.simplefilter("ignore", UnusedElaboratable)
            return self.builder(**parameters)
        except ValueError as error:
            raise InputError(f"{self.name}: {error}") from error


@dataclass(frozen=True)
class Design:
    """A unit with its parameters: what the tools work on."""

    unit: Unit
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Any] | None = None) -> Design:
        """Look up a unit by name and apply settings; errors as in :func:`find` and :meth:`Unit.parameters`."""
        unit = find(name)
        return cls(unit, unit.parameters(settings or {}))

    @property
    def name(self) -> str:
        return self.unit.name

    @property
    def slug(self) -> str:
        """Name with the parameters that are not defaults; names build folders."""
        changed = {k: v for k, v in self.parameters.items() if v != self.unit.defaults[k]}
        return "-".join([self.name, *(f"{k}={v}" for k, v in changed.items())])

    def component(self) -> wiring.Component:
        return self.unit.build(self.parameters)


def find(name: str) -> Unit:
    """The unit called ``name``.

    Raises
    ------
    InputError
        If there is none: the message lists what exists and suggests the nearest.
    """
    if name not in UNITS:
        raise InputError(unknown("unit", name, UNITS))
    return UNITS[name]


def unknown(what: str, name: str, known: Any) -> str:
    """Message for a name that does not exist: what does, and the nearest."""
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown {what}: {name} (known: {', '.join(known)}){hint}"


MIXFP4_PUBLISHED = Published(
    area_percent=3.1,
    power_percent=1.5,
    source="MixFP4, arXiv 2605.31035: tensor core over NVFP4's, TSMC 28 nm synthesis",
    differs="published for a whole tensor core (shape, clock and tool not published); here the decode stage alone",
)

MMA_PUBLISHED = "published for a tensor core whose shape, clock and tool are not known"


def _mma(
    format: str,
    builder: Callable[..., wiring.Component],
    summary: str,
    baseline: str | None = "nvfp4_mma",
    block_size: int = 0,
    published: Published | None = None,
) -> Unit:
    """An MMA unit called after its format."""
    adaptors = mma_units.MMAUnit(format, builder, block_size)
    return Unit(
        f"{format}_mma", builder, summary, adaptors.golden, adaptors.stimulus, adaptors.testbench, adaptors.operands,
        baseline, "", published, "multiply-add",
    )


UNITS: dict[str, Unit] = {
    unit.name: unit
    for unit in (
        Unit(
            name="nvfp4_decode",
            builder=NVFP4Decode,
            summary="NVFP4 block decoder: E2M1 operands, UE4M3 scale",
            golden=decoders.nvfp4_golden,
            stimulus=decoders.nvfp4_stimulus,
            testbench=decoders.every_code_and_scale,
            operands=decoders.lanes,
            baseline=None,
            spec="nvfp4_decode.v",
        ),
        Unit(
            name="mixfp4_decode",
            builder=MixFP4Decode,
            summary="MixFP4 block decoder: E2M1 or E1M2 per block, E2M2 operands, UE4M3 scale",
            golden=decoders.mixfp4_golden,
            stimulus=decoders.mixfp4_stimulus,
            testbench=decoders.every_code_and_scale,
            operands=decoders.lanes,
            baseline="nvfp4_decode",
            spec="mixfp4_decode.v",
            published=MIXFP4_PUBLISHED,
        ),
        Unit(
            name="mxfp4_decode",
            builder=MXFP4Decode,
            summary="OCP MXFP4 block decoder: E2M1 operands, E8M0 scale",
            golden=decoders.mxfp4_golden,
            stimulus=decoders.mxfp4_stimulus,
            testbench=decoders.every_code_and_scale,
            operands=decoders.lanes,
            baseline="nvfp4_decode",
            spec="mxfp4_decode.v",
        ),
        Unit(
            name="m2xfp_decode",
            builder=M2XFPDecode,
            summary="M2XFP metadata unit: E2M1 operands of a block, the largest of each 8 refined, in eighths",
            golden=mma_units.m2xfp_decode_golden,
            stimulus=mma_units.m2xfp_decode_stimulus,
            testbench=mma_units.m2xfp_decode_testbench,
            operands=mma_units.m2xfp_decode_operands,
            baseline="mxfp4_decode",
            spec="m2xfp_decode.v",
        ),
        _mma("nvfp4", NVFP4MMA, "NVFP4 MMA tile: E2M1, a UE4M3 scale per block of 16", None, 16),
        _mma(
            "mixfp4", MixFP4MMA, "MixFP4 MMA tile: E2M1 or E1M2 per block of 16", block_size=16,
            published=replace(MIXFP4_PUBLISHED, differs=MMA_PUBLISHED),
        ),
        _mma("mxfp4", MXFP4MMA, "OCP MXFP4 MMA tile: E2M1, an E8M0 scale per block of 32 (16: OAS)", block_size=32),
        _mma("m2xfp", M2XFPMMA, "M2XFP MMA tile: MXFP4 with refined activations, multiplied weights", "mxfp4_mma", 32),
        _mma("mxfp6", MXFP6MMA, "OCP MXFP6 MMA tile: E2M3 or E3M2, an E8M0 scale per 32", block_size=32),
        _mma("mxfp8", MXFP8MMA, "OCP MXFP8 MMA tile: E4M3 or E5M2, an E8M0 scale per 32", block_size=32),
        _mma("fp16", FP16MMA, "FP16, BF16 or FP8 MMA tile without scales"),
    )
}
