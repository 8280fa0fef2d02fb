"""The examples of CONTRIBUTING.md, followed to the letter in a copy of the checkout."""

import re
import shlex
import subprocess
import sys

import pytest
from checkouts import checkout
from conftest import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
SECTION = re.compile(r"^## Add an? (\w+)\n(.*?)(?=^## |\Z)", re.M | re.S)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
SECTIONS = dict(SECTION.findall(PAGE))
#: Examples that stand on others.
NEEDS = {"unit": ["format"]}


def follow(section, folder):
    """Write the files and make the changes of a section; returns its quick commands and its slow ones."""
    quick, slow = [], []
    for kind, text in BLOCK.findall(SECTIONS[section]):
        first, _, rest = text.partition("\n")
        if kind == "console":
            quick += [line.removeprefix("$ ") for line in text.splitlines()]
        elif kind == "sh":
            slow += text.splitlines()
        elif kind == "diff":
            change(folder / first.removeprefix("--- "), rest)
        else:
            path = folder / first.split()[-1]
            assert not path.exists(), f"{path.name} is there already"
            path.write_text(rest)
    return quick, slow


def change(path, lines):
    """Apply the lines of a diff: those without ``+`` must stand in the file, once."""
    rows = [(line[:1], line[1:]) for line in lines.splitlines()]
    assert {sign for sign, _ in rows} <= {" ", "+", "-"}
    before = "".join(f"{text}\n" for sign, text in rows if sign != "+")
    after = "".join(f"{text}\n" for sign, text in rows if sign != "-")
    content = path.read_text()
    assert content.count(before) == 1, f"{path.name} does not hold once:\n{before}"
    path.write_text(content.replace(before, after))


def test_every_kind_of_part_has_an_example():
    assert list(SECTIONS) == ["format", "unit", "engine", "report", "technology"]


def run(command, folder):
    words = shlex.split(command)
    assert words[0] == "python"
    done = subprocess.run([sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.fixture
def followed(section, tmp_path):
    """A checkout in which a section and those that it needs were followed, and the section's commands."""
    folder = checkout(tmp_path / "checkout")
    for needed in NEEDS.get(section, []):
        follow(needed, folder)
    return folder, *follow(section, folder)


LONG = ("unit", "engine", "report", "technology")


@pytest.mark.parametrize("section", [pytest.param(s, marks=pytest.mark.slow) if s in LONG else s for s in SECTIONS])
def test_following_an_example_gives_what_it_says(followed):
    folder, commands, _ = followed
    assert commands
    for command in commands:
        run(command, folder)


@pytest.mark.slow
@pytest.mark.parametrize("section", ["format", "unit", "engine"])
def test_the_suites_take_the_new_part(followed):
    folder, _, commands = followed
    assert any("pytest" in command for command in commands)
    for command in commands:
        run(command, folder)


def test_code_of_the_examples_is_clean(tmp_path):
    ruff = [sys.executable, "-m", "ruff", "check", "golden", "rtl", "hwsim"]
    folder = checkout(tmp_path / "checkout")
    for section in SECTIONS:
        follow(section, folder)
    if subprocess.run([*ruff[:3], "--version"], capture_output=True).returncode:
        pytest.skip("every example could be followed; ruff, which comes with the extra dev, is not installed")
    done = subprocess.run(ruff, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
