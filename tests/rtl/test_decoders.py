"""The block decoders: contract, proofs, simulation, and whether the checks can fail."""

import numpy as np
import pytest

from hwsim import cosim, elaborate, flow, mutants, prove, verilog
from hwsim.errors import InputError
from hwsim.units import Design
from rtl.mixfp4 import MixFP4Decode
from rtl.nvfp4 import NVFP4Decode

DECODERS = ("nvfp4_decode", "mixfp4_decode", "mxfp4_decode")
VARIANTS = [(unit, settings) for unit in DECODERS for settings in ({}, {"registered": 0}, {"lanes": 3})]
VARIANTS += [("mixfp4_decode", {"polarity": 1}), ("mixfp4_decode", {"polarity": 1, "registered": 0})]


@pytest.mark.parametrize("lanes", [0, -1, 1.5, "16"])
def test_lanes_must_be_a_positive_integer(lanes):
    with pytest.raises(ValueError, match=f"lanes must be a positive integer, got {lanes!r}"):
        NVFP4Decode(lanes=lanes)


def test_polarity_and_registered_are_bits():
    with pytest.raises(ValueError, match="polarity must be 0 or 1, got 2"):
        MixFP4Decode(polarity=2)
    with pytest.raises(ValueError, match="registered must be 0 or 1, got 'yes'"):
        MixFP4Decode(registered="yes")


@pytest.mark.parametrize("unit", DECODERS)
def test_ports_are_those_of_the_documentation(unit):
    kinds = verilog.ports(Design.of(unit).component())
    assert list(kinds) == ["clk", "rst", "codes", "scale_code", "operands", "scale", "scale_nan"]
    assert "clk" not in verilog.ports(Design.of(unit, {"registered": 0}).component())


def test_mixfp4_operands_are_the_table_of_the_paper(mapped, library):
    # arXiv 2605.31035 as formats.md section 5 reports it: E2M1 (exponent, fraction) with a zero appended, E1M2 code n
    # as the integer n; the codes below are exponent and fraction of E2M2.
    e2m1 = [0b0000, 0b0010, 0b0100, 0b0110, 0b1000, 0b1010, 0b1100, 0b1110]
    e1m2 = [0b0000, 0b0100, 0b1000, 0b1010, 0b1100, 0b1101, 0b1110, 0b1111]
    from hwsim.decoders import mixfp4_golden

    codes = np.arange(16, dtype=np.uint8)[None]
    for sign_bit, table in ((0, e2m1), (1, e1m2)):
        got = mixfp4_golden(
            {"codes": codes, "scale_code": np.array([[0x38 | sign_bit << 7]], np.uint8)}, {"polarity": 0}
        )["operands"][0]
        assert got.tolist() == table + [0] + [0b10000 | t for t in table[1:]]


@pytest.mark.parametrize(("unit", "settings"), VARIANTS)
def test_rtl_equals_specification(unit, settings, build):
    proof = prove.rtl_equals_specification(Design.of(unit, settings), build / "proofs" / unit)
    assert proof.holds, proof.counterexample


@pytest.mark.parametrize("unit", DECODERS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_specification_refutes_an_injected_fault(unit, seed, build):
    proof = prove.rtl_equals_specification(Design.of(unit, {"lanes": 2}), build / f"twin{seed}" / unit, inject=seed)
    assert not proof.holds
    assert "gold_" in proof.counterexample


def test_specification_refutes_the_other_polarity(build):
    design = Design.of("mixfp4_decode", {"lanes": 2})
    other = Design.of("mixfp4_decode", {"lanes": 2, "polarity": 1})
    proof = prove.prove(
        "other polarity", design, prove.specification(design), prove.rtl(other, build / "other"), build, "other"
    )
    assert not proof.holds


@pytest.mark.parametrize("technology", ["asap7", "sg13g2", "sky130hd"])
@pytest.mark.parametrize("unit", DECODERS)
def test_netlist_equals_rtl(unit, technology, mapped, library, build):
    m = mapped(unit, technology)
    proof = prove.netlist_equals_rtl(m.design, m.netlist, m.library, build / "proofs" / technology)
    assert proof.holds, proof.counterexample


@pytest.mark.parametrize("unit", DECODERS)
def test_faulty_netlist_is_refuted(unit, mapped, build):
    m = mapped(unit)
    proof = prove.netlist_equals_rtl(m.design, m.netlist, m.library, build / "twin", inject=1)
    assert not proof.holds


def test_combinational_netlist_equals_rtl(mapped, build):
    m = mapped("mixfp4_decode", registered=0)
    assert prove.netlist_equals_rtl(m.design, m.netlist, m.library, build / "comb").holds


@pytest.mark.parametrize("unit", DECODERS)
def test_cocotb_agrees_with_golden(unit, simulator, build):
    design = Design.of(unit)
    source = build / f"{design.slug}.v"
    source.write_text(verilog.to_verilog(design, build / design.slug))
    outcome = cosim.simulate(design, source, build / f"cosim-{simulator}-{design.slug}", simulator)
    assert outcome.wrong is None
    assert outcome.vectors >= 16 * 256


def test_cocotb_agrees_with_golden_without_registers(build):
    design = Design.of("mixfp4_decode", {"registered": 0, "polarity": 1, "lanes": 5})
    source = build / "plain.v"
    source.write_text(verilog.to_verilog(design, build / "plain"))
    assert cosim.simulate(design, source, build / "cosim-plain").wrong is None


def test_cocotb_notices_a_changed_bit(build):
    design = Design.of("nvfp4_decode", {"lanes": 2})
    source = build / "wrong.v"
    text = verilog.to_verilog(design, build / "wrong")
    assert "7'h7f" in text
    source.write_text(text.replace("7'h7f", "7'h7e"))
    outcome = cosim.simulate(design, source, build / "cosim-wrong")
    assert outcome.wrong is not None
    assert "scale_nan is 0x1, golden 0x0" in outcome.wrong


# The mutants of one decoder in the quick suite, of the others in the slow one.
@pytest.mark.parametrize(
    "unit", [unit if unit == "mixfp4_decode" else pytest.param(unit, marks=pytest.mark.slow) for unit in DECODERS]
)
def test_every_fault_is_killed(unit, build):
    score = mutants.score(Design.of(unit, {"lanes": 4}), 100, build / "mutants" / unit)
    assert score.survivors == []
    assert score.killed + score.equivalent == score.mutants
    assert score.percent == 100.0


def test_a_blind_testbench_lets_faults_live(build, monkeypatch):
    # The testbench runs in the simulator's process, so it is told by its seed: with four vectors the NaN flag never
    # rises, and a fault that ties it low cannot be seen.
    design = Design.of("nvfp4_decode", {"lanes": 2})
    monkeypatch.setenv("HWSIM_VECTORS", "4")
    score = mutants.score(design, 60, build / "blind")
    assert score.percent < 100.0
    assert score.survivors


@pytest.mark.parametrize("unit", DECODERS)
def test_netlist_equals_golden_on_a_million_vectors(unit, mapped, library):
    m = mapped(unit)
    netlist = elaborate.read(m.netlist_json, unit, m.library)
    rng = np.random.default_rng(5)
    lanes = m.design.parameters["lanes"]
    inputs = {
        "codes": rng.integers(0, 16, (1 << 20, lanes), dtype=np.uint8),
        "scale_code": rng.integers(0, 256, (1 << 20, 1), dtype=np.uint8),
    }
    assert flow.simulate(m.design, netlist, inputs).cycles > 1_000_000


def test_unknown_names_say_what_exists():
    with pytest.raises(InputError, match="unknown unit: mixfp4_decod .*did you mean mixfp4_decode"):
        Design.of("mixfp4_decod")
    with pytest.raises(InputError, match="unknown parameter of nvfp4_decode: lane .*did you mean lanes"):
        Design.of("nvfp4_decode", {"lane": 3})
