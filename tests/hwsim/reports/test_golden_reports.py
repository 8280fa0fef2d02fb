"""Reports on the golden models."""

import os

from hwsim.peers import conformance
from hwsim.reports import conformance as report
from hwsim.reports import golden_speed


def test_conformance_report(tmp_path, monkeypatch):
    monkeypatch.delenv("HWSIM_CONFORMANCE", raising=False)
    report.write(tmp_path, tmp_path)
    text = (tmp_path / "conformance.md").read_text()
    assert "Made by `python -m hwsim.report conformance`.\n\nVectors: `tests/data/conformance.npz`" in text
    assert "amax < 7.9e-36 |" in text
    assert " 0 unexplained mismatches" in text
    assert text.count("exact FP4 tie") == 3


def test_conformance_report_of_another_file(tmp_path, monkeypatch):
    other = tmp_path / "other.npz"
    other.write_bytes(conformance.SLICE.read_bytes())
    monkeypatch.setenv("HWSIM_CONFORMANCE", str(other))
    report.write(tmp_path, tmp_path)
    text = (tmp_path / "conformance.md").read_text()
    told = os.path.relpath(other, conformance.SLICE.parents[2])
    assert f"Made by `HWSIM_CONFORMANCE={told} python -m hwsim.report conformance`.\n\nVectors: `{told}`" in text


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
    golden_speed.write(tmp_path, tmp_path, found)
    text = (tmp_path / "golden_speed.md").read_text()
    assert "| nvfp4 | 500 | 20% | 25% NOT met | 1000 | 40% | 30% met | 2.0, cached 0.10 |" in text
    assert "| microxcaling | not installed |  |  |  |  | 20.0x not measured |" in text
