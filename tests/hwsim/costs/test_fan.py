"""The range of an overhead; tiles put together from their parts; equal parts mapped equally."""

from dataclasses import replace

import numpy as np
import pytest

from hwsim import units
from hwsim.costs import fan, flow
from hwsim.costs.fan import Figures, Range
from hwsim.costs.flow import Workload
from hwsim.synthesis.mapping import Options, map_design
from hwsim.synthesis.together import map_together

SMALL = {"k": 16, "fraction_bits": 13}


def test_a_range_that_holds_zero_is_not_resolved():
    assert Range.of([1.0, 3.0, 2.0]) == Range(2.0, 1.0, 3.0)
    assert Range(2.0, 1.0, 3.0).resolved and Range(-2.0, -3.0, -1.0).resolved
    assert str(Range(2.0, 1.0, 3.0)) == "+2.0 % (+1.0 to +3.0)"
    assert str(Range(0.1, -1.0, 1.0)).endswith("not resolved")


def test_an_overhead_is_that_of_every_point():
    points = [Figures(100.0, 10.0, 8.0, 1.0, True), Figures(100.0, 10.0, 8.0, 1.0, True)]
    others = [Figures(103.0, 9.0, 8.8, 1.0, True), Figures(105.0, 11.0, 8.8, 1.0, False)]
    found = fan.fan(others, points, [1.0, 1.1])
    assert (found.area.median, found.area.low, found.area.high) == pytest.approx((4.0, 3.0, 5.0))
    assert found.power.median == pytest.approx(0.0) and not found.power.resolved
    assert found.power_settled.low == pytest.approx(10.0)
    assert not found.timing_met and "TIMING NOT MET" in str(found)


@pytest.mark.slow
def test_a_tile_is_the_sum_of_its_parts(library, build):
    """The area of a 2 x 3 tile mapped whole is nearly that put together; so is its power."""
    lib, design = library("asap7"), units.design("nvfp4_mma", {"m": 2, "n": 3, **SMALL})
    options = Options(2.0, hierarchical=True)
    workload = Workload(2048)
    [composed] = fan.figures([design], lib, options, workload, build)
    whole = flow.measure(map_design(design, lib, options, build), workload, idle=False)
    assert composed.area_um2 == pytest.approx(whole.netlist.area, rel=0.01)
    assert composed.power_mw == pytest.approx(whole.power.total, rel=0.05)
    assert composed.power_settled_mw == pytest.approx(whole.busy.settled.total, rel=0.05)


@pytest.mark.slow
def test_equal_parts_of_two_designs_are_mapped_equally(library, build):
    lib = library("asap7")
    designs = [units.design(unit, {"m": 1, "n": 1, **SMALL}) for unit in ("mixfp4_mma", "nvfp4_mma")]
    alone = map_design(designs[0], lib, Options(0.9, hierarchical=True), build)
    # One of them needs a part faster: then both get it so.
    first = tuple((part, way + 1) for part, way in alone.ways.items() if part == "mma_scale")
    asked = replace(Options(0.9, hierarchical=True), ways=first)
    one, other = map_together(designs, lib, asked, build)
    equal = {part for part in one.ways if one.fingerprints[part] == other.fingerprints.get(part)}
    assert {"mma_scale", "mma_sum", "mma_normalise", "mma_factor"} <= equal
    assert "mma_block" not in equal and "mma_exponents" not in equal
    assert all(one.ways[part] == other.ways[part] for part in equal)
    assert one.ways["mma_scale"] >= dict(first)["mma_scale"]
    areas = [m.netlist.read_text().count("_scale ") for m in (one, other)]
    assert np.ptp(areas) == 0
