"""Switching activity as SAIF, read back by a small reader that knows only SAIF and the Verilog netlist."""

import re

import pytest

from hwsim import units
from hwsim.analysis.saif import to_saif
from hwsim.costs import flow
from hwsim.costs.flow import Workload
from hwsim.synthesis.mapping import Options, map_design


def read_saif(text):
    """Duration, and by path of names the durations and toggles of every net and pin."""
    tokens = iter(re.findall(r'"[^"]*"|\(|\)|(?:\\.|[^\s()\\"])+', text))

    def tree():
        items = []
        for token in tokens:
            if token == ")":
                return items
            items.append(tree() if token == "(" else re.sub(r"\\(.)", r"\1", token))
        return items

    [[_, *entries]] = tree()
    activity = {}

    def walk(instance, path):
        _, name, *contents = instance
        for kind, *rest in contents:
            if kind == "INSTANCE":
                walk([kind, *rest], (*path, rest[0]))
            elif kind == "NET":
                for net, *states in rest:
                    assert (*path, net) not in activity, f"{path} {net} is there twice"
                    activity[(*path, net)] = {state: int(value) for state, value in states}
        return name

    [duration] = [int(e[1]) for e in entries if e[0] == "DURATION"]
    [top] = [walk(e, ()) for e in entries if e[0] == "INSTANCE"]
    return top, duration, activity


def read_netlist(text, top):
    """By path of names, every pin of every library cell in a Verilog netlist, and the net that it is on."""
    modules = dict(re.findall(r"^module (\w+)\(.*?\);\n(.*?)^endmodule", text, re.M | re.S))
    pins = {}

    def walk(module, path):
        for kind, name, body in re.findall(r"^  (\w+) (\S+) \(\n(.*?)^  \);", modules[module], re.M | re.S):
            for pin, net in re.findall(r"^ +\.(\w+)\((.*?)\)", body, re.M):
                if kind not in modules and net.strip():
                    pins[(*path, name, pin)] = net.strip()
            if kind in modules:
                walk(kind, (*path, name))

    walk(top, ())
    return pins


@pytest.fixture(scope="module")
def tile(tmp_path_factory):
    from hwsim.technology import catalogue

    build = tmp_path_factory.mktemp("saif")
    library = catalogue.load("asap7", build_dir=build)
    design = units.design("mixfp4_mma", {"m": 1, "n": 2, "k": 16, "fraction_bits": 13})
    mapped = map_design(design, library, Options(library.clock_period_ns, hierarchical=True), build)
    return flow.measure(mapped, Workload(4096))


def test_every_pin_of_every_cell_is_found_with_the_activity_of_its_net(tile):
    sample, clocks = tile.busy.sample, tile.netlist.clocks
    top, duration, activity = read_saif(to_saif(tile.netlist, sample, 1.0))
    assert top == tile.design.name and duration == sample.cycles * 10**6
    pins = read_netlist(tile.mapped.netlist.read_text(), top)
    assert len(pins) > 3 * tile.netlist.cells / 2
    assert pins.keys() - activity.keys() == set()
    of_net = list(
        zip(sample.toggles.tolist(), (sample.toggles - sample.settled).tolist(), sample.filtered.tolist(), strict=True)
    )
    counts = {
        (*tile.netlist.instance_name(group, i).split("."), pin): of_net[nets[i]]
        for group in tile.netlist.groups for pin, nets in group.pins.items() for i in range(len(group))
        if nets[i] >= 0 and int(nets[i]) not in clocks
    }  # fmt: skip
    assert counts.items() <= {path: (s["TC"], s["TG"], s["IG"]) for path, s in activity.items()}.items()
    assert all(tc >= tg for tc, tg, _ in counts.values()) and sum(ig for _, _, ig in counts.values()) > 0
    # Pins on one net of the netlist file agree.
    by_net = {}
    for path, net in pins.items():
        by_net.setdefault((path[:-2], net), set()).add(tuple(activity[path].values()))
    assert all(len(values) == 1 for values in by_net.values())
    assert all(states["T0"] + states["T1"] == duration for states in activity.values())


def test_ports_of_the_top_are_among_its_nets(tile):
    sample = tile.busy.sample
    _, duration, activity = read_saif(to_saif(tile.netlist, sample, 1.0))
    for name, bits in (tile.netlist.inputs | tile.netlist.outputs).items():
        for position, net in enumerate(bits):
            states = activity[(f"{name}[{position}]" if len(bits) > 1 else name,)]
            if name == "clk":
                assert (states["T0"], states["T1"]) == (duration // 2, duration // 2)
                assert (states["TC"], states["TG"], states["IG"]) == (2 * sample.cycles, 0, 0)
            else:
                assert states["TC"] == sample.toggles[net]


def test_netlists_have_plain_names(tile):
    assert "\\" not in tile.mapped.netlist.read_text()
