"""What a unit costs: ``python -m hwsim.synth --unit NAME``."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

from hwsim import units
from hwsim.analysis.saif import to_saif
from hwsim.analysis.sdf import to_sdf
from hwsim.analysis.timed import Delays, Pulses
from hwsim.base.errors import InputError
from hwsim.base.files import replace_all
from hwsim.cli.options import (
    add_design,
    add_stimulus,
    add_technology,
    clock_period_from,
    design_from,
    library_from,
    parse_settings,
    tensor_from,
)
from hwsim.cli.run import build_from, make_parser, refuse_unwritable, run
from hwsim.costs.cost import compare, with_found_clock
from hwsim.costs.flow import Workload
from hwsim.costs.stages import picture
from hwsim.synthesis.mapping import Options, Wires
from hwsim.units.describe import described, listed
from hwsim.units.table import baseline_of


def main(argv: list[str] | None = None) -> int:
    """Read the command line and run; return the exit code."""
    parser = make_parser(
        "synth",
        "Map a unit to a cell library and report its area, timing and power, and the overhead over its baseline.",
        [
            "python -m hwsim.synth --list --unit nvfp4_mma",
            "python -m hwsim.synth --unit mixfp4_decode",
            "python -m hwsim.synth --unit mixfp4_decode --tech sky130hd --clock-period 4",
            "python -m hwsim.synth --unit mixfp4_decode --set lanes=32 --json - | jq .overhead",
            "python -m hwsim.synth --unit nvfp4_decode --liberty a.lib b.lib.gz --saif nvfp4_decode.saif",
        ],
    )
    parser.add_argument("--list", action="store_true", help="list the units, or with --unit its parameters and ports")
    add_design(parser, required=False)
    parser.add_argument("--baseline", metavar="NAME", help="unit that overheads refer to, or none (default: natural)")
    add_technology(parser)
    add_stimulus(parser)
    _add_delays(parser)
    parser.add_argument("--hierarchical", action="store_true", help="map module by module (units made of parts always)")
    parser.add_argument(
        "--no-clock-gates", action="store_true",
        help="keep the state of registers with an enable by multiplexers instead of gating their clocks",
    )  # fmt: skip
    parser.add_argument("--saif", metavar="FILE", type=Path, help="write the switching activity as SAIF")
    parser.add_argument("--sdf", metavar="FILE", type=Path, help="write the delays of the netlist as SDF")
    parser.add_argument(
        "--placement", metavar="FILE.png", type=Path, help="draw the placement, cells coloured by stage"
    )
    parser.add_argument(
        "--range", action="store_true",
        help="measure the overhead at five clocks around the period too, and print the median and the range",
    )  # fmt: skip
    parser.add_argument("--require-timing", action="store_true", help="exit with 1 if a design misses its clock")
    parser.add_argument("--json", metavar="FILE", help="write all figures as JSON; - for standard output alone")
    args = parser.parse_args(argv)
    if args.list:
        print(described(units.find(args.unit)) if args.unit else listed())
        return 0
    if not args.unit:
        raise InputError("--unit is missing; --list shows the units")
    return execute(args)


def execute(args: argparse.Namespace) -> int:
    """Run as the options say and print the figures."""
    design = design_from(args)
    baseline = baseline_of(design, parse_settings(args.settings), args.baseline)
    if baseline and "arithmetic" in design.parameters:
        baseline = baseline.in_arithmetic(design.parameters["arithmetic"])
    library = library_from(args)
    # A tile consists of many copies of few modules: module by module, only the distinct ones need mapping.
    hierarchical = args.hierarchical or design.unit.hierarchical
    options = Options(
        clock_period_from(args, library), Wires(args.wire_load), hierarchical, clock_gates=not args.no_clock_gates
    )
    workload = Workload(args.vectors, args.seed, tensor_from(args), str(args.tensor or ""), _delays_from(args))
    outputs = {
        "--json": args.json if args.json != "-" else None,
        "--saif": args.saif,
        "--sdf": args.sdf,
        "--placement": args.placement,
    }
    if args.sdf and args.delay_spread:
        raise InputError("--sdf writes the delays of static timing: they have no --delay-spread")
    if args.placement and options.wires is not Wires.PLACED:
        raise InputError("--placement shows a placement: give --wire-load placed as well")
    targets = {option: Path(target) for option, target in outputs.items() if target}
    for (one, first), (other, second) in itertools.combinations(targets.items(), 2):
        if first.resolve() == second.resolve():
            raise InputError(f"{one} and {other} name the same file, {first}")
    for option, target in targets.items():
        refuse_unwritable(option, target, [args.tensor, *(args.liberty or [])])
    if args.liberty and args.clock_period is None:
        options = with_found_clock([design, *([baseline] if baseline else [])], library, options, build_from(args))
    cost = compare(design, baseline, library, options, workload, build_from(args), args.range)
    files: dict[Path, str | bytes] = {}
    if args.saif:
        files[args.saif] = to_saif(cost.result.netlist, cost.result.busy.sample, options.clock_period_ns)
    if args.sdf:
        files[args.sdf] = to_sdf(cost.result.netlist, cost.result.timing, cost.result.loads)
    if args.placement:
        files[args.placement] = picture(cost.result)
    document = json.dumps(cost.to_dict(args.saif, args.sdf, args.placement), indent=2, allow_nan=False) + "\n"
    if "--json" in targets:
        files[targets["--json"]] = document
    replace_all(files)
    if args.json == "-":
        sys.stdout.write(document)
    else:
        print(cost)
    missed = [r.design.name for r in (cost.result, cost.baseline) if r and not r.timing_met]
    if missed and args.require_timing:
        print(f"error: timing not met by {' and '.join(missed)}", file=sys.stderr)
        return 1
    return 0


def _add_delays(p: argparse.ArgumentParser) -> None:
    """Options that choose how cells delay when glitches are counted."""
    names = [model.value for model in Pulses]
    p.add_argument(
        "--pulses", choices=names, default=names[0],
        help="which pulses shorter than its delay a cell passes on: as Verilog's specify paths (default), none "
        "(inertial) or all that no later change overtakes (transport)",
    )  # fmt: skip
    p.add_argument(
        "--delay-spread", metavar="SHARE", type=float, default=0.0,
        help="multiply every delay by a random factor within 1 +- SHARE, by --seed (default: 0)",
    )  # fmt: skip


def _delays_from(args: argparse.Namespace) -> Delays:
    """How cells delay.

    Raises
    ------
    InputError
        If the spread of the delays is not from 0 to 0.9.
    """
    if not 0 <= args.delay_spread <= 0.9:
        raise InputError(f"--delay-spread must be 0 to 0.9, got {args.delay_spread:g}")
    return Delays(Pulses(args.pulses), args.delay_spread, args.seed)


if __name__ == "__main__":
    run(main)
