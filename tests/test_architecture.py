"""Imports go one way: the table in ``docs/architecture.md`` says who may import whom."""

import ast
import re
from graphlib import CycleError, TopologicalSorter

import pytest
from conftest import ROOT

from hwsim import golden
from hwsim.base import imports
from hwsim.golden.mma import FORMATS

ROW = re.compile(r"^\| `(golden/|rtl/|hwsim/[^`]+)` \| [^|]* \| ([^|]*) \|$", re.M)
#: Modules outside the rooms: what ``import hwsim`` and ``python -m hwsim`` run.
DOORS = "*.py"


def table():
    """Rooms in the order of the page, each with the rooms that it may import."""
    allowed = {}
    for folder, text in ROW.findall((ROOT / "docs" / "architecture.md").read_text()):
        room = folder.strip("/").removeprefix("hwsim/")
        but = text.removeprefix("all above but ") if text.startswith("all above but ") else ""
        if but:
            allowed[room] = set(allowed) - set(but.split(", "))
        elif text == "all above":
            allowed[room] = set(allowed)
        else:
            allowed[room] = set() if text == "nothing" else set(text.split(", "))
    return allowed


def room_of(module):
    """``hwsim.costs.flow`` is in the room ``costs``; a module directly in hwsim is a door."""
    parts = module.split(".")
    is_package = imports.source(module, ROOT).name == "__init__.py"
    return parts[1] if len(parts) > 2 or (len(parts) == 2 and is_package) else DOORS


def modules():
    """Dotted names of all modules of the package; golden and rtl are read where they lie."""
    names = []
    for folder, package in (("hwsim", "hwsim"), ("golden", "hwsim.golden"), ("rtl", "hwsim.rtl")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if not (folder == "hwsim" and parts[0] in ("golden", "rtl")):
                names.append(".".join([package, *(part for part in parts if part != "__init__")]))
    return names


@pytest.fixture(scope="module")
def graph():
    """Modules, and those of ours that each imports."""
    return {m: {i for i in imports.direct(m, ROOT) if imports.source(i, ROOT)} for m in modules()}


def forbidden(graph):
    """Imports that the table does not allow."""
    allowed = table()
    found = []
    for module, imported in graph.items():
        room = room_of(module)
        found += [f"{module} imports {i}" for i in imported if room_of(i) not in {room, *allowed[room]}]
    return found


def test_every_room_is_in_the_table(graph):
    rooms = table()
    assert {room_of(module) for module in graph} == set(rooms)
    assert all(allowed <= set(rooms) for allowed in rooms.values())


def test_imports_go_the_way_of_the_table(graph):
    assert forbidden(graph) == []


def test_a_forbidden_import_is_noticed(graph):
    wrong = graph | {"hwsim.golden.nvfp4": {"hwsim.rtl.nvfp4"}, "hwsim.analysis.power": {"hwsim.costs.flow"}}
    assert len(forbidden(wrong)) == 2


def test_no_module_imports_itself_through_others(graph):
    TopologicalSorter(graph).prepare()
    with pytest.raises(CycleError):
        TopologicalSorter(graph | {"hwsim.base.errors": {"hwsim.costs.cost"}}).prepare()


def test_only_doors_import_in_functions():
    """What is imported late hides from a reader; a door may do it for the time that it takes to start."""
    late = []
    for module in modules():
        tree = ast.parse(imports.source(module, ROOT).read_text())
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            late += [module for node in ast.walk(function) if is_ours(node)]
    assert [module for module in late if room_of(module) != DOORS] == []


def is_ours(node):
    """Whether a node of a syntax tree imports from this package."""
    if isinstance(node, ast.ImportFrom):
        return bool(node.level) or (node.module or "").startswith("hwsim")
    return isinstance(node, ast.Import) and any(alias.name.startswith("hwsim") for alias in node.names)


def test_private_names_stay_in_their_file():
    stray = []
    for module in modules():
        for node in ast.walk(ast.parse(imports.source(module, ROOT).read_text())):
            if isinstance(node, ast.ImportFrom) and is_ours(node):
                stray += [f"{module} takes {a.name}" for a in node.names if re.match(r"_[A-Za-z]", a.name)]
    assert stray == []


def test_functions_that_share_a_name_are_called_through_their_module():
    shared = {"analyse", "simulate", "measure"}
    alone = []
    for module in modules():
        for node in ast.walk(ast.parse(imports.source(module, ROOT).read_text())):
            if isinstance(node, ast.ImportFrom) and is_ours(node):
                alone += [f"{module} takes {a.name} of {node.module}" for a in node.names if a.name in shared]
    assert alone == []


def names_of_formats_compared(tree):
    """Names of formats that a syntax tree compares something with."""
    formats = {*golden.SYSTEMS, *FORMATS}
    constants = (
        constant.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        for constant in ast.walk(side)
        if isinstance(constant, ast.Constant)
    )
    return [name for name in constants if name in formats]


def test_only_golden_asks_for_formats_by_name():
    """Elsewhere, what differs between formats is a field of golden's descriptor."""
    asked = {}
    for module in modules():
        names = names_of_formats_compared(ast.parse(imports.source(module, ROOT).read_text()))
        if names and room_of(module) != "golden":
            asked[module] = names
    assert asked == {}
    assert names_of_formats_compared(ast.parse("x = format in ('nvfp4', 'other') or format == 'mx'")) == ["nvfp4"]
