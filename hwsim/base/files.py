"""Writing files so that readers never see half of one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from hwsim.base.errors import InputError, ToolError


def replace_all(contents: Mapping[Path, str | bytes]) -> list[Path]:
    """Write all files, or if one cannot be written leave the old ones: each is written beside its place, then renamed.

    Returns
    -------
    list of Path
        The files written, in order.
    """
    for path in contents:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder, expected a file name")
    staged: list[tuple[str, Path]] = []
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            staged.append((name, path))
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content.encode() if isinstance(content, str) else content)
            except OSError as error:
                # An error in writing, of a full disk for example, does not name the file.
                raise OSError(error.errno, error.strerror, str(path)) from None
            # mkstemp makes files that only their owner can read; these get the mode that open() gives.
            os.chmod(name, 0o666 & ~_umask())
        for name, path in staged:
            os.replace(name, path)
    finally:
        for name, _ in staged:
            if os.path.exists(name):
                os.unlink(name)
    return [path for _, path in staged]


def write(path: Path, content: str | bytes) -> None:
    """Write a file that no other process reads yet; an error, of a full disk for example, names it."""
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def refuse_full_disk(path: Path) -> None:
    """OSError that names ``path`` if no space is left where it lies: a program that does not look whether its files
    could be written has then left one of them incomplete."""
    if shutil.disk_usage(path.parent).free == 0:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def is_plain(path: Path) -> bool:
    """Whether every tool takes a path without quotes: it holds letters, digits and ``_ . / + -`` only."""
    return re.fullmatch(r"[\w./+-]+", str(path.resolve()), re.ASCII) is not None


@contextlib.contextmanager
def plain_folder(folder: Path) -> Iterator[Path]:
    """``folder`` if its path is plain (:func:`is_plain`), else another for the time, whose files it gets at the end."""
    if is_plain(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="hwsim-") as plain:
        try:
            yield Path(plain)
        finally:
            shutil.copytree(plain, folder, dirs_exist_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Work in ``folder`` alone: another process that wants to waits until this one is done, or gone."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that works in {folder}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def made_once(folder: Path) -> Iterator[Path | None]:
    """A folder to fill beside ``folder``, which it becomes when it is full; None if ``folder`` exists already.

    The name of ``folder`` must say all that decides its content: then processes that make it at the same time make the
    same, and the first one's stays.
    """
    if folder.is_dir():
        yield None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        try:
            yield staged
        except ToolError:
            # The message names a log in it.
            staged = Path()
            raise
        staged.chmod(0o777 & ~_umask())
        try:
            os.rename(staged, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        if staged.name:
            shutil.rmtree(staged, ignore_errors=True)


def replace_folder(folder: Path, contents: Mapping[str, str], known_by: str) -> None:
    """Make a folder of exactly these files, or leave what was there: it is written beside its place, then renamed.

    Parameters
    ----------
    folder : Path
    contents : mapping
        Texts by path in the folder.
    known_by : str
        A file that an older folder of this kind holds. A folder without it is somebody else's, unless it is empty.

    Raises
    ------
    InputError
        If the folder is somebody else's, or a file is in its place.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / known_by).is_file())):
        raise InputError(
            f"{folder} exists and holds no {known_by}: expected a new folder, or one made like this before"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        new, old = staged / "new", staged / "old"
        for path, content in contents.items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            write(new / path, content)
        if folder.exists():
            os.rename(folder, old)
        try:
            os.rename(new, folder)
        except OSError:
            if old.exists():
                os.rename(old, folder)
            raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def replace(path: Path, content: str | bytes) -> None:
    """Write one file as :func:`replace_all` does."""
    replace_all({path: content})


def write_program(path: Path, content: str) -> None:
    """Write an executable script, unless it is there as it should be: another process may be running it."""
    if not path.exists() or path.read_text() != content:
        staged = path.with_name(f".{path.name}.{os.getpid()}")
        replace(staged, content)
        staged.chmod(0o777 & ~_umask())
        os.replace(staged, path)


def replace_or_refuse(path: Path, content: str | bytes) -> None:
    """Write one file that the user named; InputError with the name and the reason if it cannot be written."""
    try:
        replace(path, content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def _umask() -> int:
    """Umask of this process, which can be read only by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
