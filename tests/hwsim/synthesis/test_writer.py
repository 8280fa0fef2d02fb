"""Amaranth components as Verilog: proven equal to Amaranth's own RTLIL, and written as people would."""

import re
import shutil
import subprocess

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.synthesis.writer import ModuleWriter
from hwsim.verification import equivalence
from hwsim.verification.equivalence import PROVEN


class Unit(wiring.Component):
    """A component of one function."""

    latency = 0

    def __init__(self, function, **ports):
        super().__init__(ports)
        self.function = function

    def elaborate(self, platform):
        m = Module()
        self.function(m, self)
        return m


def written(unit):
    ports = {}
    for name, member in unit.signature.members.items():
        ports[name] = ("output" if member.flow is wiring.Out else "input", len(getattr(unit, name)))
    if getattr(unit, "latency", 0):
        ports = {"clk": ("input", 1), "rst": ("input", 1)} | ports
    return ModuleWriter(unit, "unit", {}, ports, {}, "a test").text()


def is_equal(make, build):
    """Whether the written Verilog equals Amaranth's RTLIL."""
    build.mkdir(exist_ok=True)
    (build / "gold.il").write_text(
        re.sub(r"^ *attribute \\init .*\n", "", rtlil.convert(make(), name="unit"), flags=re.M)
    )
    (build / "gate.v").write_text("`default_nettype none\n" + written(make()))
    graphs = []
    for side, read in (("gold", "read_rtlil gold.il"), ("gate", "read_verilog gate.v")):
        commands = [read, "hierarchy -top unit", "proc -norom", "setundef -undriven -zero"]
        graphs.append(equivalence.modules(commands, ["unit"], build, side)["unit"])
    return equivalence.equal("equal", *graphs, build, "unit").outcome == PROVEN


EXPRESSIONS = {
    "sums of different widths": lambda a, b, s: a + b + s,
    "a difference in brackets": lambda a, b, s: a - (b - s) - (a + b),
    "a product of both signs": lambda a, b, s: a * s + b * s,
    "a negated sum": lambda a, b, s: -(a + b),
    "an inverted value, extended": lambda a, b, s: ~b + ~s,
    "comparisons of both signs": lambda a, b, s: Cat(a < s, s < b, a == s, s >= -3, b != 5),
    "a choice of both signs": lambda a, b, s: Mux(a > b, s, b) + Mux(b[0], a, s),
    "shifts": lambda a, b, s: Cat((a << b)[:9], a >> b, s >> b[:2]),
    "reductions": lambda a, b, s: Cat(a.any(), b.all(), s.xor(), a.bool(), Cat().any()),
    "bits of sums": lambda a, b, s: Cat((a + b)[2:4], (a * b)[5], (a - s)[1:6]),
    "bits of a concatenation": lambda a, b, s: Cat(a, b, s)[3:10] & 0x55,
    "replicated bits": lambda a, b, s: Cat(a[0].replicate(3), a[0], Const(0, 2), Const(1, 1), b),
    "a signed view of bits": lambda a, b, s: a[1:4].as_signed() + s.as_unsigned() + Cat(b, a[0]).as_signed(),
    "logic of both signs": lambda a, b, s: (a & s) ^ (b | s),
    "a shared expression": lambda a, b, s: (lambda x: Cat(x, x[1:3], x + 1))(a * 3 + b),
}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_expressions_are_what_amaranth_means(expression, tmp_path):
    def make():
        def function(m, unit):
            s = Signal(signed(4))
            value = expression(unit.a, unit.b, s)
            m.d.comb += [s.eq(unit.s), unit.narrow.eq(value), unit.wide.eq(value)]

        return Unit(function, a=In(5), b=In(3), s=In(4), narrow=Out(3), wide=Out(24))

    assert is_equal(make, tmp_path)


def test_a_wrong_width_would_be_noticed(tmp_path, monkeypatch):
    from hwsim.synthesis import expressions

    right = expressions.Printer._of_name
    monkeypatch.setattr(
        expressions.Printer,
        "_of_name",
        lambda self, n, whole, start, stop, sign, width: right(self, n, whole, start, stop, False, width),
    )
    with pytest.raises(AssertionError):
        test_expressions_are_what_amaranth_means(EXPRESSIONS["sums of different widths"], tmp_path)


def test_numbered_signals_become_a_vector_and_repeated_statements_a_loop(tmp_path):
    def function(m, unit):
        for i in range(8):
            lane = Signal(4, name=f"lane_{i}")
            m.d.comb += lane.eq(unit.a.word_select(i, 4) + 1)
            m.d.comb += unit.q.word_select(7 - i, 4).eq(~lane)

    def make():
        return Unit(function, a=In(32), q=Out(32))

    text = written(make())
    assert "reg  [31:0] lane;" in text and "output reg  [31:0] q" in text
    assert "lane[4*i +: 4] = a[4*i +: 4] + 4'd1;" in text
    assert "q[28 - 4*i +: 4] = ~lane[4*i +: 4];" in text
    assert is_equal(make, tmp_path)


def test_statements_that_do_not_repeat_steadily_stay_as_they_are(tmp_path):
    def function(m, unit):
        for i, place in enumerate((0, 3, 1, 7, 2, 6, 4, 5)):
            m.d.comb += unit.q[i].eq(unit.a[place])

    def make():
        return Unit(function, a=In(8), q=Out(8))

    assert "for (" not in written(make())
    assert is_equal(make, tmp_path)


def test_registers_of_a_stage_share_a_block_and_resets_and_enables_are_kept(tmp_path):
    def function(m, unit):
        first, second = Signal(8, name="first"), Signal(8, name="second", reset_less=True)
        m.d.sync += [first.eq(unit.a), second.eq(unit.a + 1)]
        with m.If(first[0]):
            m.d.sync += unit.q.eq(first + second)
        with m.Elif(second[1]):
            m.d.sync += unit.q.eq(3)

    class Clocked(Unit):
        latency = 2

    def make():
        return Clocked(function, a=In(8), q=Out(8))

    text = written(make())
    assert text.count("always @(posedge clk)") == 3
    assert re.search(r"if \(rst\) begin\n +q <= 8'd0;\n +end else begin\n +if \(first\[0\]\)", text)


def test_names_are_plain_and_no_words_of_verilog(tmp_path):
    def function(m, unit):
        one, two, word = Signal(8, name="x$1"), Signal(8, name="x$1"), Signal(8, name="signed")
        m.d.comb += [one.eq(unit.a + 1), two.eq(one * 3), word.eq(two ^ one), unit.q.eq(word)]

    def make():
        return Unit(function, a=In(8), q=Out(8))

    text = written(make())
    assert "x_1_2" in text and "signed_2" in text and "\\" not in text and "$" not in text
    assert is_equal(make, tmp_path)


def test_what_nobody_reads_is_left_out():
    def function(m, unit):
        dead, deader, unused = Signal(8), Signal(8), Signal(8, name="unused_a")
        m.d.comb += [dead.eq(unit.a), deader.eq(dead), unused.eq(unit.a), unit.q.eq(unit.a)]

    text = written(Unit(function, a=In(8), q=Out(8)))
    assert "dead" not in text and "unused_a = a" in text


def numbered(m, unit, assign):
    for i in range(4):
        lane = Signal(4, name=f"lane_{i}")
        assign(m, unit, lane, i)
        m.d.comb += unit.q.word_select(i, 4).eq(lane)


def enabled(m, unit):
    """An If in front of others of the same form but for what it assigns."""
    other = Signal(4, name="other")
    with m.If(unit.a[0]):
        m.d.sync += other.eq(unit.b[:4])

    def assign(m, unit, lane, i):
        with m.If(unit.a[i]):
            m.d.sync += lane.eq(unit.b.word_select(i, 4))

    numbered(m, unit, assign)
    m.d.comb += unit.r.eq(other)


def other_domain(m, unit):
    """The branch of an If that says nothing here, and one that does."""
    with m.If(unit.a[0]):
        m.d.comb += unit.r.eq(1)
    with m.Elif(unit.a[1]):
        m.d.sync += unit.q.eq(unit.b)


#: Components whose Verilog was wrong once.
HARD = {
    "registers with enables": enabled,
    "a branch of another domain": other_domain,
    "signals called like loop variables": lambda m, unit: numbered_under(m, unit, "i"),
    "a sum of a sum and nothing": lambda m, unit: m.d.comb.__iadd__(unit.q.eq(unit.a + ((unit.b ^ unit.a) + 0))),
    "lanes that are constants": lambda m, unit: numbered(m, unit, lambda m, u, lane, i: m.d.comb.__iadd__(lane.eq(3))),
    "a default that is not zero": lambda m, unit: default(m, unit),
    "a sum in a part of a vector": lambda m, unit: sums(m, unit),
    "lanes of wires and registers": lambda m, unit: mixed(m, unit),
    "an output of an If": lambda m, unit: chosen(m, unit),
}  # fmt: skip


def numbered_under(m, unit, name):
    common = Signal(4, name=name)
    m.d.comb += common.eq(unit.b[:4])
    numbered(m, unit, lambda m, u, lane, i: m.d.comb.__iadd__(lane.eq(u.a.word_select(i % 2, 4) & common)))


def default(m, unit):
    value = Signal(4, name="value", init=5)
    with m.If(unit.a[0]):
        m.d.comb += value.eq(unit.b[:4])
    m.d.comb += unit.q.eq(value)


def sums(m, unit):
    for i in range(2):
        total = Signal(8, name=f"total_{i}")
        m.d.comb += total.eq(sum((unit.b.word_select(k, 4) for k in range(4)), unit.a[i]))
        m.d.comb += unit.q.word_select(i, 8).eq(total)


def mixed(m, unit):
    first, second = Signal(4, name="st_0"), Signal(4, name="st_1")
    m.d.comb += [first.eq(unit.a[:4]), unit.q.eq(second)]
    m.d.sync += second.eq(first)


def chosen(m, unit):
    with m.If(unit.a[0]):
        m.d.comb += unit.q.eq(unit.b)
    with m.Else():
        m.d.comb += unit.q.eq(~unit.b)


@pytest.mark.parametrize("function", HARD.values(), ids=HARD)
def test_what_was_wrong_once(function, tmp_path):
    class Clocked(Unit):
        latency = 1

    def make():
        return Clocked(function, a=In(8), b=In(16), q=Out(16), r=Out(4))

    assert is_equal(make, tmp_path)
    (tmp_path / "gate.v").write_text("`default_nettype none\n" + written(make()))
    if shutil.which("iverilog"):
        # A simulator knows what Yosys forgives: statements that nothing triggers, wires in always blocks.
        command = ["iverilog", "-g2001", "-Wall", "-o", "/dev/null", tmp_path / "gate.v"]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0 and "never" not in result.stderr, result.stderr


def test_what_cannot_be_written_is_refused():
    def twice(m, unit):
        m.d.comb += [unit.q.eq(unit.a), unit.q[0].eq(unit.a[1])]

    with pytest.raises(NotImplementedError, match="bits of q are assigned twice"):
        written(Unit(twice, a=In(8), q=Out(8)))
