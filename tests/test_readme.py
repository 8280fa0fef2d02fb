"""The README says what is there."""

import json
import re

import pytest
from conftest import ROOT

from hwsim.__main__ import TOOLS
from hwsim.reports import mixed, overhead, pareto, quantise, silicon, verification

README = (ROOT / "README.md").read_text()


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_no_placeholder_is_left():
    assert re.findall(r"@[A-Z]+@", README) == []


@pytest.mark.parametrize("report", [mixed, overhead, pareto, quantise, silicon, verification])
def test_its_tables_are_those_of_the_reports(report):
    name = report.__name__.rpartition(".")[2]
    assert report.headline(json.loads((ROOT / "reports" / f"{name}.json").read_text())) in README


def test_its_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["golden"].BlockTensor.load("activations.mixfp4.npz") == names["t"]
    assert names["d"].shape == names["exact"].shape == (4, 3)


def test_every_tool_that_it_calls_exists():
    called = set(re.findall(r"python -m hwsim\.(\w+)", README))
    assert called - {"TOOL"} <= set(TOOLS)
    assert {"synth", "verilog", "cosim", "prove", "mutants", "quality", "tech", "bench", "report"} <= called


def test_ci_runs_its_test_command():
    assert len(re.findall(r"python -m pytest$", README, re.M)) == 1
    assert "grep -m1 'python -m pytest$' README.md" in (ROOT / ".ci/run").read_text()
