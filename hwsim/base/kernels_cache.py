"""Where Numba keeps compiled kernels: beside the package, in the user's cache, or in a temporary folder."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def prepare(package: str) -> None:
    """Give Numba a folder for compiled kernels if it would find none that it can write, and say so.

    Numba looks for ``__pycache__`` beside a source file and for a cache of the user, and refuses to import kernels if
    it can write neither: of a package that root installed, for a user without a home. ``package`` is the folder of this
    package.
    """
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    beside = [Path(package, folder, "__pycache__") for folder in ("golden", "analysis")]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME") or "/") / ".cache")
    if all(map(_is_writable, beside)) or _is_writable(home / "numba"):
        return
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"hwsim-kernels-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        trusted = folder.stat().st_uid == os.getuid() and not folder.is_symlink() and _is_writable(folder)
    except OSError:
        trusted = False
    if not trusted:
        # Somebody else's folder could hold somebody else's machine code.
        folder = Path(tempfile.mkdtemp(prefix="hwsim-kernels-"))
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    print(f"note: neither {package} nor {home} can be written; compiled kernels are kept in {folder}", file=sys.stderr)


def _is_writable(folder: Path) -> bool:
    """Whether a folder can be written, or made where it is not there."""
    place = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
