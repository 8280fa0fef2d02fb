"""Engines in bulk, what they are told, streams of blocks; and engines behind one another."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from hwsim import golden, units
from hwsim.base.errors import InputError
from hwsim.golden.engines import to_bf16
from hwsim.golden.exact_choice import SCALE_BITS
from hwsim.rtl.quantise.tables import FAMILIES
from hwsim.technology import catalogue
from hwsim.units.blocks import Candidates, near_ties
from hwsim.verification.netlist_model import NetlistModel, blocks, compare_engine, every_value

QUICK = ["mxfp4_quantize", "mbs_quantize", "nvfp4_quantize"]
ENGINES = [name for name, unit in units.UNITS.items() if unit.engine]


def model_of(name, settings, build):
    design = units.design(name, settings)
    return NetlistModel(design, catalogue.load("asap7", None, build), build), design


@pytest.mark.parametrize("name", QUICK)
def test_netlist_equals_golden_on_blocks_of_every_class(name, tmp_path):
    model, design = model_of(name, {}, tmp_path)
    found = compare_engine(model.outputs, design, blocks(design, 20_003, seed=3))
    assert (found.vectors, found.mismatches) == (20_003, 0), found.first
    assert found.bins["NaN"] and found.bins["zero"] and found.bins["scale 100"]


def test_a_wrong_rule_is_noticed(tmp_path):
    model, design = model_of("mxfp4_quantize", {"block_size": 16}, tmp_path)
    found = compare_engine(model.outputs, design, blocks(design, 2000, 3), design.parameters | {"scale_rule": "even"})
    assert found.mismatches and found.first.startswith("golden is ")


@pytest.mark.parametrize("name", ["mxfp4_quantize", "nvfp4_quantize"])
def test_every_value_stands_under_every_scale(name):
    design = units.design(name)
    ports = next(every_value(design, seed=1))
    results = design.unit.golden({"valid": np.ones((len(ports["x"]), 1), np.uint8), **ports}, design.parameters)
    magnitudes, scales = ports["x"] & 0x7FFF, results["scale"][:, 0]
    largest = magnitudes.max(axis=1)
    assert np.array_equal(np.unique(largest), np.arange(largest.max() + 1))
    for scale in np.unique(scales):
        under = magnitudes[scales == scale]
        assert np.array_equal(np.unique(under), np.arange(under.max() + 1))
    assert len(np.unique(scales)) == {"mxfp4_quantize": 254, "nvfp4_quantize": 127}[name]


def test_every_value_of_fp32_is_refused():
    with pytest.raises(InputError, match="only of BF16"):
        next(every_value(units.design("mxfp4_quantize", {"input": "fp32"}), seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_every_value(name, tmp_path):
    model, design = model_of(name, {}, tmp_path)
    found = compare_engine(model.outputs, design, every_value(design, seed=1))
    assert found.mismatches == 0, found.first


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_ten_million_blocks(name, tmp_path):
    model, design = model_of(name, {}, tmp_path)
    found = compare_engine(model.outputs, design, blocks(design, 10**7, seed=1))
    assert found.mismatches == 0, found.first
    assert "tie" not in found.bins or found.bins["tie"] >= 10**5


@pytest.mark.parametrize("name", ["four_over_six_quantize", "mixfp4_quantize"])
def test_blocks_of_choosing_engines_tie(name):
    """Stimuli hold blocks whose candidates differ and have equal errors, and blocks where either is better."""
    design = units.design(name)
    engine, counted = design.unit.engine, {}
    for ports in engine.blocks(design.parameters, 6000, np.random.default_rng(2)):
        valid = np.ones((len(ports["x"]), 1), np.uint8)
        results = design.unit.golden({"valid": valid, **ports}, design.parameters)
        for key, value in engine.bins(ports, results, design.parameters).items():
            counted[key] = counted.get(key, 0) + value
    assert counted["tie"] > 60 and counted["larger scale better"] > 500 and counted["smaller scale better"] > 500


@pytest.mark.parametrize("system", ["four_over_six", "mixfp4"])
def test_errors_of_candidates_nearly_tie(system):
    rng, family, amax = np.random.default_rng(3), FAMILIES[system], 2.703125
    unit = Fraction(amax) / (2 << SCALE_BITS) / int(family.full_scale)

    def close(blocks):
        """Blocks whose candidates' errors, in fractions, differ by less than a step of one value to the next makes."""
        magnitudes = (blocks & 0x7FFF).astype(np.int64)
        decoded = Candidates(family, amax, magnitudes.max(axis=1)).decoded(magnitudes)
        found = 0
        for row, small, large in zip(magnitudes.tolist(), *(u.tolist() for u in decoded), strict=True):
            values = [Fraction(struct.unpack("<f", struct.pack("<I", bits << 16))[0]) for bits in row]
            steps = [Fraction(2) ** ((bits >> 7) - 134) for bits in row]
            errors = [sum((v - u * unit) ** 2 for v, u in zip(values, way, strict=True)) for way in (small, large)]
            change = min(2 * abs(a - b) * unit * s for a, b, s in zip(small, large, steps, strict=True) if a != b)
            found += abs(errors[0] - errors[1]) <= change
        return found

    before = (rng.standard_normal((200, 16)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    assert close(before) < 10
    assert close(near_ties(rng, family, amax, before)) > 120


def test_thresholds_change_only_without_blocks_in_flight():
    design = units.design("nvfp4_quantize")
    ports = design.unit.testbench(design.parameters, 1)
    start = int(np.flatnonzero((ports["element_base"][1:] != ports["element_base"][:-1]).any(axis=1))[0])
    ports["valid"][start] = 1
    with pytest.raises(ValueError, match="nvfp4: thresholds change at vector .* while a block is in flight"):
        design.unit.golden(ports, design.parameters)


def test_foreign_thresholds_are_refused():
    design = units.design("nvfp4_quantize")
    ports = design.unit.stimulus(design.parameters, 4, 1, None)
    ports["element_base"] = ports["element_base"] ^ 1
    with pytest.raises(ValueError, match="these thresholds belong to no tensor that nvfp4 was asked for"):
        design.unit.golden(ports, design.parameters)


def test_blocks_come_back_through_decode():
    """Engine, block by block, and ``golden.dequantize``: the values of ``golden.quantize`` of the whole tensor."""
    rng = np.random.default_rng(5)
    x = (to_bf16(rng.standard_normal((64, 128)).astype(np.float32).view(np.uint32)).astype(np.uint32) << 16).view(
        np.float32
    )
    for name, system, options in (
        ("nvfp4_quantize", "nvfp4", {}),
        ("four_over_six_quantize", "four_over_six", {"measure": "exact"}),
        ("mixfp4_quantize", "mixfp4", {"measure": "exact"}),
    ):
        design = units.design(name)
        ports = design.unit.stimulus(design.parameters, 512, 1, x)
        results = design.unit.golden(ports, design.parameters)
        t = golden.quantize(x, system, **options)
        assert np.array_equal(results["codes"].reshape(x.shape), t.codes)
        assert np.array_equal(results["scale"].reshape(t.scales.shape), t.scales)
        assert results["block_max"].max() == (ports["x"] & 0x7FFF).max()


def test_running_maximum_begins_again():
    design = units.design("tensor_max")
    ports = {
        "valid": np.array([[1], [1], [0], [1], [1]], np.uint8),
        "first": np.array([[1], [0], [1], [0], [1]], np.uint8),
        "block_max": np.array([[5], [9], [99], [7], [3]], np.uint16),
    }
    results = design.unit.golden(ports, design.parameters)
    assert results["largest"][[0, 1, 3, 4], 0].tolist() == [5, 9, 9, 3]
