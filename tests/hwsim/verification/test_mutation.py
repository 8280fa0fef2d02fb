"""Faults that testbenches must notice."""

import pytest
from conftest import DECODERS

from hwsim import units
from hwsim.verification import mutation


# The mutants of one decoder in the quick suite, of the others in the slow one.
@pytest.mark.parametrize(
    "unit", [unit if unit == "mixfp4_decode" else pytest.param(unit, marks=pytest.mark.slow) for unit in DECODERS]
)
def test_every_fault_is_killed(unit, build, runtime):
    score = mutation.score(units.design(unit, {"lanes": 4}), 100, build / "mutants" / unit, runtime=runtime)
    assert score.survivors == []
    assert score.killed + score.equivalent == score.mutants
    assert score.percent == 100.0


def test_a_blind_testbench_lets_faults_live(build, runtime, monkeypatch):
    # The testbench runs in the simulator's process, so it is told by its seed: with four vectors the NaN flag never
    # rises, and a fault that ties it low cannot be seen.
    design = units.design("nvfp4_decode", {"lanes": 2})
    monkeypatch.setenv("HWSIM_VECTORS", "4")
    score = mutation.score(design, 60, build / "blind", runtime=runtime)
    assert score.percent < 100.0
    assert score.survivors
