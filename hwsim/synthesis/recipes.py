"""ABC scripts: ways to map a module, from small to fast. ``{D}`` stands for the option with the delay target."""

from __future__ import annotations

from dataclasses import dataclass

#: Merge equivalent nodes and registers.
_CLEAN = ("strash", "ifraig", "scorr")


def _sized(fanout: int = 10) -> tuple[str, ...]:
    """Buffer nets of a higher fanout, then size gates up until the target is met and down where there is slack."""
    return (f"buffer -c -N {fanout}", "topo", "upsize {D}", "dnsize {D}", "stime -p")


#: Structural choices, then the gates of least area that cover them, without regard to delay: twice, since the gates of
#: the first round give structure to the second.
_SMALLEST = 2 * ("strash", "&get -n", "&dch -f", "&put", "amap -m -A 10")
#: Cover choices under the delay target; in more rounds, which takes longer and makes most modules smaller.
_AREA = (*_CLEAN, "strash", "&get -n", "&dch -f", "&nf {D}", "&put", *_sized())
_AREA_ROUNDS = (*_CLEAN, "strash", "&get -n", "&dch -f", "&nf -R 40 -F 20 {D}", "&put", *_sized())
_SPEED = (*_CLEAN, "strash", "dch -f", "map -B 0.9 {D}", "topo", *_sized())
#: Balance sums of products for delay, in front of the mapping of the two ``_BALANCED`` scripts.
_SOPB = ("strash", "&get -n", "&st", "&sopb")
_AREA_BALANCED = (*_CLEAN, *_SOPB, "&dch -f", "&nf {D}", "&put", *_sized())
_SPEED_BALANCED = (*_CLEAN, *_SOPB, "&put", "dch -f", "map -B 0.9 {D}", "topo", *_sized())
#: ABC script for a flat design: restructure, map for area under the delay target, size.
FLAT = (*_CLEAN, "dc2", "dc2", *_AREA[len(_CLEAN) :])


@dataclass(frozen=True)
class Way:
    """A way to map a module.

    Attributes
    ----------
    script : tuple of str
        ABC's commands.
    share : float
        The delay target as a share of the time between registers: small where ABC sees only what is between adder
        cells, which to it are boxes.
    adder_cells : bool
        Whether adders become the library's adder cells. Otherwise ABC makes them of gates, which are larger but, in
        some libraries, much faster.
    """

    script: tuple[str, ...]
    share: float = 1.0
    adder_cells: bool = True


#: Ways to map the modules of hierarchical designs, from small to fast. These modules are structured by hand: ``dc2``
#: makes them smaller, and turns their trees and prefix adders into chains.
STRUCTURED = (
    Way((*_CLEAN, "dc2", *_SMALLEST, *_sized(24))),
    Way((*_CLEAN, *_SMALLEST, *_sized(24))),
    Way((*_CLEAN, *_SMALLEST, *_sized(24)), 0.25),
    Way(_AREA_ROUNDS),
    Way(_AREA_ROUNDS, 0.6),
    Way(_AREA_ROUNDS, adder_cells=False),
    Way(_AREA, 0.8, False),
    Way(_AREA_BALANCED, 1.0, False),
    Way(_AREA_BALANCED, 0.8, False),
    Way((*_CLEAN, "strash", "dch -f", "map {D}", "topo", *_sized()), 0.9, False),
    Way(_SPEED, 0.9, False),
    Way(_SPEED, 0.75, False),
    Way(_SPEED_BALANCED, 0.9, False),
    Way(_SPEED_BALANCED, 0.75, False),
    Way(_SPEED_BALANCED, 0.6, False),
)
