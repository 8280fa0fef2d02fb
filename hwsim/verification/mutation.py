"""Mutation score of a testbench: the share of injected faults that it notices.

Yosys puts one small fault after another into the RTL, all of them into one netlist with a port ``mutsel`` that selects
which is active, so that one simulation tries them all. Those that the testbench does not notice are compared with the
unmutated netlist by :mod:`hwsim.verification.equivalence`: a mutant that equals it is no fault and does not count. Of
a unit with ports that are held, such as the thresholds of a tensor at a quantisation engine, mutants are compared under
the values that the testbench holds there: real thresholds follow from one number, the tensor's largest magnitude, and
nearly every mutant differs for arbitrary ones. Tensors that the testbench does not have are left out.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsim.base import yosys
from hwsim.base.errors import ToolError
from hwsim.base.files import write
from hwsim.units.unit import Design
from hwsim.verification import cosimulation, equivalence, sources
from hwsim.verification.aig import FALSE, TRUE, Aig
from hwsim.verification.enables import always_loaded

#: One mutant of so many that Yosys knows: asked for too many of a small design, it never stops looking.
_OF_PLACES = 8


@dataclass(frozen=True)
class Score:
    """Numbers of mutants, killed by the testbench and proven equivalent; the Yosys commands that make the survivors."""

    mutants: int
    killed: int
    equivalent: int
    survivors: list[str]
    vectors: int

    @property
    def percent(self) -> float:
        """Killed mutants in percent of those that are not proven equivalent."""
        faults = self.mutants - self.equivalent
        return 100.0 * self.killed / faults if faults else 100.0


def score(
    design: Design, count: int, build: Path, simulator: str = "verilator", seed: int = 1, runtime: Path | None = None
) -> Score:
    """Make ``count`` mutants of a design, fewer of a very small one, and see how many its testbench kills.

    ``runtime`` is that of :func:`hwsim.verification.cosimulation.simulate`.

    Raises
    ------
    ToolError
        If the unmutated design fails its testbench.
    """
    build = build / "mutants"
    text = yosys.run(
        [
            *sources.rtl(design, build),
            # Mutants break what is said of parallel cases; simulators complain of that.
            "pmuxtree",
            "opt -full",
            "write_rtlil original.il",
            "mutate -list 1",
        ],
        build,
        "original",
    )
    [places] = re.findall(r"Raw database size: (\d+)", text)
    count = min(count, int(places) // _OF_PLACES)
    width = max(count.bit_length(), 1)
    yosys.run(
        [
            "read_rtlil original.il",
            f"mutate -list {count} -seed {seed} -none -ctrl mutsel {width} 0 -o mutations.ys",
        ],
        build,
        "list",
    )
    # Mutants of clock pins are left out: they add a second clock, which the equivalence check cannot model.
    commands = {
        int(match[1]): line for line in (build / "mutations.ys").read_text().splitlines()
        if (match := re.search(r"-ctrl \S+ \d+ (\d+)", line)) and "-mode none" not in line and "-port CLK " not in line
    }  # fmt: skip
    write(build / "mutations.ys", "\n".join(commands.values()) + "\n")
    yosys.run(
        [
            "read_rtlil original.il",
            "script mutations.ys",
            "opt_clean",
            "write_rtlil mutated.il",
            "write_verilog -noattr mutated.v",
        ],
        build,
        "mutate",
    )
    mutated_verilog = build / "mutated.v"
    outcome = cosimulation.simulate(design, mutated_verilog, build / "cosim", simulator, seed, max(commands), runtime)
    if outcome.wrong:
        raise ToolError(f"{design.slug} fails its testbench without any mutant: {outcome.wrong}")
    killed = commands.keys() & set(outcome.killed)
    equivalent, survivors = 0, []
    [mutated] = equivalence.modules(["read_rtlil mutated.il"], [design.name], build, "mutated").values()

    def chosen(number: int) -> Aig:
        """The netlist with one mutant active; with none for number 0."""
        active = mutated.with_inputs({f"mutsel[{i}]": number >> i & 1 for i in range(width)})
        return _in_stages(active, build) if design.unit.hierarchical else active

    original = chosen(0)
    held = list(_held(design, seed, original))
    for number, command in commands.items():
        if number in killed:
            continue
        claim = f"mutant {number} equals RTL"
        # A mutant that breaks the order of stages is another design.
        with contextlib.suppress(ToolError):
            mutant, name = chosen(number), f"mutant_{number}"
            pairs = ((original.with_inputs(values), mutant.with_inputs(values)) for values in held)
            if all(equivalence.equal(claim, *pair, build, name).holds for pair in pairs):
                equivalent += 1
                continue
        survivors.append(re.sub(r" -ctrl \S+ \S+ \S+", "", command))
    return Score(len(commands), len(killed), equivalent, survivors, outcome.vectors)


def _held(design: Design, seed: int, aig: Aig) -> Iterator[dict[str, int]]:
    """Each set of values that the testbench holds at ports, as constants of a graph's inputs; a single empty set for a
    unit without such ports."""
    steady = design.unit.steady(design.parameters)
    if not steady:
        yield {}
        return
    stream, component = design.unit.testbench(design.parameters, seed), design.component()
    fields = [stream[name].astype(np.uint64) for name in steady]
    # For each input bit of the graph, the column of the fields that holds it, and its place there.
    places: dict[str, tuple[int, int]] = {}
    first = 0
    for name, field in zip(steady, fields, strict=True):
        width = len(getattr(component, name)) // field.shape[1]
        for port in aig.inputs:
            base, _, index = port.rstrip("]").partition("[")
            if base == name:
                places[port] = first + int(index or 0) // width, int(index or 0) % width
        first += field.shape[1]
    for told in np.unique(np.concatenate(fields, axis=1), axis=0).tolist():
        yield {port: TRUE if told[column] >> bit & 1 else FALSE for port, (column, bit) in places.items()}


def _in_flight(aig: Aig) -> dict[str, int]:
    """Latches that follow an instruction, with their places. One whose output has a mutant is not called so: it is the
    one that the next reads."""
    named = {
        int(found[1]): name for name in aig.latches if (found := re.search(r"\bin_flight\[(\d+)\]", name))
    }  # fmt: skip
    states = {state >> 1: name for name, (state, _) in aig.latches.items()}
    supports = aig.supports(list(states))
    for place in reversed(range(max(named, default=0))):
        if place not in named:
            reads = supports[aig.latches[named[place + 1]][1] >> 1]
            [named[place]] = [name for i, name in enumerate(states.values()) if reads >> i & 1]
    return {name: place for place, name in named.items()}


def _in_stages(tile: Aig, build: Path) -> Aig:
    """A flat tile as a pipeline without enables: see :mod:`hwsim.verification.enables`.

    The registers that follow an instruction through the tile enable all others. They are cut: their states become
    inputs, their next states outputs.
    """
    result = Aig()
    of = {i >> 1: result.input("enable[0]" if name == "valid" else name) for name, i in tile.inputs.items()}
    follow = _in_flight(tile)
    for name, (state, _) in tile.latches.items():
        of[state >> 1] = result.input(f"enable[{follow[name] + 1}]" if name in follow else f"latch {name}")
    done = result.copy(tile, [*tile.outputs.values(), *(after for _, after in tile.latches.values())], of)
    result.outputs = {name: done[o >> 1] ^ (o & 1) for name, o in tile.outputs.items()}
    for name, (_, after) in tile.latches.items():
        literal = done[after >> 1] ^ (after & 1)
        if name in follow:
            result.outputs[f"next in_flight[{follow[name]}]"] = literal
        else:
            result.latches[name] = (result.inputs.pop(f"latch {name}"), literal)

    def same(gold: Aig, gate: Aig) -> bool:
        return equivalence.equal("held", gold, gate, build, "held").holds

    return always_loaded(result, same, mixed=True)
