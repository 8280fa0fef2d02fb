"""The power of a netlist on a stimulus, with and without glitches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hwsim.analysis import power
from hwsim.analysis.activity import Activity
from hwsim.analysis.clock_tree import ClockTree
from hwsim.analysis.netlist import Netlist
from hwsim.analysis.power import Power
from hwsim.analysis.timed import Counts, Simulator
from hwsim.analysis.timing import Timing
from hwsim.units.ports import Ports

#: Relative standard error of the power at which no more of the stimulus is simulated with delays; and that of power
#: without work, which is small.
ERROR, IDLE_ERROR = 0.005, 0.02
#: Streams simulated at first, and the least cycles that are counted of each.
_STREAMS, _CYCLES = 16, 8
#: A design with more nets than this averages over many equal units of its own, so that fewer streams do at first; and
#: how many.
_LARGE, _FEW_STREAMS = 1 << 18, 4


@dataclass(frozen=True)
class Consumption:
    """Power on one stimulus.

    Attributes
    ----------
    timed, settled : Power
        With the toggles of a simulation with delays, glitches included; and with those between settled values alone.
    standard_error : float
        Of ``timed.total``, relative: glitches are counted on a random sample of the stimulus.
    sample : Counts
        Of that sample.
    timed_toggles, settled_toggles : float
        Toggles per cycle of all nets but the clock.
    latest_ns : float
        When in a cycle of the sample the last net changed.
    timed_rate : float64 [nets]
        Toggles per cycle of every net, glitches included.
    """

    timed: Power
    settled: Power
    standard_error: float
    sample: Counts
    timed_toggles: float
    settled_toggles: float
    latest_ns: float
    timed_rate: np.ndarray


def consumption(
    netlist: Netlist,
    timing: Timing,
    loads: np.ndarray,
    tree: ClockTree,
    settled: Activity,
    inputs: Ports,
    warm_up: int,
    seed: int,
    simulator: Simulator,
    check: Callable[[Ports, dict[str, np.ndarray], int], None],
    error_limit: float | None = None,
) -> Consumption:
    """Measure the power on a stimulus.

    The toggles between settled values are those of all of the stimulus, and the sample adds its glitches. The sample
    grows until the relative standard error is below a limit, or it is the whole stimulus.

    Parameters
    ----------
    netlist : Netlist
    timing : Timing
        Gives the period and every net's slew.
    loads : float64 [nets, 3]
        fF on every net, as :meth:`Netlist.loads` gives them.
    tree : ClockTree
    settled : Activity
        Of settled values on all of the stimulus.
    inputs : Ports
        The stimulus.
    warm_up : int
        Cycles that fill the pipeline.
    seed : int
        Seed of the sample.
    simulator : Simulator
        Of this netlist, with delays.
    check : callable (inputs, outputs, streams)
        Called with every part of the sample, which may refuse its settled outputs.
    error_limit : float, optional
        That limit; by default `ERROR`.
    """
    limit = ERROR if error_limit is None else error_limit
    rate, high = settled.toggle_rate(), settled.probability()
    data = np.ones(netlist.count, bool)
    data[list(netlist.clocks)] = False

    def spent(toggle_rate: np.ndarray) -> tuple[Power, np.ndarray]:
        """Power, and fJ per cycle of every net."""
        energies = power.energies(netlist, timing, loads, toggle_rate, high)
        whole = energies.power(timing.period_ns)
        # What charges gated clocks is part of the clock's tree.
        gated = 1e-3 * float(energies.switching[netlist.gated].sum()) / timing.period_ns
        whole = replace(whole, switching=whole.switching - gated, clock=tree.power_mw + gated)
        return whole, energies.internal + energies.switching

    length = warm_up + max(_CYCLES, 2 * warm_up)
    order = np.random.default_rng(seed).permutation(len(next(iter(inputs.values()))) // length)
    sample: Counts | None = None
    each: list[float] = []
    least = _STREAMS if netlist.count < _LARGE else _FEW_STREAMS
    latest = 0.0
    while True:
        part = order[len(each) : max(least, 2 * len(each))]
        vectors = (part[:, None] * length + np.arange(length)).reshape(-1)
        ports = {name: values[vectors] for name, values in inputs.items()}
        simulated = simulator(ports, len(part), warm_up)
        check(ports, simulated.outputs, len(part))
        sample = sample + simulated.counts if sample else simulated.counts
        latest = max(latest, simulated.latest_ns)
        with_glitches = rate + np.where(data, (sample.toggles - sample.settled) / sample.cycles, 0.0)
        whole, by_net = spent(with_glitches)
        # With the energy of a toggle known, that of a stream's glitches is a sum: how streams differ is the error.
        per_toggle = np.where(with_glitches > 0, by_net / np.where(with_glitches > 0, with_glitches, 1.0), 0.0)
        each += (simulated.glitches @ np.where(data, per_toggle, 0.0) / simulated.cycles).tolist()
        error = np.std(each, ddof=1) / len(each) ** 0.5 * 1e-3 / timing.period_ns / whole.total
        if error < limit or len(each) == len(order):
            break
    without, _ = spent(rate)
    toggles = float(with_glitches[data].sum()), float(rate[data].sum())
    return Consumption(whole, without, float(error), sample, *toggles, latest, with_glitches)
