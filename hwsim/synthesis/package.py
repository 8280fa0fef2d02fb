"""A unit as a folder that RTL teams can take: ``python -m hwsim.verilog --unit NAME --package -o DIR``.

RTL, constraints, a self-checking testbench with golden's vectors, assertions, lint settings, descriptions for FuseSoC
and Bender, a data sheet, and a manifest with the hash of every file. Every run writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from hwsim.base.text import markdown, paragraph
from hwsim.golden.formats import Nan
from hwsim.synthesis import self_checking
from hwsim.synthesis.emit import files, generator, header, ports
from hwsim.synthesis.sdc import IO_SHARE, to_sdc
from hwsim.technology.library import Library
from hwsim.units.describe import described_ports, settings_text
from hwsim.units.recording import Recording
from hwsim.units.unit import Design

#: Results that the testbench compares, at least: every class of inputs is among them, and Icarus, which interprets some
#: ten thousand a minute, is done in a minute. At least so many cycles, in which resets, bubbles and chains take turns.
RESULTS, LEAST_CYCLES = 8000, 120
#: Name of the manifest, by which a folder is known to be a package.
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Constraints:
    """What the SDC file says: library, clock period in ns, share of the period for the logic outside."""

    library: Library
    clock_period_ns: float
    io_share: float = IO_SHARE


def package(design: Design, constraints: Constraints, seed: int = 1) -> dict[str, str]:
    """Files of a design's package: their texts by path in the folder, the manifest last.

    Parameters
    ----------
    design : Design
    constraints : Constraints
    seed : int
        Of the random part of the testbench.
    """
    name = design.name
    widths = {port: width for port, (_, width) in ports(design.component()).items()}
    mma = design.unit.mma
    each = mma.shape(design.parameters)[0] * mma.shape(design.parameters)[1] if mma else 1
    recording = Recording.of(design, seed, widths, max(RESULTS // each, LEAST_CYCLES))
    stimulus, results = self_checking.vectors(design, recording)
    rtl = {f"rtl/{file}": text for file, text in files(design).items()}
    head = header(design, "testbench")
    contents = rtl | {
        f"tb/{name}_tb.v": self_checking.testbench(design, recording, head),
        f"tb/{name}_stimulus.hex": stimulus,
        f"tb/{name}_results.hex": results,
    }
    if assertions := self_checking.assertions(design, header(design, "assertions")):
        contents[f"tb/{name}_sva.sv"] = assertions
    contents |= {
        f"lint/{name}.vlt": _WAIVERS,
        f"{name}.f": "".join(f"{path}\n" for path in rtl),
        f"{name}.sdc": to_sdc(design, constraints.library, constraints.clock_period_ns, constraints.io_share),
        f"{name}.core": _core(design, list(rtl), bool(assertions)),
        "Bender.yml": _bender(design, list(rtl), bool(assertions)),
        f"{name}.md": data_sheet(design),
    }
    contents[MANIFEST] = _manifest(design, constraints, recording, seed, contents)
    return contents


_WAIVERS = """\
`verilator_config
// No waivers: the RTL is clean under verilator --lint-only -Wall.
"""


def _manifest(
    design: Design, constraints: Constraints, recording: Recording, seed: int, contents: dict[str, str]
) -> str:
    about = {
        "top": design.name,
        "unit": design.unit.name,
        "parameters": design.parameters,
        "made_by": generator(),
        "licence": "Apache-2.0",
        "vectors": {"cycles": recording.cycles, "seed": seed, "latency": recording.latency},
        "constraints": {
            "technology": constraints.library.name,
            "corner": constraints.library.corner,
            "clock_period_ns": constraints.clock_period_ns,
            "io_share": constraints.io_share,
        },
        "sha256": {path: hashlib.sha256(text.encode()).hexdigest() for path, text in sorted(contents.items())},
    }
    return json.dumps(about, indent=2) + "\n"


def _core(design: Design, rtl: list[str], has_assertions: bool) -> str:
    """Description for FuseSoC (CAPI2)."""
    name = design.name

    def listed(paths: list[str]) -> str:
        return "".join(f"      - {path}\n" for path in paths)

    vectors = "".join(
        f"      - tb/{name}_{kind}.hex: {{file_type: user, copyto: tb/{name}_{kind}.hex}}\n"
        for kind in ("stimulus", "results")
    )
    sva = (
        f"  sva:\n    files:\n      - tb/{name}_sva.sv\n    file_type: systemVerilogSource\n" if has_assertions else ""
    )
    checked = (
        f"""\
  sim_sva:
    filesets: [rtl, tb, sva]
    toplevel: {name}_tb
    flow: sim
    flow_options:
      tool: verilator
      mode: binary
      verilator_options: [--assert, -CFLAGS, -std=c++20]
"""
        if has_assertions
        else ""
    )
    return f"""\
CAPI=2:
name: hwsim:units:{name}:{_version()}
description: "{design.unit.summary}"

filesets:
  rtl:
    files:
{listed(rtl)}    file_type: verilogSource
  tb:
    files:
      - tb/{name}_tb.v: {{file_type: systemVerilogSource}}
{vectors}  lint:
    files:
      - lint/{name}.vlt: {{file_type: vlt}}
  constraints:
    files:
      - {name}.sdc: {{file_type: SDC}}
{sva}
targets:
  default: &default
    filesets: [rtl]
    toplevel: {name}
  lint:
    <<: *default
    filesets: [rtl, lint]
    flow: lint
    flow_options:
      tool: verilator
      verilator_options: [-Wall]
  sim:
    filesets: [rtl, tb]
    toplevel: {name}_tb
    flow: sim
    flow_options:
      tool: icarus
      iverilog_options: [-g2012]
{checked}  synth:  # a first look with Yosys, on an FPGA's cells; other tools take the same filesets
    <<: *default
    filesets: [rtl, constraints]
    flow: generic
    flow_options:
      tool: yosys
      arch: xilinx
"""


def _bender(design: Design, rtl: list[str], has_assertions: bool) -> str:
    """Description for Bender."""
    name = design.name
    sources = "".join(f"  - {path}\n" for path in rtl)
    tests = [f"tb/{name}_tb.v", *([f"tb/{name}_sva.sv"] if has_assertions else [])]
    return (
        f'package:\n  name: {name}\n  description: "{design.unit.summary}"\n\nsources:\n{sources}'
        "  - target: test\n    files:\n" + "".join(f"      - {path}\n" for path in tests)
    )


def _version() -> str:
    return generator().split(",")[0].split()[1]


_FIRST = "`d` is unknown until the first result, so the first instruction after a reset must not accumulate. "


def data_sheet(design: Design) -> str:
    """A page on a design: ports, bit order, timing, reset, special values, and how to use the folder."""
    component, name = design.component(), design.name
    latency, interval = getattr(component, "latency", 0), getattr(component, "chain_interval", 0)
    notes = described_ports(component)
    rows = [["port", "direction", "bits", "meaning"]]
    rows += [
        [f"`{port}`", kind, str(width), notes.get(port, "")] for port, (kind, width) in ports(component).items()
    ]  # fmt: skip
    if interval:
        where = "in its accumulator " if design.parameters["buffers"] else ""
        timing = (
            f"An instruction a cycle. A result is at `d`, with `out_valid`, {latency} cycles after its instruction. An "
            f"instruction with `accumulate` adds to the last result {where}of those issued at least {interval} cycles "
            f"before it (chain interval {interval}): up to {interval} independent chains can take turns. `d` keeps its "
            "value while no other result comes out, but for the cycle behind a reset."
        )
    elif latency:
        timing = f"A block a cycle. Results are at the outputs {latency} cycles after the inputs; both are registered."
        if design.unit.streams:
            timing += " Results count where `out_valid` is high."
        if steady := design.unit.steady(design.parameters):
            held = ", ".join(f"`{name}`" for name in steady)
            timing += f"\n\nHeld from a block's cycle until its result is out, {latency} cycles later: {held}."
    else:
        timing = "Combinational: there is no clock and no reset."
    reset = "`rst` is synchronous and active high, and clears the output registers. Input registers have no reset."
    if design.unit.streams:
        what, first = ("blocks", "") if not interval else ("instructions", _FIRST)
        reset = (
            f"`rst` is synchronous and active high. It clears the {what} in flight: none that came before or during "
            f"the reset gives a result. {first}Registers of the data path have no reset."
        )
    special = _special_values(design)
    clocks = (
        "One clock, rising edge. No gated clocks, no latches, no tri-states, no memories, no initial values; every "
        "register is a plain flip-flop that a scan chain can take. No combinational path leads from an input to an "
        "output."
        if latency
        else "No registers."
    )
    sections = {
        "Ports": markdown(rows)
        + "\n\n"
        + paragraph(
            "In vectors, element, block or row 0 is in the lowest bits; matrices are row-major. An element's sign is "
            "its highest bit."
        ),
        "Timing": paragraph(timing),
        "Reset": paragraph(reset) if latency else "None.",
        "Special values": paragraph(special),
        "Clock and test": paragraph(clocks),
        "Use": _use(design, bool(latency)),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    about = f"{design.unit.summary}. Parameters: {settings_text(design.parameters)}."
    return f"# {name}\n\n{about}\n\n{body}\n\nMade by {generator()}.\n"


def _special_values(design: Design) -> str:
    """What NaN, infinities, zeros and the bits of scales mean."""
    mma = design.unit.mma
    if mma is None and design.unit.streams:
        return (
            "Where a value of a block is infinite or NaN, the scale is NaN and all else is 0. Codes saturate. Zeros "
            "keep their sign but where the format clears those of a block of zeros."
        )
    if mma is None:
        return (
            "`scale_nan` says whether the scale is NaN (all bits one but the sign's); operands are decoded all the "
            "same. Zero operands are +0 only."
        )
    element, scale = mma.element(design.parameters), mma.scale(design.parameters)
    term = mma.term(design.parameters)
    nans = ["C", *(["an element"] if element.nan is not Nan.NONE else []), *(["a scale"] if scale else [])]
    sentences = []
    if scale is not None:
        chooses = term is not None and term.has_type
        rest = f", bit 7 {'chooses the format' if chooses else 'is ignored'}" if scale.magnitude_width < 8 else ""
        bits = f"{scale.magnitude_width} bits of a scale byte are {scale.name.upper()}, NaN where they are "
        sentences.append(f"The low {bits}{scale.nan_code:#x}{rest}.")
        if chooses:
            polarity = design.parameters["polarity"]
            sentences.append(f"Bit 7 is {polarity} for a block of E2M1, {1 - polarity} for one of E1M2.")
    also = ", as do infinities of both signs and zero times infinity" if element.has_infinity else ""
    sentences += [
        f"Results are FP32. NaN in {' or '.join(nans)} gives the canonical NaN `0x7fc00000`{also}.",
        f"An infinite C{' or product' if element.has_infinity else ''} gives an infinity of its sign.",
        "A sum beyond the largest number gives an infinity, in either rounding. Zero results are +0.",
    ]
    return " ".join(sentences)


def _use(design: Design, has_assertions: bool) -> str:
    name = design.name
    lines = [
        f"iverilog -g2012 -o {name}_tb -f {name}.f tb/{name}_tb.v && vvp {name}_tb",
        f"verilator --binary -CFLAGS -std=c++20 -j 0 --top-module {name}_tb -f {name}.f tb/{name}_tb.v"
        + (f" tb/{name}_sva.sv --assert" if has_assertions else "")
        + f" && obj_dir/V{name}_tb",
        f"verilator --lint-only -Wall --top-module {name} lint/{name}.vlt -f {name}.f",
        f"fusesoc --cores-root . run --target sim hwsim:units:{name}",
    ]
    shell = "\n".join(lines)
    return (
        f"Run in this folder. The testbench replays golden's vectors in `tb/`, prints PASS or the first difference,\n"
        f"and needs no Python. `{name}.f` lists the RTL, `{name}.sdc` has clock and I/O constraints.\n\n"
        f"```sh\n{shell}\n```"
    )
