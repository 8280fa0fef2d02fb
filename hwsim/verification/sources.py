"""Yosys commands that read the sides of a proof: RTL, specification, netlist."""

from __future__ import annotations

import json
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.base.files import write
from hwsim.synthesis import clock_gating
from hwsim.synthesis.emit import module_names, ports, to_rtlil, to_verilog
from hwsim.technology.library import Library
from hwsim.units.unit import Design
from hwsim.verification import equivalence
from hwsim.verification.aig import Aig
from hwsim.verification.equivalence import SPECS


def rtl(design: Design, build: Path) -> list[str]:
    """Yosys commands that read the RTL of a design as module ``design.name``."""
    return [*rtl_modules(design, build), "flatten", "opt_clean", "memory_map"]


def rtl_modules(design: Design, build: Path) -> list[str]:
    """Yosys commands that read the RTL of a design with its hierarchy."""
    build.mkdir(parents=True, exist_ok=True)
    write(build / "rtl.il", to_rtlil(design))
    return [f'read_rtlil "{build / "rtl.il"}"', f"hierarchy -top {design.name}", "proc -norom"]


def verilog_modules(design: Design, build: Path) -> list[str]:
    """Yosys commands that read the Verilog of a design, as other tools get it, with its hierarchy."""
    build.mkdir(parents=True, exist_ok=True)
    write(build / "rtl.v", to_verilog(design))
    # Yosys makes the choice undefined that a multiplexer has for no case: after a full ``case`` none is left.
    return [
        f'read_verilog "{build / "rtl.v"}"',
        f"hierarchy -check -top {design.name}",
        "proc -norom",
        "setundef -zero",
    ]


def graphs(design: Design, read: list[str], build: Path, side: str) -> dict[str, Aig]:
    """Graphs of a design's modules by the names of the parts, the top module by its own.

    See :func:`hwsim.verification.equivalence.modules`.
    """
    names = module_names(design) | {design.name: design.name}
    by_module = equivalence.modules(read, names.values(), build, side)
    return {part: by_module[module] for part, module in names.items()}


def refuse_buffers(design: Design) -> None:
    """Raise InputError for a tile with buffers: proofs are of pipelines, and accumulators hold what they have.

    All other parts of such a tile are those of the tile without.
    """
    if design.parameters.get("buffers"):
        raise InputError(
            f"proofs are of tiles without buffers, got buffers={design.parameters['buffers']}: "
            "hwsim.cosim compares the whole with golden"
        )


def specification(design: Design) -> list[str]:
    """Yosys commands that read a unit's specification as module ``design.name``, its parameters set.

    Raises
    ------
    InputError
        If the unit has no specification.
    """
    if not design.unit.spec:
        raise InputError(f"{design.name} has no specification in hwsim/verification/specs to prove it against")
    top = f"{Path(design.unit.spec).stem}_spec"
    settings = " ".join(f"-set {k.upper()} {int(v)}" for k, v in design.parameters.items())
    commands = [
        f'read_verilog -sv "{SPECS / "spec_registers.v"}" "{SPECS / design.unit.spec}"',
        f"chparam {settings} {top}",
        f"hierarchy -top {top}",
        "proc -norom",
        "flatten",
        "opt_clean",
        f"rename -top {design.name}",
    ]
    if "clk" not in ports(design.component()):
        commands += [f"delete -port {design.name}/clk {design.name}/rst", "opt_clean -purge"]
    return commands


def netlist(design: Design, mapped: Path, library: Library) -> list[str]:
    """Yosys commands that read a mapped netlist, cells replaced by their functions in the library."""
    return [*netlist_modules(design, mapped, library), "flatten", "opt_clean"]


def netlist_modules(design: Design, mapped: Path, library: Library) -> list[str]:
    """Yosys commands that read a mapped netlist with its hierarchy; each cell is a module of its library function.

    Clock gates become multiplexers in front of the flip-flops that they clock. ``mapped`` is the netlist as Verilog;
    what is read is its JSON, which lies beside it.
    """
    document = json.loads(mapped.with_suffix(".json").read_text())
    clock_gating.undo(document["modules"], library)
    ungated = mapped.with_name("ungated.json")
    write(ungated, json.dumps(document))
    return [
        f'read_liberty -ignore_miss_func "{library.liberty_path}"',
        f'read_json "{ungated}"',
        f"hierarchy -check -top {design.name}",
        "proc -norom",
    ]
