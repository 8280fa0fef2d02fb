"""Recorded vectors that lie in a checkout of hwsim and not in the installed package."""

from __future__ import annotations

from pathlib import Path

from hwsim.base.errors import InputError

#: Slices of recordings, each described by a README beside it.
DATA = Path(__file__).parents[2] / "tests" / "data"


def recorded(path: Path) -> Path:
    """Return ``path``, a file or folder in :data:`DATA`.

    Raises
    ------
    InputError
        If it is not there, as in an installed package.
    """
    if not path.exists():
        name = path.relative_to(DATA.parents[1])
        raise InputError(f"this report needs a checkout of hwsim: the installed package does not hold {name}")
    return path
