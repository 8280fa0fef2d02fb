"""The estimate of the clock tree, by hand where it is small."""

from dataclasses import replace

import pytest
from small_netlists import netlist_of

from hwsim.analysis import clock_tree
from hwsim.technology.cells import BUFFER
from hwsim.technology.choice import flip_flop


def flip_flops(library, count):
    cell = flip_flop(library)
    (q,) = cell.outputs
    cells = {f"f{i}": (cell.name, {"CLK": 2, "D": 3, q: 4 + i}) for i in range(count)}
    return netlist_of(library, cells, {"clk": [2], "d": [3]}, {"q": list(range(4, 4 + count))})


def one_buffer(library):
    """The library with one buffer."""
    name = "sky130_fd_sc_hd__buf_8"
    others = {c.name: replace(c, unusable="not in this test") for c in library.usable_cells if c.computes(BUFFER, 1)}
    return replace(library, cells={**library.cells, **others, name: library.cells[name]}), name


def test_one_flip_flop_has_one_buffer_by_hand(sky):
    library, name = one_buffer(sky)
    tree = clock_tree.estimate(flip_flops(library, 1), 5.0, wire_load=False)
    assert tree.levels == (clock_tree.Level(1, name, 2),)
    cell, pin = library.cells[name], flip_flop(library).pins["CLK"].capacitance
    internal = sum(
        float(arc.energy[edge].lookup(library.clock_slew_ns, pin if arc.pin == "X" else 0.0))
        for arc in cell.energy for edge in ("rise", "fall")
    )  # fmt: skip
    charge = library.voltage**2 * pin
    assert tree.power_mw == pytest.approx((internal + charge) / 5.0 * 1e-3 + cell.leakage * 1e-6)
    assert tree.area_um2 == cell.area


def test_every_level_drives_the_one_below(sky):
    tree = clock_tree.estimate(flip_flops(sky, 1000), 5.0, wire_load=True)
    assert len(tree.levels) > 1 and tree.levels[-1].count == 1
    below = 1000
    for level in tree.levels:
        assert level.count == -(-below // level.sinks)
        below = level.count
    assert tree.area_um2 == pytest.approx(sum(level.count * sky.cells[level.cell].area for level in tree.levels))


def test_wires_cost_power(sky):
    netlist = flip_flops(sky, 100)
    without, with_wires = (clock_tree.estimate(netlist, 5.0, wires).power_mw for wires in (False, True))
    assert 0 < without < with_wires


def test_a_netlist_without_flip_flops_has_no_tree(sky):
    netlist = netlist_of(sky, {}, {"a": [2]}, {"y": [2]})
    assert clock_tree.estimate(netlist, 5.0, True) == clock_tree.ClockTree()
