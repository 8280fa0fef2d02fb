"""Netlists that cannot be analysed are errors."""

import pytest
from small_netlists import INV, NAND, netlist_of

from hwsim.analysis.netlist import NetlistError


def test_an_unknown_cell_is_an_error_not_zero_area(sky):
    with pytest.raises(NetlistError, match="cell g is a black_box, which sky130hd does not have"):
        netlist_of(sky, {"g": ("black_box", {"A": 2, "Y": 3})}, {"a": [2]}, {"y": [3]})


def test_undriven_and_doubly_driven_nets_are_errors(sky):
    with pytest.raises(NetlistError, match="net b has no driver|net .* has no driver"):
        netlist_of(sky, {"g": (NAND, {"A": 2, "B": 9, "Y": 3})}, {"a": [2]}, {"y": [3]})
    with pytest.raises(NetlistError, match="net y has two drivers"):
        netlist_of(sky, {n: (INV, {"A": 2, "Y": 3}) for n in "gh"}, {"a": [2]}, {"y": [3]})


def test_a_combinational_loop_is_an_error(sky):
    cells = {"g": (INV, {"A": 4, "Y": 3}), "h": (NAND, {"A": 3, "B": 2, "Y": 4})}
    with pytest.raises(NetlistError, match="combinational loop"):
        netlist_of(sky, cells, {"a": [2]}, {"y": [4]})
