"""cocotb testbench of every unit: a stream against the golden model, raw bits.

The simulator imports this module; :mod:`hwsim.verification.cosimulation` starts it.

Each port is driven and each output compared in every cycle. ``rst`` is pulsed in the middle of the stream, where it
must clear the outputs for exactly the cycle after.

A unit with ``valid`` brings its own resets among its inputs: golden says which results come out (``out_valid``, which
is compared in every cycle), and the other outputs are compared where it is high.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from hwsim import units
from hwsim.synthesis.emit import ports
from hwsim.units.recording import Recording
from hwsim.units.unit import Design


class Bench:
    """The recorded testbench of a design, driven cycle by cycle."""

    def __init__(self, design: Design, seed: int):
        # For tests of the mutation score: a testbench that is cut short should miss faults.
        limit = int(os.environ.get("HWSIM_VECTORS", 0)) or None
        widths = {name: width for name, (_, width) in ports(design.component()).items()}
        self.recording = Recording.of(design, seed, widths, limit)

    async def first_mismatch(self, dut: Any) -> str | None:
        """Run the stream; return the first mismatch in words, or None."""
        return await (self._registered(dut) if self.recording.latency else self._combinational(dut))

    async def _combinational(self, dut: Any) -> str | None:
        for i in range(self.recording.cycles):
            for name, values in self.recording.inputs.items():
                getattr(dut, name).value = values[i]
            await Timer(1, "ns")
            if mismatch := self._compare(dut, i):
                return mismatch
        return None

    async def _registered(self, dut: Any) -> str | None:
        recording = self.recording
        # Inputs change at the falling edge, so that what the rising edge samples is settled.
        clock = Clock(dut.clk, 2, "ns")
        running: Any = clock.start(start_high=False)
        dut.rst.value = 1
        mismatch = None
        # The first step from unknown to 0 is a falling edge too: wait for the rising edge that samples the reset.
        await RisingEdge(dut.clk)
        await FallingEdge(dut.clk)
        for i in range(recording.cycles + recording.latency):
            if i < recording.cycles:
                for name, values in recording.inputs.items():
                    getattr(dut, name).value = values[i]
                if not recording.streams:
                    dut.rst.value = recording.resets[i]
            else:
                dut.rst.value = 0
                if recording.streams:
                    dut.valid.value = 0
            await FallingEdge(dut.clk)
            arrived = i - recording.latency + 1
            if 0 <= arrived < recording.cycles and (mismatch := self._compare(dut, arrived)):
                break
        running.cancel()
        dut.clk.value = 0
        await Timer(1, "ns")
        return mismatch

    def _compare(self, dut: Any, i: int) -> str | None:
        recording, was_reset = self.recording, self.recording.cleared(i)
        for name, values in recording.results.items():
            if recording.streams and name != "out_valid" and not recording.results["out_valid"][i]:
                continue
            actual = getattr(dut, name).value
            expected = 0 if was_reset else values[i]
            if not actual.is_resolvable or int(actual) != expected:
                shown = f"{int(actual):#x}" if actual.is_resolvable else str(actual)
                operands = ", ".join(f"{k}={v[i]:#x}" for k, v in recording.inputs.items())
                cleared = " (reset)" if was_reset else ""
                return f"vector {i}: {name} is {shown}, golden {expected:#x}{cleared}; {operands}"
        return None


@cocotb.test()
async def stream(dut: Any) -> None:
    """Compare the unit with the golden model and write the outcome; with mutants in the design, find those killed."""
    task = json.loads(os.environ["HWSIM_TASK"])
    bench = Bench(units.design(task["unit"], task["parameters"]), task["seed"])
    mutants = task["mutants"]
    if mutants:
        dut.mutsel.value = 0
    mismatch = await bench.first_mismatch(dut)
    killed = []
    if mismatch is None:
        for mutant in range(1, mutants + 1):
            dut.mutsel.value = mutant
            if await bench.first_mismatch(dut):
                killed.append(mutant)
    Path(task["result"]).write_text(
        json.dumps({"vectors": bench.recording.cycles, "wrong": mismatch, "killed": killed})
    )
    assert mismatch is None, mismatch
    assert np.all(np.diff(killed) > 0)
