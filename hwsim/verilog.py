"""Verilog that can be dropped into a flow: ``python -m hwsim.verilog --unit NAME``."""

from __future__ import annotations

from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.base.files import replace_all
from hwsim.cli.options import add_design, add_technology, clock_period_from, design_from, library_from
from hwsim.cli.run import make_folder, make_parser, run
from hwsim.synthesis.emit import to_verilog
from hwsim.synthesis.sdc import IO_SHARE, to_sdc


def main(argv: list[str] | None = None) -> int:
    """Read the command line and write ``NAME.v`` and ``NAME.sdc``; return the exit code."""
    parser = make_parser(
        "verilog",
        "Write a unit as Verilog, with an SDC file beside it.",
        [
            "python -m hwsim.verilog --unit mixfp4_decode",
            "python -m hwsim.verilog --unit mixfp4_decode --set lanes=32 --set polarity=1 -o rtl_out",
        ],
    )
    add_design(parser, arithmetic="operators")
    add_technology(parser, wire_load=False)
    parser.add_argument(
        "--io-share", metavar="SHARE", type=float, default=IO_SHARE,
        help="share of the clock period for logic in front of inputs, and behind outputs (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path(), help="folder (default: here)")
    args = parser.parse_args(argv)
    design = design_from(args)
    library = library_from(args)
    period = clock_period_from(args, library)
    verilog = to_verilog(design)
    if not 0 <= args.io_share <= 0.9:
        raise InputError(f"--io-share must be 0 to 0.9, got {args.io_share:g}")
    sdc = to_sdc(design, library, period, args.io_share)
    make_folder(args.output)
    written = replace_all({args.output / f"{design.name}.v": verilog, args.output / f"{design.name}.sdc": sdc})
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    run(main)
