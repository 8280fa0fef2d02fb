"""Verilog for other tools is proven to do what the structured RTL does."""

import pytest

from hwsim import units
from hwsim.base.errors import ToolError
from hwsim.synthesis import emit
from hwsim.units.table import UNITS
from hwsim.verification import delivered, sources
from hwsim.verification.equivalence import PROVEN, REFUTED

SMALL = units.design("fp16_mma", {"m": 1, "n": 2, "k": 2, "element": "e5m2", "fraction_bits": 13, "pipeline": "align"})
BLOCKS = units.design("mixfp4_mma", {"m": 1, "n": 1, "k": 32, "pipeline": "block", "fraction_bits": 13})


def outcomes(design, build, inject=None):
    return {proof.outcome for proof in delivered.proofs(design, build, inject)}


@pytest.mark.parametrize(("inject", "outcome"), [(None, PROVEN), (1, REFUTED)], ids=["as it is", "with a fault"])
@pytest.mark.parametrize("unit", ["mixfp4_decode", "m2xfp_decode"])
def test_units_without_parts_are_proven_and_their_twins_refuted(unit, inject, outcome, tmp_path):
    assert outcomes(units.design(unit), tmp_path, inject) == {outcome}


@pytest.mark.slow
@pytest.mark.parametrize(("inject", "outcome"), [(None, PROVEN), (1, REFUTED)], ids=["as it is", "with a fault"])
@pytest.mark.parametrize("design", [SMALL, BLOCKS], ids=lambda d: d.slug)
def test_every_module_is_proven_and_its_twin_refuted(design, inject, outcome, tmp_path):
    assert outcomes(design, tmp_path, inject) == {outcome}


@pytest.mark.slow
@pytest.mark.parametrize("unit", [name for name, unit in UNITS.items() if unit.is_tile])
def test_default_tiles_are_proven_and_their_twins_refuted(unit, tmp_path):
    design = units.design(unit, {"m": 2, "n": 2})
    assert [outcomes(design, tmp_path, inject) for inject in (None, 1)] == [{PROVEN}, {REFUTED}]


@pytest.mark.slow
def test_half_blocks_in_a_row_and_in_loops_are_the_same_instances(tmp_path):
    """Two blocks of two halves each are four instances in a row in RTL, and two nested loops in Verilog."""
    structured = units.design("mxfp4_mma", {"m": 1, "n": 1})
    written = structured.in_arithmetic("operators")
    rtl = sources.graphs(structured, sources.rtl_modules(structured, tmp_path), tmp_path, "rtl")["mma_dot"]
    read = sources.verilog_modules(written, tmp_path)
    verilog = sources.graphs(written, read, tmp_path, "verilog")["mma_dot"]
    assert {n.partition(".")[0] for n in rtl.inputs if "block" in n} == {f"block_{i}" for i in range(4)}
    assert any(n.startswith("gen_block_row[1].gen_block[1].block.") for n in verilog.inputs)
    rtl, verilog = delivered.labelled(rtl), delivered.labelled(verilog)
    delivered.check_operands("dot", structured, rtl, verilog)
    blocks = [{name for name in graph.inputs if name.startswith("block")} for graph in (rtl, verilog)]
    assert blocks[0] == blocks[1]


@pytest.mark.slow
def test_where_operands_come_from_is_compared(tmp_path, monkeypatch):
    written = BLOCKS.in_arithmetic("operators")
    gold = sources.graphs(BLOCKS, sources.rtl_modules(BLOCKS, tmp_path), tmp_path, "rtl")["mma_dot"]

    def check(text):
        monkeypatch.setattr(sources, "to_verilog", lambda design: text)
        read = sources.verilog_modules(written, tmp_path)
        dot = sources.graphs(written, read, tmp_path, "verilog")["mma_dot"]
        delivered.check_operands("dot", BLOCKS, delivered.labelled(gold), delivered.labelled(dot))

    right = emit.to_verilog(written)
    assert right.count(".a    (a_operands[80*gi +: 80])") == 1
    check(right)
    for wrong, message in (("80 - 80*gi", "other places"), ("1 + 80*gi", "expected bit")):
        with pytest.raises(ToolError, match=message):
            check(right.replace("a_operands[80*gi +:", f"a_operands[{wrong} +:"))
