"""And-inverter graphs (AIGs), which proofs of equivalence work on.

A literal is twice the number of its node, plus 1 if it is inverted; node 0 is constant false. Yosys writes and ABC
reads graphs as AIGER files (Biere, Heljanko, Wieringa: AIGER 1.9 And Beyond, 2011).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hwsim.base.errors import ToolError
from hwsim.base.files import write

FALSE, TRUE = 0, 1


@dataclass
class Aig:
    """An and-inverter graph in topological order: a node has a larger number than its operands.

    Attributes
    ----------
    inputs : dict
        Literal of every input by name.
    latches : dict
        By name of every register: literal of its state, literal of its next state. The initial state is free.
    outputs : dict
        Literal of every output by name.
    ands : dict
        Literals of both operands of every and-node, by its number, in topological order.
    """

    inputs: dict[str, int] = field(default_factory=dict)
    latches: dict[str, tuple[int, int]] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    ands: dict[int, tuple[int, int]] = field(default_factory=dict)
    _known: dict[tuple[int, int], int] = field(default_factory=dict)
    _nodes: int = 1

    @classmethod
    def read(cls, path: Path) -> Aig:
        """Read a binary AIGER file with a symbol table."""
        header, _, rest = path.read_bytes().partition(b"\n")
        _, inputs, latches, outputs, ands = map(int, header.split()[1:6])
        lines = rest.split(b"\n", latches + outputs)
        body = lines.pop()
        next_states = [int(line.split()[0]) for line in lines[:latches]]
        aig = cls(_nodes=1 + inputs + latches + ands)
        position = 0

        def number() -> int:
            """The next number: 7 bits a byte, the lowest first."""
            nonlocal position
            value = shift = 0
            while True:
                byte = body[position]
                position += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value

        for node in range(1 + inputs + latches, aig._nodes):
            first = 2 * node - number()
            aig.ands[node] = (first, first - number())
        names: dict[str, dict[int, str]] = {"i": {}, "l": {}, "o": {}}
        for line in body[position:].decode().splitlines():
            if line[:1] not in names:
                break
            index, name = line[1:].split(" ", 1)
            names[line[0]][int(index)] = name
        aig.inputs = {names["i"][i]: 2 * (i + 1) for i in range(inputs)}
        aig.latches = {names["l"].get(i, f"${i}"): (2 * (1 + inputs + i), next_states[i]) for i in range(latches)}
        aig.outputs = {names["o"][i]: int(lines[latches + i]) for i in range(outputs)}
        return aig

    def input(self, name: str) -> int:
        """Literal of the input ``name``, which is created if there is none."""
        if name not in self.inputs:
            self.inputs[name] = 2 * self._nodes
            self._nodes += 1
        return self.inputs[name]

    def conjunction(self, a: int, b: int) -> int:
        """Literal of ``a & b``: constants and equal or opposite operands are folded, equal nodes shared."""
        if a > b:
            a, b = b, a
        if a == FALSE or a == b ^ 1:
            return FALSE
        if a in (TRUE, b):
            return b
        if (a, b) not in self._known:
            self._known[a, b] = 2 * self._nodes
            self.ands[self._nodes] = (a, b)
            self._nodes += 1
        return self._known[a, b]

    def copy(self, source: Aig, roots: Iterable[int], of: Mapping[int, int]) -> dict[int, int]:
        """Copy the fan-in cone of ``roots`` from another graph; return literals here by node there.

        ``of`` gives the literals here that replace nodes there; the copy stops at these nodes.
        """
        done = {0: FALSE, **of}
        for node in source.cone(roots, done):
            a, b = source.ands[node]
            done[node] = self.conjunction(done[a >> 1] ^ (a & 1), done[b >> 1] ^ (b & 1))
        return done

    def cone(self, roots: Iterable[int], stop: Iterable[int] = ()) -> list[int]:
        """And-nodes in the fan-in cone of literals, in topological order; the search stops before nodes in ``stop``."""
        nodes: set[int] = set()
        waiting = [root >> 1 for root in roots]
        stopped = set(stop)
        while waiting:
            node = waiting.pop()
            if node in self.ands and node not in nodes and node not in stopped:
                nodes.add(node)
                waiting += (literal >> 1 for literal in self.ands[node])
        return sorted(nodes)

    def copied(self, source: Aig, outputs: Mapping[str, int]) -> dict[str, int]:
        """Copy a graph without latches, joining inputs by name.

        ``outputs`` are literals of ``source`` by any names; the result holds their copies here by the same names.
        """
        of = {literal >> 1: self.input(name) for name, literal in source.inputs.items()}
        done = self.copy(source, outputs.values(), of)
        return {name: done[o >> 1] ^ (o & 1) for name, o in outputs.items()}

    def with_inputs(self, values: Mapping[str, int]) -> Aig:
        """A copy in which the inputs named in ``values`` are constant, FALSE or TRUE."""
        result = Aig()
        of = {state >> 1: result.input(f"latch {name}") for name, (state, _) in self.latches.items()}
        of |= {i >> 1: values[n] if n in values else result.input(n) for n, i in self.inputs.items()}
        done = result.copy(self, [*self.outputs.values(), *(n for _, n in self.latches.values())], of)
        result.outputs = {name: done[o >> 1] ^ (o & 1) for name, o in self.outputs.items()}
        for name, (_, after) in self.latches.items():
            result.latches[name] = (result.inputs.pop(f"latch {name}"), done[after >> 1] ^ (after & 1))
        return result

    def with_fault(self, seed: int) -> Aig:
        """A copy with one random fault: one operand of an and-node inverted, or an output if there are no ANDs."""
        nodes = self.cone([*self.outputs.values(), *(after for _, after in self.latches.values())])
        rng = np.random.default_rng(seed)
        if not nodes:
            name = list(self.outputs)[rng.integers(len(self.outputs))]
            return replace(self, outputs=self.outputs | {name: self.outputs[name] ^ 1})
        node = nodes[rng.integers(len(nodes))]
        a, b = self.ands[node]
        return replace(self, ands=self.ands | {node: (a ^ 1, b)})

    def supports(self, leaves: Iterable[int]) -> dict[int, int]:
        """By node, the leaves that it depends on, as a mask: bit i stands for the i-th node of ``leaves``."""
        masks = {0: 0} | {literal >> 1: 0 for literal in self.inputs.values()}
        masks |= {state >> 1: 0 for state, _ in self.latches.values()}
        masks |= {node: 1 << i for i, node in enumerate(leaves)}
        for node, (a, b) in self.ands.items():
            if node not in masks:
                masks[node] = masks[a >> 1] | masks[b >> 1]
        return masks

    def simulate(self, values: Mapping[str, np.ndarray], zero: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs of a graph without latches by name, uint64 words, 64 patterns a word.

        ``values`` holds the words of every input by name; ``zero`` is the constant 0, of the same shape.
        """
        at: dict[int, np.ndarray] = {0: zero}
        at |= {literal >> 1: values[name] for name, literal in self.inputs.items()}
        for node in self.cone(self.outputs.values()):
            a, b = self.ands[node]
            left = ~at[a >> 1] if a & 1 else at[a >> 1]
            at[node] = left & (~at[b >> 1] if b & 1 else at[b >> 1])
        return {name: ~at[o >> 1] if o & 1 else at[o >> 1] for name, o in self.outputs.items()}

    def write(self, path: Path, inputs: list[str], outputs: list[str]) -> None:
        """Write a binary AIGER file without latches, inputs and outputs in the order given.

        Inputs that the graph lacks are written all the same: ABC pairs the inputs of two files by position.
        """
        nodes = self.cone(self.outputs[name] for name in outputs)
        place = {0: 0} | {self.inputs[name] >> 1: i for i, name in enumerate(inputs, 1) if name in self.inputs}
        place |= {node: i for i, node in enumerate(nodes, 1 + len(inputs))}

        def literal(value: int) -> int:
            return 2 * place[value >> 1] | (value & 1)

        body = bytearray()
        for node in nodes:
            high, low = sorted(map(literal, self.ands[node]), reverse=True)
            for number in (2 * place[node] - high, high - low):
                while number > 127:
                    body.append(number & 127 | 128)
                    number >>= 7
                body.append(number)
        total = len(inputs) + len(nodes)
        head = [f"aig {total} {len(inputs)} 0 {len(outputs)} {len(nodes)}"]
        head += [str(literal(self.outputs[name])) for name in outputs]
        write(path, "\n".join([*head, ""]).encode() + body)


def unrolled(aig: Aig) -> Aig:
    """Unroll the registers: outputs as functions of inputs ``NAME@AGE``, which is input NAME as it was AGE cycles ago.

    A register that depends on itself must be visible as an output, or as the inverse of one. It is cut: its state
    becomes the inputs ``held NAME@AGE`` and its next state an output ``next NAME``. Equality of two such graphs is then
    the step of an induction: registers that are equal in one cycle are equal in the next. All other registers must form
    a feed-forward pipeline, which forgets its initial state after as many cycles as it is deep.

    Raises
    ------
    ToolError
        If they form none.
    """
    needs, bit = _needs(aig)
    names = {literal >> 1: (name, literal & 1) for name, literal in aig.outputs.items()}
    feedback = {node for node in needs if needs[node] & bit[node] and node in names}
    depth, remaining = _pipeline_depth({node: need for node, need in needs.items() if node not in feedback}, bit)
    if remaining:
        raise ToolError(f"{len(remaining)} registers depend on themselves other than through registers at outputs")
    result = Aig()
    after = {literal >> 1: following for literal, following in aig.latches.values()}
    state = {node: result.input(f"initial {node}") for node in after}
    for age in range(depth, -1, -1):
        of = state | {literal >> 1: result.input(f"{name}@{age}") for name, literal in aig.inputs.items()}
        for node in feedback:
            name, inverted = names[node]
            of[node] = result.input(f"held {name}@{age}") ^ inverted
        done = result.copy(aig, [*after.values(), *aig.outputs.values()], of)
        state = {node: done[n >> 1] ^ (n & 1) for node, n in after.items()}
    result.outputs = {name: done[o >> 1] ^ (o & 1) for name, o in aig.outputs.items()}
    for node in feedback:
        name, inverted = names[node]
        result.outputs[f"next {name}"] = state[node] ^ inverted
    used = {literal >> 1 for node in result.cone(result.outputs.values()) for literal in result.ands[node]}
    used |= {literal >> 1 for literal in result.outputs.values()}
    result.inputs = {name: literal for name, literal in result.inputs.items() if literal >> 1 in used}
    return result


def _needs(aig: Aig) -> tuple[dict[int, int], dict[int, int]]:
    """Registers that each register's next state depends on, as a mask; and each one's bit. Keys are nodes of states."""
    states = [literal >> 1 for literal, _ in aig.latches.values()]
    supports = aig.supports(states)
    needs = {literal >> 1: supports[after >> 1] for literal, after in aig.latches.values()}
    return needs, {node: 1 << i for i, node in enumerate(states)}


def _pipeline_depth(needs: Mapping[int, int], bit: Mapping[int, int]) -> tuple[int, set[int]]:
    """Depth of the pipeline that registers form, and the registers that are not part of it.

    Each round takes away the registers that need none of those left; what remains depends on a cycle.
    """
    left, rounds = set(needs), 0
    while True:
        mask = sum(bit[node] for node in left)
        ready = {node for node in left if not needs[node] & mask}
        if not ready:
            return rounds, left
        left -= ready
        rounds += 1
