"""Which units exist? The only place where RTL is paired with its golden function."""

from hwsim.units.table import UNITS, design, find
from hwsim.units.unit import Design, Unit

__all__ = ["UNITS", "Design", "Unit", "design", "find"]
