"""Proofs of MMA units: graphs, undone adders, module by module, each with its negative control.

The fault that ``inject`` puts in is an inverted operand of one AND of the module's graph (:meth:`Aig.with_fault`).
"""

import dataclasses

import pytest

from hwsim import units
from hwsim.base.errors import ToolError
from hwsim.rtl.tile import elements
from hwsim.rtl.tile.align import TermShape
from hwsim.synthesis.mapping import Options, map_design
from hwsim.technology import catalogue
from hwsim.verification import adders, equivalence, lemma_proofs, lemmas, sources
from hwsim.verification.aig import FALSE, TRUE, Aig, unrolled
from hwsim.verification.equivalence import PROVEN, REFUTED, UNDECIDED
from hwsim.verification.proofs import by_module

UNITS = ["nvfp4_mma", "mixfp4_mma", "mxfp4_mma", "m2xfp_mma", "mxfp6_mma", "mxfp8_mma", "fp16_mma"]
SMALL = units.design("fp16_mma", {"m": 1, "n": 1, "k": 1, "element": "e5m2"})


def exclusive_or(aig, a, b):
    return aig.conjunction(aig.conjunction(a, b) ^ 1, aig.conjunction(a ^ 1, b ^ 1) ^ 1)


def chain(depth, inverted=False):
    """An input behind registers, which may hold the inverse."""
    aig = Aig()
    value = aig.input("a")
    for i in range(depth):
        state = aig.input(f"state{i}")
        del aig.inputs[f"state{i}"]
        aig.latches[f"r{i}"] = (state, value ^ inverted)
        value = state ^ inverted
    aig.outputs["y"] = value
    return aig


def test_conjunctions_are_simplified_and_shared():
    aig = Aig()
    a, b = aig.input("a"), aig.input("b")
    assert [aig.conjunction(a, x) for x in (FALSE, TRUE, a, a ^ 1)] == [FALSE, a, a, FALSE]
    assert aig.conjunction(a, b) == aig.conjunction(b, a)


def test_unrolled_registers_become_ages():
    assert list(unrolled(chain(3)).inputs) == ["a@3"]


def test_registers_may_hold_the_inverse_but_not_be_one_more(tmp_path):
    assert equivalence.equal("inverse", chain(2), chain(2, inverted=True), tmp_path, "same").holds
    proof = equivalence.equal("late", chain(2), chain(3), tmp_path, "late")
    assert not proof.holds and "a@2=" in proof.counterexample and "a@3=" in proof.counterexample


def test_a_register_that_holds_itself_is_known_by_its_output():
    aig = chain(1)
    [(name, (state, after))] = aig.latches.items()
    enable = aig.input("enable")
    kept, taken = aig.conjunction(state, enable ^ 1), aig.conjunction(after, enable)
    aig.latches[name] = (state, aig.conjunction(kept ^ 1, taken ^ 1) ^ 1)
    assert list(unrolled(aig).outputs) == ["y", "next y"]
    aig.outputs["y"] = aig.conjunction(state, enable)
    with pytest.raises(ToolError, match="1 registers depend on themselves"):
        unrolled(aig)


def test_abc_gives_a_counterexample_that_simulation_does_not_find(tmp_path):
    gold, gate = Aig(outputs={"y": FALSE}), Aig()
    value = TRUE
    for i in range(40):
        value = gate.conjunction(value, gate.input(f"a[{i}]"))
    gate.outputs["y"] = value
    proof = equivalence.equal("never", gold, gate, tmp_path, "never")
    assert not proof.holds and f"a@0={(1 << 40) - 1:#x}" in proof.counterexample


def test_a_counter_of_ones_is_undone():
    aig = Aig()
    x, y, z, u = (aig.input(name) for name in "xyzu")
    half = exclusive_or(aig, x, y)
    low = exclusive_or(aig, half, z)
    carry = aig.conjunction(aig.conjunction(x, y) ^ 1, aig.conjunction(half, z) ^ 1) ^ 1
    word = [(exclusive_or(aig, low, u ^ 1), 0), (exclusive_or(aig, carry, aig.conjunction(low, u ^ 1)), 1)]
    word.append((aig.conjunction(carry, aig.conjunction(low, u ^ 1)), 2))
    ones = {literal >> 1: 1 for literal in (x, y, z)}
    # The complement of u is 1 - u.
    assert adders.linear_form(aig, word, 4, lambda literals: set()) == ones | {u >> 1: 15, 0: 1}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    build = tmp_path_factory.mktemp("prove")
    library = catalogue.load(build_dir=build)
    options = Options(library.clock_period_ns, hierarchical=True)
    return build, library, map_design(SMALL, library, options, build)


def test_netlist_equals_rtl_module_by_module(small):
    build, library, mapped = small
    decided = list(by_module(SMALL, mapped.netlist, library, build))
    assert len(decided) == 8 and all(proof.holds for proof in decided)


def test_an_inverted_operand_in_any_module_of_the_netlist_is_noticed(small):
    build, library, mapped = small
    decided = list(by_module(SMALL, mapped.netlist, library, build, inject=1))
    assert all(proof.refuted for proof in decided)


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_netlists_of_all_units_equal_their_rtl(unit, tmp_path):
    design, library = units.design(unit, {"m": 1, "n": 1}), catalogue.load(build_dir=tmp_path)
    mapped = map_design(design, library, Options(library.clock_period_ns, hierarchical=True), tmp_path)
    for inject in (None, 1):
        for proof in by_module(design, mapped.netlist, library, tmp_path, inject):
            assert proof.outcome == (PROVEN if inject is None else REFUTED), proof


def proven(design, build, inject=None, modules=None):
    """Outcomes of the lemmas of a unit's modules."""
    graphs = sources.graphs(design, sources.rtl_modules(design, build), build, "rtl")
    chosen = [lemma for lemma in lemmas.lemmas(design) if not modules or lemma.module in modules]
    return {lemma.module: lemma_proofs.decide(lemma, graphs[lemma.module], build, inject).outcome for lemma in chosen}


@pytest.mark.parametrize(("inject", "outcome"), [(None, PROVEN), (3, REFUTED)], ids=["as it is", "operand inverted"])
def test_modules_do_what_the_contract_says(tmp_path, inject, outcome):
    modules = {"mma_decode_a", "mma_product", "mma_exponents", "mma_sum"}
    assert proven(SMALL, tmp_path, inject, modules) == dict.fromkeys(modules, outcome)


@pytest.mark.parametrize(("wrong", "module"), [("bias", "mma_exponents"), ("fraction_width", "mma_sum")])
def test_what_numbers_mean_is_not_asked_of_the_rtl(tmp_path, monkeypatch, wrong, module):
    right = elements.term_shape

    def one_more(*arguments):
        shape = right(*arguments)
        return dataclasses.replace(shape, **{wrong: getattr(shape, wrong) + 1})

    monkeypatch.setattr(elements, "term_shape", one_more)
    assert proven(SMALL, tmp_path, None, {module}) == {module: REFUTED}


def test_a_unit_that_cannot_be_subnormal_though_it_may_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(TermShape, "may_underflow", lambda *_: False)
    with pytest.raises(ToolError, match="results of terms may be subnormal"):
        list(lemmas.lemmas(units.design("mxfp4_mma", {"m": 1, "n": 1})))


def normalised(design, tmp_path, inject=None):
    return proven(design, tmp_path, inject, {"mma_normalise"})["mma_normalise"]


#: Results of fewer bits, sums narrower than a significand, and both roundings; with and without subnormal results.
NARROW = [
    ("fp16_mma", {"element": "e4m3", "k": 2, "fraction_bits": 13, "result_bits": 13}),
    ("fp16_mma", {"element": "e4m3", "k": 1, "fraction_bits": 13}),
    ("fp16_mma", {"element": "e4m3", "k": 4, "result_bits": 13}),
    ("fp16_mma", {"element": "e4m3", "k": 4, "fraction_bits": 10, "result_bits": 13, "rounding": "rne"}),
    ("mxfp8_mma", {"fraction_bits": 13, "result_bits": 13}),
    ("mxfp8_mma", {"fraction_bits": 13, "rounding": "rne"}),
    ("mxfp6_mma", {"fraction_bits": 3}),
    ("mxfp4_mma", {"result_bits": 7}),
]


@pytest.mark.slow
def test_normalisation_to_few_bits_is_what_the_contract_says(tmp_path):
    unit, settings = NARROW[0]
    assert normalised(units.design(unit, {"m": 1, "n": 1} | settings), tmp_path) == PROVEN


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "settings"), NARROW[1:])
def test_normalisation_of_other_accumulators_is_what_the_contract_says(unit, settings, tmp_path):
    design = units.design(unit, {"m": 1, "n": 1} | settings)
    assert [normalised(design, tmp_path, inject) for inject in (None, 1)] == [PROVEN, REFUTED]


def test_what_the_solver_does_not_answer_is_undecided(tmp_path, monkeypatch):
    monkeypatch.setattr(equivalence, "ABC", "true")
    # mma_decode_a has so few inputs that all are simulated.
    outcomes = {"mma_decode_a": PROVEN, "mma_exponents": UNDECIDED}
    assert proven(SMALL, tmp_path, None, outcomes) == outcomes


@pytest.mark.parametrize(("most", "outcome"), [(1, UNDECIDED), pytest.param(2, PROVEN, marks=pytest.mark.slow)])
def test_a_sum_whose_adders_are_not_recognised_is_decided_as_a_whole_if_its_terms_are_few(
    most, outcome, tmp_path, monkeypatch
):
    monkeypatch.setattr(adders, "linear_form", lambda aig, word, width, never: {o >> 1: 1 << i for o, i in word})
    monkeypatch.setattr(lemma_proofs, "_WHOLE", most)
    assert proven(SMALL, tmp_path, None, {"mma_sum"}) == {"mma_sum": outcome}


@pytest.mark.parametrize(("inject", "outcome"), [(None, PROVEN), (1, REFUTED)], ids=["as it is", "with a fault"])
@pytest.mark.parametrize("unit", ["mxfp4_mma", "fp16_mma"])
def test_sums_that_keep_fewer_bits_than_their_terms_have_are_what_the_contract_says(unit, inject, outcome, tmp_path):
    design = units.design(unit, {"m": 1, "n": 1, "k": 32 if unit == "mxfp4_mma" else 4, "fraction_bits": 1})
    assert proven(design, tmp_path, inject, {"mma_sum"}) == {"mma_sum": outcome}


def test_every_sum_and_exponent_is_in_a_case_of_the_normalisation():
    width, exponent = 5, 7
    cases = list(lemmas._normalised(width, exponent, True))

    def covered(total, value):
        bits = lemmas.word_of("total", width, total) | lemmas.word_of("any", exponent, value)
        for case in cases:
            least = sum(case[f"least[{i}]"] << i for i in range(exponent))
            least -= (least >> (exponent - 1)) << exponent
            if value >= least and all(bits[name] == bit for name, bit in case.items() if name in bits):
                return True
        return False

    exponents = range(-1 << (exponent - 1), 1 << (exponent - 1))
    assert all(covered(total, value) for total in range(1 << width) for value in exponents)


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("inject", "outcome"), [(None, PROVEN), (1, REFUTED)], ids=["as it is", "operand inverted"])
def test_modules_of_all_units_do_what_the_contract_says(unit, tmp_path, inject, outcome):
    outcomes = proven(units.design(unit, {"m": 1, "n": 1}), tmp_path, inject)
    assert outcomes == dict.fromkeys(outcomes, outcome)
