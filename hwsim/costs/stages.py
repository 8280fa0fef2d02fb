"""Area, energy and places of a tile's stages."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from hwsim.analysis import power
from hwsim.analysis.netlist import Netlist
from hwsim.base.errors import InputError
from hwsim.costs.flow import Result
from hwsim.rtl.tile.stage import Stage
from hwsim.rtl.tile.stage import stages as stages_of_parts
from hwsim.synthesis import emit
from hwsim.units.unit import Design

#: Name of the stage that holds all flip-flops and clock gates, wherever in the data path they stand.
REGISTERS = "registers"
#: What takes energy beside the cells of the netlist.
CLOCK_TREE = "clock tree, leakage"


def of_modules(design: Design) -> dict[str, Stage]:
    """Stage of every module below the top of a design, by its name."""
    names = emit.module_names(design)
    return {names[part]: stage for part, stage in stages_of_parts(design.component()).items()}


def areas(netlist: Netlist, of_module: Mapping[str, Stage]) -> dict[str, float]:
    """Area of every stage in NAND2 equivalents.

    Parameters
    ----------
    netlist : Netlist
    of_module : mapping of str to Stage
        The stage of every part of the tile: :func:`hwsim.rtl.tile.stage.stages`.
    """
    names, stage = _stage_of_scopes(netlist, of_module)
    total = np.zeros(len(names))
    for group in netlist.groups:
        if not group.cell.is_clocked:
            total += np.bincount(stage[group.scopes], minlength=len(names)) * group.cell.area
    areas = dict(zip(names, total.tolist(), strict=True)) | {REGISTERS: netlist.sequential_area}
    return {name: area / netlist.library.nand2_area for name, area in areas.items()}


def energies(result: Result, of_module: Mapping[str, Stage]) -> dict[str, float]:
    """Energy of every stage per cycle, fJ, glitches included: of its cells, and of charging the nets that they drive.

    The sum is the total power times the period. Parameters as of :func:`areas`.
    """
    netlist, activity = result.netlist, result.activity
    names, stage = _stage_of_scopes(netlist, of_module)
    spent = power.by_instance(netlist, result.timing, result.loads, result.busy.timed_rate, activity.probability())
    total = np.zeros(len(names))
    registers = 0.0
    for group, of_instance in zip(netlist.groups, spent, strict=True):
        if group.cell.is_clocked:
            registers += float(of_instance.sum())
        else:
            total += np.bincount(stage[group.scopes], of_instance, len(names))
    # mW times ns is pJ.
    rest = 1000 * result.power.total * result.timing.period_ns - float(total.sum()) - registers
    return dict(zip(names, total.tolist(), strict=True)) | {REGISTERS: registers, CLOCK_TREE: rest}


def picture(result: Result) -> bytes:
    """A picture of a placement as PNG, every cell in the colour of its stage.

    Raises
    ------
    InputError
        If the netlist was not placed.
    """
    placed = result.mapped.placement
    if placed is None:
        raise InputError("nothing was placed: a picture needs --wire-load placed")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Patch, Rectangle

    netlist, height = result.netlist, result.library.row_height_um
    assert height is not None, "nothing is placed without"
    names, stage = _stage_of_scopes(netlist, of_modules(result.design) if result.design.unit.hierarchical else {})
    of_cell = np.concatenate([
        np.full(len(group), len(names)) if group.cell.is_clocked else stage[group.scopes] for group in netlist.groups
    ])  # fmt: skip
    labels = [*names, REGISTERS] if result.design.unit.hierarchical else [*[""] * (len(names) - 1), "logic", REGISTERS]
    width, tall = placed.core
    figure, axis = plt.subplots(figsize=(7, 7 * tall / width + 0.8), layout="constrained")
    colours = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
    shown = []
    for number, label in enumerate(labels):
        cells = np.flatnonzero(of_cell == number)
        if len(cells):
            rectangles = [Rectangle((placed.x[i], placed.y[i]), placed.widths[i], height) for i in cells.tolist()]
            axis.add_collection(
                PatchCollection(rectangles, facecolor=colours[number], edgecolor="white", linewidth=0.1)
            )
            shown.append(Patch(color=colours[number], label=label))
    axis.set(xlim=(0, width), ylim=(0, tall), aspect="equal", xlabel="um")
    axis.set_title(f"{result.design.slug} on {result.library.name}, {netlist.cells} cells", fontsize=10)
    figure.legend(handles=shown, fontsize=8, frameon=False, loc="outside lower center", ncols=4)
    buffer = io.BytesIO()
    # Without matplotlib's version in its metadata, the same placement gives the same file.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def _stage_of_scopes(netlist: Netlist, of_module: Mapping[str, Stage]) -> tuple[list[str], np.ndarray]:
    """Names of the stages, and for every module instance of a netlist the place of its stage among them."""
    kinds = {type(stage) for stage in of_module.values()} or {Stage}
    [kind] = kinds
    shown = [stage for stage in kind if stage is not Stage.BUFFERS or stage in of_module.values()]
    names = [stage.value for stage in shown]
    of = [names.index(of_module.get(module, kind.REST).value) for module in netlist.scope_modules]
    return names, np.array(of)
