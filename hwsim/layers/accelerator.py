"""An accelerator: an array of tiles, buffers, DRAM, quantisation engine and vector lanes, as a TOML table says it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from hwsim.base.errors import InputError
from hwsim.base.text import unknown
from hwsim.layers import constants
from hwsim.layers.mapping import Buffers

_PRESETS = Path(__file__).parent / "presets"
DELIVERIES = ("broadcast", "systolic", "serial")


@dataclass(frozen=True)
class DRAM:
    """Off-chip memory: peak GB/s, the share of it that lasts, pJ of a bit and its range, static mW, bytes a burst."""

    gb_s: Fraction
    efficiency: Fraction
    pj_per_bit: float
    range_pj_per_bit: tuple[float, float]
    static_mw: float
    burst_bytes: int
    source: str

    def bits_per_cycle(self, clock_ns: Fraction) -> Fraction:
        """Bandwidth that lasts, in bits a cycle."""
        return self.gb_s * self.efficiency * 8 * clock_ns


@dataclass(frozen=True)
class SRAM:
    """On-chip memory: its process, or one energy for all sizes, leakage, and whether what is read for a step serves a
    whole row or column of tiles; if not, every multiply-add reads both of its operands."""

    process: str
    pj_per_bit: float | None
    leakage_mw: float
    reuse: bool

    def energy(self, kib: float) -> float:
        """pJ of a bit of a buffer of that many KiB."""
        return constants.sram_pj_per_bit(self.process, kib) if self.pj_per_bit is None else self.pj_per_bit

    @property
    def source(self) -> str:
        """Where the energy is from."""
        return constants.SRAM[self.process][1] if self.pj_per_bit is None else "given"


@dataclass(frozen=True)
class Quantiser:
    """Engine that quantises activations: elements a cycle, cycles, passes over a block, whether it works on D as it
    leaves, whether a tensor scale needs a pass of its own, and pJ of an element."""

    lanes: int
    latency: int
    passes: int
    fused: bool
    tensor_scale: str
    pj_per_element: float


@dataclass(frozen=True)
class Abstract:
    """A tile that is not one of ours: outputs, K, cycles, pJ of an instruction and of an idle cycle, area, and bits of
    an element where operands have no scales."""

    m: int
    n: int
    k: int
    latency: int
    chain_interval: int
    pj: float
    idle_pj: float
    area_um2: float
    bits: tuple[int, int, int] | None


@dataclass(frozen=True)
class Accelerator:
    """What the layer simulator builds on; keys as in the TOML table, which README explains."""

    name: str
    tiles: tuple[int, int]
    unit: str
    settings: Mapping[str, Any]
    technology: str
    clock_ns: Fraction | None
    interleave: tuple[int, int] | None
    buffers: Buffers
    port_bits: tuple[int | None, int | None, int | None]
    dram: DRAM
    sram: SRAM
    quantiser: Quantiser | None
    vector_lanes: int | None
    delivery: str
    abstract: Abstract | None
    given: frozenset[str] = field(default_factory=frozenset)

    def with_tiles(self, tiles: tuple[int, int]) -> Accelerator:
        """The same with another array."""
        return replace(self, tiles=tiles)


class _Table:
    """A TOML table that is read key by key; what is left over is an error."""

    def __init__(self, values: Any, where: str):
        if not isinstance(values, dict):
            raise InputError(f"{where}: expected a table, got {values!r}")
        self.values, self.where, self.read = values, where, set[str]()

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return self.values.get(key, default)

    def table(self, key: str) -> _Table | None:
        value = self.get(key)
        return None if value is None else _Table(value, f"{self.where}: {key}")

    def number(self, key: str, default: float | None = None, least: float = 0, above: bool = False) -> float:
        value = self.get(key, default)
        if value is None:
            raise InputError(f"{self.where}: {key} is missing")
        wrong = isinstance(value, bool) or not isinstance(value, int | float) or value != value
        if wrong or not least <= value < float("inf") or (above and value == least):
            what = f"above {least:g}" if above else f"of at least {least:g}"
            raise InputError(f"{self.where}: {key} must be a number {what}, got {value!r}")
        return value

    def fraction(self, key: str, default: float | None = None) -> Fraction:
        # As written in decimal, so that cycles are whole numbers made from exact ones.
        return Fraction(str(self.number(key, default, above=True)))

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        value = self.get(key, default)
        if value is None:
            raise InputError(f"{self.where}: {key} is missing")
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{self.where}: {key} must be a whole number of at least {least}, got {value!r}")
        return value

    def pair(self, key: str, default: Sequence[int]) -> tuple[int, int]:
        value = self.get(key, list(default))
        good = isinstance(value, list) and len(value) == 2
        if not good or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in value):
            raise InputError(f"{self.where}: {key} must be two positive whole numbers, got {value!r}")
        return value[0], value[1]

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise InputError(f"{self.where}: {key} must be true or false, got {value!r}")
        return value

    def word(self, key: str, default: str, known: Sequence[str] | None = None) -> str:
        value = self.get(key, default)
        if not isinstance(value, str) or (known is not None and value not in known):
            what = "a string" if known is None else f"one of {', '.join(known)}"
            raise InputError(f"{self.where}: {key} must be {what}, got {value!r}")
        return value

    def done(self) -> None:
        for key in self.values:
            if key not in self.read:
                raise InputError(f"{self.where}: {unknown('key', key, sorted(self.read))}")


def presets() -> list[str]:
    """Names of the accelerators that the package knows."""
    return sorted(path.stem for path in _PRESETS.glob("*.toml"))


def load(name: str | Path) -> Accelerator:
    """An accelerator, by the name of a preset or the path of a TOML file.

    Raises
    ------
    InputError
        For an unknown name, an unreadable file, or a key that is wrong: what and where.
    """
    path = Path(name)
    if str(name) in presets():
        path = _PRESETS / f"{name}.toml"
    elif path.suffix != ".toml" and not path.exists():
        raise InputError(unknown("accelerator", str(name), presets()))
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--accelerator: {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    return from_table(values, str(path), path.stem)


def from_table(values: Mapping[str, Any], where: str, name: str) -> Accelerator:
    """An accelerator from a TOML table.

    Parameters
    ----------
    values : mapping
    where : str
        What errors say of where the table is.
    name : str
        Used unless the table has a ``name``.

    Raises
    ------
    InputError
        For a key that is unknown, missing, or has a value that makes no sense.
    """
    top = _Table(dict(values), where)
    unit = top.word("unit", "auto")
    abstract = _abstract(top, unit)
    interleave = None if top.get("interleave", "auto") == "auto" else top.pair("interleave", (1, 1))
    ports = top.table("port_bits")
    port_bits: tuple[int | None, int | None, int | None] = (None, None, None)
    if ports:
        port_bits = tuple(ports.whole(key) if ports.get(key) is not None else None for key in ("a", "b", "out"))  # type: ignore[assignment]
        ports.done()
    settings = top.get("settings", {})
    if not isinstance(settings, dict):
        raise InputError(f"{where}: settings must be a table of the unit's parameters, got {settings!r}")
    accelerator = Accelerator(
        name=top.word("name", name),
        tiles=top.pair("tiles", (8, 8)),
        unit=unit,
        settings=settings,
        technology=top.word("technology", "asap7"),
        clock_ns=top.fraction("clock_ns") if top.get("clock_ns") is not None else None,
        interleave=interleave,
        buffers=_buffers(top),
        port_bits=port_bits,
        dram=_dram(top),
        sram=_sram(top),
        quantiser=_quantiser(top),
        vector_lanes=_vector(top),
        delivery=top.word("delivery", "broadcast", DELIVERIES),
        abstract=abstract,
        given=frozenset(values),
    )
    top.done()
    if abstract and accelerator.clock_ns is None:
        raise InputError(f"{where}: clock_ns is missing: an abstract tile has no technology that would give one")
    return accelerator


def _abstract(top: _Table, unit: str) -> Abstract | None:
    table = top.table("tile")
    if (unit == "abstract") != (table is not None):
        raise InputError(f"{top.where}: unit = \"abstract\" and a table tile (m, n, k, latency, chain_interval, pj, "
                         "idle_pj) go together")  # fmt: skip
    if table is None:
        return None
    bits = table.table("bits")
    found = Abstract(
        table.whole("m"), table.whole("n"), table.whole("k"), table.whole("latency", least=0),
        table.whole("chain_interval"), table.number("pj", 0.0), table.number("idle_pj", 0.0),
        table.number("area_um2", 0.0),
        (bits.whole("a"), bits.whole("b"), bits.whole("d", 16)) if bits else None,
    )  # fmt: skip
    for t in (table, bits):
        if t:
            t.done()
    return found


def _buffers(top: _Table) -> Buffers:
    value = top.get("buffer_kib", {"a": 512, "b": 1024, "out": 256})
    if not isinstance(value, dict):
        return Buffers(top.number("buffer_kib", above=True))
    table = _Table(value, f"{top.where}: buffer_kib")
    found = Buffers(*(table.number(key, above=True) for key in ("a", "b", "out")))
    table.done()
    return found


def _dram(top: _Table) -> DRAM:
    table = top.table("dram") or _Table({}, f"{top.where}: dram")
    kind = table.word("kind", "hbm", list(constants.DRAM))
    memory = constants.DRAM[kind]
    given = table.get("pj_per_bit") is not None
    pj = table.number("pj_per_bit", memory.pj_per_bit)
    efficiency = table.fraction("efficiency", 0.85)
    if efficiency > 1:
        raise InputError(f"{table.where}: efficiency must be at most 1, got {float(efficiency):g}")
    found = DRAM(
        table.fraction("gb_s", 819), efficiency, pj, (pj, pj) if given else (memory.low, memory.high),
        table.number("static_mw", 0.0), table.whole("burst_bytes", 1), "given" if given else memory.source,
    )  # fmt: skip
    table.done()
    return found


def _sram(top: _Table) -> SRAM:
    table = top.table("sram") or _Table({}, f"{top.where}: sram")
    given = table.get("pj_per_bit")
    found = SRAM(
        table.word("process", "7nm", list(constants.SRAM)),
        None if given is None else table.number("pj_per_bit"),
        table.number("leakage_mw", 0.0),
        table.flag("reuse", True),
    )
    table.done()
    return found


def _quantiser(top: _Table) -> Quantiser | None:
    table = top.table("quantiser")
    if table is None:
        return None
    found = Quantiser(
        table.whole("lanes"), table.whole("latency", 3, least=0), table.whole("passes", 1), table.flag("fused", False),
        table.word("tensor_scale", "static", ("static", "two_pass")), table.number("pj_per_element", 1.0),
    )  # fmt: skip
    table.done()
    return found


def _vector(top: _Table) -> int | None:
    table = top.table("vector")
    if table is None:
        return None
    lanes = table.whole("lanes")
    table.done()
    return lanes
