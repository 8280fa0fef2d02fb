"""Golden outputs, stimulus and testbench of the quantisation engines, and of what stands around them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.base.errors import InputError
from hwsim.golden.e8m0_blocks import BLOCK_SIZE
from hwsim.golden.engines import Quantized, quantize_bits, quantize_macro_bits, to_bf16
from hwsim.golden.exact_choice import SCALE_BITS
from hwsim.golden.formats import E8M0, UE4M3
from hwsim.golden.mbs import MACRO_BLOCK
from hwsim.golden.nvfp4_layout import BLOCK_SIZE as NVFP4_BLOCK_SIZE
from hwsim.golden.oas import BLOCK_SIZE as OAS_BLOCK_SIZE
from hwsim.golden.thresholds import thresholds
from hwsim.rtl.quantise.floats import INPUTS, ValueFormat
from hwsim.rtl.quantise.tables import FAMILIES, tensor_fields
from hwsim.tensors.random import realistic_tensor
from hwsim.units.blocks import (
    MAGNITUDES,
    Candidates,
    alone,
    beside_thresholds,
    near_ties,
    power_of_two_blocks,
    spread,
    tying,
    under_every_scale,
)
from hwsim.units.ports import Parameters, Ports, comes_out

#: Vectors of a testbench; every ``_RESET_EVERY``-th is a reset.
TESTBENCH_VECTORS, _RESET_EVERY = 4000, 97
_INFINITY, _MAGNITUDE = 0x7F80, 0x7FFF
_FP32_MAGNITUDE = 0x7FFFFFFF
#: Where rules depend on fractions only, an exponent field of so few magnitudes that all can be tried; and the magnitude
#: two binades above.
_LOW_EXPONENT = 28
_LOW_MAGNITUDE = (_LOW_EXPONENT + 2) << 7
#: Golden systems of OCP MX by their elements.
_MX = {
    "e2m1": "mxfp4", "e2m3": "mxfp6_e2m3", "e3m2": "mxfp6_e3m2", "e4m3": "mxfp8_e4m3", "e5m2": "mxfp8_e5m2",
}  # fmt: skip
#: Largest magnitudes of the tensors of a testbench; BF16 holds them. The first tensor has most of the blocks.
_TENSORS = (2.703125, 0.0, 1.0, 1.5, 1.9921875 * 2.0**125, 2.0**-100, 1.9921875, 1.3125, 0.0078125, 6.0)


def value_format(parameters: Parameters, name: str = "input") -> ValueFormat:
    """The format that a parameter names; BF16 for units without the parameter."""
    return INPUTS[parameters.get(name, "bf16")]


def dtype(parameters: Parameters) -> type[np.unsignedinteger]:
    """Type of the bits of a value."""
    return np.uint16 if value_format(parameters).width == 16 else np.uint32


def _results(found: Quantized) -> Ports:
    """Outputs of an engine by name."""
    results = {"codes": found.codes, "scale": found.scales[:, None]}
    if found.metadata is not None:
        results["metadata_code"] = found.metadata
    if found.factors is not None:
        results["factor"] = found.factors[:, None]
    return results


def _largest(x: np.ndarray) -> np.ndarray:
    """Bits of the largest magnitude of every block, [blocks, 1]."""
    return (x & x.dtype.type(_MAGNITUDE if x.dtype == np.uint16 else _FP32_MAGNITUDE)).max(axis=1, keepdims=True)


def _of_tensor(tensor: np.ndarray | None, count: int, size: int, seed: int, kind: type) -> np.ndarray:
    """Blocks of a tensor, by default a random one, rounded to BF16 where the engine takes that; repeated to length."""
    if tensor is None:
        tensor = realistic_tensor(count * size, 64 * size, seed)
    flat = tensor.reshape(-1)
    bits = flat[: flat.size // size * size].reshape(-1, size).astype(np.float32).view(np.uint32)
    x = to_bf16(bits) if kind is np.uint16 else bits
    return np.ascontiguousarray(x[np.arange(count) % len(x)])


def _bins(x: np.ndarray, results: Ports, nan: int) -> Counter[str]:
    """Bins that all engines share."""
    scales = results["scale"][:, 0]
    counted = Counter({"NaN": int((scales == nan).sum()), "zero": int((_largest(x) == 0).sum())})
    counted.update({f"scale {s:3d}": int(n) for s, n in zip(*np.unique(scales, return_counts=True), strict=True)})
    codes, counts = np.unique(results["codes"], return_counts=True)
    counted.update({f"code {c:3d}": int(n) for c, n in zip(codes, counts, strict=True)})
    return counted


def _flow(count: int, rng: np.random.Generator) -> Ports:
    """``valid`` and ``rst`` of a testbench: back to back and with bubbles, in turn."""
    valid = rng.random(count) < np.where(np.arange(count) // 50 % 2, 0.5, 1.0)
    rst = np.arange(count) % _RESET_EVERY == _RESET_EVERY - 1
    return {"rst": rst.astype(np.uint8)[:, None], "valid": valid.astype(np.uint8)[:, None]}


@dataclass(frozen=True)
class Side:
    """The golden side of a unit.

    Attributes
    ----------
    builder : callable
        The component, for its latency and its steady ports.
    """

    builder: Callable[..., Any]

    def steady(self, parameters: Parameters) -> tuple[str, ...]:
        """Ports that are held while anything is in flight."""
        return ()

    def comes_out(self, ports: Ports, parameters: Parameters) -> Ports:
        """The port ``out_valid``."""
        valid = comes_out(ports, self.builder(**parameters).latency)
        return {"out_valid": valid.astype(np.uint8)[:, None]}


class Quantiser(Side):
    """The golden side of a quantisation engine."""

    def size(self, parameters: Parameters) -> int:
        """Elements of a block."""
        return parameters.get("block_size", BLOCK_SIZE)

    def golden(self, ports: Ports, parameters: Parameters) -> Ports:
        """Outputs of the engine."""
        raise TypeError(f"{type(self).__name__} does not say what golden gives")

    def surroundings(self, parameters: Parameters, rng: np.random.Generator) -> Iterator[tuple[Ports, int]]:
        """What comes with a block beside its values, in every way that rules differ by; ports [1, fields], each with
        the largest magnitude that blocks then have."""
        yield {}, _MAGNITUDE

    def exhaustive(self, parameters: Parameters, rng: np.random.Generator) -> Iterator[Ports]:
        """Every value under every scale, and every largest value: :meth:`hwsim.units.unit.Engine.exhaustive`."""
        if dtype(parameters) is not np.uint16:
            raise InputError("every value under every scale: only of BF16, values of FP32 are too many")
        size = self.size(parameters)
        for beside, most in self.surroundings(parameters, rng):

            def with_beside(x: np.ndarray, beside: Ports = beside) -> Ports:
                return {"x": x, **{name: np.tile(values, (len(x), 1)) for name, values in beside.items()}}

            magnitudes = MAGNITUDES[: most + 1]
            ports = {"valid": np.ones((len(magnitudes), 1), np.uint8), **with_beside(alone(magnitudes, size))}
            scales = self.golden(ports, parameters)["scale"][:, 0]
            tops = np.sort([np.flatnonzero(scales == scale).max() for scale in np.unique(scales)])
            yield with_beside(under_every_scale(rng, tops, size))


class BlockEngine(Quantiser):
    """The golden side of an engine whose scales are powers of two. A subclass says what golden makes of a block."""

    def golden(self, ports: Ports, parameters: Parameters) -> Ports:
        """Outputs of the engine."""
        x = np.ascontiguousarray(ports["x"].astype(dtype(parameters)))
        return self.comes_out(ports, parameters) | _results(self.quantized(x, ports, parameters))

    def quantized(self, x: np.ndarray, ports: Ports, parameters: Parameters) -> Quantized:
        """Blocks as the golden model quantises them."""
        raise TypeError(f"{type(self).__name__} does not say how it quantises")

    def stimulus(self, parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None) -> Ports:
        """Blocks of a tensor, by default a random one."""
        x = _of_tensor(tensor, vectors, self.size(parameters), seed, dtype(parameters))
        return {"valid": np.ones((vectors, 1), np.uint8), "x": x, **self.beside(x, parameters, None)}

    def beside(self, x: np.ndarray, parameters: Parameters, rng: np.random.Generator | None) -> Ports:
        """What comes with the blocks beside values: without ``rng`` as in use, with it anything."""
        return {}

    def blocks(self, parameters: Parameters, count: int, rng: np.random.Generator) -> Iterator[Ports]:
        """Blocks of every class, in parts that are independent of each other."""
        x = power_of_two_blocks(rng, count, self.size(parameters), dtype(parameters))
        yield {"x": x, **self.beside(x, parameters, rng)}

    def bins(self, ports: Ports, results: Ports, parameters: Parameters) -> Counter[str]:
        """How many blocks hit every bin: special ones, scales, and how many elements every magnitude code."""
        return _bins(ports["x"], results, E8M0.nan_code)

    def testbench(self, parameters: Parameters, seed: int) -> Ports:
        """A stream of blocks of every class, with bubbles and resets."""
        rng = np.random.default_rng(seed)
        [ports] = self.blocks(parameters, TESTBENCH_VECTORS, rng)
        return _flow(TESTBENCH_VECTORS, rng) | ports


@dataclass(frozen=True)
class PowerOfTwoEngine(BlockEngine):
    """The golden side of an engine with one golden system.

    Attributes
    ----------
    system : callable (Parameters) -> (str, dict)
        Name and options of the golden system.
    """

    system: Callable[[Parameters], tuple[str, dict[str, Any]]]

    def quantized(self, x: np.ndarray, ports: Ports, parameters: Parameters) -> Quantized:
        """Blocks as the golden model quantises them."""
        name, options = self.system(parameters)
        return quantize_bits(x, name, subnormals=bool(parameters.get("subnormals", 1)), **options)


def mxfp4(parameters: Parameters) -> tuple[str, dict[str, Any]]:
    """Golden system and options of ``mxfp4_quantize``."""
    rule = parameters["scale_rule"]
    return ("mxfp4_oas", {}) if rule == "oas" else ("mxfp4", {"scale_rule": rule})


def m2xfp(parameters: Parameters) -> tuple[str, dict[str, Any]]:
    """Golden system and options of ``m2xfp_quantize``."""
    return "m2xfp_elem_em", {}


class ElementEngine(BlockEngine):
    """The golden side of ``mx_quantize``: a format for every block."""

    @staticmethod
    def _formats(parameters: Parameters) -> list[str]:
        return str(parameters["formats"]).split("+")

    def quantized(self, x: np.ndarray, ports: Ports, parameters: Parameters) -> Quantized:
        """Blocks as the golden model quantises them; an unused index stands for the last format."""
        names = self._formats(parameters)
        codes, scales = np.zeros(x.shape, np.uint8), np.zeros(len(x), np.uint8)
        which = np.minimum(ports["element"][:, 0], len(names) - 1) if len(names) > 1 else np.zeros(len(x), np.uint8)
        for index, name in enumerate(names):
            rows = which == index
            if rows.any():
                found = quantize_bits(x[rows], _MX[name], subnormals=False, scale_rule=parameters["scale_rule"])
                codes[rows], scales[rows] = found.codes, found.scales
        return Quantized(codes, scales)

    def beside(self, x: np.ndarray, parameters: Parameters, rng: np.random.Generator | None) -> Ports:
        """The formats of blocks: in use, each in segments of 16 blocks."""
        count = len(self._formats(parameters))
        if count == 1:
            return {}
        most = 1 << (count - 1).bit_length()
        element = np.arange(len(x)) // 16 % count if rng is None else rng.integers(0, most, len(x))
        return {"element": element.astype(np.uint8)[:, None]}

    def surroundings(self, parameters: Parameters, rng: np.random.Generator) -> Iterator[tuple[Ports, int]]:
        """Every format."""
        count = len(self._formats(parameters))
        for index in range(count):
            yield {"element": np.array([[index]], np.uint8)} if count > 1 else {}, _MAGNITUDE


class MacroBlockEngine(BlockEngine):
    """The golden side of ``mbs_quantize``."""

    def size(self, parameters: Parameters) -> int:
        """Elements of a block."""
        return OAS_BLOCK_SIZE

    def golden(self, ports: Ports, parameters: Parameters) -> Ports:
        """Outputs of the engine."""
        results = super().golden(ports, parameters)
        return results | {"block_max": _largest(ports["x"].astype(np.uint16))}

    def quantized(self, x: np.ndarray, ports: Ports, parameters: Parameters) -> Quantized:
        """Blocks as the golden model quantises them."""
        return quantize_macro_bits(x, ports["macro_max"][:, 0].astype(x.dtype))

    def beside(self, x: np.ndarray, parameters: Parameters, rng: np.random.Generator | None) -> Ports:
        """The largest magnitudes of macro-blocks: in use, of eight blocks one after the other."""
        largest = _largest(x)
        if rng is None:
            blocks = MACRO_BLOCK // x.shape[1]
            padded = np.resize(largest, (-(-len(x) // blocks), blocks))
            return {"macro_max": np.repeat(padded.max(axis=1), blocks)[: len(x), None]}
        # Of any fraction, a few binades above the block, or as large.
        fraction = rng.integers(0, 128, largest.shape)
        higher = (np.minimum((largest >> 7) + rng.integers(0, 4, largest.shape), 254) << 7) | fraction
        macro = np.where(rng.random(largest.shape) < 0.25, largest, np.maximum(higher, largest))
        special = rng.random(largest.shape) < 0.01
        return {"macro_max": np.where(special, _INFINITY + fraction, macro).astype(np.uint16)}

    def surroundings(self, parameters: Parameters, rng: np.random.Generator) -> Iterator[tuple[Ports, int]]:
        """Macro-blocks of every significand."""
        for fraction in range(128):
            most = (_LOW_EXPONENT << 7) | fraction
            yield {"macro_max": np.array([[most]], np.uint16)}, most


#: Tensor scales that are powers of two have at most this exponent: the largest magnitude stays below 2**126.
_MOST_EXPONENT = 114
#: The largest magnitude that the fields of a tensor were made for, by these fields.
_amax_of: dict[tuple[str, bytes], float] = {}


@dataclass(frozen=True)
class TensorEngine(Quantiser):
    """The golden side of an engine of NVFP4's family.

    Attributes
    ----------
    system : str
        Golden system.
    options : callable (Parameters) -> dict
        Its options.
    """

    system: str
    options: Callable[[Parameters], dict[str, Any]]

    def steady(self, parameters: Parameters) -> tuple[str, ...]:
        """Ports that are held while a block is in flight."""
        return self.builder(**parameters).path.steady

    def size(self, parameters: Parameters) -> int:
        """Elements of a block."""
        return NVFP4_BLOCK_SIZE

    def _fields(self, amax: float, parameters: Parameters) -> dict[str, np.ndarray]:
        """What the engine is told of a tensor, by port."""
        if parameters["tensor_scale"] == "pow2":
            # The next power of two under which the tensor's largest magnitude is not beyond the full scale.
            _, exponent = np.frexp(np.float64(amax) / FAMILIES[self.system].full_scale)
            # Beyond these, a largest magnitude would be out of the thresholds' range.
            byte = E8M0.bias + min(int(exponent), _MOST_EXPONENT) if amax else E8M0.bias
            return {"live": np.array([int(amax != 0)]), "tensor_scale": np.array([byte])}
        formats = (value_format(parameters, name).name for name in ("input", "amax"))
        fields = tensor_fields(amax, self.system, *formats)
        _amax_of[self._key(fields)] = amax
        return fields

    def _key(self, fields: dict[str, np.ndarray]) -> tuple[str, bytes]:
        return self.system, b"".join(np.asarray(fields[name], np.uint32).tobytes() for name in sorted(fields))

    def amax(self, fields: dict[str, np.ndarray], parameters: Parameters) -> float:
        """The largest magnitude that a tensor's scale is made for, from what the engine is told of the tensor.

        Raises
        ------
        ValueError
            If thresholds do not come from :meth:`stimulus`, :meth:`blocks` or :meth:`testbench`.
        """
        if parameters["tensor_scale"] == "pow2":
            scale = 2.0 ** (int(fields["tensor_scale"][0]) - E8M0.bias)
            return FAMILIES[self.system].full_scale * scale if fields["live"][0] else 0.0
        key = self._key(fields)
        if key not in _amax_of:
            raise ValueError(f"these thresholds belong to no tensor that {self.system} was asked for")
        return _amax_of[key]

    def _told(self, amax: float, parameters: Parameters, count: int) -> Ports:
        """Ports that tell of one tensor, for ``count`` vectors."""
        narrow = all(value_format(parameters, name).width == 16 for name in ("input", "amax"))
        # No field is wider than the wider of the two formats.
        kind = np.uint16 if narrow else np.uint32
        return {name: np.tile(v.astype(kind), (count, 1)) for name, v in self._fields(amax, parameters).items()}

    def golden(self, ports: Ports, parameters: Parameters) -> Ports:
        """Outputs of the engine.

        Raises
        ------
        ValueError
            If what the engine is told changes while a block is in flight.
        """
        names, latency = self.steady(parameters), self.builder(**parameters).latency
        told = np.concatenate([ports[name].astype(np.uint32) for name in names], axis=1)
        starts = [0, *(np.flatnonzero((told[1:] != told[:-1]).any(axis=1)) + 1), len(told)]
        x = np.ascontiguousarray(ports["x"].astype(dtype(parameters)))
        codes, scales = np.zeros(x.shape, np.uint8), np.zeros(len(x), np.uint8)
        for start, stop in itertools.pairwise(starts):
            if start and ports["valid"][max(start - latency, 0) : start].any():
                raise ValueError(f"{self.system}: thresholds change at vector {start} while a block is in flight")
            amax = self.amax({name: ports[name][start] for name in names}, parameters)
            found = quantize_bits(x[start:stop], self.system, amax=amax, **self.options(parameters))
            codes[start:stop], scales[start:stop] = found.codes, found.scales
        results = _results(Quantized(codes, scales)) | {"block_max": _largest(x)}
        return self.comes_out(ports, parameters) | results

    def stimulus(self, parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None) -> Ports:
        """Blocks of a tensor, by default a random one, under its own largest magnitude."""
        x = _of_tensor(tensor, vectors, self.size(parameters), seed, dtype(parameters))
        largest = _largest(x).max()
        wide = np.uint32(largest) << np.uint32(16 if x.dtype == np.uint16 else 0)
        # Engines that choose take largest magnitudes in BF16.
        amax = float(wide.view(np.float32))
        return {"valid": np.ones((vectors, 1), np.uint8), "x": x, **self._told(amax, parameters, vectors)}

    def blocks(self, parameters: Parameters, count: int, rng: np.random.Generator) -> Iterator[Ports]:
        """Blocks of every class, in parts that belong to a tensor each."""
        family = FAMILIES[self.system]
        tensors = [*_TENSORS, float(rng.integers(128, 256)) * 2.0 ** int(rng.integers(-60, 60))]
        # Under scales that are powers of two, grids of values are exact, and errors tie.
        exact = slice(len(tensors), len(tensors) + 6)
        tensors += [family.full_scale * 2.0 ** int(rng.integers(-60, 60)) for _ in range(6)]
        if not family.chooses or value_format(parameters, "amax").width == 32:
            # Only engines that choose are told the largest magnitude itself.
            tensors += [float(np.float32(a) * np.float32(1 + rng.random() / 64)) for a in tensors[2:4]]
        share = np.ones(len(tensors))
        share[0] = 6
        if family.chooses:
            share[exact] = 3
        sizes = (count * share / share.sum()).astype(int)
        sizes[0] += count - sizes.sum()
        for amax, size in zip(tensors, sizes.tolist(), strict=True):
            if size:
                told = self._told(amax, parameters, size)
                meant = self.amax({name: values[0] for name, values in told.items()}, parameters)
                yield {"x": self._blocks(meant, parameters, size, rng), **told}

    def surroundings(self, parameters: Parameters, rng: np.random.Generator) -> Iterator[tuple[Ports, int]]:
        """Tensors whose largest magnitude has every significand that makes a difference."""
        if parameters["tensor_scale"] == "pow2":
            tensors = [FAMILIES[self.system].full_scale * 2.0**exponent for exponent in (-100, 0, 100)]
        else:
            tensors = [float(np.ldexp(128 + fraction, _LOW_EXPONENT - 127 - 7)) for fraction in range(128)]
            tensors += [float(np.ldexp(128 + int(rng.integers(128)), exponent)) for exponent in (-60, 0, 60)]
        for amax in (*tensors, 0.0):
            yield self._told(amax, parameters, 1), _MAGNITUDE if amax > 1 else _LOW_MAGNITUDE

    def bins(self, ports: Ports, results: Ports, parameters: Parameters) -> Counter[str]:
        """How many blocks hit every bin: special ones, scales, codes; of engines that choose, ties and choices."""
        counted = _bins(ports["x"], results, UE4M3.nan_code)
        if FAMILIES[self.system].chooses:
            amax = self.amax({name: ports[name][0] for name in self.steady(parameters)}, parameters)
            counted.update(self._ties(ports["x"], amax))
        return counted

    def _ties(self, x: np.ndarray, amax: float) -> Counter[str]:
        """Blocks whose candidates differ and have equal errors, and those where either is better; exact."""
        family = FAMILIES[self.system]
        finite = (_largest(x)[:, 0] < _INFINITY) & bool(amax)
        x = x[finite]
        if not len(x):
            return Counter()
        values = (x.astype(np.uint32) << 16).view(np.float32)
        significand, exponent = np.frexp(np.abs(values).astype(np.float64))
        small, large = Candidates(family, amax, _largest(x)[:, 0]).decoded((x & _MAGNITUDE).astype(np.int64))
        squares = (large * large - small * small).sum(axis=1)
        # Where magnitudes matter, they are within 2**-14 of each other: exact in 64 bits.
        lowest = np.where(large != small, exponent, 1 << 14).min(axis=1, keepdims=True)
        shift = np.clip(exponent - lowest, 0, 20)
        products = ((significand * 256).astype(np.int64) * (large - small) << shift).sum(axis=1)
        fraction, power = np.frexp(amax)
        factor, scale = int(fraction * (1 << 24)), 4 * int(family.full_scale) << SCALE_BITS
        places = (lowest[:, 0] - 8) - (int(power) - 24)
        differ = (large != small).any(axis=1)
        left = squares * float(factor)
        right = products * float(scale) * np.exp2(np.where(differ, places, 0))
        close = differ & (np.abs(left - right) <= 1e-12 * np.abs(right))
        counted = Counter({
            "candidates equal": int((~differ).sum()),
            "larger scale better": int((differ & ~close & (left < right)).sum()),
            "smaller scale better": int((differ & ~close & (left > right)).sum()),
        })  # fmt: skip
        for i in np.flatnonzero(close).tolist():
            place_of = int(places[i])
            a = int(squares[i]) * factor << max(-place_of, 0)
            b = int(products[i]) * scale << max(place_of, 0)
            counted["tie" if a == b else "larger scale better" if a < b else "smaller scale better"] += 1
        return counted

    def _blocks(self, amax: float, parameters: Parameters, count: int, rng: np.random.Generator) -> np.ndarray:
        """Blocks of a tensor, bits [count, 16].

        Classes: values at and beside the thresholds of the block's own scales, under a largest magnitude that is at or
        beside the ends of a scale's range; Gaussian values of any size; values on a grid, and those whose candidates'
        errors tie, or, of blocks of all scales and spreads, nearly tie; zeros, subnormals, infinities and NaN.
        """
        kind = dtype(parameters)
        family, fraction = FAMILIES[self.system], value_format(parameters).fraction_width
        live = amax or 1.0
        tables = [
            thresholds(
                live, full_scale=family.full_scale, element=ladder.element, stretch=stretch, fraction_width=fraction
            )
            for ladder, stretch in family.candidates
        ]  # fmt: skip
        x = beside_thresholds(rng, tables, fraction, count).astype(kind)
        sizes = np.exp2(-rng.uniform(0, 18, (count, 1)))
        with np.errstate(over="ignore"):
            # What is beyond FP32 becomes infinite, as some blocks shall be.
            gaussian = (rng.standard_normal((count, 16)) * live * sizes).astype(np.float32).view(np.uint32)
        step = np.float32(live / family.full_scale) * np.exp2(rng.integers(-8, 10, (count, 1)))
        levels = rng.integers(-30, 31, (count, 16)) * rng.choice([0.5, 1, 0.25], (count, 1))
        grid = np.clip(levels * step, -3e38, 3e38).astype(np.float32).view(np.uint32)
        of_class = rng.integers(0, 10, (count, 1))
        of_floats = np.where(of_class < 1, gaussian, grid)
        if family.chooses:
            ties = (tying(rng, family, count) * (live / family.full_scale)).astype(np.float32).view(np.uint32)
            of_floats = np.where(of_class >= 2, ties, of_floats)
        x = np.where(of_class < 5, to_bf16(of_floats) if kind is np.uint16 else of_floats, x)
        if family.chooses:
            x = np.where((of_class == 6) | (of_class == 7), spread(rng, family, live, count), x)
            close = of_class[:, 0] >= 6
            x[close] = near_ties(rng, family, live, x[close])
        random = rng.integers(0, 1 << x.dtype.itemsize * 8, x.shape, x.dtype)
        sign = x.dtype.type(1 << (x.dtype.itemsize * 8 - 1))
        x = np.where(rng.random(x.shape) < 0.03, x & sign, x)
        tiny = random & (sign | x.dtype.type((1 << (fraction + 1)) - 1))
        x = np.where(rng.random((count, 1)) < 0.01, tiny, np.where(rng.random((count, 1)) < 0.03, random, x))
        return np.ascontiguousarray(np.where(rng.random((count, 1)) < 0.01, x & sign, x).astype(kind))

    def testbench(self, parameters: Parameters, seed: int) -> Ports:
        """A stream of blocks of several tensors, with bubbles and resets; no block comes before a tensor's first cycles
        have passed."""
        rng = np.random.default_rng(seed)
        latency = self.builder(**parameters).latency
        vectors = (3 if FAMILIES[self.system].chooses else 1) * TESTBENCH_VECTORS
        parts = []
        for ports in self.blocks(parameters, vectors, rng):
            held = {
                name: np.concatenate([values, values[-1:].repeat(latency, axis=0)]) for name, values in ports.items()
            }
            flow = _flow(len(held["x"]), rng)
            flow["valid"][-latency:] = 0
            parts.append(flow | held)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def mixfp4(parameters: Parameters) -> dict[str, Any]:
    """Options of golden's ``mixfp4`` for ``mixfp4_quantize``."""
    return {"measure": "exact", "polarity": parameters["polarity"]}


class Rounding(Side):
    """The golden side of ``fp32_to_bf16``."""

    def size(self, parameters: Parameters) -> int:
        """Values a cycle."""
        return parameters["lanes"]

    def golden(self, ports: Ports, parameters: Parameters) -> Ports:
        """Outputs of the unit."""
        return self.comes_out(ports, parameters) | {"y": to_bf16(ports["x"])}

    def stimulus(self, parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None) -> Ports:
        """Values of a tensor, by default a random one."""
        x = _of_tensor(tensor, vectors, parameters["lanes"], seed, np.uint32)
        return {"valid": np.ones((vectors, 1), np.uint8), "x": x}

    def testbench(self, parameters: Parameters, seed: int) -> Ports:
        """A stream of values of every class: ties and their neighbours, overflow, NaN, with bubbles and resets."""
        rng = np.random.default_rng(seed)
        count = 2000
        shape = count, parameters["lanes"]
        high = rng.integers(0, 1 << 16, shape, np.uint32)
        exponent = rng.choice(np.array([0, 1, 127, 254, 255], np.uint32), shape)
        high = np.where(rng.random(shape) < 0.5, high, (high & 0x807F) | (exponent << 7))
        # A fraction of all ones carries; one of zeros makes infinities of NaN unless the low bits are looked at.
        high = np.where(rng.random(shape) < 0.2, high | 0x7F, np.where(rng.random(shape) < 0.2, high & 0xFF80, high))
        low = rng.choice(np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32), shape)
        low = np.where(rng.random(shape) < 0.6, low, rng.integers(0, 1 << 16, shape, np.uint32))
        # Above a tie, or NaN, by one bit.
        one = np.uint32(1) << rng.integers(0, 15, shape).astype(np.uint32)
        by_one = rng.random(shape) < 0.3
        low = np.where(by_one, one | np.where(rng.random(shape) < 0.7, 0x8000, 0).astype(np.uint32), low)
        high = np.where(by_one & (rng.random(shape) < 0.5), high & 0xFF80, high)
        return _flow(count, rng) | {"x": (high.astype(np.uint32) << 16) | low.astype(np.uint32)}


class RunningMaximum(Side):
    """The golden side of ``tensor_max``."""

    def size(self, parameters: Parameters) -> int:
        """Blocks a cycle."""
        return 1

    def golden(self, ports: Ports, parameters: Parameters) -> Ports:
        """Outputs of the unit."""
        count = len(ports["valid"])
        resets = ports.get("rst", np.zeros((count, 1), np.uint8))[:, 0]
        largest, results = 0, np.zeros((count, 1), ports["block_max"].dtype)
        for i in range(count):
            if resets[i]:
                largest = 0
            elif ports["valid"][i, 0]:
                largest = max(0 if ports["first"][i, 0] else largest, int(ports["block_max"][i, 0]))
            results[i] = largest
        return self.comes_out(ports, parameters) | {"largest": results}

    def stimulus(self, parameters: Parameters, vectors: int, seed: int, tensor: np.ndarray | None) -> Ports:
        """Maxima of the blocks of a tensor, by default a random one; each begins a tensor of its own."""
        x = _of_tensor(tensor, vectors, 16, seed, dtype(parameters))
        ones = np.ones((vectors, 1), np.uint8)
        return {"valid": ones, "first": ones, "block_max": _largest(x)}

    def testbench(self, parameters: Parameters, seed: int) -> Ports:
        """A stream of tensors of several lengths, with bubbles and resets."""
        rng = np.random.default_rng(seed)
        count, kind = 2000, dtype(parameters)
        bits = np.dtype(kind).itemsize * 8 - 1
        block_max = rng.integers(0, 1 << bits, (count, 1), kind) >> rng.integers(0, bits, (count, 1)).astype(kind)
        first = (rng.random((count, 1)) < 0.1).astype(np.uint8)
        return _flow(count, rng) | {"first": first, "block_max": block_max}
