"""What can a cell do? Liberty, cells, packs of linear models, and technologies by name."""

from hwsim.technology.catalogue import load
from hwsim.technology.library import Library

__all__ = ["Library", "load"]
