"""The table of units: the only place where a unit is registered, its RTL paired with its golden function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from amaranth.lib import wiring

from hwsim.base.errors import InputError
from hwsim.base.text import unknown
from hwsim.rtl.fp16 import FP16MMA
from hwsim.rtl.m2xfp import M2XFPMMA, M2XFPDecode, M2XFPQuantize
from hwsim.rtl.mbs import MBSQuantize
from hwsim.rtl.mixfp4 import MixFP4Decode, MixFP4MMA, MixFP4Quantize
from hwsim.rtl.mx import MXFP4MMA, MXFP6MMA, MXFP8MMA, MXMMA, MXFP4Decode, MXFP4Quantize, MXQuantize
from hwsim.rtl.nvfp4 import NVFP4MMA, FourOverSixQuantize, NVFP4Decode, NVFP4Quantize
from hwsim.rtl.quantise.around import FP32ToBF16, TensorMax
from hwsim.units import decoders, edge_cases, engines, stimulus
from hwsim.units.engines import (
    BlockEngine,
    ElementEngine,
    MacroBlockEngine,
    PowerOfTwoEngine,
    Rounding,
    RunningMaximum,
    TensorEngine,
)
from hwsim.units.mixed import MixedUnit
from hwsim.units.mma import MMAUnit
from hwsim.units.ports import Parameters
from hwsim.units.unit import Design, Published, Unit

MIXFP4_PUBLISHED = Published(
    area_percent=3.1,
    power_percent=1.5,
    source="MixFP4, arXiv 2605.31035: tensor core over NVFP4's, TSMC 28 nm synthesis",
    differs="published for a whole tensor core (shape, clock and tool not published); here the decode stage alone",
)
Engine = BlockEngine | TensorEngine | Rounding | RunningMaximum
MMA_PUBLISHED = "published for a tensor core whose shape, clock and tool are not known"


def _mma(
    format: str,
    builder: Callable[..., wiring.Component],
    summary: str,
    baseline: str | None = "nvfp4_mma",
    block_size: int = 0,
    published: Published | None = None,
    kind: type[MMAUnit] = MMAUnit,
) -> Unit:
    """The entry of an MMA unit, which is named after its format."""
    mma = kind(format, builder, block_size)
    return Unit(
        name=f"{format}_mma",
        builder=builder,
        summary=summary,
        golden=mma.golden,
        stimulus=partial(stimulus.tiles, mma),
        testbench=partial(edge_cases.stream, mma),
        operands=mma.operands,
        baseline=baseline,
        spec="",
        published=published,
        counted="multiply-add",
        mma=mma,
        streams=True,
        hierarchical=True,
    )


def _engine(
    name: str,
    engine: Engine,
    summary: str,
    baseline: str | None = "mxfp4_quantize",
    counted: str = "element",
) -> Unit:
    """The entry of a quantisation engine, or of a unit beside one."""
    return Unit(
        name=name,
        builder=engine.builder,
        summary=summary,
        golden=engine.golden,
        stimulus=engine.stimulus,
        testbench=engine.testbench,
        operands=engine.size,
        baseline=baseline,
        spec="",
        counted=counted,
        streams=True,
        hierarchical=True,
        steady=engine.steady,
        engine=engine if isinstance(engine, BlockEngine | TensorEngine) else None,
    )


def _no_options(parameters: Parameters) -> dict[str, Any]:
    """Options of golden systems that have none."""
    return {}


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
            golden=decoders.m2xfp_decode_golden,
            stimulus=decoders.m2xfp_decode_stimulus,
            testbench=decoders.m2xfp_decode_testbench,
            operands=decoders.m2xfp_decode_operands,
            baseline="mxfp4_decode",
            spec="m2xfp_decode.v",
        ),
        _mma("nvfp4", NVFP4MMA, "NVFP4 MMA tile: E2M1, a UE4M3 scale per block of 16", None, 16),
        _mma(
            "mixfp4",
            MixFP4MMA,
            "MixFP4 MMA tile: E2M1 or E1M2 per block of 16",
            block_size=16,
            published=replace(MIXFP4_PUBLISHED, differs=MMA_PUBLISHED),
        ),
        _mma("mxfp4", MXFP4MMA, "OCP MXFP4 MMA tile: E2M1, an E8M0 scale per block of 32 (16: OAS)", block_size=32),
        _mma("m2xfp", M2XFPMMA, "M2XFP MMA tile: MXFP4 with refined activations, multiplied weights", "mxfp4_mma", 32),
        _mma("mxfp6", MXFP6MMA, "OCP MXFP6 MMA tile: E2M3 or E3M2, an E8M0 scale per 32", block_size=32),
        _mma("mxfp8", MXFP8MMA, "OCP MXFP8 MMA tile: E4M3 or E5M2, an E8M0 scale per 32", block_size=32),
        _mma(
            "mx",
            MXMMA,
            "OCP MX tile (MicroMix): FP4, FP6 and FP8, a pair of formats by instruction, FP4 at twice the K",
            "mxfp8_mma",
            32,
            kind=MixedUnit,
        ),
        _mma("fp16", FP16MMA, "FP16, BF16 or FP8 MMA tile without scales"),
        _engine(
            "mxfp4_quantize",
            PowerOfTwoEngine(MXFP4Quantize, engines.mxfp4),
            "MXFP4 (OAS) quantiser: BF16 to E2M1 and an E8M0 scale",
            None,
        ),
        _engine(
            "mx_quantize",
            ElementEngine(MXQuantize),
            "OCP MX quantiser (MicroMix): BF16 to FP4, FP6 or FP8 by block, and an E8M0 scale",
        ),
        _engine(
            "m2xfp_quantize",
            PowerOfTwoEngine(M2XFPQuantize, engines.m2xfp),
            "M2XFP quantiser (Elem-EM): BF16 to E2M1, an E8M0 scale and metadata",
        ),
        _engine(
            "mbs_quantize",
            MacroBlockEngine(MBSQuantize),
            "MBS quantiser (static): BF16 to E2M1, an E8M0 scale and the macro-block's factor",
        ),
        _engine(
            "nvfp4_quantize",
            TensorEngine(NVFP4Quantize, "nvfp4", _no_options),
            "NVFP4 quantiser: BF16 to E2M1 and a UE4M3 scale",
        ),
        _engine(
            "four_over_six_quantize",
            TensorEngine(FourOverSixQuantize, "four_over_six", lambda parameters: {"measure": "exact"}),
            "Four Over Six quantiser: BF16 to E2M1 and the better of two UE4M3 scales",
        ),
        _engine(
            "mixfp4_quantize",
            TensorEngine(MixFP4Quantize, "mixfp4", engines.mixfp4),
            "MixFP4 quantiser: BF16 to the better of E2M1 and E1M2, and a UE4M3 scale",
        ),
        _engine(
            "fp32_to_bf16",
            Rounding(FP32ToBF16),
            "FP32 to BF16 in front of a quantiser: round to nearest, ties to even",
            None,
        ),
        _engine(
            "tensor_max",
            RunningMaximum(TensorMax),
            "Running maximum of a tensor from the maxima of its blocks",
            None,
            "block",
        ),
    )
}


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


def design(name: str, settings: Mapping[str, Any] | None = None) -> Design:
    """A unit by name with some of its parameters set; errors as in :func:`find` and :meth:`Unit.parameters`."""
    unit = find(name)
    return Design(unit, unit.parameters(settings or {}))


def baseline_of(design: Design, settings: Mapping[str, Any], name: str | None = None) -> Design | None:
    """The design that overheads are relative to: another unit, with the same settings for parameters that both have.

    Parameters
    ----------
    design : Design
    settings : mapping
        Parameters that were set, not left at their defaults.
    name : str, optional
        The unit; by default the one in the table, and ``none`` for no baseline.

    Raises
    ------
    InputError
        For an unknown name, a unit that counts another operation, and the design itself.
    """
    unit = design.unit
    name = name or unit.baseline
    if name is None or name == "none":
        return None
    chosen = find(name)
    if chosen.counted != unit.counted:
        raise InputError(f"--baseline {name} does {chosen.counted}s, {unit.name} {unit.counted}s: nothing to compare")
    shared = {k: v for k, v in settings.items() if k in chosen.defaults}
    if "lanes" in chosen.defaults and "lanes" in unit.defaults:
        # Cost is compared lane by lane, whatever the block lengths.
        shared.setdefault("lanes", unit.defaults["lanes"])
    baseline = Design(chosen, chosen.parameters(shared))
    if baseline == design:
        raise InputError(f"--baseline {design.name} is the unit itself with the same parameters")
    return baseline
