"""``python -m hwsim.quality``: files, figures, errors; and the reports on the golden models."""

import json

import numpy as np
import pytest

import golden
from hwsim import quality, report_golden
from hwsim.errors import InputError


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def safetensors(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, array) in tensors.items():
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("name", golden.SYSTEMS)
def test_pieces_give_the_figures_of_the_whole(name, monkeypatch):
    x = normal(64, 256)
    source = quality.Source("x", x)
    options = {}
    if name == "micromix":
        # Calibration is on the first piece: make every row alike.
        x[:] = x[:1]
    t = golden.quantize(x, name, **options)
    whole = golden.error(x, t)
    monkeypatch.setattr(quality, "PIECE", 16 * 256)
    (found,) = quality.measure(source, [name])
    assert found.bits_per_element == t.bits_per_element
    assert found.error.noise == pytest.approx(whole.noise, rel=1e-12)
    assert (found.error.count, found.error.max_error) == (whole.count, whole.max_error)
    choices = golden.SYSTEMS[name].choices
    assert found.choices == pytest.approx(choices(t) if choices else {})


def test_every_kind_of_file_is_read(tmp_path):
    x = normal(8, 64)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x, ids=np.arange(4))
    bf16 = (x.view(np.uint32) >> 16).astype(np.uint16)
    tensors = {
        "a": ("F32", x),
        "b": ("BF16", bf16),
        "h": ("F16", x.astype(np.float16)),
        "n": ("I64", np.arange(3)),
    }
    safetensors(tmp_path / "x.safetensors", tensors)
    for suffix in (".npy", ".npz"):
        (source,) = quality.read(tmp_path / f"x{suffix}")
        np.testing.assert_array_equal(next(source.pieces()), x)
    a, b, h = quality.read(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(next(a.pieces()), x)
    np.testing.assert_array_equal(next(b.pieces()), (bf16.astype(np.uint32) << 16).view(np.float32))
    np.testing.assert_array_equal(next(h.pieces()), x.astype(np.float16).astype(np.float32))


def test_the_command_prints_tables_and_writes_plot_and_json(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", a=normal(8, 64), b=normal(4, 100, seed=1))
    names = ["nvfp4", "mixfp4", "mxint8"]
    options = ["--plot", str(tmp_path / "q.png"), "--json", str(tmp_path / "q.json")]
    assert quality.main([str(tmp_path / "x.npz"), "--formats", *names, *options]) == 0
    output = capsys.readouterr().out
    assert "all tensors" in output
    assert "E1M2: " in output
    assert (tmp_path / "q.png").read_bytes()[:4] == b"\x89PNG"
    found = json.loads((tmp_path / "q.json").read_text())
    assert [(r["tensor"], r["format"]) for r in found] == [(t, n) for t in "ab" for n in names]


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda p: None, [], "not a readable .npy file"),
        (lambda p: p.write_bytes(b"abc"), [], "not a readable .npy file"),
        (
            lambda p: np.save(p, np.arange(4)),
            [],
            "expected a float tensor with at least one axis, got x int64",
        ),
        (lambda p: np.save(p, np.float32([1, np.inf])), [], "holds NaN or infinity"),
        (
            lambda p: np.save(p, normal(2, 32)),
            ["--formats", "fp3"],
            "--formats: expected names among nvfp4, ",
        ),
        (lambda p: np.save(p, normal(2, 32)), ["--tensors", "y"], "holds x, got 'y'"),
        (
            lambda p: np.save(p, normal(2, 32)),
            ["--plot", "q.bmp"],
            "--plot: expected a name that ends in .png",
        ),
    ],
)
def test_bad_input_is_named(make, options, message, tmp_path):
    make(tmp_path / "x.npy")
    with pytest.raises(InputError, match=message):
        quality.main([str(tmp_path / "x.npy"), *options])


def test_a_damaged_safetensors_file_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * 16)
    with pytest.raises(InputError, match=r"not a readable .safetensors file \(header of"):
        quality.read(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"expected a file name that ends in \.npy, \.npz, \.safetensors"):
        quality.read(tmp_path / "x.bin")


def test_conformance_report(tmp_path, monkeypatch):
    monkeypatch.delenv("HWSIM_VECTORS", raising=False)
    report_golden.write_conformance(tmp_path, tmp_path)
    text = (tmp_path / "conformance.md").read_text()
    assert " 0 unexplained mismatches" in text
    assert text.count("exact FP4 tie") == 3


def test_speed_report(tmp_path):
    formats = [
        {
            "format": "nvfp4",
            "quantize_elements_per_s": 5e8,
            "quantize_share_of_copy": 0.2,
            "quantize_goal": 0.25,
            "dequantize_elements_per_s": 1e9,
            "dequantize_share_of_copy": 0.4,
            "dequantize_goal": 0.3,
        }
    ]
    found = {
        "machine": "m",
        "load_before": 0.0,
        "versions": {"numpy": "2", "numba": "1"},
        "size": 128,
        "copy_elements_per_s": 2.5e9,
        "formats": formats,
        "peers": [],
        "first_call_s": {"nvfp4": [2.0, 0.1]},
    }
    report_golden.write_golden_speed(tmp_path, tmp_path, found)
    text = (tmp_path / "golden_speed.md").read_text()
    assert "| nvfp4 | 500 | 20% | 25% NOT met | 1000 | 40% | 30% met | 2.0, cached 0.10 |" in text
    assert "No peer is installed." in text
