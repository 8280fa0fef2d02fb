"""Import statements, followed without executing anything."""

import pytest

from hwsim.base import imports


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
