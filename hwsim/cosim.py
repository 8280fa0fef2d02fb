"""RTL against golden in a simulator: ``python -m hwsim.cosim --unit NAME``."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from cocotb_tools.runner import get_runner

from hwsim import cli, simulators, testbench
from hwsim.errors import ToolError
from hwsim.mma_units import MMAUnit, summary
from hwsim.units import Design
from hwsim.verilog import to_verilog


@dataclass(frozen=True)
class Outcome:
    """What a simulation found: vectors compared, the first mismatch or None, mutants noticed."""

    vectors: int
    wrong: str | None
    killed: list[int]


def simulate(
    design: Design, verilog: Path, build: Path, simulator: str = "verilator", seed: int = 1, mutants: int = 0
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
        Of the random part of the testbench.
    mutants : int
        Mutants to try, 1 to this number.

    Raises
    ------
    InputError
        If the simulator is not installed.
    ToolError
        If it did not come to a result; the message names its log.
    """
    simulators.version(simulator)
    build.mkdir(parents=True, exist_ok=True)
    result, log = build / "result.json", build / "cosim.log"
    result.unlink(missing_ok=True)
    task = {
        "unit": design.name,
        "parameters": design.parameters,
        "seed": seed,
        "mutants": mutants,
        "result": str(result),
    }
    saved = dict(os.environ)
    os.environ.update(simulators.environment())
    try:
        runner = get_runner(simulator)
        # Compiling takes longer than simulating: no optimisation.
        verilator_flags = ["-Wno-fatal", "--x-initial", "unique", "--output-split", "0", "-CFLAGS", "-O0"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            runner.build(
                sources=[verilog],
                hdl_toplevel=design.name,
                build_dir=build,
                timescale=("1ns", "1ps"),
                always=True,
                build_args=verilator_flags if simulator == "verilator" else [],
                log_file=log,
            )
            runner.test(
                hdl_toplevel=design.name,
                test_module=testbench.__name__,
                build_dir=build,
                test_dir=build,
                results_xml=str(build / "results.xml"),
                extra_env={"HWSIM_TASK": json.dumps(task)},
                log_file=log,
            )
    except (SystemExit, RuntimeError) as error:
        if not result.exists():
            raise ToolError(f"{simulator} came to no result; see {log}") from error
    finally:
        os.environ.clear()
        os.environ.update(saved)
    if not result.exists():
        raise ToolError(f"{simulator} came to no result; see {log}")
    found = json.loads(result.read_text())
    return Outcome(found["vectors"], found["wrong"], found["killed"])


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = cli.parser(
        "cosim",
        "Simulate a unit's Verilog with cocotb against its golden model, raw bits. Exit code 1 on a mismatch.",
        ["python -m hwsim.cosim --unit mixfp4_decode", "python -m hwsim.cosim --unit nvfp4_decode --simulator icarus"],
    )
    cli.add_design(parser)
    parser.add_argument("--simulator", choices=simulators.SIMULATORS, default="verilator")
    parser.add_argument("--seed", type=cli.natural, default=1, help="of the random part of the testbench (default: 1)")
    args = parser.parse_args(argv)
    return report(args)


def report(args: argparse.Namespace) -> int:
    """Run as the options say and print what was found; 1 on a mismatch."""
    design = cli.design(args)
    build = cli.build_directory(args) / design.slug
    source = build / f"{design.name}.v"
    start = time.perf_counter()
    verilog = to_verilog(design, build)
    source.write_text(verilog)
    outcome = simulate(design, source, build / f"cosim-{args.simulator}", args.simulator, args.seed)
    seconds = time.perf_counter() - start
    print(f"{design.slug}: {outcome.vectors} vectors, seed {args.seed}, {simulators.version(args.simulator)}, "
          f"{seconds:.1f} s")  # fmt: skip
    if isinstance(adaptors := getattr(design.unit.golden, "__self__", None), MMAUnit):
        print(summary(adaptors.coverage(design.unit.testbench(design.parameters, args.seed), design.parameters)))
    print(f"MISMATCH at {outcome.wrong}" if outcome.wrong else "RTL equals golden in every bit of every vector")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    cli.run(main)
