"""Verilog of Amaranth components as people write it, and as linters and synthesis tools like to read it.

One module for each component: ports with their widths and meaning (from the docstring of the component), then wires,
assignments, instances and registers in the order of the data, one ``always`` block for the registers of a stage, loops
where the component repeats itself. Only names of letters, digits and underscores; no attributes and no initial values.
"""

from __future__ import annotations

import functools
import itertools
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from amaranth.hdl import Fragment, Instance, Signal, Value
from amaranth.hdl._ast import Assign, ClockSignal, Concat, Operator, Statement, Switch, SwitchValue
from amaranth.lib import wiring

from hwsim.rtl.hierarchy import COMMENT
from hwsim.synthesis import loops, statements
from hwsim.synthesis.expressions import Printer, constant

#: Columns of a line.
_LINE = 112
#: Terms from which on a sum is written as a loop.
_MANY = 4
#: Columns up to which a concatenation of alike parts is written as one.
_SHORT = 60
#: Words of Verilog and SystemVerilog that somebody may call a signal.
_KEYWORDS = """
casex casez deassign dist endcase endclass endfunction endgenerate endinterface endmodule endpackage endtask rand randc
real realtime rtran soft shortreal strong tri0 tri1 triand trior trireg wand
alias and assert assign assume before begin bind bit break buf byte case cell chandle checker class clocking config
const constraint context continue cover cross default design disable do edge else end enum event expect export
extends extern final first_match for force forever fork function generate genvar global if iff ignore_bins implies
import initial inout input inside instance int integer interface intersect join large let liblist library local
localparam logic longint matches medium modport module nand negedge new nor not null or output package packed
parameter posedge primitive priority program property protected pull0 pull1 pure rand ref reg reject_on release
repeat restrict return scalared sequence shortint shortreal signed small solve specify static string strong strong0
strong1 struct super supply0 supply1 sync_accept_on table tagged task this throughout time timeprecision timeunit
tran tri type typedef union unique unsigned until use uwire var vectored virtual void wait weak weak0 weak1 while
wildcard wire with within wor xnor xor
"""
#: A number in the name of a signal.
_NUMBER = re.compile(r"_(\d+)(?=_|$)")


@dataclass
class _Item:
    """A statement of a module: what it drives and reads, and its place among the others.

    ``render`` gives its nodes; a register's are non-blocking assignments, for the block of its stage.
    """

    order: float
    drives: list[str]
    reads: set[str]
    render: Callable[[], list[loops.Statement]]
    register: bool = False
    reset: bool = False
    comment: str = ""
    is_instance: bool = False
    declared: dict[str, str] = field(default_factory=dict)


class ModuleWriter:
    """Writes one module.

    Parameters
    ----------
    component : wiring.Component
    name : str
        Name of the module.
    names : mapping
        Name in Verilog of every part that the component instantiates.
    ports : mapping of str to (str, int)
        Direction and width of every port, in declared order, clock and reset first.
    documented : mapping of str to str
        A line on every port.
    summary : str
        What the module does.
    """

    def __init__(
        self,
        component: wiring.Component,
        name: str,
        names: Mapping[str, str],
        ports: Mapping[str, tuple[str, int]],
        documented: Mapping[str, str],
        summary: str,
    ):
        self.component, self.module, self.names = component, name, names
        self.ports, self.documented, self.summary = ports, documented, summary
        self.fragment = Fragment.get(component, None)
        self.of_signal = {id(getattr(component, port)): port for port in ports if hasattr(component, port)}
        self.combinational, self.clocked = statements.live(self.fragment, self.of_signal)
        labels = {loops.without_numbers(label) for _, label, _ in self.fragment.subfragments if label}
        self.taken: set[str] = {*ports, "clk", "rst", *labels, *loops.NAMES, *_KEYWORDS.split()}
        if clash := ports.keys() & {*loops.NAMES, *_KEYWORDS.split()}:
            raise ValueError(f"{name}: a port cannot be called {min(clash)}")
        self.signals: dict[str, Signal] = {}
        #: Vector, place and the vector's width of every signal that is part of a vector.
        self.part_of: dict[str, tuple[str, int, int]] = {}
        self.printer = Printer(self._place, self._temporary)
        self.temporaries: dict[str, Value] = {}
        self.items: list[_Item] = []
        #: Vectors that ``always`` blocks write, and variables of generate loops.
        self._variables: set[str] = set()
        self._genvars: list[str] = []
        self._vectors()

    def text(self) -> str:
        """The module."""
        self._collect()
        ordered = list(self._in_order())
        declarations, body = self._body(ordered)
        lines = [f"// {line}" for line in textwrap.wrap(self.summary, _LINE - 3)]
        lines += [f"module {self.module} (", *self._port_lines(), ");", *declarations]
        lines += [*itertools.chain.from_iterable(_wrapped(line) for line in body), "endmodule", ""]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).replace("\n\nendmodule", "\nendmodule")

    def _port_lines(self) -> list[str]:
        rows = []
        for i, (port, (direction, width)) in enumerate(self.ports.items()):
            kind = "reg " if port in self._registered_ports() else "wire"
            sized = f"[{width - 1}:0] " if width > 1 else ""
            rows.append(f"  {direction:6} {kind} {sized}{port}{',' if i + 1 < len(self.ports) else ''}")
        column = max(map(len, rows)) + 2
        lines = []
        for row, port in zip(rows, self.ports, strict=True):
            note = self.documented.get(port, "")
            lines.append(f"{row:{column}}// {note}" if note else row)
        return lines

    def _registered_ports(self) -> set[str]:
        registered = {
            name for item in self.items for name in item.drives
            if item.register or item.declared.get(name, "").startswith("reg")
        }  # fmt: skip
        return (registered | self._variables) & self.ports.keys()

    def _name(self, signal: Signal) -> str:
        """Key of a signal: its own name, made unique."""
        key = self.of_signal.get(id(signal))
        if key is None:
            key = self._unique(re.sub(r"\W", "_", signal.name))
            self.of_signal[id(signal)] = key
        self.signals[key] = signal
        return key

    def _unique(self, name: str) -> str:
        """``name``, with a number if it is taken already; taken from now on."""
        name = next(
            n for n in itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2))) if n not in self.taken
        )
        self.taken.add(name)
        return name

    def _vectors(self) -> None:
        """Make vectors of signals that are numbered from 0 on and equally wide, like the lanes of a decoder.

        ``sum_1_0_q`` of a family numbered up to (1, 3) becomes part 4 of the vector ``sum_q``.
        """
        families: dict[str, dict[tuple[int, ...], Signal]] = defaultdict(dict)
        # What drives a signal decides whether it is a wire: the parts of a vector must have the same kind of driver.
        kinds = {id(s): "register" for statement in self.clocked for s in statement._lhs_signals()}
        kinds |= {id(s): type(t).__name__ for t in self.combinational for s in t._lhs_signals()}
        outputs = (v for v, kind in statements.connections(self.fragment) if kind == "o")
        kinds |= {id(s): "instance" for v in outputs for s in v._lhs_signals()}
        for signal in self._signals():
            numbers = tuple(int(n) for n in _NUMBER.findall(signal.name))
            if numbers and id(signal) not in self.of_signal:
                families[_NUMBER.sub("", signal.name)][numbers] = signal
        for base, members in families.items():
            places = sorted(members)
            counts = tuple(n + 1 for n in places[-1])
            alike = len({(len(s), s.shape().signed, kinds.get(id(s), "")) for s in members.values()}) == 1
            whole = places == list(itertools.product(*map(range, counts)))
            if len(members) < 2 or not alike or not whole:
                continue
            width = len(members[places[0]])
            vector = self._unique(base if base not in self.taken else f"{base}_each")
            for i, place in enumerate(places):
                self.part_of[self._name(members[place])] = (vector, i * width, len(places) * width)

    def _signals(self) -> list[Signal]:
        """Signals of the module, in the order in which the component made them."""
        signals: dict[int, Signal] = {}
        for statement in [*self.combinational, *self.clocked]:
            signals |= {id(s): s for s in [*statement._lhs_signals(), *statement._rhs_signals()]}
        for value, kind in statements.connections(self.fragment):
            signals |= {id(s): s for s in (value._lhs_signals() if kind == "o" else value._rhs_signals())}
        return sorted(signals.values(), key=lambda s: s.duid)

    @property
    def _widths(self) -> dict[str, int]:
        """Width of every vector and signal."""
        return {self._place(s)[0]: self._place(s)[2] for s in list(self.signals.values())}

    def _place(self, signal: Signal) -> tuple[str, int, int]:
        """Vector that holds a signal in Verilog, the place of its lowest bit there, and the vector's width."""
        name = self._name(signal)
        return self.part_of.get(name, (name, 0, len(signal)))

    def _temporary(self, value: Value, name: str = "") -> str:
        """A wire for a value that has no name."""
        if id(value) not in self.printer.shared:
            name = self._unique(name or f"n{len(self.temporaries)}")
            self.temporaries[name] = value
            self._pending.append((name, value))
            self.printer.shared[id(value)] = name
        return self.printer.shared[id(value)]

    # Collecting

    def _collect(self) -> None:
        self._pending: list[tuple[str, Value]] = []
        for fragment, name, _ in self.fragment.subfragments:
            assert isinstance(fragment, Instance), f"{self.module}: submodule {name} must be a part"
            self._instance(fragment, name)
        self._shared([*self.combinational, *self.clocked])
        for group in statements.groups(self.combinational):
            self._combinational(group)
        for group in statements.groups(self.clocked):
            self._register(group)
        # Printing finds values that need wires, whose printing may find more.
        rendered: dict[int, list[loops.Statement]] = {}
        done = 0
        while done < len(self.items) or self._pending:
            while done < len(self.items):
                item = self.items[done]
                rendered[id(item)] = item.render()
                for name, value in self._pending:
                    self._wire(name, value, item)
                self._pending.clear()
                done += 1
        for item in self.items:
            nodes = rendered[id(item)]
            item.render = functools.partial(list, nodes)
            words = {word for node in nodes for piece in node.pieces for word in re.findall(r"\w+", piece)}
            item.reads |= words & self.temporaries.keys()
            item.reads -= set(item.drives)

    def _shared(self, assigned: Iterable[Statement]) -> None:
        """Give a wire to every value that occurs more than once and is more than a name."""
        seen: Counter[int] = Counter()
        values: dict[int, Value] = {}

        def visit(value: Value) -> None:
            if isinstance(value, Operator | SwitchValue) and not statements.is_plain(value):
                seen[id(value)] += 1
                values[id(value)] = value
                if seen[id(value)] > 1:
                    return
            for inner in statements.inner(value):
                visit(inner)

        for value in itertools.chain.from_iterable(map(statements.values, assigned)):
            visit(value)
        for item in self.fragment.subfragments:
            for value, kind in item[0].ports.values():  # type: ignore[attr-defined]
                if kind == "i":
                    visit(value)
        # In the order of discovery: a set of identities would number the wires anew in every process.
        for identity, count in seen.items():
            if count > 1:
                self._temporary(values[identity])

    def _wire(self, name: str, value: Value, user: _Item) -> None:
        def render() -> list[loops.Statement]:
            shared = self.printer.shared.pop(id(value))
            parts, width = statements.alike(value), len(value)
            if parts:
                width = len(parts[0])
            texts = [self.printer.text(part) for part in parts or [value]]
            self.printer.shared[id(value)] = shared
            if not parts:
                return [loops.Statement.of(f"assign {name} = {texts[0]};", repeats=False)]
            places = (f"[{i}]" if width == 1 else f"[{(i + 1) * width - 1}:{i * width}]" for i in range(len(parts)))
            return [loops.Statement.of(f"assign {name}{at} = {text};") for at, text in zip(places, texts, strict=True)]

        self.items.append(
            _Item(user.order - 0.5, [name], self._read([value]), render, declared={name: _range(len(value))})
        )

    def _read(self, values: Iterable[Value]) -> set[str]:
        return {self._name(s) for value in values for s in value._rhs_signals()}

    def _valued(self, name: str) -> Value:
        """Signal or value of a temporary wire."""
        return self.temporaries[name] if name in self.temporaries else self.signals[name]

    def _order(self, names: Iterable[str]) -> float:
        """Place of what drives signals: in the order in which the component made them, ports last."""
        return min((1e9 if n in self.ports else self.signals[n].duid for n in names if n in self.signals), default=0)

    def _comment(self, names: Iterable[str]) -> str:
        return next((c for n in names if (c := self.signals[n].attrs.get(COMMENT, ""))), "")

    def _combinational(self, group: list[Statement]) -> None:
        drives = [self._name(s) for s in statements.driven(group)]
        values = list(itertools.chain.from_iterable(map(statements.values, group)))

        summed = self._summed(group)

        def render() -> list[loops.Statement]:
            if summed:
                return [loops.Statement.of(summed, repeats=False)]
            if all(isinstance(s, Assign) for s in group):
                return [loops.Statement.of(f"assign {line}") for s in group for line in self._assignments(s, "=")]
            signals = [self.signals[name] for name in drives]
            defaults = [f"  {self.printer.text(s)} = {constant(s.init, len(s))};" for s in signals]
            body = [*defaults, *self._procedural(group, "  ", "=")]
            return [loops.Statement.of("\n".join(["always @* begin", *body, "end"]))]

        procedural = bool(summed) or not all(isinstance(s, Assign) for s in group)
        if procedural and self._read(values) & set(drives):
            raise NotImplementedError(f"{self.module}: {drives[0]} is read by the statements that assign it")
        if not procedural and not statements.is_partition(group):
            raise NotImplementedError(f"{self.module}: bits of {drives[0]} are assigned twice")
        item = _Item(self._order(drives), drives, self._read(values), render, comment=self._comment(drives))
        item.declared = {n: ("reg " if procedural else "") + _range(len(self.signals[n])) for n in drives}
        self.items.append(item)

    def _summed(self, group: list[Statement]) -> str:
        """A sum of many alike terms as an ``always`` block with a loop; empty for everything else."""
        [first, *others] = group
        if others or not isinstance(first, Assign) or not isinstance(first.lhs, Signal):
            return ""
        terms: list[Value] = []
        rest = first.rhs
        while isinstance(rest, Operator) and rest.operator == "+" and len(rest.operands) == 2:
            rest, last = rest.operands
            terms.insert(0, last)
        width, target = len(first.lhs), self._target(first.lhs)
        texts = [f"{target} = {target} + {self.printer.text(term, width)};" for term in (rest, *terms)]
        found = loops.rolled([loops.Statement.of(text) for text in texts])
        if len(texts) < _MANY or len(found) > len(texts) // 2:
            return ""
        name = self._unique("sum_of_" + re.sub(r"\W.*", "", target))
        lines = [
            f"always @* begin : {name}", f"  integer {', '.join(loops.variables(found, generate=False))};",
            f"  {target} = {constant(0, width)};", *loops.lines(found, "  "), "end",
        ]  # fmt: skip
        return "\n".join(lines)

    def _register(self, group: list[Statement]) -> None:
        drives = [self._name(s) for s in statements.driven(group)]
        values = list(itertools.chain.from_iterable(map(statements.values, group)))
        reset = not self.signals[drives[0]].reset_less and "rst" in self.ports

        def render() -> list[loops.Statement]:
            # An ``if`` with all its branches is one statement: a loop must not begin inside of it.
            return [
                loops.Statement.of(text)
                for s in group
                for lines in [self._procedural([s], "", "<=")]
                for text in (lines if isinstance(s, Assign) else ["\n".join(lines)])
            ]

        self.items.append(_Item(
            self._order(drives), drives, self._read(values), render, True, reset, self._comment(drives)
        ))  # fmt: skip

    def _procedural(self, inside: Iterable[Statement], indent: str, assign: str) -> list[str]:
        """Statements inside an ``always`` block."""
        lines = []
        for s in inside:
            if isinstance(s, Assign):
                lines += [indent + line for line in self._assignments(s, assign)]
                continue
            assert isinstance(s, Switch)
            tests = [p for patterns, _, _ in s.cases for p in patterns or ()]
            if all(set(p) <= {"0", "1", "-"} and p.count("1") <= 1 and "0" not in p for p in tests):
                lines += self._conditions(s, indent, assign)
                continue
            if any("-" in p for p in tests):
                raise NotImplementedError(f"{self.module}: a case with don't-care bits")
            lines.append(f"{indent}case ({self.printer.text(s.test)})")
            for patterns, body, _ in s.cases:
                labels = "default" if patterns is None else ", ".join(f"{len(s.test)}'b{p}" for p in patterns)
                inner = self._procedural(body, indent + "    ", assign)
                if len(inner) == 1:
                    lines.append(f"{indent}  {labels}: {inner[0].strip()}")
                else:
                    lines += [f"{indent}  {labels}: begin", *inner, f"{indent}  end"]
            if all(patterns is not None for patterns, _, _ in s.cases):
                lines.append(f"{indent}  default: ;")
            lines.append(f"{indent}endcase")
        return lines

    def _conditions(self, switch: Switch, indent: str, assign: str) -> list[str]:
        """``If``, ``Elif``, ``Else``: Amaranth's switch over all conditions, of which the first is the lowest bit."""
        lines: list[str] = []
        bodies = [self._procedural(body, indent + "  ", assign) for _, body, _ in switch.cases]
        # A branch without statements matters to those behind it.
        last = max((i for i, body in enumerate(bodies) if body), default=-1)
        for (patterns, _, _), body in zip(switch.cases[: last + 1], bodies, strict=False):
            tests = [
                self.printer.condition(switch.test[len(p) - 1 - p.index("1")]) for p in patterns or () if "1" in p
            ]  # fmt: skip
            unconditional = patterns is None or len(tests) < len(patterns)
            head = "" if unconditional else f"if ({' || '.join(tests)}) "
            if lines:
                lines[-1] += f" else {head}begin"
            else:
                lines.append(f"{indent}{head}begin")
            lines += [*body, f"{indent}end"]
        return lines

    def _assignments(self, statement: Assign, operator: str) -> list[str]:
        """An assignment; of a long concatenation of alike parts, one assignment of each part to its bits.

        A register takes such a concatenation from a wire: loaded part by part, it would change as often in simulation.
        """
        lhs, rhs = statement.lhs, statement.rhs
        target = self._target(lhs)
        line = f"{target} {operator} {self.printer.text(rhs, len(lhs))};"
        parts = statements.alike(rhs) if len(line) >= _SHORT and len(rhs) == len(lhs) else []
        if not parts:
            return [line]
        if operator == "<=":
            return [f"{target} <= {self._temporary(rhs, f'{target}_next')};"]
        width = len(parts[0])
        return [
            f"{self._target(lhs[i * width : (i + 1) * width])} = {self.printer.text(part)};"
            for i, part in enumerate(parts)
        ]

    def _target(self, value: Value) -> str:
        while isinstance(value, Operator) and value.operator in ("u", "s"):
            value = value.operands[0]
        if isinstance(value, Concat):
            return f"{{{', '.join(self._target(part) for part in reversed(value.parts))}}}"
        return self.printer.text(value)

    def _instance(self, instance: Instance, label: str) -> None:
        inputs = {port: value for port, (value, kind) in instance.ports.items() if kind == "i"}
        outputs = {port: value for port, (value, kind) in instance.ports.items() if kind == "o"}
        drives = sorted({self._name(s) for value in outputs.values() for s in value._lhs_signals()})

        def render() -> list[loops.Statement]:
            texts = {
                port: "clk" if isinstance(value, ClockSignal) else self.printer.text(value)
                if port in inputs else self._target(value)
                for port, (value, _) in instance.ports.items()
            }  # fmt: skip
            width = max(map(len, texts))
            body = ",\n".join(f"  .{port:{width}}({text})" for port, text in texts.items())
            return [loops.Statement.of(f"{self.names[instance.type]} {{label}} (\n{body}\n);", label)]

        read = self._read(v for v in inputs.values() if not isinstance(v, ClockSignal))
        item = _Item(self._order(drives), drives, read, render, comment=self._comment(drives), is_instance=True)
        item.declared = {n: _range(len(self.signals[n])) for n in drives}
        self.items.append(item)

    # Order

    def _in_order(self) -> Iterator[list[_Item]]:
        """Items in the order of the data; the registers of a stage together.

        An item follows what drives its inputs, but for registers that the component made later: these feed back.
        """
        drivers: dict[str, list[_Item]] = defaultdict(list)
        for item in self.items:
            for name in item.drives:
                drivers[name].append(item)
        waits: dict[int, set[int]] = {}
        for item in self.items:
            # Ports are declared already: what drives one may come later.
            internal = (name for name in item.reads if name not in self.ports)
            before = {id(d) for name in internal for d in drivers[name] if not d.register or d.order < item.order}
            waits[id(item)] = before - {id(item)}
        left = sorted(self.items, key=lambda item: item.order)
        done: set[int] = set()
        while left:
            ready = next((i for i in left if not i.register and waits[id(i)] <= done), None)
            stage = [i for i in left if i.register and waits[id(i)] <= done] if ready is None else [ready]
            if not stage:
                stage = [min(left, key=lambda i: len(waits[id(i)] - done))]
            yield stage
            done |= {id(i) for i in stage}
            left = [i for i in left if id(i) not in done]

    def _body(self, ordered: list[list[_Item]]) -> tuple[list[str], list[str]]:
        """Declarations of what several statements drive, and all statements."""
        drivers = Counter(name for item in self.items for name in item.drives)
        declared: dict[str, bool] = {}
        notes: dict[str, str] = {}
        nodes: list[loops.Node] = []
        chunks: list[list[loops.Node] | list[str]] = []

        def flush() -> None:
            if nodes:
                chunks.append(loops.rolled(nodes))
            nodes.clear()

        for stage in ordered:
            if stage[0].register:
                flush()
                chunks.append(self._registers(stage))
                continue
            [item] = stage
            rendered = item.render()
            internal = {name: kind for name, kind in item.declared.items() if name not in self.ports}
            whole = internal.keys() - self.part_of.keys()
            if len(whole) == len(internal) == len(rendered) == 1 and drivers[next(iter(internal))] == 1:
                [(name, kind)] = internal.items()
                first, *rest = rendered[0].pieces
                if first.startswith(f"assign {name} ="):
                    if item.comment:
                        flush()
                        chunks.append([f"  // {line}" for line in textwrap.wrap(item.comment, _LINE - 5)])
                    # A wire that one statement drives is declared there.
                    first = first.replace("assign ", f"wire {kind}", 1)
                    rendered = [loops.Statement((first, *rest), rendered[0].selects, repeats=False)]
                    internal = {}
            declared.update({name: kind.startswith("reg") for name, kind in internal.items()})
            notes.update(dict.fromkeys(internal, item.comment))
            nodes += rendered
        flush()
        body = self._printed(chunks)
        declared.update({n: True for item in self.items if item.register for n in item.drives if n not in self.ports})
        declarations: dict[str, str] = {}
        for name in sorted(declared, key=lambda name: self._order([name])):
            vector, _, width = self.part_of.get(name) or (name, 0, len(self._valued(name)))
            kind = "reg " if declared[name] or vector in self._variables else "wire"
            note = f"  // {notes[name]}" if notes.get(name) else ""
            declarations.setdefault(vector, f"  {kind} {_range(width)}{vector};{note}")
        head = [f"  genvar {', '.join(self._genvars)};"] if self._genvars else []
        return [*head, *declarations.values(), ""], body

    def _printed(self, chunks: list[list[loops.Node] | list[str]]) -> list[str]:
        """Lines of all statements: loops of assignments in ``always`` blocks, loops of instances as generate loops.

        An ``always`` block writes a vector once for all its parts, which is many times faster in simulation than an
        assignment for each.
        """
        nodes = [node for chunk in chunks for node in chunk if not isinstance(node, str)]
        # What an instance drives, or an assignment of a constant, is a net and cannot be written in an always block.
        nets = {name for item in self.items for name in item.drives if item.is_instance}
        nets = {self.part_of.get(name, (name,))[0] for name in nets}
        nets |= loops.constant_targets(nodes)
        procedural = {
            id(node): loops.targets([node]) for node in nodes
            if isinstance(node, loops.Loop) and not loops.labels(node) and not loops.targets([node]) & nets
        }  # fmt: skip
        self._variables = set().union(*procedural.values())
        generated = [node for node in nodes if isinstance(node, loops.Loop) and id(node) not in procedural]
        self._genvars = loops.variables(generated)
        body: list[str] = []
        for chunk in chunks:
            for is_generated, run in itertools.groupby(chunk, key=lambda node: any(node is g for g in generated)):
                if is_generated:
                    text = loops.lines([n for n in run if not isinstance(n, str)], "    ", self._unique)
                    body += ["  generate", *text, "  endgenerate"]
                    continue
                for node in run:
                    if isinstance(node, str):
                        body.append(node)
                    elif id(node) in procedural:
                        body += self._always(node)
                    else:
                        lines = loops.lines([node], "  ")
                        if loops.targets([node]) & self._variables and lines[0].startswith("  assign "):
                            lines[0] = lines[0].replace("  assign ", "  always @* ", 1)
                        body += lines
        return body

    def _always(self, loop: loops.Node) -> list[str]:
        """A loop of combinational statements as an ``always`` block."""
        variables = loops.variables([loop], generate=False)
        name = self._unique(f"each_{min(loops.targets([loop]))}")
        return [
            f"  always @* begin : {name}", f"    integer {', '.join(variables)};",
            *loops.lines([loops.procedural(loop)], "    "), "  end",
        ]  # fmt: skip

    def _registers(self, stage: list[_Item]) -> list[str]:
        """One ``always`` block for registers without reset, and one for those with it."""
        result: list[str] = []
        for reset in (False, True):
            items = [item for item in stage if item.reset == reset]
            if not items:
                continue
            result.append("")
            nodes = loops.rolled([node for item in items for node in item.render()])
            nodes = [whole for node in nodes for whole in loops.whole(node, self._widths)]
            lines = loops.lines(nodes, "      " if reset else "    ")
            if reset:
                cleared = [
                    f"      {self.printer.text(signal)} <= {constant(signal.init, len(signal))};"
                    for item in items for signal in map(self.signals.__getitem__, item.drives)
                ]  # fmt: skip
                cleared = loops.lines(loops.rolled([loops.Statement.of(c.strip()) for c in cleared]), "      ")
                lines = ["    if (rst) begin", *cleared, "    end else begin", *lines, "    end"]
            opening, variables = "  always @(posedge clk) begin", loops.variables(nodes, generate=False)
            if variables:
                opening = f"{opening} : {self._unique('registers')}\n    integer {', '.join(variables)};"
            result += [*opening.split("\n"), *lines, "  end"]
        return [*result, ""]


def _range(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""


def _wrapped(line: str) -> list[str]:
    """A line, broken at blanks where it is too long."""
    if len(line) <= _LINE or "//" in line:
        return [line]
    indent = re.match(r" *", line)[0]  # type: ignore[index]
    # A line may be broken at the blanks that stand in the fewest brackets.
    text, levels, level = line.strip(), [], 0
    for character in text:
        level += (character in "({[") - (character in ")}]")
        levels.append(level)
    for deepest in range(max(levels) + 1):
        joined = "".join("\0" if c == " " and at > deepest else c for c, at in zip(text, levels, strict=True))
        lines = textwrap.wrap(
            joined, _LINE, initial_indent=indent, subsequent_indent=indent + "    ", break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip
        if max(map(len, lines)) <= _LINE:
            break
    return [wrapped.replace("\0", " ") for wrapped in lines]
