"""From a design to its netlist of library cells: Yosys and ABC.

A flat design is mapped as one module. A hierarchical one is mapped module by module, each at first for area; then
static timing of the whole says which modules must be faster, and those are mapped again: speed, and area for it, goes
where the critical path is. What is too slow even then gets stronger cells along its path.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from hwsim.analysis import netlist_reader, timing
from hwsim.base import yosys
from hwsim.base.files import replace
from hwsim.synthesis import emit
from hwsim.synthesis.recipes import ABC_FLAT, ABC_STRUCTURED
from hwsim.synthesis.sizing import resize, strengthen
from hwsim.technology.choice import flip_flop, smallest_buffer, tie_cells
from hwsim.technology.library import Library
from hwsim.units.unit import Design

#: How often modules are chosen anew.
_ROUNDS = 12


@dataclass(frozen=True)
class Options:
    """How to map.

    Attributes
    ----------
    clock_period_ns : float
    wire_load : bool
        Whether the library's wire-load model is used; else wires have no capacitance.
    hierarchical : bool
        Whether modules are mapped one by one.
    """

    clock_period_ns: float
    wire_load: bool = True
    hierarchical: bool = False


@dataclass(frozen=True)
class Mapped:
    """A design mapped to a library, how, and the files that were left behind."""

    design: Design
    library: Library
    options: Options
    verilog: Path
    netlist: Path
    netlist_json: Path
    log: Path


def map_design(design: Design, library: Library, options: Options, build: Path) -> Mapped:
    """Generate a design's Verilog and map it to a library with Yosys and ABC.

    Files are left in ``build / design.slug / library``: scripts, logs, netlist as Verilog and JSON.

    Raises
    ------
    YosysError
        If Yosys fails, or anything is left unmapped.
    """
    root = build / design.slug
    period = f"{options.clock_period_ns:g}ns" + ("-hierarchical" if options.hierarchical else "")
    folder = root / f"{library.name}-{period}"
    folder.mkdir(parents=True, exist_ok=True)
    source = root / f"{design.name}.v"
    replace(source, emit.to_verilog(design, folder))
    mapper = _Mapper(design, library, options, folder)
    read = mapper.hierarchical() if options.hierarchical else mapper.assembled({design.name: 0})
    finish = [
        f"stat -liberty {library.liberty_path}",
        "check -mapped -assert",
        "write_verilog -noattr -noexpr -nodec -simple-lhs netlist.v",
        "write_json netlist.json",
    ]
    yosys.run([*read, *finish], folder, "synth")
    return Mapped(design, library, options, source, folder / "netlist.v", folder / "netlist.json", folder / "synth.log")


@dataclass(frozen=True)
class _Candidate:
    """A module mapped in one way: area (um2) and delay (ps) as ABC sees them."""

    area: float
    delay: float


class _Mapper:
    """One design on its way to a library, in one folder."""

    def __init__(self, design: Design, library: Library, options: Options, folder: Path):
        self.design, self.library, self.options, self.folder = design, library, options, folder
        # ABC takes no target below a picosecond; where registers alone take longer than the period, it does what it
        # can.
        self.target_ps = max(1000 * (options.clock_period_ns - _sequential_overhead(library, design)), 1.0)
        self.scripts = ABC_STRUCTURED if options.hierarchical else ((ABC_FLAT, 1.0),)
        (folder / "abc.constr").write_text(
            f"set_driving_cell {smallest_buffer(library).name}\nset_load {library.output_load_fF:.6g}\n"
        )
        self.candidates: dict[str, list[_Candidate]] = defaultdict(list)
        self._prepare()
        self._map(re.findall(r"^module \\(\S+)", (folder / "unmapped.il").read_text(), re.M), range(1))

    def hierarchical(self) -> list[str]:
        """Yosys commands that read the design, its modules chosen so that the whole meets timing if they can."""
        chosen = dict.fromkeys(self.candidates, 0)
        best: tuple[dict, timing.Timing] | None = None
        for _ in range(_ROUNDS):
            mapped = self._strengthened(chosen)
            timing = self._timing(mapped)
            if best is None or timing.slack_ns > best[1].slack_ns:
                best = mapped, timing
            faster = self._faster(chosen, timing, mapped) if timing.slack_ns < 0 else None
            if faster is None:
                break
            chosen = chosen | faster
        assert best is not None
        (self.folder / "modules.json").write_text(json.dumps(self._resized(*best)))
        return ["read_json modules.json", f"hierarchy -check -top {self.design.name}"]

    def assembled(self, chosen: dict[str, int]) -> list[str]:
        """Yosys commands that read the design with modules as ``chosen`` among their candidates."""
        low, high = tie_cells(self.library)
        read = []
        for number in sorted(set(chosen.values())):
            read += [f"read_rtlil mapped_{number}.il", f"design -stash mapped_{number}"]
        read += [f"design -copy-from mapped_{number} -as {name} {name}" for name, number in chosen.items()]
        return [
            *read,
            f"hierarchy -top {self.design.name}",
            *([f"hilomap -singleton -hicell {high} -locell {low}"] if high else []),
            "opt_clean -purge",
            f"read_liberty -lib -ignore_miss_func {self.library.liberty_path}",
            # Cells that drive registers and ports by the name of what they drive, the rest by numbers.
            "rename -wire -suffix cell",
            "rename -enumerate -pattern g% c:*",
            "rename -enumerate -pattern n% w:*",
            "opt_clean -purge",
        ]

    def _progress(self, what: str) -> None:
        """Tell people who wait; not programs."""
        if sys.stderr.isatty():
            print(f"{self.design.name} on {self.library.name}: {what}", file=sys.stderr, flush=True)

    def _prepare(self) -> None:
        """Everything in front of ABC: ``unmapped.il``."""
        kept = flip_flop(self.library)
        others = [cell.name for cell in self.library.usable_cells if cell.flip_flop and cell is not kept]
        script = [
            "read_rtlil rtl.il",
            f"hierarchy -check -top {self.design.name}",
            "proc",
            *([] if self.options.hierarchical else ["flatten"]),
            f"synth -noabc -run begin:fine -top {self.design.name}",
            "synth -noabc -run fine:check",
            # Left to choose, dfflibmap takes a flip-flop with a true output over one of half the size.
            f"dfflibmap {' '.join(f'-dont_use {name}' for name in others)} -liberty {self.library.liberty_path}",
            "opt",
            "write_rtlil unmapped.il",
        ]
        yosys.run(script, self.folder, "prepare")

    def _map(self, modules: list[str], ways: range) -> None:
        """Map modules in several ways: ``mapped_WAY.il``, which holds what was mapped in it before as well."""
        self._progress(f"mapping {', '.join(modules)}")
        script = []
        for way in ways:
            commands, share = self.scripts[way]
            target = f"-D {share * self.target_ps:.0f}"
            joined = ";".join(commands).replace("{D}", target).replace(" ", ",")
            how = f"abc -liberty {self.library.liberty_path} -constr abc.constr {target} -script +{joined}"
            fresh = not any(len(found) > way for found in self.candidates.values())
            script += ["design -reset", f"read_rtlil {'unmapped.il' if fresh else f'mapped_{way}.il'}"]
            script += [*(f"{how} {name}" for name in modules), f"write_rtlil mapped_{way}.il"]
        log = yosys.run(script, self.folder, "map")
        for name, text in re.findall(r"gate netlist of module `\\(\S+)'(.*?)(?=gate netlist of|\Z)", log, re.S):
            # A module without logic has neither.
            areas, delays = (re.findall(rf"{what} *= *([\d.]+)", text) for what in ("Area", "Delay"))
            self.candidates[name].append(_Candidate(float((areas or [0])[-1]), float((delays or [0])[-1])))

    def _strengthened(self, chosen: dict[str, int]) -> dict:
        """What Yosys writes as JSON, modules as chosen and drivers between them as strong as they need."""
        yosys.run([*self.assembled(chosen), "write_json modules.json"], self.folder, "modules")
        mapped = json.loads((self.folder / "modules.json").read_text())
        strengthen(mapped["modules"], self.design.name, self.library, self.options.wire_load)
        return mapped

    def _timing(self, mapped: dict) -> timing.Timing:
        netlist = netlist_reader.build(mapped["modules"], self.design.name, self.library)
        timed = timing.analyse(netlist, self.options.clock_period_ns, netlist.loads(self.options.wire_load))
        self._progress(f"slack {timed.slack_ns:+.3f} ns")
        return timed

    def _resized(self, mapped: dict, timing: timing.Timing) -> dict:
        """With stronger cells on critical paths, as long as the slack is negative and that helps."""
        fixed: set[str] = set()
        while timing.slack_ns < 0 and (stronger := resize(timing.path, self.library, fixed)):
            tried = copy.deepcopy(mapped)
            for instance, cell in stronger.items():
                module, name = _place(tried["modules"], self.design.name, instance)
                tried["modules"][module]["cells"][name]["type"] = cell
            found = self._timing(tried)
            if found.slack_ns > timing.slack_ns:
                mapped, timing = tried, found
            else:
                fixed |= stronger.keys()
        return mapped

    def _faster(self, chosen: dict[str, int], timing: timing.Timing, mapped: dict) -> dict[str, int] | None:
        """The module with most of the critical path in it, in a way that makes up for the slack, else the fastest."""
        slack, before = timing.slack_ns, 0.0
        delays: dict[str, float] = defaultdict(float)
        for step in timing.path:
            delays[_place(mapped["modules"], self.design.name, step.instance)[0]] += step.arrival_ns - before
            before = step.arrival_ns
        for name in sorted(delays, key=lambda n: (-delays[n], n)):
            tried = self.candidates[name]
            now = tried[chosen[name]].delay
            while (ahead := self._first(tried, now + 1000 * slack)) is None and len(tried) < len(self.scripts):
                self._map([name], range(len(tried), len(tried) + 1))
            if ahead is None:
                ahead = min(range(len(tried)), key=lambda k: (tried[k].delay, k))
            if tried[ahead].delay < now:
                return {name: ahead}
        return None

    @staticmethod
    def _first(tried: list[_Candidate], delay: float) -> int | None:
        """The smallest way of those tried that is as fast as ``delay``."""
        able = [k for k, found in enumerate(tried) if found.delay <= delay]
        return min(able, key=lambda k: (tried[k].area, k), default=None)


def _place(modules: dict, top: str, path: str) -> tuple[str, str]:
    """Module that an instance stands in, and its name there; Yosys' own names hold no dots."""
    *scopes, name = path.split(".")
    for scope in scopes:
        top = modules[top]["cells"][scope]["type"]
    return top, name


def _sequential_overhead(library: Library, design: Design) -> float:
    """ns of the period that registers take: clock to output into the default load, and setup."""
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
