"""Checkpoints: quantised weights are decoded with their scales, over files and folders; what cannot be is named."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors_files import safetensors

from hwsim import golden
from hwsim import quality as door
from hwsim.base.errors import InputError
from hwsim.tensors import checkpoints, sources

FP4 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def random_bytes(*shape, top=256, seed=0):
    return np.random.default_rng(seed).integers(0, top, shape, np.uint8)


def fp4_values(packed):
    return FP4[np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)]


def scaled(values, scales, k):
    return values * np.repeat(scales.astype(np.float64), k, axis=-1)


def e4m3(array):
    return array.view(ml_dtypes.float8_e4m3fn)


def e8m0(array):
    return 2.0 ** (array.astype(np.float64) - 127)


# By writer: the stored arrays of one weight, its name and layout for people, and its values without rounding.
PACKED, E4M3_SCALES = random_bytes(6, 32), random_bytes(6, 4, top=0x7F, seed=1)
E8M0_SCALES = random_bytes(6, 2, top=20, seed=2) + np.uint8(120)
F8 = random_bytes(6, 64, top=0x7F, seed=3)
TILED = random_bytes(300, 200, top=0x7F, seed=4)
TILE_SCALES = np.abs(normal(3, 2)) + np.float32(0.5)
WRITERS = {
    "compressed-tensors NVFP4": (
        {
            "a.weight_packed": ("U8", PACKED),
            "a.weight_scale": ("F8_E4M3", E4M3_SCALES),
            "a.weight_global_scale": ("F32", np.float32([3.0])),
            "a.input_global_scale": ("F32", np.float32([5.0])),
        },
        "a.weight",
        "NVFP4 (compressed-tensors)",
        scaled(fp4_values(PACKED), e4m3(E4M3_SCALES), 16) / 3,
    ),
    "ModelOpt NVFP4": (
        {
            "a.weight": ("U8", PACKED),
            "a.weight_scale": ("F8_E4M3", E4M3_SCALES),
            "a.weight_scale_2": ("F32", np.float32(0.3)),
            "a.input_scale": ("F32", np.float32(0.1)),
        },
        "a.weight",
        "NVFP4 (ModelOpt)",
        scaled(fp4_values(PACKED), e4m3(E4M3_SCALES), 16) * np.float64(np.float32(0.3)),
    ),
    "compressed-tensors MXFP4": (
        {"a.weight_packed": ("U8", PACKED), "a.weight_scale": ("U8", E8M0_SCALES)},
        "a.weight",
        "MXFP4",
        scaled(fp4_values(PACKED), e8m0(E8M0_SCALES), 32),
    ),
    "gpt-oss MXFP4": (
        {"e.up_blocks": ("U8", PACKED.reshape(2, 3, 2, 16)), "e.up_scales": ("U8", E8M0_SCALES.reshape(2, 3, 2))},
        "e.up",
        "MXFP4",
        scaled(fp4_values(PACKED), e8m0(E8M0_SCALES), 32).reshape(2, 3, 64),
    ),
    "MXFP8": (
        {"a.weight": ("F8_E5M2", F8 % 0x7C), "a.weight_scale": ("F8_E8M0", E8M0_SCALES)},
        "a.weight",
        "MXFP8",
        scaled((F8 % 0x7C).view(ml_dtypes.float8_e5m2).astype(np.float64), e8m0(E8M0_SCALES), 32),
    ),
    "FP8, one scale": (
        {"a.weight": ("F8_E4M3", F8), "a.weight_scale": ("F32", np.float32([0.7]))},
        "a.weight",
        "FP8 with a scale for each tensor",
        e4m3(F8).astype(np.float64) * np.float64(np.float32(0.7)),
    ),
    "FP8, scales of rows": (
        {"a.weight": ("F8_E4M3", F8), "a.weight_scale": ("BF16", np.arange(0x3F80, 0x3F86, dtype="<u2")[:, None])},
        "a.weight",
        "FP8 with a scale for each row",
        e4m3(F8).astype(np.float64) * (1 + np.arange(6) / 128)[:, None],
    ),
    "FP8, scales of tiles": (
        {"a.weight": ("F8_E4M3", TILED), "a.weight_scale_inv": ("F32", TILE_SCALES)},
        "a.weight",
        "FP8 with a scale for each 128 x 128",
        e4m3(TILED).astype(np.float64)
        * np.repeat(np.repeat(TILE_SCALES.astype(np.float64), 128, 0), 128, 1)[:300, :200],
    ),
    "FP8 without scales": (
        {"a": ("F8_E5M2", F8 % 0x7C)},
        "a",
        "FP8, no scale found",
        (F8 % 0x7C).view(ml_dtypes.float8_e5m2).astype(np.float64),
    ),
    "FP8, scales of rows without an axis": (
        {"a.weight": ("F8_E4M3", F8), "a.weight_scale": ("F32", np.arange(1, 7, dtype=np.float32))},
        "a.weight",
        "FP8 with a scale for each row",
        e4m3(F8).astype(np.float64) * np.arange(1, 7)[:, None],
    ),
    "FP8, scales of experts": (
        {"e.up": ("F8_E4M3", F8.reshape(2, 3, 64)), "e.up_scale": ("F32", np.float32([[[2]], [[3]]]))},
        "e.up",
        "FP8 with a scale for each of 2 parts",
        e4m3(F8).astype(np.float64).reshape(2, 3, 64) * np.array([2, 3])[:, None, None],
    ),
    "FP8, DeepSeek's own names": (
        {"a.weight": ("F8_E4M3", TILED), "a.scale": ("F32", TILE_SCALES)},
        "a.weight",
        "FP8 with a scale for each 128 x 128",
        e4m3(TILED).astype(np.float64)
        * np.repeat(np.repeat(TILE_SCALES.astype(np.float64), 128, 0), 128, 1)[:300, :200],
    ),
    "FP8, ComfyUI": (
        {"a.weight": ("F8_E4M3", F8), "a.scale_weight": ("F32", np.float32(3)), "a.scale_input": ("F32", normal(1))},
        "a.weight",
        "FP8 with a scale for each tensor",
        e4m3(F8).astype(np.float64) * 3,
    ),
    "gpt-oss MXFP4, original names": (
        {"m.w.blocks": ("U8", PACKED.reshape(6, 2, 16)), "m.w.scales": ("U8", E8M0_SCALES)},
        "m.w",
        "MXFP4",
        scaled(fp4_values(PACKED), e8m0(E8M0_SCALES), 32),
    ),
}


def values(source):
    return np.concatenate(list(source.split(source.load()))).reshape(source.shape)


@pytest.mark.parametrize("piece", [64, 1 << 22])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_quantised_weight_is_decoded_with_its_scales_and_they_are_not_measured(writer, piece, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PIECE", piece)
    arrays, name, stored_as, expected = WRITERS[writer]
    safetensors(tmp_path / "x.safetensors", arrays | {"norm": ("F32", normal(64))})
    source, norm = checkpoints.read([tmp_path / "x.safetensors"]).sources
    assert (source.name, source.stored_as, source.shape, norm.name) == (name, stored_as, expected.shape, "norm")
    np.testing.assert_allclose(values(source), expected, rtol=2.0**-22)
    np.testing.assert_array_equal(np.signbit(values(source)), np.signbit(expected))


def test_a_scale_in_another_shard_is_found(tmp_path):
    arrays, _, stored_as, expected = WRITERS["compressed-tensors NVFP4"]
    names = list(arrays)
    for file, some in (("m-1.safetensors", names[:1]), ("m-2.safetensors", names[1:])):
        safetensors(tmp_path / file, {n: arrays[n] for n in some} | {"stale": ("F32", normal(4, 4))})
    for paths in ([tmp_path], sorted(tmp_path.iterdir())):
        first, second, third = checkpoints.read(paths).sources
        assert (first.name, first.stored_as) == ("a.weight", stored_as)
        assert [s.name.rpartition("/")[2] for s in (second, third)] == [
            "m-1.safetensors: stale", "m-2.safetensors: stale",
        ]  # fmt: skip
    placed = {n: "m-1.safetensors" if n in names[:1] else "m-2.safetensors" for n in names}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        (source,) = checkpoints.read([path]).sources
        assert source.stored_as == stored_as
        np.testing.assert_allclose(values(source), expected, rtol=2.0**-22)


def test_a_folder_without_index_is_one_checkpoint_and_the_other_files(tmp_path):
    arrays, *_ = WRITERS["ModelOpt NVFP4"]
    safetensors(tmp_path / "b-1.safetensors", {"a.weight": arrays["a.weight"]})
    safetensors(tmp_path / "b-2.safetensors", {n: a for n, a in arrays.items() if n != "a.weight"})
    np.save(tmp_path / "x.npy", normal(2, 32))
    (tmp_path / "config.json").write_text("{}")
    assert [s.name for s in checkpoints.read([tmp_path]).sources] == ["a.weight", "x"]


def test_equal_names_of_several_files_are_told_apart(tmp_path):
    for file in ("a.npz", "b.npz"):
        np.savez(tmp_path / file, x=normal(2, 32), **{file[0]: normal(2, 32)})
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    assert [s.name for s in checkpoints.read(paths).sources] == [f"{paths[0]}: x", "a", f"{paths[1]}: x", "b"]


def nvfp4(**changes):
    """ModelOpt's arrays of one weight with some replaced, by the end of their names, and a float tensor beside it."""
    arrays = dict(WRITERS["ModelOpt NVFP4"][0])
    for name, array in changes.items():
        arrays[f"a.{name}"] = array
    return {n: a for n, a in arrays.items() if a is not None} | {"x": ("F32", normal(2, 32))}


@pytest.mark.parametrize(
    ("arrays", "name", "message"),
    [
        (nvfp4(weight=None), "a.weight_scale", "is a scale without a tensor"),
        (nvfp4(), "a.input_scale", "is a scale of activations"),
        ({"x": ("F32", normal(2, 4)), "q": ("U8", PACKED)}, "q", "U8 (6, 32) without scales beside it"),
        ({"x": ("F32", normal(2, 4)), "q": ("I64", np.arange(4))}, "q", "I64 (4,)"),
        ({"x": ("F32", normal(2, 4)), "q": ("F4", PACKED)}, "q", "F4 (6, 32)"),
        ({"x": ("F32", normal(2, 4)), "w.weight_scale": ("F32", normal(6, 1))}, "w.weight_scale", "is a scale with"),
        ({"x": ("F32", normal(2, 4)), "k_scale": ("F32", normal(8))}, "k_scale", "is a scale of activations"),
    ],
)
def test_a_tensor_that_stands_for_no_values_is_left_out_by_name(arrays, name, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    safetensors(tmp_path / "w.safetensors", arrays)
    contents = checkpoints.read([tmp_path / "w.safetensors"])
    assert "x" in [s.name for s in contents.sources] and not contents.undecoded
    assert contents.left_out[name].startswith(message) and name not in [s.name for s in contents.sources]
    assert door.main(["w.safetensors", "--formats", "nvfp4"]) == 0
    assert "left out: " in capsys.readouterr().err


X, X0 = {"x": ("F32", normal(2, 4))}, normal(16)
UNDECODED = {
    "no block scales": (nvfp4(weight_scale=None), "a.weight", "U8 (6, 32) with a.weight_scale_2 alone"),
    "no tensor scale": (nvfp4(weight_scale_2=None), "a.weight", "no tensor scale: neither NVFP4 nor MXFP4"),
    "padded scales": (
        nvfp4(weight_scale=("F8_E4M3", random_bytes(128, 4, top=0x7F))), "a.weight", "its scales are padded or sw",
    ),
    "six tensor scales": (
        nvfp4(weight_scale_2=("F32", np.ones(6, np.float32))), "a.weight", "scale_2 F32 (6,), expected one",
    ),
    "ComfyUI": (nvfp4(comfy_quant=("U8", random_bytes(19))), "a.weight", "in ComfyUI's order of codes and scales"),
    "FP8 with other scales": (
        X | {"w": ("F8_E4M3", F8), "w_scale": ("F32", normal(5, 1))}, "w", "F32 (5, 1), which do not fit",
    ),
    "FP8 with two scales": (
        X | {"w": ("F8_E4M3", F8), "w_scale": ("F32", normal(6, 1)), "w_scale_2": ("F32", np.float32(7))},
        "w", "with several scales, w_scale, w_scale_2",
    ),
    "GPTQ": (
        X | {"q.qweight": ("I32", np.ones((8, 6), "<i4")), "q.scales": ("F16", np.ones((1, 6), "<f2"))},
        "q.qweight", "I32 (8, 6) with q.scales",
    ),
    "bitsandbytes": (
        X | {"q.weight": ("U8", PACKED), "q.weight.absmax": ("F32", normal(6)), "q.weight.quant_map": ("F32", X0)},
        "q.weight",
        "U8 (6, 32) with q.weight.absmax",
    ),
    "torchao": (
        X | {"w_qdata": ("I8", np.ones((6, 4), "i1")), "w_scale": ("F32", normal(6, 1))}, "w_qdata", "I8 (6, 4)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNDECODED)
def test_a_quantised_weight_that_is_not_decoded_is_skipped_and_the_exit_code_says_so(
    case, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    arrays, name, message = UNDECODED[case]
    safetensors(tmp_path / "w.safetensors", arrays)
    contents = checkpoints.read([tmp_path / "w.safetensors"])
    assert [s.name for s in contents.sources] == ["x"], "a part of a weight is measured as a tensor"
    assert contents.undecoded.keys() == {name} and message in contents.undecoded[name]
    assert door.main(["w.safetensors", "--formats", "nvfp4", "--json", "q.json"]) == 1
    assert f"skipped: {name}: " in capsys.readouterr().err
    assert message in json.loads((tmp_path / "q.json").read_text())[-1]["skipped"]
    assert door.main(["w.safetensors", "--formats", "nvfp4", "--tensors", "x"]) == 0


def test_arrays_of_golden_are_read_back(tmp_path):
    t = golden.quantize(normal(8, 64), "nvfp4")
    np.savez(tmp_path / "w.npz", **t.to_compressed_tensors())
    (source,) = checkpoints.read([tmp_path / "w.npz"]).sources
    assert source.stored_as == "NVFP4 (compressed-tensors)"
    np.testing.assert_allclose(values(source), golden.dequantize(t), rtol=2.0**-22)


def test_a_float_tensor_beside_one_of_its_name_is_measured(tmp_path):
    safetensors(tmp_path / "x.safetensors", {"attn": ("F32", normal(4, 4)), "attn_scale": ("F32", normal(4, 4))})
    assert [s.name for s in checkpoints.read([tmp_path / "x.safetensors"]).sources] == ["attn", "attn_scale"]


@pytest.mark.parametrize("file", ["m.safetensors", "model.safetensors.index.json"])
def test_an_output_never_replaces_a_file_of_the_checkpoint(file, tmp_path):
    safetensors(tmp_path / "m.safetensors", {"a": ("F32", normal(2, 32))})
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "m.safetensors"}}')
    with pytest.raises(InputError, match="is an input: expected another file name"):
        door.main([str(tmp_path), "--json", str(tmp_path / file)])


def test_names_of_tensors_are_printed_without_control_characters(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    safetensors(tmp_path / "x.safetensors", {"a\n\x1b[31m": ("F32", normal(2, 32)), "\ud800": ("F32", normal(2, 32))})
    assert door.main(["x.safetensors", "--formats", "nvfp4"]) == 0
    output = capsys.readouterr().out
    assert "a\\n\\x1b[31m  2x32" in output and "\\ud800  2x32" in output


def test_a_shape_that_numpy_does_not_hold_is_one_line(tmp_path):
    safetensors(tmp_path / "x.safetensors", {"a": ("F32", normal(1).reshape([1] * 32))})
    content = (tmp_path / "x.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    header["a"]["shape"] = [1] * 70
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + content[-4:])
    with pytest.raises(InputError, match=r"x\.safetensors: a is not readable"):
        door.main([str(tmp_path / "x.safetensors"), "--plot", str(tmp_path / "q.png")])


def nan_scales():
    scales = E4M3_SCALES.copy()
    scales[0, 1], scales[3, 2] = 0x7F, 0xFF
    return ("F8_E4M3", scales)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (nvfp4(weight_scale=nan_scales()), "a.weight: 2 of 24 scale bytes are NaN (0x7F or 0xFF)"),
        (nvfp4(weight_scale=("F8_E4M3", E4M3_SCALES | 0x80)), "a.weight: 24 of 24 scale bytes have the sign bit set"),
        (
            nvfp4(weight_scale_2=("F32", np.float32(0))),
            "a.weight: expected a positive finite a.weight_scale_2",
        ),
        (
            {
                "a.weight_packed": ("U8", PACKED),
                "a.weight_scale": ("U8", np.full((6, 2), 255, np.uint8)),
                "x": ("F32", normal(2, 32)),
            },
            "a.weight: 12 of 12 scale bytes are NaN (0xFF)",
        ),
        (
            {"y": ("F32", np.full((2, 32), np.inf, np.float32)), "x": ("F32", normal(2, 32))},
            "y: expected finite values, got inf at index (0, 0)",
        ),
        (
            {"y": ("F8_E4M3", np.full((2, 32), 0x7F, np.uint8)), "x": ("F32", normal(2, 32))},
            "y: expected finite values, got nan at index (0, 0)",
        ),
    ],
)
def test_a_tensor_that_is_not_finite_is_skipped_by_name_and_the_exit_code_says_so(
    arrays, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    safetensors(tmp_path / "w.safetensors", arrays)
    assert door.main(["w.safetensors", "--formats", "nvfp4", "--json", "q.json"]) == 1
    captured = capsys.readouterr()
    assert f"skipped: {message}" in captured.err
    assert "skipped 1 of 2 tensors" in captured.err
    measured, skipped = json.loads((tmp_path / "q.json").read_text())
    assert (measured["tensor"], measured["stored_as"]) == ("x", None)
    assert skipped["skipped"].startswith(message)
    with pytest.raises(InputError, match="of 24 scale bytes|expected|of 12 scale bytes"):
        door.main(["w.safetensors", "--tensors", skipped["tensor"]])


def test_a_float_tensor_that_is_only_called_a_scale_is_measured(tmp_path):
    safetensors(tmp_path / "x.safetensors", {"layer_scale": ("F32", normal(64))})
    assert [s.name for s in checkpoints.read([tmp_path / "x.safetensors"]).sources] == ["layer_scale"]


def test_only_the_wanted_tensors_are_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", **{name: normal(2, 32) for name in ("l0.up", "l0.down", "l1.up", "norm[0]")})
    door.main(["x.npz", "--formats", "nvfp4", "--tensors", "*.up", "norm[0]", "--json", "-"])
    assert [r["tensor"] for r in json.loads(capsys.readouterr().out)] == ["l0.up", "l1.up", "norm[0]"]


def test_a_decoded_weight_says_how_it_was_stored(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    safetensors(tmp_path / "w.safetensors", WRITERS["ModelOpt NVFP4"][0])
    assert door.main(["w.safetensors", "--formats", "nvfp4", "--json", "q.json"]) == 0
    assert "a.weight  6x64  stored as NVFP4 (ModelOpt)" in capsys.readouterr().out
    assert json.loads((tmp_path / "q.json").read_text())[0]["stored_as"] == "NVFP4 (ModelOpt)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected JSON with a weight_map"),
        ("{", "expected JSON with a weight_map"),
        ('{"weight_map": {"a": "../x.safetensors"}}', "expected names of .safetensors files beside it, got '../x"),
        ("[" * 100_000, "expected JSON with a weight_map"),
        ('{"weight_map": {"a": 3}}', "expected names of .safetensors files beside it, got 3"),
        ('{"weight_map": {"a": "y.safetensors"}}', "y.safetensors: not a readable"),
        ('{"weight_map": {"b": "x.safetensors"}}', "places b in it, but it holds no such tensor"),
    ],
)
def test_a_wrong_index_is_refused(text, message, tmp_path):
    safetensors(tmp_path / "x.safetensors", {"a": ("F32", normal(2, 32))})
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(InputError, match=message):
        checkpoints.read([tmp_path])


def test_a_folder_without_tensors_and_a_missing_index_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"expected files that end in \.npy, \.npz, \.safetensors, \.gguf in the folder"
    ):
        checkpoints.read([tmp_path])
    with pytest.raises(InputError, match="not readable"):
        checkpoints.read([tmp_path / "model.safetensors.index.json"])
    for name in "ab":
        (tmp_path / f"{name}.safetensors.index.json").write_text("{}")
        safetensors(tmp_path / f"{name}.safetensors", {"a": ("F32", normal(2, 32))})
    with pytest.raises(InputError, match="name one of its indices, a.safetensors.index.json, b.saf"):
        checkpoints.read([tmp_path])
