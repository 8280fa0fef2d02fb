"""Placed netlists: legal, in the netlist's order, and what their wires do to timing and power."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest

from hwsim import units
from hwsim.analysis import netlist_reader, placement, timing
from hwsim.base.errors import InputError, ToolError
from hwsim.costs import flow, stages
from hwsim.costs.flow import Workload
from hwsim.synthesis import mapping
from hwsim.synthesis.mapping import Options, Wires, map_design

placer = pytest.mark.skipif(importlib.util.find_spec("coloquinte") is None, reason="Coloquinte has no wheel here")


@pytest.fixture(scope="module")
def tile(build, library):
    """A small tile on asap7, its wires placed."""
    lib = library("asap7")
    design = units.design("mxfp4_mma", {"m": 1, "n": 1, "k": 32, "fraction_bits": 13})
    return map_design(design, lib, Options(lib.clock_period_ns, Wires.PLACED, hierarchical=True), build)


@placer
def test_cells_stand_in_rows_and_do_not_overlap(tile):
    placed, height = tile.placement, tile.library.row_height_um
    netlist = netlist_reader.read(tile.netlist_json, tile.design.name, tile.library)
    assert len(placed.x) == netlist.cells and len(placed.lengths) == netlist.count
    width, tall = placed.core
    rows = placed.y / height
    np.testing.assert_allclose(rows, rows.round(), atol=1e-6)
    assert placed.x.min() >= 0 and placed.y.min() >= 0 and placed.y.max() + height <= tall + 1e-6
    # Every cell has room beside it.
    room = placed.widths / placement.UTILISATION
    assert (placed.x + room).max() <= width + 0.01
    order = np.lexsort((placed.x, rows.round()))
    same = np.diff(rows.round()[order]) == 0
    gaps = (placed.x[order][1:] - (placed.x + room)[order][:-1])[same]
    assert gaps.min() > -0.003
    area = sum(group.cell.area * len(group) for group in netlist.groups)
    # A few cells were sized after the placement.
    assert placed.widths.sum() * height == pytest.approx(area, rel=0.01)
    assert 0.6 < area / (width * tall) < 0.7


@placer
def test_lengths_are_those_of_the_nets_of_the_final_netlist(tile):
    """Every net of two pins is as long as its cells are apart."""
    placed, height = tile.placement, tile.library.row_height_um
    netlist = netlist_reader.read(tile.netlist_json, tile.design.name, tile.library)
    first, pins = 0, [[] for _ in range(netlist.count)]
    ports = np.zeros(netlist.count, bool)
    ports[[net for bits in (netlist.inputs | netlist.outputs).values() for net in bits]] = True
    for group in netlist.groups:
        for nets in group.pins.values():
            for i in np.flatnonzero(nets >= 0):
                pins[nets[i]].append(first + i)
        first += len(group)
    checked = 0
    x, y = placed.x + placed.widths / placement.UTILISATION / 2, placed.y + height / 2
    for net, (on, length) in enumerate(zip(pins, placed.lengths, strict=True)):
        if len(on) == 2 and not ports[net] and net not in netlist.constants:
            a, b = on
            assert length == pytest.approx(abs(x[a] - x[b]) + abs(y[a] - y[b]), abs=0.004)
            checked += 1
    assert checked > netlist.count / 4
    assert placed.lengths[list(netlist.clocks)].max() == 0


@placer
def test_wires_are_in_timing_power_and_provenance(tile):
    result = flow.measure(tile, Workload(1024))
    netlist = result.netlist
    wires = tile.placement.lengths * tile.library.wire_fF_per_um
    np.testing.assert_allclose(result.loads - netlist.loads(False), np.repeat(wires[:, None], 3, axis=1), atol=1e-9)
    assert result.timing.slack_ns == timing.analyse(netlist, tile.options.clock_period_ns, result.loads).slack_ns
    assert "Coloquinte" in result.provenance["wire_load"] and "fF/um" in result.provenance["wire_load"]
    assert stages.picture(result).startswith(b"\x89PNG")


@placer
@pytest.mark.slow
def test_placements_are_repeatable(tile, tmp_path):
    again = map_design(tile.design, tile.library, tile.options, tmp_path)
    np.testing.assert_array_equal(again.placement.x, tile.placement.x)
    assert json.loads(again.netlist_json.read_text()) == json.loads(tile.netlist_json.read_text())


@placer
@pytest.mark.parametrize("technology", ["asap7", "sky130hd", "sg13g2"])
@pytest.mark.parametrize("settings", [{"lanes": 1}, {}, {"lanes": 64}], ids=str)
def test_small_units_are_placed_too(settings, technology, library, build):
    lib = library(technology)
    mapped = map_design(units.design("nvfp4_decode", settings), lib, Options(lib.clock_period_ns, Wires.PLACED), build)
    area = netlist_reader.read(mapped.netlist_json, "nvfp4_decode", lib).area
    width, tall = mapped.placement.core
    assert 0.4 < area / (width * tall) < 0.7


@placer
def test_a_failure_of_the_placer_is_told_in_its_words(tile, monkeypatch, tmp_path):
    netlist = netlist_reader.read(tile.netlist_json, tile.design.name, tile.library)
    monkeypatch.setattr(placement, "_around", lambda count, width, height: (np.zeros(count, int),) * 2)
    monkeypatch.setattr(placement, "_FULL", 3.0)
    with pytest.raises(ToolError, match="Coloquinte failed to place .* cells of mxfp4_mma: .*placed"):
        placement.place(netlist, tile.library.row_height_um, tmp_path)


@placer
def test_a_library_without_row_height_is_not_placed(library, build):
    lib = replace(library("asap7"), row_height_um=None)
    with pytest.raises(InputError, match="give --row-height and --wire-capacitance"):
        map_design(units.design("nvfp4_decode"), lib, Options(1.0, Wires.PLACED), build)


def test_without_the_placer_the_message_says_how_to_get_it(library, build, monkeypatch):
    monkeypatch.setattr(placement.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'hwsim\[place\]'"):
        mapping.map_design(units.design("nvfp4_decode"), library("asap7"), Options(1.0, Wires.PLACED), build)


def test_a_picture_needs_a_placement(mapped):
    with pytest.raises(InputError, match="needs --wire-load placed"):
        stages.picture(flow.measure(mapped("nvfp4_decode"), Workload(4096)))
