"""Errors of products: real tensors, by hand, and the command."""

import json

import numpy as np
import pytest
from conftest import ROOT

from hwsim import golden, quality
from hwsim.base.errors import InputError
from hwsim.tensors import products


@pytest.fixture(scope="module")
def slices():
    with np.load(ROOT / "tests" / "data" / "smollm2_slices.npz") as data:
        return {name: data[name].astype(np.float32) for name in data if name != "provenance"}


def test_the_order_of_formats_on_a_real_model(slices):
    """Output SQNR over six products of SmolLM2-135M: which formats are ahead, as measured on all 210 of its layers."""
    sums = dict.fromkeys(golden.RECIPES, 0.0)
    for layer in (0, 15, 29):
        for activation, weight in (("attn_in", "attn_q"), ("ffn_mid", "ffn_down")):
            a, w = slices[f"layer{layer}.{activation}.activation"], slices[f"layer{layer}.{weight}.weight"]
            for o in products.measure(a, w, list(golden.RECIPES)):
                sums[o.recipe] += o.both_db / 6
                assert o.both_db < max(o.weights_db, o.activations_db)
    assert min(sums["mxfp6"], sums["mxfp8"]) > sums["micromix"] > sums["mixfp4"] > sums["m2xfp"]
    assert min(sums["nvfp4"], sums["four_over_six"]) > sums["mbs_h"] > sums["oas"] > sums["mxfp4_16"]


def test_by_hand():
    a, b = np.float32([[1.0, 2.0] + [0.0] * 30]), np.float32([[3.0, 0.26] + [0.0] * 30])
    # Scale 1/2: 0.26 is 0.52 in units of it, which becomes 0.5, or 0.25; everything else is exact.
    [found] = products.measure(a, b, ["mxfp4"], exact=True)
    expected = 20 * np.log10((3 + 2 * np.float32(0.26).astype(float)) / (2 * (np.float32(0.26).astype(float) - 0.25)))
    assert found.both_db == found.weights_db == found.exact_db == pytest.approx(expected)
    assert found.activations_db == np.inf and found.as_dict()["activations_db"] is None
    assert (found.weight_bits, found.activation_bits) == (4.25, 4.25)


def test_bits_count_padding():
    a = np.ones((2, 576), np.float32)
    [found] = products.measure(a, a, ["mbs_static"])
    assert found.weight_bits == pytest.approx(4.5625 * 640 / 576)


def test_values_that_are_not_finite():
    a = np.ones((2, 32), np.float32)
    a[1, 3] = np.nan
    with pytest.raises(InputError, match=r"weights: expected finite values, got nan at index \(1, 3\)"):
        products.measure(np.ones((2, 32), np.float32), a, ["mxfp4"])


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(1)
    for name, rows in (("a", 4), ("w", 6)):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((rows, 64)).astype(np.float32))
    return ["--weights", str(tmp_path / "w.npy"), "--activations", str(tmp_path / "a.npy")]


def test_the_command(saved, capsys):
    assert quality.main([*saved, "--recipes", "nvfp4", "mxfp4"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("recipe") and {row.split()[0] for row in rows} == {"nvfp4", "mxfp4"}
    assert quality.main([*saved, "--json", "-"]) == 0
    assert [o["recipe"] for o in json.loads(capsys.readouterr().out)] == list(golden.RECIPES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "w.npy"], "--weights and --activations go together"),
        (["--recipes", "nvfp5"], "no tensors: give files, or --weights and --activations"),
        (["--weights", "w", "--activations", "a", "--recipes", "nvfp5"], "unknown recipe: nvfp5"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        quality.main(options)


def test_gguf_is_read(tmp_path, capsys):
    gguf = pytest.importorskip("gguf")
    rng = np.random.default_rng(2)
    x = rng.standard_normal((6, 64)).astype(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("plain", x)
    packed = gguf.quants.quantize(x, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("packed", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    plot = str(tmp_path / "plot.png")
    assert quality.main([str(tmp_path / "model.gguf"), "--formats", "nvfp4", "--plot", plot, "--json", "-"]) == 0
    found = {r["tensor"]: r["sqnr_db"] for r in json.loads(capsys.readouterr().out)}
    assert found["plain"] == pytest.approx(golden.error(x, golden.quantize(x, "nvfp4")).sqnr)
    assert found["packed"] == pytest.approx(found["plain"], abs=0.5)
    (tmp_path / "bad.gguf").write_bytes(b"GGUX")
    with pytest.raises(InputError, match="not a readable .gguf file"):
        quality.main([str(tmp_path / "bad.gguf")])
