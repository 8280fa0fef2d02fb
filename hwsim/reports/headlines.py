"""``reports/headlines``: published claims on whole devices, made again or explained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hwsim.base.files import replace_all
from hwsim.base.text import markdown
from hwsim.layers import accelerator, comparison, simulator, storage, workload
from hwsim.layers.accelerator import Accelerator
from hwsim.layers.comparison import Work
from hwsim.layers.simulator import Device
from hwsim.layers.workload import GEMM
from hwsim.synthesis import emit

#: Blocks of the models that M2XFP is compared on: hidden size, width of the feed-forward network, width of keys and
#: values, and whether there is a gate; the share of multiply-adds that the public simulator's table gives MicroScopiQ
#: 8 bits in; and the speed-up and energy ratio that the simulator gives.
#: Source: github.com/dwrScent/nvesm2 (MIT), a fork of SJTU-ReArch-Group/M2XFP_ASPLOS26, run once.
MODELS: dict[str, tuple[tuple[int, int, int, bool], float, float, float]] = {
    "Llama-2-7B": ((4096, 11008, 4096, True), 0.2902, 1.870, 1.733),
    "Falcon-7B": ((4544, 18176, 64, False), 0.4986, 2.496, 2.195),
    "Llama-3-8B": ((4096, 14336, 1024, True), 0.3077, 1.923, 1.734),
    "Llama-3-70B": ((8192, 28672, 1024, True), 0.2941, 1.882, 1.675),
    "Mistral-7B": ((4096, 14336, 1024, True), 0.2885, 1.865, 1.684),
    "OPT-6.7B": ((4096, 16384, 4096, False), 0.1458, 1.437, 1.361),
}
PUBLISHED_SPEED, PUBLISHED_ENERGY = 1.91, 1.75
TOKENS = 2048
PRESET = "m2xfp-asplos26"
#: MicroScopiQ there: a processing element makes an 8-bit product in the time of four of 4 bits. Its energy (nJ a cycle
#: of the array, 28 nm) and the areas of both arrays are from the reports that the simulator reads.
MICROSCOPIQ_PJ, MICROSCOPIQ_IDLE_PJ = 0.02270, 0.0000785
ARRAY_UM2 = {"M2XFP": 273935.9, "MicroScopiQ": 77923.3}
#: Vector lanes a tile, for the corrections of MBS.
LANES = (8, 16, 32, 48, 64, 96, 128)
#: Elements that an engine quantises a cycle.
ENGINE_LANES = (8, 16, 32, 64)
#: Ratio of FP32 vector to FP4 tensor multiply-adds on a GB300 (a public blog that cites NVIDIA's figures).
GB300 = 1 / 180
SHARES = ((1.0, 0.0, 0.0), (0.6, 0.1, 0.3), (1 / 3, 0.0, 2 / 3), (0.2, 0.1, 0.7), (0.0, 0.0, 1.0))
MODEL, DEVICE = "llama-3.1-8b", "datacentre"


def write(folder: Path, build: Path) -> list[Path]:
    """Simulate and write ``headlines.md`` and ``headlines.json``."""
    document = {
        "made_by": emit.generator(),
        "m2xfp": m2xfp(),
        "equal_area": _compared(("mxfp8", "m2xfp", "mxfp4", "nvfp4"), build, "area"),
        "mbs": mbs(build),
        "micromix": micromix(build),
        "four_over_six": four_over_six(build),
        "mixfp4": _compared(("nvfp4", "mixfp4"), build),
    }
    paths = {name: folder / f"headlines.{name}" for name in ("md", "json")}
    replace_all({paths["md"]: to_text(document), paths["json"]: json.dumps(document, indent=1) + "\n"})
    return list(paths.values())


def _block(hidden: int, wide: int, kv: int, gated: bool) -> list[GEMM]:
    sizes = [("q", hidden, hidden), ("k", kv, hidden), ("v", kv, hidden), ("o", hidden, hidden),
             ("up", wide, hidden), ("down", hidden, wide)]  # fmt: skip
    return [GEMM(name, TOKENS, n, k) for name, n, k in [*sizes, *([("gate", wide, hidden)] if gated else [])]]


def m2xfp() -> list[dict[str, Any]]:
    """M2XFP over MicroScopiQ by the public simulator's own constants, one row a model."""
    four = accelerator.load(PRESET)
    rows = []
    for name, (shape, share, speed, energy) in MODELS.items():
        gemms = _block(*shape)
        ours = _preset_total(four, 4, gemms)
        other = {bits: _preset_total(_microscopiq(four, bits), bits, gemms) for bits in (4, 8)}
        mixed = {key: (1 - share) * other[4][key] + share * other[8][key] for key in ours}
        rows.append({
            "model": name, "eight_bit_share": share, "speed": mixed["time_s"] / ours["time_s"],
            "energy": mixed["pj"] / ours["pj"], "their_speed": speed, "their_energy": energy,
            "without_static": (mixed["pj"] - mixed["static"]) / (ours["pj"] - ours["static"]),
            "tiles_alone": mixed["tile"] / ours["tile"], "static_share": ours["static"] / ours["pj"],
        })  # fmt: skip
    return rows


def _microscopiq(preset: Accelerator, bits: int) -> Accelerator:
    assert preset.abstract is not None, "the preset has an abstract tile"
    # Four cycles for a product of 8 bits, and as much energy in each.
    cycles = 1 if bits == 4 else 4
    tile = replace(
        preset.abstract, pj=cycles * MICROSCOPIQ_PJ, idle_pj=MICROSCOPIQ_IDLE_PJ, bits=(bits, bits, 16),
        chain_interval=cycles,
    )  # fmt: skip
    return replace(preset, abstract=tile)


def _preset_total(on: Accelerator, bits: int, gemms: list[GEMM]) -> dict[str, float]:
    assert on.abstract is not None, "the preset has an abstract tile"
    device = simulator.device(on, storage.plain(f"{bits} bits", bits, bits), Path())
    total = simulator.total_of([simulator.record(g, device) for g in gemms], 0)
    energy = total["energy_pj"]
    return {
        "time_s": total["time_s"], "pj": sum(energy.values()), "static": energy["dram_static"],
        "tile": energy["tile"] + energy["idle"],
    }  # fmt: skip


def _compared(formats: tuple[str, ...], build: Path, equal: str = "tiles") -> list[dict[str, Any]]:
    """Prefill and decoding of the model on our tiles."""
    works = [Work.of_model(workload.model(MODEL), phase, 1, TOKENS) for phase in ("prefill", "decode")]
    found = comparison.compare(
        works, [storage.named(name) for name in formats], accelerator.load(DEVICE), build, equal,
        progress=partial(print, flush=True),
    )  # fmt: skip
    return found["models"]


def _linear(format: str, build: Path, **changed: Any) -> dict[str, Any]:
    """The linear layers of a prefill in a format."""
    on = accelerator.load(DEVICE)
    device = simulator.device(replace(on, **changed), storage.named(format), build)
    gemms = [g for g in workload.model(MODEL).gemms("prefill", 1, TOKENS) if g.kind == "weight"]
    return simulator.total_of([simulator.record(g, device) for g in gemms], TOKENS)


def mbs(build: Path) -> list[dict[str, Any]]:
    """Time and energy of MBS over OAS by the vector lanes of a tile, one or two operands with factors."""
    base = _linear("oas", build)
    rows = []
    for lanes in LANES:
        found = _linear("mbs_h", build, vector_lanes=lanes)
        rows.append({
            "lanes": lanes, "time_percent": 100 * (found["time_s"] / base["time_s"] - 1),
            "fj_per_mac": 1e3 * found["energy_pj"]["correction"] / found["multiply_adds"],
            "tile_fj_per_mac": 1e3 * found["energy_pj"]["tile"] / found["multiply_adds"],
            "energy_percent": 100 * (_pj(found) / _pj(base) - 1),
        })  # fmt: skip
    return rows


def _pj(total: Mapping[str, Any]) -> float:
    return sum(total["energy_pj"].values())


def micromix(build: Path) -> list[dict[str, Any]]:
    """MicroMix over MXFP8 on the tile of three formats, by the shares of K."""
    on = accelerator.load(DEVICE)
    gemms = [g for g in workload.model(MODEL).gemms("prefill", 1, TOKENS) if g.kind == "weight"]

    def total(device: Device) -> dict[str, Any]:
        return simulator.total_of([simulator.record(g, device) for g in gemms], TOKENS)

    rows = []
    for shares in SHARES:
        found = total(simulator.device(on, storage.named("micromix", shares), build))
        # The public kernel writes D in BF16 and reads it again between segments.
        segments = sum(s > 0 for s in shares)
        extra = sum(32 * g.count * g.m * g.n for g in gemms) * max(segments - 1, 0)
        seconds = extra / 8e9 / float(on.dram.gb_s * on.dram.efficiency)
        rows.append({
            "shares": list(shares), "ideal": shares[0] / 2 + shares[1] + shares[2], "time_s": found["time_s"],
            "pj_per_mac": found["pj_per_mac"], "between_segments_s": seconds,
        })  # fmt: skip
    rows.append({"shares": None, "ideal": 1.0, "time_s": total(simulator.device(on, storage.named("mxfp8"), build))
                 ["time_s"], "pj_per_mac": 0.0, "between_segments_s": 0.0})  # fmt: skip
    return rows


def four_over_six(build: Path) -> list[dict[str, Any]]:
    """Time of Four Over Six by the lanes of the engine and its passes over a block."""
    on = accelerator.load(DEVICE)
    assert on.quantiser is not None, "the preset has an engine"
    rows = []
    for lanes in ENGINE_LANES:
        for passes in (1, 2):
            quantiser = replace(on.quantiser, passes=passes, lanes=lanes)
            found = _linear("four_over_six", build, quantiser=quantiser)
            rows.append({"lanes": lanes, "passes": passes, "time_s": found["time_s"]})
    return rows


_TEXT = """\
# Published headlines

Made by `python -m hwsim.report headlines`; not edited by hand. All figures: `headlines.json`.

{made_by}.

## M2XFP: 1.91 times the speed and 1.75 times the efficiency of MicroScopiQ

Preset `{preset}`: the array, the memories and the constants of the public simulator behind the figures. *theirs*:
what that simulator gives. *without static*: energy without the DRAM's static power, a constant that is {static:.0f} %
of M2XFP's energy here. *tiles*: energy of the arrays alone.

{m2xfp}

The mean is {speed:.3f} and {energy:.3f} (published {published_speed}, {published_energy}; their simulator
{their_speed:.3f}, {their_energy:.3f}): made again. Nothing waits in either array, so the speed-up is 1 + 3 f, with f
the share of multiply-adds that a table gives MicroScopiQ 8 bits in. Scales and metadata (4.5 bits, not 4), engines,
decoding and attention are not in it; DRAM traffic is that of our mappings, which move less.

The arrays have as many 4-bit products a cycle, not the same area: by the reports that the simulator reads, M2XFP's
takes {area:.1f} times MicroScopiQ's (without its multipliers, which are black boxes there). At equal area,
{speed:.2f} becomes {at_area:.2f}.

Our own tiles, nothing black-boxed, as many as fit the area of 4 x 4 tiles of MXFP8, {model} on `{device}`:

{equal}

## MBS: 6.2 % over MXFP4

Each output and macro-block of 128 takes a product of two factors and a multiply-add in FP32. Linear layers of a
prefill of {model} on `{device}`, over OAS, by the FP32 lanes of a tile of 8 x 8:

{mbs}

From 64 lanes on (32 an operand with factors) corrections hide behind the tile and cost energy alone. On a GPU, where
a vector multiply-add is 1/180 as fast as a tensor one (GB300), two operations for 128 products take {gpu_low:.0f} %
more time if hidden and {gpu_high:.0f} % if not: 6.2 % is not two-sided MBS at full rate there.

## MicroMix: at least 20 % faster than FP8

Linear layers of a prefill of {model} on `{device}`, on the tile of FP4, FP6 and FP8, over MXFP8 on its own tile.
*ideal*: FP4 at twice the K of the others. *with D between segments*: the public kernel writes and reads D in BF16
between segments, which a tile that goes on accumulating does not.

{micromix}

20 % needs a third of K in FP4; the claim holds for the shares that calibration gives.

## Four Over Six: below 2 %

Storage, tile and traffic are those of NVFP4; the engine tries two scales. With both candidates in one datapath it
passes over a block twice. Linear layers of a prefill of {model} on `{device}`, by elements that the engine takes a
cycle:

{four_over_six}

`four_over_six_quantize` has both candidates side by side and needs one pass.

## MixFP4: 3.1 % area, 1.5 % power of a tensor core

On a whole device, {model} on `{device}`:

{mixfp4}
"""


def _times(models: list[dict[str, Any]]) -> str:
    rows = [["phase", "format", "tiles", "ms", "uJ a token", "energy of tiles"]]
    for m in models:
        pj = _pj(m)
        share = (m["energy_pj"]["tile"] + m["energy_pj"]["idle"]) / pj
        rows.append([m["phase"], m["format"], " x ".join(map(str, m["tiles"])), f"{1e3 * m['time_s']:.4g}",
                     f"{1e-6 * m['pj_per_token']:.0f}", f"{100 * share:.1f} %"])  # fmt: skip
    return markdown(rows, right=(3, 4, 5))


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    found = document["m2xfp"]

    def mean(key: str) -> float:
        return sum(r[key] for r in found) / len(found)

    rows = [["model", "in 8 bits", "speed-up", "theirs", "energy", "theirs", "without static", "tiles"]]
    for r in found:
        rows.append([r["model"], f"{100 * r['eight_bit_share']:.1f} %", f"{r['speed']:.3f}", f"{r['their_speed']:.3f}",
                     f"{r['energy']:.3f}", f"{r['their_energy']:.3f}", f"{r['without_static']:.2f}",
                     f"{r['tiles_alone']:.2f}"])  # fmt: skip
    mbs_rows = [["lanes", "time", "fJ a multiply-add, corrections", "fJ a multiply-add, tile", "energy of the device"]]
    for r in document["mbs"]:
        mbs_rows.append([str(r["lanes"]), f"{r['time_percent']:+.1f} %", f"{r['fj_per_mac']:.1f}",
                         f"{r['tile_fj_per_mac']:.1f}", f"{r['energy_percent']:+.1f} %"])  # fmt: skip
    *splits, mxfp8 = document["micromix"]
    mix_rows = [["FP4", "FP6", "FP8", "ideal", "ours", "with D between segments", "pJ a multiply-add"]]
    for r in splits:
        with_d = mxfp8["time_s"] / (r["time_s"] + r["between_segments_s"])
        mix_rows.append([*(f"{100 * s:.0f} %" for s in r["shares"]), f"{1 / r['ideal']:.2f}",
                         f"{mxfp8['time_s'] / r['time_s']:.2f}", f"{with_d:.2f}",
                         f"{r['pj_per_mac']:.3f}"])  # fmt: skip
    four_rows = [["lanes", "ms, one pass", "ms, two passes", "over one pass"]]
    for once, twice in zip(document["four_over_six"][::2], document["four_over_six"][1::2], strict=True):
        four_rows.append([str(once["lanes"]), *(f"{1e3 * r['time_s']:.2f}" for r in (once, twice)),
                          f"{100 * (twice['time_s'] / once['time_s'] - 1):+.2f} %"])  # fmt: skip
    area = ARRAY_UM2["M2XFP"] / ARRAY_UM2["MicroScopiQ"]
    vector = 2 / (128 * GB300)
    return _TEXT.format(
        made_by=document["made_by"], preset=PRESET, static=100 * mean("static_share"),
        m2xfp=markdown(rows, range(1, 8)),
        speed=mean("speed"), energy=mean("energy"), published_speed=PUBLISHED_SPEED, published_energy=PUBLISHED_ENERGY,
        their_speed=mean("their_speed"), their_energy=mean("their_energy"), area=area, at_area=mean("speed") / area,
        model=MODEL, device=DEVICE, equal=_times(document["equal_area"]), mbs=markdown(mbs_rows, range(5)),
        gpu_low=100 * max(vector - 1, 0), gpu_high=100 * vector, micromix=markdown(mix_rows, range(7)),
        four_over_six=markdown(four_rows, range(4)), mixfp4=_times(document["mixfp4"]),
    )  # fmt: skip
