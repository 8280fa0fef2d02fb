"""Proofs that the Verilog for other tools does what the proven RTL does, for all inputs, module by module.

Other tools get Verilog in operators (:class:`hwsim.rtl.arith.Arithmetic`), while mapping takes structured RTL. A module
that a lemma describes is proven to satisfy the lemma, which fixes all of its outputs, as the structured module is
(:mod:`hwsim.verification.lemmas`). All others, the dot unit and the tile, or a unit without parts, are compared with
the structured ones. Their operands may be in other codes, which these modules only pass on: what is compared of them is
where they come from.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hwsim.base.errors import ToolError
from hwsim.rtl.hierarchy import all_parts
from hwsim.units.unit import Design
from hwsim.verification import equivalence, lemma_proofs
from hwsim.verification.aig import Aig
from hwsim.verification.equivalence import FEW, Proof
from hwsim.verification.lemmas import lemmas
from hwsim.verification.sources import graphs, rtl_modules, verilog_modules

#: Loops around an instance in Verilog, and its name.
_LOOPS = re.compile(r"((?:gen_\w+\[\d+\]\.)+)(\w+)")
#: A numbered instance in front of its port.
_NUMBERED = re.compile(r"(\w*?[A-Za-z])((?:_\d+)+)(?=\.)")
#: Ports that carry operands, with the part and the side whose code they are in.
_OPERANDS = re.compile(r"(?:(?:decode|dot)\w*\.|(?=[ab]_))(?:([ab])_)?operands$|(?:block|subgroup)[\d_]*\.([ab])$")


def proofs(design: Design, build: Path, inject: int | None = None) -> Iterator[Proof]:
    """Prove every module of a design's Verilog for other tools; with ``inject``, decide the twins."""
    build = build / "delivered"
    written = design.in_arithmetic("operators")
    read = verilog_modules(written, build)
    gate = {part: labelled(aig) for part, aig in graphs(written, read, build, "verilog").items()}
    structured = design.in_arithmetic("structured")
    read = rtl_modules(structured, build)
    gold = {part: labelled(aig) for part, aig in graphs(structured, read, build, "rtl").items()}
    described = {lemma.module: lemma for lemma in lemmas(written)} if design.unit.hierarchical else {}
    for part in gold:
        lemma = described.get(part)
        # Multipliers of few inputs are compared input by input: their adders are not those of a sum of terms.
        if lemma and (not lemma.sum_of or len(gate[part].inputs) > FEW):
            proof = lemma_proofs.decide(lemma, gate[part], build, inject)
            yield replace(proof, claim=f"Verilog, {proof.claim}")
            continue
        claim = f"Verilog, {part}: equals RTL"
        rtl, verilog = gold[part], gate[part]
        if design.unit.mma and not lemma:
            check_operands(claim, design, rtl, verilog)
            rtl, verilog = _without_operands(rtl), _without_operands(verilog)
        yield equivalence.equal(claim, rtl, verilog, build, part, inject)


def check_operands(claim: str, design: Design, structured: Aig, operators: Aig) -> None:
    """Check that a module passes every operand on from the same place in either kind of arithmetic.

    Raises
    ------
    ToolError
        If it does not.
    """
    sources = [
        _operand_sources(aig, _widths(design.in_arithmetic(kind)))
        for aig, kind in ((structured, "structured"), (operators, "operators"))
    ]  # fmt: skip
    if sources[0] != sources[1]:
        raise ToolError(f"{claim}: operands come from other places")


def labelled(aig: Aig) -> Aig:
    """A graph whose instances are numbered alike in RTL and Verilog.

    Instances of one name are counted in the order of their numbers, of which nested loops give several:
    ``gen_row[1].gen_dot[0].dot.d`` becomes ``dot_2.d`` where rows have two. A single instance has no number.
    """
    names = {
        n: _LOOPS.sub(lambda m: "_".join([m[2], *re.findall(r"\[(\d+)\]", m[1])]), n) for n in aig.inputs | aig.outputs
    }
    numbers: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for name in names.values():
        if label := _NUMBERED.match(name):
            numbers[label[1]].add(_tuple(label[2]))
    place = {base: {number: i for i, number in enumerate(sorted(found))} for base, found in numbers.items()}

    def short(name: str) -> str:
        label = _NUMBERED.match(name)
        if not label:
            return name
        places = place[label[1]]
        return label[1] + (f"_{places[_tuple(label[2])]}" if len(places) > 1 else "") + name[label.end() :]

    return replace(
        aig,
        inputs={short(names[n]): literal for n, literal in aig.inputs.items()},
        outputs={short(names[n]): literal for n, literal in aig.outputs.items()},
    )


def _tuple(numbers: str) -> tuple[int, ...]:
    return tuple(map(int, numbers[1:].split("_")))


def _widths(design: Design) -> dict[str, int]:
    """Bits of an operand of either side; none where terms are products of elements, which have one code."""
    mma = design.unit.mma
    assert mma is not None, "only MMA units have operands"
    parts = all_parts(design.component())
    ports = {side: getattr(parts[f"mma_decode_{side}"], "operands", None) for side in "ab"}
    return {side: len(port) // mma.in_blocks(design.parameters) for side, port in ports.items() if port is not None}


def _side(port: str) -> str:
    """The side whose operands a port carries; empty if it carries none."""
    found = _OPERANDS.search(port)
    if not found:
        return ""
    return found[1] or found[2] or port.partition(".")[0].removeprefix("decode_")[0]


def _operand_sources(aig: Aig, widths: dict[str, int]) -> dict[tuple[str, int], tuple[str, int]]:
    """Where every operand that a module passes on comes from: for its port and place, those of the input.

    Raises
    ------
    ToolError
        If the module does more than pass operands on.
    """
    inputs = {literal: name for name, literal in aig.inputs.items()}
    sources: dict[tuple[str, int], tuple[str, int]] = {}
    for name, literal in aig.outputs.items():
        port, index = _split(name)
        side = _side(port)
        if not side:
            continue
        if literal not in inputs:
            raise ToolError(f"{name} is not an operand of an input")
        origin, place = _split(inputs[literal])
        width = widths[side]
        source = (origin, place // width)
        if place % width != index % width or sources.setdefault((port, index // width), source) != source:
            raise ToolError(f"{name} is bit {place % width} of an operand, expected bit {index % width}")
    return sources


def _without_operands(aig: Aig) -> Aig:
    """A graph without the outputs that pass operands on."""
    return replace(aig, outputs={name: o for name, o in aig.outputs.items() if not _side(_split(name)[0])})


def _split(name: str) -> tuple[str, int]:
    """Port and index of a bit called ``PORT[INDEX]``."""
    port, _, index = name.rstrip("]").partition("[")
    return port, int(index or 0)
