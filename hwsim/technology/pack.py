"""Technology packs: compact linear models of standard cells as TOML, and the libraries that they stand for.

A plane ``constant + per_slew * slew + per_load * load`` becomes a small table of points on it: bilinear interpolation
and linear extrapolation, which every tool does, give back the plane exactly.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hwsim.base.errors import InputError
from hwsim.technology import rendering
from hwsim.technology.cells import Cell, ClockGate, ConstraintArc, EnergyArc, FlipFlop, Pin, Table, TimingArc
from hwsim.technology.expression import parse
from hwsim.technology.library import Library, WireLoad

FORMAT = 1
_DIGITS = 4
_HEADER = """\
# Linear standard-cell models, written by `python -m hwsim.tech fit`; only [about] is edited by hand.
# Units: ns, fF, fJ, nW, um2, V, C. A model is three figures: constant, per ns of slew, per fF of load.
#   timing      from, to, sense or clock edge; delay rise, delay fall, slew rise, slew fall (3 figures each)
#   constraints clock, pin, kind; rise, fall (constant, per ns of clock slew, per ns of data slew)
#   energy      from, to; rise, fall (3 each). Or: pin, condition; rise, fall (2 each), for edges of an input
# inputs: fF of each pin. outputs: function, or for a flip-flop its state IQ or the complement IQN.
# clock_gate: the output has pulses of this clock while this function was true when it rose.
"""


def load(path: str | Path) -> dict:
    """Read a pack.

    Raises
    ------
    InputError
        If the file is missing, is not TOML, or is not a pack of this format.
    """
    path = Path(path)
    try:
        pack = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read technology pack {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a technology pack: {error}") from None
    if pack.get("format") != FORMAT:
        raise InputError(f"{path}: pack format {pack.get('format')!r}, expected {FORMAT}")
    missing = [name for name in ("about", "sources", "library", "fit", "cell") if name not in pack]
    if missing:
        raise InputError(f"{path}: technology pack has no [{missing[0]}]")
    return pack


def dumps(pack: Mapping) -> str:
    """TOML text of a pack; figures to four significant digits, one line per arc."""
    lines = [_HEADER, f"format = {pack['format']}"]
    for section in ("about", "sources", "library", "fit"):
        lines += ["", f"[{section}]"]
        digits = 17 if section == "about" else _DIGITS  # what was written by hand stays as it was
        lines += [f"{_key(key)} = {_value(value, digits)}" for key, value in pack[section].items()]
    for name, cell in pack["cell"].items():
        lines += ["", f"[cell.{_key(name)}]"]
        for key, value in cell.items():
            if key in ("timing", "constraints", "energy"):
                lines += [f"{key} = [", *(f"  {_value(row)}," for row in value), "]"]
            else:
                lines.append(f"{_key(key)} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _key(text: str) -> str:
    return text if text.replace("_", "").replace("-", "").isalnum() else _value(text)


def _value(value, digits: int = _DIGITS) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(float(f"{value:.{digits}g}") + 0.0)  # adding zero turns -0.0 into 0.0
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item, digits)}" for key, item in value.items()) + " }"
    return "[" + ", ".join(_value(item, digits) for item in value) + "]"


class _Reader:
    """Makes the cells of one pack.

    Delay tables have three loads because ABC takes delay per load from the first load and the last but one.
    They begin at a usual slew because ABC maps with the slew that lies a third into the table.
    """

    def __init__(self, slew: float, load: float):
        self.slews, self.loads = np.array([slew, 4 * slew]), np.array([0.0, load, 8 * load])

    def cell(self, name: str, model: Mapping) -> Cell:
        """The cell that a model describes."""
        flip_flop, clock_gate = model.get("flip_flop"), model.get("clock_gate")
        limits = model.get("max_capacitance", {})
        pins = {pin: Pin(pin, "input", fF, None, None) for pin, fF in model.get("inputs", {}).items()}
        for pin, function in model["outputs"].items():
            has_state = flip_flop or clock_gate
            pins[pin] = Pin(pin, "output", 0.0, None if has_state else parse(function), limits.get(pin))
        return Cell(
            name=name,
            area=model["area"],
            leakage=model["leakage"],
            leakage_states=(),
            pins=pins,
            timing=tuple(self._timing(*row) for row in model.get("timing", ())),
            constraints=tuple(self._constraint(*row) for row in model.get("constraints", ())),
            energy=tuple(self._energy(*row) for row in model.get("energy", ())),
            flip_flop=_flip_flop(flip_flop, model["outputs"]) if flip_flop else None,
            clock_gate=_clock_gate(clock_gate, model["outputs"]) if clock_gate else None,
            unusable="clock gate" if clock_gate else "",
        )

    def _timing(self, related: str, pin: str, kind: str, *planes: float) -> TimingArc:
        edge = kind.endswith("_edge")
        rise, fall, slew_rise, slew_fall = (self._plane(planes[k : k + 3], self.loads) for k in (0, 3, 6, 9))
        delay, slew = {"rise": rise, "fall": fall}, {"rise": slew_rise, "fall": slew_fall}
        return TimingArc(
            related, pin, kind if edge else "combinational", "non_unate" if edge else kind, "", delay, slew
        )

    def _constraint(self, clock: str, pin: str, kind: str, *planes: float) -> ConstraintArc:
        rise, fall = (self._plane(planes[k : k + 3], self.slews) for k in (0, 3))
        return ConstraintArc(clock, pin, kind, "", {"rise": rise, "fall": fall})

    def _energy(self, first: str, second: str, *planes: float) -> EnergyArc:
        if len(planes) == 6:  # From an input to an output, which has a load.
            rise, fall = (self._plane(planes[k : k + 3], self.loads) for k in (0, 3))
            return EnergyArc(second, first, "", {"rise": rise, "fall": fall})
        rise, fall = (self._plane((*planes[k : k + 2], 0.0), np.zeros(1)) for k in (0, 2))
        return EnergyArc(first, None, second, {"rise": rise, "fall": fall})

    def _plane(self, plane: Sequence[float], second: np.ndarray) -> Table:
        """The points of a plane over the slews and a second axis."""
        constant, per_slew, per_second = plane
        return Table(self.slews, second, constant + per_slew * self.slews[:, None] + per_second * second)


def _flip_flop(stated: Mapping[str, str], outputs: Mapping[str, str]) -> FlipFlop:
    functions = {name: parse(text) for name, text in stated.items()}
    return FlipFlop(outputs=dict(outputs), **functions)


def _clock_gate(stated: Mapping[str, str], outputs: Mapping[str, str]) -> ClockGate:
    (output,) = outputs
    return ClockGate(stated["clock"], output, parse(stated["enable"]))


def library(pack: Mapping, path: str | Path) -> Library:
    """The library that a pack read from ``path`` stands for.

    Raises
    ------
    InputError
        If the pack lacks an entry or has one of the wrong kind.
    """
    try:
        return _library(pack, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not a whole technology pack: {what}") from error


def _library(pack: Mapping, path: str | Path) -> Library:
    about, stated, wire = pack["about"], pack["library"], pack["library"].get("wire_load")
    reader = _Reader(stated["input_slew_ns"], stated["output_load_fF"])
    # The pack states load against fanout: lengths are capacitances.
    lengths = tuple((float(fanout), float(load)) for fanout, load in wire["fanout_fF"]) if wire else ()
    return Library(
        name=about["name"],
        files=(str(path),),
        cells={name: reader.cell(name, model) for name, model in pack["cell"].items()},
        voltage=stated["voltage"],
        temperature=stated["temperature"],
        process=stated["process"],
        corner=stated["corner"],
        wire_load=WireLoad(wire["name"], 1.0, lengths, wire["slope_fF"]) if wire else WireLoad(),
        input_slew_ns=stated["input_slew_ns"],
        clock_slew_ns=stated["clock_slew_ns"],
        output_load_fF=stated["output_load_fF"],
        clock_period_ns=about["clock_period_ns"],
        nand2_area=stated["nand2_area"],
        time_unit_ns=stated.get("time_unit_ns", 1.0),
        capacitance_unit_fF=stated.get("capacitance_unit_fF", 1.0),
        thresholds=stated["thresholds"],
        max_transition_ns=stated.get("max_transition_ns"),
        row_height_um=about.get("row_height_um"),
        wire_fF_per_um=about.get("wire_fF_per_um"),
        area_note=about["area_note"],
        source=", ".join(pack["sources"]),
        licence=about["licence"],
        attribution=about["attribution"],
    )


def render(pack: Mapping, path: str | Path = "<pack>") -> str:
    """Liberty text of a pack, for Yosys, ABC and OpenSTA; the same text every time.

    Figures are in the units of the files that the pack was fitted to, so that constraints written for either are read
    right with both.
    """
    return rendering.render(library(pack, path))
