"""Encodings of products, measured: ``python -m hwsim.report_choices`` writes ``reports/mma_choices.md``.

Each row is the sum of a block of 16 products, mapped as :mod:`hwsim.mapping` maps the modules of a hierarchical design.
"""

from __future__ import annotations

import re
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Module, Value

from hwsim import cli, mapping, tech, yosys
from hwsim.files import replace_all
from hwsim.library import Library
from rtl.arith import Columns, columns, compress
from rtl.block_sum import BlockSum
from rtl.products import PRODUCT_WIDTH, Product, e2m1_product, mixed_product

LANES, LARGEST = 16, 144
TECHNOLOGIES = {"asap7": 870.0, "sky130hd": 4500.0}

_TEXT = """\
# Encodings of products, measured

Sum of a block of {lanes} signed products (`rtl.block_sum.BlockSum`), in NAND2 equivalents, with the delay that ABC
estimates (ps) under the target in brackets. {generator}.

{rows}

*In one row*: the product's partial products are added before the sign inverts them; *as an array*: inverted first.
NVFP4 and MixFP4 use the smallest row of those that hold their operands.
"""


def whole_array(m: Module, a: Value, b: Value, name: str) -> Columns:
    """Any two integers of four bits."""
    bits = columns(PRODUCT_WIDTH)
    for i in range(len(a)):
        for j in range(len(b)):
            bits[i + j].append(a[i] & b[j])
    [product] = compress(m, bits, name, rows=1)
    return [[bit] for bit in product]


def one_row(product: Product) -> Product:
    """``product``, its places added to one row."""

    def made(m: Module, a: Value, b: Value, name: str) -> Columns:
        bits = product(m, a, b, name)
        [row] = compress(m, bits + columns(PRODUCT_WIDTH - len(bits)), f"{name}_row", rows=1)
        return [[bit] for bit in row]

    return made


CHOICES: dict[str, Product] = {
    "integers 0 to 15, whole array, in one row": whole_array,
    "E2M1, exclusive bits share places, in one row (NVFP4, MXFP4, M2XFP)": e2m1_product,
    "E2M1 and 5, 7, exclusive bits share places, as an array (MixFP4)": mixed_product,
    "E2M1 and 5, 7, exclusive bits share places, in one row": one_row(mixed_product),
}


def measure(product: Product, library: Library, target_ps: float, folder: Path) -> tuple[float, float]:
    """Area in NAND2 equivalents and delay in ps of a block sum."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "block.il").write_text(rtlil.convert(BlockSum(LANES, product, LARGEST), name="block", emit_src=False))
    (folder / "abc.constr").write_text(
        f"set_driving_cell {mapping.smallest_buffer(library).name}\nset_load {library.output_load_fF:.6g}\n"
    )
    script = ";".join(mapping.ABC_STRUCTURED[0][0]).replace("{D}", f"-D {target_ps:.0f}").replace(" ", ",")
    log = yosys.run(
        [
            "read_rtlil block.il",
            "synth -noabc -flatten -top block",
            f"abc -liberty {library.liberty_path} -constr abc.constr -D {target_ps:.0f} -script +{script}",
            f"stat -liberty {library.liberty_path}",
        ],
        folder,
        "map",
    )
    area = float(re.findall(r"Chip area for .*: ([\d.]+)", log)[-1])
    return area / library.nand2_area, float(re.findall(r"Delay *= *([\d.]+) ps", log)[-1])


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = cli.parser("report_choices", "Measure encodings of products.", ["python -m hwsim.report_choices"])
    parser.add_argument("--build", metavar="DIR", type=Path, default=cli.BUILD, help="folder for scripts and logs")
    args = parser.parse_args(argv)
    build = cli.build_directory(args)
    rows = [["products", *(f"{name} ({target:.0f})" for name, target in TECHNOLOGIES.items())]]
    rows.append(["---"] * len(rows[0]))
    for number, (title, product) in enumerate(CHOICES.items()):
        row = [title]
        for name, target in TECHNOLOGIES.items():
            area, delay = measure(product, tech.load(name, None, build), target, build / "choices" / f"{name}-{number}")
            row.append(f"{area:.0f}, {delay:.0f} ps")
        rows.append(row)
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    text = _TEXT.format(lanes=LANES, generator=f"Yosys {yosys.version()}", rows=table)
    for path in replace_all({Path("reports/mma_choices.md"): text}):
        print(path)
    return 0


if __name__ == "__main__":
    cli.run(main)
