"""Mapped MMA units against golden, in bulk."""

import os
from pathlib import Path

import numpy as np
import pytest

from hwsim import units
from hwsim.analysis import activity, netlist_reader
from hwsim.peers import silicon
from hwsim.synthesis.mapping import Options, map_design
from hwsim.technology import catalogue
from hwsim.verification.netlist_model import NetlistModel, compare

ONE = {"m": 1, "n": 1}
SMALL = [
    ("nvfp4_mma", {"k": 16}),
    ("mixfp4_mma", {"k": 16, "polarity": 1}),
    ("mxfp4_mma", {"k": 16, "block_size": 16}),
    ("fp16_mma", {"element": "e5m2", "k": 4, "fraction_bits": 13, "result_bits": 13}),
    ("fp16_mma", {"element": "bf16", "k": 2, "rounding": "rne"}),
]
#: One of blocks and one of elements.
QUICK = SMALL[0], SMALL[3]
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
    library = catalogue.load("asap7", None, build)
    design = units.design(name, settings | ONE)
    return NetlistModel(design, library, build), design


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] * (c not in QUICK), id=title(c)) for c in SMALL]
)
def test_small_netlist_equals_golden(case, tmp_path):
    model, design = model_of(*case, tmp_path)
    found = compare(model, design, MANY, seed=11)
    assert (found.vectors, found.mismatches) == (MANY, 0), found.first


def test_check_notices_one_fraction_bit_and_the_other_polarity(tmp_path):
    model, design = model_of("mixfp4_mma", {"k": 16}, tmp_path)
    for wrong in ({"fraction_bits": 34}, {"polarity": 1}, {"result_bits": 22}):
        assert compare(model, design, MANY, 11, design.parameters | wrong).mismatches > 0, wrong


@pytest.mark.slow
@pytest.mark.parametrize("case", WHOLE, ids=title)
def test_ten_million_dot_products_equal_golden(case, tmp_path):
    model, design = model_of(*case, tmp_path)
    found = compare(model, design, 10**7, seed=1)
    assert (found.vectors, found.mismatches) == (10**7, 0), found.first


@pytest.mark.slow
def test_rtl_reproduces_every_recorded_h200_result(tmp_path):
    folder = Path(os.environ.get("HWSIM_SILICON", silicon.SLICE))
    rows = silicon.compare(folder, {"RTL": silicon.rtl_instruction(tmp_path)})
    assert len(rows) >= 4 and all(row.results for row in rows)
    assert [row for row in rows if row.mismatches["RTL"]] == []


@pytest.mark.slow
def test_metadata_unit_on_every_pattern_of_magnitudes_of_a_subgroup(tmp_path):
    pass

    library = catalogue.load("asap7", None, tmp_path)
    design = units.design("m2xfp_decode", {"registered": 0})
    mapped = map_design(design, library, Options(1.0), tmp_path)
    netlist = netlist_reader.read(mapped.netlist_json, design.name, library)
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
