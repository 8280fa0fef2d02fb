"""The activity report on small cases."""

import shutil

import pytest

from hwsim.base.errors import InputError
from hwsim.reports import activity


@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
def test_the_report_of_small_units(build, tmp_path, monkeypatch):
    monkeypatch.setattr(activity, "COMPARED", (("nvfp4_decode", {}, "sg13g2", 64),))
    monkeypatch.setattr(activity, "TILES", {"nvfp4_decode": None, "mixfp4_decode": "nvfp4_decode"})
    text, _ = activity.write(tmp_path, build)
    lines = text.read_text().splitlines()
    [compared] = [line for line in lines if line.startswith("| `nvfp4_decode` | sg13g2")]
    assert compared.split("|")[8].strip() == "0"
    assert any(line.startswith("| `mixfp4_decode` over `nvfp4_decode` | +") for line in lines)


def test_without_icarus_the_message_says_so(build, tmp_path, monkeypatch):
    monkeypatch.setattr(activity.simulators, "available", lambda name: False)
    with pytest.raises(InputError, match="Icarus is not installed"):
        activity.write(tmp_path, build)
