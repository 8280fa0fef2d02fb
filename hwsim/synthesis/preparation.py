"""A design as ABC takes it: flip-flops, clock gates and adders are the library's cells, all else Yosys' own gates."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from hwsim.base import yosys
from hwsim.base.files import write
from hwsim.synthesis import adder_cells, clock_gating, emit
from hwsim.technology.choice import flip_flop
from hwsim.technology.library import Library
from hwsim.units.unit import Design

#: Files with the prepared design, by whether its adders are the library's cells; otherwise they are gates.
UNMAPPED = {True: "unmapped.il", False: "unmapped_adders.il"}


class Prepared:
    """Prepares a design whose RTLIL is ``rtl.il`` in a folder: writes the files of `UNMAPPED` there.

    Parameters
    ----------
    design : Design
    library : Library
    liberty : Path
        The library's Liberty file.
    hierarchical : bool
        Whether modules stay apart.
    clock_gates : bool
        Whether enables become clock gates, where the library has any.
    folder : Path

    Attributes
    ----------
    modules : list of str
        Names of the design's modules.
    sizes : dict of str to int
        By module, the length of its RTLIL text, to which the time of mapping it is about proportional.
    cells : list of str
        Yosys commands that read the library's cells as boxes.
    """

    def __init__(
        self, design: Design, library: Library, liberty: Path, hierarchical: bool, clock_gates: bool, folder: Path
    ):
        self._library, self._folder, self._names = library, folder, emit.cell_names(design)
        write(folder / "clock_gates.v", clock_gating.boxes(library))
        self.cells = [f"read_liberty -lib -ignore_miss_func {liberty}", "read_verilog -lib clock_gates.v"]
        top = f"hierarchy -check -top {design.name}"
        read = ["read_rtlil rtl.il", top, "proc"]
        flop = flip_flop(library)
        others = [cell.name for cell in library.usable_cells if cell.flip_flop and cell is not flop]
        finish = [
            *([] if hierarchical else ["flatten"]),
            f"synth -noabc -run begin:fine -top {design.name}",
            "synth -noabc -run fine:check",
            *(clock_gating.insertion(library) if clock_gates else []),
            # With a choice, dfflibmap would prefer a flip-flop with a true output to one of half the size.
            f"dfflibmap {' '.join(f'-dont_use {name}' for name in others)} -liberty {liberty}",
            "opt",
        ]
        with_cells, with_gates = UNMAPPED[True], UNMAPPED[False]
        text = (folder / "rtl.il").read_text()
        adders = [name for name in self._names.values() if f"cell \\{name} " in text]
        if adders:
            self._bind(read)
            script = [*read, "design -reset", *self.cells, "read_json adders.json", top]
            # Adders without a cell are all that is not kept.
            script += ["flatten", "setattr -mod -unset keep_hierarchy *", *finish, f"write_rtlil {with_cells}"]
            script += ["design -reset", *read, "setattr -mod -set keep_hierarchy 1 *"]
            script += [f"setattr -mod -unset keep_hierarchy {name}" for name in adders]
            script += ["flatten", "setattr -mod -unset keep_hierarchy *", *finish, f"write_rtlil {with_gates}"]
            yosys.run(script, folder, "prepare")
        else:
            yosys.run([*read, *finish, f"write_rtlil {with_cells}"], folder, "prepare")
            shutil.copy(folder / with_cells, folder / with_gates)
        # Cells that are instantiated already are modules too.
        found = re.findall(r"^module \\(\S+)(.*?)^end$", (folder / with_cells).read_text(), re.M | re.S)
        self.sizes = {name: len(text) for name, text in found if name not in library.cells}
        self.modules = list(self.sizes)

    def _bind(self, read: list[str]) -> None:
        """Write ``adders.json``: the design with its adders bound to the library's cells, its modules to be kept."""
        yosys.run([*read, "write_json adders.json"], self._folder, "adders")
        document = json.loads((self._folder / "adders.json").read_text())
        adder_cells.bind(document["modules"], self._library, self._names)
        for name in document["modules"].keys() - self._names.values():
            document["modules"][name]["attributes"]["keep_hierarchy"] = "1".zfill(32)
        write(self._folder / "adders.json", json.dumps(document))
