"""What other simulators of whole GEMMs say, where they and this one model the same: recorded results."""

import json

import pytest
from conftest import ROOT

from hwsim.layers import accelerator, schedule, simulator, storage
from hwsim.layers.schedule import Mapping
from hwsim.layers.workload import GEMM

RECORDED = json.loads((ROOT / "tests" / "data" / "layers" / "simulators.json").read_text())


def array_of(size, bits, gb_s, buffer_kib, delivery="broadcast"):
    """An array of one-product tiles that add in place, one multiply-add a cycle."""
    tile = {"m": 1, "n": 1, "k": 1, "latency": 0, "chain_interval": 1, "bits": {"a": bits, "b": bits, "d": 16}}
    values = {
        "tiles": [size, size], "unit": "abstract", "clock_ns": 1.0, "tile": tile, "delivery": delivery,
        "buffer_kib": buffer_kib, "dram": {"gb_s": gb_s, "efficiency": 1.0},
    }  # fmt: skip
    return simulator.device(accelerator.from_table(values, "recorded", "recorded"), storage.plain(), None)


@pytest.mark.parametrize("case", RECORDED["scalesim"], ids=lambda c: f"{c['array']}-{c['mode']}-{c['gemm']}")
def test_scale_sim(case):
    """Issue cycles with serial delivery; SCALE-Sim counts one cycle less (its issue 125)."""
    assert case["stalls"] == 0
    gemm, size = GEMM("recorded", *case["gemm"]), case["array"]
    on = array_of(size, 16, 1e6, {"a": 4096, "b": 4096, "out": 4096}, "serial")
    whole = Mapping(1, 1, -(-gemm.m // size) * size, -(-gemm.n // size) * size, "m")
    work = schedule.blocks(on.problem(gemm), on.array, whole)
    assert int(work.issue.sum()) - 1 == case["cycles"]


@pytest.mark.parametrize("case", RECORDED["zigzag"], ids=lambda c: c["tag"])
def test_zigzag(case):
    """Compute cycles where bandwidth suffices; never less than compulsory traffic takes, which ZigZag undercuts."""
    gemm = GEMM("recorded", case["M"], case["N"], case["K"])
    on = array_of(32, case["bits"], case["dram_bits_per_cycle"] / 8, {"a": 256, "b": 128, "out": 128})
    record = simulator.record(gemm, on)
    cycles, bits = record["cycles"], record["dram_bits"]
    assert cycles["compute"] == -(-gemm.m // 32) * -(-gemm.n // 32) * gemm.k
    assert record["compulsory_bits"] == (gemm.m + gemm.n) * gemm.k * case["bits"] + gemm.m * gemm.n * 16
    assert cycles["total"] >= (bits["a"] + bits["b"] + bits["d"]) / case["dram_bits_per_cycle"]
    if case["dram_bits_per_cycle"] == 1024:
        assert cycles["compute"] == case["compute"]
        assert cycles["total"] == pytest.approx(case["latency"], rel=0.005)
