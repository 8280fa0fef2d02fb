"""A kept verdict is used again only if nothing that decides it has changed."""

import shutil

import pytest
from conftest import ROOT

from hwsim.base import imports
from hwsim.verification import checks
from hwsim.verification.checks import ENTRIES, key

#: A file of every kind, and the checks whose verdict it decides.
ALL = frozenset(ENTRIES)
DECIDES = {
    "golden/accumulate.py": ALL,
    "golden/kernels.py": ALL,
    "rtl/arith.py": ALL,
    "rtl/tile/__init__.py": ALL,
    "hwsim/__init__.py": ALL,
    "hwsim/units/edge_cases.py": ALL,
    "hwsim/verification/checks.py": ALL,
    "hwsim/base/bits.py": {"cosim", "mutants", "bulk"},
    "hwsim/verification/testbench.py": {"cosim", "mutants"},
    "hwsim/verification/cosimulation.py": {"cosim", "mutants"},
    "hwsim/verification/adders.py": {"proofs"},
    "hwsim/analysis/activity.py": {"bulk"},
    "hwsim/analysis/timing.py": {"bulk"},
    "hwsim/technology/expression.py": {"bulk"},
    "hwsim/technology/cell_reader.py": {"bulk"},
    "hwsim/verification/specs/mma_step.v": ALL,
    "hwsim/technology/packs/asap7.toml": ALL,
    "hwsim/technology/packs/sky130hd.toml": set(),
    "hwsim/benchmarks/golden.py": set(),
    "hwsim/reports/verification.py": set(),
}


@pytest.fixture
def copy(tmp_path):
    for folder in ("golden", "rtl", "hwsim"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=ignored)
    return tmp_path


def keys(root):
    return {what: key(what, "RTL", root) for what in ENTRIES}


def test_every_kind_of_file_that_decides_changes_the_key(copy):
    before = keys(copy)
    assert before == keys(copy) and len(set(before.values())) == len(before)
    for name, deciding in DECIDES.items():
        path = copy / name
        text = path.read_bytes()
        path.write_bytes(text + b"\n")
        changed = {what for what, now in keys(copy).items() if now != before[what]}
        assert changed >= deciding, name
        assert deciding or not changed, name
        path.write_bytes(text)


def test_rtl_tools_and_settings_change_the_key(copy, monkeypatch):
    assert key("bulk", "RTL", copy) != key("bulk", "other RTL", copy)
    before = keys(copy)
    monkeypatch.setattr(checks, "SEED", 2)
    assert not set(before.values()) & set(keys(copy).values())
    monkeypatch.undo()
    monkeypatch.setattr(imports, "_versions", lambda modules: ["pyosys 0"])
    assert not set(before.values()) & set(keys(copy).values())
