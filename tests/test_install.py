"""hwsim is installed under its own name, and its code runs from an installation and from a checkout alike."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from checkouts import checkout

#: What a user's Python is asked: where the modules come from, and whether a tool runs.
QUESTIONS = """
import sys, hwsim
from hwsim import golden, rtl
import hwsim.golden.mma, hwsim.rtl.tile.tile
assert callable(golden.mma), golden.mma
print(hwsim.__file__, hwsim.__version__)
"""


@pytest.fixture(scope="module", params=["regular", "editable"])
def installed(request, tmp_path_factory):
    """Python of a new environment with hwsim, its site-packages, and the checkout that it was installed from."""
    folder = tmp_path_factory.mktemp(request.param)
    source = checkout(folder / "checkout")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    [packages] = (folder / "venv" / "lib").glob("python*/site-packages")
    # What hwsim needs is taken from where the tests run; a path added this way brings no editable packages along.
    (packages / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")) + "\n")
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-q",
        *(["-e"] if request.param == "editable" else []),
    ]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", *options, source]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    return python, packages, source


def user_folder(folder):
    """A folder whose owner has files of the same names as ours."""
    (folder / "rtl").mkdir()
    (folder / "rtl" / "__init__.py").write_text("raise SystemExit('this rtl is the user\\'s')\n")
    (folder / "golden.py").write_text("raise SystemExit('this golden is the user\\'s')\n")
    return folder


@pytest.mark.parametrize("place", ["elsewhere", "in the checkout", "beside a golden.py and an rtl of the user's"])
def test_it_runs(installed, place, tmp_path):
    python, packages, source = installed
    folder = {"elsewhere": tmp_path, "in the checkout": source}.get(place) or user_folder(tmp_path)
    run = {"cwd": folder, "capture_output": True, "text": True, "env": os.environ | {"PYTHONPATH": ""}}
    answer = subprocess.run([python, "-c", QUESTIONS], **run)
    assert answer.returncode == 0, answer.stderr
    origin = Path(answer.stdout.split()[0])
    assert origin.is_relative_to(packages) or origin.is_relative_to(source)
    tool = [python, "-m", "hwsim.verilog", "--unit", "nvfp4_decode", "-o", tmp_path / "out", "--build", tmp_path / "b"]
    done = subprocess.run(tool, **run)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "nvfp4_decode.v").exists()


def test_nothing_else_is_put_at_the_top_level(installed):
    _, packages, _ = installed
    assert not [p.name for p in packages.iterdir() if p.name in ("golden", "rtl", "golden.py", "tests")]


def test_an_installed_package_says_what_only_a_checkout_has(installed, tmp_path):
    python, packages, _ = installed
    if not (packages / "hwsim" / "py.typed").exists():
        pytest.skip("an editable installation is a checkout")
    report = [python, "-m", "hwsim.report", "conformance", "-o", tmp_path]
    done = subprocess.run(report, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: this report needs a checkout of hwsim: the installed package does not hold")
