"""A kept verdict is used again only if nothing that decides it has changed."""

import shutil

import pytest
from conftest import ROOT

from hwsim import imports, report_verification
from hwsim.report_verification import ENTRIES, key

#: A file of every kind, and the checks whose verdict it decides.
ALL = frozenset(ENTRIES)
DECIDES = {
    "golden/accumulate.py": ALL,
    "golden/kernels.py": ALL,
    "rtl/arith.py": ALL,
    "rtl/__init__.py": ALL,
    "hwsim/corners.py": ALL,
    "hwsim/__init__.py": ALL,
    "hwsim/bits.py": {"cosim", "mutants", "bulk"},
    "hwsim/testbench.py": {"cosim", "mutants"},
    "hwsim/cosim.py": {"cosim", "mutants"},
    "hwsim/linear.py": {"proofs"},
    "hwsim/activity.py": {"bulk"},
    "hwsim/sta.py": {"bulk"},
    "hwsim/expression.py": {"bulk"},
    "hwsim/cell_reader.py": {"bulk"},
    "hwsim/specs/mma_step.v": ALL,
    "hwsim/technologies/asap7.toml": ALL,
    "hwsim/technologies/sky130hd.toml": set(),
    "hwsim/bench_golden.py": set(),
}


@pytest.fixture
def copy(tmp_path):
    for folder in ("golden", "rtl", "hwsim"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
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
    monkeypatch.setattr(report_verification, "SEED", 2)
    assert not set(before.values()) & set(keys(copy).values())
    monkeypatch.undo()
    monkeypatch.setattr(imports, "_versions", lambda modules: ["pyosys 0"])
    assert not set(before.values()) & set(keys(copy).values())


def test_imports_are_followed_wherever_they_stand(tmp_path):
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("from . import deep\n")
    (package / "inner" / "deep.py").write_text("from ..other import value\nimport numpy.linalg\n")
    (package / "other.py").write_text("def late():\n    from package import last\n")
    (package / "last.py").write_text("value = 1\n")
    (package / "alone.py").write_text("")
    found = imports.closure(["package.inner"], tmp_path)
    assert list(found.files) == ["package", "package.inner", "package.inner.deep", "package.last", "package.other"]
    assert found.others == {"numpy"}
    with pytest.raises(ModuleNotFoundError, match="package.missing"):
        imports.closure(["package.missing"], tmp_path)
