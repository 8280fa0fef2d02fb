"""Co-simulation: a unit's testbench on its Verilog, in a simulator driven by cocotb."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cocotb_tools.runner import get_runner

from hwsim.base import simulators
from hwsim.base.errors import ToolError
from hwsim.base.files import is_plain, plain_folder, refuse_full_disk, write
from hwsim.units.unit import Design
from hwsim.verification import testbench

#: Registers start at random values (``--x-initial unique``), so that what relies on a reset that is not there shows.
#: Compiling takes longer than simulating: the code is not optimised, nor split into files.
_VERILATOR_FLAGS = ["-Wno-fatal", "--x-initial", "unique", "--output-split", "0", "-CFLAGS", "-O0"]


@dataclass(frozen=True)
class Outcome:
    """Outcome of a simulation: vectors compared, the first mismatch in words or None, numbers of the killed mutants."""

    vectors: int
    wrong: str | None
    killed: list[int]


def simulate(
    design: Design,
    verilog: Path,
    build: Path,
    simulator: str = "verilator",
    seed: int = 1,
    mutants: int = 0,
    runtime: Path | None = None,
) -> Outcome:
    """Run the testbench of a design on a Verilog file.

    Parameters
    ----------
    design : Design
    verilog : Path
        Source whose top module is the unit; with ``mutants`` it has a port ``mutsel`` that selects one.
    build : Path
        Folder for the simulator's files and ``cosim.log``.
    simulator : str
        ``verilator`` or ``icarus``.
    seed : int
        Seed of the random part of the testbench.
    mutants : int
        Mutants to try, numbered 1 to this.
    runtime : Path, optional
        Folder where Verilator's compiled runtime is kept for the next simulation, which then starts seconds earlier.

    Raises
    ------
    InputError
        If the simulator is not installed.
    ToolError
        If the simulator gave no result; the message names its log.
    """
    simulators.version(simulator)  # raises InputError if it is not installed
    build.mkdir(parents=True, exist_ok=True)
    if not (is_plain(build) and is_plain(verilog) and (runtime is None or is_plain(runtime))):
        # Makefiles know no way to quote a blank.
        with tempfile.TemporaryDirectory(prefix="hwsim-") as plain, plain_folder(build) as working:
            source = Path(plain) / "unit.v"
            write(source, verilog.read_bytes())
            return simulate(design, source, working, simulator, seed, mutants)
    result, log = build / "result.json", build / "cosim.log"
    result.unlink(missing_ok=True)
    task = {
        "unit": design.unit.name,
        "parameters": design.parameters,
        "seed": seed,
        "mutants": mutants,
        "result": str(result),
    }
    saved = dict(os.environ)
    os.environ.update(simulators.environment(runtime))
    try:
        runner = get_runner(simulator)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            runner.build(
                sources=[verilog],
                hdl_toplevel=design.name,
                build_dir=build,
                timescale=("1ns", "1ps"),
                always=True,
                build_args=_VERILATOR_FLAGS if simulator == "verilator" else [],
                log_file=log,
            )
            runner.test(
                hdl_toplevel=design.name,
                test_module=testbench.__name__,
                build_dir=build,
                test_dir=build,
                results_xml=str(build / "results.xml"),
                # cocotb would let pytest rewrite every module that is imported, which takes seconds.
                extra_env={"HWSIM_TASK": json.dumps(task), "COCOTB_REWRITE_ASSERTION_FILES": ""},
                log_file=log,
            )
    except (SystemExit, RuntimeError) as error:
        if not result.exists():
            raise _without_result(simulator, log) from error
    finally:
        os.environ.clear()
        os.environ.update(saved)
    if not result.exists():
        raise _without_result(simulator, log)
    try:
        return Outcome(**json.loads(result.read_text()))
    except ValueError as error:
        raise _without_result(simulator, log) from error


def _without_result(simulator: str, log: Path) -> Exception:
    """The error of a simulator that ended early: OSError if that is because the disk is full."""
    refuse_full_disk(log)
    no_space = os.strerror(errno.ENOSPC)
    if log.exists() and no_space in log.read_text(errors="replace"):
        return OSError(errno.ENOSPC, no_space, str(log.parent))
    return ToolError(f"{simulator} came to no result; see {log}")
