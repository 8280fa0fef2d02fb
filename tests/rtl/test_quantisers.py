"""Quantisation engines: simulated RTL against the golden model, parameters, latency."""

import pytest

from hwsim import units
from hwsim.base import simulators
from hwsim.base.errors import InputError
from hwsim.synthesis.emit import to_verilog
from hwsim.verification import cosimulation


@pytest.fixture
def simulated(tmp_path, runtime, monkeypatch):
    """Outcome of a design's testbench; ``wrong`` are parameters that golden is given instead of the RTL's."""
    monkeypatch.setenv("HWSIM_VECTORS", "600")
    simulator = "icarus" if simulators.available("icarus") else "verilator"

    def simulate(name, settings, **wrong):
        design = units.design(name, settings)
        source = tmp_path / "unit.v"
        source.write_text(to_verilog(design))
        judged = units.design(name, settings | wrong)
        return cosimulation.simulate(judged, source, tmp_path / "cosim", simulator, runtime=runtime).wrong

    return simulate


def slow(*values):
    """A case of the slow suite."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "settings", "wrong"),
    [
        ("mxfp4_quantize", {}, {"scale_rule": "even"}),
        slow("mxfp4_quantize", {"block_size": 16, "scale_rule": "oas"}, {"scale_rule": "even"}),
        ("mxfp4_quantize", {"block_size": 16, "scale_rule": "rceil", "input": "fp32"}, {"subnormals": 1}),
        slow("mxfp4_quantize", {"block_size": 16, "scale_rule": "ceil", "subnormals": 1}, {"subnormals": 0}),
        ("m2xfp_quantize", {}, {"pipeline": "none"}),
        slow("m2xfp_quantize", {"pipeline": "maximum+top", "input": "fp32"}, {"pipeline": "maximum"}),
        ("mx_quantize", {}, {"scale_rule": "even"}),
        slow("mx_quantize", {"formats": "e4m3+e2m1", "block_size": 16, "scale_rule": "floor"},
             {"formats": "e2m1+e4m3"}),
        ("mbs_quantize", {}, {"pipeline": "maximum+scale"}),
        ("nvfp4_quantize", {}, {"pipeline": "none"}),
        slow("nvfp4_quantize", {"tensor_scale": "pow2"}, {"pipeline": "maximum"}),
        ("four_over_six_quantize", {"arithmetic": "operators"}, {"pipeline": "none"}),
        slow("mixfp4_quantize", {"polarity": 1}, {"polarity": 0}),
        slow("mixfp4_quantize", {"tensor_scale": "pow2", "pipeline": "none"}, {"polarity": 1}),
        ("fp32_to_bf16", {"lanes": 4}, None),
        ("tensor_max", {}, None),
    ],
)  # fmt: skip
def test_stream_with_bubbles_resets_and_special_values(name, settings, wrong, simulated):
    assert simulated(name, settings) is None
    if wrong:
        assert " is " in simulated(name, settings, **wrong)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mxfp4_quantize", {"block_size": 8}, "block_size must be 16 or 32, got 8"),
        ("mxfp4_quantize", {"scale_rule": "up"}, "scale_rule must be one of floor, ceil, even, rceil, oas, got 'up'"),
        ("mxfp4_quantize", {"subnormals": 2}, "subnormals must be 0 or 1, got 2"),
        ("mxfp4_quantize", {"input": "fp16"}, "input must be bf16 or fp32, got 'fp16'"),
        ("m2xfp_quantize", {"pipeline": "block"}, "pipeline must be none or places among maximum.top, got 'block'"),
        ("mx_quantize", {"formats": "e4m3+e4m3"}, "formats must be different ones among e2m1.*, got 'e4m3.e4m3'"),
        ("mx_quantize", {"scale_rule": "oas"}, "scale_rule must be one of floor, ceil, even, rceil, got 'oas'"),
        ("nvfp4_quantize", {"tensor_scale": "fp32"}, "tensor_scale must be table or pow2, got 'fp32'"),
        ("mixfp4_quantize", {"polarity": 2}, "polarity must be 0 or 1, got 2"),
        ("mixfp4_quantize", {"amax": "fp16"}, "amax must be bf16 or fp32, got 'fp16'"),
        ("fp32_to_bf16", {"lanes": 0}, "lanes must be 1 to 1024, got 0"),
    ],
)
def test_parameters_are_refused_by_name(name, settings, message):
    with pytest.raises(InputError, match=message):
        units.design(name, settings).component()


def test_latency_follows_the_pipeline():
    for pipeline, latency in (("none", 2), ("maximum", 3), ("maximum+top", 4)):
        assert units.design("m2xfp_quantize", {"pipeline": pipeline}).component().latency == latency
