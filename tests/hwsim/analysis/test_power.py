"""Power by hand."""

import numpy as np
import pytest
from small_netlists import INV, inverter_power

from hwsim.analysis.netlist import NetlistError


def test_power_of_an_inverter_by_hand(sky):
    rate, period = 0.25, 5.0
    found = inverter_power(sky, rate)
    (arc,) = (a for a in sky.cells[INV].energy if a.related_pin == "A")
    load, slew = sky.output_load_fF, sky.input_slew_ns
    per_toggle = sum(float(arc.energy[edge].lookup(slew, load)) for edge in ("rise", "fall")) / 2
    assert found.internal == pytest.approx(rate * per_toggle / period * 1e-3)
    assert found.switching == pytest.approx(0.5 * load * sky.voltage**2 * rate / period * 1e-3)
    assert found.leakage == pytest.approx(sky.cells[INV].leakage * 1e-6)
    assert found.total == found.internal + found.switching + found.leakage


def test_power_without_toggles_is_leakage(sky):
    found = inverter_power(sky, 0.0)
    assert found.internal == found.switching == 0.0 < found.leakage


def test_a_net_without_activity_is_an_error(sky):
    with pytest.raises(NetlistError, match="2 nets have no activity"):
        inverter_power(sky, np.nan)
