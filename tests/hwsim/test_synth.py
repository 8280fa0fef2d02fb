"""The command: figures, JSON, errors."""

import importlib.util
import json
import re

import numpy as np
import pytest

from hwsim import synth, units
from hwsim.units.table import UNITS


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("synth")
    result = subprocess.run(
        [sys.executable, "-m", "hwsim.synth", "--unit", "mixfp4_decode", "--saif", "a.saif", "--json", "-"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), folder


def test_json_alone_on_standard_output_holds_the_documented_keys(document):
    found, folder = document
    assert found["top"] == "mixfp4_decode"
    for key in ("area_um2", "gate_equivalents", "critical_path_ns", "slack_ns", "fmax_mhz", "energy_fj_per_operand"):
        assert found[key] > 0, key
    power = found["power_mw"]
    parts = ("internal", "switching", "leakage", "clock")
    for total in (power, found["power_settled_mw"]):
        assert total["total"] == pytest.approx(sum(total[part] for part in parts))
    assert power["total"] > found["power_settled_mw"]["total"] > 0
    assert found["toggles"]["timed"] > found["toggles"]["settled"] > 0
    assert 0 < found["power_standard_error_percent"] < 1
    assert found["power_idle_mw"] is found["power_bubbles_mw"] is None
    assert found["overhead"]["baseline"] == "nvfp4_decode"
    assert found["overhead"]["area_percent"] > 0 and found["overhead"]["power_percent"] > 0
    assert found["overhead"]["published"]["area_percent"] == 3.1
    for key in ("verilog", "netlist", "liberty", "log"):
        assert (folder / found["artifacts"][key]).exists(), key
    assert (folder / "a.saif").exists()


def test_provenance_is_complete(document):
    where = document[0]["provenance"]
    for key in ("technology", "corner", "tools", "clock", "wire_load", "activity", "seed", "annotated", "checked"):
        assert where[key], key
    assert "Yosys" in where["tools"] and "Amaranth" in where["tools"]
    annotated, of = where["annotated"].split(" nets")[0].split(" of ")
    assert int(annotated) == int(of) == document[0]["nets"]
    assert document[0]["baseline"]["top"] == "nvfp4_decode" and document[0]["baseline"]["area_um2"] > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([1.0, np.nan] * 16), "got nan at index (1,)"),
        (np.array([[1.0, 1e60] * 16]), "got 1e+60 at index (0, 1)"),
        (np.float32(3.0), "got a single number"),
        (np.arange(32), "expected a float array with elements, got int64 (32,)"),
    ],
)
def test_a_tensor_that_fp32_does_not_hold_is_refused(values, message, run_tool, tmp_path):
    np.save(tmp_path / "x.npy", values)
    result = run_tool("synth", "--unit", "nvfp4_decode", "--tensor", "x.npy")
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr


def test_a_tensor_of_any_width_is_padded(run_tool, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((8, 50), np.float16))
    result = run_tool("synth", "--unit", "mixfp4_decode", "--tensor", "x.npy", "--baseline", "none")
    assert result.returncode == 0, result.stderr


def test_slack_and_frequency_are_consistent(document):
    found = document[0]
    assert found["slack_ns"] == pytest.approx(found["clock_period_ns"] - found["critical_path_ns"])
    assert found["fmax_mhz"] == pytest.approx(1000 / found["critical_path_ns"])
    assert found["timing_met"] is True


def test_unmet_timing_is_said_loudly(run_tool):
    """A comparison of designs that miss their clock says so where it stands; only on demand it is an error."""
    options = ("synth", "--unit", "mixfp4_decode", "--clock-period", "0.05")
    result = run_tool(*options)
    assert result.returncode == 0 and "overhead, TIMING NOT MET" in result.stdout
    assert "WARNING: TIMING NOT MET: mixfp4_decode needs" in result.stdout
    result = run_tool(*options, "--require-timing", "--json", "-")
    assert result.returncode == 1
    assert result.stderr.endswith("error: timing not met by mixfp4_decode and nvfp4_decode\n")
    document = json.loads(result.stdout)
    assert (document["timing_met"], document["overhead"]["timing_met"]) == (False, False)


def test_met_timing_is_no_error(run_tool):
    result = run_tool("synth", "--unit", "mixfp4_decode", "--require-timing")
    assert result.returncode == 0 and "NOT MET" not in result.stdout


def test_wires_cost(run_tool):
    totals = [
        json.loads(run_tool("synth", "--unit", "nvfp4_decode", "--wire-load", w, "--json", "-").stdout)["power_mw"][
            "switching"
        ]
        for w in ("zero", "fanout")
    ]
    assert totals[0] < totals[1]


def test_hierarchical_mapping_is_the_same_function(run_tool):
    result = run_tool("synth", "--unit", "mixfp4_decode", "--hierarchical", "--baseline", "none", "--json", "-")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["provenance"]["mapping"] == "hierarchical"


def test_a_users_tensor_is_the_stimulus(run_tool, tmp_path):
    np.save(tmp_path / "zeros.npy", np.zeros((64, 64), np.float32))
    result = run_tool("synth", "--unit", "nvfp4_decode", "--tensor", "zeros.npy", "--json", "-")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["power_mw"]["switching"] == 0.0
    assert "zeros.npy" in found["provenance"]["activity"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--unit", "mixfp4_decoder"], "unknown unit: mixfp4_decoder (known: nvfp4_decode,"),
        (["--unit", "mixfp4_decoder"], "did you mean mixfp4_decode?"),
        (["--unit", "nvfp4_decode", "--set", "lines=3"], "unknown parameter of nvfp4_decode: lines"),
        (["--unit", "nvfp4_decode", "--set", "lanes"], "--set takes KEY=VALUE, got 'lanes'"),
        (["--unit", "nvfp4_decode", "--set", "lanes=0"], "lanes must be a positive integer, got 0"),
        (["--unit", "nvfp4_decode", "--tech", "asap6"], "asap7"),
        (["--unit", "nvfp4_decode", "--clock-period", "-1"], "--clock-period must be 0.001 to 1e+06 ns, got -1"),
        (["--unit", "nvfp4_decode", "--clock-period", "nan"], "--clock-period must be 0.001 to 1e+06 ns, got nan"),
        (["--unit", "nvfp4_decode", "--set", "lanes=\N{SUPERSCRIPT TWO}"], "lanes must be a positive integer"),
        (["--unit", "nvfp4_decode", "--json", "."], "--json: cannot write .: expected a file name in a folder"),
        (["--unit", "nvfp4_decode", "--set", "lanes=1", "--set", "lanes=2"], "--set gives lanes twice"),
        (["--unit", "nvfp4_decode", "--set", "lanes=" + 5000 * "9"], "lanes must be a positive integer"),
        (["--unit", "nvfp4_decode", "--seed", "-1"], "argument --seed: must be 0 to 2147483647, got -1"),
        (["--unit", "nvfp4_decode", "--build", 'a"b'], "--build must be a folder without '\"' in its path"),
        (["--unit", "nvfp4_decode", "--json", "x", "--saif", "x"], "--json and --saif name the same file, x"),
        (["--unit", "nvfp4_decode", "--baseline", "nvfp4_decode"], "is the unit itself with the same parameters"),
        (["--unit", "nvfp4_decode", "--baseline", "nvfp4_mma"], "nvfp4_mma does multiply-adds, nvfp4_decode operands"),
        (["--unit", "nvfp4_decode", "--liberty", "none.lib"], "none.lib"),
        (["--unit", "nvfp4_decode", "--tensor", "none.npy"], "none.npy"),
        (["--unit", "nvfp4_decode", "--vectors", "3"], "--vectors must be 4096 to 67108864, got 3"),
        (["--unit", "nvfp4_decode", "--baseline", "nothing"], "unknown unit: nothing"),
        ([], "--unit is missing"),
    ],
)
def test_bad_input_exits_with_2_and_no_traceback(arguments, message, run_tool):
    result = run_tool("synth", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bulk", "--unit", "nvfp4_mma", "--seed", "-1"], "argument --seed: must be 0 to 2147483647, got -1"),
        (["bulk", "--unit", "nvfp4_decode"], "--unit must be an MMA unit or a quantisation engine ("),
        (["bulk", "--unit", "nvfp4_mma", "--exhaustive"], "--exhaustive: operands of a dot product are too many"),
        (["bulk", "--unit", "nvfp4_mma", "--set", "m=4"], "--set m: one dot product is checked"),
        (["prove", "--unit", "nvfp4_decode", "--inject", "-1"], "argument --inject: must be 0 to 2147483647, got -1"),
        (["mutants", "--unit", "nvfp4_decode", "--mutants", "1"], "--mutants must be 10 to 100000, got 1"),
        (["prove", "--unit", "nvfp4_mma", "--set", "buffers=1"], "proofs are of tiles without buffers, got buffers=1"),
        (["mutants", "--unit", "nvfp4_mma", "--set", "buffers=1"], "proofs are of tiles without buffers"),
        (["bench", "--vectors", "4096", "golden"], "the benchmark comes first: python -m hwsim.bench golden"),
        (["verilog", "--unit", "nvfp4_decode", "-o", "file"], "-o must be a folder, got the file file"),
        (["tech", "render", "nangate45", "-o", "x.lib"], "nangate45 is no pack"),
        (["tech", "fit", "file", "-o", "x.lib"], "-o must be a file name that ends in .toml"),
        (["synth", "--unit", "nvfp4_decode", "--tensor", "file"], "--tensor file: not a readable .npy file"),
    ],
)
def test_other_tools_refuse_bad_input_too(arguments, message, run_tool, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    result = run_tool(*arguments)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert message in result.stderr


def test_an_output_never_replaces_an_input(run_tool, tmp_path):
    tensor = np.ones((16, 32), np.float32)
    np.save(tmp_path / "x.npy", tensor)
    for arguments in (["quality", "x.npy", "--json", "x.npy"],
                      ["synth", "--unit", "nvfp4_decode", "--tensor", "x.npy", "--saif", "x.npy"]):  # fmt: skip
        result = run_tool(*arguments)
        assert result.returncode == 2 and "x.npy is an input: expected another file name" in result.stderr
    assert np.array_equal(np.load(tmp_path / "x.npy"), tensor)


@pytest.mark.parametrize("unit", UNITS)
def test_list_of_a_unit_says_what_its_parameters_and_ports_are(unit, capsys):
    assert synth.main(["--list", "--unit", unit]) == 0
    parameters, _, ports = capsys.readouterr().out.partition("\nports:\n")
    for name in UNITS[unit].defaults:
        assert re.search(rf"^  ([\w, ]+, )?{name}(, [\w, ]+)? : ", parameters, re.M)
    for name in units.design(unit).component().signature.members:
        assert re.search(rf"\b{name}\b.* : |, {name} : ", ports), name
    assert "scheme" not in parameters


def test_list_shows_units_and_parameters(run_tool):
    result = run_tool("synth", "--list")
    assert result.returncode == 0
    for unit in ("nvfp4_decode", "mixfp4_decode", "mxfp4_decode"):
        assert unit in result.stdout
    assert "lanes=16 registered=1 polarity=0" in result.stdout


@pytest.mark.parametrize("tool", ["synth", "verilog", "cosim", "prove", "mutants", "bench", "report", "tech"])
def test_help_has_examples(tool, run_tool):
    result = run_tool(tool, "--help")
    assert result.returncode == 0
    assert "examples:" in result.stdout


def test_console_script_dispatches(run_tool):
    assert run_tool("", "synth", "--list").stdout == run_tool("synth", "--list").stdout
    assert run_tool("").returncode == 2
    wrong = run_tool("", "sinth")
    assert wrong.returncode == 2 and "did you mean synth" in wrong.stderr


def test_prove_and_its_twin_from_the_command_line(run_tool):
    assert run_tool("prove", "--unit", "nvfp4_decode", "--set", "lanes=2").returncode == 0
    twin = run_tool("prove", "--unit", "nvfp4_decode", "--set", "lanes=2", "--inject", "1")
    assert twin.returncode == 1
    # The RTL, the netlist, the Verilog.
    assert twin.stdout.count("REFUTED") == 3


def test_delays_are_chosen_on_the_command_line(run_tool):
    def power(*options):
        run = run_tool("synth", "--unit", "mixfp4_decode", "--baseline", "none", "--json", "-", *options)
        found = json.loads(run.stdout)
        return found["power_mw"]["total"], found["power_settled_mw"]["total"], found["provenance"]["glitches"]

    plain, transport, off = power(), power("--pulses", "transport"), power("--delay-spread", "0.15")
    assert plain[1] == transport[1] == off[1]
    assert transport[0] > plain[0] != off[0]
    assert "transport" in transport[2] and "within 15 %, seed 1" in off[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--delay-spread", "2"], "--delay-spread must be 0 to 0.9, got 2"),
        (["--delay-spread", "nan"], "--delay-spread must be 0 to 0.9, got nan"),
        (["--delay-spread", "0.1", "--sdf", "a.sdf"], "they have no --delay-spread"),
        (["--placement", "a.png"], "give --wire-load placed as well"),
        (["--row-height", "1"], "give --liberty and --wire-load placed"),
        (["--pulses", "none"], "invalid choice: 'none'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message, run_tool, tmp_path):
    run = run_tool("synth", "--unit", "nvfp4_decode", *options)
    assert run.returncode == 2 and message in run.stderr and "Traceback" not in run.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"build"}


@pytest.mark.skipif(importlib.util.find_spec("coloquinte") is None, reason="Coloquinte has no wheel here")
def test_a_placement_is_drawn_and_sizes_of_rows_are_checked(run_tool, tmp_path):
    placed = ["--unit", "nvfp4_decode", "--baseline", "none", "--wire-load", "placed"]
    run = run_tool("synth", *placed, "--placement", "a.png", "--json", "-")
    found = json.loads(run.stdout)
    assert found["artifacts"]["placement"] == "a.png" and (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "Steiner" in found["provenance"]["wire_load"]
    liberty = ["--liberty", found["artifacts"]["liberty"], "--clock-period", "1"]
    run = run_tool("synth", *placed, *liberty)
    assert run.returncode == 2 and "give --row-height and --wire-capacitance" in run.stderr
    run = run_tool("synth", *placed, *liberty, "--row-height", "inf", "--wire-capacitance", "0.17")
    assert run.returncode == 2 and "--row-height must be 0.05 to 100 um, got inf" in run.stderr
    run = run_tool("synth", *placed, *liberty, "--row-height", "0.27", "--wire-capacitance", "0.17")
    assert run.returncode == 0 and "0.17 fF/um" in run.stdout
