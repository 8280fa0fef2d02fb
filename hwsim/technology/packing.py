"""Make a technology pack from Liberty files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from hwsim.technology import fit, liberty, pack, selection
from hwsim.technology.library import CLOCK_PERIOD_IN_FO4, Library

# Wire length per sink in gate pitches; a pitch is the square root of the area that a NAND2 takes at 70 % utilisation.
# Steiner lengths of dot units that Coloquinte placed (`--wire-load placed`) are 3.1 to 3.5 pitches a sink on ASAP7,
# SkyWater 130 nm and IHP SG13G2 where cells are packed densely, and 1.45 to 1.58 times that where they are spread
# evenly at 70 %. Wire-load models in Liberty files say from a fifth of the dense lengths (SkyWater) to about as much
# (IHP SG13G2).
_WIRE_PITCHES_PER_SINK = 4.7
_UTILISATION = 0.7


def fit_pack(paths: Sequence[str | Path], about: dict, patterns: Sequence[str] = ()) -> tuple[dict, fit.Fit, dict]:
    """Fit a pack from Liberty files.

    Parameters
    ----------
    paths : sequence of path
        Liberty files that form one library together.
    about : dict
        The hand-written table ``[about]`` of the pack; entries that it lacks are filled from the library.
    patterns : sequence of str
        Regular expressions of the cells to take, instead of those that `hwsim.technology.selection.select` chooses
        by its rule.

    Returns
    -------
    pack : dict
        In the form that `hwsim.technology.pack.dumps` writes.
    fit : Fit
        Holds the errors of the models.
    left_out : dict of str to str
        Name of every cell that the pack does not hold, and the reason.
    """
    sources = sorted(map(Path, paths), key=lambda path: path.name)
    groups = [liberty.read(path) for path in sources]
    library = Library.from_groups(groups, [path.name for path in sources])
    cells, left_out = selection.select(library, patterns)
    fitted = fit.Fit(library)
    models = {cell.name: fitted.cell(cell) for cell in cells}
    defaults = {
        "name": library.name,
        "node": "not stated",
        "licence": "see the source files",
        "attribution": "see the source files",
        "area_note": library.area_note,
        "clock_period_ns": library.clock_period_ns,
        "clock_period_source": f"{CLOCK_PERIOD_IN_FO4} fanout-of-4 inverter delays, to one digit",
    }
    about = {**defaults, **about}
    errors = {
        quantity: [float(round(100 * error, 1)) for error in relative] for quantity, relative, _ in fitted.errors.rows()
    }
    content = {
        "format": pack.FORMAT,
        "about": about,
        "sources": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources},
        "library": _library_table(library, about),
        "fit": {
            "cells": len(cells),
            "region": fit.REGION_TEXT,
            "error_percent_mean_p95_max": errors,
        },
        "cell": models,
    }
    return content, fitted, dict(left_out)


def _library_table(library: Library, about: dict) -> dict:
    """The ``[library]`` table of a pack: corner, thresholds and defaults with their sources."""
    table: dict = {
        "corner": library.corner,
        "process": library.process,
        "voltage": library.voltage,
        "temperature": library.temperature,
        "thresholds": dict(library.thresholds),
    }
    if library.max_transition_ns is not None:
        table["max_transition_ns"] = library.max_transition_ns
    table |= {
        "input_slew_ns": library.input_slew_ns,
        "clock_slew_ns": library.clock_slew_ns,
        "slew_source": "output slew of the smallest inverter in a chain where each drives four like it",
        "output_load_fF": library.output_load_fF,
        "output_load_source": "four times the data pin of the smallest flip-flop",
        "time_unit_ns": library.time_unit_ns,
        "capacitance_unit_fF": library.capacitance_unit_fF,
        "nand2_area": library.nand2_area,
    }
    wire, per_um = library.wire_load, about.get("wire_fF_per_um")
    if per_um is not None:
        per_sink = _WIRE_PITCHES_PER_SINK * (library.nand2_area / _UTILISATION) ** 0.5 * per_um
        table["wire_load"] = {
            "name": "estimate",
            "source": f"{_WIRE_PITCHES_PER_SINK:g} * sqrt(nand2_area / {_UTILISATION:g}) um per sink, of placements",
            "fanout_fF": [[1, per_sink]],
            "slope_fF": per_sink,
        }
    elif wire.lengths:
        table["wire_load"] = {
            "name": wire.name,
            "source": "default_wire_load of the Liberty file",
            "fanout_fF": [[int(fanout), wire.capacitance(int(fanout))] for fanout, _ in wire.lengths],
            "slope_fF": wire.slope * wire.capacitance_per_length,
        }
    return table
