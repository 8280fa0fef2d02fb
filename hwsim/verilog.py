"""Verilog that can be dropped into a flow: ``python -m hwsim.verilog --unit NAME``."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.base.files import replace_all, replace_folder
from hwsim.cli.options import add_design, add_technology, clock_period_from, design_from, library_from
from hwsim.cli.run import make_folder, make_parser, natural, run
from hwsim.synthesis.emit import to_verilog
from hwsim.synthesis.package import MANIFEST, Constraints, package
from hwsim.synthesis.sdc import IO_SHARE, to_sdc


def main(argv: list[str] | None = None) -> int:
    """Read the command line and write ``NAME.v`` and ``NAME.sdc``, or a package; return the exit code."""
    parser = make_parser(
        "verilog",
        "Write a unit as Verilog, with an SDC file beside it; or as a folder with a self-checking testbench, "
        "assertions, lint settings, descriptions for FuseSoC and Bender, and a data sheet.",
        [
            "python -m hwsim.verilog --unit mixfp4_decode",
            "python -m hwsim.verilog --unit mixfp4_decode --set lanes=32 --set polarity=1 -o rtl_out",
            "python -m hwsim.verilog --unit mixfp4_mma --package -o mixfp4_mma",
            "python -m hwsim.verilog --unit nvfp4_mma --package --prefix edge_ --set m=4 -o edge",
        ],
    )
    add_design(parser, arithmetic="operators")
    add_technology(parser, wire_load=False)
    parser.add_argument("--prefix", metavar="TEXT", default="", help="put in front of the names of all modules")
    parser.add_argument(
        "--io-share", metavar="SHARE", type=float, default=IO_SHARE,
        help="share of the clock period for logic in front of inputs, and behind outputs (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--package", action="store_true", help="write a folder for RTL teams")
    parser.add_argument("--seed", type=natural, default=1, help="of the package's testbench (default: 1)")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="folder (default: here; package: NAME)")
    args = parser.parse_args(argv)
    if not re.fullmatch(r"([A-Za-z_]\w*)?", args.prefix, re.ASCII):
        raise InputError(f"--prefix must be letters, digits and underscores, no digit first, got {args.prefix!r}")
    if not 0 <= args.io_share <= 0.9:
        raise InputError(f"--io-share must be 0 to 0.9, got {args.io_share:g}")
    design = replace(design_from(args), prefix=args.prefix)
    library = library_from(args)
    constraints = Constraints(library, clock_period_from(args, library), args.io_share)
    if args.package:
        folder = args.output or Path(design.name)
        replace_folder(folder, package(design, constraints, args.seed), MANIFEST)
        print(f"{folder}: read {design.name}.md there")
        return 0
    folder = args.output or Path()
    sdc = to_sdc(design, library, constraints.clock_period_ns, args.io_share)
    make_folder(folder)
    written = replace_all({folder / f"{design.name}.v": to_verilog(design), folder / f"{design.name}.sdc": sdc})
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    run(main)
