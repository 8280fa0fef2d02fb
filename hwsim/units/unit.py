"""What the tools know of a unit, and a unit with its parameters: a design."""

from __future__ import annotations

import inspect
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from amaranth.hdl import UnusedElaboratable
from amaranth.lib import wiring

from hwsim.base.errors import InputError
from hwsim.base.text import unknown
from hwsim.rtl.arith import Arithmetic
from hwsim.units.mma import MMAUnit
from hwsim.units.ports import Parameters, Ports

#: Kinds of arithmetic that MMA units can be described in.
ARITHMETICS = tuple(kind.value for kind in Arithmetic)


@dataclass(frozen=True)
class Published:
    """Overheads over the baseline that the literature reports, in percent (None: not reported), to compare with ours.

    ``source`` is the publication, ``differs`` how its setting differs from ours.
    """

    area_percent: float | None
    power_percent: float | None
    source: str
    differs: str


class Engine(Protocol):
    """What the tools know of a quantisation engine beyond :class:`Unit`."""

    def blocks(self, parameters: Parameters, count: int, rng: np.random.Generator) -> Iterator[Ports]:
        """Inputs of every class but ``valid``, in parts during each of which steady ports are held."""

    def exhaustive(self, parameters: Parameters, rng: np.random.Generator) -> Iterator[Ports]:
        """Inputs, in parts like those of :meth:`blocks`, in which every value stands under every scale.

        Raises
        ------
        InputError
            If values are not BF16: those of FP32 are too many.
        """

    def bins(self, ports: Ports, results: Ports, parameters: Parameters) -> Counter[str]:
        """How many blocks hit every bin of coverage."""


@dataclass(frozen=True)
class Unit:
    """Everything the tools know of a unit.

    Parameters
    ----------
    name : str
        Name of the unit, and of its top module in Verilog.
    builder : subclass of wiring.Component
        Its constructor's keyword arguments are the unit's parameters.
    summary : str
        One line for lists.
    golden : callable (Ports, Parameters) -> Ports
        Outputs that the golden model gives for inputs, without latency.
    stimulus : callable (Parameters, vectors, seed, tensor or None) -> Ports
        Realistic inputs: what the unit sees when it works on quantised tensors.
    testbench : callable (Parameters, seed) -> Ports
        Inputs that verify the unit: exhaustive, or edge cases and random ones.
    operands : callable (Parameters) -> int
        How many of what ``counted`` names the unit does per cycle: the energy per cycle is divided by it.
    baseline : str or None
        The unit that overheads are relative to by default.
    spec : str
        File in ``hwsim/verification/specs``: the bit-level statement of the contract that the RTL is proven against.
    published : Published or None
        Overheads from the literature.
    counted : str
        Operation that the unit repeats: an operand (decoded), a multiply-add.
    mma : MMAUnit or None
        The golden side of an MMA unit.
    streams : bool
        Whether the unit has ``valid``: its testbench then brings resets, bubbles and chains of its own, and results
        count only where ``out_valid`` says so. Other units are compared in every cycle.
    hierarchical : bool
        Whether the unit is mapped and proven module by module.
    steady : callable (Parameters) -> tuple of str
        Ports that are held while anything is in flight.
    engine : Engine or None
        The golden side of a quantisation engine, for bulk comparisons.
    """

    name: str
    builder: Callable[..., wiring.Component]
    summary: str
    golden: Callable[[Ports, Parameters], Ports]
    stimulus: Callable[[Parameters, int, int, np.ndarray | None], Ports]
    testbench: Callable[[Parameters, int], Ports]
    operands: Callable[[Parameters], int]
    baseline: str | None
    spec: str
    published: Published | None = None
    counted: str = "operand"
    mma: MMAUnit | None = None
    streams: bool = False
    hierarchical: bool = False
    steady: Callable[[Parameters], tuple[str, ...]] = lambda parameters: ()
    engine: Engine | None = None

    @property
    def is_tile(self) -> bool:
        """Whether the unit is a tile of dot units."""
        return self.mma is not None

    @property
    def default_vectors(self) -> int:
        """Input vectors that activity is counted over: enough for a block, fewer for units of many parts."""
        return 1 << 13 if self.hierarchical else 1 << 16

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters and their default values, in declared order."""
        return {p.name: p.default for p in inspect.signature(self.builder).parameters.values()}

    def parameters(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults with ``settings`` applied.

        Raises
        ------
        InputError
            For a parameter that the unit does not have.
        """
        defaults = self.defaults
        for key in settings:
            if key not in defaults:
                raise InputError(unknown(f"parameter of {self.name}", key, defaults))
        return defaults | dict(settings)

    def build(self, parameters: Parameters) -> wiring.Component:
        """The Amaranth component.

        Raises
        ------
        InputError
            If the constructor refuses a value.
        """
        try:
            # Often only the ports are wanted; Amaranth would complain of every component that is not elaborated.
            warnings.simplefilter("ignore", UnusedElaboratable)
            return self.builder(**parameters)
        except ValueError as error:
            raise InputError(f"{self.name}: {error}") from error


@dataclass(frozen=True)
class Design:
    """A unit with its parameters: what the tools work on; and a prefix for the names of all its modules."""

    unit: Unit
    parameters: dict[str, Any] = field(default_factory=dict)
    prefix: str = ""

    @property
    def name(self) -> str:
        """Name of the top module: that of the unit, behind the prefix."""
        return self.prefix + self.unit.name

    @property
    def changed(self) -> dict[str, Any]:
        """The parameters that are not at their defaults."""
        return {k: v for k, v in self.parameters.items() if v != self.unit.defaults[k]}

    @property
    def slug(self) -> str:
        """Name with the changed parameters; build folders are named by it."""
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.changed.items())])

    @property
    def base(self) -> str:
        """Name with the changed parameters as an identifier; names of the modules below the top module begin so.

        RTL for other tools is in operators: there, that kind of arithmetic goes without saying.
        """
        kind = self.parameters.get("arithmetic", "operators")
        changed = {k: v for k, v in self.changed.items() if k != "arithmetic"}
        words = [f"{k}{int(v)}" if isinstance(v, int) else f"{k}_{v or 'none'}" for k, v in changed.items()]
        return re.sub(r"\W", "_", "_".join([self.name, *words, *([kind] if kind != "operators" else [])]))

    def in_arithmetic(self, arithmetic: str) -> Design:
        """This design in a kind of arithmetic (:class:`hwsim.rtl.arith.Arithmetic`), if the unit has a choice."""
        if "arithmetic" not in self.parameters:
            return self
        return replace(self, parameters=self.parameters | {"arithmetic": arithmetic})

    def component(self) -> wiring.Component:
        """A new Amaranth component; errors as for :meth:`Unit.build`."""
        return self.unit.build(self.parameters)
