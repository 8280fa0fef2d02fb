"""Map a design to a netlist of library cells with Yosys and ABC.

A flat design is mapped as one module. A hierarchical one is mapped module by module, each at first for area. Static
timing of the whole then says which modules must be faster, and those are mapped again, so that area is spent on speed
only where the critical path is. If the slack is negative even then, cells on the critical path are replaced by stronger
ones. Where wires are to be placed, the netlist is placed then, and sized once more with the wires that it got.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import itertools
import json
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwsim.analysis import netlist_reader, placement, timing
from hwsim.analysis.netlist import Netlist
from hwsim.analysis.placement import Placement
from hwsim.base import children, yosys
from hwsim.base.errors import InputError
from hwsim.base.files import is_plain, made_once, plain_folder, write
from hwsim.synthesis import clock_gating, emit
from hwsim.synthesis.preparation import UNMAPPED, Prepared
from hwsim.synthesis.recipes import FLAT, STRUCTURED, Way
from hwsim.synthesis.sizing import resize, strengthen
from hwsim.technology.choice import flip_flop, smallest_buffer, tie_cells
from hwsim.technology.library import Library
from hwsim.units.unit import Design

_PLACEMENT, _WAYS = "placement.npz", "ways.json"
#: Most rounds of timing the whole design and choosing a faster module.
_ROUNDS = 30


class Wires(enum.Enum):
    """Where the capacitance of wires comes from."""

    #: They have none.
    ZERO = "zero"
    #: The library's wire-load model, by the number of pins on a net.
    FANOUT = "fanout"
    #: The lengths of a placement of the mapped netlist.
    PLACED = "placed"


@dataclass(frozen=True)
class Options:
    """How to map.

    Attributes
    ----------
    clock_period_ns : float
    wires : Wires
        Where the capacitance of wires comes from.
    hierarchical : bool
        Whether modules are mapped one by one.
    ways : tuple of (str, int)
        For parts of a hierarchical design, by name, the first way of :data:`hwsim.synthesis.recipes.STRUCTURED` that
        may be taken; for all others it is the first.
    clock_gates : bool
        Whether registers with an enable get a gated clock, where the library has cells for it. Otherwise each keeps its
        state through a multiplexer.
    clock_found : bool
        Whether the period was found for the design: see :func:`hwsim.costs.cost.with_found_clock`.
    """

    clock_period_ns: float
    wires: Wires = Wires.FANOUT
    hierarchical: bool = False
    ways: tuple[tuple[str, int], ...] = ()
    clock_gates: bool = True
    #: Left out of the text that decides the build folder.
    clock_found: bool = field(default=False, repr=False)


@dataclass(frozen=True)
class Mapped:
    """A design mapped to a library: the options, and the files of RTL (``verilog``), netlist and Yosys' log.

    ``placement`` is None unless wires are placed. By part of a hierarchical design, ``ways`` are those in which each is
    mapped, and ``fingerprints`` what :func:`hwsim.synthesis.emit.fingerprints` gives.
    """

    design: Design
    library: Library
    options: Options
    verilog: Path
    netlist: Path
    netlist_json: Path
    log: Path
    placement: Placement | None = None
    ways: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)

    @property
    def wire_load(self) -> bool | np.ndarray:
        """The wires of the netlist as :meth:`hwsim.analysis.netlist.Netlist.loads` takes them."""
        if self.placement is None:
            return self.options.wires is not Wires.ZERO
        assert self.library.wire_fF_per_um is not None, "nothing is placed without"
        return self.placement.lengths * self.library.wire_fF_per_um


def map_design(design: Design, library: Library, options: Options, build: Path) -> Mapped:
    """Generate a design's RTL and map it to a library with Yosys and ABC.

    Files are left in ``build / design.slug / LIBRARY-PERIOD-KEY``: scripts, logs, RTL, netlist as Verilog and JSON. The
    key is a hash of all that decides the netlist, so a folder that exists already holds the result, and processes that
    run at the same time do not meet.

    Raises
    ------
    YosysError
        If Yosys fails, or anything is left unmapped.
    """
    if options.wires is Wires.PLACED:
        placement.require()
        if not library.row_height_um or not library.wire_fF_per_um:
            raise InputError(
                f"{library.name} states no row height and no capacitance of wires: give --row-height and "
                "--wire-capacitance to place"
            )
    rtlil = emit.to_rtlil(design)
    period = f"{options.clock_period_ns:g}ns" + ("-hierarchical" if options.hierarchical else "")
    folder = build / design.slug / f"{library.name}-{period}-{_key(rtlil, library, options)}"
    source = folder / f"{design.name}.v"
    with made_once(folder) as staged:
        if staged:
            # ABC cannot quote a path.
            with _in_words_of(library), plain_folder(staged) as working:
                # For people and other tools; proven equal to what is mapped.
                write(working / source.name, emit.to_verilog(design.in_arithmetic("operators")))
                write(working / "rtl.il", rtlil)
                mapper = _Mapper(design, library, options, working)
                read = mapper.hierarchical() if options.hierarchical else mapper.flat()
                finish = [
                    f"stat -liberty {mapper.liberty}",
                    "check -mapped -assert",
                    "write_verilog -noattr -noexpr -nodec -simple-lhs netlist.v",
                    "write_json netlist.json",
                ]
                yosys.run([*read, *finish], working, "synth")
                write(working / _WAYS, json.dumps([mapper.taken, emit.fingerprints(design, rtlil)]))
                if mapper.placed:
                    final = netlist_reader.read(working / "netlist.json", design.name, library)
                    before, placed = mapper.placed
                    placement.save(placement.reordered(placed, before, final), working / _PLACEMENT)
    return Mapped(
        design, library, options, source, folder / "netlist.v", folder / "netlist.json", folder / "synth.log",
        placement.load(folder / _PLACEMENT) if options.wires is Wires.PLACED else None,
        *json.loads((folder / _WAYS).read_text()),
    )  # fmt: skip


@contextlib.contextmanager
def _in_words_of(library: Library) -> Iterator[None]:
    """Let the message of a failure of Yosys or ABC name the library's files, and the cell if it is one of these."""
    try:
        yield
    except yosys.YosysError as error:
        words = set(re.findall(r"\w+", str(error)))
        cells = ", ".join(sorted(words & library.cells.keys()))
        where = ", ".join(library.files) + (f", cell {cells}" if cells else "")
        raise yosys.YosysError(f"mapping to {where}: {error}") from error


def _key(rtlil: str, library: Library, options: Options) -> str:
    """Hash, 8 hexadecimal digits, of all that decides a netlist: RTL, library, options, tools and our own mapper."""
    assert library.liberty_path is not None, "technology.load writes the library's Liberty file"
    facts = [rtlil, library.liberty_path.read_text(), repr(options), repr(library.wire_load), emit.generator()]
    facts += [f"{library.input_slew_ns} {library.clock_slew_ns} {library.output_load_fF}"]
    if options.wires is Wires.PLACED:
        facts += [f"{library.row_height_um} {library.wire_fF_per_um} {placement.tool()}"]
    return hashlib.sha256("\0".join([_code(), *facts]).encode()).hexdigest()[:8]


@functools.cache
def _code() -> str:
    """Hash of all of this package's code: what maps is much of it, and reading it takes no time."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256(sys.version.encode())
    # In a checkout golden and rtl are links, which rglob does not follow.
    files = {path for place in (package, package / "golden", package / "rtl") for path in place.rglob("*.py")}
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Candidate:
    """A module mapped in one way, in Yosys' JSON; its area (um2), and the delay (ps) of its longest path."""

    area: float
    delay: float
    module: dict


@dataclass(frozen=True)
class _Choice:
    """The way of every module, the design in Yosys' JSON that they make, and its timing."""

    chosen: dict[str, int]
    mapped: dict
    timed: timing.Timing


class _Mapper:
    """Maps one design to a library, in one folder.

    A *way* of mapping is an index of ``ways``. ``candidates`` holds for every module its candidates, one for each
    way that was tried, from way 0 on.
    """

    def __init__(self, design: Design, library: Library, options: Options, folder: Path):
        self.design, self.library, self.options, self.folder = design, library, options, folder
        assert library.liberty_path is not None, "technology.load writes the library's Liberty file"
        self.liberty = library.liberty_path
        if not is_plain(self.liberty):
            self.liberty = folder / "library.lib"
            shutil.copy(library.liberty_path, self.liberty)
        # ABC takes no target below a picosecond. Where registers alone take longer than the period, that is its target
        # and the result is as fast as ABC can make it.
        self.target_ps = max(1000 * (options.clock_period_ns - _sequential_overhead(library, design)), 1.0)
        self.ways = STRUCTURED if options.hierarchical else (Way(FLAT),)
        load = f"set_load {library.output_load_fF:.6g}"
        write(folder / "abc.constr", f"set_driving_cell {smallest_buffer(library).name}\n{load}\n")
        self.candidates: dict[str, list[_Candidate]] = defaultdict(list)
        of_part = dict(options.ways)
        parts = emit.module_names(design) if options.hierarchical else {}
        #: Part of every module, and the first way that it may take.
        self._part = {module: part for part, module in parts.items()}
        self._first_way = {module: of_part.get(part, 0) for module, part in self._part.items()}
        #: The ways that were taken in the end, by part.
        self.taken: dict[str, int] = {}
        #: A netlist, before its cells are sized, and its placement.
        self.placed: tuple[Netlist, Placement] | None = None
        # Until something is placed, wires are by fanout.
        self._wires: bool | np.ndarray = options.wires is not Wires.ZERO
        self._prepared = Prepared(design, library, self.liberty, options.hierarchical, options.clock_gates, folder)
        self._map(self._prepared.modules, range(1))

    def hierarchical(self) -> list[str]:
        """Yosys commands that read the design, its modules mapped so that the whole meets timing if it can."""
        chosen = {name: self._first_way.get(name, 0) for name in self.candidates}
        for name, way in chosen.items():
            if way:
                self._map([name], range(1, way + 1))
        best: _Choice | None = None
        for _ in range(_ROUNDS):
            choice = self._choice(chosen)
            if best is None or choice.timed.slack_ns > best.timed.slack_ns:
                best = choice
            faster = self._faster(choice) if choice.timed.slack_ns < 0 else None
            if faster is None:
                break
            chosen = chosen | faster
        assert best is not None
        best = self._relaxed(best)
        self.taken = {part: best.chosen[module] for module, part in self._part.items()}
        return self._finished(self._resized(best.mapped, best.timed))

    def _choice(self, chosen: dict[str, int]) -> _Choice:
        mapped = self._strengthened(chosen)
        return _Choice(chosen, mapped, self._timing(mapped))

    def _relaxed(self, best: _Choice) -> _Choice:
        """The choice with modules that need not be as fast as they are mapped in smaller ways, of those tried.

        While slack was sought, a module may have become faster than another that was on the same path allows.
        """
        least = min(best.timed.slack_ns, 0.0)
        for name, way in sorted(best.chosen.items(), key=lambda item: -self.candidates[item[0]][item[1]].area):
            tried = self.candidates[name]
            first = self._first_way.get(name, 0)
            smaller = sorted((c.area, k) for k, c in enumerate(tried) if k >= first and c.area < tried[way].area)
            for _, k in smaller:
                choice = self._choice(best.chosen | {name: k})
                if choice.timed.slack_ns >= least:
                    best = choice
                    break
        return best

    def flat(self) -> list[str]:
        """Yosys commands that read the design, mapped as one module."""
        return self._finished(self._modules({self.design.name: 0}))

    def _finished(self, mapped: dict) -> list[str]:
        """Yosys commands that read a mapped design; where wires are placed, sized for them."""
        if self.options.wires is Wires.PLACED:
            library = self.library
            assert library.row_height_um and library.wire_fF_per_um, "map_design checks that they are known"
            netlist = netlist_reader.build(mapped["modules"], self.design.name, library)
            self._progress(f"placing {netlist.cells} cells")
            placed = placement.place(netlist, library.row_height_um, self.folder)
            self.placed = netlist, placed
            self._wires = placed.lengths * library.wire_fF_per_um
            mapped = self._resized(mapped, self._timing(mapped))
        write(self.folder / "modules.json", json.dumps(mapped))
        return [*self._prepared.cells, "read_json modules.json", f"hierarchy -check -top {self.design.name}"]

    def _cleaned(self) -> list[str]:
        """Yosys commands that finish mapped modules: constants from tie cells, and plain names."""
        low, high = tie_cells(self.library)
        return [
            *([f"hilomap -singleton -hicell {high} -locell {low}"] if high else []),
            "opt_clean -purge",
            *self._prepared.cells,
            # Name cells after the register or port that they drive, and number the others.
            "rename -wire -suffix cell",
            "rename -enumerate -pattern g% c:*",
            "rename -enumerate -pattern n% w:*",
            "opt_clean -purge",
            # Readers of SDF stumble over names such as \total[0]cell.
            "rename -unescape",
        ]

    def _progress(self, what: str) -> None:
        """Print progress for people: only if standard error is a terminal."""
        if sys.stderr.isatty():
            print(f"{self.design.name} on {self.library.name}: {what}", file=sys.stderr, flush=True)

    def _map(self, modules: list[str], ways: range) -> None:
        """Map modules in each of several ways, and note the candidates."""
        self._progress(f"mapping {', '.join(modules)}")
        shares = self._shares(modules)
        with ThreadPoolExecutor(len(shares)) as pool:
            try:
                list(pool.map(self._run_abc, shares, itertools.repeat(ways), itertools.count()))
            except KeyboardInterrupt:
                # Without their children the threads end at once.
                children.end_all()
                raise
        for way in ways:
            read: dict[str, dict] = {}
            for share, names in enumerate(shares):
                mapped = json.loads((self.folder / f"mapped_{share}_{way}.json").read_text())["modules"]
                read |= {name: mapped[name] for name in names}
            for name in modules:
                self.candidates[name].append(self._candidate(read, name))

    def _shares(self, modules: list[str]) -> list[list[str]]:
        """Modules divided among two processes so that both take about as long; one process for a single module."""
        shares: list[list[str]] = [[], []]
        sizes = [0, 0]
        for name in sorted(modules, key=lambda name: -self._prepared.sizes[name]):
            least = sizes.index(min(sizes))
            shares[least].append(name)
            sizes[least] += self._prepared.sizes[name]
        return [share for share in shares if share]

    def _run_abc(self, modules: list[str], ways: range, share: int) -> None:
        """Run ABC on modules in each of several ways; the results are the files ``mapped_SHARE_WAY.json``."""
        script = []
        for way in ways:
            how_to = self.ways[way]
            target = f"-D {how_to.share * self.target_ps:.0f}"
            joined = ";".join(how_to.script).replace("{D}", target).replace(" ", ",")
            how = f"abc -liberty {self.liberty} -constr abc.constr {target} -script +{joined}"
            script += ["design -reset", f"read_rtlil {UNMAPPED[how_to.adder_cells]}"]
            script += [
                *(f"{how} {name}" for name in modules),
                *self._cleaned(),
                f"write_json mapped_{share}_{way}.json",
            ]
        yosys.run(script, self.folder, f"map_{share}")

    def _candidate(self, modules: dict, name: str) -> _Candidate:
        """Area and delay of one mapped module; neither of the modules that it instantiates, which are timed apart."""
        module = modules[name]
        clock_gating.split({name: module}, self.library, self.options.wires is not Wires.ZERO)
        cells = {n: c for n, c in module["cells"].items() if c["type"] in self.library.cells}
        inside = {bit for cell in module["cells"].values() if cell["type"] not in self.library.cells
                  for port, bits in cell["connections"].items()
                  if cell["port_directions"].get(port) == "output" for bit in bits}  # fmt: skip
        given = {"direction": "input", "bits": sorted(bit for bit in inside if isinstance(bit, int))}
        alone = module | {"cells": cells, "ports": module["ports"] | {"\\instances": given}}
        netlist = netlist_reader.build({name: alone}, name, self.library)
        timed = timing.analyse(
            netlist, self.options.clock_period_ns, netlist.loads(self.options.wires is not Wires.ZERO)
        )
        return _Candidate(netlist.area, 1000 * timed.critical_path_ns, module)

    def _strengthened(self, chosen: dict[str, int]) -> dict:
        """Yosys' JSON of the design, modules mapped as chosen, drivers between them strong enough for their loads."""
        mapped = self._modules(chosen)
        strengthen(mapped["modules"], self.design.name, self.library, self.options.wires is not Wires.ZERO)
        return mapped

    def _modules(self, chosen: dict[str, int]) -> dict:
        """Yosys' JSON of the design, modules mapped as chosen, with the clock gates that its flip-flops need."""
        return {"modules": _copied({name: self.candidates[name][way].module for name, way in chosen.items()})}

    def _timing(self, mapped: dict) -> timing.Timing:
        """Static timing of a design in Yosys' JSON."""
        netlist = netlist_reader.build(mapped["modules"], self.design.name, self.library)
        timed = timing.analyse(netlist, self.options.clock_period_ns, netlist.loads(self._wires))
        self._progress(f"slack {timed.slack_ns:+.3f} ns")
        return timed

    def _resized(self, mapped: dict, timed: timing.Timing) -> dict:
        """The design with stronger cells on its critical paths, as long as slack is negative and they improve it."""
        fixed: set[str] = set()
        while timed.slack_ns < 0 and (stronger := resize(timed.path, self.library, fixed)):
            tried = {"modules": _copied(mapped["modules"])}
            for instance, cell in stronger.items():
                module, name = _place(tried["modules"], self.design.name, instance)
                tried["modules"][module]["cells"][name]["type"] = cell
            retimed = self._timing(tried)
            if retimed.slack_ns > timed.slack_ns:
                mapped, timed = tried, retimed
            else:
                fixed |= stronger.keys()
        return mapped

    def _faster(self, choice: _Choice) -> dict[str, int] | None:
        """A module and a faster way to map it; None if no module of the critical path has one.

        It is the module that the path spends most time in, of those that can be faster. The way is the smallest that
        makes up for the negative slack, or else the fastest. More ways are tried until one does.
        """
        chosen, mapped, timed = choice.chosen, choice.mapped, choice.timed
        slack, before = timed.slack_ns, 0.0
        delays: dict[str, float] = defaultdict(float)
        for step in timed.path:
            delays[_place(mapped["modules"], self.design.name, step.instance)[0]] += step.arrival_ns - before
            before = step.arrival_ns
        for name in sorted(delays, key=lambda n: (-delays[n], n)):
            tried = self.candidates[name]
            now = tried[chosen[name]].delay
            first = self._first_way.get(name, 0)
            while (ahead := self._first(tried, first, now + 1000 * slack)) is None and len(tried) < len(self.ways):
                self._map([name], range(len(tried), len(tried) + 1))
            if ahead is None:
                ahead = min(range(first, len(tried)), key=lambda k: (tried[k].delay, k))
            if tried[ahead].delay < now:
                return {name: ahead}
        return None

    @staticmethod
    def _first(tried: list[_Candidate], first: int, delay: float) -> int | None:
        """The way of least area, of those tried from ``first`` on, whose delay is at most ``delay`` (ps); or None."""
        able = [k for k, candidate in enumerate(tried) if k >= first and candidate.delay <= delay]
        return min(able, key=lambda k: (tried[k].area, k), default=None)


def _copied(modules: dict[str, dict]) -> dict[str, dict]:
    """Modules of Yosys' JSON whose cells may be changed, and joined by others, without a change of the originals."""
    return {
        name: module | {
            "cells": {n: cell | {"connections": dict(cell["connections"])} for n, cell in module["cells"].items()},
            "netnames": dict(module["netnames"]),
        }
        for name, module in modules.items()
    }  # fmt: skip


def _place(modules: dict, top: str, path: str) -> tuple[str, str]:
    """Module that an instance stands in, and its name there, from its path; Yosys' own names hold no dots."""
    *scopes, name = path.split(".")
    for scope in scopes:
        top = modules[top]["cells"][scope]["type"]
    return top, name


def _sequential_overhead(library: Library, design: Design) -> float:
    """Part of the period, in ns, that registers take: clock to output into the default load, and setup."""
    if not design.component().latency:
        return 0.0
    flop = flip_flop(library)
    launch = max(
        (float(t.lookup(library.clock_slew_ns, library.output_load_fF)) for arc in flop.timing
         if arc.kind.endswith("_edge") for t in arc.delay.values()), default=0.0,
    )  # fmt: skip
    setup = max(
        (float(t.lookup(library.clock_slew_ns, library.input_slew_ns)) for arc in flop.constraints
         if arc.kind.startswith("setup") for t in arc.constraint.values()), default=0.0,
    )  # fmt: skip
    return launch + setup
