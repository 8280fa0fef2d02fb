"""``reports/mma_choices``: encodings of products, measured.

Each row is the sum of a block of 16 products, mapped in a way that :mod:`hwsim.synthesis.mapping` maps modules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Module, Signal, Value
from amaranth.sim import Simulator

from hwsim.analysis import netlist_reader, timing
from hwsim.base import files, yosys
from hwsim.base.errors import ToolError
from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.rtl.arith import Arithmetic, Columns, columns, sized
from hwsim.rtl.tile.block_sum import BlockSum
from hwsim.rtl.tile.gates import CELLS, GateNetwork
from hwsim.rtl.tile.products import (
    BINARY,
    E2M1,
    E2M1_NETWORK,
    MAGNITUDE_WIDTH,
    MAGNITUDES,
    MIXED,
    MIXED_MAGNITUDES,
    MIXED_NETWORK,
    PRODUCT_WIDTH,
    Code,
    Product,
)
from hwsim.synthesis import adder_cells, recipes
from hwsim.technology import catalogue, choice
from hwsim.technology.library import Library

LANES, LARGEST = 16, 144
#: Dot units that share the registers of an operand.
SHARED = 8
TECHNOLOGIES = {"asap7": 870.0, "sky130hd": 4500.0}
_TEXT = """\
# Encodings of products, measured

Made by `python -m hwsim.report mma_choices`; not edited by hand.

Sum of a block of {lanes} signed products (`BlockSum` in `rtl/tile/block_sum.py`), in NAND2 equivalents, adders bound to
the library's cells, with the delay of static timing (ps; the target is in brackets), and the bits of both operands
without their signs: each bit more stands in a register at the tile's edge, which 8 dot units share. *With registers*
adds their share to the first technology's area. Each row was simulated with every pair of its operands first.
{generator}.

{rows}

*In one row*: the product's partial products are added before the sign inverts them; *as an array*: inverted first.
*Searched*: by `python -m hwsim.products`; *kept*: the gates found become the library's cells where it has them, and ABC
maps only what is around them. NVFP4 and MixFP4 use the row that is smallest with its registers, of those that hold
their operands. The search for products of five-bit codes of MixFP4's ten magnitudes ended in codes of four bits: no
smaller network used the fifth. The last row is the block sum of the Verilog
for other tools (`python -m hwsim.verilog`), which leaves the structure of adders and multipliers to them: mapped by
Yosys and ABC alone it takes {operators}.
"""
_BINARY: Code = tuple(frozenset(n for n in range(16) if n >> i & 1) for i in range(MAGNITUDE_WIDTH))


def _whole_array(m: Module, a: Value, b: Value, name: str) -> Columns:
    """Partial products of any two magnitudes: every bit of one times every bit of the other."""
    bits = columns(PRODUCT_WIDTH)
    for i in range(len(a)):
        for j in range(len(b)):
            bits[i + j].append(a[i] & b[j])
    return bits


def _e2m1_array(m: Module, a: Value, b: Value, name: str) -> Columns:
    """Partial products of E2M1 magnitudes, in two places a column.

    A magnitude has at most two ones, which are adjacent: never more than two partial products of a column are 1.
    """
    bits = _mixed_array(m, a, b, name)
    bits[2] = [(a[0] & b[2]) | (a[2] & b[0]), a[1] & b[1]]
    return bits


def _mixed_array(m: Module, a: Value, b: Value, name: str) -> Columns:
    """Partial products where bit 3 excludes bits 0 and 1: those that are never 1 together share a place."""
    return [
        [a[0] & b[0]],
        [a[0] & b[1], a[1] & b[0]],
        [a[0] & b[2], a[1] & b[1], a[2] & b[0]],
        [(a[0] & b[3]) | (a[2] & b[1]), (a[1] & b[2]) | (a[3] & b[0])],
        [(a[1] & b[3]) | (a[3] & b[1]), a[2] & b[2]],
        [a[2] & b[3], a[3] & b[2]],
        [a[3] & b[3]],
    ]


def _array(bits: Callable[[Module, Value, Value, str], Columns], rows: int = 0) -> Product:
    """A product of plain binary magnitudes from its partial products, which are added to one row if ``rows`` is 1."""

    def product_columns(m: Module, a: Value, b: Value, name: str) -> Columns:
        named = columns(PRODUCT_WIDTH)
        for position, column in enumerate(bits(m, a, b, name)):
            named[position] = [sized(m, bit, 1, f"{name}_{position}_{i}") for i, bit in enumerate(column)]
        if not rows:
            return named
        total = sum(bit << i for i, column in enumerate(named) for bit in column)
        return [[bit] for bit in sized(m, total, len(named), f"{name}_row")]

    return Product({"a": _BINARY, "b": _BINARY}, product_columns)


#: The best product of E2M1 in codes of five bits that was found.
_FIVE_A: Code = (
    frozenset({0, 1, 2, 3, 8}),
    frozenset({0, 1, 2, 4}),
    frozenset({0, 2, 4, 6, 8, 12}),
    frozenset({0, 1, 4, 8, 12}),
    frozenset({0, 1, 2, 3, 4, 6}),
)
_FIVE_B: Code = (
    frozenset({0, 2, 4, 6, 8, 12}),
    frozenset({0, 1, 2, 3, 8}),
    frozenset({0, 1, 4, 8, 12}),
    frozenset({0, 1, 2, 4}),
    frozenset({0, 1, 4, 6}),
)
_FIVE = """\
n0 = nor2 b0 a3
n1 = oai22 a3 b4 b2 a4
n2 = nor2 a2 b2
n3 = xnor2 n0 n2
n4 = ao21 a0 n3 b1
n5 = nor3 n4 a4 b4
n6 = nor2 a2 b0
n7 = nor2 a0 b0
n8 = oai22 b1 a1 a0 b4
n9 = oai22 b1 a2 b2 a3
n10 = inv n8
n11 = aoi22 a3 b0 b1 a4
n12 = oai22 n9 n7 n10 n3
n13 = oai22 b4 a2 a0 b2
n14 = xor2 n13 n11
n15 = nor3 n10 n5 n14
n16 = nor2 n6 n12
n17 = xnor2 n1 n4
n18 = nand2 n14 n3
n19 = nand2 n12 n17
n20 = nor3 n17 a1 b3
columns n6 ~n3 n16 ~n18 ~n19 n15 n20 n5
"""

#: Products and the magnitudes that they must multiply.
_E2M1 = "E2M1, gates searched (NVFP4, MXFP4, M2XFP)"
_MIXFP4 = "E2M1 and 5, 7, gates searched and kept (MixFP4)"
_OPERATORS = "magnitudes as they are, `*` and `+` (Verilog in operators)"

CHOICES: dict[str, tuple[Product, Sequence[int]]] = {
    "integers 0 to 15, whole array, in one row": (_array(_whole_array, 1), range(16)),
    "E2M1, exclusive bits share places, in one row": (_array(_e2m1_array, 1), MAGNITUDES),
    "E2M1 and 5, 7, exclusive bits share places, as an array": (_array(_mixed_array), MIXED_MAGNITUDES),
    "E2M1 and 5, 7, exclusive bits share places, in one row": (_array(_mixed_array, 1), MIXED_MAGNITUDES),
    "E2M1 in codes of five bits, code and gates searched": (
        Product({"a": _FIVE_A, "b": _FIVE_B}, GateNetwork(_FIVE)),
        MAGNITUDES,
    ),
    _E2M1: (E2M1, MAGNITUDES),
    "E2M1, gates searched and kept": (replace(E2M1, columns=GateNetwork(E2M1_NETWORK, keep=True)), MAGNITUDES),
    "E2M1 and 5, 7, gates searched": (replace(MIXED, columns=GateNetwork(MIXED_NETWORK)), MIXED_MAGNITUDES),
    _MIXFP4: (MIXED, MIXED_MAGNITUDES),
    _OPERATORS: (BINARY, MIXED_MAGNITUDES),
}


class _One(Elaboratable):
    """A product alone, its columns added."""

    def __init__(self, product: Product):
        self.a, self.b = (Signal(len(product.codes[side]), name=side) for side in "ab")
        self.product, self.value = product, Signal(PRODUCT_WIDTH)

    def elaborate(self, platform) -> Module:
        m = Module()
        if self.product.columns is None:
            m.d.comb += self.value.eq(self.a * self.b)
            return m
        bits = self.product.columns(m, self.a, self.b, "product")
        m.d.comb += self.value.eq(sum(bit << i for i, column in enumerate(bits) for bit in column))
        return m


def wrong_products(product: Product, magnitudes: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of magnitudes whose product is wrong, by simulation of all."""
    if isinstance(product.columns, GateNetwork):
        # The simulator takes no instances.
        product = replace(product, columns=replace(product.columns, keep=False))
    wrong, one = [], _One(product)

    def code(side: str, magnitude: int) -> int:
        return sum((magnitude in bit) << i for i, bit in enumerate(product.codes[side]))

    async def bench(context) -> None:
        for left in magnitudes:
            for right in magnitudes:
                context.set(one.a, code("a", left))
                context.set(one.b, code("b", right))
                await context.delay(1e-9)
                if context.get(one.value) != left * right:
                    wrong.append((left, right))

    simulator = Simulator(one)
    simulator.add_testbench(bench)
    simulator.run()
    return wrong


def measure(product: Product, library: Library, target_ps: float, folder: Path) -> tuple[float, float]:
    """Area in NAND2 equivalents and delay in ps of a block sum."""
    folder.mkdir(parents=True, exist_ok=True)
    arithmetic = Arithmetic.STRUCTURED if product.columns else Arithmetic.OPERATORS
    block = BlockSum(LANES, product, LARGEST, arithmetic)
    parts = {"block": block} | {name: cell() for name, cell in CELLS.items()}
    text = "".join(rtlil.convert(part, name=name, emit_src=False) for name, part in parts.items())
    files.write(folder / "block.il", text)
    read = ["read_rtlil block.il", "hierarchy -top block", "proc", "write_json block.json"]
    yosys.run(read, folder, "read")
    document = json.loads((folder / "block.json").read_text())
    adder_cells.bind(document["modules"], library, {name: name for name in CELLS})
    files.write(folder / "block.json", json.dumps(document))
    files.write(
        folder / "abc.constr",
        f"set_driving_cell {choice.smallest_buffer(library).name}\nset_load {library.output_load_fF:.6g}\n",
    )
    script = ";".join(recipes.STRUCTURED[1].script).replace("{D}", f"-D {target_ps:.0f}").replace(" ", ",")
    yosys.run(
        [
            f"read_liberty -lib -ignore_miss_func {library.liberty_path}",
            "read_json block.json",
            "synth -noabc -flatten -top block",
            "delete t:$scopeinfo",
            f"abc -liberty {library.liberty_path} -constr abc.constr -D {target_ps:.0f} -script +{script}",
            "write_json mapped.json",
        ],
        folder,
        "map",
    )
    netlist = netlist_reader.read(folder / "mapped.json", "block", library)
    timed = timing.analyse(netlist, target_ps / 1000, netlist.loads(True))
    return netlist.area / library.nand2_area, 1000 * timed.critical_path_ns


def write(folder: Path, build: Path) -> list[Path]:
    """Measure every choice; write ``mma_choices.md``.

    Raises
    ------
    ToolError
        If a product is wrong, or the units do not use the smallest one.
    """
    rows = [
        ["products", "bits", "with registers", *(f"{name} ({target:.0f})" for name, target in TECHNOLOGIES.items())]
    ]
    areas: dict[str, list[float]] = {}
    whole: dict[str, float] = {}
    library = catalogue.load(next(iter(TECHNOLOGIES)), None, build)
    register = choice.flip_flop(library).area / library.nand2_area
    for number, (title, (product, magnitudes)) in enumerate(CHOICES.items()):
        if wrong := wrong_products(product, magnitudes):
            raise ToolError(f"{title}: wrong products {wrong}")
        measured = [
            measure(product, catalogue.load(name, None, build), target, build / "choices" / f"{name}-{number}")
            for name, target in TECHNOLOGIES.items()
        ]
        areas[title] = [area for area, _ in measured]
        bits = [len(product.codes[side]) for side in "ab"]
        whole[title] = areas[title][0] + sum(bits) * LANES * register / SHARED
        rows.append(
            [
                title,
                " + ".join(map(str, bits)),
                f"{whole[title]:.0f}",
                *(f"{area:.0f}, {delay:.0f} ps" for area, delay in measured),
            ]
        )
    for used, (product, magnitudes) in CHOICES.items():
        rivals = [whole[title] for title, (_, m) in CHOICES.items() if set(m) >= set(magnitudes)]
        if product in (E2M1, MIXED) and whole[used] != min(rivals):
            raise ToolError(f"{used}: not the smallest of those that hold its operands")
    ratios = zip(TECHNOLOGIES, areas[_OPERATORS], areas[_MIXFP4], strict=True)
    more = [f"{100 * (plain / best - 1):.0f} % more area on {name}" for name, plain, best in ratios]
    text = _TEXT.format(
        lanes=LANES, generator=f"Yosys {yosys.version()}", rows=markdown(rows),
        operators=" and ".join(more) + " than MixFP4's",
    )  # fmt: skip
    return replace_all({folder / "mma_choices.md": text})
