"""Find the source files that decide what a module does: its own, and those of everything that it imports."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Closure:
    """A module with everything that it imports, directly or through other modules, at its top or in a function.

    Attributes
    ----------
    files : dict of str to Path
        Source file of every module found below the root, by dotted name; packages on the way to a module are among
        them, since importing it runs their ``__init__.py``.
    others : frozenset of str
        Top-level names of imported modules that are not below the root.
    """

    files: dict[str, Path]
    others: frozenset[str]


def closure(entries: Iterable[str], root: Path) -> Closure:
    """Follow the import statements of modules; nothing is executed.

    Modules that are imported by a name computed at run time (``importlib.import_module``) are not seen.

    Parameters
    ----------
    entries : iterable of str
        Dotted names of the modules to start from.
    root : Path
        The folder in which the top-level packages lie.

    Raises
    ------
    ModuleNotFoundError
        If an entry has no source file below ``root``.
    """
    files: dict[str, Path] = {}
    others: set[str] = set()
    waiting = list(entries)
    for entry in waiting:
        if source(entry, root) is None:
            raise ModuleNotFoundError(f"no source file of {entry} below {root}")
    while waiting:
        name = waiting.pop()
        path = source(name, root)
        if path is None:
            others.add(name.partition(".")[0])
        elif name not in files:
            files[name] = path
            waiting += [name.rpartition(".")[0]] if "." in name else []
            waiting += direct(name, root)
    return Closure(dict(sorted(files.items())), frozenset(others))


def source(name: str, root: Path) -> Path | None:
    """Source file of a module below ``root``, or None."""
    stem = root.joinpath(*name.split("."))
    return next((path for path in (stem / "__init__.py", stem.with_suffix(".py")) if path.is_file()), None)


def direct(name: str, root: Path) -> Iterator[str]:
    """Dotted names of the modules that a module below ``root`` imports itself, not through others."""
    path = source(name, root)
    assert path is not None, f"{name} lies below {root}"
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for base, names in _imports(path, path.stat().st_mtime_ns):
        level = len(base) - len(base.lstrip("."))
        parent = package.split(".")[: len(package.split(".")) - level + 1] if level else []
        module = ".".join([*parent, *filter(None, [base.lstrip(".")])])
        # In ``from package import name``, the name is a submodule if it has a source file, else an attribute.
        submodules = [n for n in names if source(f"{module}.{n}", root)]
        yield from (f"{module}.{n}" for n in submodules)
        if module and (not names or len(submodules) < len(names)):
            yield module


@cache
def _imports(path: Path, changed: int) -> list[tuple[str, tuple[str, ...]]]:
    """Every import statement of a file: the module, with a dot for every level up, and the names taken from it.

    ``changed`` is the file's modification time, a key for the cache alone: without it an edited file would not be
    parsed again.
    """
    statements: list[tuple[str, tuple[str, ...]]] = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            statements += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            statements.append(("." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)))
    return statements


def key(entries: Iterable[str], root: Path, data: Iterable[Path] = (), facts: Iterable[str] = ()) -> str:
    """Hash, 16 hexadecimal digits, of everything that decides what modules compute.

    It changes with the text of every file in :func:`closure`, with the version of Python and of every distribution
    that is imported, with the content of the files in ``data`` and with ``facts``.

    Parameters
    ----------
    entries, root
        As in :func:`closure`.
    data : iterable of Path
        Files that the modules read, or folders of such files.
    facts : iterable of str
        Whatever else decides: settings, versions of programs.
    """
    everything = closure(entries, root)
    digest = hashlib.sha256()
    texts = [(name, path.read_bytes()) for name, path in everything.files.items()]
    for place in data:
        paths = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
        texts += [(path.name, path.read_bytes()) for path in paths]
    texts += [("fact", fact.encode()) for fact in (sys.version, *_versions(everything.others), *facts)]
    for name, text in texts:
        # Without lengths, a line that moves from the end of one file to the start of the next would keep the key.
        digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:16]


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Distributions that provide each top-level module; cached, because this reads the metadata of all of them."""
    return importlib.metadata.packages_distributions()


def _versions(modules: Iterable[str]) -> list[str]:
    """Name and version of the distributions that modules belong to; modules of the standard library have none."""
    names = {name for module in modules for name in _distributions().get(module, ())}
    return [f"{name} {importlib.metadata.version(name)}" for name in sorted(names)]
