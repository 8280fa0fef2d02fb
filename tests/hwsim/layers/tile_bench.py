"""cocotb bench of ``test_tile_schedule.py``: drives a tile by a schedule, records when results come out and which."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge


@cocotb.test()
async def record(dut):
    """Write cycle and ``d`` of every result, for each list of instructions; cycle 0 is that of the first one."""
    task = json.loads(Path(os.environ["TILE_TASK"]).read_text())
    clock = Clock(dut.clk, 2, "ns")
    clock.start(start_high=False)
    found = []
    for run in task["runs"]:
        dut.rst.value, dut.valid.value = 1, 0
        await RisingEdge(dut.clk)
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        issued = dict(run)
        found.append([])
        for cycle in range(max(issued) + task["latency"] + 4):
            dut.valid.value = int(cycle in issued)
            for name, value in issued.get(cycle, {}).items():
                getattr(dut, name).value = int(value)
            await FallingEdge(dut.clk)
            if int(dut.out_valid.value):
                # The edge behind the inputs of cycle i is the first of its latency.
                d = dut.d.value
                found[-1].append([cycle + 1, str(int(d)) if d.is_resolvable else "-1"])
    Path(task["found"]).write_text(json.dumps(found))
