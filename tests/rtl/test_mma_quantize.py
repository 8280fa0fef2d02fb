"""A worked example: the results of an MMA tile, rounded to BF16 and quantised for the next layer, in three units.

The tile's 2 x 8 results are one block of 16. Everything is compared with golden end to end, bit for bit.
"""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from cocotb_tools.runner import get_runner

from hwsim import units
from hwsim.base import simulators
from hwsim.base.bits import to_integers
from hwsim.golden.engines import quantize_bits, to_bf16
from hwsim.synthesis.emit import ports, to_verilog

TILE = units.design("mxfp4_mma", {"m": 2, "n": 8, "k": 32})
ROUND = units.design("fp32_to_bf16", {"lanes": 16})
ENGINE = units.design("mxfp4_quantize", {"scale_rule": "even", "block_size": 16})
CYCLES = 200


def wrapper():
    """Verilog of the three units in a row."""
    declared = {name: (way, width) for name, (way, width) in ports(TILE.component()).items() if way == "input"}
    lines = [f"  input wire [{width - 1}:0] {name}," for name, (_, width) in declared.items()]
    connections = ", ".join(f".{name}({name})" for name in declared)
    return "\n".join([
        "module mma_quantize (", *lines,
        "  output wire out_valid, output wire [63:0] codes, output wire [7:0] scale", ");",
        "  wire [511:0] d; wire d_valid; wire [255:0] y; wire y_valid;",
        f"  mxfp4_mma tile ({connections}, .out_valid(d_valid), .d(d));",
        "  fp32_to_bf16 rounder (.clk(clk), .rst(rst), .valid(d_valid), .x(d), .out_valid(y_valid), .y(y));",
        "  mxfp4_quantize engine (.clk(clk), .rst(rst), .valid(y_valid), .x(y), .out_valid(out_valid), .codes(codes),",
        "    .scale(scale));",
        "endmodule",
    ])  # fmt: skip


def stream():
    """Inputs of every cycle: random operands under scales that leave results in every range, and bubbles."""
    inputs = TILE.unit.stimulus(TILE.parameters, CYCLES, 7, None)
    rng = np.random.default_rng(7)
    inputs["valid"] = (rng.random((CYCLES, 1)) < 0.7).astype(np.uint8)
    # Infinite and tiny results: the block of an infinite one has a NaN scale.
    inputs["c"] = inputs["c"].copy()
    inputs["valid"][5:7] = 1
    inputs["c"][5], inputs["c"][6] = 0x7F800000, 0x00000001
    return inputs


# A minute each.
@pytest.mark.slow
@pytest.mark.parametrize("simulator", simulators.SIMULATORS)
def test_results_become_blocks(simulator, tmp_path, runtime, monkeypatch):
    if not simulators.available(simulator):
        pytest.skip(f"{simulator} is not installed")
    source, task, found = tmp_path / "all.v", tmp_path / "task.json", tmp_path / "found.json"
    source.write_text("\n".join([*map(to_verilog, (TILE, ROUND, ENGINE)), wrapper()]))
    inputs = stream()
    widths = {name: width for name, (_, width) in ports(TILE.component()).items()}
    words = {name: to_integers(values, widths[name]) for name, values in inputs.items()}
    latency = sum(design.component().latency for design in (TILE, ROUND, ENGINE))
    cycles = [{name: values[i] for name, values in words.items()} for i in range(CYCLES)]
    task.write_text(json.dumps({"cycles": cycles, "latency": latency, "found": str(found)}))
    for name, value in simulators.environment(runtime).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MMA_QUANTIZE_TASK", str(task))
    runner = get_runner(simulator)
    # In one file, as the wheel's precompiled headers need it.
    flags = ["-Wno-fatal", "--x-initial", "unique", "--output-split", "0", "-CFLAGS", "-O0"]
    flags = flags if simulator == "verilator" else []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        runner.build(
            sources=[source], hdl_toplevel="mma_quantize", build_dir=tmp_path / "build", timescale=("1ns", "1ps"),
            always=True, build_args=flags, log_file=tmp_path / "log",
        )  # fmt: skip
        runner.test(
            hdl_toplevel="mma_quantize", test_module="mma_quantize_bench", build_dir=tmp_path / "build",
            test_dir=tmp_path, log_file=tmp_path / "log", results_xml=str(tmp_path / "results.xml"),
            extra_env={"PYTHONPATH": str(Path(__file__).parent)},
        )  # fmt: skip
    valid = inputs["valid"][:, 0].astype(bool)
    results = TILE.unit.golden(inputs, TILE.parameters)["d"][valid]
    blocks = quantize_bits(to_bf16(results.astype(np.uint32)), "mxfp4", scale_rule="even", subnormals=False)
    wanted = list(zip(to_integers(blocks.codes, 64), blocks.scales.tolist(), strict=True))
    assert [tuple(pair) for pair in json.loads(found.read_text())] == wanted
    assert 255 in blocks.scales and len({*blocks.scales.tolist()}) > 3
