"""MMA units: simulated RTL against the golden model, parameters, latency."""

import pytest

from hwsim import units
from hwsim.base import simulators
from hwsim.base.errors import InputError
from hwsim.synthesis.emit import to_rtlil, to_verilog
from hwsim.units.table import UNITS
from hwsim.verification import cosimulation

ONE = {"m": 1, "n": 1}


@pytest.fixture
def simulated(tmp_path, runtime):
    """Outcome of a design's testbench; ``wrong`` are parameters that golden is given instead of the RTL's."""
    source = tmp_path / "unit.v"

    def simulate(design, simulator, **wrong):
        # A file that is not touched is not compiled again.
        if not source.exists():
            source.write_text(to_verilog(design))
        judged = units.design(design.name, design.parameters | wrong)
        return cosimulation.simulate(judged, source, tmp_path / f"cosim-{simulator}", simulator, runtime=runtime)

    return simulate


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, unit in UNITS.items() if unit.mma])
def test_stream_with_bubbles_chains_and_resets(name, simulator, simulated):
    assert simulated(units.design(name, {"m": 2, "n": 2}), simulator).wrong is None


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, unit in UNITS.items() if unit.mma])
def test_stream_notices_one_fraction_bit(name, simulator, simulated):
    design = units.design(name, ONE)
    wrong = {"fraction_bits": design.parameters["fraction_bits"] - 1}
    assert "d is" in simulated(design, simulator, **wrong).wrong


@pytest.mark.parametrize(
    ("name", "k"),
    [
        ("nvfp4_mma", 8),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [("mxfp4_mma", 16), ("m2xfp_mma", 8)]),
    ],
)
def test_k_may_be_a_part_of_a_block(name, k, simulated, monkeypatch):
    simulator = "icarus" if simulators.available("icarus") else "verilator"
    monkeypatch.setenv("HWSIM_VECTORS", "400")
    design = units.design(name, ONE | {"k": k})
    assert simulated(design, simulator).wrong is None
    assert "d is" in simulated(design, simulator, result_bits=22).wrong
    # A block's scales and as many bits of metadata as it has subgroups.
    ports = {port: len(getattr(design.component(), port)) for port in design.component().signature.members}
    assert ports["a_scales"] == ports["b_scales"] == 8
    assert ports.get("a_metadata", 2) == ports.get("b_metadata", 2) == 2


def test_short_stream_and_its_twins(simulated, tmp_path, runtime, monkeypatch):
    # Icarus compiles in no time.
    simulator = "icarus" if simulators.available("icarus") else "verilator"
    monkeypatch.setenv("HWSIM_VECTORS", "400")
    design = units.design("fp16_mma", ONE | {"element": "bf16", "k": 2})
    assert simulated(design, simulator).wrong is None
    assert "d is" in simulated(design, simulator, fraction_bits=24).wrong
    # A result that comes a cycle too late, and one that a reset should have cleared.
    assert "out_valid is" in simulated(design, simulator, pipeline="exponent+term+align").wrong
    source = tmp_path / "unit.v"
    text = source.read_text()
    assert text.count("if (rst)") == 1
    source.write_text(text.replace("if (rst)", "if (1'b0)"))
    assert (
        "out_valid is" in cosimulation.simulate(design, source, tmp_path / "mutated", simulator, runtime=runtime).wrong
    )


@pytest.mark.parametrize(
    "right, wrong",
    [
        (None, None),
        # The entry that is being written, not the one in use; C instead of the accumulator; one accumulator for two.
        ("held = entry ?", "held = !entry ?"),
        ("addend = accumulate ?", "addend = 1'b0 ?"),
        ("(entry[1] ?", "(1'b0 ?"),
    ],
)
def test_buffers_and_accumulators(right, wrong, simulated, tmp_path, monkeypatch):
    simulator = "icarus" if simulators.available("icarus") else "verilator"
    monkeypatch.setenv("HWSIM_VECTORS", "400")
    design = units.design("fp16_mma", {"element": "bf16", "k": 2, "m": 1, "n": 2, "buffers": 1})
    if right:
        text = to_verilog(design)
        assert right in text
        (tmp_path / "unit.v").write_text(text.replace(right, wrong))
    assert (simulated(design, simulator).wrong is None) == (right is None)


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("nvfp4_mma", {"k": 24}, "k must be a positive multiple of 16, or 8 of its elements, got 24"),
        ("nvfp4_mma", {"block_size": 8}, "block_size must be 16 or 32, got 8"),
        ("nvfp4_mma", {"m": 0}, "m must be a positive integer, got 0"),
        ("nvfp4_mma", {"fraction_bits": 41}, "fraction_bits must be 1 to 40, got 41"),
        ("nvfp4_mma", {"result_bits": 24}, "result_bits must be 1 to 23, got 24"),
        ("nvfp4_mma", {"rounding": "up"}, "rounding must be one of rz, rne, got 'up'"),
        ("nvfp4_mma", {"pipeline": "sum+sum"}, "pipeline must name a place once, got 'sum\\+sum'"),
        ("nvfp4_mma", {"pipeline": "block+alu"}, "pipeline must be none or places among block.*, got 'alu'"),
        ("mixfp4_mma", {"polarity": 2}, "polarity must be 0 or 1, got 2"),
        ("mxfp8_mma", {"k": 16}, "k must be 32, the elements that share a scale, got 16"),
        ("mxfp8_mma", {"element": "e2m1"}, "element must be one of e4m3, e5m2, got 'e2m1'"),
        ("nvfp4_mma", {"rounding": "rne", "result_bits": 13}, "rounding rne needs result_bits 23"),
        ("nvfp4_mma", {"buffers": 2}, "buffers must be 0 or 1, got 2"),
    ],
)
def test_parameters_are_refused_by_name(name, settings, message):
    with pytest.raises(InputError, match=message):
        units.design(name, settings).component()


@pytest.mark.parametrize("name", [name for name, unit in UNITS.items() if unit.mma])
def test_tile_holds_one_dot_unit(name):
    base = f"{name}_m2_n3"
    text = to_rtlil(units.design(name, {"m": 2, "n": 3}).in_arithmetic("operators"))
    assert text.count(f"module \\{base}_dot\n") == 1
    assert text.count(f"cell \\{base}_dot ") == 6
    assert text.count(f"cell \\{base}_decode_a ") == 2 and text.count(f"cell \\{base}_decode_b ") == 3


def test_latency_and_chain_interval_follow_the_pipeline():
    for pipeline, latency, interval in (("", 2, 1), ("block", 3, 1), ("block+term+align+sum", 6, 4)):
        component = units.design("nvfp4_mma", {"pipeline": pipeline}).component()
        assert (component.latency, component.chain_interval) == (latency, interval)
        component = units.design("nvfp4_mma", {"pipeline": pipeline, "buffers": 1}).component()
        assert (component.latency, component.chain_interval) == (latency + 2, latency + 1)
