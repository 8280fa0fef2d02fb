import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwsim import units
from hwsim.base import simulators
from hwsim.synthesis.mapping import Options, map_design
from hwsim.technology import catalogue

ROOT = Path(__file__).parent.parent
#: Units that decode a block of as many lanes as their parameter says.
DECODERS = tuple(name for name, unit in units.UNITS.items() if {"lanes", "registered"} <= unit.defaults.keys())


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> Path:
    """One build folder for the whole run: what is mapped once is mapped."""
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="session")
def runtime(tmp_path_factory) -> Path:
    """Folder for Verilator's compiled runtime, shared by all simulations and by all workers of the run."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    return shared / "verilated"


@pytest.fixture(scope="session")
def library(build):
    """Load a technology by name, once."""
    found = {}

    def load(name="asap7"):
        if name not in found:
            found[name] = catalogue.load(name, build_dir=build)
        return found[name]

    return load


@pytest.fixture
def sky(library):
    """SkyWater's library, on which small netlists stand."""
    return library("sky130hd")


@pytest.fixture(scope="session")
def mapped(build, library):
    """Map a unit to a technology, once."""
    found = {}

    def map_unit(unit, technology="asap7", **settings):
        key = unit, technology, tuple(settings.items())
        if key not in found:
            lib = library(technology)
            found[key] = map_design(units.design(unit, settings), lib, Options(lib.clock_period_ns), build)
        return found[key]

    return map_unit


@pytest.fixture(params=simulators.SIMULATORS)
def simulator(request):
    """Every simulator; Verilator comes with the package, Icarus is used where it is installed."""
    if not simulators.available(request.param):
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture
def run_tool(tmp_path):
    """Run ``python -m hwsim.TOOL ...`` in an empty folder; returns the completed process."""

    def run(tool, *arguments, **environment):
        return subprocess.run(
            [sys.executable, "-m", f"hwsim.{tool}" if tool else "hwsim", *map(str, arguments)],
            cwd=tmp_path, capture_output=True, text=True, env=os.environ | environment,
        )  # fmt: skip

    return run
