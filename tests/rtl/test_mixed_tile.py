"""The tile of mixed formats: RTL against golden, golden against the single formats' tiles, parameters."""

import itertools

import numpy as np
import pytest

from hwsim import units
from hwsim.base import simulators
from hwsim.base.errors import InputError
from hwsim.golden.formats import E2M1
from hwsim.synthesis.emit import to_verilog
from hwsim.units import edge_cases
from hwsim.units.mixed import SYSTEMS, pairs_of_codes
from hwsim.verification import cosimulation

ONE = {"m": 1, "n": 1}
NARROW = {"formats": "e2m1+e4m3"}


@pytest.fixture
def simulated(tmp_path, runtime, monkeypatch):
    """Outcome of a design's testbench; ``broken`` are pairs of texts that the Verilog has, and has instead."""
    monkeypatch.setenv("HWSIM_VECTORS", "200")
    simulator = "icarus" if simulators.available("icarus") else "verilator"

    def simulate(settings, broken=(), **wrong):
        design = units.design("mx_mma", settings)
        text = to_verilog(design)
        for right, instead in broken:
            assert right in text
            text = text.replace(right, instead)
        source = tmp_path / "unit.v"
        source.write_text(text)
        judged = units.design("mx_mma", settings | wrong)
        return cosimulation.simulate(judged, source, tmp_path / "cosim", simulator, runtime=runtime).wrong

    return simulate


def test_modes_change_from_instruction_to_instruction(simulated):
    """Formats change at random, also within chains; bits above elements and scales that are not in use are random."""
    assert simulated(ONE | NARROW) is None


@pytest.mark.slow
def test_a_zero_block_that_leads_is_noticed(simulated):
    assert "d is" in simulated(ONE | NARROW, [("(second_above | ~block_nonzero[0])", "second_above")])


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {}, {"m": 2, "n": 3, **NARROW}, {"formats": "e2m3+e3m2"}, {"formats": "e5m2"}, {"formats": "e3m2+e2m1"},
        {"rounding": "rne"}, {"fraction_bits": 35, **NARROW}, {"fraction_bits": 9, "result_bits": 7},
        {"pipeline": "none", **NARROW}, {"buffers": 1, "n": 2, **NARROW},
    ],
    ids=str,
)  # fmt: skip
def test_other_builds(settings, simulated):
    assert simulated(ONE | settings) is None


def design():
    return units.design("mx_mma", ONE | {"fraction_bits": 21})


def test_every_mode_is_a_single_format():
    """D of a pair of one format is that of the format's own tile, bit for bit."""
    mixed = design()
    ports = edge_cases.instructions(mixed.unit.mma, mixed.parameters, 20_000, np.random.default_rng(3))
    formats = mixed.unit.mma.formats(mixed.parameters)
    expected = mixed.unit.mma.step(ports, mixed.parameters, ports["c"])
    chosen = [mixed.unit.mma.chosen(ports, mixed.parameters, side) for side in "ab"]
    for i, element in enumerate(formats):
        system = SYSTEMS[element.name]
        name = system.partition("_")[0] + "_mma"
        single = units.design(name, ONE | {"fraction_bits": 21} | ({"element": element.name} if "_" in system else {}))
        rows = np.flatnonzero((chosen[0] == i) & (chosen[1] == i))
        assert len(rows) > 100
        part = {key: values[rows] for key, values in ports.items()}
        for side in "ab":
            if element is E2M1:
                part[f"{side}_codes"] = pairs_of_codes(part[f"{side}_codes"])
            else:
                part[f"{side}_codes"] = part[f"{side}_codes"] & np.uint8((1 << element.width) - 1)
                part[f"{side}_scales"] = part[f"{side}_scales"][:, :1]
        assert np.array_equal(single.unit.mma.step(part, single.parameters, part["c"]), expected[rows])


def test_the_stream_holds_every_pair():
    mixed = design()
    ports = mixed.unit.testbench(mixed.parameters, 1)
    chosen = (mixed.unit.mma.chosen(ports, mixed.parameters, side) for side in "ab")
    counted = dict.fromkeys(itertools.product(range(5), repeat=2), 0)
    for pair in zip(*(c.tolist() for c in chosen), strict=True):
        counted[pair] += 1
    assert min(counted.values()) > 20 and counted[0, 0] > 800
    # Numbers that no format has are among them.
    assert ports["a_element"].max() == 7


def test_an_unused_number_is_the_last_format():
    mixed = design()
    ports = mixed.unit.testbench(mixed.parameters, 1)
    last = {name: np.minimum(ports[name], 4) for name in ("a_element", "b_element")}
    step, c = mixed.unit.mma.step, ports["c"]
    assert np.array_equal(step(ports, mixed.parameters, c), step(ports | last, mixed.parameters, c))


def test_what_is_left_out_has_no_ports():
    ports = {name: len(getattr(units.design("mx_mma", ONE | {"formats": f}).component(), name, ()))
             for f, name in (("e2m3+e3m2", "a_codes"), ("e2m1+e4m3", "a_scales"), ("e4m3", "a_element"))}  # fmt: skip
    assert ports == {"a_codes": 192, "a_scales": 16, "a_element": 0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formats": "e2m1"}, "formats must name more than e2m1 alone, got 'e2m1': mxfp4_mma is its tile"),
        ({"formats": "e4m3+fp16"}, "formats must be different ones among e2m1.*, got 'e4m3.fp16'"),
        ({"m": 0}, "m must be a positive integer, got 0"),
        ({"fraction_bits": 41}, "fraction_bits must be 1 to 40, got 41"),
        ({"pipeline": "block"}, "pipeline must be none or places among exponent.*, got 'block'"),
    ],
)
def test_parameters_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        units.design("mx_mma", settings).component()
