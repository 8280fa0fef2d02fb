"""The tile of a tensor core: operand decoders at its edges, one dot unit for every element of C."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.rtl.arith import Arithmetic, sized
from hwsim.rtl.hierarchy import Parts, Pipeline, Registers, clocked, instantiate, registered
from hwsim.rtl.tile.align import FP32_FRACTION, FP32_WIDTH, AlignedSum, ExponentMaximum, TermShape
from hwsim.rtl.tile.normalise import ROUNDINGS, Normalise
from hwsim.rtl.tile.stage import Stage

#: Places of registers behind the largest exponent. They lie on the loop from D back to C, and so each adds a cycle to
#: the interval at which an instruction can accumulate on the one before.
BACK = ("term", "align", "sum", "magnitude")


class DotUnit(wiring.Component):
    """One element of D. This class has what all formats share, from the terms to FP32; a subclass makes the terms.

    No register has a reset: nothing uses ``d`` before ``enable`` has loaded it.

    Ports
    -----
    clk : in, 1 bit
    c : in, 32 bits
        FP32, in the cycle of the tile's inputs.
    accumulate : in, 1 bit
        Use ``d`` instead of ``c``. It must come one cycle before C is needed.
    enable : in
        Bit i loads the registers that an instruction passes i cycles after it came: from those at the inputs to ``d``.
    a_*, b_* : in
        From the operand decoder of that side.
    d : out, 32 bits
        FP32.
    """

    #: Places of registers in front of the largest exponent.
    FRONT: tuple[str, ...] = ()

    stage = Stage.REST

    def __init__(
        self,
        shape: TermShape,
        operands: dict[str, wiring.Component],
        pipe: Pipeline,
        accumulator: tuple[int, int, str],
        arithmetic: Arithmetic,
        groups: int = 0,
    ):
        fraction_bits, result_bits, rounding = accumulator
        ports = {"clk": In(1), "enable": In(2 + pipe.count()), "c": In(FP32_WIDTH), "accumulate": In(1)}
        ports["d"] = Out(FP32_WIDTH)
        for side, decoder in operands.items():
            for name, member in decoder.signature.members.items():
                if member.flow is wiring.Out:
                    ports[f"{side}_{name}"] = In(len(getattr(decoder, name)))
        super().__init__(ports)
        self.shape, self.pipe, self.fraction_bits = shape, pipe, fraction_bits
        self.exponents = ExponentMaximum(shape, fraction_bits, groups)
        self.normalise = Normalise(shape, fraction_bits, result_bits, rounding, "magnitude" in pipe.chosen, arithmetic)
        self.parts: Parts = {
            "mma_exponents": self.exponents,
            "mma_sum": AlignedSum(shape, fraction_bits, "align" in pipe.chosen, arithmetic),
            "mma_normalise": self.normalise,
        }  # fmt: skip

    def terms(self, m: Module, registers: Registers) -> dict[str, Value]:
        """Values, by name, in the cycle in which C is aligned: ``q``, the inputs of :class:`ExponentMaximum` but ``c``,
        ``nan``, and for elements with infinities ``infinite`` and ``infinity_sign``."""
        raise TypeError(f"{type(self).__name__} does not say what its terms are")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocked(m, self.clk)
        registers = Registers(m, self.pipe, self.enable)
        terms = self.terms(m, registers)
        c = registers.delay(registers.input(self.c, "c_q"), "c", *self.FRONT)
        # Registered in every dot unit: driven across the tile from its edge, it would arrive late.
        accumulate = registered(m, self.accumulate, "accumulate_q", self.enable[self.pipe.count(*self.FRONT)])
        c = sized(m, Mux(accumulate, self.d, c), FP32_WIDTH, "c_used", "The addend: C, or the result before in a chain")
        alignment = self._exponents(m, terms, c)
        special = sized(m, c[FP32_FRACTION:-1].all(), 1, "c_special", "Whether C is infinite or NaN")
        c_nan = special & c[:FP32_FRACTION].any()
        terms_infinite, terms_sign = terms.get("infinite"), terms.get("infinity_sign")
        infinite: Value = special
        sign: Value = c[-1]
        nan = terms["nan"] | c_nan
        if terms_infinite is not None and terms_sign is not None:
            infinite, sign = special | terms_infinite, Mux(terms_infinite, terms_sign, c[-1])
            nan = nan | (special & terms_infinite & (terms_sign ^ c[-1]))
        hidden = c[FP32_FRACTION:-1].any()
        c_q = Cat(Cat(c[:FP32_FRACTION], hidden) ^ c[-1].replicate(FP32_FRACTION + 1), c[-1])
        flags = {"nan": nan, "infinite": infinite, "infinity_sign": sign}
        if "floats" in alignment:
            flags["floats"] = alignment["floats"]
        distances = {name: alignment[name] for name in ("distances", "c_distance")}
        sum_inputs: dict[str, Value] = {"q": terms["q"], "c": c_q, **distances}
        sum_inputs = {name: registers.at("term", value, f"{name}_held") for name, value in sum_inputs.items()}
        total = Signal(len(self.parts["mma_sum"].total))  # type: ignore[attr-defined]
        instantiate(m, self, "mma_sum", "sum", total=total, **self._enabled("align"), **sum_inputs)
        total_late = registers.at("sum", total, "total")
        flags = {name: registers.delay(value, name, "term", "align", "sum") for name, value in flags.items()}
        largest = registers.delay(alignment["largest"], "largest", "term", "align")
        prepared = self.normalise.prepare(m, largest)
        late = {name: registers.at("sum", value, name) for name, value in prepared.items()}
        late |= self._enabled("magnitude")
        d = Signal(FP32_WIDTH)
        instantiate(m, self, "mma_normalise", "normalise", total=total_late, d=d, **flags, **late)
        m.d.comb += self.d.eq(registered(m, d, "result", self.enable[-1]))
        return m

    def _enabled(self, place: str) -> dict[str, Value]:
        """The port ``enable`` of a part that has the registers at a place, if there are any."""
        return {"enable": self.enable[self.pipe.position(place)]} if place in self.pipe.chosen else {}

    def _exponents(self, m: Module, terms: dict[str, Value], c: Value) -> dict[str, Signal]:
        """Outputs of the :class:`ExponentMaximum` by name."""
        outputs = {
            name: Signal(len(getattr(self.exponents, name)), name=f"{name}_now")
            for name, member in self.exponents.signature.members.items()
            if member.flow is wiring.Out
        }
        inputs = {
            name: terms[name]
            for name, member in self.exponents.signature.members.items()
            if member.flow is wiring.In and name != "c"
        }
        instantiate(m, self, "mma_exponents", "exponent_maximum", c=c[:-1], **inputs, **outputs)
        return outputs


class Tile(wiring.Component):
    """``D = A B^T + C`` on an m x n tile: fully pipelined, an instruction a cycle.

    Latency: :attr:`latency` cycles from the inputs to ``d``, registers at inputs and outputs included. With
    ``accumulate``, an instruction adds to the value of ``d`` at the time when it reaches the alignment, instead of to
    ``c``. That is the last result of the instructions issued at least :attr:`chain_interval` cycles before it: a
    dependent instruction may follow after ``chain_interval`` cycles, and as many independent chains can take turns.
    ``d`` keeps its value while no other result comes out.

    ``rst`` clears the instructions in flight: none that was issued before or during the reset gives a result after it.
    ``d`` is unknown from then until the first result: the first instruction after a reset must not accumulate.

    Ports
    -----
    valid : in, 1 bit
        There is an instruction at the inputs.
    accumulate : in, 1 bit
        Add to the last result, in ``d``, instead of to ``c``.
    a_codes : in
        Elements of A, [m, K], row-major, element (0, 0) in the lowest bits.
    b_codes : in
        Elements of B transposed, [n, K], row-major, element (0, 0) in the lowest bits.
    a_scales : in
        Scale bytes of A's blocks, [m, K / block], or [m] if K is less than a block; formats with scales only.
    b_scales : in
        Scale bytes of B's blocks, as those of A; formats with scales only.
    a_metadata, b_metadata : in
        Two bits per subgroup of 8; M2XFP only.
    c : in, d : out
        FP32, [m, n], row-major.
    out_valid : out, 1 bit
        There is a new result at ``d``.
    """

    def __init__(self, m: int, n: int, operands: dict[str, wiring.Component], dot: DotUnit):
        super().__init__(self._ports(m, n, operands))
        self.rows = {"a": m, "b": n}
        self.operands, self.dot, self.pipe = operands, dot, dot.pipe
        self.parts: Parts = {f"mma_decode_{side}": part for side, part in operands.items()} | {"mma_dot": dot}

    @staticmethod
    def _ports(m: int, n: int, operands: dict[str, wiring.Component]) -> dict[str, Any]:
        ports: dict[str, Any] = {"valid": In(1), "accumulate": In(1)}
        for side, rows in (("a", m), ("b", n)):
            for name, member in operands[side].signature.members.items():
                if member.flow is wiring.In and name not in ("clk", "enable"):
                    ports[_port(side, name)] = In(rows * len(getattr(operands[side], name)))
        return ports | {"c": In(m * n * FP32_WIDTH), "out_valid": Out(1), "d": Out(m * n * FP32_WIDTH)}

    @property
    def latency(self) -> int:
        """Cycles from inputs to outputs."""
        return 2 + self.pipe.count()

    @property
    def chain_interval(self) -> int:
        """Cycles after which an instruction may accumulate on the result of another."""
        return 1 + self.pipe.count(*BACK)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Bit i is set while an instruction is behind its register i.
        in_flight = Signal(self.latency)
        m.d.sync += in_flight.eq(Cat(self.valid, in_flight[:-1]))
        m.d.comb += self.out_valid.eq(in_flight[-1])
        # Registers without an instruction in front of them hold what they have, and what is behind them is still.
        enable = Cat(self.valid, in_flight[:-1])
        accumulate: Value = self.accumulate
        for stage in range(self.pipe.count(*self.dot.FRONT)):
            accumulate = registered(m, accumulate, f"accumulate_{stage}")
        front = enable[: 1 + self.pipe.count(*self.dot.FRONT)]
        decoded = {side: [self._decode(m, side, i, front) for i in range(rows)] for side, rows in self.rows.items()}
        for i, a in enumerate(decoded["a"]):
            for j, b in enumerate(decoded["b"]):
                at = i * self.rows["b"] + j
                instantiate(
                    m, self, "mma_dot", f"dot_{i}_{j}", accumulate=accumulate, enable=enable,
                    c=self.c.word_select(at, FP32_WIDTH), d=self.d.word_select(at, FP32_WIDTH),
                    **{f"a_{name}": value for name, value in a.items()},
                    **{f"b_{name}": value for name, value in b.items()},
                )  # fmt: skip
        return m

    def _decode(self, m: Module, side: str, row: int, enable: Value) -> dict[str, Signal]:
        part = self.operands[side]
        ports: dict[str, Value] = {"enable": enable}
        outputs: dict[str, Signal] = {}
        for name, member in part.signature.members.items():
            width = len(getattr(part, name))
            if member.flow is wiring.Out:
                outputs[name] = Signal(width, name=f"{side}_{name}_{row}")
            elif name not in ("clk", "enable"):
                ports[name] = getattr(self, _port(side, name)).word_select(row, width)
        instantiate(m, self, f"mma_decode_{side}", f"decode_{side}_{row}", **ports, **outputs)
        return outputs


def accumulator(fraction_bits: int, result_bits: int, rounding: str) -> tuple[int, int, str]:
    """The parameters of an accumulation step, after a check of their ranges.

    Raises
    ------
    ValueError
        For values outside their ranges.
    """
    if not isinstance(fraction_bits, int) or not 1 <= fraction_bits <= 40:
        raise ValueError(f"fraction_bits must be 1 to 40, got {fraction_bits!r}")
    if not isinstance(result_bits, int) or not 1 <= result_bits <= FP32_FRACTION:
        raise ValueError(f"result_bits must be 1 to {FP32_FRACTION}, got {result_bits!r}")
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding must be one of {', '.join(ROUNDINGS)}, got {rounding!r}")
    return fraction_bits, result_bits, rounding


def tile_size(m: int, n: int) -> None:
    """Check the size of a tile; ValueError if it is not positive."""
    for name, value in (("m", m), ("n", n)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")


def _port(side: str, name: str) -> str:
    """The tile's port for input ``name`` of an operand decoder. The decoder's own port is called ``block_metadata``
    because Amaranth reserves ``metadata``."""
    return f"{side}_{name.removeprefix('block_')}"
