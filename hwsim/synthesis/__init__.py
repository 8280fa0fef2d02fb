"""From a design to Verilog and to gates."""

from hwsim.synthesis.mapping import Mapped, Options, map_design

__all__ = ["Mapped", "Options", "map_design"]
