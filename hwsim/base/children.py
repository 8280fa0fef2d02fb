"""Child processes that end with us: each leads a group of its own, so that its own children can be ended, too."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

_running: set[subprocess.Popen] = set()
_lock = threading.Lock()


def run(command: Sequence[Any], *, timeout: float | None = None, **options: Any) -> int:
    """Run a program to its end; return its exit code.

    Parameters
    ----------
    command : sequence
        The program and its arguments.
    timeout : float, optional
        Seconds after which it is ended.
    options
        As for ``subprocess.Popen``.

    Raises
    ------
    subprocess.TimeoutExpired
        If it was ended by ``timeout``.
    """
    with _lock:
        child = subprocess.Popen(command, start_new_session=True, **options)
        _running.add(child)
    try:
        return child.wait(timeout)
    except BaseException:
        _end(child)
        raise
    finally:
        with _lock:
            _running.discard(child)


def end_all() -> None:
    """End all programs that :func:`run` is running, in whatever thread."""
    with _lock:
        for child in _running:
            _end(child)


def _end(child: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
