"""Copies of what is in the repository."""

import shutil

from conftest import ROOT

PARTS = (
    *("golden", "rtl", "hwsim", "tests", "docs", "reports"),
    *("pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"),
)


def checkout(folder):
    """Copy the repository, so that a test may change it and build in it."""
    folder.mkdir(exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, folder / part)
    return folder
