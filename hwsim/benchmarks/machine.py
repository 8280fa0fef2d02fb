"""The machine that a benchmark ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numba


def processor() -> str:
    """Name of the CPU and the number of threads used."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        name = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), name
        )
    return f"{name}, {numba.get_num_threads()} threads of {os.cpu_count()} CPUs"
