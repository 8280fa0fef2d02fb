"""MMA units: mapped netlists and simulated RTL against the golden model, raw bits."""

import os
from pathlib import Path

import numpy as np
import pytest

from hwsim import activity, cosim, elaborate, report_silicon, simulators, tech
from hwsim.bulk import NetlistModel, check
from hwsim.errors import InputError
from hwsim.mma_units import in_place
from hwsim.units import UNITS, Design
from hwsim.verilog import to_rtlil, to_verilog

ONE = {"m": 1, "n": 1}
SMALL = [
    ("nvfp4_mma", {"k": 16}),
    ("mixfp4_mma", {"k": 16, "polarity": 1}),
    ("mxfp4_mma", {"k": 16, "block_size": 16}),
    ("fp16_mma", {"element": "e5m2", "k": 4, "fraction_bits": 13, "result_bits": 13}),
    ("fp16_mma", {"element": "bf16", "k": 2, "rounding": "rne"}),
]
WHOLE = [
    ("nvfp4_mma", {}),
    ("nvfp4_mma", {"rounding": "rne"}),
    ("nvfp4_mma", {"block_size": 32, "fraction_bits": 30}),
    ("mixfp4_mma", {}),
    ("mxfp4_mma", {}),
    ("mxfp4_mma", {"block_size": 16, "rounding": "rne"}),
    ("m2xfp_mma", {}),
    ("mxfp6_mma", {"element": "e2m3"}),
    ("mxfp6_mma", {"element": "e3m2"}),
    ("mxfp8_mma", {"element": "e4m3"}),
    ("mxfp8_mma", {"element": "e5m2"}),
    ("mxfp8_mma", {"fraction_bits": 13, "result_bits": 13}),
    ("fp16_mma", {"element": "fp16"}),
    ("fp16_mma", {"element": "bf16"}),
]

#: Dot products that a quick check takes: neither whole words of patterns nor whole streams.
MANY = 100_003


def title(case):
    name, settings = case
    return "-".join([name, *(f"{k}={v}" for k, v in settings.items())])


def model_of(name, settings, build):
    library = tech.load("asap7", None, build)
    design = Design.of(name, settings | ONE)
    return NetlistModel(design, library, build), design


@pytest.mark.parametrize("case", SMALL, ids=title)
def test_small_netlist_equals_golden(case, tmp_path):
    model, design = model_of(*case, tmp_path)
    found = check(model, design, MANY, seed=11)
    assert (found.vectors, found.mismatches) == (MANY, 0), found.first


def test_check_notices_one_fraction_bit_and_the_other_polarity(tmp_path):
    model, design = model_of("mixfp4_mma", {"k": 16}, tmp_path)
    for wrong in ({"fraction_bits": 34}, {"polarity": 1}, {"result_bits": 22}):
        assert check(model, design, MANY, 11, design.parameters | wrong).mismatches > 0, wrong


@pytest.mark.slow
@pytest.mark.parametrize("case", WHOLE, ids=title)
def test_ten_million_dot_products_equal_golden(case, tmp_path):
    model, design = model_of(*case, tmp_path)
    found = check(model, design, 10**7, seed=1)
    assert (found.vectors, found.mismatches) == (10**7, 0), found.first


def simulated(design, tmp_path, simulator="verilator", **wrong):
    """Outcome of the testbench; ``wrong`` are parameters that golden is given instead of the RTL's."""
    source = tmp_path / "unit.v"
    source.write_text(to_verilog(design, tmp_path))
    judged = Design.of(design.name, design.parameters | wrong)
    return cosim.simulate(judged, source, tmp_path / f"cosim-{simulator}", simulator)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in UNITS if n.endswith("_mma")])
def test_stream_with_bubbles_chains_and_resets(name, simulator, tmp_path):
    assert simulated(Design.of(name, {"m": 2, "n": 2}), tmp_path, simulator).wrong is None


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in UNITS if n.endswith("_mma")])
def test_stream_notices_one_fraction_bit(name, simulator, tmp_path):
    design = Design.of(name, ONE)
    wrong = {"fraction_bits": design.parameters["fraction_bits"] - 1}
    assert "d is" in simulated(design, tmp_path, simulator, **wrong).wrong


def test_short_stream_and_its_twins(tmp_path, monkeypatch):
    # Icarus compiles in no time; Verilator longer than the quick suite has.
    simulator = "icarus" if simulators.available("icarus") else "verilator"
    monkeypatch.setenv("HWSIM_VECTORS", "400")
    design = Design.of("fp16_mma", ONE | {"element": "bf16", "k": 2})
    assert simulated(design, tmp_path, simulator).wrong is None
    assert "d is" in simulated(design, tmp_path, simulator, fraction_bits=24).wrong
    # A result that comes a cycle too late, and one that a reset should have cleared.
    assert "out_valid is" in simulated(design, tmp_path, simulator, pipeline="exponent+term+align").wrong
    source = tmp_path / "unit.v"
    text = source.read_text()
    assert text.count("rst ? 1'h0 : ") == design.component().latency
    source.write_text(text.replace("rst ? 1'h0 : ", ""))
    assert "out_valid is" in cosim.simulate(design, source, tmp_path / "mutated", simulator).wrong


#: What every stream must have met, in units with scales and without.
MET = {
    *(f"{side} {kind}" for side in "CD" for kind in ("zero", "subnormal", "normal", "infinite", "NaN")),
    "bubble", "back to back", "chained", "chained on a chained one", "reset", "cleared in flight",
    "alignment -45", "alignment -1", "alignment +0", "alignment +1", "alignment +24", "alignment +45",
    "leading zeros -1", "leading zeros 0", "leading zeros 1", "deep cancellation",
}  # fmt: skip
SCALED = {"a scale NaN", "b scale NaN"}


def coverage_of(name, **settings):
    design = Design.of(name, {"m": 2, "n": 2} | settings)
    adaptors = design.unit.golden.__self__
    return with_deep(adaptors.coverage(design.unit.testbench(design.parameters, 1), design.parameters))


def with_deep(counted):
    """The bins with those of ten leading zeros and more together."""
    counted["deep cancellation"] = sum(counted[f"leading zeros {k}"] for k in range(10, 41))
    return counted


@pytest.mark.parametrize("name", [n for n in UNITS if n.endswith("_mma")])
def test_stream_meets_every_case(name):
    counted = coverage_of(name)
    wanted = MET | (SCALED if name != "fp16_mma" else set())
    assert sorted(case for case in wanted if not counted[case]) == []


def test_coverage_notices_a_stream_without_chains_and_cancellation():
    design = Design.of("nvfp4_mma", ONE)
    adaptors, ports = design.unit.golden.__self__, design.unit.testbench(design.parameters, 1)
    poor = {"accumulate": ports["accumulate"] * 0, "c": ports["c"] * 0}
    counted = with_deep(adaptors.coverage(ports | poor, design.parameters))
    missing = {case for case in MET if not counted[case]}
    assert {"chained", "C NaN", "C normal", "deep cancellation"} <= missing


@pytest.mark.slow
def test_rtl_reproduces_every_recorded_h200_result(tmp_path):
    folder = Path(os.environ.get("HWSIM_SILICON", report_silicon.SLICE))
    rows = report_silicon.compare(folder, {"RTL": report_silicon.rtl_instruction(tmp_path)})
    assert len(rows) >= 4 and all(row.results for row in rows)
    assert [row for row in rows if row.mismatches["RTL"]] == []


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("nvfp4_mma", {"k": 24}, "k must be a positive multiple of 16, got 24"),
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
    ],
)
def test_parameters_are_refused_by_name(name, settings, message):
    with pytest.raises(InputError, match=message):
        Design.of(name, settings).component()


@pytest.mark.parametrize("name", [n for n in UNITS if n.endswith("_mma")])
def test_tile_holds_one_dot_unit(name):
    text = to_rtlil(Design.of(name, {"m": 2, "n": 3}))
    assert text.count("module \\mma_dot\n") == 1
    assert text.count("cell \\mma_dot ") == 6
    assert text.count("cell \\mma_decode_a ") == 2 and text.count("cell \\mma_decode_b ") == 3


def test_latency_and_chain_interval_follow_the_cuts():
    for pipeline, latency, interval in (("", 2, 1), ("block", 3, 1), ("block+term+align+sum", 6, 4)):
        component = Design.of("nvfp4_mma", {"pipeline": pipeline}).component()
        assert (component.latency, component.chain_interval) == (latency, interval)


def test_result_in_place_is_the_last_valid_one_an_interval_ago():
    valid = np.array([1, 0, 1, 1, 0, 1], bool)
    assert in_place(valid, 2).tolist() == [-1, -1, 0, 0, 2, 3]


@pytest.mark.slow
def test_metadata_unit_on_every_pattern_of_magnitudes_of_a_subgroup(tmp_path):
    from hwsim import flow

    library = tech.load("asap7", None, tmp_path)
    design = Design.of("m2xfp_decode", {"registered": 0})
    mapped = flow.map_design(design, library, flow.Options(1.0), tmp_path)
    netlist = elaborate.read(mapped.netlist_json, design.name, library)
    rng = np.random.default_rng(5)
    chunk = 1 << 18
    for start in range(0, 8**8, chunk):
        # Every pattern passes every subgroup's decoder once, in another order.
        pattern = np.arange(start, start + chunk)[:, None] * np.array([1, 3, 5, 7]) % 8**8
        magnitudes = (pattern[:, :, None] >> (3 * np.arange(8))) & 7
        signs = rng.integers(0, 2, magnitudes.shape) << 3
        ports = {
            "codes": (magnitudes | signs).reshape(chunk, 32).astype(np.uint8),
            "scale_code": rng.integers(0, 256, (chunk, 1), np.uint8),
            "metadata_code": rng.integers(0, 256, (chunk, 1), np.uint8),
        }
        want = design.unit.golden(ports, design.parameters)
        got = activity.simulate(netlist, ports, 4096).outputs["operands"]
        fields = np.packbits(np.pad(got.reshape(-1, 32, 7), ((0, 0), (0, 0), (0, 1))), axis=2, bitorder="little")
        assert np.array_equal(fields[:, :, 0], want["operands"])
