"""The golden side of an MMA unit: which instruction of :mod:`hwsim.golden.mma` its ports and parameters ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.golden.accumulate import Accumulator
from hwsim.golden.formats import E2M1, E8M0, MiniFloat, Rounding
from hwsim.golden.m2xfp import SUBGROUP
from hwsim.golden.mma import instruction
from hwsim.golden.terms import BLOCK_TERMS, ELEMENT_TERMS, BlockTerm
from hwsim.units.ports import Parameters, Ports, comes_out

#: Bits of metadata that a subgroup of M2XFP has.
METADATA_BITS = 2
_ROUNDINGS = {"rz": Rounding.TOWARD_ZERO, "rne": Rounding.NEAREST_EVEN}


@dataclass(frozen=True)
class MMAUnit:
    """What the tools know of an MMA unit beyond :class:`hwsim.units.unit.Unit`.

    Parameters
    ----------
    name : str
        Format, without its element where the unit has a parameter ``element``.
    builder : callable
        The component, for its latency and chain interval.
    block_size : int
        Elements that share a scale, for units without a parameter of that name; 0 for units without scales.
    """

    name: str
    builder: Callable[..., Any]
    block_size: int = 0

    def format(self, parameters: Parameters) -> str:
        """Name of the unit's format in :data:`hwsim.golden.mma.FORMATS`."""
        element = parameters.get("element")
        if element is None:
            return self.name
        # Without scales, the element alone is the format.
        return f"{self.name}_{element}" if self.block_size else element

    def term(self, parameters: Parameters) -> BlockTerm | None:
        """Golden's descriptor of a format whose terms are blocks; None where terms are products of elements."""
        return BLOCK_TERMS.get(self.format(parameters))

    def element(self, parameters: Parameters) -> MiniFloat:
        """Format of the stored elements."""
        return ELEMENT_TERMS.get(self.format(parameters), E2M1)

    def scale(self, parameters: Parameters) -> MiniFloat | None:
        """Format of the block scales; None without scales."""
        term = self.term(parameters)
        return term.scale if term else E8M0 if self.block_size else None

    def shape(self, parameters: Parameters) -> tuple[int, int, int, int]:
        """m, n, K and block size, which is 0 without scales."""
        return parameters["m"], parameters["n"], parameters["k"], parameters.get("block_size", self.block_size)

    def in_blocks(self, parameters: Parameters) -> int:
        """Elements of a row in instructions whose terms are blocks."""
        return self.shape(parameters)[2]

    def blocks(self, parameters: Parameters) -> int:
        """Scales of a row: K may be a part of one block."""
        _, _, k, block = self.shape(parameters)
        return -(-k // block) if block else 0

    def metadata_width(self, parameters: Parameters) -> int:
        """Bits of a block's metadata: two for each subgroup that K has of it."""
        _, _, k, block = self.shape(parameters)
        return METADATA_BITS * (min(k, block) // SUBGROUP)

    def accumulator(self, parameters: Parameters) -> Accumulator:
        """The accumulation step of the unit: all of its K at once."""
        terms = self.blocks(parameters) if self.term(parameters) else self.shape(parameters)[2]
        return Accumulator(terms, parameters["fraction_bits"], parameters["result_bits"], rounding(parameters))

    def operands(self, parameters: Parameters) -> int:
        """Multiply-adds per cycle."""
        m, n, k, _ = self.shape(parameters)
        return m * n * k

    def step(self, ports: Ports, parameters: Parameters, c: np.ndarray) -> np.ndarray:
        """D of independent instructions, each of which is one accumulation step.

        Parameters
        ----------
        ports : dict of arrays [vectors, fields]
            Codes, scales and metadata of A and B.
        parameters : mapping
        c : uint32 [vectors, m n]
            FP32 bits.

        Returns
        -------
        uint32 [vectors, m n]
        """
        m, n, k, block = self.shape(parameters)
        count = len(c)
        dtype = np.uint16 if self.element(parameters).width > 8 else np.uint8

        def operand(side: str, rows: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
            codes = ports[f"{side}_codes"].astype(dtype).reshape(count, rows, k)
            if not self.block_size:
                return codes, None, None
            # The elements of a block beyond K are zero.
            codes = np.pad(codes, ((0, 0), (0, 0), (0, max(block - k, 0))))
            scales = ports[f"{side}_scales"].astype(np.uint8).reshape(count, rows, self.blocks(parameters))
            metadata = ports.get(f"{side}_metadata")
            if metadata is not None:
                metadata = metadata.astype(np.uint8).reshape(scales.shape)
            return codes, scales, metadata

        a, a_scales, a_metadata = operand("a", m)
        b, b_scales, b_metadata = operand("b", n)
        options = {"polarity": parameters["polarity"]} if "polarity" in parameters else {}
        d = instruction(
            a, a_scales, b, b_scales, np.ascontiguousarray(c.reshape(count, m, n), np.uint32),
            self.format(parameters), self.accumulator(parameters),
            a_metadata=a_metadata, b_metadata=b_metadata, **options,
        )  # fmt: skip
        return d.reshape(count, m * n)

    def golden(self, ports: Ports, parameters: Parameters) -> Ports:
        """``out_valid`` and ``d`` of a stream of instructions.

        An instruction with ``accumulate`` takes as C the result that is in ``d`` when it reaches the alignment, or with
        ``buffers`` in the accumulator that it names (:func:`source_of_chain`). Where ``rst`` is among the ports,
        instructions that a reset clears do not come out.
        Row i of the outputs belongs to the instruction of cycle i: there is no latency.
        """
        component = self.builder(**parameters)
        valid = comes_out(ports, component.latency)
        c = ports["c"].astype(np.uint32)
        d = np.zeros_like(c)
        source = source_of_chain(valid, component.chain_interval, ports.get("accumulator"))
        chained = ports["accumulate"][:, 0].astype(bool) & valid
        waiting = np.flatnonzero(valid)
        done = np.zeros(len(valid), bool)
        # Each pass computes all instructions whose C is known, until none waits for another's result.
        while len(waiting):
            ready = waiting[~chained[waiting] | done[source[waiting]]]
            start = np.where(chained[ready, None], d[source[ready]], c[ready])
            d[ready] = self.step({k: v[ready] for k, v in ports.items()}, parameters, start)
            done[ready] = True
            waiting = waiting[~done[waiting]]
        return {"out_valid": valid.astype(np.uint8)[:, None], "d": d}


def rounding(parameters: Parameters) -> Rounding:
    """Rounding of a unit's results."""
    return _ROUNDINGS[parameters["rounding"]]


def source_of_chain(valid: np.ndarray, interval: int, accumulator: np.ndarray | None = None) -> np.ndarray:
    """The instruction whose result an accumulating one takes as C.

    Parameters
    ----------
    valid : bool [vectors]
        Whether there is an instruction whose result comes out.
    interval : int
        The unit's chain interval in cycles.
    accumulator : int [vectors, 1], optional
        The accumulator that each instruction names; without, there is one for all.

    Returns
    -------
    int [vectors]
        For every cycle the last valid cycle at least ``interval`` before it, of the same accumulator, or -1.
    """
    cycles = np.arange(len(valid))
    number = np.zeros(len(valid), int) if accumulator is None else accumulator[:, 0]
    source = np.full(len(valid), -1)
    for n in np.unique(number):
        last = np.maximum.accumulate(np.where(valid & (number == n), cycles, -1))
        delayed = np.concatenate([np.full(interval, -1), last])[: len(valid)]
        source = np.where(number == n, delayed, source)
    return source
