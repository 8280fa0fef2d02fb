"""Proofs of the lemmas of :mod:`hwsim.verification.lemmas`.

A *property* is a module in ``specs`` that takes a module's inputs and outputs and says whether the outputs are right;
the proof shows that it always says so. A *sum* is a module in ``specs`` that computes the terms which an output must be
the sum of. It is proven in three steps: the output's adders are undone one by one until it is a linear form, a sum of
bits with weights (:mod:`hwsim.verification.adders`); these bits fall into groups, each a function of the inputs of one
term; and the solver shows that the word which each group stands for equals its term.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from hwsim.base.errors import ToolError
from hwsim.base.files import write
from hwsim.units.unit import Design
from hwsim.verification import adders, equivalence
from hwsim.verification.aig import TRUE, Aig, unrolled
from hwsim.verification.equivalence import REFUTED, SPECS, UNDECIDED, Proof
from hwsim.verification.lemma import Lemma
from hwsim.verification.lemmas import lemmas
from hwsim.verification.sources import graphs, rtl_modules

#: Outputs of properties that check ports which not every format has.
_OPTIONAL = {
    "ok_multiplier", "ok_refined", "ok_significand", "ok_infinite", "ok_base", "ok_floats", "ok_zero", "ok_near",
    "ok_fraction",
}  # fmt: skip


def proofs(design: Design, build: Path, inject: int | None = None) -> Iterator[Proof]:
    """Prove every lemma of a design's RTL; with ``inject``, decide the twins: lemmas of faulty modules."""
    build = build / "lemmas"
    modules = graphs(design, rtl_modules(design, build), build, "rtl")
    for lemma in lemmas(design):
        yield decide(lemma, modules[lemma.module], build, inject)


def specification(lemma: Lemma, build: Path) -> Aig:
    """A lemma's specification as a graph."""
    settings = "".join(f" -set {name} {_constant(value)}" for name, value in lemma.parameters.items())
    build.mkdir(parents=True, exist_ok=True)
    write(build / "mma_codes.vh", lemma.codes)
    read = [f'read_verilog -sv -I"{SPECS}" -I"{build.resolve()}" "{SPECS / lemma.file}"']
    read += [f"chparam{settings} {lemma.top}", f"hierarchy -top {lemma.top}", "proc -norom", "setundef -zero"]
    return equivalence.modules(read, [lemma.top], build, f"{lemma.module}_spec")[lemma.top].with_inputs({})


def _constant(value: int) -> str:
    """A number as Yosys reads it: without a width, it has 32 bits."""
    return str(value) if value < 1 << 31 else f"{value.bit_length()}'b{value:b}"


def decide(lemma: Lemma, part: Aig, build: Path, inject: int | None = None) -> Proof:
    """Decide one lemma of module ``part``; with ``inject``, its twin: of ``part`` with a random fault."""
    if inject is not None:
        return equivalence.first_refuted(lambda seed: decide(lemma, part.with_fault(seed), build), inject)
    start = time.perf_counter()
    proof = (_sum if lemma.sum_of else _property)(lemma, specification(lemma, build), part.with_inputs({}), build)
    claim = f"{lemma.module}: {lemma.claim} (hwsim/verification/specs/{lemma.file})"
    return replace(proof, claim=claim, seconds=time.perf_counter() - start)


def _property(lemma: Lemma, spec: Aig, part: Aig, build: Path) -> Proof:
    """Decide whether every ``ok_*`` output of the specification is 1 for all inputs of the module."""
    part = _combinational(part)
    ok = Aig()
    # Some inputs are not free: the specification computes them (its outputs ``given_*``). Drive the module from there.
    driven = {name.removeprefix("given_"): o for name, o in spec.outputs.items() if name.startswith("given_")}
    driven = {name: literal for name, literal in driven.items() if name in part.inputs}
    of = {part.inputs[name] >> 1: literal for name, literal in ok.copied(spec, driven).items()}
    of |= {literal >> 1: ok.input(name) for name, literal in part.inputs.items() if name not in driven}
    literals = {name: of[literal >> 1] for name, literal in part.inputs.items()}
    done = ok.copy(part, part.outputs.values(), of)
    literals |= {name: done[o >> 1] ^ (o & 1) for name, o in part.outputs.items()}
    ports = {name.split("[")[0] for name in literals}
    # A format without types, metadata and the like has no such ports: outputs that check them are left out.
    checked = {
        name: literal for name, literal in spec.outputs.items()
        if name.startswith("ok_") and {read.split("[")[0] for read in _reads(spec, [literal])} <= ports
    }  # fmt: skip
    unchecked = {n.split("[")[0] for n in spec.outputs.keys() - checked.keys() if n.startswith("ok_")} - _OPTIONAL
    if unchecked:
        raise ToolError(f"{lemma.module}: {', '.join(sorted(unchecked))} of {lemma.file} reads ports that do not exist")
    done = ok.copy(spec, checked.values(), {i >> 1: literals.get(name, TRUE) for name, i in spec.inputs.items()})
    ok.outputs = {name: done[o >> 1] ^ (o & 1) for name, o in checked.items()}
    always = Aig(outputs=dict.fromkeys(ok.outputs, TRUE))
    return _by_cases(lemma, always, ok, build)


def _by_cases(lemma: Lemma, gold: Aig, gate: Aig, build: Path) -> Proof:
    """Decide whether two graphs without registers are equal, one call of the solver for each case of the lemma."""
    cases = lemma.cases
    if len(cases) > 1 and (counterexample := equivalence.simulated(gold, gate)):
        return Proof(lemma.claim, REFUTED, counterexample, 0, "simulation")
    for case in cases:
        proof = equivalence.equal(lemma.claim, gold.with_inputs(case), gate.with_inputs(case), build, lemma.module)
        if not proof.holds:
            return replace(proof, counterexample=f"{proof.counterexample} {case}".rstrip(" {}"))
    return replace(proof, method=f"ABC cec of {len(cases)} cases") if len(cases) > 1 else proof


def _reads(aig: Aig, literals: list[int]) -> set[str]:
    """Names of the inputs in the fan-in of literals."""
    leaves = {leaf >> 1 for node in aig.cone(literals) for leaf in aig.ands[node]} | {leaf >> 1 for leaf in literals}
    return {name for name, literal in aig.inputs.items() if literal >> 1 in leaves}


def _combinational(aig: Aig) -> Aig:
    """The graph of a feed-forward pipeline without its registers: delays are left out.

    Raises
    ------
    ToolError
        If an output depends on inputs of more than one cycle.
    """
    aig = unrolled(aig)
    ages: dict[str, set[str]] = {}
    for name, output in aig.outputs.items():
        for read in _reads(aig, [output]):
            ages.setdefault(name, set()).add(read.split("@")[-1])
    for name, cycles in ages.items():
        if len(cycles) > 1:
            raise ToolError(f"{name} depends on inputs of several cycles")
    result = Aig()
    of = {literal >> 1: result.input(name.split("@")[0]) for name, literal in aig.inputs.items()}
    done = result.copy(aig, aig.outputs.values(), of)
    result.outputs = {name: done[o >> 1] ^ (o & 1) for name, o in aig.outputs.items()}
    return result


def _sum(lemma: Lemma, spec: Aig, part: Aig, build: Path) -> Proof:
    """Decide whether an output is the sum of the specification's terms, for inputs where every ``care`` bit is 1."""
    width, count = lemma.parameters["W"], sum(name.startswith("care") for name in spec.outputs)
    name = f"{lemma.module}_sum"
    terms = [_word("terms", t, width, count) for t in range(count)]
    cares = [_word("care", t, 1, count)[0] for t in range(count)]
    needs = [_reads(spec, [spec.outputs[n] for n in term]) for term in terms]
    values = _cared_for(spec, cares, needs) | equivalence.patterns(part.inputs.keys() - spec.inputs.keys())
    wanted, actual = spec.simulate(values, _ZERO), _combinational(part).simulate(values, _ZERO)
    difference = sum((_number(wanted, term) for term in terms), -_number(actual, _word(lemma.sum_of, 0, width, 1)))
    differs = np.flatnonzero(difference << np.uint64(64 - width))  # modulo 2**width
    if differs.size:
        return Proof(lemma.claim, REFUTED, equivalence.shown(values, int(differs[0])), 0, "simulation")
    outputs = [(part.outputs[f"{lemma.sum_of}[{i}]"], i) for i in range(width)]
    bits = outputs
    if part.latches:
        # Registers in front of the last adder hold two words. Prove that the output is their sum, and go on with the
        # sum of their next states.
        last, rows = Aig(), Aig()
        of = {state >> 1: last.input(n) for n, (state, _) in part.latches.items()}
        done = last.copy(part, (o for o, _ in outputs), of | {i >> 1: last.input(n) for n, i in part.inputs.items()})
        last.outputs = {f"{i}": done[o >> 1] ^ (o & 1) for o, i in outputs}
        weighted = [(rows.input(n), 1 << _index(n)) for n in part.latches]
        rows.outputs = {f"{i}": o for i, o in enumerate(adders.word_of(rows, weighted, width))}
        proof = equivalence.equal(lemma.claim, rows, last, build, f"{name}_rows")
        if not proof.holds:
            return replace(proof, outcome=UNDECIDED, counterexample="registers do not hold words that are added")
        bits = [(after, _index(n)) for n, (_, after) in part.latches.items()]

    def never(literals: list[int]) -> set[int]:
        """Those literals of the module that are false for all inputs."""
        graph = Aig()
        copies = dict(zip(map(str, literals), _literals(graph, part, (o >> 1 for o in literals)), strict=True))
        graph.outputs = {n: literal ^ (int(n) & 1) for n, literal in copies.items()}
        return {int(n) for n in equivalence.constant(graph, build, f"{name}_carries")}

    form = adders.linear_form(part, bits, width, never)
    gold, gate = Aig(), Aig()
    in_gold, in_gate = gold.copied(spec, spec.outputs), gate.copied(spec, spec.outputs)
    bit_of = dict(zip(form, _literals(gate, part, form), strict=True))
    # A bit belongs to the term whose inputs it depends on; to term 0 if there is none, whose proof has to show whether
    # that matters.
    groups: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for node, weight in form.items():
        reads = _reads(part, [2 * node])
        if node:
            groups[next((t for t, inputs in enumerate(needs) if reads <= inputs), 0)].append((bit_of[node], weight))
    # The form has one constant, the sum of those of all groups. A group's own constant is the value of its term in
    # pattern 0, less the value of the group's bits there.
    rest = form.get(0, 0)
    words = replace(part, outputs={str(node): 2 * node for node in form}).simulate(values, _ZERO)
    first = {bit_of[node]: int(words[str(node)][0]) & 1 for node in form}
    for term, group in enumerate(groups):
        own = int(_number(wanted, terms[term])[0])
        own -= sum(weight * first[literal] for literal, weight in group)
        group.append((TRUE, own % (1 << width)))
        rest -= own
    # The rest is 0 if the output is the sum.
    groups[0].append((TRUE, rest % (1 << width)))
    for term, group in enumerate(groups):
        gold.outputs, gate.outputs = {}, {}
        for n, bit in zip(terms[term], adders.word_of(gate, group, width), strict=True):
            gold.outputs[n] = gold.conjunction(in_gold[n], in_gold[cares[term]])
            gate.outputs[n] = gate.conjunction(bit, in_gate[cares[term]])
        proof = equivalence.equal(lemma.claim, gold, gate, build, name)
        if not proof.holds:
            if count <= _WHOLE:
                return _whole(lemma, spec, part, terms, cares, build)
            return replace(proof, outcome=UNDECIDED, counterexample=f"term {term}: {proof.counterexample}")
    return replace(proof, method=f"adders undone to {len(form)} bits, then ABC cec of {count} terms")


def _whole(lemma: Lemma, spec: Aig, part: Aig, terms: list[list[str]], cares: list[str], build: Path) -> Proof:
    """Decide whether an output is the sum of few terms as one question; ``cares`` are the terms' ``care`` bits."""
    width = lemma.parameters["W"]
    gold, gate = Aig(), Aig()
    cared = []
    for graph in (gold, gate):
        copied = graph.copied(spec, spec.outputs)
        cared.append(functools.reduce(graph.conjunction, (copied[care] for care in cares)))
        if graph is gold:
            form = ((copied[bit], 1 << i) for term in terms for i, bit in enumerate(term))
            total = adders.word_of(gold, form, width)
    combinational = _combinational(part)
    names = _word(lemma.sum_of, 0, width, 1)
    output = gate.copied(combinational, {name: combinational.outputs[name] for name in names})
    gold.outputs = {name: gold.conjunction(bit, cared[0]) for name, bit in zip(names, total, strict=True)}
    gate.outputs = {name: gate.conjunction(output[name], cared[1]) for name in names}
    proof = equivalence.equal(lemma.claim, gold, gate, build, f"{lemma.module}_whole")
    return replace(proof, method=f"{proof.method} of the sum of {len(terms)} terms")


_ZERO = np.zeros(equivalence.WORDS, np.uint64)
#: Largest number of times that random inputs are drawn.
_DRAWS = 400
#: Most terms whose sum the solver compares as a whole, where adders cannot be undone.
_WHOLE = 3


def _number(values: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    """The number in every pattern, uint64 [patterns], whose bits are the signals ``names``, the lowest first."""
    bits = (equivalence.integers(values[name]) << np.uint64(i) for i, name in enumerate(names))
    return functools.reduce(np.bitwise_or, bits)


def _cared_for(spec: Aig, cares: list[str], needs: list[set[str]]) -> dict[str, np.ndarray]:
    """Random inputs, uint64 [WORDS] by name, for which every ``care`` bit is 1 in every pattern.

    Where a term's bit is 0, its inputs (``needs``) are drawn again.

    Raises
    ------
    ToolError
        If inputs are left for which a bit is 0.
    """
    values = equivalence.patterns(spec.inputs)
    spec = replace(spec, outputs={care: spec.outputs[care] for care in cares})
    for draw in range(2, _DRAWS):
        cared = spec.simulate(values, _ZERO)
        if all((~cared[care] == 0).all() for care in cares):
            break
        again = equivalence.patterns(spec.inputs, draw)
        drawn: set[str] = set()
        for care, inputs in zip(cares, needs, strict=True):
            for name in inputs - drawn:
                values[name] = (values[name] & cared[care]) | (again[name] & ~cared[care])
            drawn |= inputs
    else:
        raise ToolError(f"{_DRAWS} draws of random inputs leave some that the specification does not care for")
    return values


def _literals(to: Aig, source: Aig, nodes: Iterable[int]) -> list[int]:
    """Copies in graph ``to`` of nodes of ``source``; inputs and states of registers become inputs of their names."""
    nodes = list(nodes)
    of = {literal >> 1: to.input(name) for name, literal in source.inputs.items()}
    of |= {state >> 1: to.input(name) for name, (state, _) in source.latches.items()}
    done = to.copy(source, (2 * node for node in nodes), of)
    return [done[node] for node in nodes]


def _index(name: str) -> int:
    """Position of a bit called ``NAME[POSITION]``."""
    return int(name.rpartition("[")[2].rstrip("]")) if "[" in name else 0


def _word(name: str, index: int, width: int, count: int) -> list[str]:
    """Names of the bits of word ``index`` among ``count`` in an output."""
    return [f"{name}[{i}]" if width * count > 1 else name for i in range(index * width, (index + 1) * width)]
