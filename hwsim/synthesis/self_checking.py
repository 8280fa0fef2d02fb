"""Plain Verilog that checks a unit without Python: a testbench that replays golden's vectors, and assertions.

The vectors are those of the cocotb testbench: the same inputs, resets and results, recorded.
"""

from __future__ import annotations

from hwsim.synthesis.emit import ports
from hwsim.units.recording import Recording
from hwsim.units.unit import Design

Kinds = dict[str, tuple[str, int]]


def vectors(design: Design, recording: Recording) -> tuple[str, str]:
    """Two texts for ``$readmemh``: the inputs of every cycle, and the results, in the order of :func:`testbench`."""
    kinds = ports(design.component())
    driven = _driven(kinds)
    inputs = recording.inputs | ({} if recording.streams else {"rst": list(map(int, recording.resets))})
    # An input that the recording does not drive is 0.
    stimulus = [
        _word([(inputs[name][i] if name in inputs else 0, kinds[name][1]) for name in driven])
        for i in range(recording.cycles)
    ]
    results = [
        _word([(0 if recording.cleared(i) else recording.results[name][i], kinds[name][1]) for name in _results(kinds)])
        for i in range(recording.cycles)
    ]
    return "\n".join(stimulus) + "\n", "\n".join(results) + "\n"


def _driven(kinds: Kinds) -> list[str]:
    return [name for name, (kind, _) in kinds.items() if kind == "input" and name != "clk"]


def _results(kinds: Kinds) -> list[str]:
    return [name for name, (kind, _) in kinds.items() if kind == "output"]


def _word(fields: list[tuple[int, int]]) -> str:
    """Fields, the first on top, as one hexadecimal number."""
    word, total = 0, 0
    for value, width in fields:
        word, total = word << width | value, total + width
    return f"{word:0{-(-total // 4)}x}"


def testbench(design: Design, recording: Recording, header: str) -> str:
    """The testbench ``NAME_tb``: prints PASS, or the first difference and ends with an error."""
    kinds, name = ports(design.component()), design.name
    driven, results = _driven(kinds), _results(kinds)
    widths = {way: sum(kinds[n][1] for n in names) for way, names in (("in", driven), ("out", results))}
    reg, wire = (
        [f"  {kind} {f'[{kinds[n][1] - 1}:0] ' if kinds[n][1] > 1 else ''}{n};" for n in names]
        for kind, names in (("reg ", driven), ("wire", results))
    )
    clock = ["  reg  clk;"] if recording.latency else []
    connections = ",\n".join(f"    .{n}({n})" for n in kinds)
    differs = [
        f"        if ({'' if n == 'out_valid' or not recording.streams else 'expected_out_valid && '}"
        f"{n} !== expected_{n}) begin\n"
        f'          $display("FAIL {name}: vector %0d, {n} is %h, golden %h", arrived, {n}, expected_{n});\n'
        "          failed = 1;\n"
        "        end"
        for n in results
    ]
    expected = [
        line.replace("wire", "reg ").replace(n + ";", f"expected_{n};") for line, n in zip(wire, results, strict=True)
    ]
    if recording.latency:
        step = """\
      #1 clk = 1;
      #1 clk = 0;"""
        start = "clk = 0;" + (" rst = 1; #1 clk = 1; #1 clk = 0;" if "rst" in kinds else "")
    else:
        step, start = "      #1;", ""
    # Results are compared before the next inputs are driven; latency 0 compares those of the same cycle.
    return f"""\
{header}
// Replays golden's vectors: prints PASS, or the first difference and ends with an error. In the package's folder:
//   $ iverilog -g2012 -o {name}_tb -f {name}.f tb/{name}_tb.v && vvp {name}_tb
//   $ verilator --binary -CFLAGS -std=c++20 --top-module {name}_tb -f {name}.f tb/{name}_tb.v && obj_dir/V{name}_tb
// Elsewhere define the folder of the vectors: -D{name.upper()}_VECTORS='"PATH/tb/"'.

`default_nettype none

`ifndef {name.upper()}_VECTORS
`define {name.upper()}_VECTORS "tb/"
`endif

module {name}_tb;
  localparam VECTORS = {recording.cycles};
  localparam LATENCY = {recording.latency};

  reg  [{widths["in"] - 1}:0] stimulus [0:VECTORS-1];
  reg  [{widths["out"] - 1}:0] results [0:VECTORS-1];
{chr(10).join([*clock, *reg, *wire, *expected])}
  reg  failed;
  integer i, arrived;

  {name} dut (
{connections}
  );

  initial begin
    $readmemh({{`{name.upper()}_VECTORS, "{name}_stimulus.hex"}}, stimulus);
    $readmemh({{`{name.upper()}_VECTORS, "{name}_results.hex"}}, results);
    failed = 0;
    if (^stimulus[VECTORS-1] === 1'bx || ^results[VECTORS-1] === 1'bx) begin
      $display("FAIL {name}: the vectors are not in %s", `{name.upper()}_VECTORS);
      failed = 1;
    end
    {start}
    for (i = 0; i < VECTORS + LATENCY && !failed; i = i + 1) begin
      if (i < VECTORS)
        {{{", ".join(driven)}}} = stimulus[i];
      else
        {{{", ".join(driven)}}} = {widths["in"]}'d0;
{step}
      arrived = i - LATENCY{" + 1" if recording.latency else ""};
      if (arrived >= 0 && arrived < VECTORS) begin
        {{{", ".join(f"expected_{n}" for n in results)}}} = results[arrived];
{chr(10).join(differs)}
      end
    end
    // Nothing is left to happen, which ends the simulation: other testbenches may run beside this one.
    if (failed)
      $fatal(1, "FAIL {name}");
    else
      $display("PASS {name}: %0d vectors", VECTORS);
  end
endmodule

`default_nettype wire
"""


def assertions(design: Design, header: str) -> str:
    """SystemVerilog assertions bound to a unit with registers; empty for a combinational one."""
    component, name = design.component(), design.name
    latency = getattr(component, "latency", 0)
    if not latency:
        return ""
    kinds = ports(component)
    declared = [
        f"  input wire {f'[{width - 1}:0] ' if width > 1 else ''}{port}" for port, (_, width) in kinds.items()
    ]  # fmt: skip
    if design.unit.streams:
        checks = """\
  // A result comes out LATENCY cycles after its instruction, and only then, but for those that a reset cleared.
  latency_is_constant: assert property (@(posedge clk) settled[LATENCY-1] |-> out_valid == $past(valid, LATENCY));
  // Without a result, d stays, but for the cycle behind a reset.
  d_is_stable: assert property (@(posedge clk) settled[1] && !out_valid |-> $stable(d));
  out_valid_is_known: assert property (@(posedge clk) settled[0] |-> !$isunknown(out_valid));
  d_is_known: assert property (@(posedge clk) settled[0] && out_valid |-> !$isunknown(d));
"""
    else:
        outputs = ", ".join(_results(kinds))
        inputs = ", ".join(n for n in _driven(kinds) if n != "rst")
        checks = f"""\
  // A reset clears the outputs for the cycle behind it.
  reset_clears: assert property (@(posedge clk) rst |=> {{{outputs}}} == '0);
  // Known inputs give known outputs.
  outputs_are_known: assert property (
    @(posedge clk) settled[LATENCY-1] && !$isunknown($past({{{inputs}}}, LATENCY)) |-> !$isunknown({{{outputs}}}));
"""
    return f"""\
{header}
// Assertions bound to {name}: compile this file beside the design, for example with verilator --binary --assert.

`default_nettype none

module {name}_sva (
{("," + chr(10)).join(declared)}
);
  localparam LATENCY = {latency};

  // Bit i: there was a reset, and more than i cycles have passed since. Before the first one nothing is claimed.
  // What is said of unknown values needs a simulator of four states; one of two finds none.
  reg was_reset = 1'b0;
  reg [LATENCY-1:0] settled = '0;
  always @(posedge clk) begin
    was_reset <= was_reset | rst;
    settled <= rst ? '0 : {"{settled[LATENCY-2:0], was_reset}" if latency > 1 else "was_reset"};
  end

{checks}\
endmodule

bind {name} {name}_sva {name}_sva_i (.*);

`default_nettype wire
"""
