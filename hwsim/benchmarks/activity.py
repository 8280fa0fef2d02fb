"""Speed of the activity simulation beside Verilator's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hwsim.analysis import activity, netlist_reader
from hwsim.base import simulators
from hwsim.benchmarks.machine import processor
from hwsim.costs.flow import Workload
from hwsim.peers.netlist_simulators import verilator_seconds
from hwsim.synthesis.mapping import Mapped

#: Vectors of the default workload: enough to keep Verilator busy for seconds.
VECTORS = 1 << 20
_STREAMS, _CALLS = 1024, 5


def measure(mapped: Mapped, workload: Workload) -> dict[str, Any]:
    """Vector-cycles per second of the bit-parallel engine and of Verilator on the same mapped netlist.

    The engine counts toggles of all nets and uses all cores; Verilator neither traces nor counts and runs on one
    thread, which is its fastest setting for netlists of this size. Both have their stimulus packed in memory.
    """
    design, library = mapped.design, mapped.library
    netlist = netlist_reader.read(mapped.netlist_json, design.name, library)
    inputs = design.unit.stimulus(design.parameters, workload.vectors or VECTORS, workload.seed, workload.tensor)
    run = activity.Run(netlist, inputs, _STREAMS)
    run()  # loads the compiled code
    seconds = _best(run)
    vectors = run.cycles * _STREAMS
    verilator = min(verilator_seconds(mapped, netlist, inputs) for _ in range(3))
    ours, theirs = vectors / seconds, len(next(iter(inputs.values()))) / verilator
    return {
        "unit": design.slug,
        "technology": library.name,
        "cells": netlist.cells,
        "vectors": vectors,
        "engine_vector_cycles_per_s": ours,
        "verilator_vector_cycles_per_s": theirs,
        "ratio": ours / theirs,
        "verilator": simulators.version("verilator"),
        "machine": processor(),
    }


def _best(run: Callable[[], None]) -> float:
    """Seconds of the fastest of several calls."""
    times = []
    for _ in range(_CALLS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
