"""Stages of a quantisation engine's data path; each part of an engine belongs to exactly one."""

from __future__ import annotations

import enum


class QuantiserStage(enum.Enum):
    """Stages in the order of the data; the class of every part names its own as ``stage``."""

    MAXIMUM = "maximum"
    SCALE = "scale"
    LANES = "lanes"
    TOP1 = "top-1"
    CHOICE = "choice"
    #: Wires and control between the parts.
    REST = "rest"
