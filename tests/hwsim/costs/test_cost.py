"""``hwsim.cost``: the figures of ``hwsim.synth`` as an object."""

import inspect
import json
import subprocess
import sys

import pytest

import hwsim
from hwsim import InputError, units
from hwsim.technology import load


def test_its_figures_are_those_that_synth_prints(build, run_tool):
    cost = hwsim.cost("mixfp4_decode", lanes=2, vectors=4096, build=build / "cost")
    arguments = ["--unit", "mixfp4_decode", "--set", "lanes=2", "--vectors", "4096", "--json", "-"]
    printed = json.loads(run_tool("synth", *arguments, "--build", build / "cost").stdout)
    assert json.loads(json.dumps(cost.to_dict())) == printed
    assert cost.overhead["baseline"] == "nvfp4_decode-lanes=2"
    assert "overhead" in str(cost).splitlines()[0]


def test_technology_clock_and_baseline_are_chosen(build):
    library = load("sg13g2", build_dir=build)
    options = {"lanes": 1, "vectors": 4096, "build": build / "cost", "baseline": "none", "clock_period_ns": 9.0}
    by_name = hwsim.cost("nvfp4_decode", technology="sg13g2", **options)
    by_library = hwsim.cost("nvfp4_decode", technology=library, **options)
    assert by_name.baseline is None and by_name.overhead is None
    assert by_name.to_dict()["clock_period_ns"] == 9.0
    assert by_name.result.netlist.area == by_library.result.netlist.area


@pytest.mark.parametrize(
    ("unit", "options", "message"),
    [
        ("mixfp4_decod", {}, "unknown unit: mixfp4_decod .*did you mean mixfp4_decode"),
        ("mixfp4_decode", {"lane": 2}, "unknown parameter of mixfp4_decode: lane"),
        ("mixfp4_decode", {"lanes": 0}, "lanes must be a positive integer, got 0"),
        ("mixfp4_decode", {"technology": "asap8"}, "unknown technology 'asap8'"),
        ("mixfp4_decode", {"baseline": "nvfp4_mma"}, "--baseline nvfp4_mma does multiply-adds"),
        ("nvfp4_decode", {"lanes": 1, "vectors": 10}, "vectors must be at least 320, 64 streams of 5, got 10"),
    ],
)
def test_bad_input_is_refused(unit, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        hwsim.cost(unit, build=tmp_path, **options)


def test_no_parameter_of_a_unit_is_called_like_an_option():
    options = set(inspect.signature(hwsim.cost).parameters) - {"settings"}
    assert not {name for unit in units.UNITS.values() for name in unit.defaults} & options


def test_importing_hwsim_imports_nothing_large():
    check = "import sys, time; t = time.perf_counter(); import hwsim; print(time.perf_counter() - t, *sys.modules)"
    seconds, *modules = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout.split()
    assert not {"numpy", "numba", "amaranth", "hwsim.golden", "importlib.metadata"} & set(modules)
    assert float(seconds) < 0.2


def test_public_names_are_there():
    assert {"__version__", "cost", "golden", "units", "technology", "InputError"} <= set(dir(hwsim))
    assert hwsim.golden.SYSTEMS and hwsim.units.UNITS and hwsim.technology.load and hwsim.__version__
    with pytest.raises(AttributeError, match="module 'hwsim' has no attribute 'costly'"):
        _ = hwsim.costly


def test_golden_has_what_a_notebook_needs():
    from hwsim import golden

    names = ["quantize", "dequantize", "mma", "Accumulator", "EXACT", "HOPPER_FP16", "HOPPER_BF16", "HOPPER_FP8"]
    assert all(hasattr(golden, name) for name in [*names, "error", "formats"])
    assert callable(golden.mma) and golden.formats.E2M1.name == "e2m1"


def test_the_clock_of_a_users_library_is_found_and_said(build, library):
    """A quarter more than the slower design needs, in two digits; a clock that is given stays."""
    options = {"liberty": [library("sky130hd").liberty_path], "build": build / "cost", "vectors": 4096, "lanes": 4}
    cost = hwsim.cost("mixfp4_decode", **options)
    both = (cost.result, cost.baseline)
    assert all(r.timing_met and "found: what the slowest design needs" in r.provenance["clock"] for r in both)
    period = cost.result.timing.period_ns
    assert float(f"{period:.2g}") == pytest.approx(period)
    # Mapped again for the clock that was found, they need a little more or less than when it was looked for.
    assert 1.05 < period / max(r.timing.critical_path_ns for r in both) < 1.6
    given = hwsim.cost("mixfp4_decode", clock_period_ns=9.0, **options)
    assert given.result.timing.period_ns == 9.0
    assert "found" not in given.result.provenance["clock"]
