"""How formats lie in memory: exact bits of rows of an operand, and the steps that instructions take through K."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from hwsim.base.errors import InputError
from hwsim.base.text import unknown
from hwsim.golden import SYSTEMS
from hwsim.golden.formats import BF16, FORMATS
from hwsim.golden.micromix import GRANULE
from hwsim.golden.recipes import RECIPES, Recipe
from hwsim.golden.tensor import System

#: The format that nothing is quantised to: operands as D leaves the tile.
PLAIN = BF16.name
#: MicroMix's shares of K in FP4, FP6 and FP8 where no tensor says more: 5.4 bits an element; its paper has 5 to 5.5.
MICROMIX_SHARES = (0.6, 0.1, 0.3)
_SCALE_WIDTH = 8
#: Arrays beside codes and scales: bits of an entry.
_ENTRY = {"metadata": 2, "factors": 8}
_INDEX_WIDTH = 16


@dataclass(frozen=True)
class Arrays:
    """Bits of an operand, by the array that they are in; each array is a DRAM request of its own."""

    codes: int
    scales: int = 0
    metadata: int = 0

    @property
    def total(self) -> int:
        """Bits of all."""
        return self.codes + self.scales + self.metadata

    def times(self, rows: int) -> Arrays:
        """Of as many rows."""
        return Arrays(rows * self.codes, rows * self.scales, rows * self.metadata)

    def in_bursts(self, burst_bits: int) -> int:
        """Bits that cross the DRAM's port: every array in whole bursts."""
        return sum(-(-bits // burst_bits) * burst_bits for bits in (self.codes, self.scales, self.metadata))


@dataclass(frozen=True)
class Side:
    """How a row of one operand is stored.

    Parameters
    ----------
    widths : tuple of int
        Bits of an element, of every segment of K.
    block_size : int
        Elements that share a scale byte; 0: there is none.
    metadata : tuple of (int, int)
        Further entries: bits of one, and how many elements share it.
    tensor_bits : int
        Bits of the whole tensor beside its rows.
    index_bits : int
        Bits for every channel of K, for the whole tensor.
    """

    widths: tuple[int, ...]
    block_size: int = 0
    metadata: tuple[tuple[int, int], ...] = ()
    tensor_bits: int = 0
    index_bits: int = 0

    def row(self, segment: int, elements: int) -> Arrays:
        """Bits of as many elements of a row, in a segment of K."""
        scales = -(-elements // self.block_size) * _SCALE_WIDTH if self.block_size else 0
        metadata = sum(-(-elements // shared) * width for width, shared in self.metadata)
        return Arrays(elements * self.widths[segment], scales, metadata)

    def per_element(self, segment: int) -> Fraction:
        """Bits of an element with its share of the scale and the metadata."""
        shared = Fraction(_SCALE_WIDTH, self.block_size) if self.block_size else Fraction(0)
        return self.widths[segment] + shared + sum(Fraction(width, n) for width, n in self.metadata)


@dataclass(frozen=True)
class Segment:
    """A part of K in one element format: its place among all of the format's, K, padded, K of an instruction, and bits
    of an element of A and B."""

    index: int
    k: int
    step: int
    a_bits: Fraction
    b_bits: Fraction

    @property
    def steps(self) -> int:
        """Instructions through the segment."""
        return -(-self.k // self.step)


@dataclass(frozen=True)
class Format:
    """A format as the layer simulator knows it.

    Parameters
    ----------
    name : str
    a, b : Side
        Storage of activations and weights.
    multiple : int
        K is padded to a multiple of this.
    shares : tuple of float
        Shares of K of the segments.
    recipe : Recipe or None
        How operands are quantised; None: not at all.
    factors : int
        Operands with a factor for each macro-block of K (MBS).
    """

    name: str
    a: Side
    b: Side
    multiple: int
    shares: tuple[float, ...] = (1.0,)
    recipe: Recipe | None = None
    factors: int = 0

    def lengths(self, k: int) -> tuple[int, ...]:
        """K of every segment, padded: whole granules in all but the first (contract of MicroMix)."""
        padded = -(-k // self.multiple) * self.multiple
        if len(self.shares) == 1:
            return (padded,)
        left, lengths = padded, []
        for share in reversed(self.shares[1:]):
            wanted = -(-int(share * padded * 1_000_000) // (GRANULE * 1_000_000)) * GRANULE
            lengths.append(min(wanted, left))
            left -= lengths[-1]
        return (left, *reversed(lengths))

    def segments(self, k: int, steps: Sequence[int]) -> tuple[Segment, ...]:
        """The segments of K that have channels.

        Parameters
        ----------
        k : int
        steps : sequence of int
            K of an instruction in every segment.
        """
        return tuple(
            Segment(i, length, step, self.a.per_element(i), self.b.per_element(i))
            for i, (length, step) in enumerate(zip(self.lengths(k), steps, strict=True))
            if length
        )

    def row(self, side: str, k: int) -> Arrays:
        """Bits of a whole row of an operand, ``a`` or ``b``."""
        stored = self.a if side == "a" else self.b
        parts = [stored.row(i, length) for i, length in enumerate(self.lengths(k))]
        return Arrays(*(sum(getattr(p, name) for p in parts) for name in ("codes", "scales", "metadata")))

    def tensor_bits(self, side: str, k: int) -> int:
        """Bits of a tensor beside its rows: tensor scale, permutation."""
        stored = self.a if side == "a" else self.b
        return stored.tensor_bits + stored.index_bits * sum(self.lengths(k))

    def bits(self, side: str, k: int) -> Fraction:
        """Bits of an element, padding counted, without those of the whole tensor."""
        return Fraction(self.row(side, k).total, k)


def of_recipe(recipe: Recipe, shares: Sequence[float] = MICROMIX_SHARES) -> Format:
    """The format of a recipe; ``shares`` are those of K in the segments of MicroMix.

    Raises
    ------
    InputError
        If shares are not as many as segments, negative, or do not add up to 1.
    """
    a, b = (SYSTEMS[name] for name in (recipe.activations, recipe.weights))
    segments = len(a.elements)
    if segments > 1 and (len(shares) != segments or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6):
        raise InputError(f"shares of {'+'.join(a.elements)} must be {segments} that add up to 1, got {list(shares)}")
    return Format(
        recipe.name, _side(a, recipe, True), _side(b, recipe, False), recipe.multiple,
        tuple(shares) if segments > 1 else (1.0,), recipe, sum("factors" in s.arrays for s in (a, b)),
    )  # fmt: skip


def _side(system: System, recipe: Recipe, is_a: bool) -> Side:
    shared = [(bits, system.arrays[name]) for name, bits in _ENTRY.items() if name in system.arrays]
    return Side(
        tuple(FORMATS[element].width for element in system.elements),
        recipe.options.get("block_size", system.block_size),
        tuple(shared),
        32 if "amax" in system.options else 0,
        _INDEX_WIDTH if is_a and "permutation" in system.arrays else 0,
    )


def plain(name: str = PLAIN, a_bits: int = BF16.width, b_bits: int = BF16.width) -> Format:
    """Elements without scales."""
    return Format(name, Side((a_bits,)), Side((b_bits,)), 1)


def names() -> list[str]:
    """Names of all formats."""
    return [*RECIPES, PLAIN]


def named(name: str, shares: Sequence[float] = MICROMIX_SHARES) -> Format:
    """The format called ``name``: a recipe, or BF16.

    Raises
    ------
    InputError
        If there is none, or for shares that :func:`of_recipe` refuses.
    """
    if name == PLAIN:
        return plain()
    if name not in RECIPES:
        raise InputError(unknown("format", name, names()))
    return of_recipe(RECIPES[name], shares)
