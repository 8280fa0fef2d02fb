"""Faults that testbenches must notice."""

import numpy as np
import pytest
from conftest import DECODERS

from hwsim import units
from hwsim.verification import mutation
from hwsim.verification.aig import Aig


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


def test_mutants_are_compared_under_all_that_the_stream_holds():
    """Constants of single bits, put together again, are what the testbench tells an engine of its tensors."""
    design = units.design("nvfp4_quantize")
    stream, component, aig = design.unit.testbench(design.parameters, 1), design.component(), Aig()
    steady = design.unit.steady(design.parameters)
    for name in steady:
        width = len(getattr(component, name))
        for i in range(width):
            aig.input(f"{name}[{i}]" if width > 1 else name)
    found = set()
    for values in mutation._held(design, 1, aig):
        assert values.keys() == aig.inputs.keys()
        told = []
        for name in steady:
            columns = stream[name].shape[1]
            width = len(getattr(component, name)) // columns
            bits = [values[f"{name}[{i}]" if width * columns > 1 else name] for i in range(width * columns)]
            told += [sum(bit << i for i, bit in enumerate(bits[k * width : (k + 1) * width])) for k in range(columns)]
        found.add(tuple(told))
    assert found == set(map(tuple, np.concatenate([stream[name].astype(int) for name in steady], axis=1).tolist()))
    assert list(mutation._held(units.design("mxfp4_quantize"), 1, aig)) == [{}]
