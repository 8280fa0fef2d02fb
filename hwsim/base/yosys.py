"""Yosys as a child process: an error in Yosys ends its process, so it must not be ours."""

from __future__ import annotations

import errno
import functools
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

from hwsim.base import children, files
from hwsim.base.errors import ToolError

#: Program of the child process: it runs the commands in the file named by its argument, one per line.
_CHILD = """
import sys
from pyosys import libyosys as ys
design = ys.Design()
for line in open(sys.argv[1]):
    if line.strip():
        ys.run_pass(line.strip(), design)
# By Yosys and not by Python: each has a buffer of its own, and which comes last depends on the interpreter.
ys.run_pass("log the script has ended", design)
"""
#: What the child prints last: a log without it is not whole.
_LAST_WORDS = "the script has ended\n"


class YosysError(ToolError):
    """Yosys stopped; the message holds its last words and where its log is."""


def run(script: list[str], directory: Path, name: str) -> str:
    """Run Yosys commands, one per line, in ``directory``; keep ``name.ys`` and ``name.log`` there.

    Returns
    -------
    str
        The log.

    Raises
    ------
    YosysError
        If Yosys stops with an error.
    """
    directory.mkdir(parents=True, exist_ok=True)
    script_file, log_file = directory / f"{name}.ys", directory / f"{name}.log"
    files.write(script_file, "\n".join(script) + "\n")
    with log_file.open("w") as log:
        command = [sys.executable, "-c", _CHILD, script_file.name]
        code = children.run(command, cwd=directory, stdout=log, stderr=subprocess.STDOUT)
    text = log_file.read_text(errors="replace")
    if code:
        errors = re.findall(r"^ERROR: .*", text, re.M) or text.strip().splitlines()[-3:]
        files.refuse_full_disk(log_file)
        raise YosysError(f"Yosys failed on {script_file}: {' '.join(errors)} (log: {log_file})")
    _refuse_incomplete(script, directory)
    if not text.endswith(_LAST_WORDS):
        raise OSError(errno.ENOSPC, "not whole, is the disk full?", str(log_file))
    return text.removesuffix(_LAST_WORDS)


#: How a whole file of each command that writes one ends.
_ENDS = {"write_rtlil": b"\nend\n", "write_json": b"\n}\n", "write_verilog": b"\nendmodule\n"}


def _refuse_incomplete(script: list[str], directory: Path) -> None:
    """OSError that names a file which the script wrote and which is not whole: Yosys goes on where a disk is full."""
    for line in script:
        command, *words = line.split() or [""]
        end = _ENDS.get(command)
        if end is None:
            continue
        path = directory / words[-1]
        with path.open("rb") as file:
            file.seek(-min(len(end), path.stat().st_size), os.SEEK_END)
            if file.read() != end:
                raise OSError(errno.ENOSPC, "not whole, is the disk full?", str(path))


@functools.cache
def version() -> str:
    """Version of Yosys (the pyosys wheel)."""
    return importlib.metadata.version("pyosys")
