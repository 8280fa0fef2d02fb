"""cocotb bench of ``test_mma_quantize.py``: drives an MMA tile with a quantiser behind it, records what comes out."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge


@cocotb.test()
async def record(dut):
    """Write outputs of every cycle in which ``out_valid`` is high, for inputs of every cycle."""
    task = json.loads(Path(os.environ["MMA_QUANTIZE_TASK"]).read_text())
    clock = Clock(dut.clk, 2, "ns")
    clock.start(start_high=False)
    dut.rst.value, dut.valid.value = 1, 0
    await RisingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    found = []
    for cycle in [*task["cycles"], *[{"valid": 0}] * task["latency"]]:
        for name, value in cycle.items():
            getattr(dut, name).value = value
        await FallingEdge(dut.clk)
        if int(dut.out_valid.value):
            found.append([int(dut.codes.value), int(dut.scale.value)])
    Path(task["found"]).write_text(json.dumps(found))
