"""One tile, measured as the overhead report measures it."""

import numpy as np
import pytest

from hwsim import units
from hwsim.analysis import netlist_reader
from hwsim.costs import stages
from hwsim.reports import overhead
from hwsim.rtl.tile.stage import Stage
from hwsim.synthesis import emit
from hwsim.synthesis.mapping import Options, map_design

SMALL = {"m": 1, "n": 2, "k": 16}


@pytest.fixture
def small(monkeypatch):
    """The report's list of tiles, with a small one alone; what the report keeps of its RTL is forgotten behind it.

    Other tests of the same process change the RTL on purpose, and must see it made anew.
    """
    monkeypatch.setattr(emit, "_texts", None)
    monkeypatch.setattr(overhead, "TILES", (("small", "mixfp4_mma", SMALL),))
    monkeypatch.setattr(overhead, "VECTORS", 4096)


def test_figures_of_a_tile(small, build):
    tile = overhead.measure("small", "asap7", {"mma_scale": 2}, build)
    assert (tile["label"], tile["technology"], tile["dot_units"]) == ("small", "asap7", 2)
    assert tile["multiply_adds_per_cycle"] == 32
    assert list(tile["stages_gate_equivalents"]) == [
        *(stage.value for stage in Stage if stage is not Stage.BUFFERS), stages.REGISTERS
    ]  # fmt: skip
    assert all(area > 0 for area in tile["stages_gate_equivalents"].values())
    assert sum(tile["stages_gate_equivalents"].values()) == pytest.approx(tile["gate_equivalents"], rel=1e-9)
    assert list(tile["power_mw"]) == ["gaussian", "outliers", "random codes"]
    energy = {n: 1000 * p * tile["clock_ns"] / 32 for n, p in tile["power_mw"].items()}
    assert tile["energy_fj_per_multiply_add"] == pytest.approx(energy)
    spent = sum(tile["stages_fj_per_multiply_add"].values())
    assert spent == pytest.approx(tile["energy_fj_per_multiply_add"]["gaussian"])
    assert tile["power_idle_mw"] < 0.15 * tile["power_mw"]["gaussian"]
    assert tile["power_idle_mw"] < tile["power_bubbles_mw"] < tile["power_mw"]["gaussian"]
    assert "differs from golden" not in "".join(tile["warnings"])


def test_a_tile_that_is_in_no_comparison_is_measured_on_one_technology():
    assert set(overhead.compared_labels()) == set(overhead.tiles_of("sg13g2"))
    assert set(overhead.tiles_of("asap7")) == {label for label, *_ in overhead.TILES}


@pytest.mark.slow
def test_every_cell_of_a_part_is_in_the_stage_that_the_rtl_states(build, library):
    design, lib = units.design("mixfp4_mma", SMALL), library("asap7")
    mapped = map_design(design, lib, Options(lib.clock_period_ns, hierarchical=True), build)
    netlist = netlist_reader.read(mapped.netlist_json, design.name, lib)
    of_module, scale = stages.of_modules(design), emit.module_names(design)["mma_scale"]
    assert set(netlist.scope_modules) == {*of_module, design.name}
    assert netlist.scope_modules[netlist.scopes.index("dot_0_1.scale_0")] == scale
    whole = stages.areas(netlist, of_module)
    # Negative control: a part that states another stage moves its area there.
    factor = emit.module_names(design)["mma_factor"]
    moved = stages.areas(netlist, of_module | {scale: Stage.NORMALISE, factor: Stage.NORMALISE})
    assert moved["scale"] == 0
    assert moved["normalise"] == pytest.approx(whole["scale"] + whole["normalise"])


def test_stimuli_are_of_equal_tensors_and_random_codes_are_finite():
    design = units.design("mixfp4_mma", SMALL)
    stimuli = overhead.stimuli(design, vectors=256)
    gaussian, random = stimuli["gaussian"], stimuli["random codes"]
    assert np.array_equal(gaussian["a_scales"], random["a_scales"])
    assert not np.array_equal(gaussian["a_codes"], random["a_codes"])
    assert not np.array_equal(gaussian["a_codes"], stimuli["outliers"]["a_codes"])
    assert np.array_equal(gaussian["b_codes"], stimuli["outliers"]["b_codes"])
