"""Cells, tables, wire loads and merging, on a library with odd units and swapped axes."""

import numpy as np
import pytest

from hwsim.base.errors import InputError
from hwsim.technology import liberty, rendering
from hwsim.technology.cells import Table
from hwsim.technology.library import Library, WireLoad

HEADER = """
  time_unit : "10ps"; voltage_unit : "100mV"; leakage_power_unit : "1uW"; capacitive_load_unit (0.1, pf);
  nom_voltage : 1.1; nom_temperature : 25; nom_process : 1;
  voltage_map (VDD, 1.1); voltage_map (VSS, 0);
  wire_load (small) { capacitance : 2; slope : 3; fanout_length (1, 1); fanout_length (3, 5); }
  lu_table_template (load_first) {
    variable_1 : total_output_net_capacitance; variable_2 : input_net_transition;
    index_1 ("1, 2"); index_2 ("10, 20, 40");
  }
  lu_table_template (data_first) {
    variable_1 : constrained_pin_transition; variable_2 : related_pin_transition;
    index_1 ("1, 2"); index_2 ("10, 20, 40");
  }
  power_lut_template (slew_only) { variable_1 : input_transition_time; index_1 ("10, 20"); }
"""
TABLE = 'index_1 ("1, 2"); index_2 ("10, 20, 40"); values ("1, 2, 3", "4, 5, 6");'
EDGES = " ".join(
    f"{kind} (load_first) {{ {TABLE} }}" for kind in ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
)
GATE = """
  cell (%s) {
    area : %s;
    leakage_power () { value : 2; when : "A"; }
    leakage_power () { value : 4; when : "!A"; }
    %s
    pin (Y) { direction : output; function : "%s"; %s }
  }
"""


def pin(name, extra=""):
    return f"pin ({name}) {{ direction : input; rise_capacitance : 0.1; fall_capacitance : 0.3; {extra} }}"


def arcs(*inputs):
    return " ".join(f'timing () {{ related_pin : "{name}"; {EDGES} }}' for name in inputs)


ENERGY = """
  internal_power () { related_pg_pin : VDD; when : "B"; rise_power (slew_only) { values ("1, 3"); } }
  internal_power () { related_pg_pin : VSS; when : "B"; rise_power (slew_only) { values ("50, 50"); } }
"""
INVERTER = GATE % ("INV", 1, pin("A"), "!A", arcs("A"))
NAND = GATE % ("NAND2", 2, pin("A", ENERGY) + pin("B"), "!(A B)", arcs("A B"))
SETUP = f"""
  timing () {{
    related_pin : "CK"; timing_type : setup_rising; rise_constraint (data_first) {{ {TABLE} }}
    fall_constraint (scalar) {{ values ("7"); }}
  }}
"""
FLOP = f"""
  cell (DFF) {{
    area : 5; cell_leakage_power : 9;
    ff (Q1, Q1N) {{ clocked_on : "CK"; next_state : "!D"; clear : "!R"; }}
    {pin("D", SETUP)} {pin("R")} {pin("CK", "clock : true;")}
    pin (QN) {{
      direction : output; function : "Q1N";
      timing () {{ related_pin : "CK"; timing_type : rising_edge; timing_sense : non_unate; {EDGES} }}
    }}
  }}
"""
LATCH = 'cell (LATCH) { area : 3; latch (Q, QN) { enable : "G"; } pin (Y) { direction : output; } }'
CELLS = INVERTER + NAND + FLOP + LATCH


def library(cells=CELLS, extra='default_wire_load : "small";'):
    return f"library (tiny) {{ {HEADER} {extra} {cells} }}"


def loaded(text=None):
    return Library.from_groups([liberty.parse(text or library(), "tiny.lib")], ["tiny.lib"])


def test_units_are_converted():
    tiny = loaded()
    inverter = tiny.cells["INV"]
    assert (tiny.voltage, tiny.temperature, tiny.nand2_area) == (1.1, 25, 2)
    assert inverter.pins["A"].capacitance == pytest.approx(20)  # mean of 0.1 and 0.3, in units of 100 fF
    assert inverter.leakage == pytest.approx(3000)  # mean of the states, uW to nW
    assert tiny.cells["DFF"].leakage == pytest.approx(9000)
    (energy,) = [arc for arc in tiny.cells["NAND2"].energy if arc.pin == "A"]
    # 0.1 pF * (0.1 V)**2 is 1 fJ; the ground pin's figures are not added.
    assert energy.energy["rise"].values.tolist() == [[pytest.approx(1)], [pytest.approx(3)]]
    assert (energy.related_pin, energy.when) == (None, "B")
    assert dict(inverter.leakage_states) == {"A": pytest.approx(2000), "!A": pytest.approx(4000)}


def test_axes_are_put_in_order():
    tiny = loaded()
    table = tiny.cells["INV"].timing[0].delay["rise"]
    assert table.index_1 == pytest.approx([0.1, 0.2, 0.4])  # slew
    assert table.index_2 == pytest.approx([100, 200])  # load
    assert table.values == pytest.approx(np.array([[1, 4], [2, 5], [3, 6]]) / 100)
    (setup,) = tiny.cells["DFF"].constraints
    assert (setup.related_pin, setup.pin, setup.kind) == ("CK", "D", "setup_rising")
    rise = setup.constraint["rise"]
    assert rise.index_1 == pytest.approx([0.1, 0.2, 0.4])  # clock
    assert rise.index_2 == pytest.approx([0.01, 0.02])  # data
    assert setup.constraint["fall"].lookup(0.3, 0.2) == pytest.approx(0.07)


def test_several_related_pins_and_the_sense_of_the_function():
    arcs = loaded().cells["NAND2"].timing
    assert [(arc.related_pin, arc.pin, arc.sense) for arc in arcs] == [
        ("A", "Y", "negative_unate"),
        ("B", "Y", "negative_unate"),
    ]


def test_flip_flop_states_get_one_name():
    flip_flop = loaded().cells["DFF"].flip_flop
    assert flip_flop.outputs == {"QN": "IQN"}
    assert (str(flip_flop.clocked_on), str(flip_flop.next_state), str(flip_flop.clear)) == ("CK", "!D", "!R")
    assert flip_flop.preset is None
    assert loaded().cells["DFF"].pins["QN"].function is None
    inverted = loaded(library(CELLS.replace('function : "Q1N"', 'function : "!Q1N"'))).cells["DFF"].flip_flop
    assert inverted.outputs == {"QN": "IQ"}


def test_cells_for_other_purposes_are_kept_but_not_usable():
    tiny = loaded()
    assert tiny.cells["LATCH"].unusable == "latch"
    assert [cell.name for cell in tiny.usable_cells] == ["INV", "NAND2", "DFF"]
    without = INVERTER.replace('function : "!A";', "").replace("(INV)", "(ODD)")
    assert loaded(library(CELLS + without)).cells["ODD"].unusable == "output Y has no function"


def test_lookup_interpolates_and_extrapolates_the_nearest_plane():
    table = Table(np.array([1.0, 2.0, 4.0]), np.array([0.0, 10.0]), np.array([[1, 2], [3, 6], [3, 8]], float))
    assert table.lookup(1.5, 5) == pytest.approx(3.0)  # mean of four corners
    assert table.lookup(2, 10) == 6
    assert table.lookup(0, 0) == pytest.approx(-1)  # slope 2 of the first interval goes on
    # At slew 8 the last interval has gone on to (3, 12) for loads 0 and 10, so load 20 gives 21.
    assert table.lookup(8, 20) == pytest.approx(21)
    assert table.lookup(np.array([1, 2]), np.array([[0], [10]])).tolist() == [[1, 3], [2, 6]]
    constant = Table(np.zeros(1), np.zeros(1), np.array([[5.0]]))
    assert constant.lookup(3, -7) == 5


def test_wire_load():
    wire = loaded().wire_load
    assert wire.name == "small"
    # 2 * 100 fF per length; lengths 1, 3 (between), 5, then slope 3.
    assert [wire.capacitance(fanout) for fanout in (0, 1, 2, 3, 5)] == [0, 200, 600, 1000, 2200]
    assert loaded(library(extra="")).wire_load == WireLoad()
    assert WireLoad().capacitance(7) == 0


def test_wire_load_by_selection():
    selection = """
      wire_load_selection (areas) { wire_load_from_area (0, 10, small); wire_load_from_area (10, 20, big); }
      default_wire_load_selection : "areas";
    """
    assert loaded(library(extra=selection)).wire_load.name == "small"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (INVERTER + NAND, "no edge-triggered flip-flop"),
        (NAND + FLOP, "no inverter in tiny.lib"),
        (INVERTER + FLOP, "no two-input NAND in tiny.lib"),
        (CELLS + INVERTER, "cell INV is in tiny.lib and again in tiny.lib"),
        (CELLS.replace('"4, 5, 6"', '"4, 5"'), "5 values where the index has 2 x 3"),
        (CELLS.replace("(load_first)", "(other)"), "table template 'other' is not defined"),
        (CELLS.replace('related_pin : "A"', 'related_pin : "Z"'), "related_pin Z is not a pin"),
        (CELLS.replace("!(A B)", "!(A B"), "boolean function '!(A B': expected ')'"),
    ],
)
def test_unfit_libraries_are_refused(cells, message):
    with pytest.raises(InputError) as error:
        loaded(library(cells))
    assert message in str(error.value)


def test_two_corners_are_refused():
    texts = library(INVERTER + NAND), library(FLOP).replace("nom_voltage : 1.1", "nom_voltage : 0.9")
    with pytest.raises(InputError, match=r"different corners: a is at 1\.1 V, b at 0\.9 V"):
        Library.from_groups([liberty.parse(text) for text in texts], ["a", "b"])


def rendered(*paths):
    """The library that several files are, read again from the one file that other tools get."""
    groups = [liberty.read(path) for path in paths]
    library = Library.from_groups(groups, list(map(str, paths)))
    return Library.from_groups([liberty.parse(rendering.render(library))], ["rendered"])


def test_several_files_are_one_library(tmp_path):
    gates, flops = tmp_path / "gates.lib", tmp_path / "flops.lib"
    explicit = TABLE.partition("values")[0]
    gates.write_text(library(INVERTER + NAND + LATCH).replace(explicit, ""))
    # The same template name with another index: must not be mixed up with the first file's.
    changed = library(FLOP).replace('index_1 ("1, 2"); index_2', 'index_1 ("1, 3"); index_2', 1)
    flops.write_text(changed.replace(explicit + "values", "values"))
    both = Library.load([gates, flops])
    assert both.files == (str(gates), str(flops))
    one = rendered(gates, flops)
    assert list(one.cells) == ["INV", "NAND2", "DFF"]  # what synthesis may not use is left out
    for name, cell in one.cells.items():
        for arc, original in zip(cell.timing, both.cells[name].timing, strict=True):
            assert arc.delay["rise"].index_2 == pytest.approx(original.delay["rise"].index_2)
            assert arc.delay["rise"].values == pytest.approx(original.delay["rise"].values)
    assert one.cells["DFF"].timing[0].delay["rise"].index_2 == pytest.approx([100, 300])


def test_files_with_other_units_become_one_in_the_units_of_the_first(tmp_path):
    gates, flops = tmp_path / "gates.lib", tmp_path / "flops.lib"
    gates.write_text(library(INVERTER + NAND))
    flops.write_text(library(FLOP).replace('"10ps"', '"1ns"'))
    for read in (Library.load([gates, flops]), rendered(gates, flops)):
        delay = read.cells["DFF"].timing[0].delay["rise"]
        assert delay.values.max() == pytest.approx(6)
        assert read.time_unit_ns == pytest.approx(0.01)


def test_files_with_other_thresholds_are_refused(tmp_path):
    gates, flops = tmp_path / "gates.lib", tmp_path / "flops.lib"
    gates.write_text(library(INVERTER + NAND))
    flops.write_text(library("slew_lower_threshold_pct_rise : 10;" + FLOP))
    with pytest.raises(InputError, match=r"flops\.lib: slew_lower_threshold_pct_rise is 10, but 20 in .*gates\.lib"):
        Library.load([gates, flops])
    # A file of cells that synthesis does not use may be measured in its own way.
    flops.write_text(library("slew_lower_threshold_pct_rise : 10;" + LATCH))
    gates.write_text(library(INVERTER + NAND + FLOP))
    assert list(rendered(gates, flops).cells) == ["INV", "NAND2", "DFF"]


def test_the_edges_of_a_pin_see_the_upper_ends_of_its_ranges():
    """Late arrivals are calculated with them; energy with the plain capacitance."""
    text = library().replace("rise_capacitance :", "rise_capacitance_range (0.05, 0.7); rise_capacitance :", 1)
    assert text != library()
    pin = next(p for c in loaded(text).cells.values() for p in c.pins.values() if p.load(0) == pytest.approx(70))
    assert pin.load(1) != pin.load(0) and pin.capacitance < pin.load(0)
