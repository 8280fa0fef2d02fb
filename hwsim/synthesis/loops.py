"""Loops found again in unrolled Verilog: statements that differ only in the bits that they select.

Amaranth unrolls what Python loops over. Statements that are alike but for the places of their part-selects, which move
by the same distance from one to the next, become one statement in a ``for`` loop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

_SELECT = re.compile(r"(?<=[A-Za-z0-9_])\[(\d+)(?::(\d+))?\]")
#: Most statements that one turn of a loop holds.
_PERIOD = 6
#: Names of loop variables, the outermost first: of generate loops, and of loops in procedural blocks.
_VARIABLES = {True: ("gi", "gj", "gk", "gl"), False: ("i", "j", "ii", "jj")}
#: All of these: no signal may be called so.
NAMES = frozenset(name for names in _VARIABLES.values() for name in names)


@dataclass(frozen=True)
class Select:
    """A part-select: lowest bit, bits (0 for a single bit without range), and how far each loop around it moves it."""

    base: int
    width: int
    strides: tuple[int, ...] = ()

    def text(self, generate: bool) -> str:
        """The select in Verilog, in terms of the loops' variables."""
        steps = [(v, stride) for v, stride in zip(_VARIABLES[generate], self.strides, strict=False) if stride]
        if not steps:
            return f"[{self.base}]" if not self.width else f"[{self.base + self.width - 1}:{self.base}]"
        up = [variable if stride == 1 else f"{stride}*{variable}" for variable, stride in steps if stride > 0]
        down = [variable if stride == -1 else f"{-stride}*{variable}" for variable, stride in steps if stride < 0]
        index = " + ".join([*up, *([str(self.base)] if self.base or not up else [])]) + "".join(f" - {d}" for d in down)
        return f"[{index}]" if not self.width else f"[{index} +: {self.width}]"


@dataclass(frozen=True)
class Statement:
    """A statement: its text, cut at the part-selects.

    ``label`` is the instance name of an instance, which the text then holds as ``{label}``; ``repeats`` says whether
    the statement may stand in a loop.
    """

    pieces: tuple[str, ...]
    selects: tuple[Select, ...]
    label: str = ""
    repeats: bool = True

    @classmethod
    def of(cls, text: str, label: str = "", repeats: bool = True) -> Statement:
        """A statement from its Verilog text."""
        pieces, selects, at = [], [], 0
        for match in _SELECT.finditer(text):
            pieces.append(text[at : match.start()])
            high, low = int(match[1]), match[2]
            selects.append(Select(high, 0) if low is None else Select(int(low), high - int(low) + 1))
            at = match.end()
        return cls((*pieces, text[at:]), tuple(selects), label, repeats)


@dataclass(frozen=True)
class Loop:
    """Statements that are repeated ``count`` times."""

    count: int
    body: tuple[Node, ...]


Node = Statement | Loop


def rolled(nodes: Sequence[Node]) -> list[Node]:
    """Nodes with repetitions as loops, loops of loops among them: first repeated single statements, then runs."""
    for period in (1, _PERIOD):
        while len(shorter := _rolled(nodes, period)) < len(nodes):
            nodes = shorter
    return list(nodes)


def _rolled(nodes: Sequence[Node], longest: int) -> list[Node]:
    """Nodes with repetitions of up to ``longest`` nodes as loops."""
    result: list[Node] = []
    at = 0
    while at < len(nodes):
        period, count = _repetition(nodes, at, longest)
        if count == 1:
            result.append(nodes[at])
            at += 1
        else:
            turns = [nodes[at + k * period : at + (k + 1) * period] for k in range(count)]
            result.append(Loop(count, tuple(_joined(first, second) for first, second in zip(*turns[:2], strict=True))))
            at += period * count
    return result


def _repetition(nodes: Sequence[Node], at: int, longest: int) -> tuple[int, int]:
    """Nodes of a turn and number of turns of the loop from ``at`` on that covers most; (1, 1) if there is none."""
    best, covered = (1, 1), 1
    for period in range(1, min(longest, (len(nodes) - at) // 2) + 1):
        names = [label for node in nodes[at : at + period] for label in labels(node)]
        if not all(_repeats(node) for node in nodes[at : at + period]) or len(set(names)) < len(names):
            break
        count = _turns(nodes, at, period)
        # A loop of two turns is no shorter than its statements, if these are short.
        short = all(isinstance(n, Statement) and "\n" not in "".join(n.pieces) for n in nodes[at : at + period])
        if count < (3 if short else 2):
            continue
        # Loops inside loops are found from the inside: count what follows in equal runs, too.
        length = period * count * _turns(nodes, at, period * count)
        if length > covered:
            best, covered = (period, count), length
    return best


def _turns(nodes: Sequence[Node], at: int, period: int) -> int:
    """How often the ``period`` nodes from ``at`` on are repeated, part-selects moving steadily."""
    keys = [_key(node) for node in nodes[at : at + period]]
    bases = [_bases(nodes[at : at + period])]
    for k in range(at + period, len(nodes), period):
        turn = nodes[k : k + period]
        if [_key(node) for node in turn] != keys:
            break
        following = _bases(turn)
        strides = [b - a for a, b in zip(bases[-1], following, strict=True)]
        steady = len(bases) == 1 or strides == [b - a for a, b in zip(bases[-2], bases[-1], strict=True)]
        if not steady or not any(strides):
            break
        bases.append(following)
    return len(bases)


def labels(node: Node) -> list[str]:
    """Names of instances that a node has in a loop."""
    if isinstance(node, Statement):
        return [without_numbers(node.label)] if node.label else []
    return [label for n in node.body for label in labels(n)]


def targets(nodes: Sequence[Node]) -> set[str]:
    """Vectors that nodes assign, but for those that instances drive."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, Loop):
            found |= targets(node.body)
        elif not node.label:
            # In the text of an always block every line is an assignment or a keyword.
            text = "[]".join(node.pieces)
            found |= set(re.findall(r"(?:^|assign |: )\s*(\w+)(?:\[\])? = ", text, re.M))
    return found


def is_constant(node: Statement) -> bool:
    """Whether a node assigns a value that depends on nothing."""
    text = "".join(node.pieces).partition("=")[2]
    return not re.findall(r"(?<!')\b[A-Za-z_]\w*", re.sub(r"\d+'[bdh][0-9a-f]+", "", text))


def constant_targets(nodes: Sequence[Node]) -> set[str]:
    """Vectors of which a part is assigned a value that depends on nothing."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, Loop):
            found |= constant_targets(node.body)
        elif not node.label and is_constant(node):
            found |= targets([node])
    return found


def procedural(node: Node) -> Node:
    """A node of assignments and combinational blocks as it stands in a procedural block."""
    if isinstance(node, Loop):
        return Loop(node.count, tuple(procedural(n) for n in node.body))
    first, last = node.pieces[0], node.pieces[-1]
    if first.startswith("assign "):
        return replace(node, pieces=(first.removeprefix("assign "), *node.pieces[1:]))
    opening = "always @* begin\n"
    assert first.startswith(opening) and last.endswith("\nend")
    pieces = (first.removeprefix(opening), *node.pieces[1:-1], last.removesuffix("\nend"))
    return replace(node, pieces=tuple(re.sub(r"(^|\n)  ", r"\1", piece) for piece in pieces))


def _repeats(node: Node) -> bool:
    return node.repeats if isinstance(node, Statement) else all(_repeats(n) for n in node.body)


def _key(node: Node) -> tuple:
    """What must be equal in every turn."""
    if isinstance(node, Statement):
        label = re.sub(r"\d+", "#", node.label)
        return (node.pieces, label, tuple((s.width, s.strides) for s in node.selects))
    return (node.count, tuple(_key(n) for n in node.body))


def _bases(nodes: Sequence[Node]) -> list[int]:
    """Lowest bits of all part-selects, in order."""
    bases: list[int] = []
    for node in nodes:
        bases += [s.base for s in node.selects] if isinstance(node, Statement) else _bases(node.body)
    return bases


def _joined(first: Node, second: Node) -> Node:
    """A node of the first turn, its part-selects moved by the loop."""
    if isinstance(first, Statement):
        assert isinstance(second, Statement)
        selects = tuple(
            replace(a, strides=(b.base - a.base, *a.strides))
            for a, b in zip(first.selects, second.selects, strict=True)
        )
        return replace(first, selects=selects)
    assert isinstance(second, Loop)
    return Loop(first.count, tuple(_joined(a, b) for a, b in zip(first.body, second.body, strict=True)))


def lines(nodes: Sequence[Node], indent: str, block: Callable[[str], str] | None = None, depth: int = 0) -> list[str]:
    """Verilog lines of nodes.

    Parameters
    ----------
    nodes : sequence of Node
    indent : str
        Blanks in front of every line.
    block : callable (str) -> str, optional
        Makes the name of a generate loop's block unique. Without it loops stand in a procedural block.
    depth : int
        Loops around the nodes.
    """
    generate = block is not None
    result = []
    for node in nodes:
        if isinstance(node, Statement):
            # In a loop the numbers of an instance's name are those of the loop's blocks.
            label = without_numbers(node.label) if depth else node.label
            selects = [*(s.text(generate) for s in node.selects), ""]
            text = "".join(p + s for p, s in zip(node.pieces, selects, strict=True)).replace("{label}", label)
            result += [indent + line for line in text.split("\n")]
            continue
        variable = _VARIABLES[generate][depth]
        head = f"for ({variable} = 0; {variable} < {node.count}; {variable} = {variable} + 1) begin"
        if block:
            rows = "_row" if any(isinstance(n, Loop) for n in node.body) else ""
            head += f" : {block(f'gen_{_name(node)}{rows}')}"
        result += [indent + head, *lines(node.body, indent + "  ", block, depth + 1), f"{indent}end"]
    return result


def without_numbers(label: str) -> str:
    """An instance's name without the numbers at its end."""
    return re.sub(r"(_\d+)+$", "", label)


def _name(node: Node) -> str:
    """Name of the first instance in a node, without its numbers, or of the first signal that it assigns."""
    if isinstance(node, Loop):
        return _name(node.body[0])
    assigned = re.search(r"(?:assign|always @\* begin\n) *(\w+)", node.pieces[0])
    return without_numbers(node.label) if node.label else assigned[1] if assigned else "part"


def variables(nodes: Sequence[Node], generate: bool = True) -> list[str]:
    """Loop variables that nodes use."""
    deepest = max((1 + len(variables(n.body)) if isinstance(n, Loop) else 0 for n in nodes), default=0)
    return list(_VARIABLES[generate][:deepest])


def whole(node: Node, widths: Mapping[str, int]) -> list[Node]:
    """A loop that copies vectors to others part by part, as assignments of the whole vectors; others as they are."""
    if not isinstance(node, Loop):
        return [node]
    copies: list[Node] = []
    for statement in node.body:
        copied = (
            re.fullmatch(r"(\w+)\[\] <= (\w+)\[\];", "[]".join(statement.pieces))
            if isinstance(statement, Statement)
            else None
        )
        if not copied:
            return [node]
        assert isinstance(statement, Statement)
        for name, select in zip(copied.groups(), statement.selects, strict=True):
            width = max(select.width, 1)
            if select.base or select.strides != (width,) or widths.get(name) != width * node.count:
                return [node]
        copies.append(Statement((f"{copied[1]} <= {copied[2]};",), ()))
    return copies
