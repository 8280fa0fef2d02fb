"""Placement of a mapped netlist by Coloquinte, for the lengths of its wires.

The core is as square as whole rows allow and filled to a stated share, evenly: every cell keeps room for wires beside
it. Cells are as wide as their area over the row's height, their pins in the middle of their room; port bits stand
around the core in their order. Clock nets are left out: they become a tree (:mod:`hwsim.analysis.clock_tree`).
Coloquinte is an extra of this package: ``pip install 'hwsim[place]'``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.analysis import steiner
from hwsim.analysis.netlist import Netlist
from hwsim.base import children
from hwsim.base.errors import InputError, ToolError

#: Share of its room that a cell fills, and share of the core that these rooms fill at most.
UTILISATION, _FULL = 0.7, 0.98
#: Coloquinte's effort, 1 to 9, and seed.
_EFFORT, _SEED = 3, 1
#: Coloquinte counts in whole units, of which there are so many in a um.
_UNITS = 1000


@dataclass(frozen=True)
class Placement:
    """Where the cells of a netlist are, and how long its wires.

    Attributes
    ----------
    x, y : float64 um [cells]
        Left and lower edge of every cell's room, in the order of the netlist's groups; the room is wider than the cell
        by `UTILISATION`.
    widths : float64 um [cells]
        Of the cells, before any of them was sized for its wires.
    core : (float, float) um
        Width and height.
    lengths : float64 um [nets]
        Of a rectilinear Steiner tree; 0 for clocks and constants.
    """

    x: np.ndarray
    y: np.ndarray
    widths: np.ndarray
    core: tuple[float, float]
    lengths: np.ndarray


def save(placement: Placement, path: Path) -> None:
    """Write a placement as a NumPy archive."""
    arrays: dict[str, Any] = {f.name: np.asarray(getattr(placement, f.name)) for f in fields(placement)}
    np.savez_compressed(path, **arrays)


def load(path: Path) -> Placement:
    """Read what :func:`save` wrote."""
    with np.load(path) as saved:
        arrays = {f.name: saved[f.name] for f in fields(Placement)}
    width, height = arrays.pop("core").tolist()
    return Placement(core=(width, height), **arrays)


def tool() -> str:
    """The placer and its version."""
    return f"Coloquinte {importlib.metadata.version('coloquinte')}, effort {_EFFORT}, seed {_SEED}"


def require() -> None:
    """Check that the placer is installed.

    Raises
    ------
    InputError
        If it is not.
    """
    if importlib.util.find_spec("coloquinte") is None:
        raise InputError("Coloquinte is not installed: pip install 'hwsim[place]' (Python 3.11 and 3.12)")


def place(netlist: Netlist, row_height_um: float, folder: Path) -> Placement:
    """Place a netlist; problem, log and solution are left in ``folder``.

    Raises
    ------
    InputError
        If Coloquinte is not installed.
    ToolError
        If it fails.
    """
    require()
    height = round(row_height_um * _UNITS)
    areas = np.concatenate([np.full(len(group), group.cell.area) for group in netlist.groups])
    widths = np.maximum(areas / row_height_um / UTILISATION * _UNITS, 1).round().astype(np.int64)
    ports = np.array([net for bits in (netlist.inputs | netlist.outputs).values() for net in bits])
    area = widths.sum() * height / _FULL
    rows = -(-int(area**0.5) // height)
    # Whole rows with room for one more cell each can take all cells in any order.
    width = int(area / (rows * height)) + int(widths.max())
    port_x, port_y = _around(len(ports), width, rows * height)
    starts, owners = _pins(netlist, ports)
    ideal = np.zeros(netlist.count, bool)
    ideal[[*netlist.clocks, *netlist.constants]] = True
    pins = np.diff(starts)
    wired = ~ideal & (pins > 1)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "problem.npz", widths=widths, height=height, core=(width, rows), port_x=port_x, port_y=port_y,
        starts=np.concatenate([[0], np.cumsum(pins[wired])]), owners=owners[np.repeat(wired, pins)],
        effort=_EFFORT, seed=_SEED,
    )  # fmt: skip
    log = folder / "placement.log"
    # Coloquinte writes its progress to standard output.
    with log.open("w") as out:
        command = [sys.executable, "-m", "hwsim.analysis.placer", str(folder)]
        code = children.run(command, stdout=out, stderr=subprocess.STDOUT)
    if code:
        # The folder may be a temporary one: its log would be gone.
        reason = "; ".join(log.read_text(errors="replace").strip().splitlines()[-2:])
        raise ToolError(f"Coloquinte failed to place {netlist.cells} cells of {netlist.top}: {reason}")
    with np.load(folder / "solution.npz") as solution:
        x, y = solution["x"].astype(float), solution["y"].astype(float)
    ends_x = np.concatenate([x + widths // 2, port_x])[owners]
    ends_y = np.concatenate([y + height // 2, port_y])[owners]
    lengths = steiner.lengths(starts, ends_x, ends_y)
    lengths[ideal] = 0.0
    core = width / _UNITS, rows * height / _UNITS
    return Placement(x / _UNITS, y / _UNITS, areas / row_height_um, core, lengths / _UNITS)


def reordered(placement: Placement, of: Netlist, to: Netlist) -> Placement:
    """A placement of ``of`` in the order of ``to``, a netlist of the same instances and nets by name.

    Raises
    ------
    ToolError
        If an instance or a net is missing.
    """
    cells, nets = (
        [_places(names(of), names(to)) for names in (_instances, lambda netlist: netlist.nets)]
    )  # fmt: skip
    moved = {name: getattr(placement, name)[cells] for name in ("x", "y", "widths")}
    return Placement(core=placement.core, lengths=placement.lengths[nets], **moved)


def _instances(netlist: Netlist) -> list[str]:
    return [netlist.instance_name(group, i) for group in netlist.groups for i in range(len(group))]


def _places(of: list[str], to: list[str]) -> np.ndarray:
    at = {name: i for i, name in enumerate(of)}
    if len(of) != len(to) or any(name not in at for name in to):
        raise ToolError("a netlist has other names than the one that was placed")
    return np.array([at[name] for name in to])


def _around(count: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of port bits, evenly around the core from its lower left corner, clockwise."""
    at = np.linspace(0, 4, count, endpoint=False)
    side, along = at.astype(int), at % 1
    x = np.choose(side, [0 * along, along, 1 + 0 * along, 1 - along]) * width
    y = np.choose(side, [along, 1 + 0 * along, 1 - along, 0 * along]) * height
    return x.astype(np.int64), y.astype(np.int64)


def _pins(netlist: Netlist, ports: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the pins of every net begin, and the cell of every pin; port bits are numbered behind the cells."""
    nets, owners, first = [ports], [np.arange(len(ports)) + netlist.cells], 0
    for group in netlist.groups:
        for on in group.pins.values():
            used = np.flatnonzero(on >= 0)
            nets.append(on[used])
            owners.append(first + used)
        first += len(group)
    net, owner = np.concatenate(nets), np.concatenate(owners)
    order = np.argsort(net, kind="stable")
    return np.searchsorted(net[order], np.arange(netlist.count + 1)), owner[order]
