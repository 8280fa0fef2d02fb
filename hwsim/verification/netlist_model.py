"""A mapped MMA unit or engine as a Python function, and its comparison with golden in bulk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwsim.analysis import activity, netlist_reader
from hwsim.base.bits import to_bits
from hwsim.synthesis.mapping import Options, map_design
from hwsim.technology.library import Library
from hwsim.units import edge_cases
from hwsim.units.coverage import bins
from hwsim.units.ports import Parameters, Ports
from hwsim.units.unit import Design, Engine

#: Streams that are simulated side by side; vectors that are compared at a time.
_STREAMS, _CHUNK = 2048, 1 << 17


class NetlistModel:
    """A mapped unit with ``valid`` as a function of independent instructions or blocks.

    Parameters
    ----------
    design : Design
        An MMA unit or a quantisation engine.
    library : Library
    build : Path
    clock_period_ns : float, optional
        Default: the library's.
    """

    def __init__(self, design: Design, library: Library, build: Path, clock_period_ns: float | None = None):
        self.design = design
        self.latency = design.component().latency
        options = Options(clock_period_ns or library.clock_period_ns, hierarchical=True)
        mapped = map_design(design, library, options, build)
        self.netlist = netlist_reader.read(mapped.netlist_json, design.name, library)

    def __call__(self, ports: Ports) -> np.ndarray:
        """``d`` of an MMA unit, uint32 [vectors, m n], for the operands' ports and ``c``."""
        bits = self.outputs(ports)["d"]
        words = np.packbits(bits, axis=1, bitorder="little")
        return words.view(np.uint32)

    def outputs(self, ports: Ports) -> dict[str, np.ndarray]:
        """Bits of every output but ``out_valid``, uint8 [vectors, width]."""
        count = len(next(iter(ports.values())))
        streams = min(_STREAMS, max(64, count // 64 // 64 * 64))
        cycles = -(-count // streams)
        # Every stream runs ``latency`` cycles longer than it has vectors, until its last result has come out.
        position = np.arange(streams)[:, None] * cycles + np.arange(cycles + self.latency)
        padded = np.minimum(position, count - 1).reshape(-1)
        ones = np.ones((len(padded), 1), np.uint8)
        zeros = {name: 0 * ones for name in ("accumulate", "accumulator") if name in self.netlist.inputs}
        inputs = {"valid": ones} | zeros | {k: v[padded] for k, v in ports.items()}
        outputs = activity.simulate(self.netlist, inputs, streams).outputs
        if not outputs["out_valid"].reshape(streams, -1)[:, self.latency :].all():
            raise RuntimeError(f"{self.design.name}: a result does not come out")
        results = {}
        for name, bits in outputs.items():
            if name != "out_valid":
                width = bits.shape[1]
                late = bits.reshape(streams, cycles + self.latency, width)[:, self.latency :]
                results[name] = np.ascontiguousarray(late).reshape(-1, width)[:count]
        return results


@dataclass
class Comparison:
    """Outcome of a bulk comparison.

    Attributes
    ----------
    vectors, mismatches : int
    first : str
        The first mismatch in words.
    bins : Counter
        How often each bin of :func:`hwsim.units.coverage.bins` was hit.
    """

    vectors: int = 0
    mismatches: int = 0
    first: str = ""
    bins: Counter[str] = field(default_factory=Counter)


def compare(
    model: Callable[[Ports], np.ndarray], design: Design, vectors: int, seed: int, parameters: Parameters | None = None
) -> Comparison:
    """Compare a model of an MMA unit with golden on edge cases mixed with random operands, raw bits.

    Parameters
    ----------
    model : callable (ports) -> uint32 [vectors, m n]
    design : Design
        An MMA unit; its parameters shape the operands.
    vectors, seed : int
    parameters : mapping, optional
        Parameters for golden other than the design's own: a negative control, a comparison that must fail.
    """
    mma = design.unit.mma
    assert mma is not None, f"{design.name} is an MMA unit"
    rng = np.random.default_rng(seed)
    outcome = Comparison()
    while outcome.vectors < vectors:
        count = min(_CHUNK, vectors - outcome.vectors)
        ports = edge_cases.instructions(mma, design.parameters, count, rng)
        expected = mma.step(ports, parameters or design.parameters, ports["c"])
        actual = model(ports)
        wrong = np.flatnonzero((actual != expected).any(axis=1))
        if len(wrong) and not outcome.mismatches:
            i = int(wrong[0])
            operands = ", ".join(f"{k}={v[i].tolist()}" for k, v in ports.items())
            outcome.first = f"d is {[hex(x) for x in actual[i]]}, golden {[hex(x) for x in expected[i]]}; {operands}"
        outcome.vectors += count
        outcome.mismatches += len(wrong)
        outcome.bins.update(bins(ports["c"], expected, mma.step(ports, design.parameters, np.zeros_like(expected))))
    return outcome


def blocks(design: Design, vectors: int, seed: int) -> Iterator[Ports]:
    """At least ``vectors`` blocks of every class for a quantisation engine, in parts that share steady ports."""
    engine = _engine(design)
    rng = np.random.default_rng(seed)
    while vectors > 0:
        for ports in engine.blocks(design.parameters, min(_CHUNK, vectors), rng):
            yield ports
            vectors -= len(ports["x"])


def every_value(design: Design, seed: int) -> Iterator[Ports]:
    """Blocks in which every BF16 value stands under every scale that it can have; errors as
    :meth:`hwsim.units.unit.Engine.exhaustive`."""
    return _engine(design).exhaustive(design.parameters, np.random.default_rng(seed))


def _engine(design: Design) -> Engine:
    assert design.unit.engine is not None, f"{design.name} is a quantisation engine"
    return design.unit.engine


def compare_engine(
    model: Callable[[Ports], dict[str, np.ndarray]],
    design: Design,
    parts: Iterable[Ports],
    parameters: Parameters | None = None,
) -> Comparison:
    """Compare a model of a quantisation engine with golden, raw bits of all outputs.

    Parameters
    ----------
    model : callable (ports) -> dict of uint8 [vectors, width]
        Bits of outputs.
    design : Design
        A quantisation engine.
    parts : iterable of dict
        :func:`blocks` or :func:`every_value`.
    parameters : mapping, optional
        Parameters for golden other than the design's own: a negative control, a comparison that must fail.
    """
    engine, outcome = _engine(design), Comparison()
    for ports in parts:
        count = len(ports["x"])
        valid = np.ones((count, 1), np.uint8)
        expected = design.unit.golden({"valid": valid, **ports}, parameters or design.parameters)
        actual = model(ports)
        wrong = np.zeros(count, bool)
        for name, bits in actual.items():
            wrong |= (bits != to_bits(expected[name], bits.shape[1])).any(axis=1)
        if wrong.any() and not outcome.mismatches:
            i = int(np.flatnonzero(wrong)[0])
            operands = ", ".join(f"{k}={v[i].tolist()}" for k, v in ports.items())
            given = ", ".join(f"{k}={expected[k][i].tolist()}" for k in actual)
            outcome.first = f"golden is {given}; {operands}"
        outcome.vectors += count
        outcome.mismatches += int(wrong.sum())
        outcome.bins.update(engine.bins(ports, expected, design.parameters))
    return outcome
