"""The schedule drives every MMA unit's RTL: cycles to the last result and every bit of D are as it says."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from cocotb_tools.runner import get_runner

from hwsim import golden
from hwsim.base import simulators
from hwsim.golden.formats import BF16, encode
from hwsim.golden.mma import mma_elements
from hwsim.layers import schedule, storage, tiles
from hwsim.layers.schedule import Array, Mapping, Problem
from hwsim.synthesis.emit import to_verilog

FORMATS = ["nvfp4", "mixfp4", "mxfp4", "m2xfp", "mxfp6", "mxfp8", "micromix", "bf16"]
ROWS = 2
#: Steps of K: whole ones and, at the end, a part of one.
K = {"micromix": 608, "bf16": 40}


def packed(fields, width):
    """Fields as one number, the first lowest."""
    return sum(int(field) << (i * width) for i, field in enumerate(fields))


class Operands:
    """Quantised operands of a GEMM, cut into the ports of instructions."""

    def __init__(self, name, design, columns):
        rng = np.random.default_rng(5)
        self.format = storage.named(name, (0.6, 0.2, 0.2))
        self.design, self.k = design, K.get(name, 160)
        a, b = (rng.standard_normal((rows, self.k)).astype(np.float32) for rows in (ROWS, columns))
        if name == "micromix":
            # Channels of three sizes, so that all formats are in use.
            a *= np.repeat(np.float32([1, 8, 64]), [352, 128, 128])
        if self.format.recipe is None:
            self.tensors = [(encode(x, BF16), None, None) for x in (a, b)]
            self.segments = [(None, self.k)]
            self.d = mma_elements(*(t[0] for t in self.tensors), None, name)
            return
        operands = self.format.recipe.quantize(a, b)
        self.segments = operands[0].segments
        self.tensors = [(t.codes, t.scales, t.metadata) for t in operands]
        self.d = golden.mma(*operands)

    def element_of(self, first):
        """Element of the segment that begins there."""
        starts = np.cumsum([0, *(length for _, length in self.segments)])
        return next(e for (e, length), s in zip(self.segments, starts, strict=False) if s == first and length)

    def lengths(self):
        return [length for _, length in self.segments if length]

    def instruction(self, row, column, step):
        """Ports of one instruction."""
        mma, parameters = self.design.unit.mma, self.design.parameters
        steps = tiles.steps_of(self.design, self.format)
        at = first = 0
        for (_, length), size in zip(self.segments, steps, strict=True):
            count = -(-length // size)
            if step < at + count:
                break
            at, first = at + count, first + length
        start = first + (step - at) * size
        stop = min(start + size, first + length)
        found = {"accumulate": int(step > 0), "c": 0}
        for side, (codes, scales, metadata), line, lines in zip(
            "ab", self.tensors, (row, column), (ROWS, 1), strict=True
        ):
            width = mma.element(parameters).width
            rows = np.zeros((lines, size), int)
            rows[:, : stop - start] = codes[line : line + lines, start:stop]
            if "formats" in parameters:
                names = parameters["formats"].split("+")
                found[f"{side}_element"] = names.index(self.element_of(first))
                if size == 64:
                    rows = rows[:, ::2] | rows[:, 1::2] << 4
                width = 8
            found[f"{side}_codes"] = packed(rows.reshape(-1), width)
            if scales is not None:
                block = codes.shape[1] // scales.shape[1]
                shared = np.zeros((lines, mma.blocks(parameters)), int)
                part = scales[line : line + lines, start // block : -(-stop // block)]
                shared[:, : part.shape[1]] = part
                found[f"{side}_scales"] = packed(shared.reshape(-1), 8)
            if metadata is not None:
                bits = np.zeros((lines, size // 8), int)
                bits[:, : (stop - start) // 8] = metadata[line : line + lines, start // 8 : stop // 8]
                found[f"{side}_metadata"] = packed(bits.reshape(-1), 2)
        return found


def run(runs, design, folder, runtime, monkeypatch):
    """Cycle and D of every result of some lists of instructions."""
    simulator = "icarus" if simulators.available("icarus") else "verilator"
    source, task, found = folder / "unit.v", folder / "task.json", folder / "found.json"
    source.write_text(to_verilog(design.in_arithmetic("operators")))
    listed = [[(cycle, {n: str(v) for n, v in ports.items()}) for cycle, ports in each] for each in runs]
    task.write_text(json.dumps({"runs": listed, "latency": design.component().latency, "found": str(found)}))
    for name, value in simulators.environment(runtime).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TILE_TASK", str(task))
    runner = get_runner(simulator)
    flags = ["-Wno-fatal", "--x-initial", "unique", "--output-split", "0", "-CFLAGS", "-O0"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        runner.build(
            sources=[source], hdl_toplevel=design.name, build_dir=folder / "build", timescale=("1ns", "1ps"),
            always=True, build_args=flags if simulator == "verilator" else [], log_file=folder / "log",
        )  # fmt: skip
        runner.test(
            hdl_toplevel=design.name, test_module="tile_bench", build_dir=folder / "build", test_dir=folder,
            log_file=folder / "log", results_xml=str(folder / "results.xml"),
            extra_env={"PYTHONPATH": str(Path(__file__).parent)},
        )  # fmt: skip
    return json.loads(found.read_text())


QUICK = ("nvfp4",)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in FORMATS])
def test_every_interleave_up_to_the_chain_interval(name, tmp_path, runtime, monkeypatch):
    design = tiles.design_of(storage.named(name), settings={"m": ROWS, "n": 1})
    component = design.component()
    interval = component.chain_interval
    operands, cases = {}, []
    for used in range(1, interval + 1):
        # One macro-tile of all sub-blocks, and one of a single sub-block at the edge.
        o = operands[used] = Operands(name, design, used + 1)
        array = Array((1, 1), ROWS, 1, component.latency, interval)
        segments = o.format.segments(o.k, tiles.steps_of(design, o.format))
        assert [s.k for s in segments] == o.lengths()
        problem = Problem(ROWS, used + 1, o.k, segments, o.format)
        cases.append((array, problem, Mapping(1, used, ROWS, used, "m")))
    runs = [
        [(cycle, o.instruction(row, column, step)) for cycle, row, column, step in schedule.issue_order(p, a, placed)]
        for o, (a, p, placed) in zip(operands.values(), cases, strict=True)
    ]
    results = run(runs, design, tmp_path, runtime, monkeypatch)
    for o, (array, problem, placed), found in zip(operands.values(), cases, results, strict=True):
        compute = int(schedule.blocks(problem, array, placed).issue.sum())
        # The last instruction is issued in the last of the cycles counted.
        assert found[-1][0] == compute - 1 + array.latency
        order = list(schedule.issue_order(problem, array, placed))
        assert [cycle for cycle, _ in found] == [cycle + array.latency for cycle, *_ in order]
        last = {column: int(d) for (_, _, column, _), (_, d) in zip(order, found, strict=True)}
        bits = o.d.view(np.uint32)
        assert last == {column: packed(bits[:, column], 32) for column in range(problem.n)}


def test_a_chain_that_is_too_fast_is_noticed(tmp_path, runtime, monkeypatch):
    """One sub-block a cycle early accumulates on the result before: D differs from golden."""
    design = tiles.design_of(storage.named("nvfp4"), settings={"m": ROWS, "n": 1})
    component = design.component()
    o = Operands("nvfp4", design, 2)
    array = Array((1, 1), ROWS, 1, component.latency, component.chain_interval - 1)
    problem = Problem(ROWS, 2, o.k, o.format.segments(o.k, (64,)), o.format)
    placed = Mapping(1, 2, ROWS, 2, "m")
    order = list(schedule.issue_order(problem, array, placed))
    [found] = run([[(c, o.instruction(*at)) for c, *at in order]], design, tmp_path, runtime, monkeypatch)
    last = {column: int(d) for (_, _, column, _), (_, d) in zip(order, found, strict=True)}
    assert last != {column: packed(o.d.view(np.uint32)[:, column], 32) for column in range(2)}
