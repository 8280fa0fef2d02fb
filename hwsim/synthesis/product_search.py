"""Search for small gate networks that multiply encoded magnitudes, by simulated annealing.

A network is a list of slots, each of which holds a gate whose inputs come from earlier slots or from the operands'
codes; slots that no column depends on cost nothing. A step changes a few gates, inputs, columns or code bits at random
and is kept if every product is still right and the network is not too deep, and if it is not larger or, with a
probability that falls during the run, even then. Changes of slots that are not in use are always kept: they wander
until another step uses them, which is what makes the search find more than local exchanges.

``python -m hwsim.products`` runs it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit, uint64

from hwsim.base.errors import InputError
from hwsim.rtl.tile.gates import GATES, arity, parse
from hwsim.rtl.tile.products import PRODUCT_WIDTH, Product
from hwsim.technology.choice import gate_cell
from hwsim.technology.library import Library

#: Delay of a gate, by its name, in units of about a NAND2's.
DELAYS = dict(  # noqa: C408
    inv=0.6, nand2=1.0, nor2=1.1, and2=1.6, or2=1.7, xor2=1.9, xnor2=1.9, nand3=1.3, nor3=1.5, aoi21=1.3, oai21=1.3,
    aoi22=1.5, oai22=1.5, ao21=1.8, oa21=1.8, maji=1.8, and3=1.8, or3=2.0, aoi211=1.7, oai211=1.7, nand4=1.6, nor4=2.0,
    aoai211=1.6, oaoi211=1.6, aoi31=1.6, oai31=1.6,
)  # fmt: skip
NAMES = tuple(GATES)
#: Slots of a network.
SLOTS = 60
#: Share of the steps' changes that are of columns, of code bits, of gates; the others are of inputs.
_COLUMNS, _CODES, _KINDS = 0.06, 0.08, 0.16
#: Temperatures, in areas of a NAND2, at the beginning and at the end of a run.
_HOT, _COLD = 0.75, 0.1


@dataclass
class Network:
    """A network in arrays.

    Attributes
    ----------
    codes : int64 [bits of A and B]
        Bit j of a code bit: whether it is 1 for magnitude j of the list.
    widths : tuple of int
        Bits of the codes of A and of B.
    kinds : int64 [slots]
        Gates, by their place in `NAMES`.
    inputs : int64 [slots, 4]
        Signals: code bits of A, of B, then slots. Gates of fewer inputs ignore the last.
    columns : int64 [PRODUCT_WIDTH]
        The signal of every column, up to inversion.
    """

    codes: np.ndarray
    widths: tuple[int, int]
    kinds: np.ndarray
    inputs: np.ndarray
    columns: np.ndarray

    def copy(self) -> Network:
        """An independent copy."""
        return Network(self.codes.copy(), self.widths, self.kinds.copy(), self.inputs.copy(), self.columns.copy())


#: Gates that are another one and an inverter, for libraries without a cell.
_INVERTED = {
    "and2": "nand2", "or2": "nor2", "xnor2": "xor2", "ao21": "aoi21", "oa21": "oai21", "and3": "nand3", "or3": "nor3",
}  # fmt: skip
#: Area of a gate that the library cannot make of one or two cells: the search avoids it.
_NONE = 100.0


def gate_areas(library: Library) -> dict[str, float]:
    """Area of every gate in NAND2 equivalents: of the smallest cell; of two, where it takes an inverter behind one."""
    areas = {
        name: found[0].area / library.nand2_area
        for name in NAMES
        if (found := gate_cell(library, GATES[name], arity(name)))
    }
    for name, of in _INVERTED.items():
        if of in areas and "inv" in areas:
            areas.setdefault(name, areas[of] + areas["inv"])
    return {name: areas.get(name, _NONE) for name in NAMES}


def start(
    product: Product, text: str, magnitudes: Sequence[int], widths: tuple[int, int], seed: Sequence[int]
) -> Network:
    """A known network: its gates at random slots, random gates between them, and random further code bits."""
    rng = np.random.default_rng(seed)
    gates, bits = parse(text)
    signals = sum(widths)
    codes, at = [], {}
    for side, first, width in (("a", 0, widths[0]), ("b", widths[0], widths[1])):
        code = product.codes[side]
        if width < len(code):
            raise InputError(f"operand {side} has {len(code)} code bits, got room for {width}")
        for i in range(width):
            known = sum((n in code[i]) << j for j, n in enumerate(magnitudes)) if i < len(code) else None
            codes.append(int(rng.integers(1 << len(magnitudes))) if known is None else known)
            at[f"{side}{i}"] = first + i
    kinds = rng.integers(0, len(NAMES), SLOTS)
    inputs = np.array([rng.integers(0, signals + slot, 4) for slot in range(SLOTS)])
    for slot, (name, gate, names) in zip(sorted(rng.choice(SLOTS, len(gates), replace=False)), gates, strict=True):
        kinds[slot] = NAMES.index(gate)
        inputs[slot, : len(names)] = [at[n] for n in names]
        at[name] = signals + slot
    return Network(np.array(codes), widths, kinds, inputs, np.array([at[bit.lstrip("~")] for bit in bits]))


def wanted(magnitudes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Truth tables of the product's bits, uint64 [PRODUCT_WIDTH, 2], a bit a pair; and which pairs there are."""
    want, care = np.zeros((PRODUCT_WIDTH, 2), np.uint64), np.zeros(2, np.uint64)
    for i, (a, b) in enumerate(itertools.product(magnitudes, repeat=2)):
        word, bit = i // 64, np.uint64(1 << i % 64)
        care[word] |= bit
        for weight in range(PRODUCT_WIDTH):
            if a * b >> weight & 1:
                want[weight, word] |= bit
    return want, care


@njit(cache=True)
def apply(kind, a, b, c, d):  # type: ignore[no-untyped-def]
    """The function of a gate, by its place in `NAMES`, on words."""
    if kind == 0:
        return ~a
    if kind == 1:
        return ~(a & b)
    if kind == 2:
        return ~(a | b)
    if kind == 3:
        return a & b
    if kind == 4:
        return a | b
    if kind == 5:
        return a ^ b
    if kind == 6:
        return ~(a ^ b)
    if kind == 7:
        return ~(a & b & c)
    if kind == 8:
        return ~(a | b | c)
    if kind == 9:
        return ~((a & b) | c)
    if kind == 10:
        return ~((a | b) & c)
    if kind == 11:
        return ~((a & b) | (c & d))
    if kind == 12:
        return ~((a | b) & (c | d))
    if kind == 13:
        return (a & b) | c
    if kind == 14:
        return (a | b) & c
    if kind == 15:
        return ~((a & b) | (c & (a | b)))
    if kind == 16:
        return a & b & c
    if kind == 17:
        return a | b | c
    if kind == 18:
        return ~((a & b) | c | d)
    if kind == 19:
        return ~((a | b) & c & d)
    if kind == 20:
        return ~(a & b & c & d)
    if kind == 21:
        return ~(a | b | c | d)
    if kind == 22:
        return ~(((a & b) | c) & d)
    if kind == 23:
        return ~(((a | b) & c) | d)
    if kind == 24:
        return ~((a & b & c) | d)
    return ~((a | b | c) & d)


@njit(cache=True)
def _encode(codes, first_b, magnitudes, tables):  # type: ignore[no-untyped-def]
    """Truth tables of the code bits over all pairs of magnitudes."""
    for signal in range(codes.shape[0]):
        tables[signal] = 0
        for i in range(magnitudes):
            for j in range(magnitudes):
                if codes[signal] >> (i if signal < first_b else j) & 1:
                    pair = i * magnitudes + j
                    tables[signal, pair >> 6] |= uint64(1) << uint64(pair & 63)


@njit(cache=True)
def _mark(kinds, inputs, columns, signals, counts, areas, used):  # type: ignore[no-untyped-def]
    """Mark the signals that columns depend on; the area of their gates."""
    used[:] = False
    for column in columns:
        used[column] = True
    area = 0.0
    for slot in range(kinds.shape[0] - 1, -1, -1):
        if used[signals + slot]:
            area += areas[kinds[slot]]
            for i in range(counts[kinds[slot]]):
                used[inputs[slot, i]] = True
    return area


@njit(cache=True)
def _right(kinds, inputs, columns, signals, counts, delays, limit, want, care, used, tables, arrivals):  # type: ignore[no-untyped-def]
    """Whether every product is right, each column up to inversion, and no gate later than ``limit``."""
    for slot in range(kinds.shape[0]):
        if not used[signals + slot]:
            continue
        kind = kinds[slot]
        count = counts[kind]
        p = inputs[slot, 0]
        q = inputs[slot, 1] if count > 1 else p
        r = inputs[slot, 2] if count > 2 else p
        s = inputs[slot, 3] if count > 3 else p
        at = signals + slot
        arrivals[at] = max(max(arrivals[p], arrivals[q]), max(arrivals[r], arrivals[s])) + delays[kind]
        if arrivals[at] > limit:
            return False
        for word in range(2):
            tables[at, word] = apply(kind, tables[p, word], tables[q, word], tables[r, word], tables[s, word])
    for weight in range(columns.shape[0]):
        low = (tables[columns[weight], 0] ^ want[weight, 0]) & care[0]
        high = (tables[columns[weight], 1] ^ want[weight, 1]) & care[1]
        if not ((low == 0 and high == 0) or (low == care[0] and high == care[1])):
            return False
    return True


@njit(cache=True)
def _anneal(
    codes,
    first_b,
    kinds,
    inputs,
    columns,
    magnitudes,
    want,
    care,
    counts,
    areas,
    delays,
    limit,
    steps,
    hot,
    cold,
    seed,
    best,
):  # type: ignore[no-untyped-def]
    """Anneal a network in place, leave the smallest one met in ``best`` and return its area."""
    np.random.seed(seed)
    signals, slots = codes.shape[0], kinds.shape[0]
    tables, arrivals = np.zeros((signals + slots, 2), np.uint64), np.zeros(signals + slots)
    used = np.zeros(signals + slots, np.bool_)
    changed = np.zeros((8, 4), np.int64)
    _encode(codes, first_b, magnitudes, tables)
    area = smallest = np.inf
    for step in range(steps + 1):
        count, matters, recoded = 0, step == 0, False
        while step and (count == 0 or (count < 6 and np.random.random() < 0.5)):
            what = np.random.random()
            if what < _COLUMNS:
                place = np.random.randint(columns.shape[0])
                changed[count] = np.array([0, place, 0, columns[place]])
                columns[place] = np.random.randint(signals + slots)
                matters = True
            elif what < _COLUMNS + _CODES:
                place = np.random.randint(signals)
                changed[count] = np.array([1, place, 0, codes[place]])
                codes[place] ^= 1 << np.random.randint(magnitudes)
                matters, recoded = matters or used[place], True
            elif what < _COLUMNS + _CODES + _KINDS:
                place = np.random.randint(slots)
                changed[count] = np.array([2, place, 0, kinds[place]])
                kinds[place] = np.random.randint(counts.shape[0])
                matters = matters or used[signals + place]
            else:
                place = np.random.randint(slots)
                pin = np.random.randint(counts[kinds[place]])
                changed[count] = np.array([3, place, pin, inputs[place, pin]])
                inputs[place, pin] = np.random.randint(signals + place)
                matters = matters or used[signals + place]
            count += 1
        if recoded:
            _encode(codes, first_b, magnitudes, tables)
        if not matters:
            continue
        now = _mark(kinds, inputs, columns, signals, counts, areas, used)
        temperature = hot * (cold / hot) ** (step / steps)
        kept = now <= area or np.random.random() < np.exp((area - now) / temperature)
        kept = kept and _right(
            kinds, inputs, columns, signals, counts, delays, limit, want, care, used, tables, arrivals
        )
        if kept:
            area = now
            if area < smallest:
                smallest = area
                best[0][:], best[1][:], best[2][:], best[3][:] = codes, kinds, inputs, columns
        elif step == 0:
            return np.inf
        else:
            for i in range(count - 1, -1, -1):
                kind, place, pin, old = changed[i]
                if kind == 0:
                    columns[place] = old
                elif kind == 1:
                    codes[place] = old
                elif kind == 2:
                    kinds[place] = old
                else:
                    inputs[place, pin] = old
            if recoded:
                _encode(codes, first_b, magnitudes, tables)
            _mark(kinds, inputs, columns, signals, counts, areas, used)
    return smallest


def anneal(
    network: Network, magnitudes: Sequence[int], areas: dict[str, float], limit: float, steps: int, seed: int
) -> tuple[float, Network]:
    """The smallest network met on the way from a known one, and its area in NAND2 equivalents.

    Parameters
    ----------
    network : Network
        Where to begin: every product must be right. It is not changed.
    magnitudes : sequence of int
        At most 11.
    areas : dict
        See :func:`gate_areas`.
    limit : float
        Greatest delay, in the units of `DELAYS`.
    steps, seed : int

    Raises
    ------
    InputError
        If the network to begin with is wrong or too deep.
    """
    at, best = network.copy(), network.copy()
    want, care = wanted(magnitudes)
    area = _anneal(
        at.codes, at.widths[0], at.kinds, at.inputs, at.columns, len(magnitudes), want, care,
        np.array([arity(name) for name in NAMES]), np.array([areas[name] for name in NAMES]),
        np.array([DELAYS[name] for name in NAMES]), limit, steps, _HOT, _COLD, seed,
        (best.codes, best.kinds, best.inputs, best.columns),
    )  # fmt: skip
    if not np.isfinite(area):
        raise InputError(f"the network to begin with is wrong, or deeper than the limit of {limit:g}")
    return float(area), best


def text_of(network: Network, magnitudes: Sequence[int]) -> str:
    """Codes and network in the form of :mod:`hwsim.rtl.tile.products`: code bits and gates that are used, numbered."""
    signals, first_b = len(network.codes), network.widths[0]
    used = set(network.columns.tolist())
    order = range(len(network.kinds))
    for slot in reversed(order):
        if signals + slot in used:
            used |= set(network.inputs[slot, : arity(NAMES[network.kinds[slot]])].tolist())
    names: dict[int, str] = {}
    lines: list[str] = []
    for side, bits in (("a", range(first_b)), ("b", range(first_b, signals))):
        for i, bit in enumerate(b for b in bits if b in used):
            names[bit] = f"{side}{i}"
            members = [n for j, n in enumerate(magnitudes) if network.codes[bit] >> j & 1]
            lines.append(f"{names[bit]}: {members}")
    tables = _tables(network, magnitudes)
    for i, slot in enumerate(s for s in order if signals + s in used):
        names[signals + slot] = f"n{i}"
        gate = NAMES[network.kinds[slot]]
        inputs = " ".join(names[int(s)] for s in network.inputs[slot, : arity(gate)])
        lines.append(f"n{i} = {gate} {inputs}")
    want, care = wanted(magnitudes)
    columns = [
        ("~" if ((tables[c] ^ want[w]) & care).any() else "") + names[int(c)] for w, c in enumerate(network.columns)
    ]
    return "\n".join([*lines, " ".join(["columns", *columns])])


def _tables(network: Network, magnitudes: Sequence[int]) -> np.ndarray:
    """Truth tables of all signals, uint64 [signals, 2]."""
    signals = len(network.codes)
    tables = np.zeros((signals + len(network.kinds), 2), np.uint64)
    _encode(network.codes, network.widths[0], len(magnitudes), tables)
    for slot, kind in enumerate(network.kinds):
        p = [tables[i] for i in network.inputs[slot]]
        tables[signals + slot] = GATES[NAMES[kind]](*p[: arity(NAMES[kind])])
    return tables
