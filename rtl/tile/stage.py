"""Stages of a tile's data path; each part of a tile belongs to exactly one."""

from __future__ import annotations

import enum
from typing import Protocol, cast

from amaranth.lib import wiring

from hwsim.rtl.hierarchy import all_parts


class Stage(enum.Enum):
    """Stages in the order of the data; the class of every part names its own as ``stage``."""

    DECODE = "decode"
    PRODUCTS = "products, block sums"
    SCALE = "scale"
    EXPONENTS = "exponents"
    ALIGN = "align and sum"
    NORMALISE = "normalise"
    #: What stands beside the tile, if asked for.
    BUFFERS = "buffers"
    #: Wires, flags of special values and control between the parts.
    REST = "rest"


class HasStage(Protocol):
    """A part of a tile: a component that says which stage it belongs to."""

    stage: Stage


def stages(tile: wiring.Component) -> dict[str, Stage]:
    """Stage of every part of a tile, by module name; the tile's own module is not among them."""
    return {name: cast(HasStage, part).stage for name, part in all_parts(tile).items()}
