"""What does a design cost? Area, timing, power, energy, and the overhead over a baseline."""

from hwsim.costs.cost import Cost, cost
from hwsim.costs.flow import Result, Workload

__all__ = ["Cost", "Result", "Workload", "cost"]
