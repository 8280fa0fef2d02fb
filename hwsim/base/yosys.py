"""Yosys as a child process: an error in Yosys ends its process, so it must not be ours."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

from hwsim.base import children
from hwsim.base.errors import ToolError

#: Program of the child process: it runs the commands in the file named by its argument, one per line.
_CHILD = """
import sys
from pyosys import libyosys as ys
design = ys.Design()
for line in open(sys.argv[1]):
    if line.strip():
        ys.run_pass(line.strip(), design)
"""


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
    script_file.write_text("\n".join(script) + "\n")
    with log_file.open("w") as log:
        command = [sys.executable, "-c", _CHILD, script_file.name]
        code = children.run(command, cwd=directory, stdout=log, stderr=subprocess.STDOUT)
    text = log_file.read_text(errors="replace")
    if code:
        errors = re.findall(r"^ERROR: .*", text, re.M) or text.strip().splitlines()[-3:]
        raise YosysError(f"Yosys failed on {script_file}: {' '.join(errors)} (log: {log_file})")
    return text


@functools.cache
def version() -> str:
    """Version of Yosys (the pyosys wheel)."""
    return importlib.metadata.version("pyosys")
