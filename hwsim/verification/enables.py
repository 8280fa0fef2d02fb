"""Registers that hold their state while an enable is 0, seen as registers that are loaded in every cycle.

A pipeline whose registers have enables keeps what it holds for an unknown time, so it cannot be unrolled. But where the
registers of every stage are loaded by one enable, and read only those of one stage before, its outputs are the same
functions of its inputs as if every stage were loaded in every cycle: only the cycles that the inputs are of depend on
the enables, and they do so alike for all pipelines of the same stages. So two pipelines are equal if they are equal
without enables, and the same enables load the registers that an output reads.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable

from hwsim.base.errors import ToolError
from hwsim.verification.aig import FALSE, TRUE, Aig

#: Port with the enables of a module, one bit a stage, in the order of the data.
_PORT = "enable"


def always_loaded(aig: Aig, equal: Callable[[Aig, Aig], bool], mixed: bool = False) -> Aig:
    """The graph without enables.

    An output called ``PORT loads`` is added for every port that reads registers: the enable that loads them. A register
    that is visible at an output and is read by a stage before its own is cut: its state becomes the input ``held NAME``
    and its next state, with the enable, the output ``next NAME``.

    Parameters
    ----------
    aig : Aig
    equal : callable
        Decides whether two graphs without registers have equal outputs.
    mixed : bool
        Whether registers with an enable may read ones without beside those of the stage before. That is right where
        instructions never wait, and is for comparing a design with a changed copy of itself.

    Raises
    ------
    ToolError
        If a register depends on itself in another way, or registers are not in the order of their enables.
    """
    states = {state >> 1: after for state, after in aig.latches.values()}
    supports = aig.supports(list(states))
    bit = {node: 1 << i for i, node in enumerate(states)}
    enable_of = _enables(aig, {node for node, after in states.items() if supports[after >> 1] & bit[node]}, equal)
    if not enable_of:
        return aig
    shown = {literal >> 1: (name, literal & 1) for name, literal in aig.outputs.items() if literal >> 1 in enable_of}
    readers = {node: {r for r in enable_of if supports[states[r] >> 1] & bit[node]} - {node} for node in shown}
    # Not the stage behind reads these, but one before: what comes out is fed back.
    cut = {n for n in shown if any(_place(enable_of[reader]) <= _place(enable_of[n]) for reader in readers[n])}
    names = {state >> 1: name for name, (state, _) in aig.latches.items() if state >> 1 not in cut}
    result = Aig()
    of = {literal >> 1: result.input(name) for name, literal in aig.inputs.items()}
    of |= {node: result.input(f"held {shown[node][0]}") ^ shown[node][1] for node in cut}
    of |= {node: result.input(f"latch {name}") for node, name in names.items()}
    done = result.copy(aig, [*aig.outputs.values(), *states.values()], of)
    result.outputs = {name: done[o >> 1] ^ (o & 1) for name, o in aig.outputs.items()}
    for node in cut:
        name, inverted = shown[node]
        result.outputs[f"next {name}"] = done[states[node] >> 1] ^ (states[node] & 1) ^ inverted

    def loads(literals: Iterable[int], but: int, what: str) -> str | None:
        """The one enable of the registers that literals read, "" if it has none; None if they read no register."""
        mask = 0
        for literal in literals:
            mask |= supports[literal >> 1]
        found = {enable_of.get(node, "") for node in names if mask & bit[node] & ~but}
        if mixed and len(found) > 1:
            found.discard("")
        if len(found) > 1:
            raise ToolError(f"{what} reads registers of several enables: {', '.join(sorted(found))}")
        return found.pop() if found else None

    stages = _by((enable_of.get(node, ""), node) for node in names)
    for enable, group in stages.items():
        enabled = {aig.inputs[enable] >> 1: TRUE} if enable else {}
        loaded = result.copy(aig, [states[node] for node in group], of | enabled)
        own = sum(bit[node] for node in group) if enable else 0
        loads([states[node] for node in group], own, f"a register with {enable or 'no enable'}")
        for node in group:
            result.latches[names[node]] = (of[node], loaded[states[node] >> 1] ^ (states[node] & 1))
            del result.inputs[f"latch {names[node]}"]
    for enable, group in stages.items():
        if enable:
            _check_apart(result, [names[node] for node in group], enable, equal)
    uncut = ((name, literal) for name, literal in aig.outputs.items() if literal >> 1 not in cut)
    for port, literals in _by((re.sub(r"\[\d+\]$", "", name), literal) for name, literal in uncut).items():
        if enable_name := loads(literals, 0, port):
            result.outputs[f"{port} loads"] = of[aig.inputs[enable_name] >> 1]
    return result


def _by(pairs: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    """Numbers by the name that they come with."""
    found: dict[str, list[int]] = defaultdict(list)
    for name, number in pairs:
        found[name].append(number)
    return found


def _check_apart(aig: Aig, stage: list[str], enable: str, equal: Callable[[Aig, Aig], bool]) -> None:
    """Check that loaded registers of a stage do not depend on each other; drop reads without effect, in place."""
    own = {aig.latches[name][0] >> 1: name for name in stage}
    supports = aig.supports(list(own))
    for name in stage:
        state, after = aig.latches[name]
        read = [node for i, node in enumerate(own) if supports[after >> 1] >> i & 1]
        if not read:
            continue
        # Mapping may have mixed the multiplexer that holds the state with other logic.
        of = dict.fromkeys(read, FALSE)
        apart, whole = Aig(), Aig()
        leaves = {
            literal >> 1: f"{literal}" for literal in [*aig.inputs.values(), *(s for s, _ in aig.latches.values())]
        }
        for graph, fixed in ((apart, of), (whole, {})):
            places = {node: graph.input(leaf) for node, leaf in leaves.items() if node not in fixed} | fixed
            done = graph.copy(aig, [after], places)
            graph.outputs["o"] = done[after >> 1] ^ (after & 1)
        if not equal(apart, whole):
            raise ToolError(f"a register with {enable} reads another with {enable}")
        places = {literal >> 1: literal for literal in aig.inputs.values()}
        places |= {s >> 1: s for s, _ in aig.latches.values()} | of
        done = aig.copy(aig, [after], places)
        aig.latches[name] = (state, done[after >> 1] ^ (after & 1))


def _place(enable: str) -> int:
    """Place of an enable in its port."""
    return int(enable.partition("[")[2].rstrip("]") or 0)


def _enables(aig: Aig, registers: set[int], equal: Callable[[Aig, Aig], bool]) -> dict[int, str]:
    """The input that enables each of ``registers``, if one does: while it is 0, the next state is the state."""
    found: dict[int, str] = {}
    for name in aig.inputs:
        if name.partition("[")[0] != _PORT or not registers - found.keys():
            continue
        held = aig.with_inputs({name: FALSE})
        for latch, (state, _) in aig.latches.items():
            now, after = held.latches[latch]
            if state >> 1 not in registers - found.keys():
                continue
            if now != after:
                # Mapping may have mixed the multiplexer with other logic.
                either = Aig()
                of = {literal >> 1: either.input(name) for name, literal in held.inputs.items()}
                of |= {s >> 1: either.input(f"latch {name}") for name, (s, _) in held.latches.items()}
                done = either.copy(held, [after], of)
                expected = Aig(outputs={"o": 0})
                expected.outputs["o"] = expected.input(f"latch {latch}")
                either.outputs["o"] = done[after >> 1] ^ (after & 1)
                if not equal(expected, either):
                    continue
            found[state >> 1] = name
    return found
