"""Liberty as the world writes it: legal forms are read alike, everything else is one clear line."""

import bz2
import lzma
import re

import numpy as np
import pytest
from conftest import ROOT

from hwsim import units
from hwsim.base import yosys
from hwsim.base.errors import InputError, ToolError
from hwsim.synthesis import mapping
from hwsim.technology import catalogue, liberty, pack
from hwsim.technology.cells import Table
from hwsim.technology.library import Library

ASAP7 = pack.render(pack.load(ROOT / "hwsim" / "technology" / "packs" / "asap7.toml"))
NAND = re.search(r"  cell \(\"(NAND2xp5\w*)\"\) \{\n.*?\n  \}\n", ASAP7, re.S)
FUNCTION = re.search(r'function : "([^"]*)";', NAND[0])[1]


def load(text, tmp_path, **options):
    path = tmp_path / "user.lib"
    path.write_text(text)
    return catalogue.load(None, [path], tmp_path, **options)


def nand(text):
    """The library with the text of one cell changed."""
    return ASAP7.replace(NAND[0], text)


def changed(*edits):
    """The library whose NAND has some of its text replaced, once each."""
    text = NAND[0]
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return nand(text)


TABLE = '  wire_load_table ("table") { fanout_length (1, 1); }\n  default_wire_load : "table";'
#: Forms that mean the same as the text of the pack.
FORMS = {
    "byte-order mark": "\ufeff" + ASAP7,
    "comments between any tokens": changed(("area :", "area /* um2 */ : // in\n"), ("values (", "values /* ps */ (")),
    "comments inside values": changed(('values ("', 'values (/* rows */ "')),
    "a backslash at a line's end outside quotes": changed(("area :", "area \\\n :")),
    "an equals sign": changed(("area :", "area =")),
    "dont_use false": changed(("area :", "dont_use : false;\n    area :")),
    "a function over two lines": changed((FUNCTION, FUNCTION.replace(" ", " \\\n ", 1))),
    "a function without quotes": changed((f'"{FUNCTION}"', FUNCTION.replace(" ", ""))),
    "a wire load table by default": ASAP7.replace('  default_wire_load : "estimate";', TABLE),
}


def figures(library):
    """Cells that synthesis may use, and one of them in full."""
    cell = library.cells[NAND[1]]
    return {c.name for c in library.usable_cells}, cell.area, str(cell.pins["Y"].function), len(cell.timing)


@pytest.mark.parametrize("form", FORMS)
def test_a_legal_form_is_read_like_the_plain_one(form, tmp_path):
    plain = figures(load(ASAP7, tmp_path))
    text = FORMS[form]
    assert text != ASAP7
    library = load(text, tmp_path)
    assert figures(library) == plain
    # What Yosys and ABC get has none of it.
    written = library.liberty_path.read_text()
    assert "dont_use" not in written and "/*" not in written and "\\" not in written
    assert f'function : "{FUNCTION}"' in written or re.sub(r"[()]", "", FUNCTION) in re.sub(r"[()]", "", written)


@pytest.mark.parametrize("form", ["TRUE", '"1"', "true", '"true"'])
def test_dont_use_in_any_spelling_drops_the_cell(form, tmp_path):
    library = load(nand(NAND[0].replace("area :", f"dont_use : {form};\n    area :")), tmp_path)
    assert NAND[1] not in {c.name for c in library.usable_cells}
    assert NAND[1] not in library.liberty_path.read_text()


def test_cells_of_a_pattern_are_left_out(tmp_path, run_tool):
    library = load(ASAP7, tmp_path, dont_use=["NAND2xp5*", "XNOR*"])
    used = {c.name for c in library.usable_cells}
    assert NAND[1] not in used and not any(name.startswith("XNOR") for name in used)
    with pytest.raises(InputError, match=r"--dont-use ZZ\*: no cell of .* is called so"):
        load(ASAP7, tmp_path, dont_use=["ZZ*"])
    result = run_tool("synth", "--unit", "nvfp4_decode", "--tech", "asap7", "--dont-use", "X*")
    assert result.returncode == 2 and "--dont-use needs --liberty" in result.stderr


def test_a_cell_of_unsupported_tables_is_left_out_and_named(tmp_path, run_tool):
    cube = """
  lu_table_template (cube) {
    variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    variable_3 : related_out_total_output_net_capacitance;
    index_1 ("1, 2"); index_2 ("1, 2"); index_3 ("1, 2");
  }
  cell (odd) { area : 1; dont_use : true;
    pin (A) { direction : input; capacitance : 1; }
    pin (Y) { direction : output; function : "A"; timing () { related_pin : "A";
      cell_rise (cube) { values ("1, 2, 3, 4, 5, 6, 7, 8"); } } }
  }
}
"""
    text = ASAP7.rstrip()[:-1] + cube
    library = load(text, tmp_path)
    assert list(library.left_out) == ["odd"] and "related_out_total" in library.left_out["odd"]
    assert figures(library) == figures(load(ASAP7, tmp_path))
    (tmp_path / "user.lib").write_text(text)
    result = run_tool(
        "synth", "--unit", "nvfp4_decode", "--set", "lanes=1", "--baseline", "none", "--liberty", "user.lib"
    )
    assert result.returncode == 0 and "note: cell odd of asap7 is left out" in result.stderr


def test_a_gate_without_delays_is_not_used(tmp_path):
    without = re.sub(r"      timing \(\) \{.*?\n      \}\n", "", NAND[0], flags=re.S)
    assert without != NAND[0]
    library = load(nand(without), tmp_path)
    assert library.cells[NAND[1]].unusable.startswith("no delay from ")
    unrelated = NAND[0].replace('related_pin : "A";', "")
    assert load(nand(unrelated), tmp_path).cells[NAND[1]].unusable == "no delay from A to Y"


BUS = """
  type (two) { base_type : array; bit_width : 2; bit_from : 1; bit_to : 0; }
  cell (MUX) { area : 1;
    bus (in) { bus_type : two; direction : input; }
    pin (out) { direction : output; function : "in[0]"; timing () { related_pin : "in"; } } }
"""
FREE = """
  cell (FREE) { ff (IQ, IQN) { next_state : "D"; clocked_on : "C"; }
    pin (C) { direction : input; clock : true; } pin (D) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; timing () { related_pin : "C"; timing_type : rising_edge;
      cell_rise (scalar) { values ("0"); } rise_transition (scalar) { values ("0"); } } } }
"""
STATELESS = FREE.replace('next_state : "D"; ', "").replace("(FREE) {", "(FREE) { area : 1;")


def test_cells_of_macros_and_models_beside_the_gates_change_nothing(tmp_path):
    """A bus as the start of an arc, a flip-flop that costs nothing, one without a function: legal, and not for us."""
    plain = load(ASAP7, tmp_path)
    library = load(ASAP7.rstrip()[:-1] + BUS + FREE + "}", tmp_path)
    assert (library.cells["MUX"].unusable, library.cells["FREE"].unusable) == ("bus pins", "area 0")
    assert figures(library) == figures(plain) and library.output_load_fF == plain.output_load_fF
    without = load(ASAP7.rstrip()[:-1] + STATELESS + "}", tmp_path)
    assert without.left_out == {"FREE": f"ff has no next_state ({tmp_path / 'user.lib'})"}


def test_a_gate_that_is_there_and_cannot_be_used_is_named_with_the_reason(tmp_path):
    """Not "no inverter" where the file has one."""
    silent = re.sub(r"      timing \(\) \{.*?\n      \}\n", "", ASAP7, flags=re.S)
    with pytest.raises(InputError, match=r"no inverter .* that it may use \(INV\w+: no delay from A to Y"):
        load(silent, tmp_path)


@pytest.mark.parametrize(("kind", "compress"), [("xz", lzma.compress), ("bzip2", bz2.compress)])
def test_another_compression_than_gzip_is_named(kind, compress, tmp_path):
    path = tmp_path / "user.lib.x"
    path.write_bytes(compress(ASAP7.encode()))
    with pytest.raises(InputError, match=f"compressed with {kind}: expected plain text or gzip"):
        catalogue.load(None, [path], tmp_path)


FIRST = re.compile(r'values \("[-\d.e]+')
ERRORS = {
    "no area": (re.sub(r"area : [\d.]+;", "area : 0;", ASAP7), r"no inverter in .* that it may use \(INV\w+: area 0"),
    "nan in a table": (nand(FIRST.sub('values ("nan', NAND[0], count=1)), r"got 'nan'"),
    "a word in a table": (nand(FIRST.sub('values ("x', NAND[0], count=1)), r"got 'x'"),
    "a word in a wire load": (ASAP7.replace("fanout_length (1,", "fanout_length (one,"), r"got 'one'"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_is_wrong_is_said_in_one_line(case, tmp_path):
    text, message = ERRORS[case]
    assert text != ASAP7
    with pytest.raises(InputError, match=message):
        load(text, tmp_path)


def test_fanout_lengths_in_quotes_and_names_with_blanks(tmp_path):
    quoted = re.sub(r"fanout_length \(([^)]*)\)", r'fanout_length ("\1")', ASAP7)
    named = quoted.replace('library ("asap7")', 'library ("my library")')
    library = load(named, tmp_path)
    assert library.wire_load.lengths == load(ASAP7, tmp_path).wire_load.lengths
    assert library.name == "my_library" and " " not in library.liberty_path.name


CELL_RISE = re.compile(r'cell_rise \((\w+)\) \{\n *values \("([^"]*)", "([^"]*)"\);\n')


def with_cell_rise(text):
    """The library with the first delay table of the NAND replaced."""
    return nand(CELL_RISE.sub(text.replace("\\", ""), NAND[0], count=1))


def test_a_table_with_its_own_shorter_index_gets_a_template_of_its_own(tmp_path):
    """ABC takes the length of a table's index from the template."""
    template, *rows = CELL_RISE.search(NAND[0]).groups()
    shorter = [", ".join(row.split(", ")[:2]) for row in rows]
    own = f'cell_rise ({template}) {{ index_2 ("0, 2.235"); values ("{shorter[0]}", "{shorter[1]}");\n'
    library = load(with_cell_rise(own), tmp_path)
    group = liberty.read(library.liberty_path)
    lengths = [len(liberty.numbers(t.raw("index_2"))) for t in group.all("lu_table_template") if "delay" in t.name]
    assert sorted(lengths) == [2, 3]


@pytest.mark.parametrize("form", ['cell_rise (scalar) { values ("7.5");', 'cell_rise (one) { values ("7.5");'])
def test_a_constant_delay_is_a_table_for_other_tools(form, tmp_path, run_tool):
    one = "lu_table_template (one) { variable_1 : input_net_transition; variable_2 : total_output_net_capacitance; "
    text = with_cell_rise(form).replace("  cell (", one + 'index_1 ("5"); index_2 ("1"); }\n  cell (', 1)
    (tmp_path / "user.lib").write_text(text)
    library = load(text, tmp_path)
    assert library.cells[NAND[1]].timing[0].delay["rise"].lookup(0.05, 3.0) == pytest.approx(0.0075)
    again = Library.load(library.liberty_path).cells[NAND[1]].timing[0].delay["rise"]
    assert again.values.shape == (2, 2) and again.lookup(0.05, 3.0) == pytest.approx(0.0075)
    for command in (
        ("synth", "--unit", "nvfp4_decode", "--set", "lanes=1", "--baseline", "none", "--liberty", "user.lib"),
        ("tech", "fit", "user.lib", "-o", "user.toml"),
    ):
        result = run_tool(*command)
        assert result.returncode == 0, result.stderr


def test_a_failure_of_a_tool_names_the_users_file_and_cell(tmp_path, monkeypatch):
    """Whatever ABC stumbles over: the message is about the user's files, not about ours."""
    library = load(ASAP7, tmp_path)

    def fails(script, directory, name):
        raise yosys.YosysError(f"Yosys failed: ERROR: cell {NAND[1]} is odd (log: x)")

    monkeypatch.setattr(yosys, "run", fails)
    design = units.design("nvfp4_decode", {"lanes": 1})
    with pytest.raises(ToolError, match=rf"mapping to .*user\.lib, cell {NAND[1]}: Yosys failed"):
        mapping.map_design(design, library, mapping.Options(1.0), tmp_path / "build")


def split_edges(text):
    """A cell whose combinational arcs are stated edge by edge, the fall first."""

    def twice(match):
        arc = match[0]
        fall, rise = (
            re.sub(rf"        (cell_{drop}|{drop}_transition) .*?\n        \}}\n", "", arc, flags=re.S).replace(
                "timing_type : combinational;", f"timing_type : combinational_{keep};"
            )
            for keep, drop in (("fall", "rise"), ("rise", "fall"))
        )
        return fall + rise

    return re.sub(r"      timing \(\) \{\n.*?\n      \}\n", twice, text, flags=re.S)


def test_arcs_may_be_stated_edge_by_edge(tmp_path):
    plain = load(ASAP7, tmp_path)
    text = re.sub(r'  cell \("(?:INV|BUF|NAND).*?\n  \}\n', lambda m: split_edges(m[0]), ASAP7, flags=re.S)
    assert text.count("combinational_rise") > 10
    library = load(text, tmp_path)
    assert {c.name for c in library.usable_cells} == {c.name for c in plain.usable_cells}
    assert (library.input_slew_ns, library.clock_period_ns) == (plain.input_slew_ns, plain.clock_period_ns)
    one_edge = nand(
        re.sub(r"        cell_rise .*?\n        \}\n        cell_fall", "        cell_fall", NAND[0], flags=re.S)
    )
    with pytest.raises(InputError, match="delay without transition table"):
        load(one_edge, tmp_path)


def test_a_gate_with_a_delay_of_another_model_is_not_used(tmp_path):
    """Without tables ABC would not get beyond the cell."""
    linear = re.sub(
        r"      timing \(\) \{.*?\n      \}\n",
        '      timing () { related_pin : "A"; intrinsic_rise : 1; rise_resistance : 1; }\n',
        NAND[0],
        flags=re.S,
    )
    assert load(nand(linear), tmp_path).cells[NAND[1]].unusable == "no delay from A to Y"


FLOP = re.search(r'  cell \("(DFF\w*)"\) \{\n.*?\n  \}\n', ASAP7, re.S)


def with_condition(when):
    energy = f'internal_power () {{ related_pin : "CLK"; when : "{when}";'
    changed = FLOP[0].replace('internal_power () {\n        related_pin : "CLK";', energy, 1)
    assert changed != FLOP[0]
    return ASAP7.replace(FLOP[0], changed)


def test_conditions_on_a_state_name_the_output_that_shows_it(tmp_path):
    library = load(with_condition("IQ & D"), tmp_path)
    (q,) = library.cells[FLOP[1]].outputs
    conditions = {arc.when for arc in library.cells[FLOP[1]].energy if arc.related_pin == "CLK"}
    assert conditions == {f"({q}) & D"}
    assert f'when : "{q} & D";' in library.liberty_path.read_text()
    assert f'when : "!{q}";' in load(with_condition("IQN"), tmp_path).liberty_path.read_text()
    with pytest.raises(InputError, match=rf"cell {FLOP[1]}: boolean function '!D \]'"):
        load(with_condition("!D ]"), tmp_path)


def test_sums_of_tables_are_at_the_points_of_both():
    one = Table(np.zeros(1), np.zeros(1), np.zeros((1, 1)))
    two = Table(np.array([1.0, 2.0]), np.array([10.0, 20.0]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    for total in (one.plus(two), two.plus(one)):
        np.testing.assert_array_equal(total.values, two.values)
    finer = Table(np.array([1.0, 1.5, 2.0]), np.array([10.0, 20.0]), np.zeros((3, 2)))
    np.testing.assert_allclose(finer.plus(two).values, [[1, 2], [2, 3], [3, 4]])
    np.testing.assert_allclose(two.plus(finer).values, [[1, 2], [2, 3], [3, 4]])
