"""Cycles, traffic and energy of GEMMs on an accelerator, each at its own best mapping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from hwsim.base.errors import InputError
from hwsim.layers import constants, mapping, schedule, storage, tiles
from hwsim.layers.accelerator import Accelerator
from hwsim.layers.mapping import Mapped, candidates
from hwsim.layers.schedule import D_WIDTH, Array, Blocks, Mapping, Problem, Times
from hwsim.layers.storage import Format
from hwsim.layers.tiles import Tile
from hwsim.layers.workload import GEMM
from hwsim.units.table import UNITS

_ACCUMULATOR_WIDTH = 32
#: Parts of the energy, in the order of tables.
COMPONENTS = (
    "tile", "idle", "quantiser", "correction", "sram_a", "sram_b", "sram_out", "dram", "leakage", "sram_leakage",
    "dram_static",
)  # fmt: skip
SRAM = ("sram_a", "sram_b", "sram_out")


@dataclass(frozen=True)
class Device:
    """An accelerator with the tile that a format needs.

    Parameters
    ----------
    accelerator : Accelerator
    format : Format
    tile : Tile
    """

    accelerator: Accelerator
    format: Format
    tile: Tile

    @cached_property
    def clock_ns(self) -> Fraction:
        """Clock period: the given one, or that of the tile's technology.

        Raises
        ------
        InputError
            If the tile's timing was not looked at for a period as short.
        """
        slowest = self.tile.clock_period_ns
        clock = self.accelerator.clock_ns
        if clock is None:
            assert slowest is not None, "an abstract tile comes with a clock"
            return Fraction(str(slowest))
        if slowest is not None and clock < Fraction(str(slowest)):
            raise InputError(f"clock_ns = {float(clock):g}: {self.tile.name} is only known to meet {slowest:g} ns")
        return clock

    @cached_property
    def array(self) -> Array:
        """The array as the schedule sees it."""
        a, t = self.accelerator, self.tile
        return Array(a.tiles, t.m, t.n, t.latency, t.chain_interval, a.port_bits[:2], a.delivery)

    @property
    def count(self) -> int:
        """Tiles."""
        return self.accelerator.tiles[0] * self.accelerator.tiles[1]

    @property
    def area_um2(self) -> float:
        """Area of all tiles."""
        return self.count * self.tile.area_um2

    @cached_property
    def bandwidth(self) -> Fraction:
        """Bits of DRAM traffic a cycle."""
        return self.accelerator.dram.bits_per_cycle(self.clock_ns)

    @property
    def correction_cycles(self) -> int:
        """Cycles in which a tile's vector lanes correct its outputs for each macro-block; 0 where lanes suffice."""
        if not self.format.factors or self.accelerator.vector_lanes is None:
            return 0
        return -(-self.tile.m * self.tile.n * self.format.factors // self.accelerator.vector_lanes)

    def problem(self, gemm: GEMM) -> Problem:
        """A GEMM as the schedule sees it.

        Raises
        ------
        InputError
            If vector lanes correct MBS, whose macro-blocks are no whole number of the tile's instructions.
        """
        d_bits = Fraction(D_WIDTH)
        abstract = self.accelerator.abstract
        if abstract and abstract.bits:
            d_bits = Fraction(abstract.bits[2])
        elif self._fuses(gemm):
            d_bits = self.format.a.per_element(0) if len(self.format.shares) == 1 else self.format.bits("a", gemm.k)
        if self.correction_cycles and self.format.multiple % self.tile.steps[0]:
            raise InputError(f"{self.format.name}: macro-blocks of {self.format.multiple} are no whole number of "
                             f"instructions of K = {self.tile.steps[0]}")  # fmt: skip
        return Problem(
            gemm.m, gemm.n, gemm.k, self.format.segments(gemm.k, self.tile.steps), self.format, d_bits,
            self.correction_cycles,
        )  # fmt: skip

    def _fuses(self, gemm: GEMM) -> bool:
        """Whether an engine quantises D on its way out."""
        q, recipe = self.accelerator.quantiser, self.format.recipe
        return q is not None and q.fused and recipe is not None and gemm.feeds and not self._needs_all_of_d

    @property
    def _needs_all_of_d(self) -> bool:
        """Whether D must be complete before its first element is quantised, for a tensor scale of its own."""
        q, recipe = self.accelerator.quantiser, self.format.recipe
        return bool(q and recipe and recipe.needs_tensor_maximum and q.tensor_scale == "two_pass")

    def drain(self, gemm: GEMM) -> Fraction:
        """Cycles for an output that an engine quantises on its way out."""
        q = self.accelerator.quantiser
        return Fraction(q.passes, q.lanes) if q and self._fuses(gemm) else Fraction(0)

    def quantiser_work(self, gemm: GEMM) -> tuple[int, int]:
        """Cycles and bits of DRAM traffic of quantising A apart from the GEMM: BF16 in, codes and scales out."""
        q = self.accelerator.quantiser
        if q is None or self.format.recipe is None or not gemm.quantised:
            return 0, 0
        if q.fused and not self._needs_all_of_d:
            # The GEMM that made A has quantised it on its way out.
            return 0, 0
        cycles = -(-gemm.quantised // q.lanes) * q.passes + q.latency
        bits = gemm.quantised * D_WIDTH + self.format.row("a", gemm.k).total * -(-gemm.quantised // gemm.k)
        return max(cycles, _cycles(bits, self.bandwidth)), bits

    def tile_energy(self, gemm: GEMM, problem: Problem, total: int) -> tuple[float, float]:
        """pJ of instructions, and of cycles of tiles without one."""
        t = self.tile
        rows, columns = -(-gemm.m // t.m), -(-gemm.n // t.n)
        in_use = gemm.m / t.m
        spent = 0.0
        for segment in problem.segments:
            whole, zero = t.energy_pj[segment.index], t.energy_zero_pj[segment.index]
            spent += segment.steps * columns * (rows * zero + in_use * (whole - zero))
        idle = self.count * total - rows * columns * problem.steps
        return spent, idle * t.idle_pj

    def reads(self, problem: Problem, work: Blocks) -> tuple[int, int]:
        """Bits read from the operand buffers."""
        if self.accelerator.sram.reuse:
            return work.sram_a, work.sram_b
        outputs = problem.m * problem.n
        return (
            int(outputs * sum(s.k * s.a_bits for s in problem.segments)),
            int(outputs * sum(s.k * s.b_bits for s in problem.segments)),
        )

    def energy(self, gemm: GEMM, problem: Problem, work: Blocks, total: int, quantiser_bits: int) -> dict[str, float]:
        """pJ of every component."""
        a = self.accelerator
        spent, idle = self.tile_energy(gemm, problem, total)
        reads_a, reads_b = self.reads(problem, work)
        buffers = a.buffers
        out = gemm.m * gemm.n * (_ACCUMULATOR_WIDTH + D_WIDTH)
        bits = int(work.loads.sum() + work.stores.sum()) + quantiser_bits
        ns = total * float(self.clock_ns)
        q = a.quantiser
        corrected = gemm.m * gemm.n * -(-gemm.k // self.format.multiple) if self.format.factors else 0
        # The product of two factors, then a multiply-add.
        operations = (
            self.format.factors * constants.FP32_MULTIPLY_PJ + constants.FP32_ADD_PJ if self.format.factors else 0.0
        )
        return {
            "tile": spent,
            "idle": idle,
            "quantiser": gemm.quantised * q.pj_per_element if q and self.format.recipe else 0.0,
            "correction": corrected * operations,
            "sram_a": (reads_a + int(work.loads_a.sum())) * a.sram.energy(buffers.a),
            "sram_b": (reads_b + int(work.loads_b.sum())) * a.sram.energy(buffers.b or buffers.a),
            "sram_out": out * a.sram.energy(buffers.out or buffers.a),
            "dram": bits * a.dram.pj_per_bit,
            "leakage": ns * self.count * self.tile.leakage_mw,
            "sram_leakage": ns * a.sram.leakage_mw,
            "dram_static": ns * a.dram.static_mw,
        }

    def energy_range(self, energy: dict[str, float]) -> tuple[float, float]:
        """pJ in all with the least and the largest constants of memories that sources give."""
        low, high = self.accelerator.dram.range_pj_per_bit
        rest = sum(e for name, e in energy.items() if name not in (*SRAM, "dram"))
        sram = sum(energy[name] for name in SRAM)
        dram = energy["dram"] / self.accelerator.dram.pj_per_bit if self.accelerator.dram.pj_per_bit else 0.0
        factor = constants.SRAM_LOW if self.accelerator.sram.pj_per_bit is None else 1.0
        return rest + factor * sram + low * dram, rest + sram + high * dram

    def provenance(self) -> dict[str, Any]:
        """Every constant: value, unit, source."""
        a, t = self.accelerator, self.tile
        kib = {"a": a.buffers.a, "b": a.buffers.b or a.buffers.a, "out": a.buffers.out or a.buffers.a}

        def entry(value: Any, unit: str, source: str) -> dict[str, Any]:
            return {"value": value, "unit": unit, "source": source}

        def of(key: str) -> str:
            return "given" if key in a.given else "default"

        return {
            "clock": entry(float(self.clock_ns), "ns", "given" if a.clock_ns is not None else t.source),
            "latency": entry(t.latency, "cycles", t.source),
            "chain_interval": entry(t.chain_interval, "cycles", t.source),
            "tile_energy": entry(list(t.energy_pj), "pJ an instruction, all rows of A in use", t.source),
            "tile_energy_zero": entry(list(t.energy_zero_pj), "pJ an instruction, all of A zero", t.source),
            "tile_decode": entry(list(t.decode_pj), "pJ an instruction, part of tile_energy", t.source),
            "tile_idle": entry(t.idle_pj, "pJ a cycle", t.source),
            "tile_leakage": entry(t.leakage_mw, "mW a tile", t.source),
            "tile_steps": entry(list(t.steps), "K of an instruction, by segment", t.source),
            "tile_outputs": entry(t.m * t.n, "outputs of a tile", t.source),
            "tile_area": entry(t.area_um2, "um2 a tile", t.source),
            **{f"sram_{side}": entry(a.sram.energy(size), f"pJ/bit at {size:g} KiB", a.sram.source)
               for side, size in kib.items()},
            "sram_range": entry([constants.SRAM_LOW if a.sram.pj_per_bit is None else 1.0, 1.0], "times the above",
                                "the two SRAM sources differ five times where they meet"),
            "sram_leakage": entry(a.sram.leakage_mw, "mW", of("sram")),
            "dram": entry(a.dram.pj_per_bit, "pJ/bit", a.dram.source),
            "dram_range": entry(list(a.dram.range_pj_per_bit), "pJ/bit", a.dram.source),
            "dram_bandwidth": entry(float(a.dram.gb_s), "GB/s peak", of("dram")),
            "dram_efficiency": entry(float(a.dram.efficiency), "of peak", of("dram")),
            "dram_static": entry(a.dram.static_mw, "mW", of("dram")),
            "quantiser": entry(
                None if a.quantiser is None else vars(a.quantiser), "lanes, cycles, pJ an element",
                "none: activations come quantised" if a.quantiser is None else
                "given; pJ an element: 1 unless given, an assumption (reports/quantise.md has measured engines)",
            ),
            "vector_lanes": entry(a.vector_lanes, "FP32 lanes a tile",
                                  "as many as keep up" if a.vector_lanes is None else "given"),
            "correction": entry([constants.FP32_MULTIPLY_PJ, constants.FP32_ADD_PJ], "pJ a multiply, add",
                                constants.FP32_SOURCE),
        }  # fmt: skip


def _cycles(bits: int, bandwidth: Fraction) -> int:
    return -(-bits * bandwidth.denominator // bandwidth.numerator)


def device(
    accelerator: Accelerator, format: Format, build: Path, progress: Callable[[str], None] = lambda text: None
) -> Device:
    """An accelerator for a format: its own tile, the named one, or an abstract one.

    Raises
    ------
    InputError
        If the named unit does not multiply the format.
    """
    abstract = accelerator.abstract
    if abstract:
        if abstract.bits:
            # No scales: elements alone, as others' models have them.
            format = replace(storage.plain(format.name, *abstract.bits[:2]), recipe=format.recipe)
        count = len(format.shares)
        each = (abstract.pj,) * count
        return Device(accelerator, format, Tile(
            name="abstract tile", m=abstract.m, n=abstract.n, steps=(abstract.k,) * count, latency=abstract.latency,
            chain_interval=abstract.chain_interval, area_um2=abstract.area_um2, energy_pj=each, energy_zero_pj=each,
            decode_pj=(0.0,) * count, idle_pj=abstract.idle_pj, leakage_mw=0.0, clock_period_ns=None, source="given",
        ))  # fmt: skip
    if accelerator.unit != "auto" and accelerator.unit not in UNITS:
        known = [name for name, unit in UNITS.items() if unit.is_tile]
        raise InputError(f"unit must be auto, abstract or an MMA unit ({', '.join(known)}), got {accelerator.unit!r}")
    design = tiles.design_of(format, None if accelerator.unit == "auto" else accelerator.unit, accelerator.settings)
    return Device(accelerator, format, tiles.tile(format, design, accelerator.technology, build, progress))


def record(gemm: GEMM, on: Device, given: Mapping | None = None) -> dict[str, Any]:
    """Figures of one occurrence of a GEMM, ready for JSON.

    Parameters
    ----------
    gemm : GEMM
    on : Device
    given : Mapping, optional
        The mapping; by default, the best.

    Raises
    ------
    InputError
        If no mapping fits the buffers, or the given one does not.
    """
    a = on.accelerator
    problem, array = on.problem(gemm), on.array
    burst = 8 * a.dram.burst_bytes
    quantiser_cycles, quantiser_bits = on.quantiser_work(gemm)

    def spent(work: Blocks, at: Times) -> float:
        return sum(on.energy(gemm, problem, work, at.total, quantiser_bits).values())

    if given is None:
        options = list(candidates(problem, array, a.buffers, a.interleave))
    else:
        mapping.refuse_misfit(problem, array, a.buffers, given)
        options = [given]
    best = mapping.search(problem, array, options, on.bandwidth, burst, spent)
    work, at = best.blocks, best.times
    fused = schedule.times(work, array, on.bandwidth, on.drain(gemm))
    quantiser_cycles += fused.total - at.total
    total = at.total + quantiser_cycles
    energy = on.energy(gemm, problem, work, total, quantiser_bits)
    loads_a, loads_b, stores = (int(x.sum()) for x in (work.loads_a, work.loads_b, work.stores))
    once = {side: problem.panel(side, rows, 0, problem.steps, burst) for side, rows in (("a", gemm.m), ("b", gemm.n))}
    compulsory = (
        sum(once.values())
        + _up(problem.d_total(gemm.m * gemm.n), burst)
        + sum(_up(on.format.tensor_bits(side, gemm.k), burst) for side in "ab")
    )
    moved = loads_a + loads_b + stores + quantiser_bits
    # Padding is no work: it lies in the first segment.
    padding = sum(s.k for s in problem.segments) - gemm.k
    steps = sum(Fraction(s.k, s.step) for s in problem.segments) - Fraction(padding, problem.segments[0].step)
    ideal = steps * Fraction(gemm.m * gemm.n, on.count * array.m * array.n)
    compute = at.compute - work.correction
    issued = work.instructions
    waits = {
        "edge": float(issued - ideal), "chain": float(compute - issued), "stall": at.stall, "tail": at.tail,
        "quantiser": quantiser_cycles, "correction": work.correction,
    }  # fmt: skip
    roofline = max(-(-ideal.numerator // ideal.denominator), _cycles(compulsory, on.bandwidth))
    low, high = on.energy_range(energy)
    time_ns = total * float(on.clock_ns)
    sram_out = gemm.m * gemm.n * (_ACCUMULATOR_WIDTH + D_WIDTH)
    reads_a, reads_b = on.reads(problem, work)
    rows_a, rows_b = (on.format.row(side, gemm.k) for side in "ab")
    return {
        "name": gemm.name,
        "gemm": [gemm.m, gemm.n, gemm.k],
        "count": gemm.count,
        "kind": gemm.kind,
        "format": on.format.name,
        "unit": on.tile.name,
        "mapping": vars(best.mapping),
        "cycles": {
            "compute": compute, "stall": at.stall, "tail": at.tail, "quantiser": quantiser_cycles,
            "correction": work.correction, "total": total,
        },
        "utilisation": float(ideal / total),
        "losses": {name: wait / total for name, wait in waits.items()},
        "dram_bits": {
            "a": loads_a, "b": loads_b, "d": stores, "quantiser": quantiser_bits, "spill": 0,
            "scales": rows_a.scales * gemm.m + rows_b.scales * gemm.n,
            "metadata": rows_a.metadata * gemm.m + rows_b.metadata * gemm.n,
        },
        "compulsory_bits": compulsory,
        "sram_bits": {"a": reads_a + loads_a, "b": reads_b + loads_b, "out": sram_out},
        "bandwidth_gb_s": {"mean": moved / 8 / time_ns, "peak": float(a.dram.gb_s * a.dram.efficiency)},
        "energy_pj": energy,
        "energy_range_pj": [low, high],
        "time_s": 1e-9 * time_ns,
        "pj_per_mac": sum(energy.values()) / gemm.multiply_adds,
        "bound": _bound(on, best, problem, quantiser_cycles, _cycles(moved, on.bandwidth)),
        "roofline_cycles": roofline,
        "area_um2": on.area_um2,
    }  # fmt: skip


def _up(bits: int, burst: int) -> int:
    return -(-bits // burst) * burst


def _bound(on: Device, best: Mapped, problem: Problem, quantiser: int, dram: int) -> str:
    """The resource that is busy longest."""
    free = replace(on.array, port_bits=(None, None))
    used = best.mapping.rm * best.mapping.rn
    narrow = any(
        schedule.step_cycles(on.array, best.mapping, s, used) > schedule.step_cycles(free, best.mapping, s, used)
        for s in problem.segments
    )
    compute = best.times.compute - best.blocks.correction
    busy = {
        "dram": dram, "port" if narrow else "compute": compute, "quantiser": quantiser,
        "correction": best.blocks.correction,
    }  # fmt: skip
    return max(busy, key=lambda name: busy[name])


def total_of(records: Sequence[dict[str, Any]], tokens: int) -> dict[str, Any]:
    """Sums over the records of a phase, ready for JSON.

    Parameters
    ----------
    records : sequence of dict
        As :func:`record` gives them.
    tokens : int
        That the phase processes; 0 if the work is no model.
    """

    def total(*path: str) -> Any:
        found = 0
        for r in records:
            value: Any = r
            for key in path:
                value = value[key]
            found += r["count"] * value
        return found

    energy = {name: total("energy_pj", name) for name in COMPONENTS}
    low, high = (sum(r["count"] * r["energy_range_pj"][i] for r in records) for i in (0, 1))
    time = total("time_s")
    macs = sum(r["count"] * r["gemm"][0] * r["gemm"][1] * r["gemm"][2] for r in records)
    cycles = {name: total("cycles", name) for name in records[0]["cycles"]}
    pj = sum(energy.values())
    found = {
        "time_s": time,
        "multiply_adds": macs,
        "cycles": cycles,
        "utilisation": sum(r["count"] * r["utilisation"] * r["cycles"]["total"] for r in records) / cycles["total"],
        "losses": {
            name: sum(r["count"] * r["losses"][name] * r["cycles"]["total"] for r in records) / cycles["total"]
            for name in records[0]["losses"]
        },
        "dram_bits": {name: total("dram_bits", name) for name in records[0]["dram_bits"]},
        "compulsory_bits": total("compulsory_bits"),
        "energy_pj": energy,
        "energy_range_pj": [low, high],
        "pj_per_mac": pj / macs,
        "area_um2": max(r["area_um2"] for r in records),
        "bound": _slowest(records),
    }
    if tokens:
        found |= {"tokens": tokens, "tokens_s": tokens / time, "pj_per_token": pj / tokens}
    return found


def _slowest(records: Sequence[dict[str, Any]]) -> str:
    """The bound under which most of the time passes."""
    share: dict[str, float] = {}
    for r in records:
        share[r["bound"]] = share.get(r["bound"], 0.0) + r["count"] * r["time_s"]
    return max(share, key=lambda name: share[name])
