"""Bit-accurate simulation and RTL co-design of block-scaled low-precision formats.

In Python::

    import hwsim
    from hwsim import golden

    t = golden.quantize(x, "mixfp4")  # what the bits mean
    cost = hwsim.cost("mixfp4_decode", technology="sky130hd")  # what the hardware costs
    print(cost)
    cost.to_dict()["overhead"]["area_percent"]

Names are imported when they are first used, so that ``import hwsim`` itself takes no time. The tools are programs:
``python -m hwsim.synth --help``; README names them all.
"""

from __future__ import annotations

import os
import signal
import sys

# Ctrl-C while modules are still imported ends programs at once and without a traceback: an exception would be lost if
# it came while Python runs a destructor. ``hwsim.cli.run`` puts the handler of Python back. Python calls programs
# ``-m`` until it has found them, and the console script by its name; who starts them may have made them deaf.
if (
    sys.argv
    and (sys.argv[0] == "-m" or os.path.basename(sys.argv[0]) == "hwsim")
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import importlib
from typing import Any

from hwsim.base import kernels_cache

kernels_cache.prepare(os.path.dirname(__file__))

#: Public names, and the module and attribute that each stands for; without an attribute, the module itself.
_PUBLIC = {
    "InputError": ("hwsim.base.errors", "InputError"),
    "cost": ("hwsim.costs.cost", "cost"),
    "golden": ("hwsim.golden", ""),
    "technology": ("hwsim.technology", ""),
    "units": ("hwsim.units", ""),
}

__all__ = ["InputError", "__version__", "cost", "golden", "technology", "units"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = importlib.import_module("importlib.metadata").version("hwsim")
    elif name in _PUBLIC:
        module, attribute = _PUBLIC[name]
        value = importlib.import_module(module)
        value = getattr(value, attribute) if attribute else value
    else:
        raise AttributeError(f"module 'hwsim' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
