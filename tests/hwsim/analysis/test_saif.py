"""Switching activity as SAIF."""

from hwsim.analysis.saif import to_saif
from hwsim.costs import flow
from hwsim.costs.flow import Workload


def test_saif_says_what_was_counted(mapped):
    m = mapped("nvfp4_decode")
    result = flow.measure(m, Workload(4096))
    text = to_saif(result.netlist, result.activity, 1.0)
    duration = result.activity.cycles * 10**6
    assert f"(DURATION {duration})" in text
    assert text.count("(TC ") == len(result.netlist.nets)
    assert f"(clk (T0 {duration // 2}) (T1 {duration // 2}) (TX 0) (TC {2 * result.activity.cycles}) (IG 0))" in text
    net = result.netlist.nets.index("codes[3]")
    assert f"(codes\\[3\\] (T0 {duration - 10**6 * result.activity.ones[net]})" in text
    assert text.count("(") == text.count(")")
