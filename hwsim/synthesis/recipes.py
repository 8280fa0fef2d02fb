"""ABC scripts: ways to map a module, from small to fast. ``{D}`` stands for the option with the delay target."""

from __future__ import annotations

#: Merge equivalent nodes and registers.
_CLEAN = ("strash", "ifraig", "scorr")


def _sized(fanout: int = 10) -> tuple[str, ...]:
    """Buffer nets of a higher fanout, then size gates up until the target is met and down where there is slack."""
    return (f"buffer -c -N {fanout}", "topo", "upsize {D}", "dnsize {D}", "stime -p")


#: Structural choices, then the gates of least area that cover them, without regard to delay: twice, since the gates of
#: the first round give structure to the second.
_SMALLEST = 2 * ("strash", "&get -n", "&dch -f", "&put", "amap -m -A 10")
#: The same once, where delay counts as much as area.
_SMALL = ("strash", "&get -n", "&dch -f", "&put", "amap -m -Q 1")
#: Cover choices under the delay target; in more rounds, which takes longer and makes most modules smaller.
_AREA = (*_CLEAN, "strash", "&get -n", "&dch -f", "&nf {D}", "&put", *_sized())
_AREA_ROUNDS = (*_CLEAN, "strash", "&get -n", "&dch -f", "&nf -R 40 -F 20 {D}", "&put", *_sized())
_SPEED = (*_CLEAN, "strash", "dch -f", "map -B 0.9 {D}", "topo", *_sized())
#: Balance sums of products for delay, in front of the mapping of the two ``_BALANCED`` scripts.
_SOPB = ("strash", "&get -n", "&st", "&sopb")
_AREA_BALANCED = (*_CLEAN, *_SOPB, "&dch -f", "&nf {D}", "&put", *_sized())
_SPEED_BALANCED = (*_CLEAN, *_SOPB, "&put", "dch -f", "map -B 0.9 {D}", "topo", *_sized())
#: ABC script for a flat design: restructure, map for area under the delay target, size.
ABC_FLAT = (*_CLEAN, "dc2", "dc2", *_AREA[len(_CLEAN) :])
#: ABC scripts for the modules of hierarchical designs, from small to fast, each with its delay target as a share of the
#: time between registers. These modules are structured by hand: ``dc2`` makes them smaller, and turns their trees and
#: prefix adders into chains.
ABC_STRUCTURED = (
    ((*_CLEAN, "dc2", *_SMALLEST, *_sized(24)), 1.0),
    ((*_CLEAN, *_SMALLEST, *_sized(24)), 1.0),
    ((*_CLEAN, *_SMALL, *_sized(16)), 1.0),
    (_AREA_ROUNDS, 1.0),
    (_AREA_ROUNDS, 0.6),
    (_AREA, 1.0),
    (_AREA, 0.8),
    (_AREA_BALANCED, 1.0),
    (_AREA_BALANCED, 0.8),
    ((*_CLEAN, "strash", "dch -f", "map {D}", "topo", *_sized()), 0.9),
    (_SPEED, 0.9),
    (_SPEED, 0.75),
    (_SPEED_BALANCED, 0.9),
    (_SPEED_BALANCED, 0.75),
    (_SPEED_BALANCED, 0.6),
)
