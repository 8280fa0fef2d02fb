"""Pipelines with enables are compared as ones without; those that are not in order are refused."""

import pytest

from hwsim.base.errors import ToolError
from hwsim.verification import equivalence
from hwsim.verification.aig import Aig
from hwsim.verification.enables import always_loaded


def chosen(aig, select, one, other):
    """``select ? one : other``."""
    return aig.conjunction(aig.conjunction(select, one) ^ 1, aig.conjunction(select ^ 1, other) ^ 1) ^ 1


def pipeline(enables, shared=False):
    """Input ``a`` behind a register for each of ``enables``; with ``shared``, the last one also reads the first."""
    aig = Aig()
    value, states = aig.input("a"), []
    for i, name in enumerate(enables):
        enable = aig.input(name)
        state = aig.input(f"state {i}")
        del aig.inputs[f"state {i}"]
        if shared and i == len(enables) - 1:
            value = aig.conjunction(value, states[0])
        aig.latches[f"r{i}"] = (state, chosen(aig, enable, value, state))
        states.append(state)
        value = state
    aig.outputs["y"] = value
    return aig


def never(gold, gate):
    return False


def equal(gold, gate, tmp_path):
    graphs = [always_loaded(aig, never) for aig in (gold, gate)]
    return equivalence.equal("pipelines", *graphs, tmp_path, "pipelines")


def test_a_pipeline_with_enables_is_one_without():
    loaded = always_loaded(pipeline(["enable[0]", "enable[1]"]), never)
    assert [after for _, after in loaded.latches.values()] == [loaded.inputs["a"], loaded.latches["r0"][0]]
    assert loaded.outputs["y loads"] == loaded.inputs["enable[1]"]


def test_equal_pipelines_are_equal_and_other_enables_are_not(tmp_path):
    three = ["enable[0]", "enable[1]", "enable[2]"]
    assert equal(pipeline(three), pipeline(three), tmp_path).holds
    other = pipeline(["enable[0]", "enable[1]", "enable[1]"])
    with pytest.raises(ToolError, match=r"a register with enable\[1\] reads"):
        always_loaded(other, never)
    shifted = equal(pipeline(three), pipeline(["enable[1]", "enable[2]", "enable[3]"]), tmp_path)
    assert shifted.refuted and "loads differs" in shifted.counterexample


def test_a_stage_that_reads_two_others_is_refused():
    with pytest.raises(ToolError, match="reads registers of several enables"):
        always_loaded(pipeline(["enable[0]", "enable[1]", "enable[2]"], shared=True), never)


def test_a_register_that_does_not_hold_is_not_enabled():
    aig = pipeline(["enable[0]"])
    state, _ = aig.latches["r0"]
    # While the enable is 0 it counts instead.
    aig.latches["r0"] = (state, chosen(aig, aig.inputs["enable[0]"], aig.inputs["a"], state ^ 1))
    assert always_loaded(aig, never) is aig


def test_a_multiplexer_mixed_with_other_logic_is_found_by_a_solver(tmp_path):
    aig = pipeline(["enable"])
    state, _ = aig.latches["r0"]
    a, enable = aig.inputs["a"], aig.inputs["enable"]
    # enable ? a : state, with the consensus term a & state, which changes nothing.
    mixed = aig.conjunction(chosen(aig, enable, a, state) ^ 1, aig.conjunction(a, state) ^ 1) ^ 1
    aig.latches["r0"] = (state, mixed)

    def solved(gold, gate):
        return equivalence.equal("held", gold, gate, tmp_path, "held").holds

    loaded = always_loaded(aig, solved)
    assert loaded.latches["r0"][1] == loaded.inputs["a"]
