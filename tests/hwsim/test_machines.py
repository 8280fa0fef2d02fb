"""Several processes at once, machines without programs or writable folders, interrupts."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ROOT

from hwsim.base import kernels_cache
from hwsim.technology import pack

SYNTH = ("synth", "--unit", "nvfp4_decode", "--set", "lanes=2", "--baseline", "none", "--json", "-")


def library(path, factor):
    """The rendered pack of asap7 under its own name, with all areas multiplied."""
    content = pack.load(ROOT / "hwsim" / "technology" / "packs" / "asap7.toml")
    for cell in content["cell"].values():
        cell["area"] *= factor
    path.write_text(pack.render(content))
    return path


@pytest.fixture
def small_disk(tmp_path):
    """Makes a disk of a size as ``mount`` takes it, and returns its folder; skips where that is not allowed."""
    made = []

    def make(size):
        folder = tmp_path / f"disk-{size}"
        folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
        if mounted.returncode:
            pytest.skip("cannot mount a small disk here")
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("size", ["300k", "500k", "600k"])
def test_a_disk_that_is_full_before_the_end_is_one_line_and_no_figures(size, small_disk, run_tool):
    """Yosys does not look whether its files could be written: a netlist cut off would give wrong figures."""
    result = run_tool(
        "synth", "--unit", "nvfp4_decode", "--baseline", "none", "--build", str(small_disk(size)), "--json", "-"
    )
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert str(size) in result.stderr and ("disk full" in result.stderr or "No space left" in result.stderr)


@pytest.mark.slow
def test_a_simulation_on_a_full_disk_says_so(small_disk, run_tool):
    result = run_tool("cosim", "--unit", "nvfp4_decode", "--build", str(small_disk("3000k")))
    assert result.returncode == 2 and "No space left on device" in result.stderr and "disk-3000k" in result.stderr


@pytest.mark.slow
def test_four_processes_at_once_give_the_figures_of_each_alone(run_tool, tmp_path):
    """Two libraries of one name, two wire loads, equal commands: nothing is mixed up, and a second run is the same."""
    one, two = library(tmp_path / "one.lib", 1), library(tmp_path / "two.lib", 3)
    commands = [
        (*SYNTH, "--liberty", one), (*SYNTH, "--liberty", two), (*SYNTH, "--liberty", one, "--wire-load", "zero"),
        (*SYNTH, "--liberty", one),
    ]  # fmt: skip
    commands = [tuple(map(str, command)) for command in commands]

    def figures(command, build):
        result = run_tool(*command, "--build", build)
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)
        return {key: found[key] for key in ("area_um2", "cells", "slack_ns", "power_mw", "artifacts")}

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda command: figures(command, "shared"), commands))
    alone = [figures(command, f"alone{i}") for i, command in enumerate(commands)]
    for here, there in zip(together, alone, strict=True):
        assert here.pop("artifacts") != there.pop("artifacts")
        assert here == there
    assert together[1]["area_um2"] == pytest.approx(3 * together[0]["area_um2"], rel=1e-6)
    assert together[2]["power_mw"] != together[0]["power_mw"]
    start = time.perf_counter()
    again = figures(commands[0], "shared")
    assert {k: again[k] for k in together[0]} == together[0]
    assert time.perf_counter() - start < 30
    assert not [p for p in (tmp_path / "shared").rglob(".*") if "lock" not in p.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run as a user without a home")
def test_a_user_who_can_write_nothing_is_served(tmp_path):
    """A package installed by root, HOME=/: kernels go to a temporary folder, which is said once."""
    shutil.copytree(ROOT / "hwsim", tmp_path / "site" / "hwsim", symlinks=False)
    for folder in ("site", "site/hwsim"):
        (tmp_path / folder).chmod(0o755)
    for parent in [tmp_path, *list(tmp_path.parents)[:3]]:
        parent.chmod(parent.stat().st_mode | 0o055)
    (tmp_path / "temporary").mkdir(mode=0o777)
    (tmp_path / "temporary").chmod(0o777)
    code = (
        "import os, sys; os.setgid(65534); os.setuid(65534); sys.path.insert(0, sys.argv[1])\n"
        "import hwsim; from hwsim import golden; import numpy as np\n"
        "print(golden.quantize(np.ones((1, 32), np.float32), 'mxfp4').codes.max())"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": "/", "TMPDIR": str(tmp_path / "temporary")}
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")], env=environment, cwd="/", capture_output=True, text=True
    )
    if re.search("No module named '(?!hwsim)", result.stderr):
        pytest.skip("other users cannot read this Python")
    assert result.returncode == 0, result.stderr
    assert len(re.findall(r"^note: neither .* can be written; compiled kernels are kept in", result.stderr, re.M)) == 1


def test_kernels_go_to_a_folder_of_the_user_if_nothing_else_can_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(kernels_cache.tempfile, "gettempdir", lambda: str(tmp_path))
    can = {str(tmp_path / f"hwsim-kernels-{os.getuid()}")}
    monkeypatch.setattr(kernels_cache, "_is_writable", lambda folder: str(folder) in can)
    kernels_cache.prepare("/package")
    assert os.environ["NUMBA_CACHE_DIR"] in can
    assert os.stat(os.environ["NUMBA_CACHE_DIR"]).st_mode & 0o077 == 0
    assert "neither /package nor" in capsys.readouterr().err
    kernels_cache.prepare("/package")
    assert not capsys.readouterr().err
    # Nothing is done where the package or the user's cache can be written.
    for writable in (["/package/golden/__pycache__", "/package/analysis/__pycache__"], ["/home/me/.cache/numba"]):
        monkeypatch.delenv("NUMBA_CACHE_DIR")
        monkeypatch.setenv("HOME", "/home/me")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        can = set(writable)
        kernels_cache.prepare("/package")
        assert "NUMBA_CACHE_DIR" not in os.environ
        monkeypatch.setenv("NUMBA_CACHE_DIR", "x")


def test_missing_programs_are_named_before_anything_starts(run_tool, tmp_path):
    result = run_tool("cosim", "--unit", "nvfp4_decode", PATH="/nowhere")
    assert result.returncode == 2
    assert result.stderr == (
        "error: verilator needs perl, make, g++, not found on PATH (Debian: apt install g++ make perl)\n"
    )
    assert not (tmp_path / "build").exists()
    result = run_tool("cosim", "--unit", "nvfp4_decode", "--simulator", "icarus", PATH="/nowhere")
    assert "icarus needs iverilog, vvp, not found on PATH (Debian: apt install iverilog)" in result.stderr


@pytest.mark.parametrize("delay", [0.4, 4.0])
def test_an_interrupt_ends_everything_at_once_without_a_traceback(delay, tmp_path):
    command = [sys.executable, "-m", "hwsim.synth", "--unit", "nvfp4_mma", "--set", "m=1", "--set", "n=1"]
    # A shell starts jobs in the background deaf to interrupts, and who runs the tests may be one.
    deaf = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    signal.signal(signal.SIGINT, deaf)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    start = time.perf_counter()
    _, errors = process.communicate(timeout=60)
    assert time.perf_counter() - start < 2
    assert process.returncode == 130 and errors == b""
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert left == ""


@pytest.mark.parametrize(
    "command",
    [
        ("synth", "--baseline", "none"),
        pytest.param(("prove",), marks=pytest.mark.slow),
        pytest.param(("cosim",), marks=pytest.mark.slow),
        pytest.param(("mutants", "--mutants", "10"), marks=pytest.mark.slow),
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_any_folder_will_do(command, run_tool):
    tool, *options = command
    result = run_tool(tool, "--unit", "nvfp4_decode", "--set", "lanes=2", "--build", "my builds; (x) & more", *options)
    assert result.returncode == 0, result.stderr


def test_version_and_json_on_standard_output(run_tool, tmp_path):
    import numpy as np

    assert run_tool("synth", "--version").stdout == run_tool("quality", "--version").stdout
    assert re.fullmatch(r"hwsim \d+\.\d+\.\d+\n", run_tool("verilog", "--version").stdout)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32))
    result = run_tool("quality", "x.npy", "--formats", "nvfp4", "--json", "-")
    assert json.loads(result.stdout)[0]["format"] == "nvfp4"
    assert not (tmp_path / "-").exists()
