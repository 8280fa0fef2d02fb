"""Proofs of block decoders, and the faults that they must refute."""

import pytest
from conftest import DECODERS

from hwsim import units
from hwsim.verification import proofs, sources

VARIANTS = [(unit, settings) for unit in DECODERS for settings in ({}, {"registered": 0}, {"lanes": 3})]
VARIANTS += [("mixfp4_decode", {"polarity": 1}), ("mixfp4_decode", {"polarity": 1, "registered": 0})]


@pytest.mark.parametrize(("unit", "settings"), VARIANTS)
def test_rtl_equals_specification(unit, settings, build):
    proof = proofs.rtl_equals_specification(units.design(unit, settings), build / "proofs" / unit)
    assert proof.holds, proof.counterexample


@pytest.mark.parametrize("unit", DECODERS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_specification_refutes_rtl_with_an_inverted_pin(unit, seed, build):
    folder = build / f"twin{seed}" / unit
    proof = proofs.rtl_equals_specification(units.design(unit, {"lanes": 2}), folder, inject=seed)
    assert not proof.holds, fault_in(folder)
    assert "gold_" in proof.counterexample


def fault_in(folder):
    """The fault that a proof has injected below a folder: the pin that Yosys' ``mutate`` inverted."""
    [line] = (folder / "prove" / "mutation.ys").read_text().splitlines()
    assert line.startswith("mutate -mode inv ")
    return line


def test_specification_refutes_the_other_polarity(build):
    design = units.design("mixfp4_decode", {"lanes": 2})
    other = units.design("mixfp4_decode", {"lanes": 2, "polarity": 1})
    proof = proofs.prove(
        "other polarity", design, sources.specification(design), sources.rtl(other, build / "other"), build, "other"
    )
    assert not proof.holds


@pytest.mark.parametrize("technology", ["asap7", "sg13g2", "sky130hd"])
@pytest.mark.parametrize("unit", DECODERS)
def test_netlist_equals_rtl(unit, technology, mapped, library, build):
    m = mapped(unit, technology)
    proof = proofs.netlist_equals_rtl(m.design, m.netlist, m.library, build / "proofs" / technology)
    assert proof.holds, proof.counterexample


@pytest.mark.parametrize("unit", DECODERS)
def test_a_netlist_with_an_inverted_pin_is_refuted(unit, mapped, build):
    m = mapped(unit)
    folder = build / "twin" / unit
    proof = proofs.netlist_equals_rtl(m.design, m.netlist, m.library, folder, inject=1)
    assert not proof.holds, fault_in(folder)


def test_combinational_netlist_equals_rtl(mapped, build):
    m = mapped("mixfp4_decode", registered=0)
    assert proofs.netlist_equals_rtl(m.design, m.netlist, m.library, build / "comb").holds
