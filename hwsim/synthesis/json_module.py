"""Add nets and cells to a module in Yosys' JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Additions:
    """Adds to one module, in place.

    Parameters
    ----------
    module : dict
        One of the ``modules`` of Yosys' JSON.
    """

    def __init__(self, module: dict[str, Any]):
        self._module = module
        bits = (bit for entry in module["netnames"].values() for bit in entry["bits"])
        self._last = max(bit for bit in bits if isinstance(bit, int))

    def net(self, name: str, hidden: bool = True) -> int:
        """A new net, ``hidden`` as Yosys' own are; its bit, which ``{bit}`` in the name stands for."""
        self._last += 1
        self._module["netnames"][name.format(bit=self._last)] = {
            "hide_name": int(hidden),
            "bits": [self._last],
            "attributes": {},
        }
        return self._last

    def cell(
        self,
        name: str,
        kind: str,
        inputs: Mapping[str, int | str],
        outputs: Mapping[str, int | str],
        hidden: bool = True,
    ) -> None:
        """A cell of type ``kind``, in the place of one that has its name; pins have a bit, ``"0"`` or ``"1"``."""
        self._module["cells"][name] = {
            "hide_name": int(hidden), "type": kind, "parameters": {}, "attributes": {},
            "port_directions": dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output"),
            "connections": {pin: [bit] for pin, bit in (*inputs.items(), *outputs.items())},
        }  # fmt: skip
