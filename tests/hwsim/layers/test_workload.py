"""Work: shapes of models against a second derivation of them, SCALE-Sim's CSV, bad input."""

import json

import pytest
from conftest import ROOT

from hwsim.base.errors import InputError
from hwsim.layers import workload
from hwsim.layers.workload import GEMM

SHAPES = json.loads((ROOT / "tests" / "data" / "layers" / "gemm_shapes.json").read_text())
PHASES = {
    "prefill_b1_s2048": ("prefill", 1, 2048), "decode_b1_ctx2048": ("decode", 1, 2048),
    "decode_b16_ctx2048": ("decode", 16, 2048),
}  # fmt: skip


@pytest.mark.parametrize("name", workload.shipped())
def test_shapes_of_a_shipped_model(name):
    """Names, sizes and counts of all GEMMs but those of experts, whose draw differs; sums of these."""
    model = workload.model(name)
    [wanted] = [shapes for title, shapes in SHAPES.items() if title.lower() == name]
    assert model.linear_parameters == wanted["linear_parameters"]
    assert model.embedding_parameters == wanted["embedding_parameters"]
    for key, phase in PHASES.items():
        gemms = model.gemms(*phase)
        ours = sorted((g.name, g.m, g.n, g.k, g.count) for g in gemms if g.kind != "expert")
        assert ours == sorted(tuple(g) for g in wanted[key]["gemms"])
        assert workload.totals(gemms) == wanted[key]["multiply_adds"]


def test_experts_get_whole_tokens_and_a_trace_is_taken():
    model = workload.model("qwen3-30b-a3b")
    drawn = workload.uniform_histogram(2048, model.experts, model.active)
    assert sum(drawn.values()) == 128 and sum(n * c for n, c in drawn.items()) == 2048 * 8
    assert drawn == workload.uniform_histogram(2048, model.experts, model.active)
    gemms = model.gemms("decode", 4, 16, {0: 120, 4: 8})
    assert [(g.m, g.count) for g in gemms if g.name == "expert_up"] == [(4, 8 * 48)]


def test_what_is_quantised_once():
    """k and v share q's activations, up shares gate's."""
    gemms = workload.model("llama-3.1-8b").gemms("decode", 1, 128)
    a_token = sum(g.count * g.quantised for g in gemms if g.kind == "weight" and g.name != "lm_head")
    assert a_token == 32 * (2 * 4096 + 4096 + 14336)


def config(tmp_path, **changed):
    values = json.loads((workload.MODELS / "llama-3.1-8b.json").read_text()) | changed
    path = tmp_path / "config.json"
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    return path


def test_a_hugging_face_configuration(tmp_path):
    mine = workload.model(config(tmp_path, num_key_value_heads=None, head_dim=None))
    assert (mine.kv_heads, mine.head_dim) == (32, 128)
    assert workload.model(tmp_path) == mine
    moe = workload.model(config(tmp_path, model_type="mixtral", num_local_experts=8, num_experts_per_tok=2))
    assert (moe.experts, moe.expert_intermediate, moe.dense_layers) == (8, 14336, 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "gpt2"}, "model_type must be one of llama, .*, got 'gpt2'"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": "4096"}, "hidden_size must be a whole number, got '4096'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be positive, got 0"),
        ({"num_key_value_heads": 5}, r"num_attention_heads \(32\) must be a multiple of num_key_value_heads, got 5"),
        ({"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 9}, "must be 1 to 8, got 9"),
        ({"model_type": "nemotron_h", "n_routed_experts": 4, "num_experts_per_tok": 1}, "hybrid_override_pattern"),
    ],
)
def test_configurations_that_make_no_sense(changed, message, tmp_path):
    with pytest.raises(InputError, match=message):
        workload.model(config(tmp_path, **changed))


def test_unknown_models_and_files(tmp_path):
    with pytest.raises(InputError, match="unknown model: llama-3.1-8 .*did you mean llama-3.1-8b"):
        workload.model("llama-3.1-8")
    with pytest.raises(InputError, match="does not exist"):
        workload.model(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="not a JSON file"):
        workload.model(tmp_path / "bad.json")


def written(tmp_path, text):
    path = tmp_path / "gemms.csv"
    path.write_text(text)
    return path


def test_csv_of_scale_sim(tmp_path):
    path = written(tmp_path, "Layer,M,N,K,\ng0, 64, 32, 16,\n\ng1,1,2,3\n")
    assert workload.read_csv(path) == [GEMM("g0", 64, 32, 16), GEMM("g1", 1, 2, 3)]
    path = written(tmp_path, "Layer, M, N, K, count, kind\nqk, 4, 2048, 128, 256, attention\n")
    assert workload.read_csv(path) == [GEMM("qk", 4, 2048, 128, 256, "attention")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"), ("Layer,M,N\n", "gemms.csv:1: expected the header"), ("Layer,M,N,K,\n", "no GEMM below"),
        ("Layer,M,N,K,\na,1,2,x,\n", "gemms.csv:2: M, N, K and count must be whole numbers"),
        ("Layer,M,N,K,\na,1,2,\n", "gemms.csv:2: expected 4 cells, got 3"),
        ("Layer,M,N,K,\na,1,0,3,\n", "gemms.csv:2: a: N must be a positive whole number, got 0"),
        ("Layer,M,N,K,kind\na,1,1,3,conv\n", "kind must be weight, expert, attention, got 'conv'"),
    ],
)  # fmt: skip
def test_csv_that_makes_no_sense(text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        workload.read_csv(written(tmp_path, text))


@pytest.mark.parametrize(("phase", "batch"), [("train", 1), ("decode", 0)])
def test_phases_and_batches(phase, batch):
    with pytest.raises(InputError):
        workload.model("smollm2-135m").gemms(phase, batch, 10)
