"""Measuring a design: its netlist must equal golden."""

import pytest

from hwsim.analysis import netlist_reader
from hwsim.analysis.netlist import NetlistError
from hwsim.costs import flow


def test_netlist_that_differs_from_golden_is_an_error(mapped, library):
    m = mapped("nvfp4_decode")
    netlist = netlist_reader.read(m.netlist_json, "nvfp4_decode", m.library)
    netlist.outputs["operands"][5], netlist.outputs["operands"][6] = netlist.outputs["operands"][6:4:-1]
    inputs = m.design.unit.stimulus(m.design.parameters, 4096, 3, None)
    with pytest.raises(NetlistError, match=r"netlist differs from golden at operands\[5\]"):
        flow.simulate(m.design, netlist, inputs)


def test_an_input_without_stimulus_is_an_error(mapped):
    m = mapped("nvfp4_decode")
    netlist = netlist_reader.read(m.netlist_json, "nvfp4_decode", m.library)
    inputs = m.design.unit.stimulus(m.design.parameters, 4096, 3, None)
    del inputs["scale_code"]
    with pytest.raises(NetlistError, match="no stimulus for scale_code"):
        flow.simulate(m.design, netlist, inputs)
