"""Map designs that are compared with each other: what is equal in several of them is mapped equally.

A part that is the same hardware in two designs could be mapped in a faster and larger way in one of them, because other
parts of that design are slower. The difference in area would be the mapper's doing and not the designs'.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from hwsim.base import children
from hwsim.synthesis.mapping import Mapped, Options, map_design
from hwsim.technology.library import Library
from hwsim.units.unit import Design

#: Most times that designs are mapped: what one of them needs faster may change what another needs.
_TIMES = 3
#: Designs that are mapped at the same time.
_AT_ONCE = 2


def map_together(designs: Sequence[Design], library: Library, options: Options, build: Path) -> list[Mapped]:
    """Map designs with the same options, each part that is equal in several of them in the same way.

    Parameters and errors as of :func:`hwsim.synthesis.mapping.map_design`.
    """
    asked = [options for _ in designs]
    # Mapping mostly waits for child processes (Yosys), so that threads map several designs at the same time.
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for _ in range(_TIMES):
            mapped = list(pool.map(lambda design, how: map_design(design, library, how, build), designs, asked))
            fastest: dict[tuple[str, str], int] = defaultdict(int)
            for m in mapped:
                for part, way in m.ways.items():
                    key = part, m.fingerprints[part]
                    fastest[key] = max(fastest[key], way)
            wanted = [{part: fastest[part, m.fingerprints[part]] for part in m.ways} for m in mapped]
            if all(m.ways == ways for m, ways in zip(mapped, wanted, strict=True)):
                break
            asked = [
                how
                if m.ways == ways
                else replace(options, ways=tuple((part, way) for part, way in ways.items() if way))
                for how, m, ways in zip(asked, mapped, wanted, strict=True)
            ]
    except BaseException:
        # Of an interrupt too: without their children all threads end at once.
        children.end_all()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return mapped
