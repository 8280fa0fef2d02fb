"""Equivalence of modules as graphs, decided by ABC.

A module's instances of other modules are cut: what goes into them becomes outputs, what comes out of them inputs.
Equal modules with equal instances of equal modules are equal, so that a design is compared module by module. Registers
are unrolled (:func:`hwsim.aig.unrolled`): their number, place and polarity may differ.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwsim.base import yosys
from hwsim.base.errors import ToolError
from hwsim.verification.aig import Aig, unrolled

SPECS = Path(__file__).parent / "specs"
_PYOSYS = importlib.util.find_spec("pyosys")
assert _PYOSYS is not None and _PYOSYS.origin is not None
#: Found without importing the package: in one process, Yosys and matplotlib do not get along.
ABC = Path(_PYOSYS.origin).parent / "yosys-abc"
#: Words of 64 random patterns that are tried before the solver is asked.
WORDS = 64
#: What one comparison may take: conflicts, seconds.
_CONFLICTS, _SECONDS = 10_000_000, 180
#: Random faults that are tried until one is noticed.
_FAULTS = 5
#: Outcomes of a proof.
PROVEN, REFUTED, UNDECIDED = "proven", "refuted", "undecided"


@dataclass(frozen=True)
class Proof:
    """One proof.

    Attributes
    ----------
    claim : str
    outcome : str
        ``PROVEN``, ``REFUTED`` or ``UNDECIDED``.
    counterexample : str
        An input that refutes the claim; what left it undecided.
    seconds : float
    method : str
    """

    claim: str
    outcome: str
    counterexample: str
    seconds: float
    method: str = ""

    @property
    def holds(self) -> bool:
        """Whether the claim is proven."""
        return self.outcome == PROVEN

    @property
    def refuted(self) -> bool:
        """Whether the claim is known to be wrong."""
        return self.outcome == REFUTED


def modules(read: list[str], names: Iterable[str], build: Path, side: str) -> dict[str, Aig]:
    """Modules of a design as graphs, instances of each other cut.

    Parameters
    ----------
    read : list of str
        Yosys commands that read the design, its processes and memories replaced by cells.
    names : iterable of str
        The modules, top module included; all others are flattened into them.
    build : Path
        Folder for scripts, logs and graphs, called after ``side``.
    side : str
    """
    names = list(names)
    script = [
        *read,
        "simplemap",
        f"techmap -map {SPECS / 'ripple_add.v'}",
        "techmap -map +/techmap.v",
        "dfflegalize -cell $_DFF_P_ x",
        "aigmap",
        f"setattr -mod -set keep_hierarchy 1 {' '.join(names)}",
        "flatten",
        # From the top down: instances of a module that is cut already would have the cuts as ports.
        *("expose -evert " + " ".join(f"{name}/t:{part}" for part in names) for name in reversed(names)),
        "opt_clean",
        # Graphs have no clocks: there must be one, the port.
        "select -assert-none t:$_DFF_P_ i:clk %co1:+[C] %d",
    ]
    for name in names:
        script += ["setattr -mod -unset top *", f"setattr -mod -set top 1 {name}"]
        script.append(f"write_aiger -symbols {side}_{name}.aig")
    yosys.run(script, build, side)
    return {name: Aig.read(build / f"{side}_{name}.aig") for name in names}


def equal(claim: str, gold: Aig, gate: Aig, build: Path, name: str, inject: int | None = None) -> Proof:
    """Decide whether two modules have equal outputs for all inputs, a missing input being one that does not matter.

    Parameters
    ----------
    claim : str
        What is being claimed, in words.
    gold, gate : Aig
    build : Path
        Folder for graphs and log, called after ``name``.
    name : str
    inject : int, optional
        Seed of a fault that is put into ``gate``.

    Raises
    ------
    ToolError
        If their outputs have different names.
    """
    gold, gate = unrolled(gold), unrolled(gate)
    if inject is not None:
        return first_refuted(lambda seed: _decided(claim, gold, gate.with_fault(seed), build, name), inject)
    return _decided(claim, gold, gate, build, name)


def _decided(claim: str, gold: Aig, gate: Aig, build: Path, name: str) -> Proof:
    start = time.perf_counter()
    if gold.outputs.keys() != gate.outputs.keys():
        different = ", ".join(sorted(gold.outputs.keys() ^ gate.outputs.keys())[:4])
        raise ToolError(f"{claim}: the two have different outputs: {different}")
    inputs, outputs = sorted(gold.inputs.keys() | gate.inputs.keys()), sorted(gold.outputs)
    build.mkdir(parents=True, exist_ok=True)
    outcome, found = REFUTED, simulated(gold, gate)
    if not found:
        files = [build / f"{name}_{side}.aig" for side in ("gold", "gate")]
        gold.write(files[0], inputs, outputs)
        gate.write(files[1], inputs, outputs)
        outcome, found = _by_abc(files, inputs, build / f"{name}.log")
    return Proof(claim, outcome, found, time.perf_counter() - start, "ABC cec")


def first_refuted(proof: Callable[[int], Proof], seed: int) -> Proof:
    """A proof, by the seed of its fault, of the first of up to five faults that is noticed.

    Some faults change nothing that is claimed: those of logic that the claim does not speak of, or that is redundant.
    """
    for fault in range(seed, seed + _FAULTS):
        found = proof(fault)
        if found.refuted:
            break
    return found


def constant(aig: Aig, build: Path, name: str) -> list[str]:
    """The outputs of a graph without registers that are false for all inputs."""
    values = aig.simulate(patterns(aig.inputs), np.zeros(WORDS, np.uint64))
    quiet = [o for o, value in values.items() if not value.any()]
    false = Aig(outputs={"o": 0})

    def holds(output: str) -> bool:
        alone = replace(aig, outputs={"o": aig.outputs[output]})
        return equal("false", false, alone, build, name).holds

    return [output for output in quiet if holds(output)]


def patterns(inputs: Iterable[str], seed: int = 1) -> dict[str, np.ndarray]:
    """Random values of inputs, a bit a pattern."""
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 1 << 64, WORDS, np.uint64) for name in sorted(inputs)}


def simulated(gold: Aig, gate: Aig) -> str:
    """An input on which two graphs differ, or nothing if random ones do not find any."""
    values = patterns(gold.inputs.keys() | gate.inputs.keys())
    zero = np.zeros(WORDS, np.uint64)
    found = gate.simulate(values, zero)
    for name, expected in gold.simulate(values, zero).items():
        differs = np.flatnonzero(integers(expected ^ found[name]))
        if differs.size:
            return f"{name} differs at {shown(values, int(differs[0]))}"
    return ""


def integers(words: np.ndarray) -> np.ndarray:
    """Bits of patterns as integers, uint64."""
    return np.unpackbits(words.view(np.uint8), bitorder="little").astype(np.uint64)


def shown(values: Mapping[str, np.ndarray], pattern: int) -> str:
    """One of the patterns as words."""
    return _words({name: int(value[pattern // 64]) >> pattern % 64 & 1 for name, value in values.items()})


def _by_abc(files: list[Path], inputs: list[str], log: Path) -> tuple[str, str]:
    """Outcome, and an input on which the two differ."""
    command = f"cec -n -T {_SECONDS} -C {_CONFLICTS} {files[0].name} {files[1].name}"
    # ABC looks at the time between steps only.
    with log.open("w") as out, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run([ABC, "-c", command], cwd=log.parent, stdout=out, stderr=subprocess.STDOUT, timeout=2 * _SECONDS)
    text = log.read_text(errors="replace")
    if "Networks are equivalent" in text:
        return PROVEN, ""
    if "NOT EQUIVALENT" not in text:
        return UNDECIDED, f"ABC came to no answer; see {log}"
    pattern = re.search(r"^INPUT: (.*)\.  OUTPUT:", text, re.M)
    bits = re.findall(r"pi(\d+) = 1'h([01])", pattern[1]) if pattern else []
    return REFUTED, "differs at " + _words({inputs[int(index)]: int(bit) for index, bit in bits})


def _words(bits: Mapping[str, int]) -> str:
    """Bits ``NAME[INDEX]@AGE`` as hexadecimal words."""
    words: dict[str, int] = {}
    for name, bit in bits.items():
        place = re.fullmatch(r"(.*?)(?:\[(\d+)\])?(@\d+)?", name)
        assert place, "every part of the pattern may be missing"
        key = place[1] + (place[3] or "")
        words[key] = words.get(key, 0) | bit << int(place[2] or 0)
    return ", ".join(f"{name}={value:#x}" for name, value in sorted(words.items()))
