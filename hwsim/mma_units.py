"""Golden outputs, stimulus and testbench of the MMA units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import golden
from golden.accumulate import Accumulator
from golden.formats import E2M1, MiniFloat, Rounding
from golden.mma import instruction
from golden.tensor import BlockTensor, pack_bits, unpack_bits
from golden.terms import BLOCK_TERMS, ELEMENT_TERMS, operand_integers
from hwsim import corners
from hwsim.decoders import realistic_tensor

#: Vectors of a testbench; one in this many is a reset.
TESTBENCH_VECTORS, _RESET_EVERY = 3000, 97
_ROUNDINGS = {"rz": Rounding.TOWARD_ZERO, "rne": Rounding.NEAREST_EVEN}
_M2XFP_SUBGROUPS, _BLOCK = 4, 32


@dataclass(frozen=True)
class MMAUnit:
    """The adaptors of one unit; its methods are what :class:`hwsim.units.Unit` asks for.

    Parameters
    ----------
    name : str
        Format, without an element.
    builder : callable
        The component, for its latency and chain interval.
    block_size : int
        Where the unit has no parameter of that name; 0: no scales.
    """

    name: str
    builder: Callable[..., Any]
    block_size: int = 0

    def format(self, parameters) -> str:
        """Name that the golden model knows the format by."""
        element = parameters.get("element")
        if element is None:
            return self.name
        return element if self.name == "fp16" else f"{self.name}_{element}"

    def shape(self, parameters) -> tuple[int, int, int, int]:
        """m, n, K, block size."""
        return parameters["m"], parameters["n"], parameters["k"], parameters.get("block_size", self.block_size)

    def accumulator(self, parameters) -> Accumulator:
        """The accumulation step of the unit: all of its K at once."""
        _, _, k, block = self.shape(parameters)
        terms = k // block if self.format(parameters) in BLOCK_TERMS else k
        return Accumulator(
            terms, parameters["fraction_bits"], parameters["result_bits"], _ROUNDINGS[parameters["rounding"]]
        )

    def operands(self, parameters) -> int:
        """Multiply-adds a cycle."""
        m, n, k, _ = self.shape(parameters)
        return m * n * k

    def step(self, ports, parameters, c: np.ndarray) -> np.ndarray:
        """Results of independent instructions, uint32 [vectors, m n]."""
        m, n, k, block = self.shape(parameters)
        count = len(c)
        wide = self.format(parameters) in ("fp16", "bf16")
        kind = np.uint16 if wide else np.uint8

        def operand(side: str, rows: int):
            codes = ports[f"{side}_codes"].astype(kind).reshape(count, rows, k)
            if not self.block_size:
                return codes, None, None
            scales = ports[f"{side}_scales"].astype(np.uint8).reshape(count, rows, k // block)
            metadata = ports.get(f"{side}_metadata")
            if metadata is not None:
                metadata = metadata.astype(np.uint8).reshape(scales.shape)
            return codes, scales, metadata

        a, a_scales, a_metadata = operand("a", m)
        b, b_scales, b_metadata = operand("b", n)
        options = {"polarity": parameters["polarity"]} if "polarity" in parameters else {}
        d = instruction(
            a, a_scales, b, b_scales, np.ascontiguousarray(c.reshape(count, m, n), np.uint32),
            self.format(parameters), self.accumulator(parameters),
            a_metadata=a_metadata, b_metadata=b_metadata, **options,
        )  # fmt: skip
        return d.reshape(count, m * n)

    def golden(self, ports, parameters):
        """``out_valid`` and ``d``; where ``rst`` is among the ports, what it clears does not come out."""
        component = self.builder(**parameters)
        valid = ports["valid"][:, 0].astype(bool)
        if "rst" in ports:
            resets = np.flatnonzero(ports["rst"][:, 0])
            following = np.append(resets, 1 << 40)[np.searchsorted(resets, np.arange(len(valid)))]
            valid = valid & (following >= np.arange(len(valid)) + component.latency)
        c = ports["c"].astype(np.uint32)
        d = np.zeros_like(c)
        source = in_place(valid, component.chain_interval)
        chained = ports["accumulate"][:, 0].astype(bool) & valid
        waiting = np.flatnonzero(valid)
        done = np.zeros(len(valid), bool)
        while len(waiting):
            ready = waiting[~chained[waiting] | done[source[waiting]]]
            start = np.where(chained[ready, None], d[source[ready]], c[ready])
            d[ready] = self.step({k: v[ready] for k, v in ports.items()}, parameters, start)
            done[ready] = True
            waiting = waiting[~done[waiting]]
        return {"out_valid": valid.astype(np.uint8)[:, None], "d": d}

    def stimulus(self, parameters, vectors, seed, tensor):
        """Tiles of two quantised tensors, K slice after K slice, an instruction a cycle, none chained."""
        return self.instructions(parameters, vectors, seed, tensor, None)

    def instructions(self, parameters, vectors, seed, a, b):
        """The same of given tensors [rows, columns]; None: realistic random ones."""
        m, n, k, _ = self.shape(parameters)
        rng = np.random.default_rng(seed)
        ports: dict[str, np.ndarray] = {}
        # C as large as the dot products, in the units of D: those of the operands without their tensor scales.
        size = np.float32(k**0.5)
        for side, rows, source in (("a", m, a), ("b", n, b)):
            made, tensor_scale = self._operand(parameters, side, rows, vectors, seed + (side == "b"), source)
            ports, size = ports | made, size / tensor_scale
        c = rng.standard_normal((vectors, m * n)).astype(np.float32) * size
        ones = np.ones((vectors, 1), np.uint8)
        return {"valid": ones, "accumulate": 0 * ones} | ports | {"c": c.view(np.uint32)}

    def random(self, parameters, ports, rng):
        """Ports with uniformly random codes of finite numbers and random metadata, and scales as they are."""
        made = {}
        for name, values in ports.items():
            if name.endswith("_codes"):
                made[name] = corners.codes(self.format(parameters), np.zeros(len(values), int), 1, values.shape[1], rng)
            elif name.endswith("_metadata"):
                made[name] = rng.integers(0, 256, values.shape, np.uint8)
        return ports | made

    def _operand(self, parameters, side, rows, vectors, seed, tensor):
        """Ports of one operand, the tensor's rows taken ``rows`` at a time along K, and its tensor scale."""
        _, _, k, block = self.shape(parameters)
        name = self.format(parameters)
        if tensor is None:
            tensor = realistic_tensor(vectors * rows * k, 64, seed)
        flat = tensor.reshape(-1)
        needed = 16 * k
        flat = np.resize(flat, (max(rows, flat.size // needed // rows * rows), needed))
        if not self.block_size:
            codes, scales, metadata = golden.formats.encode(flat, ELEMENT_TERMS[name]), None, None
            tensor_scale = None
        else:
            system, options = _system(name, side, parameters, block)
            t = golden.quantize(flat, system, **options)
            codes, scales, metadata, tensor_scale = t.codes, t.scales, t.metadata, t.tensor_scale

        def tiles(values: np.ndarray) -> np.ndarray:
            each = values.shape[1] // 16
            found = values.reshape(-1, rows, 16, each).transpose(0, 2, 1, 3).reshape(-1, rows * each)
            return np.ascontiguousarray(found[np.arange(vectors) % len(found)])

        ports = {f"{side}_codes": tiles(codes)}
        if scales is not None:
            ports[f"{side}_scales"] = tiles(np.asarray(scales).reshape(len(codes), -1))
        if metadata is not None:
            ports[f"{side}_metadata"] = tiles(pack_bits(np.asarray(metadata).reshape(len(codes), -1), 2))
        return ports, np.float32(1) if tensor_scale is None else tensor_scale

    def testbench(self, parameters, seed):
        """Directed corners mixed with random, in a stream with bubbles, chains and resets."""
        rng = np.random.default_rng(seed)
        count = TESTBENCH_VECTORS
        ports = self.corners(parameters, count, rng)
        component = self.builder(**parameters)
        # Bubbles, then runs back to back.
        valid = rng.random(count) < np.where(np.arange(count) // 50 % 2, 0.5, 1.0)
        rst = np.arange(count) % _RESET_EVERY == _RESET_EVERY - 1
        last_reset = np.maximum.accumulate(np.where(rst, np.arange(count), -1))
        alive = valid & ~_any_ahead(rst, component.latency)
        source = in_place(alive, component.chain_interval)
        chained = (rng.random(count) < 0.3) & (source > last_reset)
        return {
            "rst": rst.astype(np.uint8)[:, None],
            "valid": valid.astype(np.uint8)[:, None],
            "accumulate": chained.astype(np.uint8)[:, None],
        } | ports

    def coverage(self, ports, parameters) -> Counter:
        """What a stream exercises: :func:`bins` of the results that come out, and the stream's own events."""
        expected = self.golden(ports, parameters)
        valid, out = ports["valid"][:, 0].astype(bool), expected["out_valid"][:, 0].astype(bool)
        chained = ports["accumulate"][:, 0].astype(bool) & valid
        source = in_place(out, self.builder(**parameters).chain_interval)
        start = np.where(chained[:, None], expected["d"][source], ports["c"])[out].astype(np.uint32)
        terms = self.step({k: v[out] for k, v in ports.items()}, parameters, np.zeros_like(start))
        counted = bins(start, expected["d"][out], terms)
        counted["bubble"] = int((~valid).sum())
        counted["back to back"] = int((valid[1:] & valid[:-1]).sum())
        counted["chained"] = int((chained & out).sum())
        counted["chained on a chained one"] = int((chained & out & chained[source]).sum())
        if "rst" in ports:
            counted["reset"] = int(ports["rst"].sum())
            counted["cleared in flight"] = int((valid & ~out).sum())
        for side in "ab":
            scales = ports.get(f"{side}_scales")
            if scales is not None:
                nan = scales & 0x7F == 0x7F if self.name in ("nvfp4", "mixfp4") else scales == 0xFF
                counted[f"{side} scale NaN"] = int(nan.any(axis=1).sum())
        return counted

    def corners(self, parameters, count, rng):
        """Operands and C that verify: independent instructions, as ports."""
        m, n, k, block = self.shape(parameters)
        name = self.format(parameters)
        ports = {}
        kind = rng.integers(0, 8, count)
        for side, rows in (("a", m), ("b", n)):
            ports[f"{side}_codes"] = corners.codes(name, kind, rows, k, rng)
            if self.block_size:
                fields = rows * (k // block)
                ports[f"{side}_scales"] = corners.scales(name, rng.integers(0, 8, count), fields, rng)
            if name == "m2xfp":
                ports[f"{side}_metadata"] = rng.integers(0, 256, (count, rows * (k // block)), np.uint8)
        # Cancelling pairs along K: the second half of B is the first, negated against an equal A.
        cancel = np.flatnonzero(rng.random(count) < 0.2)
        if k >= 2:
            self._cancel(ports, cancel, parameters, rng)
        # All of K zero but one element: every term is once the only one.
        alone = np.flatnonzero(rng.random(count) < 0.2)
        codes = ports["a_codes"].reshape(count, m, k)
        codes[alone] = np.where(np.arange(k) == rng.integers(0, k, (len(alone), 1, 1)), codes[alone], 0)
        zero = np.zeros((count, m * n), np.uint32)
        c = corners.fp32(rng, (count, m * n))
        # C close to minus the rest, exactly or but for a bit at any place, and C of a similar exponent.
        rest = self.step(ports, parameters, zero)
        choice = rng.integers(0, 4, (count, 1))
        place = np.uint32(1) << rng.integers(0, 24, rest.shape).astype(np.uint32)
        nudge = np.where(rng.random(rest.shape) < 0.5, place, -place.astype(np.int64)).astype(np.uint32)
        near = (rest ^ np.uint32(0x80000000)) + nudge * (choice == 1)
        similar = (rest + (rng.integers(-40, 41, rest.shape) << 23).astype(np.uint32)) ^ rng.integers(
            0, 1 << 23, rest.shape
        ).astype(np.uint32)
        c = np.where(choice <= 1, near, np.where(choice == 2, similar, c)).astype(np.uint32)
        return ports | {"c": c}

    def _cancel(self, ports, which, parameters, rng):
        m, n, k, _ = self.shape(parameters)
        half = k // 2
        sign = 1 << (self.element(parameters).width - 1)
        for side, rows in (("a", m), ("b", n)):
            codes = ports[f"{side}_codes"].reshape(-1, rows, k)
            flip = codes.dtype.type(sign if side == "b" else 0)
            codes[which, :, half : 2 * half] = codes[which, :, :half] ^ flip
            scales = ports.get(f"{side}_scales")
            if scales is not None and scales.shape[1] > rows:
                each = scales.reshape(len(scales), rows, -1)
                middle = each.shape[2] // 2
                each[which, :, middle : 2 * middle] = each[which, :, :middle]

    def element(self, parameters) -> MiniFloat:
        """Format of the stored elements."""
        return ELEMENT_TERMS.get(self.format(parameters), E2M1)


def bins(c: np.ndarray, d: np.ndarray, terms: np.ndarray) -> Counter:
    """Coverage: classes of C and D, distance of C's exponent to that of the terms' sum, leading zeros by cancellation.

    ``D overflow``: infinite, though C and the terms' sum are finite.

    Parameters
    ----------
    c, d, terms : uint32 [vectors, results]
        FP32 bits of C, of the result, and of the result with C = 0.
    """
    counted: Counter = Counter()
    for name, bits in (("C", c), ("D", d)):
        field, fraction = bits >> 23 & 0xFF, bits & 0x7FFFFF
        classes = {
            "zero": (field == 0) & (fraction == 0), "subnormal": (field == 0) & (fraction != 0),
            "normal": (field > 0) & (field < 255), "infinite": (field == 255) & (fraction == 0),
            "NaN": (field == 255) & (fraction != 0),
        }  # fmt: skip
        counted.update({f"{name} {kind}": int(found.sum()) for kind, found in classes.items()})
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


def summary(counted: Counter) -> str:
    """Coverage in a few lines."""
    lines, families = [], ("alignment", "leading zeros")
    for name in families:
        hit = {k: v for k, v in counted.items() if k.startswith(name)}
        lines.append(f"  {name}: {len(hit)} bins hit, the rarest {min(hit.values(), default=0)} times")
    lines.append("  " + ", ".join(f"{k} {v}" for k, v in counted.items() if not k.startswith(families)))
    return "\n".join(lines)


def in_place(valid: np.ndarray, interval: int) -> np.ndarray:
    """For every vector the last valid one at least ``interval`` before it, whose result it finds in place, or -1."""
    last = np.maximum.accumulate(np.where(valid, np.arange(len(valid)), -1))
    return np.concatenate([np.full(interval, -1), last])[: len(valid)]


def _any_ahead(flags: np.ndarray, distance: int) -> np.ndarray:
    """Whether a flag is set at a vector or one of the ``distance - 1`` after it."""
    found = flags.copy()
    for i in range(1, distance):
        found[:-i] |= flags[i:]
    return found


def _system(name: str, side: str, parameters, block: int):
    if name == "m2xfp":
        return ("m2xfp_elem_em" if side == "a" else "m2xfp_sg_em"), {}
    if name == "mixfp4":
        return name, {"polarity": parameters["polarity"], "block_size": block}
    if name == "nvfp4" and block != 16:
        return name, {"block_size": block}
    if name == "mxfp4" and block == 16:
        return "mxfp4_oas", {}
    return name, {}


def m2xfp_decode_golden(ports, parameters):
    """Outputs of ``m2xfp_decode``; see :class:`hwsim.units.Unit`."""
    codes, scale = ports["codes"], ports["scale_code"]
    metadata = unpack_bits(ports["metadata_code"], 2)
    t = BlockTensor("m2xfp_elem_em", codes.shape, ((E2M1.name, _BLOCK),), codes, scale, metadata=metadata)
    eighths = operand_integers(t, 3)
    operands = np.abs(eighths).astype(np.uint8) | ((eighths < 0).astype(np.uint8) << np.uint8(6))
    return {"operands": operands, "scale": scale, "scale_nan": (scale == 255).astype(np.uint8)}


def m2xfp_decode_testbench(parameters, seed):
    """Random blocks, among them those with many equal magnitudes, and every scale byte with all metadata."""
    rng = np.random.default_rng(seed)
    count = 4096
    codes = rng.integers(0, 16, (count, _BLOCK), np.uint8)
    few = rng.integers(0, 16, (count, 2), np.uint8)
    codes = np.where(rng.random((count, 1)) < 0.5, np.take_along_axis(few, codes % 2, axis=1), codes)
    scale, metadata = np.arange(count) % 256, rng.integers(0, 256, count)
    return {
        "codes": codes.astype(np.uint8), "scale_code": scale.astype(np.uint8)[:, None],
        "metadata_code": metadata.astype(np.uint8)[:, None],
    }  # fmt: skip


def m2xfp_decode_stimulus(parameters, vectors, seed, tensor):
    """Blocks of an M2XFP tensor of activations."""
    t = golden.quantize(realistic_tensor(vectors * _BLOCK, _BLOCK, seed) if tensor is None else tensor, "m2xfp_elem_em")
    codes = t.codes.reshape(-1, _BLOCK)
    rows = np.arange(vectors) % len(codes)
    packed = pack_bits(np.asarray(t.metadata).reshape(len(codes), _M2XFP_SUBGROUPS), 2)
    return {
        "codes": codes[rows],
        "scale_code": t.scales.reshape(-1)[rows][:, None],
        "metadata_code": packed[rows],
    }


def m2xfp_decode_operands(parameters) -> int:
    """Operands a cycle."""
    return _BLOCK
