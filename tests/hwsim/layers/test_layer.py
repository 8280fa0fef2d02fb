"""``python -m hwsim.layer``: figures, mappings taken back, bits, bad input."""

import json
from fractions import Fraction

import numpy as np
import pytest

from hwsim import golden, layer
from hwsim.base.errors import InputError
from hwsim.golden.recipes import RECIPES, scaled_product
from hwsim.layers import storage

ABSTRACT = """
tiles = [2, 2]
unit = "abstract"
clock_ns = 1.0
buffer_kib = {a = 64, b = 64, out = 16}
[tile]
m = 8
n = 8
k = 64
latency = 6
chain_interval = 4
pj = 90
idle_pj = 5
area_um2 = 1000
"""


@pytest.fixture
def simulated(tmp_path, monkeypatch, capsys):
    """The document of a command line on an abstract accelerator."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "abstract.toml").write_text(ABSTRACT)

    def simulate(*options, accelerator="abstract.toml"):
        assert layer.main([*map(str, options), "--accelerator", accelerator, "--json", "-"]) == 0
        return json.loads(capsys.readouterr().out)

    return simulate


def test_documented_keys(simulated):
    document = simulated("--gemm", 100, 200, 300, "--format", "nvfp4", "m2xfp")
    [record, other] = document["records"]
    assert record["gemm"] == [100, 200, 300] and record["format"] == "nvfp4" and other["format"] == "m2xfp"
    assert {*record["mapping"]} == {"rm", "rn", "mb", "nb", "order", "chunks"}
    assert {*record["cycles"]} == {"compute", "stall", "tail", "quantiser", "correction", "total"}
    assert {"a", "b", "d", "spill"} <= {*record["dram_bits"]}
    assert {"utilisation", "losses", "compulsory_bits", "sram_bits", "energy_pj", "energy_range_pj", "time_s",
            "pj_per_mac", "bound", "roofline_cycles", "area_um2"} <= {*record}  # fmt: skip
    for constant in document["provenance"]["nvfp4"].values():
        assert {*constant} == {"value", "unit", "source"} and constant["source"]


def test_models_and_phases(simulated):
    document = simulated(
        "--model", "smollm2-135m", "--phase", "prefill", "decode", "--context", 64, "--format", "mxfp4"
    )
    prefill, decode = document["models"]
    assert (prefill["model"], prefill["phase"], prefill["tokens"]) == ("smollm2-135m", "prefill", 64)
    assert decode["tokens_s"] == pytest.approx(1 / decode["time_s"])
    assert decode["time_s"] == pytest.approx(
        sum(r["count"] * r["time_s"] for r in document["records"] if r["phase"] == "decode")
    )
    assert {r["kind"] for r in document["records"]} == {"weight", "attention"}


def test_mappings_are_taken_back(simulated, tmp_path):
    options = ("--gemm", 100, 200, 4096, "--gemm", 1, 64, 4096, "--format", "nvfp4", "mxfp4")
    document = simulated(*options)
    document["records"][0]["mapping"] |= {"mb": 16, "nb": 16, "rm": 1, "rn": 1}
    (tmp_path / "earlier.json").write_text(json.dumps(document))
    again = simulated(*options, "--mapping", "earlier.json")
    assert again["records"][0]["mapping"] == document["records"][0]["mapping"]
    assert again["records"][0]["cycles"] != document["records"][0]["cycles"]
    assert again["records"][1:] == document["records"][1:]


def test_bits_of_real_tensors(simulated, tmp_path):
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((rows, 160)).astype(np.float32) for rows in (5, 7))
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    names = ["nvfp4", "mbs_h", "micromix", "bf16"]
    document = simulated("--tensor", "a.npy", "b.npy", "--format", *names)
    for name, found in zip(names, document["products"], strict=True):
        assert found["format"] == name
        if name in RECIPES:
            d = scaled_product(*RECIPES[name].quantize(a, b))
            assert found["d"] == d.view(np.uint32).tolist()
    sqnr = {p["format"]: p["sqnr_db"] for p in document["products"]}
    assert 15 < sqnr["nvfp4"] < 25 < sqnr["micromix"]
    assert document["records"][0]["gemm"] == [5, 7, 160]
    less = simulated("--tensor", "a.npy", "b.npy", "--rows", 2, "--format", "nvfp4")
    assert less["products"][0]["d"] == golden_rows(a[:2], b)


def golden_rows(a, b):
    qa, qb = (golden.quantize(x, "nvfp4") for x in (a, b))
    scale = np.float32(qa.tensor_scale) * np.float32(qb.tensor_scale)
    return (golden.mma(qa, qb) * scale).view(np.uint32).tolist()


def test_equal_area_takes_as_many_tiles_as_fit(simulated):
    document = simulated("--gemm", 512, 512, 512, "--format", "nvfp4", "mxfp4", "--compare", "equal-area")
    assert document["equal"].startswith("equal area of tiles (that of nvfp4; nvfp4 2 x 2, mxfp4 2 x 2)")


def test_a_picture(simulated, tmp_path):
    simulated("--model", "smollm2-135m", "--context", 64, "--format", "mxfp4", "nvfp4", "--plot", "found.png")
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def test_text_for_people(simulated, capsys):
    assert layer.main(["--gemm", "8", "8", "64", "--format", "mxfp4", "--accelerator", "abstract.toml"]) == 0
    text = capsys.readouterr().out
    assert "equal number of tiles (2 x 2), not equal area" in text
    assert "DRAM:" in text and "pJ/bit, range 3 to 5; O'Connor" in text and "left out:" in text
    assert "time (ms)" in text and "bound by" in text and "8 x 8" not in text.splitlines()[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no work: give --gemm"),
        (("--gemm", "1", "2", "x"), "--gemm takes three whole numbers M N K, got 1 2 x"),
        (("--gemm", "1", "0", "3"), "gemm1: N must be a positive whole number, got 0"),
        (("--gemm", "1", "1", "3", "--format", "nvfp5"), "unknown format: nvfp5"),
        (("--model", "llama"), "unknown model: llama"),
        (("--gemm", "1", "1", "3", "--plot", "x.txt"), "--plot: expected a name that ends in .png"),
        (("--gemm", "1", "1", "3", "--mapping", "none.json"), "--mapping: none.json"),
        (("--gemm", "1", "1", "3", "--format", "micromix", "--shares", "1", "1", "1"), "must be 3 that add up to 1"),
        (("--gemm", "1", "1", "3", "--rows", "3"), "--rows goes with --tensor"),
        (("--tensor", "none.npy", "none.npy"), "activations none.npy: not a readable .npy file"),
    ],
)
def test_bad_input(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "abstract.toml").write_text(ABSTRACT)
    with pytest.raises(InputError) as error:
        layer.main([*options, "--accelerator", "abstract.toml"])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_errors_of_the_command_are_one_line(run_tool):
    result = run_tool("layer", "--gemm", "1", "2", "3", "--accelerator", "none")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: unknown accelerator: none (known: datacentre, edge")


def test_formats_bits_per_element():
    """Contract, section 4: bits of an element with scales and metadata, padding counted."""
    wanted = {
        "mxfp4": 4.25, "mxfp4_16": 4.5, "oas": 4.5, "nvfp4": 4.5, "four_over_six": 4.5, "mixfp4": 4.5, "m2xfp": 4.5,
        "mbs_h": 4.5625, "mxfp6": 6.25, "mxfp8": 8.25, "bf16": 16,
    }  # fmt: skip
    for name, bits in wanted.items():
        for side in "ab":
            assert storage.named(name).bits(side, 4096) == bits
    # K = 576 is no multiple of 128.
    assert storage.named("mbs_h").bits("b", 576) == Fraction(73, 16) * 640 / 576
    micromix = storage.named("micromix", (0.5, 0.25, 0.25))
    assert micromix.lengths(4096) == (2048, 1024, 1024)
    assert micromix.bits("a", 4096) == 4.25 / 2 + 6.25 / 4 + 8.25 / 4
    assert micromix.tensor_bits("a", 4096) == 16 * 4096 and micromix.tensor_bits("b", 4096) == 0
    assert storage.named("nvfp4").tensor_bits("b", 4096) == 32
