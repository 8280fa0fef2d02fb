"""What the stream of an MMA unit must have met."""

import numpy as np
import pytest

from hwsim import units
from hwsim.units.coverage import coverage
from hwsim.units.mma import source_of_chain
from hwsim.units.table import UNITS

ONE = {"m": 1, "n": 1}
#: What every stream must have met, in units with scales and without.
MET = {
    *(f"{side} {kind}" for side in "CD" for kind in ("zero", "subnormal", "normal", "infinite", "NaN")),
    "bubble", "back to back", "chained", "chained on a chained one", "reset", "cleared in flight",
    "alignment -45", "alignment -1", "alignment +0", "alignment +1", "alignment +24", "alignment +45",
    "leading zeros -1", "leading zeros 0", "leading zeros 1", "deep cancellation",
}  # fmt: skip
SCALED = {"a scale NaN", "b scale NaN"}


def coverage_of(name, **settings):
    design = units.design(name, {"m": 2, "n": 2} | settings)
    stream = design.unit.testbench(design.parameters, 1)
    return with_deep(coverage(design.unit.mma, design.parameters, stream))


def with_deep(counted):
    """The bins with those of ten leading zeros and more together."""
    counted["deep cancellation"] = sum(counted[f"leading zeros {k}"] for k in range(10, 41))
    return counted


@pytest.mark.parametrize("name", [name for name, unit in UNITS.items() if unit.mma])
def test_stream_meets_every_case(name):
    counted = coverage_of(name)
    wanted = MET | (SCALED if name != "fp16_mma" else set())
    assert sorted(case for case in wanted if not counted[case]) == []


def test_coverage_notices_a_stream_without_chains_and_cancellation():
    design = units.design("nvfp4_mma", ONE)
    ports = design.unit.testbench(design.parameters, 1)
    poor = {"accumulate": ports["accumulate"] * 0, "c": ports["c"] * 0}
    counted = with_deep(coverage(design.unit.mma, design.parameters, ports | poor))
    missing = {case for case in MET if not counted[case]}
    assert {"chained", "C NaN", "C normal", "deep cancellation"} <= missing


def test_result_in_place_is_the_last_valid_one_an_interval_ago():
    valid = np.array([1, 0, 1, 1, 0, 1], bool)
    assert source_of_chain(valid, 2).tolist() == [-1, -1, 0, 0, 2, 3]
