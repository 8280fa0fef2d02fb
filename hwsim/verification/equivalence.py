"""Equivalence of modules, compared as and-inverter graphs by ABC.

Instances of other modules are cut out of a module: their inputs become outputs of the module, their outputs inputs. Two
designs are equal if their modules are, pair by pair, so that a design is compared module by module. Registers are
unrolled (:func:`hwsim.verification.aig.unrolled`), those with enables after a look at their order
(:mod:`hwsim.verification.enables`): their number, place and polarity may differ.
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

from hwsim.base import children, yosys
from hwsim.base.errors import ToolError
from hwsim.verification.aig import Aig, unrolled
from hwsim.verification.enables import always_loaded

SPECS = Path(__file__).parent / "specs"
_PYOSYS = importlib.util.find_spec("pyosys")
assert _PYOSYS is not None and _PYOSYS.origin is not None
#: ABC as pyosys brings it. The package is not imported: Yosys and matplotlib do not work in one process.
ABC = Path(_PYOSYS.origin).parent / "yosys-abc"
#: Words of 64 random patterns that are simulated before the solver is asked.
WORDS = 64
#: Most input bits of modules that are compared by simulating all inputs, and how many are simulated at a time.
FEW, _PATTERNS = 24, 1 << 16
#: Limits of one call of the solver: conflicts, seconds.
_CONFLICTS, _SECONDS = 10_000_000, 180
#: Largest number of random faults that are tried until one refutes a claim.
_FAULTS = 5
#: Outcomes of a proof.
PROVEN, REFUTED, UNDECIDED = "proven", "refuted", "undecided"


@dataclass(frozen=True)
class Proof:
    """Outcome of one proof.

    Attributes
    ----------
    claim : str
        The claim in words.
    outcome : str
        ``PROVEN``, ``REFUTED`` or ``UNDECIDED``.
    counterexample : str
        The input that refutes the claim, or why it is undecided; empty if it is proven.
    seconds : float
        Wall-clock time.
    method : str
        The tool that decided.
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
    """Graphs of a design's modules by name, instances of each other cut out.

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
        # From the top down: a cut adds ports to its module, which the module's own instances must not have when they
        # are cut out in turn.
        *("expose -evert " + " ".join(f"{name}/t:{part}" for part in names) for name in reversed(names)),
        "opt_clean",
        # AIGER registers have no clock pin: every flip-flop must be clocked by the one port clk.
        "select -assert-none t:$_DFF_P_ i:clk %co1:+[C] %d",
    ]
    for name in names:
        script += ["setattr -mod -unset top *", f"setattr -mod -set top 1 {name}"]
        script.append(f"write_aiger -symbols {side}_{name}.aig")
    yosys.run(script, build, side)

    def same(gold: Aig, gate: Aig) -> bool:
        return equal("held", gold, gate, build, f"{side}_held").holds

    return {name: always_loaded(Aig.read(build / f"{side}_{name}.aig"), same) for name in names}


def equal(claim: str, gold: Aig, gate: Aig, build: Path, name: str, inject: int | None = None) -> Proof:
    """Decide whether two modules have equal outputs for all inputs.

    The modules may have different inputs: one that lacks an input does not depend on it.

    Parameters
    ----------
    claim : str
        What is being claimed, in words.
    gold, gate : Aig
    build : Path
        Folder for graphs and log, called after ``name``.
    name : str
    inject : int, optional
        Seed of a fault that is put into ``gate``: decides the proof's twin.

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
    outcome, counterexample = REFUTED, simulated(gold, gate)
    if not counterexample and len(inputs) <= FEW:
        counterexample = _simulated_all(gold, gate)
        outcome = REFUTED if counterexample else PROVEN
        return Proof(claim, outcome, counterexample, time.perf_counter() - start, f"all 2^{len(inputs)} inputs")
    if not counterexample:
        files = [build / f"{name}_{side}.aig" for side in ("gold", "gate")]
        gold.write(files[0], inputs, outputs)
        gate.write(files[1], inputs, outputs)
        outcome, counterexample = _by_abc(files, inputs, build / f"{name}.log")
    return Proof(claim, outcome, counterexample, time.perf_counter() - start, "ABC cec")


def first_refuted(proof: Callable[[int], Proof], seed: int) -> Proof:
    """The twin of a proof: decided for one fault after another, up to five, until one refutes the claim.

    A fault in redundant logic, or in logic that the claim leaves open, changes nothing that is claimed.

    Parameters
    ----------
    proof : callable (seed) -> Proof
        Decides the claim of hardware with the random fault of that seed.
    seed : int
        Seed of the first fault.
    """
    for fault in range(seed, seed + _FAULTS):
        twin = proof(fault)
        if twin.refuted:
            break
    return twin


def constant(aig: Aig, build: Path, name: str) -> list[str]:
    """Names of the outputs of a graph without registers that are false for all inputs."""
    values = aig.simulate(patterns(aig.inputs), np.zeros(WORDS, np.uint64))
    candidates = [o for o, value in values.items() if not value.any()]
    false = Aig(outputs={"o": 0})

    def holds(output: str) -> bool:
        alone = replace(aig, outputs={"o": aig.outputs[output]})
        return equal("false", false, alone, build, name).holds

    return [output for output in candidates if holds(output)]


def patterns(inputs: Iterable[str], seed: int = 1) -> dict[str, np.ndarray]:
    """Random patterns by input: uint64 [WORDS], 64 patterns a word."""
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 1 << 64, WORDS, np.uint64) for name in sorted(inputs)}


def simulated(gold: Aig, gate: Aig) -> str:
    """A counterexample to the equality of two graphs, in words; empty if random simulation finds none."""
    return _difference(gold, gate, patterns(gold.inputs.keys() | gate.inputs.keys()))


def _simulated_all(gold: Aig, gate: Aig) -> str:
    """A counterexample to the equality of two graphs, in words; empty if there is none among all inputs."""
    inputs = sorted(gold.inputs.keys() | gate.inputs.keys())
    for start in range(0, 1 << len(inputs), _PATTERNS):
        numbers = np.arange(start, start + _PATTERNS, dtype=np.uint32)
        bits = ((numbers >> np.uint32(i) & np.uint32(1)).astype(np.uint8) for i in range(len(inputs)))
        values = {n: np.packbits(b, bitorder="little").view(np.uint64) for n, b in zip(inputs, bits, strict=True)}
        if counterexample := _difference(gold, gate, values):
            return counterexample
    return ""


def _difference(gold: Aig, gate: Aig, values: dict[str, np.ndarray]) -> str:
    """The first output that differs between two graphs for given inputs, and the input, in words; or empty."""
    zero = np.zeros_like(next(iter(values.values()))) if values else np.zeros(WORDS, np.uint64)
    actual = gate.simulate(values, zero)
    for name, expected in gold.simulate(values, zero).items():
        differs = np.flatnonzero(integers(expected ^ actual[name]))
        if differs.size:
            return f"{name} differs at {shown(values, int(differs[0]))}"
    return ""


def integers(words: np.ndarray) -> np.ndarray:
    """The bits of uint64 words as numbers 0 and 1, uint64 [64 words], one for every pattern."""
    return np.unpackbits(words.view(np.uint8), bitorder="little").astype(np.uint64)


def shown(values: Mapping[str, np.ndarray], pattern: int) -> str:
    """One pattern of the inputs as text, ``NAME=VALUE`` in hexadecimal."""
    return _words({name: int(value[pattern // 64]) >> pattern % 64 & 1 for name, value in values.items()})


def _by_abc(files: list[Path], inputs: list[str], log: Path) -> tuple[str, str]:
    """Compare two AIGER files by ``cec``: outcome, and the counterexample or why there is no answer."""
    command = f"cec -n -T {_SECONDS} -C {_CONFLICTS} {files[0].name} {files[1].name}"
    # ABC checks its own limit (-T) only between steps; without the timeout a long step would run on.
    with log.open("w") as out, contextlib.suppress(subprocess.TimeoutExpired):
        call = [ABC, "-c", command]
        children.run(call, cwd=log.parent, stdout=out, stderr=subprocess.STDOUT, timeout=2 * _SECONDS)
    text = log.read_text(errors="replace")
    if "Networks are equivalent" in text:
        return PROVEN, ""
    if "NOT EQUIVALENT" not in text:
        return UNDECIDED, f"ABC came to no answer; see {log}"
    pattern = re.search(r"^INPUT: (.*)\.  OUTPUT:", text, re.M)
    bits = re.findall(r"pi(\d+) = 1'h([01])", pattern[1]) if pattern else []
    return REFUTED, "differs at " + _words({inputs[int(index)]: int(bit) for index, bit in bits})


def _words(bits: Mapping[str, int]) -> str:
    """Bits called ``NAME[INDEX]@AGE`` as text, joined to hexadecimal words ``NAME@AGE=VALUE``."""
    words: dict[str, int] = {}
    for name, bit in bits.items():
        place = re.fullmatch(r"(.*?)(?:\[(\d+)\])?(@\d+)?", name)
        assert place, "every part of the pattern may be missing"
        key = place[1] + (place[3] or "")
        words[key] = words.get(key, 0) | bit << int(place[2] or 0)
    return ", ".join(f"{name}={value:#x}" for name, value in sorted(words.items()))
