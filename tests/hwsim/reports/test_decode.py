"""The report on decoders, made small."""

import json

import pytest

from hwsim.peers import opensta
from hwsim.reports import decode


@pytest.mark.slow
def test_the_report_holds_costs_proofs_and_mutants(build, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "TECHNOLOGIES", ("asap7",))
    monkeypatch.setattr(decode, "UNITS", ("nvfp4_decode", "mxfp4_decode"))
    monkeypatch.setattr(decode, "FULL_LIBRARY", "none.toml")
    monkeypatch.setattr(decode, "LANES", 2)
    monkeypatch.setattr(decode, "MUTANTS", 6)
    speed = {
        "unit": "u", "technology": "asap7", "cells": 1, "engine_vector_cycles_per_s": 2e6,
        "verilator_vector_cycles_per_s": 1e6, "ratio": 2.0, "verilator": "verilator 5",
    }  # fmt: skip
    # How fast the engine is beside Verilator is measured by its own benchmark.
    monkeypatch.setattr(decode, "_activity", lambda build: speed)
    paths = decode.write(tmp_path, build / "decode")
    assert sorted(p.name for p in paths) == ["decode.json", "decode.md", "decode.png"]
    document = json.loads((tmp_path / "decode.json").read_text())
    nvfp4, mxfp4 = document["costs"]
    assert (nvfp4["top"], mxfp4["top"]) == ("nvfp4_decode", "mxfp4_decode")
    assert nvfp4["overhead"] is None and mxfp4["overhead"]["baseline"].startswith("nvfp4_decode")
    assert not any(str(build) in str(path) for cost in document["costs"] for path in cost["artifacts"].values())
    assert len(document["opensta"]) == (2 if opensta.installed() else 0)
    for unit in document["verification"]:
        assert unit["mismatch"] is None
        assert all(proof["holds"] for proof in unit["proofs"])
        assert unit["injected_faults_refuted"] == [True, True]
        assert unit["killed"] + unit["equivalent"] + len(unit["survivors"]) == unit["mutants"]
    assert decode.to_text(document) == (tmp_path / "decode.md").read_text()
