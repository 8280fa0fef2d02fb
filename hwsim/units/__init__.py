"""Which units exist? The only place where golden and rtl meet."""

from hwsim.units.table import UNITS, design, find
from hwsim.units.unit import Design, Unit

__all__ = ["UNITS", "Design", "Unit", "design", "find"]
