"""Accelerators: presets, TOML tables, and what is wrong with them."""

import pytest

from hwsim.base.errors import InputError
from hwsim.layers import accelerator, constants

TILE = {"m": 8, "n": 8, "k": 64, "latency": 6, "chain_interval": 4, "pj": 90, "idle_pj": 5}
ABSTRACT = {"unit": "abstract", "clock_ns": 1.0, "tile": TILE}


def load(**values):
    return accelerator.from_table(values, "here", "mine")


def test_presets_can_be_loaded():
    assert {"datacentre", "edge"} <= {*accelerator.presets()}
    for name in accelerator.presets():
        assert accelerator.load(name).name == name


def test_defaults_and_units_of_the_bandwidth():
    on = load(**ABSTRACT, dram={"gb_s": 819, "efficiency": 0.85})
    # 819 GB/s x 8 bit x 0.85 x 1 ns.
    assert float(on.dram.bits_per_cycle(on.clock_ns)) == pytest.approx(5569.2, abs=1e-9)
    assert on.dram.pj_per_bit == 3.97 and on.dram.range_pj_per_bit == (3.0, 5.0)
    assert on.quantiser is None and on.vector_lanes is None and on.interleave is None


def test_sram_energy_between_the_sizes_of_its_source():
    assert constants.sram_pj_per_bit("7nm", 1) == constants.sram_pj_per_bit("7nm", 8) == 0.117
    assert constants.sram_pj_per_bit("7nm", 4096) == 0.219
    middle = constants.sram_pj_per_bit("28nm", 128)
    assert middle == pytest.approx((0.043 * 0.141) ** 0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tile_s": 4}, "here: unknown key: tile_s .*did you mean tiles"),
        ({"tiles": [4]}, r"tiles must be two positive whole numbers, got \[4\]"),
        ({"tiles": [0, 4]}, r"tiles must be two positive whole numbers, got \[0, 4\]"),
        ({"clock_ns": 0}, "clock_ns must be a number above 0, got 0"),
        ({"clock_ns": float("nan")}, "clock_ns must be a number above 0, got nan"),
        ({"unit": "abstract"}, 'unit = "abstract" and a table tile .* go together'),
        ({"tile": TILE}, "go together"),
        ({"unit": "abstract", "tile": TILE}, "clock_ns is missing: an abstract tile"),
        (ABSTRACT | {"tile": TILE | {"k": 0}}, "here: tile: k must be a whole number of at least 1, got 0"),
        (ABSTRACT | {"tile": {"m": 8}}, "here: tile: n is missing"),
        ({"buffer_kib": 0}, "buffer_kib must be a number above 0, got 0"),
        ({"buffer_kib": {"a": 1, "b": 0, "out": 1}}, "here: buffer_kib: b must be a number above 0, got 0"),
        ({"buffer_kib": {"a": 1, "b": 1}}, "here: buffer_kib: out is missing"),
        ({"dram": {"efficiency": 1.5}}, "here: dram: efficiency must be at most 1, got 1.5"),
        ({"dram": {"kind": "sdram"}}, "kind must be one of hbm, lpddr5, ddr5, got 'sdram'"),
        ({"dram": []}, r"here: dram: expected a table, got \[\]"),
        ({"sram": {"process": "3nm"}}, "process must be one of 7nm, 28nm, 45nm, got '3nm'"),
        ({"quantiser": {"latency": 2}}, "here: quantiser: lanes is missing"),
        ({"quantiser": {"lanes": 1, "fused": 1}}, "fused must be true or false, got 1"),
        ({"vector": {"lanes": True}}, "lanes must be a whole number of at least 1, got True"),
        ({"delivery": "ring"}, "delivery must be one of broadcast, systolic, serial, got 'ring'"),
        ({"port_bits": {"c": 1}}, "here: port_bits: unknown key: c"),
        ({"interleave": [1, 0]}, "interleave must be two positive whole numbers"),
    ],
)
def test_tables_that_make_no_sense(values, message):
    with pytest.raises(InputError, match=message):
        load(**values)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="unknown accelerator: datacenter .*did you mean datacentre"):
        accelerator.load("datacenter")
    with pytest.raises(InputError, match="No such file"):
        accelerator.load(tmp_path / "none.toml")
    path = tmp_path / "bad.toml"
    path.write_text("tiles = [")
    with pytest.raises(InputError, match="not TOML"):
        accelerator.load(path)
