"""Run Coloquinte on a problem that :mod:`hwsim.analysis.placement` wrote: ``python -m hwsim.analysis.placer FOLDER``.

A process of its own, because Coloquinte writes to standard output and cannot be interrupted from Python.
"""

import sys
from pathlib import Path

import coloquinte  # type: ignore[import-untyped]
import numpy as np


def main(folder: Path) -> None:
    """Read ``problem.npz``, place, and write ``solution.npz``: lower left corners of the cells."""
    with np.load(folder / "problem.npz") as stored:
        problem = dict(stored)
    widths, height = problem["widths"], int(problem["height"])
    port_x, port_y = problem["port_x"], problem["port_y"]
    cells, ports = len(widths), len(port_x)
    circuit = coloquinte.Circuit(cells + ports)
    circuit.cell_width = [*widths.tolist(), *[0] * ports]
    circuit.cell_height = [height] * cells + [0] * ports
    circuit.cell_is_fixed = [False] * cells + [True] * ports
    circuit.cell_is_obstruction = [True] * cells + [False] * ports
    circuit.cell_x, circuit.cell_y = [0] * cells + port_x.tolist(), [0] * cells + port_y.tolist()
    circuit.cell_row_polarity = [coloquinte.CellRowPolarity.SAME] * (cells + ports)
    width, rows = problem["core"].tolist()
    circuit.rows = [
        coloquinte.Row(coloquinte.Rectangle(0, width, i * height, (i + 1) * height), coloquinte.CellOrientation.N)
        for i in range(rows)
    ]
    # Pins are in the middle of their cells.
    middle_x = [*(widths // 2).tolist(), *[0] * ports]
    middle_y = [height // 2] * cells + [0] * ports
    for owners in np.split(problem["owners"], problem["starts"][1:-1]):
        on = owners.tolist()
        circuit.add_net(on, [middle_x[i] for i in on], [middle_y[i] for i in on])
    parameters = coloquinte.ColoquinteParameters(int(problem["effort"]), int(problem["seed"]))
    circuit.place_global(parameters)
    circuit.legalize(parameters)
    circuit.place_detailed(parameters)
    np.savez(folder / "solution.npz", x=circuit.cell_x[:cells], y=circuit.cell_y[:cells])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
