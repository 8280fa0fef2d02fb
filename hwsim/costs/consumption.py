"""The power of a netlist on a stimulus, with and without glitches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hwsim.analysis import power, timed
from hwsim.analysis.activity import Activity
from hwsim.analysis.clock_tree import ClockTree
from hwsim.analysis.netlist import Netlist
from hwsim.analysis.power import Power
from hwsim.analysis.timed import Counts, Delays
from hwsim.analysis.timing import Timing
from hwsim.units.ports import Ports

#: Relative standard error of the power at which no more of the stimulus is simulated with delays.
ERROR = 0.005
#: Streams simulated at first, and the least cycles that are counted of each.
_STREAMS, _CYCLES = 16, 8


@dataclass(frozen=True)
class Consumption:
    """Power on one stimulus.

    Attributes
    ----------
    timed, settled : Power
        With the toggles of a simulation with delays, glitches included; and with those between settled values alone.
    standard_error : float
        Of ``timed.total``, relative: only a random sample of the stimulus is simulated with delays.
    sample : Counts
        Of that sample.
    timed_toggles, settled_toggles : float
        Toggles per cycle of all nets but the clock.
    timed_fJ : float64 fJ [nets]
        Energy that the toggles of every net cost per cycle, glitches included, without the clock tree's.
    """

    timed: Power
    settled: Power
    standard_error: float
    sample: Counts
    timed_toggles: float
    settled_toggles: float
    timed_fJ: np.ndarray


def consumption(
    netlist: Netlist,
    timing: Timing,
    loads: np.ndarray,
    tree: ClockTree,
    settled: Activity,
    inputs: Ports,
    warm_up: int,
    seed: int,
    delays: Delays,
    check: Callable[[Ports, dict[str, np.ndarray], int], None],
) -> Consumption:
    """Measure the power on a stimulus.

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
    delays : Delays
        How cells delay.
    check : callable (inputs, outputs, streams)
        Called with every part of the sample, which may refuse its settled outputs.
    """
    high, data = settled.probability(), np.ones(netlist.count, bool)
    data[list(netlist.clocks)] = False

    length = warm_up + max(_CYCLES, 2 * warm_up)
    order = np.random.default_rng(seed).permutation(len(next(iter(inputs.values()))) // length)
    sample: Counts | None = None
    each: list[float] = []
    while True:
        part = order[len(each) : max(_STREAMS, 2 * len(each))]
        vectors = (part[:, None] * length + np.arange(length)).reshape(-1)
        ports = {name: values[vectors] for name, values in inputs.items()}
        simulated = timed.simulate(netlist, timing.slew_ns, loads, ports, len(part), warm_up, delays)
        check(ports, simulated.outputs, len(part))
        sample = sample + simulated.counts if sample else simulated.counts
        rate = sample.toggles / sample.cycles
        rate[~data] = 2.0
        # With the energy of a toggle known, that of every stream is a sum: the spread between streams is the error.
        spent = power.energies(netlist, timing, loads, rate, high)
        by_net = spent.internal + spent.switching
        per_toggle = np.where(data & (rate > 0), by_net / np.where(rate > 0, rate, 1.0), 0.0)
        each += (simulated.toggles @ per_toggle / simulated.cycles).tolist()
        whole = replace(spent.power(timing.period_ns), clock=tree.power_mw)
        error = np.std(each, ddof=1) / len(each) ** 0.5 * 1e-3 / timing.period_ns / whole.total
        if error < ERROR or len(each) == len(order):
            break
    calm = settled.toggle_rate()
    without = replace(power.analyse(netlist, timing, loads, calm, high), clock=tree.power_mw)
    toggles = float(rate[data].sum()), float(calm[data].sum())
    return Consumption(whole, without, float(error), sample, *toggles, by_net)
