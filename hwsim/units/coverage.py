"""Coverage of a unit by a stream of inputs: bins, and how often the stream hit each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from hwsim.units.mma import MMAUnit, source_of_chain
from hwsim.units.ports import Parameters, Ports

#: Beginnings of the names of bins that are many: of MMA units two, of quantisation engines two.
FAMILIES = ("alignment", "leading zeros", "scale", "code")


def coverage(unit: MMAUnit, parameters: Parameters, ports: Ports) -> Counter[str]:
    """Hits of every bin: :func:`bins` of the results that come out, and events of the stream (bubbles, chains, resets,
    NaN scales).

    Parameters
    ----------
    unit : MMAUnit
    parameters : mapping
    ports : dict of arrays [cycles, fields]
        Inputs of the unit, cycle by cycle.
    """
    expected = unit.golden(ports, parameters)
    valid, out = ports["valid"][:, 0].astype(bool), expected["out_valid"][:, 0].astype(bool)
    chained = ports["accumulate"][:, 0].astype(bool) & valid
    source = source_of_chain(out, unit.builder(**parameters).chain_interval, ports.get("accumulator"))
    start = np.where(chained[:, None], expected["d"][source], ports["c"])[out].astype(np.uint32)
    terms = unit.step({k: v[out] for k, v in ports.items()}, parameters, np.zeros_like(start))
    counted = bins(start, expected["d"][out], terms)
    counted["bubble"] = int((~valid).sum())
    counted["back to back"] = int((valid[1:] & valid[:-1]).sum())
    counted["chained"] = int((chained & out).sum())
    counted["chained on a chained one"] = int((chained & out & chained[source]).sum())
    if "rst" in ports:
        counted["reset"] = int(ports["rst"].sum())
        counted["cleared in flight"] = int((valid & ~out).sum())
    scale = unit.scale(parameters)
    if scale is not None:
        for side in "ab":
            bits = ports[f"{side}_scales"] & np.uint8((1 << scale.width) - 1)
            counted[f"{side} scale NaN"] = int((bits == scale.nan_code).any(axis=1).sum())
    return counted


def bins(c: np.ndarray, d: np.ndarray, terms: np.ndarray) -> Counter[str]:
    """How often the results of instructions hit every bin.

    Bins are the classes of C and D, the distance of C's exponent to that of the terms' sum (``alignment``), the
    places that D's leading one lost by cancellation (``leading zeros``), and ``D overflow``: D is infinite though C and
    the terms' sum are finite.

    Parameters
    ----------
    c, d, terms : uint32 [vectors, results]
        FP32 bits of C, of the result, and of the result with C = 0.
    """
    counted: Counter[str] = Counter()
    for name, bits in (("C", c), ("D", d)):
        field, fraction = bits >> 23 & 0xFF, bits & 0x7FFFFF
        classes = {
            "zero": (field == 0) & (fraction == 0), "subnormal": (field == 0) & (fraction != 0),
            "normal": (field > 0) & (field < 255), "infinite": (field == 255) & (fraction == 0),
            "NaN": (field == 255) & (fraction != 0),
        }  # fmt: skip
        counted.update({f"{name} {kind}": int(hit.sum()) for kind, hit in classes.items()})
    c_field, d_field, t_field = ((x >> 23 & 0xFF).astype(np.int64) for x in (c, d, terms))
    overflow = (d_field == 255) & (d << 9 == 0) & (c_field < 255) & (t_field < 255)
    counted["D overflow"] = int(overflow.sum())
    both = (c_field > 0) & (c_field < 255) & (t_field > 0) & (t_field < 255)
    distance = np.clip(c_field - t_field, -45, 45)[both]
    counted.update({f"alignment {k:+d}": int(n) for k, n in zip(*np.unique(distance, return_counts=True), strict=True)})
    cancelled = both & (d_field < 255) & (d != 0)
    zeros = np.clip(np.maximum(c_field, t_field) - d_field, -2, 40)[cancelled]
    counted.update({f"leading zeros {k}": int(n) for k, n in zip(*np.unique(zeros, return_counts=True), strict=True)})
    return counted


def family(counted: Mapping[str, int], name: str) -> dict[str, int]:
    """The bins of a family that were hit, and how often."""
    return {k: v for k, v in counted.items() if k.startswith(name) and v}


def summary(counted: Counter[str]) -> str:
    """Coverage as a few lines of text."""
    lines = []
    for name in FAMILIES:
        if hit := family(counted, name):
            lines.append(f"  {name}: {len(hit)} bins hit, the rarest {min(hit.values())} times")
    lines.append("  " + ", ".join(f"{k} {v}" for k, v in counted.items() if not k.startswith(FAMILIES)))
    return "\n".join(lines)
