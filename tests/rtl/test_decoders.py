"""Block decoders: parameters, ports, operands, and netlists against golden."""

import numpy as np
import pytest
from conftest import DECODERS

from hwsim import units
from hwsim.analysis import netlist_reader
from hwsim.costs import flow
from hwsim.rtl.mixfp4 import MixFP4Decode
from hwsim.rtl.nvfp4 import NVFP4Decode
from hwsim.synthesis import emit


@pytest.mark.parametrize("lanes", [0, -1, 1.5, "16"])
def test_lanes_must_be_a_positive_integer(lanes):
    with pytest.raises(ValueError, match=f"lanes must be a positive integer, got {lanes!r}"):
        NVFP4Decode(lanes=lanes)


def test_polarity_and_registered_are_bits():
    with pytest.raises(ValueError, match="polarity must be 0 or 1, got 2"):
        MixFP4Decode(polarity=2)
    with pytest.raises(ValueError, match="registered must be 0 or 1, got 'yes'"):
        MixFP4Decode(registered="yes")


@pytest.mark.parametrize("unit", DECODERS)
def test_ports_are_those_of_the_documentation(unit):
    kinds = emit.ports(units.design(unit).component())
    assert list(kinds) == ["clk", "rst", "codes", "scale_code", "operands", "scale", "scale_nan"]
    assert "clk" not in emit.ports(units.design(unit, {"registered": 0}).component())


def test_mixfp4_operands_are_the_table_of_the_paper(mapped, library):
    # The table of arXiv 2605.31035: E2M1 (exponent, fraction) with a zero appended, E1M2 code n
    # as the integer n; the codes below are exponent and fraction of E2M2.
    e2m1 = [0b0000, 0b0010, 0b0100, 0b0110, 0b1000, 0b1010, 0b1100, 0b1110]
    e1m2 = [0b0000, 0b0100, 0b1000, 0b1010, 0b1100, 0b1101, 0b1110, 0b1111]
    from hwsim.units.decoders import mixfp4_golden

    codes = np.arange(16, dtype=np.uint8)[None]
    for sign_bit, table in ((0, e2m1), (1, e1m2)):
        got = mixfp4_golden(
            {"codes": codes, "scale_code": np.array([[0x38 | sign_bit << 7]], np.uint8)}, {"polarity": 0}
        )["operands"][0]
        assert got.tolist() == table + [0] + [0b10000 | t for t in table[1:]]


@pytest.mark.parametrize("unit", DECODERS)
def test_netlist_equals_golden_on_a_million_vectors(unit, mapped, library):
    m = mapped(unit)
    netlist = netlist_reader.read(m.netlist_json, unit, m.library)
    rng = np.random.default_rng(5)
    lanes = m.design.parameters["lanes"]
    inputs = {
        "codes": rng.integers(0, 16, (1 << 20, lanes), dtype=np.uint8),
        "scale_code": rng.integers(0, 256, (1 << 20, 1), dtype=np.uint8),
    }
    assert flow.simulate(m.design, netlist, inputs).cycles > 1_000_000
