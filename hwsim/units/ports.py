"""Types of the ports and the parameters of units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: Values of ports over time, by name: unsigned arrays [vectors, fields]. The fields of a port have equal widths,
#: field 0 in the lowest bits.
Ports = dict[str, np.ndarray]
#: Parameters of a unit, by name.
Parameters = Mapping[str, Any]


def comes_out(ports: Ports, latency: int) -> np.ndarray:
    """Whether the result of every vector leaves a pipeline with ``valid``; bool [vectors].

    Parameters
    ----------
    ports : dict
        ``valid`` and, where there are resets, ``rst``: uint8 [vectors, 1], one vector a cycle.
    latency : int
        Cycles from inputs to outputs. A reset clears the vector of its cycle and those still in flight.
    """
    valid = ports["valid"][:, 0].astype(bool)
    if "rst" not in ports:
        return valid
    cycles = np.arange(len(valid))
    resets = np.append(np.flatnonzero(ports["rst"][:, 0]), len(valid) + latency)
    following = resets[np.searchsorted(resets, cycles)]
    return valid & (following >= cycles + latency)
