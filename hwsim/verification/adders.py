"""Sums of many terms, proven by undoing their adders.

A solver cannot compare two trees of adders of different shape. But ``sum = x + y + z - 2 carry`` holds for the two
outputs of every full adder (``z = 0``: half adder), so a word that is made of adders is, going back through one after
the other, a linear form in the bits that enter the tree: every carry cancels. That is exact, for all inputs, and
independent of how the tree is arranged; a wrong tree leaves a carry or another weight behind.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable

from hwsim.verification.aig import FALSE, Aig

#: Truth tables of the variables of a cut, and of what sum and carry are but for inversions.
_VARIABLES = (0xAA, 0xCC, 0xF0)
_XOR3, _XOR2 = 0x96, 0x66
#: Cuts kept of every node.
_CUTS = 24
Cut = tuple[int, ...]


def linear_form(
    aig: Aig, word: Iterable[tuple[int, int]], width: int, never: Callable[[list[int]], set[int]]
) -> dict[int, int]:
    """Coefficients, by node, of bits whose sum is that of a word's, modulo ``2**width``; node 0 stands for 1.

    Parameters
    ----------
    word : iterable of (literal, position)
        Bits of the word, or of several that are added.
    never : callable
        Which of some literals, added to the graph, are false for all inputs: adders whose carry cannot happen have
        none, and look like any other exclusive or.
    """
    word = list(word)
    roots = [literal for literal, _ in word]
    sums = _adders(aig, roots)
    different = {node: pair for node in aig.cone(roots) if node not in sums and (pair := _different(aig, node))}
    together = {node: aig.conjunction(*pair) for node, pair in different.items()}
    impossible = never(list(together.values()))
    sums |= {node: (list(different[node]), FALSE, 0) for node in different if together[node] in impossible}
    form: dict[int, int] = {}

    def add(literal: int, weight: int) -> None:
        node = literal >> 1
        if literal & 1:
            form[0] = (form.get(0, 0) + weight) % (1 << width)
            weight = -weight
        if node:
            form[node] = (form.get(node, 0) + weight) % (1 << width)

    for literal, position in word:
        add(literal, 1 << position)
    for node in sorted(sums.keys() | different.keys(), reverse=True):
        weight = form.get(node, 0)
        # In the highest column carries are lost, and none is made.
        if weight and (node in sums or 2 * weight % (1 << width) == 0):
            del form[node]
            inputs, carry, inverted = sums.get(node) or (list(different[node]), FALSE, 0)
            # node = inverted ^ (x + y + z - 2 carry)
            if inverted:
                add(FALSE ^ 1, weight)
                weight = -weight
            for literal in inputs:
                add(literal, weight)
            add(carry, -2 * weight)
    return {node: weight for node, weight in form.items() if weight}


def _adders(aig: Aig, roots: list[int]) -> dict[int, tuple[list[int], int, int]]:
    """For every node that is the sum of an adder: its inputs and carry, literals, and whether the node is inverted."""
    nodes = aig.cone(roots)
    cuts = _cuts(aig, nodes)
    users = Counter(literal >> 1 for literal in [*roots, *(literal for node in nodes for literal in aig.ands[node])])
    carries: dict[Cut, list[tuple[int, int]]] = {}
    for node in nodes:
        for leaves, table in cuts[node].items():
            if table in _carries(len(leaves)):
                carries.setdefault(leaves, []).append((node, table))
    found = {}
    for node in nodes:
        for leaves, table in sorted(cuts[node].items(), key=lambda cut: -len(cut[0])):
            odd = {3: _XOR3, 2: _XOR2}.get(len(leaves))
            if odd is None or table not in (odd, odd ^ 0xFF):
                continue
            # Both halves of an exclusive or are conjunctions of its inputs too: last choice, and none without users.
            inner = {literal >> 1 for literal in aig.ands[node]}
            able = [c for c in carries.get(leaves, ()) if c[0] not in inner or users[c[0]] > 1]
            able.sort(key=lambda c: c[0] in inner)
            if able:
                carry, carry_table = able[0]
                phases, flipped = _carries(len(leaves))[carry_table]
                inputs = [2 * leaf | (phases >> i & 1) for i, leaf in enumerate(leaves)]
                inverted = (table != odd) ^ (phases.bit_count() & 1)
                found[node] = inputs, 2 * carry | flipped, inverted
                break
    return found


@functools.cache
def _carries(inputs: int) -> dict[int, tuple[int, int]]:
    """Truth tables of carries: which inputs are inverted, and whether the output is."""
    found: dict[int, tuple[int, int]] = {}
    for phases in range(1 << inputs):
        a, b, c = (v ^ (0xFF if phases >> i & 1 else 0) for i, v in enumerate(_VARIABLES))
        table = a & b if inputs == 2 else (a & b) | (a & c) | (b & c)
        if inputs > 1:
            found.setdefault(table, (phases, 0))
            found.setdefault(table ^ 0xFF, (phases, 1))
    return found


def _cuts(aig: Aig, nodes: list[int]) -> dict[int, dict[Cut, int]]:
    """Cuts of up to three leaves of every node, with truth tables, small ones first."""
    cuts: dict[int, dict[Cut, int]] = {0: {(): 0}}
    for node in nodes:
        a, b = aig.ands[node]
        different = _different(aig, node)
        if different:
            a, b = different
        merged: dict[Cut, int] = {}
        for left, left_table in cuts.get(a >> 1, {(a >> 1,): _VARIABLES[0]}).items():
            for right, right_table in cuts.get(b >> 1, {(b >> 1,): _VARIABLES[0]}).items():
                leaves = tuple(sorted({*left, *right}))
                if len(leaves) <= 3 and leaves not in merged:
                    x = _placed(left_table, tuple(leaves.index(leaf) for leaf in left)) ^ (0xFF if a & 1 else 0)
                    y = _placed(right_table, tuple(leaves.index(leaf) for leaf in right)) ^ (0xFF if b & 1 else 0)
                    merged[leaves] = x ^ y if different else x & y
        kept: list[Cut] = []
        for leaves in sorted(merged, key=len):
            # A cut that contains another says nothing more.
            if len(kept) < _CUTS and not any(set(other) <= set(leaves) for other in kept):
                kept.append(leaves)
        cuts[node] = {leaves: merged[leaves] for leaves in kept} | {(node,): _VARIABLES[0]}
    return cuts


def _different(aig: Aig, node: int) -> tuple[int, int] | None:
    """The literals whose exclusive or a node is, if it is one: what stands between them and it is no place to cut."""
    both, neither = (aig.ands.get(literal >> 1) if literal & 1 else None for literal in aig.ands[node])
    if both and neither and {literal ^ 1 for literal in both} == set(neither):
        return both
    return None


@functools.cache
def _placed(table: int, places: tuple[int, ...]) -> int:
    """A truth table of which variable i became variable ``places[i]``."""
    result = 0
    for row in range(8):
        source = sum((row >> place & 1) << i for i, place in enumerate(places))
        result |= (table >> source & 1) << row
    return result


def word_of(aig: Aig, form: Iterable[tuple[int, int]], width: int) -> list[int]:
    """Literals of the bits of a sum of literals times weights, by plain additions and subtractions."""
    total = [FALSE] * width
    for literal, weight in form:
        signed = weight - (1 << width) if weight >> (width - 1) else weight
        position = 0
        while signed and position < width:
            if signed & 1:
                digit = 2 - (signed & 3)
                signed -= digit
                _add(aig, total, literal, position, digit < 0)
            signed >>= 1
            position += 1
    return total


def _add(aig: Aig, total: list[int], bit: int, position: int, subtract: bool) -> None:
    """Add or subtract one bit at a position, with carries or borrows that ripple upwards."""
    carry = bit
    for i in range(position, len(total)):
        old = total[i]
        both = aig.conjunction(old ^ subtract, carry)
        neither = aig.conjunction(old ^ subtract ^ 1, carry ^ 1)
        total[i] = aig.conjunction(both ^ 1, neither ^ 1) ^ subtract
        carry = both
