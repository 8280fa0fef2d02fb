"""Linear forms of the words that trees of adders compute (algebraic rewriting).

A SAT solver does not decide a miter of two adder trees of different shape. But the outputs of every full adder satisfy
``sum = x + y + z - 2 carry`` (half adder: ``z = 0``). Replacing each sum by the right-hand side, from the outputs back
to the inputs, turns a word into a *linear form*: the bits that enter the tree, each times a weight; every carry
cancels. The form is exact for all inputs and the same for every arrangement of the tree. In the form of a wrong tree a
carry is left over, or a bit has another weight.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable

from hwsim.verification.aig import FALSE, Aig

#: Truth tables (8 rows, a bit each) of the three variables of a cut; and of their XOR, which is an adder's sum.
_VARIABLES = (0xAA, 0xCC, 0xF0)
_XOR3, _XOR2 = 0x96, 0x66
#: Largest number of cuts kept per node, beside the node itself.
_CUTS = 24
Cut = tuple[int, ...]


def linear_form(
    aig: Aig, word: Iterable[tuple[int, int]], width: int, never: Callable[[list[int]], set[int]]
) -> dict[int, int]:
    """Linear form of a word modulo ``2**width``: weights by node; node 0 stands for the constant 1.

    Parameters
    ----------
    word : iterable of (literal, position)
        Bits of the word, or of several words that are added.
    width : int
    never : callable (literals) -> set of literals
        Returns those literals that are false for all inputs. An adder whose carry cannot be 1 has no carry gate and
        looks like any other XOR; it is an adder if the AND of the inputs of its XOR, added to the graph, is never 1.
    """
    word = list(word)
    roots = [literal for literal, _ in word]
    sums = _adders(aig, roots)
    xors = {node: pair for node in aig.cone(roots) if node not in sums and (pair := _xor_inputs(aig, node))}
    carries = {node: aig.conjunction(*pair) for node, pair in xors.items()}
    impossible = never(list(carries.values()))
    sums |= {node: (list(xors[node]), FALSE, 0) for node in xors if carries[node] in impossible}
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
    for node in sorted(sums.keys() | xors.keys(), reverse=True):
        weight = form.get(node, 0)
        # Modulo 2**width the carry out of the highest bit is lost: the adders there are XORs without a carry gate.
        if weight and (node in sums or 2 * weight % (1 << width) == 0):
            del form[node]
            inputs, carry, inverted = sums.get(node) or (list(xors[node]), FALSE, 0)
            # node = inverted ^ (x + y + z - 2 carry)
            if inverted:
                add(FALSE ^ 1, weight)
                weight = -weight
            for literal in inputs:
                add(literal, weight)
            add(carry, -2 * weight)
    return {node: weight for node, weight in form.items() if weight}


def _adders(aig: Aig, roots: list[int]) -> dict[int, tuple[list[int], int, int]]:
    """Adders by the node of their sum: literals of inputs and carry, and whether the node is the inverted sum."""
    nodes = aig.cone(roots)
    cuts = _cuts(aig, nodes)
    users = Counter(literal >> 1 for literal in [*roots, *(literal for node in nodes for literal in aig.ands[node])])
    carries: dict[Cut, list[tuple[int, int]]] = {}
    for node in nodes:
        for leaves, table in cuts[node].items():
            if table in _carries(len(leaves)):
                carries.setdefault(leaves, []).append((node, table))
    adders = {}
    for node in nodes:
        for leaves, table in sorted(cuts[node].items(), key=lambda cut: -len(cut[0])):
            parity = {3: _XOR3, 2: _XOR2}.get(len(leaves))
            if parity is None or table not in (parity, parity ^ 0xFF):
                continue
            # The two inner ANDs of an XOR look like half-adder carries of its inputs. Such an AND is a carry only if
            # something else uses it as well, and only if there is no other candidate.
            inner = {literal >> 1 for literal in aig.ands[node]}
            candidates = [c for c in carries.get(leaves, ()) if c[0] not in inner or users[c[0]] > 1]
            candidates.sort(key=lambda c: c[0] in inner)
            if candidates:
                carry, carry_table = candidates[0]
                phases, flipped = _carries(len(leaves))[carry_table]
                inputs = [2 * leaf | (phases >> i & 1) for i, leaf in enumerate(leaves)]
                inverted = (table != parity) ^ (phases.bit_count() & 1)
                adders[node] = inputs, 2 * carry | flipped, inverted
                break
    return adders


@functools.cache
def _carries(inputs: int) -> dict[int, tuple[int, int]]:
    """Truth tables of carries of ``inputs`` bits: mask of the inverted inputs, and whether the carry is inverted."""
    carries: dict[int, tuple[int, int]] = {}
    for phases in range(1 << inputs):
        a, b, c = (v ^ (0xFF if phases >> i & 1 else 0) for i, v in enumerate(_VARIABLES))
        table = a & b if inputs == 2 else (a & b) | (a & c) | (b & c)
        if inputs > 1:
            carries.setdefault(table, (phases, 0))
            carries.setdefault(table ^ 0xFF, (phases, 1))
    return carries


def _cuts(aig: Aig, nodes: list[int]) -> dict[int, dict[Cut, int]]:
    """Cuts of up to three leaves and their truth tables, by node, small cuts first; an XOR counts as one gate."""
    cuts: dict[int, dict[Cut, int]] = {0: {(): 0}}
    for node in nodes:
        a, b = aig.ands[node]
        xor = _xor_inputs(aig, node)
        if xor:
            a, b = xor
        merged: dict[Cut, int] = {}
        for left, left_table in cuts.get(a >> 1, {(a >> 1,): _VARIABLES[0]}).items():
            for right, right_table in cuts.get(b >> 1, {(b >> 1,): _VARIABLES[0]}).items():
                leaves = tuple(sorted({*left, *right}))
                if len(leaves) <= 3 and leaves not in merged:
                    x = _placed(left_table, tuple(leaves.index(leaf) for leaf in left)) ^ (0xFF if a & 1 else 0)
                    y = _placed(right_table, tuple(leaves.index(leaf) for leaf in right)) ^ (0xFF if b & 1 else 0)
                    merged[leaves] = x ^ y if xor else x & y
        kept: list[Cut] = []
        for leaves in sorted(merged, key=len):
            # A cut that contains another one is dominated: it gives no new function.
            if len(kept) < _CUTS and not any(set(other) <= set(leaves) for other in kept):
                kept.append(leaves)
        cuts[node] = {leaves: merged[leaves] for leaves in kept} | {(node,): _VARIABLES[0]}
    return cuts


def _xor_inputs(aig: Aig, node: int) -> tuple[int, int] | None:
    """Return (a, b) if ``node`` is ``a ^ b``, built from three ANDs, else None.

    A cut at one of the inner ANDs would hide the XOR.
    """
    both, neither = (aig.ands.get(literal >> 1) if literal & 1 else None for literal in aig.ands[node])
    if both and neither and {literal ^ 1 for literal in both} == set(neither):
        return both
    return None


@functools.cache
def _placed(table: int, places: tuple[int, ...]) -> int:
    """The truth table after variable i has been renamed to variable ``places[i]``."""
    result = 0
    for row in range(8):
        source = sum((row >> place & 1) << i for i, place in enumerate(places))
        result |= (table >> source & 1) << row
    return result


def word_of(aig: Aig, form: Iterable[tuple[int, int]], width: int) -> list[int]:
    """Build the word that a linear form stands for: literals of its ``width`` bits, the lowest first.

    Every weight is recoded to digits -1, 0 and 1; each digit adds or subtracts the literal with a ripple of carries.

    Parameters
    ----------
    form : iterable of (literal, weight)
    """
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
    """Add or subtract one bit at a position of ``total``, in place; carries or borrows ripple upwards."""
    carry = bit
    for i in range(position, len(total)):
        old = total[i]
        both = aig.conjunction(old ^ subtract, carry)
        neither = aig.conjunction(old ^ subtract ^ 1, carry ^ 1)
        total[i] = aig.conjunction(both ^ 1, neither ^ 1) ^ subtract
        carry = both
