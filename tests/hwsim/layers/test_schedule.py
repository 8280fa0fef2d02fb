"""The schedule: its recurrence equals a model that steps every cycle, and its properties hold."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.base.errors import InputError
from hwsim.layers import accelerator, mapping, schedule, simulator, storage
from hwsim.layers.mapping import Buffers
from hwsim.layers.schedule import Array, Mapping
from hwsim.layers.workload import GEMM

#: Bits of an element, elements that share a scale byte, bits and elements of further entries; A and B are alike.
STORED = {
    "bf16": (16, 0, ()), "nvfp4": (4, 16, ()), "mxfp4": (4, 32, ()), "oas": (4, 16, ()), "mxfp8": (8, 32, ()),
    "m2xfp": (4, 32, ((2, 8),)), "mbs_h": (4, 16, ((8, 128),)),
}  # fmt: skip
MULTIPLE = {"bf16": 1, "nvfp4": 16, "mxfp4": 32, "oas": 16, "mxfp8": 32, "m2xfp": 32, "mbs_h": 128}
#: Bits of a tensor beside its rows.
OF_TENSOR = {"nvfp4": 32}


def up(value, unit=1):
    return -(-value // unit)


class Stepped:
    """Every cycle of a GEMM: what the DRAM's port moves and which sub-block is issued."""

    def __init__(self, gemm, name, device, placed):
        self.gemm, self.name, self.placed = gemm, name, placed
        self.array, self.w = device.array, device.bandwidth
        self.burst = 8 * device.accelerator.dram.burst_bytes
        self.step = device.tile.steps[0]
        self.k = up(gemm.k, MULTIPLE[name]) * MULTIPLE[name]
        self.steps = up(self.k, self.step)

    def bits(self, rows, first, last):
        """Codes, scales and further entries are requests of their own, in whole bursts."""
        width, shared, entries = STORED[self.name]
        elements = min(last * self.step, self.k) - first * self.step
        arrays = [width * elements, 8 * up(elements, shared) if shared else 0]
        arrays.append(sum(w * up(elements, n) for w, n in entries))
        return sum(up(rows * a, self.burst) * self.burst for a in arrays)

    def blocks(self):
        """Loads, store and macro-tiles of every block: a macro-tile is its sub-blocks and its steps."""
        p, q = self.array.tiles
        place, g = self.placed, self.gemm
        sub_rows, sub_columns = p * self.array.m, q * self.array.n
        chunk = up(self.steps, place.chunks)
        row_starts, column_starts = range(0, g.m, place.mb), range(0, g.n, place.nb)
        order = [(r, c) for r in row_starts for c in column_starts]
        if place.order == "n":
            order = [(r, c) for c in column_starts for r in row_starts]
        held = {"a": None, "b": None}
        extra = 2 * up(OF_TENSOR.get(self.name, 0), self.burst) * self.burst
        for r, c in order:
            rows, columns = min(place.mb, g.m - r), min(place.nb, g.n - c)
            for first in range(0, self.steps, chunk):
                last = min(first + chunk, self.steps)
                load, extra = extra, 0
                for side, wanted, size in (("a", (r, first), rows), ("b", (c, first), columns)):
                    if place.chunks > 1 or held[side] != wanted:
                        load += self.bits(size, first, last)
                    held[side] = wanted
                macros = []
                for i in range(0, rows, sub_rows * place.rm):
                    for j in range(0, columns, sub_columns * place.rn):
                        a = up(min(sub_rows * place.rm, rows - i), sub_rows)
                        b = up(min(sub_columns * place.rn, columns - j), sub_columns)
                        macros.append((a * b, last - first, last == self.steps))
                store = up(rows * columns * 16, self.burst) * self.burst if last == self.steps else 0
                yield load, store, macros

    def pace(self):
        """Cycles that the ports need for the operands of a step of a macro-tile."""
        (p, q), place = self.array.tiles, self.placed
        width, shared, entries = STORED[self.name]
        b = width + (Fraction(8, shared) if shared else 0) + sum(Fraction(w, n) for w, n in entries)
        found = []
        for rows, port in ((place.rm * p * self.array.m, self.array.port_bits[0]),
                           (place.rn * q * self.array.n, self.array.port_bits[1])):  # fmt: skip
            found.append(int(up(rows * self.step * b, port)) if port else 0)
        return max(found)

    def issues(self, macros):
        """For every cycle of a block's issue whether a sub-block is issued, by stepping chains and ports."""
        x, pace = self.array.chain_interval, self.pace()
        slots = 0
        for used, steps, is_last in macros:
            last_issue, began = [None] * used, None
            for _ in range(steps):
                cycle = slots
                # A step begins when its operands are there, and when the first sub-block's result is.
                while (began is not None and cycle < began + pace) or (
                    last_issue[0] is not None and cycle < last_issue[0] + x
                ):
                    cycle += 1
                began = cycle
                for sub in range(used):
                    while last_issue[sub] is not None and cycle < last_issue[sub] + x:
                        cycle += 1
                    last_issue[sub] = cycle
                    cycle += 1
                slots = cycle
            if not is_last:
                # The next chunk of the same outputs: chain interval and ports hold across the border.
                slots = max(slots, began + max(x, pace))
        return slots

    def run(self):
        """Cycles of the whole GEMM."""
        work = list(self.blocks())
        lengths = [self.issues(macros) for _, _, macros in work]
        requests = [("load", 0)]
        for i in range(1, len(work)):
            requests += [("load", i), ("store", i - 1)]
        requests = [r for r in (*requests, ("store", len(work) - 1)) if r[0] == "load" or work[r[1]][1]]
        loaded, computed = [None] * len(work), [None] * len(work)
        cycle, at, left, running, remaining = 0, 0, None, 0, None
        while at < len(requests):
            # The array: a block begins when its operands are there and the block before has issued all.
            if remaining is None and running < len(work) and loaded[running] is not None:
                remaining = lengths[running]
            # The port: the next request begins when what it needs is free or done.
            kind, i = requests[at]
            if left is None:
                if kind == "load" and (i < 2 or computed[i - 2] is not None):
                    left = Fraction(work[i][0])
                if kind == "store" and computed[i] is not None and cycle >= computed[i] + self.array.latency:
                    left = Fraction(work[i][1])
            if left == 0:
                # Nothing to load takes no time.
                loaded[i], left, at = cycle, None, at + 1
                continue
            cycle += 1
            if left is not None:
                left -= self.w
                if left <= 0:
                    if kind == "load":
                        loaded[i] = cycle
                    left, at = None, at + 1
            if remaining is not None:
                remaining -= 1
                if remaining == 0:
                    computed[running], running, remaining = cycle, running + 1, None
        return cycle


def device(name, p, q, m, n, k, latency, interval, buffers, gb_s, ports, burst, interleave=None):
    values = {
        "tiles": [p, q], "unit": "abstract", "clock_ns": 1.0, "buffer_kib": buffers,
        "tile": {"m": m, "n": n, "k": k, "latency": latency, "chain_interval": interval, "pj": 1.0, "idle_pj": 0.1},
        "dram": {"gb_s": gb_s, "efficiency": 1.0, "burst_bytes": burst},
    }  # fmt: skip
    if ports:
        values["port_bits"] = dict(zip("ab", ports, strict=True))
    if interleave:
        values["interleave"] = list(interleave)
    return simulator.device(accelerator.from_table(values, "test", "test"), storage.named(name), None)


def draw(rng):
    """A random GEMM with its device: edges, chunks of K, narrow ports, low bandwidth."""
    name = str(rng.choice(list(STORED)))
    p, q, m, n = (int(v) for v in rng.integers(1, 4, 4))
    k = int(rng.choice([16, 32, 64, 128])) if name != "bf16" else int(rng.choice([1, 4, 16]))
    interval = int(rng.integers(1, 6))
    gemm = GEMM(
        "random", *(int(v) for v in rng.integers(1, 40, 2)), int(rng.integers(1, 700 if name != "bf16" else 90))
    )
    ports = tuple(int(v) for v in rng.integers(20, 3000, 2)) if rng.random() < 0.4 else None
    buffers = {side: float(rng.choice([0.125, 0.25, 0.5, 1, 2, 8])) for side in ("a", "b", "out")}
    on = device(
        name, p, q, m, n, k, int(rng.integers(0, 9)), interval, buffers, round(float(rng.uniform(0.5, 60)), 2), ports,
        int(rng.choice([1, 1, 4, 32])),
    )  # fmt: skip
    return gemm, name, on


def every_mapping(gemm, on):
    return list(mapping.candidates(on.problem(gemm), on.array, on.accelerator.buffers, on.accelerator.interleave))


def compared(count, seed):
    """Random GEMMs of which every mapping, or a few, are compared; how many were, and how many in chunks."""
    rng = np.random.default_rng(seed)
    done = chunked = narrow = 0
    while done < count:
        gemm, name, on = draw(rng)
        found = every_mapping(gemm, on)
        if not found:
            continue
        placed = found[int(rng.integers(len(found)))]
        work = schedule.blocks(on.problem(gemm), on.array, placed, 8 * on.accelerator.dram.burst_bytes)
        at = schedule.times(work, on.array, on.bandwidth)
        stepped = Stepped(gemm, name, on, placed)
        assert at.total == stepped.run(), (gemm, name, placed, on.array, on.bandwidth)
        done, chunked, narrow = done + 1, chunked + (placed.chunks > 1), narrow + (stepped.pace() > 1)
    return done, chunked, narrow


def test_recurrence_equals_a_model_that_steps_every_cycle():
    _, chunked, narrow = compared(300, 1)
    assert chunked > 30 and narrow > 60


@pytest.mark.slow
def test_recurrence_equals_the_stepped_model_on_many():
    compared(5000, 2)


@pytest.mark.parametrize("changed", ["latency", "chain_interval", "port_bits", "order", "burst_bits", "reuse"])
def test_the_stepped_model_notices_a_wrong_schedule(changed, monkeypatch):
    right = schedule.blocks

    def wrong(problem, array, placed, burst_bits):
        if changed == "order":
            placed = replace(placed, order="n" if placed.order == "m" else "m")
        if changed == "burst_bits":
            burst_bits = 1
        if changed in ("chain_interval", "port_bits"):
            other = {"chain_interval": array.chain_interval + 1, "port_bits": (None, None)}[changed]
            array = replace(array, **{changed: other})
        found = right(problem, array, placed, burst_bits)
        return replace(found, loads_a=np.full_like(found.loads_a, found.loads_a[0])) if changed == "reuse" else found

    monkeypatch.setattr(schedule, "blocks", wrong)
    if changed == "latency":
        times = schedule.times
        monkeypatch.setattr(
            schedule, "times", lambda work, array, w: times(work, replace(array, latency=array.latency + 1), w)
        )
    with pytest.raises(AssertionError):
        compared(200, 3)


GEMMS = st.builds(GEMM, st.just("any"), st.integers(1, 300), st.integers(1, 300), st.integers(1, 3000))
DEVICES = st.builds(
    device, st.sampled_from(list(STORED)), st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 2, 8]),
    st.sampled_from([1, 4, 8]), st.sampled_from([16, 32, 64]), st.integers(0, 9), st.integers(1, 6),
    st.one_of(st.sampled_from([16.0, 64.0]), st.just({"a": 8.0, "b": 16.0, "out": 8.0})),
    st.sampled_from([0.5, 3.3, 100.0]), st.just(None), st.sampled_from([1, 32]),
)  # fmt: skip


def in_reach(gemm, on):
    """A mapping of the middle, or None if nothing fits."""
    found = every_mapping(gemm, on)
    return found[len(found) // 2] if found else None


@settings(max_examples=150, deadline=None)
@given(GEMMS, DEVICES)
def test_bounds_and_sums(gemm, on):
    placed = in_reach(gemm, on)
    if placed is None:
        return
    record = simulator.record(gemm, on, placed)
    cycles, bits = record["cycles"], record["dram_bits"]
    moved = bits["a"] + bits["b"] + bits["d"]
    assert cycles["total"] == sum(v for name, v in cycles.items() if name != "total")
    assert cycles["total"] >= max(cycles["compute"], up(Fraction(moved) / on.bandwidth))
    assert cycles["total"] >= record["roofline_cycles"]
    assert moved >= record["compulsory_bits"]
    if placed.mb >= gemm.m and placed.nb >= gemm.n and placed.chunks == 1:
        assert moved == record["compulsory_bits"]
    assert record["utilisation"] + sum(record["losses"].values()) == pytest.approx(1, abs=1e-12)
    assert min(record["losses"].values()) >= -1e-12
    work = schedule.blocks(on.problem(gemm), on.array, placed, 8 * on.accelerator.dram.burst_bytes)
    assert int(work.outputs.sum()) == gemm.m * gemm.n
    # Every output goes through all steps of K once.
    p, q = on.array.tiles
    covered = up(gemm.m, p * on.array.m) * up(gemm.n, q * on.array.n) * on.problem(gemm).steps
    assert work.instructions == covered
    low, high = record["energy_range_pj"]
    assert low <= sum(record["energy_pj"].values()) <= high


@settings(max_examples=100, deadline=None)
@given(GEMMS, DEVICES, st.sampled_from([Fraction(11, 10), Fraction(2), Fraction(50)]))
def test_more_bandwidth_is_never_slower(gemm, on, factor):
    placed = in_reach(gemm, on)
    if placed is not None:
        work = schedule.blocks(on.problem(gemm), on.array, placed, 8)
        slow, fast = (schedule.times(work, on.array, w) for w in (on.bandwidth, factor * on.bandwidth))
        assert fast.total <= slow.total


@settings(max_examples=60, deadline=None)
@given(GEMMS, DEVICES)
def test_the_best_mapping_is_as_fast_as_any_and_taken_back(gemm, on):
    found = every_mapping(gemm, on)
    if not found:
        with pytest.raises(InputError, match="buffer_kib: no mapping"):
            simulator.record(gemm, on)
        return
    best = simulator.record(gemm, on)
    assert simulator.record(gemm, on, Mapping(**best["mapping"])) == best
    totals = [simulator.record(gemm, on, placed)["cycles"]["total"] for placed in found[:: max(len(found) // 8, 1)]]
    assert best["cycles"]["total"] <= (1 + mapping.TOLERANCE) * min(totals)


def test_equal_blocks_in_closed_form():
    """n equal blocks with c >= load + store + L: total = load + n c + L + store (contract, section 6)."""
    on = device("mxfp4", 1, 1, 8, 8, 32, 5, 4, {"a": 64.0, "b": 64.0, "out": 1.0}, 80.0, None, 1)
    gemm = GEMM("equal", 8, 8 * 40, 4096)
    placed = Mapping(1, 1, 8, 8, "n")
    work = schedule.blocks(on.problem(gemm), on.array, placed)
    loads, stores = work.loads, work.stores
    # The first block loads A too.
    assert len(set(loads[1:])) == len(set(stores)) == 1
    first, load, store, c = (up(int(v), 640) for v in (loads[0], loads[1], stores[0], 640 * work.issue[0]))
    assert c >= load + store + 5
    assert schedule.times(work, on.array, on.bandwidth).total == first + 40 * c + 5 + store


def test_all_of_a_model_s_record_is_counted():
    """By hand: one macro-tile, three steps, two sub-blocks in turn on a chain interval of four."""
    on = device("mxfp4", 1, 1, 2, 2, 32, 3, 4, {"a": 1.0, "b": 1.0, "out": 1.0}, 17.0, None, 1)
    record = simulator.record(GEMM("small", 2, 3, 96), on, Mapping(1, 2, 2, 4, "m"))
    # A: 2 rows of 96 elements in 4 bits and 3 scales; B: 3 rows; D: 6 elements of 16 bits.
    assert record["dram_bits"] | {"scales": 0} == {
        "a": 2 * 96 * 4 + 48, "b": 3 * 96 * 4 + 72, "d": 96, "quantiser": 0, "spill": 0, "scales": 0, "metadata": 0
    }  # fmt: skip
    assert record["dram_bits"]["scales"] == 5 * 3 * 8
    load = up(2 * 408 + 408 + 816, 136) and up(816 + 1224, 136)
    assert record["cycles"] == {
        "compute": 2 * 4 + 2, "stall": load, "tail": 3 + 1, "quantiser": 0, "correction": 0, "total": load + 14
    }  # fmt: skip
    assert record["sram_bits"] == {"a": 2 * 96 * 17 // 4 + 816, "b": 4 * 96 * 17 // 4 + 1224, "out": 6 * 48}
    assert record["energy_pj"]["tile"] == pytest.approx(2 * 3 * 1.0)
    assert record["energy_pj"]["idle"] == pytest.approx((load + 14 - 6) * 0.1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((5, 1, 8, 8, "m", 1), "interleave must be two positive numbers whose product is at most the chain interval"),
        ((1, 1, 9, 8, "m", 1), "mb must be a multiple of the macro-tile's 8, got 9"),
        ((1, 1, 8, 8, "k", 1), "order must be m or n, got 'k'"),
        ((1, 1, 16, 8, "m", 2), "K in chunks needs blocks of one macro-tile, 8 x 8, got 16 x 8"),
        ((1, 1, 8, 8, "m", 200), "chunks must be 1 to the 128 steps of K, got 200"),
        ((1, 1, 80, 80, "m", 1), "blocks of 80 x 80 in 1 chunks of K do not fit"),
    ],
)
def test_mappings_that_do_not_fit_are_refused(values, message):
    on = device("mxfp4", 1, 1, 8, 8, 32, 5, 4, {"a": 64.0, "b": 64.0, "out": 1.0}, 8.0, None, 1)
    with pytest.raises(InputError, match=message):
        simulator.record(GEMM("any", 100, 100, 4096), on, Mapping(*values))


def test_a_fixed_interleave_beyond_the_chain_interval_is_refused():
    on = device("mxfp4", 1, 1, 8, 8, 32, 5, 4, 64.0, 8.0, None, 1, (2, 3))
    with pytest.raises(InputError, match=r"at most the chain interval of the tile, 4, got \[2, 3\]"):
        simulator.record(GEMM("any", 100, 100, 64), on)


def test_a_shared_buffer_is_split_in_eighths():
    assert len(Buffers(16.0).halves()) == 6
    assert {sum(h) for h in Buffers(16.0).halves()} == {8 * 8 * 1024}


def test_delivery():
    on = device("bf16", 2, 3, 1, 1, 1, 0, 1, 64.0, 1000.0, None, 1)
    gemm, placed = GEMM("any", 4, 6, 10), Mapping(1, 1, 4, 6, "m")
    problem = on.problem(gemm)
    cycles = {}
    for delivery in accelerator.DELIVERIES:
        array = Array(**vars(on.array) | {"delivery": delivery})
        cycles[delivery] = schedule.times(schedule.blocks(problem, array, placed), array, on.bandwidth).total
    assert cycles["systolic"] == cycles["broadcast"] + 1 + 2
    # Every macro-tile of four waits for rows and columns.
    assert cycles["serial"] == cycles["broadcast"] + 4 * (1 + 2)
