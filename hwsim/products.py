"""Search for smaller products of 4-bit elements: ``python -m hwsim.products``."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.cli.run import BUILD, build_from, make_parser, natural, run
from hwsim.rtl.tile.products import E2M1, E2M1_NETWORK, MAGNITUDES, MIXED, MIXED_MAGNITUDES, MIXED_NETWORK
from hwsim.synthesis import product_search
from hwsim.technology import catalogue

KNOWN = {"e2m1": (E2M1, E2M1_NETWORK, MAGNITUDES), "mixed": (MIXED, MIXED_NETWORK, MIXED_MAGNITUDES)}


def main(argv: list[str] | None = None) -> int:
    """Read the command line and search; return the exit code."""
    parser = make_parser(
        "products",
        "Search for a small network that multiplies encoded 4-bit elements, beginning with the one that the RTL has.",
        ["python -m hwsim.products --operands mixed --bits 5 5 --seconds 120 --seed 3"],
    )
    parser.add_argument("--operands", choices=KNOWN, default="e2m1", help="E2M1, or E2M1 and E1M2 (default: e2m1)")
    parser.add_argument("--bits", type=int, nargs=2, metavar=("A", "B"), help="code bits of A and B (default: as now)")
    parser.add_argument("--limit", type=float, default=14.0, help="greatest delay, in gates (default: 14)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to search (default: 60)")
    parser.add_argument("--steps", type=int, default=20_000_000, help="steps of a run (default: 20 million)")
    parser.add_argument("--seed", type=natural, default=1, help="seed (default: 1)")
    parser.add_argument("--tech", default="asap7", help="technology whose areas count (default: asap7)")
    parser.add_argument("--build", metavar="DIR", type=Path, default=BUILD, help="folder for intermediate files")
    args = parser.parse_args(argv)
    if args.steps < 1:
        raise InputError(f"--steps must be at least 1, got {args.steps}")
    product, text, magnitudes = KNOWN[args.operands]
    a_bits, b_bits = args.bits or (len(product.codes[side]) for side in "ab")
    areas = product_search.gate_areas(catalogue.load(args.tech, None, build_from(args)))
    best: tuple[float, product_search.Network] | None = None
    began = time.monotonic()
    for number in itertools.count():
        # Every third run begins anew, the others with the best so far.
        if best is None or number % 3 == 0:
            begin = product_search.start(product, text, magnitudes, (a_bits, b_bits), (args.seed, number))
        else:
            begin = best[1]
        area, found = product_search.anneal(begin, magnitudes, areas, args.limit, args.steps, args.seed * 1000 + number)
        print(f"run {number}: {area:.2f} NAND2 equivalents, {time.monotonic() - began:.0f} s", flush=True)
        if best is None or area < best[0]:
            best = area, found
            print(product_search.text_of(found, magnitudes), flush=True)
        if time.monotonic() - began > args.seconds:
            break
    return 0


if __name__ == "__main__":
    run(main)
