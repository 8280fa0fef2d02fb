"""Reports that put others together: accuracy over runs, accuracy against cost."""

import json

import pytest

from hwsim.base.errors import InputError
from hwsim.reports import accuracy, pareto


def point(db, cost):
    return {"output_db": db, "um2_per_mac": cost}


def test_the_front():
    points = [point(20, 5), point(25, 9), point(19, 6), point(25, 9), point(15, 1)]
    assert [pareto.is_on_front(p, points, "um2_per_mac") for p in points] == [True, True, False, True, True]


def run(seed, **nll):
    recipes = [
        {"recipe": name, "weight_bits": 4.5, "activation_bits": 4.5, "output_db": 20 - 10 * over, "worst_db": 10.0,
         "worst": "blk.0.attn_q", "nll": 3 + over, "over_fp32": over, "standard_error": 0.01, "divergence": over,
         "top1": 0.6, "perplexity": 30.0}
        for name, over in nll.items()
    ]  # fmt: skip
    return {"model": "m.gguf", "texts": ["a.txt"], "tokens": 100, "length": 50, "calibration": 50, "seed": seed,
            "exact": False, "nll_fp32": 3.0, "recipes": recipes}  # fmt: skip


def test_claims_are_judged_by_what_runs_differ_by():
    document = {
        "made_by": "test",
        "runs": [run(0, nvfp4=0.40, mixfp4=0.30, four_over_six=0.395, m2xfp=0.55, mxfp4=1.4), run(1, nvfp4=0.42)],
    }
    assert accuracy.spread(document) == pytest.approx(0.02)
    verdicts = {c["claim"]: c["verdict"] for c in accuracy.claims(document)}
    assert verdicts == {
        "MixFP4 is better than NVFP4": "holds", "MixFP4 is better than Four Over Six": "holds",
        "Four Over Six is better than NVFP4": "not resolved", "M2XFP is better than MXFP4": "holds",
        "M2XFP is better than NVFP4": "does not hold",
    }  # fmt: skip
    text = accuracy.to_text(document)
    assert "| nvfp4 | 4.50 / 4.50 |" in text and "+0.400 | +0.420" in text and "differ by up to 0.020 nats" in text


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(InputError, match="no runs in .*accuracy"):
        accuracy.write(tmp_path, tmp_path)
    with pytest.raises(InputError, match=r"accuracy.json does not exist: python -m hwsim.report accuracy makes it"):
        pareto.write(tmp_path, tmp_path)


def test_points_of_committed_layers():
    from conftest import ROOT

    layers = json.loads((ROOT / "reports" / "layers.json").read_text())
    found = {p["format"]: p for p in pareto.points({"runs": [run(0, nvfp4=0.4, mxfp4=1.4, mxfp8=0.1)]}, layers)}
    # A tile of NVFP4: 59111 um2 for 64 outputs times 64 of K.
    assert found["nvfp4"]["um2_per_mac"] == pytest.approx(59111 / 4096, rel=1e-4)
    assert found["mxfp8"]["um2_per_mac"] > 2 * found["nvfp4"]["um2_per_mac"] > found["mxfp4"]["um2_per_mac"]
    assert all(p[f"front_{key}"] for p in found.values() for key, _ in pareto.COSTS)
