"""The tile of a tensor core: operand decoders at its edges, one dot unit for every element of C."""

from __future__ import annotations

import itertools
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.rtl.arith import Arithmetic, sized
from hwsim.rtl.hierarchy import Parts, Pipeline, Registers, clocked, instantiate, registered
from hwsim.rtl.tile.align import FP32_FRACTION, FP32_WIDTH, AlignedSum, ExponentMaximum, TermShape
from hwsim.rtl.tile.buffers import ACCUMULATOR_WIDTH, ACCUMULATORS, Accumulators, OperandBuffer
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

    With ``buffers``, there is around the tile what a tensor core holds beside it: two entries for every row of A and B
    as stored, one of which is written while the other is in use; accumulators in a register file, eight for every
    element of D; and a buffer of D. An instruction then names an accumulator, which takes its result and with
    ``accumulate`` is its addend; latency and chain interval are longer. The first instruction on an accumulator after
    a reset must not accumulate.

    Ports
    -----
    valid : in, 1 bit
        There is an instruction at the inputs.
    accumulate : in, 1 bit
        Add to the last result, in ``d``, instead of to ``c``; with ``buffers``, to the accumulator.
    accumulator : in, 3 bits; only with ``buffers``
        The accumulator of the instruction.
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

    def __init__(self, m: int, n: int, operands: dict[str, wiring.Component], dot: DotUnit, buffers: int = 0):
        if buffers not in (0, 1):
            raise ValueError(f"buffers must be 0 or 1, got {buffers!r}")
        self.rows = {"a": m, "b": n}
        self.operands, self.dot, self.pipe, self.buffered = operands, dot, dot.pipe, bool(buffers)
        super().__init__(self._ports())
        self.parts: Parts = {f"mma_decode_{side}": part for side, part in operands.items()} | {"mma_dot": dot}
        if self.buffered:
            for side in operands:
                self.parts[f"mma_operands_{side}"] = OperandBuffer(sum(self._stored(side).values()))
            self.parts["mma_accumulators"] = Accumulators()

    def _stored(self, side: str) -> dict[str, int]:
        """Bits of the inputs of an operand's decoder, by name."""
        part = self.operands[side]
        inputs = (name for name, member in part.signature.members.items() if member.flow is wiring.In)
        return {name: len(getattr(part, name)) for name in inputs if name not in ("clk", "enable")}

    def _ports(self) -> dict[str, Any]:
        ports: dict[str, Any] = {"valid": In(1), "accumulate": In(1)}
        if self.buffered:
            ports["accumulator"] = In(ACCUMULATOR_WIDTH)
        for side, rows in self.rows.items():
            for name, width in self._stored(side).items():
                ports[_port(side, name)] = In(rows * width)
        width = self.rows["a"] * self.rows["b"] * FP32_WIDTH
        return ports | {"c": In(width), "out_valid": Out(1), "d": Out(width)}

    @property
    def latency(self) -> int:
        """Cycles from inputs to outputs."""
        return 2 + self.pipe.count() + 2 * self.buffered

    @property
    def chain_interval(self) -> int:
        """Cycles after which an instruction may accumulate on the result of another."""
        # Into an accumulator and out of it again: all of the way but the buffer of D.
        return self.latency - 1 if self.buffered else 1 + self.pipe.count(*BACK)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid: Value = self.valid
        if self.buffered:
            valid = Signal(name="valid_held")
            m.d.sync += valid.eq(self.valid)
        # Bit i is set while an instruction is behind its register i.
        in_flight = Signal(2 + self.pipe.count())
        m.d.sync += in_flight.eq(Cat(valid, in_flight[:-1]))
        # Registers without an instruction in front of them hold what they have, and what is behind them is still.
        enable = Cat(valid, in_flight[:-1])
        stored = {
            side: [{name: self._row(side, name, row) for name in self._stored(side)} for row in range(rows)]
            for side, rows in self.rows.items()
        }
        count = self.rows["a"] * self.rows["b"]
        addends = [self.c.word_select(i, FP32_WIDTH) for i in range(count)]
        results: list[Value] = [self.d.word_select(i, FP32_WIDTH) for i in range(count)]
        accumulate: Value = self.accumulate
        if self.buffered:
            results = [Signal(FP32_WIDTH, name=f"result_{i}") for i in range(count)]
            stored = self._operand_buffers(m, stored)
            addends = self._accumulators(m, valid, in_flight, results)
            # The dot units' own way from D back to C is not used.
            accumulate = Const(0, 1)
        else:
            m.d.comb += self.out_valid.eq(in_flight[-1])
            for stage in range(self.pipe.count(*self.dot.FRONT)):
                accumulate = registered(m, accumulate, f"accumulate_{stage}")
        front = enable[: 1 + self.pipe.count(*self.dot.FRONT)]
        decoded = {
            side: [self._decode(m, side, i, front, inputs) for i, inputs in enumerate(rows)]
            for side, rows in stored.items()
        }
        for i, a in enumerate(decoded["a"]):
            for j, b in enumerate(decoded["b"]):
                at = i * self.rows["b"] + j
                instantiate(
                    m, self, "mma_dot", f"dot_{i}_{j}", accumulate=accumulate, enable=enable,
                    c=addends[at], d=results[at],
                    **{f"a_{name}": value for name, value in a.items()},
                    **{f"b_{name}": value for name, value in b.items()},
                )  # fmt: skip
        return m

    def _row(self, side: str, name: str, row: int) -> Value:
        """What comes in for input ``name`` of a row's decoder."""
        port: Value = getattr(self, _port(side, name))
        return port.word_select(row, self._stored(side)[name])

    def _operand_buffers(
        self, m: Module, stored: dict[str, list[dict[str, Value]]]
    ) -> dict[str, list[dict[str, Value]]]:
        """The rows behind their buffers: in the cycle after they came in."""
        writing, using = Signal(name="entry_written"), Signal(name="entry_used")
        with m.If(self.valid):
            m.d.sync += [using.eq(writing), writing.eq(~writing)]
        write = Cat(self.valid & ~writing, self.valid & writing)
        held: dict[str, list[dict[str, Value]]] = {side: [] for side in stored}
        for side, rows in stored.items():
            for i, inputs in enumerate(rows):
                data = Cat(*inputs.values())
                out = Signal(len(data), name=f"{side}_held_{i}")
                instantiate(
                    m, self, f"mma_operands_{side}", f"operands_{side}_{i}", write=write, entry=using, data=data,
                    held=out,
                )  # fmt: skip
                ends = list(itertools.accumulate(self._stored(side).values()))
                starts = [0, *ends[:-1]]
                held[side].append({name: out[start:end] for name, start, end in zip(inputs, starts, ends, strict=True)})
        return held

    def _accumulators(self, m: Module, valid: Value, in_flight: Value, results: list[Value]) -> list[Value]:
        """The addends of the instruction whose operands are in use; results go to accumulators and to ``d``."""
        accumulate = registered(m, self.accumulate, "accumulate_held", self.valid)
        number = registered(m, self.accumulator, "accumulator_held", self.valid)
        late: Value = number
        for stage, enable in enumerate([valid, *in_flight[:-1]]):
            late = registered(m, late, f"accumulator_{stage}", enable)
        finish = in_flight[-1]
        write = Cat(finish & (late == i) for i in range(ACCUMULATORS))
        m.d.sync += self.out_valid.eq(finish)
        addends: list[Value] = []
        for at, result in enumerate(results):
            addends.append(Signal(FP32_WIDTH, name=f"addend_{at}"))
            instantiate(
                m, self, "mma_accumulators", f"accumulators_{at}", load=self.valid,
                c=self.c.word_select(at, FP32_WIDTH), accumulate=accumulate, entry=number, addend=addends[-1],
                write=write, finish=finish, result=result, d=self.d.word_select(at, FP32_WIDTH),
            )  # fmt: skip
        return addends

    def _decode(self, m: Module, side: str, row: int, enable: Value, inputs: dict[str, Value]) -> dict[str, Signal]:
        part = self.operands[side]
        outputs = {
            name: Signal(len(getattr(part, name)), name=f"{side}_{name}_{row}")
            for name, member in part.signature.members.items()
            if member.flow is wiring.Out
        }
        instantiate(m, self, f"mma_decode_{side}", f"decode_{side}_{row}", enable=enable, **inputs, **outputs)
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
