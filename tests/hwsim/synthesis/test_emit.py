"""Generated Verilog and SDC: what a tapeout flow gets."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import DECODERS, ROOT

from hwsim import units
from hwsim.base import simulators
from hwsim.costs import flow
from hwsim.costs.flow import Workload
from hwsim.peers import opensta
from hwsim.synthesis import emit
from hwsim.synthesis.mapping import Options, Wires
from hwsim.synthesis.sdc import to_sdc
from hwsim.units.table import UNITS

ONE, FOUR = {"m": 1, "n": 1}, {"m": 2, "n": 2}
LINTED = [(unit, settings) for unit in DECODERS for settings in ({}, {"registered": 0}, {"lanes": 1})]
LINTED += [
    ("m2xfp_decode", {}),
    ("m2xfp_decode", {"registered": 0}),
    ("nvfp4_mma", ONE | {"k": 16}),
    ("mixfp4_mma", ONE | {"k": 16}),
    ("mxfp4_mma", ONE | {"k": 32}),
    ("m2xfp_mma", ONE | {"k": 32}),
    ("mxfp6_mma", ONE),
    ("mxfp8_mma", ONE),
    ("mx_mma", ONE | {"formats": "e2m1+e4m3"}),
    ("fp16_mma", ONE | {"k": 4}),
    ("mxfp4_quantize", {}),
    ("mxfp4_quantize", {"block_size": 16, "scale_rule": "oas", "input": "fp32", "subnormals": 1}),
    ("m2xfp_quantize", {"pipeline": "maximum+top"}),
    ("mx_quantize", {"block_size": 16}),
    ("mbs_quantize", {}),
    ("nvfp4_quantize", {}),
    ("four_over_six_quantize", {}),
    ("mixfp4_quantize", {"tensor_scale": "pow2"}),
    ("fp32_to_bf16", {"lanes": 2}),
    ("tensor_max", {}),
    # Bits below the unit of the sum; no registers; subnormal sums.
    ("fp16_mma", ONE | {"element": "e5m2", "k": 4, "fraction_bits": 13, "result_bits": 13}),
    ("fp16_mma", ONE | {"k": 1, "pipeline": ""}),
    ("fp16_mma", ONE | {"element": "bf16", "k": 2, "rounding": "rne"}),
]
#: Every unit in its default K, and the other formats and settings.
LINTED_WHOLE = [(name, FOUR) for name, unit in UNITS.items() if unit.is_tile]
LINTED_WHOLE += [
    (unit, FOUR | settings)
    for unit, settings in (
        ("nvfp4_mma", {"block_size": 32, "rounding": "rne"}),
        ("nvfp4_mma", {"k": 128, "fraction_bits": 30, "pipeline": ""}),
        ("mixfp4_mma", {"polarity": 1}),
        ("mxfp4_mma", {"block_size": 16}),
        ("mxfp4_mma", {"fraction_bits": 13, "result_bits": 13}),
        ("m2xfp_mma", {"pipeline": ""}),
        ("mxfp6_mma", {"element": "e3m2", "rounding": "rne"}),
        ("mxfp8_mma", {"element": "e5m2"}),
        ("mxfp8_mma", {"fraction_bits": 13, "result_bits": 13, "pipeline": ""}),
        ("fp16_mma", {"element": "bf16"}),
        ("fp16_mma", {"element": "e4m3", "k": 32}),
    )
]


def title(case):
    return units.design(*case).slug


@pytest.mark.parametrize("unit", DECODERS)
def test_ports_stand_in_declared_order_with_plain_names(unit, build):
    design = units.design(unit)
    text = emit.to_verilog(design)
    header = text[text.index(f"module {unit} (") : text.index(");")]
    assert re.findall(r"(\w+),? *//", header, re.M) == list(emit.ports(design.component()))
    assert "\\" not in text


@pytest.mark.parametrize("settings", [{}, {"registered": 0}, {"lanes": 1}])
@pytest.mark.parametrize("unit", DECODERS)
def test_no_attributes_initial_values_or_strays(unit, settings, build):
    text = emit.to_verilog(units.design(unit, settings))
    assert "(*" not in text
    assert "\\" not in text
    assert not re.search(r"^\s*(output )?reg .*=", text, re.M)
    assert "initial" not in text


def lint(unit, settings, build):
    source = build / f"lint_{unit}.v"
    source.write_text(emit.to_verilog(units.design(unit, settings)))
    env = simulators.environment()
    lint = ["verilator", "--lint-only", "-Wall", "-Wno-DECLFILENAME", "--top-module", unit, source]
    result = subprocess.run(lint, env=env, capture_output=True, text=True)
    assert result.returncode == 0 and "%Warning" not in result.stderr, result.stderr
    if simulators.available("icarus"):
        result = subprocess.run(["iverilog", "-Wall", "-o", "/dev/null", source], capture_output=True, text=True)
        assert result.returncode == 0 and not result.stderr, result.stderr


@pytest.mark.parametrize("case", LINTED, ids=title)
def test_lint_clean_and_accepted_by_icarus(case, build):
    lint(*case, build)


@pytest.mark.slow
@pytest.mark.parametrize("case", LINTED_WHOLE, ids=title)
def test_whole_tiles_are_lint_clean(case, build):
    lint(*case, build)


def test_lint_table_names_every_unit():
    assert {unit for unit, _ in LINTED} == set(UNITS)


def test_lint_notices_a_width_error(build):
    source = build / "lint_wrong.v"
    text = emit.to_verilog(units.design("nvfp4_decode"))
    source.write_text(text.replace("{7{1'b1}}", "9'h07f"))
    lint = ["verilator", "--lint-only", "-Wall", "-Wno-DECLFILENAME", source]
    assert subprocess.run(lint, env=simulators.environment(), capture_output=True).returncode != 0


def test_byte_identical_for_every_run_and_hash_seed(run_tool, tmp_path):
    texts = set()
    for seed in ("0", "1", "random"):
        result = run_tool("verilog", "--unit", "mixfp4_decode", "-o", f"out{seed}", PYTHONHASHSEED=seed)
        assert result.returncode == 0, result.stderr
        texts.add(
            (
                (tmp_path / f"out{seed}/mixfp4_decode.v").read_bytes(),
                (tmp_path / f"out{seed}/mixfp4_decode.sdc").read_bytes(),
            )
        )
    assert len(texts) == 1


def test_a_tile_is_byte_identical_in_every_process():
    """Wires for shared values are numbered in the order of the component, not of addresses or hashes."""
    code = (
        "import hashlib\nfrom hwsim import units\nfrom hwsim.synthesis import emit\n"
        "text = emit.to_verilog(units.design('mxfp4_mma', {'m': 1, 'n': 1, 'k': 32}))\n"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": str(seed)}, capture_output=True
        ).stdout
        for seed in range(3)
    }
    assert len(hashes) == 1 and b"" not in hashes


def test_header_names_parameters_latency_and_versions(build):
    text = emit.to_verilog(units.design("mixfp4_decode", {"lanes": 8, "polarity": 1}))
    assert "parameters: lanes=8 registered=1 polarity=1" in text
    assert "latency: 2 cycles" in text
    assert emit.generator() in text


def test_sdc_constrains_clock_inputs_and_outputs(library):
    text = to_sdc(units.design("mixfp4_mma"), library("sky130hd"), 2.5)
    assert "create_clock -name clk -period 2.5 [get_ports clk]" in text
    # Not c*, which would be clk too.
    assert "set_input_delay 0.5 -clock clk [get_ports [list rst valid accumulate {a_codes[*]} " in text
    assert "{b_scales[*]} {c[*]}]]" in text
    assert "set_output_delay 0.5 -clock clk [get_ports [list out_valid {d[*]}]]" in text
    assert "set_output_delay 1 -clock" in to_sdc(units.design("mixfp4_mma"), library("sky130hd"), 2.5, 0.4)
    plain = to_sdc(units.design("nvfp4_decode", {"registered": 0}), library("sky130hd"), 2.5)
    assert "create_clock -name clk -period 2.5\n" in plain


@pytest.mark.parametrize(
    ("technology", "units_of", "period", "load"),
    [("asap7", "ps -capacitance fF", "2500", 2.235), ("sky130hd", "ns -capacitance pF", "2.5", 0.006712)],
)
def test_sdc_is_in_the_units_of_the_foundry(technology, units_of, period, load, library):
    """``time_unit`` and ``capacitive_load_unit`` of the Liberty files that the packs were fitted to."""
    lines = to_sdc(units.design("nvfp4_decode"), library(technology), 2.5).splitlines()
    assert next(line for line in lines if not line.startswith("#")) == f"set_units -time {units_of}"
    assert f"create_clock -name clk -period {period} [get_ports clk]" in lines
    assert any(line.startswith(f"set_load {load} ") for line in lines)


@pytest.mark.skipif(not opensta.installed(), reason="OpenSTA is not installed")
@pytest.mark.parametrize("technology", ["asap7", "sg13g2", "sky130hd"])
def test_opensta_reads_the_sdc_and_finds_our_slack(technology, mapped, tmp_path):
    m = mapped("nvfp4_decode", technology)
    period = m.library.clock_period_ns
    (tmp_path / "unit.sdc").write_text(to_sdc(m.design, m.library, period, 0))
    (tmp_path / "late.sdc").write_text(to_sdc(m.design, m.library, period, 0.1))
    (tmp_path / "run.tcl").write_text(
        f"read_liberty {m.library.liberty_path}\nread_verilog {m.netlist}\nlink_design nvfp4_decode\n"
        "source unit.sdc\nreport_checks -digits 6\nsource late.sdc\n"
        "report_checks -digits 6 -from [get_ports scale_code[0]]\n"
    )
    run = ["sta", "-no_init", "-no_splash", "-exit", "run.tcl"]
    log = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    log = log.stdout + log.stderr
    assert "Error" not in log and "Warning" not in log
    # Inputs arrive when the logic in front of them has taken its share, in the units of the library.
    share = 0.1 * period / m.library.time_unit_ns
    assert re.search(rf"^ +{share:.6f} +{share:.6f} . input external delay", log, re.M)
    ours = flow.measure(replace(m, options=Options(period, Wires.ZERO)), Workload(4096)).timing.slack_ns
    slack = re.search(r"^ *(\S+) +slack", log, re.M)
    # The wire load of the library's default applies in OpenSTA as it does here.
    with_wires = flow.measure(m, Workload(4096)).timing.slack_ns
    assert any(
        float(slack[1]) * m.library.time_unit_ns == pytest.approx(s, abs=0.002 * period) for s in (ours, with_wires)
    )


def test_files_are_kept_when_a_parameter_is_wrong(run_tool, tmp_path):
    (tmp_path / "nvfp4_decode.v").write_text("mine")
    result = run_tool("verilog", "--unit", "nvfp4_decode", "--set", "lanes=0")
    assert result.returncode == 2
    assert result.stderr == "error: nvfp4_decode: lanes must be a positive integer, got 0\n"
    assert (tmp_path / "nvfp4_decode.v").read_text() == "mine"
