"""What can a cell do? Liberty files, cells, packs of linear cell models, and technologies by name."""

from hwsim.technology.catalogue import load
from hwsim.technology.library import Library

__all__ = ["Library", "load"]
