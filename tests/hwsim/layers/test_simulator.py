"""Engines, corrections, energy, and whole records, by hand."""

import math
from dataclasses import replace

import pytest

from hwsim.base.errors import InputError
from hwsim.layers import accelerator, constants, simulator, storage, tiles
from hwsim.layers.schedule import Mapping
from hwsim.layers.workload import GEMM
from hwsim.reports import headlines

TILE = {"m": 8, "n": 8, "k": 64, "latency": 7, "chain_interval": 5, "pj": 100.0, "idle_pj": 4.0, "area_um2": 1000.0}


def device(name, shares=storage.MICROMIX_SHARES, **changed):
    values = {"tiles": [2, 2], "unit": "abstract", "clock_ns": 1.0, "tile": TILE, "buffer_kib": 256,
              "dram": {"gb_s": 1000, "efficiency": 1.0}}  # fmt: skip
    table = accelerator.from_table(values | changed, "test", "test")
    return simulator.device(table, storage.named(name, shares), None)


def test_an_engine_beside_the_gemm_reads_bf16_and_writes_codes():
    on = device("nvfp4", quantiser={"lanes": 4, "latency": 3, "passes": 2})
    gemm = GEMM("any", 64, 128, 256, quantised=64 * 256)
    record = simulator.record(gemm, on)
    # Two passes over 16384 elements, four a cycle.
    assert record["cycles"]["quantiser"] == 2 * 4096 + 3
    assert record["dram_bits"]["quantiser"] == 64 * 256 * 16 + 64 * 256 * 4.5
    assert record["energy_pj"]["quantiser"] == 64 * 256
    again = simulator.record(replace(gemm, quantised=0), on)
    assert again["cycles"]["quantiser"] == again["dram_bits"]["quantiser"] == 0
    # A wide engine waits for the DRAM.
    wide = device("nvfp4", quantiser={"lanes": 4096, "latency": 3})
    assert simulator.record(gemm, wide)["cycles"]["quantiser"] == math.ceil(64 * 256 * 20.5 / 8000)


def test_an_engine_on_the_way_out():
    gemm, placed = GEMM("any", 64, 128, 256, quantised=64 * 256), Mapping(1, 5, 16, 80, "m")
    without = simulator.record(gemm, device("mxfp4"), placed)
    wide = simulator.record(gemm, device("mxfp4", quantiser={"lanes": 4096, "fused": True}), placed)
    assert wide["dram_bits"]["d"] == 64 * 128 * 4.25 and without["dram_bits"]["d"] == 64 * 128 * 16
    assert wide["cycles"]["quantiser"] == wide["dram_bits"]["quantiser"] == 0
    narrow = simulator.record(gemm, device("mxfp4", quantiser={"lanes": 1, "fused": True}), placed)
    assert narrow["cycles"]["quantiser"] > 64 * 128 - 16 * 80
    # A tensor scale that needs all of D first keeps NVFP4 from it.
    values = {"lanes": 4096, "fused": True, "tensor_scale": "two_pass"}
    two = simulator.record(gemm, device("nvfp4", quantiser=values), placed)
    assert two["dram_bits"]["d"] == 64 * 128 * 16 and two["dram_bits"]["quantiser"] > 0


@pytest.mark.parametrize(("lanes", "over"), [(8, 7.0), (16, 3.0), (32, 1.0), (64, 0.0), (100, 0.0)])
def test_corrections_of_mbs(lanes, over):
    """Contract, section 11: time over a tile's own is max(0, cd(64 o, V) / 2 - 1), o = 2 operations an output."""
    buffers = {"a": 256, "b": 256, "out": 64}
    on = device("mbs_h", vector={"lanes": lanes}, tile=TILE | {"chain_interval": 4}, buffer_kib=buffers)
    record = simulator.record(GEMM("any", 64, 64, 4096), on, Mapping(2, 2, 32, 32, "m"))
    compute, added = record["cycles"]["compute"], record["cycles"]["correction"]
    assert added / (compute - compute % 4) == pytest.approx(over)
    macro_blocks = 64 * 64 * 4096 // 128
    each = 2 * constants.FP32_MULTIPLY_PJ + constants.FP32_ADD_PJ
    assert record["energy_pj"]["correction"] == pytest.approx(macro_blocks * each)


def test_macro_blocks_that_are_no_whole_number_of_instructions():
    on = device("mbs_h", vector={"lanes": 8}, tile=TILE | {"k": 96})
    with pytest.raises(InputError, match="macro-blocks of 128 are no whole number of instructions of K = 96"):
        simulator.record(GEMM("any", 8, 8, 128), on)


def test_rows_that_are_not_in_use_cost_what_zeros_cost():
    on = device("mxfp4")
    tile = replace(on.tile, energy_zero_pj=(20.0,))
    on = simulator.Device(on.accelerator, on.format, tile)
    energy = {m: simulator.record(GEMM("any", m, 8, 64), on)["energy_pj"]["tile"] for m in (1, 4, 8, 9)}
    # Of a tile's eight rows: 20 pJ if all are zero, 100 pJ if all are in use.
    assert energy == pytest.approx({1: 30.0, 4: 60.0, 8: 100.0, 9: 130.0})


def test_ranges_and_static_power():
    on = device("mxfp4", dram={"kind": "lpddr5", "gb_s": 10, "static_mw": 7.0}, sram={"leakage_mw": 2.0})
    record = simulator.record(GEMM("any", 64, 64, 512), on)
    e, ns = record["energy_pj"], 1e9 * record["time_s"]
    assert e["dram_static"] == pytest.approx(7 * ns) and e["sram_leakage"] == pytest.approx(2 * ns)
    sram = sum(e[name] for name in simulator.SRAM)
    low, high = record["energy_range_pj"]
    total = sum(e.values())
    assert low == pytest.approx(total - 0.8 * sram - e["dram"] / 2) and high == pytest.approx(total + e["dram"])
    assert {*e} == {*simulator.COMPONENTS}


def test_micromix_takes_steps_of_each_format():
    on = device("micromix", (0.5, 0.25, 0.25))
    tile = replace(on.tile, steps=(64, 32, 32), energy_pj=(10.0, 20.0, 30.0), energy_zero_pj=(10.0, 20.0, 30.0))
    on = simulator.Device(on.accelerator, on.format, tile)
    record = simulator.record(GEMM("any", 8, 8, 1024), on, Mapping(1, 1, 16, 16, "m"))
    assert [s.steps for s in on.problem(GEMM("any", 8, 8, 1024)).segments] == [8, 8, 8]
    assert record["cycles"]["compute"] == 23 * 5 + 1
    assert record["energy_pj"]["tile"] == 8 * (10 + 20 + 30)
    # Ideal: one tile of four at work, without waiting for its own results.
    assert record["utilisation"] == pytest.approx(24 / 4 / record["cycles"]["total"])


def test_micromix_without_fp4_is_mxfp8():
    """The first segment that has channels is not the first that the format has."""
    gemm, placed = GEMM("any", 16, 16, 1024), Mapping(1, 1, 16, 16, "m")
    mixed, own = (simulator.record(gemm, device(*f), placed) for f in (("micromix", (0.0, 0.0, 1.0)), ("mxfp8",)))
    permutation = {"a": 16 * 1024, "b": 0}
    assert all(mixed["dram_bits"][s] == own["dram_bits"][s] + permutation[s] for s in "ab")
    assert mixed["cycles"]["compute"] == own["cycles"]["compute"] and mixed["sram_bits"]["b"] == own["sram_bits"]["b"]


def test_the_clock_must_be_one_that_the_tile_meets():
    on = device("mxfp4")
    fast = simulator.Device(on.accelerator, on.format, replace(on.tile, clock_period_ns=1.25))
    with pytest.raises(InputError, match="clock_ns = 1: abstract tile is only known to meet 1.25 ns"):
        _ = fast.clock_ns


def test_units_of_formats():
    for name in storage.names():
        format = storage.named(name)
        design = tiles.design_of(format)
        assert design.unit.is_tile and len(tiles.steps_of(design, format)) == len(format.shares)
    assert tiles.design_of(storage.named("oas")).parameters["block_size"] == 16
    assert tiles.design_of(storage.named("mxfp8"), "mx_mma").unit.name == "mx_mma"
    with pytest.raises(InputError, match="unit mxfp4_mma does not multiply nvfp4, which needs nvfp4_mma"):
        tiles.design_of(storage.named("nvfp4"), "mxfp4_mma")


def test_m2xfp_s_headline_is_made_again():
    """The preset gives every speed-up to 0.1 %, every energy ratio to 3 %, and the means to 1 %."""
    rows = headlines.m2xfp()
    for row in rows:
        assert row["speed"] == pytest.approx(row["their_speed"], rel=0.001)
        assert row["energy"] == pytest.approx(row["their_energy"], rel=0.03)
    mean = sum(row["energy"] for row in rows) / len(rows)
    assert mean == pytest.approx(1.730, rel=0.01) and mean == pytest.approx(headlines.PUBLISHED_ENERGY, rel=0.02)
    assert sum(row["speed"] for row in rows) / len(rows) == pytest.approx(headlines.PUBLISHED_SPEED, rel=0.01)


def test_shipped_figures_are_of_the_sources_as_they_are():
    """Otherwise every start of ``hwsim.layer`` would make RTL to see whether they still hold."""
    for name in storage.names():
        format = storage.named(name)
        assert tiles.is_current(tiles.design_of(format), "asap7")
