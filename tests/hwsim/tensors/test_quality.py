"""``python -m hwsim.quality``: files, figures, errors."""

import io
import json

import numpy as np
import pytest
from safetensors_files import safetensors

from hwsim import golden
from hwsim import quality as door
from hwsim.base.errors import InputError
from hwsim.tensors import checkpoints, files, quality, sources
from hwsim.tensors.sources import Source


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def archive(**arrays):
    """The bytes of an .npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("name", golden.SYSTEMS)
def test_pieces_give_the_figures_of_the_whole(name, monkeypatch):
    x = normal(64, 256)
    source = Source.of("x", x)
    options = {}
    if name == "micromix":
        # Calibration is on the first piece: make every row alike.
        x[:] = x[:1]
    t = golden.quantize(x, name, **options)
    whole = golden.error(x, t)
    monkeypatch.setattr(sources, "PIECE", 16 * 256)
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
        (source,) = checkpoints.read([tmp_path / f"x{suffix}"]).sources
        np.testing.assert_array_equal(next(source.split(source.load())), x)
    a, b, h = checkpoints.read([tmp_path / "x.safetensors"]).sources
    np.testing.assert_array_equal(next(a.split(a.load())), x)
    np.testing.assert_array_equal(next(b.split(b.load())), (bf16.astype(np.uint32) << 16).view(np.float32))
    np.testing.assert_array_equal(next(h.split(h.load())), x.astype(np.float16).astype(np.float32))


def test_the_first_value_that_is_not_finite_is_named_by_its_index_in_the_tensor(monkeypatch):
    monkeypatch.setattr(sources, "PIECE", 64)
    for order, bad in (("C", np.nan), ("F", np.inf)):
        x = np.array(normal(5, 3, 32), order=order)
        x[3, 1, 9] = x[4, 2, 1] = bad
        with pytest.raises(InputError, match=rf"x: expected finite values, got {bad} at index \(3, 1, 9\)"):
            quality.measure(Source.of("x", x), ["nvfp4"])


@pytest.mark.parametrize("piece", [16, 64, 200, 1 << 20])
@pytest.mark.parametrize("shape", [(50,), (7, 50), (3, 4, 50), (2, 3, 4, 5)])
def test_pieces_are_the_tensor_in_the_order_of_c(shape, piece, monkeypatch):
    monkeypatch.setattr(sources, "PIECE", piece)
    x = normal(*shape)
    for array in (x, np.asfortranarray(x), x[..., ::-1]):
        pieces = list(Source.of("x", array).split(array))
        assert max(p.size for p in pieces) <= piece
        np.testing.assert_array_equal(np.concatenate([p.reshape(-1) for p in pieces]), array.reshape(-1))


def test_bits_per_element_count_the_padding():
    (found,) = quality.measure(Source.of("x", normal(4, 40)), ["nvfp4"])
    assert found.bits_per_element == 4.5 * 48 / 40


def test_a_format_named_twice_is_measured_once(tmp_path):
    np.save(tmp_path / "x.npy", normal(2, 32))
    options = ["--formats", "nvfp4", "nvfp4", "--plot", str(tmp_path / "q.png"), "--json", str(tmp_path / "q.json")]
    door.main([str(tmp_path / "x.npy"), *options])
    assert len(json.loads((tmp_path / "q.json").read_text())) == 1


def test_members_of_an_archive_are_loaded_one_at_a_time(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", a=normal(2, 32), b=np.arange(3), c=normal(4, 32))
    loaded = []
    read_array = np.lib.format.read_array
    monkeypatch.setattr(np.lib.format, "read_array", lambda *a, **k: loaded.append(a) or read_array(*a, **k))
    a, c = checkpoints.read([tmp_path / "x.npz"]).sources
    assert (loaded, a.shape, c.shape) == ([], (2, 32), (4, 32))
    quality.measure(c, ["nvfp4"])
    assert len(loaded) == 1


def test_the_command_prints_tables_and_writes_plot_and_json(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", a=normal(8, 64), b=normal(4, 100, seed=1))
    names = ["nvfp4", "mixfp4", "mxint8"]
    options = ["--plot", str(tmp_path / "q.png"), "--json", str(tmp_path / "q.json")]
    assert door.main([str(tmp_path / "x.npz"), "--formats", *names, *options]) == 0
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
            "expected a float tensor with an axis and elements, got x int64",
        ),
        (lambda p: np.save(p, np.float32([1, np.inf])), [], r"x: expected finite values, got inf at index \(1,\)"),
        (lambda p: np.save(p, np.float64([[1, -1e300]])), [], r"x: -1e\+300 at index \(0, 1\) overflows FP32"),
        (lambda p: p.write_bytes(archive(x=normal(2, 32))), [], "not a readable .npy file"),
        (lambda p: np.save(p, normal(2, 32)), ["--plot", "x.npy/q.png"], "--plot: cannot write x.npy/q.png"),
        (lambda p: np.save(p, normal(2, 32)), ["--json", "."], r"--json: cannot write \."),
        (
            lambda p: np.save(p, normal(2, 32)),
            ["--formats", "fp3"],
            "--formats: expected names among nvfp4, ",
        ),
        (lambda p: np.save(p, normal(2, 32)), ["--tensors", "y"], "expected names or patterns among x, got 'y'"),
        (
            lambda p: np.save(p, normal(2, 32)),
            ["--plot", "q.bmp"],
            "--plot: expected a name that ends in .png",
        ),
    ],
)
def test_bad_input_is_named(make, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x.npy")
    with pytest.raises(InputError, match=message):
        door.main([str(tmp_path / "x.npy"), *options])


def test_json_is_json_also_where_decoding_overflows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.full((2, 32), 3.4e38, np.float32))
    door.main(["x.npy", "--formats", "mxfp4_oas", "nvfp4", "--json", "q.json"])
    found = json.loads((tmp_path / "q.json").read_text(), parse_constant=pytest.fail)
    assert [r["mse"] is None for r in found] == [True, False]


def wrong_header(header):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(16)


def entry(**changes):
    return {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff" * 16, "header of 18446744073709551615 bytes in a file of 16"),
        (wrong_header([1]), "expected a JSON object as header, got list"),
        (wrong_header({"x": 3}), "x: expected an object with dtype, shape and data_offsets, got 3"),
        (wrong_header(entry(dtype=7)), "x: expected an object with dtype"),
        (wrong_header(entry(shape="4")), "x: shape must be a list of whole numbers, none negative, got '4'"),
        (wrong_header(entry(shape=[-4])), r"x: shape must be .*, got \[-4\]"),
        (wrong_header(entry(data_offsets=["0", "16"])), "x: data_offsets must be a list of whole numbers"),
        (wrong_header(entry(data_offsets=[-16, 0])), "x: data_offsets must be a list of whole numbers, none neg"),
        (wrong_header(entry(data_offsets=[0, 32])), r"x: data_offsets must be a range within 16 .*, got \[0, 32\]"),
        (wrong_header(entry(data_offsets=[16])), "x: data_offsets must be a range within 16 bytes"),
        (wrong_header(entry(shape=[3])), r"x: F32 of shape \[3\] does not fill data_offsets \[0, 16\]"),
        (wrong_header({"x": {"dtype": "F32"}}), "x: shape must be a list of whole numbers"),
    ],
)
def test_a_damaged_safetensors_file_is_refused(content, message, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=rf"not a readable .safetensors file \({message}"):
        files.read(tmp_path / "x.safetensors")


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected a file name that ends in \.npy, \.npz, \.safetensors"):
        files.read(tmp_path / "x.bin")


def test_a_damaged_archive_is_refused(tmp_path):
    path, whole = tmp_path / "x.npz", archive(x=normal(64, 64))
    np.save(tmp_path / "x.npy", normal(4))
    for content in (b"", whole[:-30], whole[:2000], (tmp_path / "x.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a readable .npz file"):
            files.read(path)
    path.write_bytes(whole[:3000] + b"!" + whole[3001:])
    (source,) = checkpoints.read([path]).sources
    with pytest.raises(InputError, match=r"x.npy is not readable \(Bad CRC-32"):
        quality.measure(source, ["nvfp4"])
