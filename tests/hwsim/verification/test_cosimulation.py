"""Decoders in a simulator against golden."""

import pytest
from conftest import DECODERS

from hwsim import units
from hwsim.synthesis import emit
from hwsim.verification import cosimulation


@pytest.mark.parametrize("unit", DECODERS)
def test_cocotb_agrees_with_golden(unit, simulator, build, runtime):
    design = units.design(unit)
    source = build / f"{design.slug}.v"
    source.write_text(emit.to_verilog(design))
    outcome = cosimulation.simulate(
        design, source, build / f"cosim-{simulator}-{design.slug}", simulator, runtime=runtime
    )
    assert outcome.wrong is None
    assert outcome.vectors >= 16 * 256


def test_cocotb_agrees_with_golden_without_registers(build, runtime):
    design = units.design("mixfp4_decode", {"registered": 0, "polarity": 1, "lanes": 5})
    source = build / "plain.v"
    source.write_text(emit.to_verilog(design))
    assert cosimulation.simulate(design, source, build / "cosim-plain", runtime=runtime).wrong is None


def test_cocotb_notices_a_changed_bit(build, runtime):
    design = units.design("nvfp4_decode", {"lanes": 2})
    source = build / "wrong.v"
    text = emit.to_verilog(design)
    assert "{7{1'b1}}" in text
    source.write_text(text.replace("{7{1'b1}}", "7'h7e"))
    outcome = cosimulation.simulate(design, source, build / "cosim-wrong", runtime=runtime)
    assert outcome.wrong is not None
    assert "scale_nan is 0x1, golden 0x0" in outcome.wrong
