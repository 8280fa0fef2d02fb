"""ABC scripts: ways to map a module, from small to fast. ``{D}`` stands for the option with the delay target."""

from __future__ import annotations

#: Merge equivalent nodes and registers.
_CLEAN = ("strash", "ifraig", "scorr")
#: Buffer nets of high fanout, then size gates up until the target is met and down where there is slack.
_SIZE = ("buffer -c", "topo", "upsize {D}", "dnsize {D}", "stime -p")
_AREA = (*_CLEAN, "strash", "&get -n", "&dch -f", "&nf {D}", "&put", *_SIZE)
#: Mapping in more rounds, which takes longer and makes most modules smaller.
_AREA_ROUNDS = (*_CLEAN, "strash", "&get -n", "&dch -f", "&nf -R 40 -F 20 {D}", "&put", *_SIZE)
_SPEED = (*_CLEAN, "strash", "dch -f", "map -B 0.9 {D}", "topo", *_SIZE)
#: Balance sums of products for delay, in front of the mapping of the two ``_BALANCED`` scripts.
_SOPB = ("strash", "&get -n", "&st", "&sopb")
_AREA_BALANCED = (*_CLEAN, *_SOPB, "&dch -f", "&nf {D}", "&put", *_SIZE)
_SPEED_BALANCED = (*_CLEAN, *_SOPB, "&put", "dch -f", "map -B 0.9 {D}", "topo", *_SIZE)
#: ABC script for a flat design: restructure, map for area under the delay target, size.
ABC_FLAT = (*_CLEAN, "dc2", "dc2", *_AREA[len(_CLEAN) :])
#: ABC scripts for the modules of hierarchical designs, from small to fast, each with its delay target as a share of the
#: time between registers. These modules are structured by hand; ``dc2`` would turn their trees and prefix adders into
#: chains.
ABC_STRUCTURED = (
    (_AREA_ROUNDS, 1.0),
    (_AREA_ROUNDS, 0.6),
    (_AREA, 1.0),
    (_AREA, 0.8),
    (_AREA_BALANCED, 1.0),
    (_AREA_BALANCED, 0.8),
    ((*_CLEAN, "strash", "dch -f", "map {D}", "topo", *_SIZE), 0.9),
    (_SPEED, 0.9),
    (_SPEED, 0.75),
    (_SPEED_BALANCED, 0.9),
    (_SPEED_BALANCED, 0.75),
    (_SPEED_BALANCED, 0.6),
)
