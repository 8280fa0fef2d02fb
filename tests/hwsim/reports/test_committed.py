"""Committed reports are what their modules make of the committed JSON."""

import json
from pathlib import Path

import pytest
from conftest import ROOT

from hwsim.layers import accelerator, comparison, storage, workload
from hwsim.layers.comparison import Work
from hwsim.reports import accuracy, activity, decode, headlines, layers, mixed, overhead, pareto, quantise, verification

REPORTS = ROOT / "reports"


def committed(name):
    return json.loads((REPORTS / f"{name}.json").read_text()), (REPORTS / f"{name}.md").read_text()


@pytest.mark.parametrize(
    "report", [accuracy, activity, decode, headlines, layers, mixed, overhead, pareto, quantise, verification]
)
def test_the_text_is_made_from_the_json(report):
    document, text = committed(report.__name__.rpartition(".")[2])
    assert report.to_text(document) == text


def test_every_net_toggles_as_often_as_in_icarus():
    document, _ = committed("activity")
    assert len(document["compared"]) == len(activity.COMPARED)
    assert all(c["nets_that_differ"] == 0 and c["toggles"] == c["icarus_toggles"] for c in document["compared"])


def test_comparisons_follow_from_the_tiles():
    document, _ = committed("overhead")
    found = overhead.comparisons(document["tiles"], document["points"], document["delays_off_mw"])
    assert found == document["comparisons"]
    for name in ("elements", "buffered", "unfitted", "public"):
        assert getattr(overhead, name)(document["points"]) == document[name]


def test_a_published_figure_stands_once():
    document, _ = committed("overhead")
    mixfp4 = next(c for c in document["comparisons"] if c["tile"] == "mixfp4")
    published = overhead.MIXFP4_PUBLISHED
    assert mixfp4["published_area_percent"] == published.area_percent
    assert mixfp4["published_power_percent"] == published.power_percent


def test_layers_are_simulated_with_the_tiles_that_the_package_brings():
    """Cycles and energies of a few entries of the committed report, made again."""
    document, _ = committed("layers")
    work = Work.of_model(workload.model("smollm2-135m"), "decode", 1, document["context"])
    names = ("nvfp4", "m2xfp", "micromix")
    again = comparison.compare(
        [work], [storage.named(n) for n in names], accelerator.load("edge"), Path("build-of-nothing")
    )["models"]
    for name, found in zip(names, again, strict=True):
        [kept] = [
            m for m in document["models"]
            if (m["device"], m["model"], m["phase"], m["format"]) == ("edge", work.model, "decode", name)
        ]  # fmt: skip
        assert kept["cycles"] == found["cycles"] and kept["energy_pj"] == pytest.approx(found["energy_pj"])
    assert not Path("build-of-nothing").exists()
