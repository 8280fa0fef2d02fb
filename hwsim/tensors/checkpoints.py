"""The tensors of files, folders and sharded checkpoints, with quantised weights put together from their parts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hwsim.base.errors import InputError
from hwsim.tensors import files, quantised
from hwsim.tensors.files import Stored
from hwsim.tensors.sources import Source

_INDEX = ".safetensors.index.json"


@dataclass(frozen=True)
class Contents:
    """The tensors of files.

    Attributes
    ----------
    sources : list of Source
        Those that can be measured.
    left_out : dict of str to str
        Why others cannot: they are of integers, or scales without a tensor.
    undecoded : dict of str to str
        Why weights that are quantised already cannot: their scales are missing or of an unknown layout.
    files : set of Path
        The files that all of these lie in.
    """

    sources: list[Source] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    undecoded: dict[str, str] = field(default_factory=dict)
    files: set[Path] = field(default_factory=set)


def _all_files(paths: Sequence[Path]) -> list[Path]:
    """The files that files and folders stand for, each once; of a checkpoint with an index, the index."""
    found = [file for path in paths for file in _files_of(path)]
    return list({file.resolve(): file for file in found}.values())


def read(paths: Sequence[Path]) -> Contents:
    """The tensors of files and folders.

    Parameters
    ----------
    paths : sequence of Path
        Files (.npy, .npz, .safetensors), indices of sharded checkpoints (.safetensors.index.json) and folders, which
        stand for their index and all their other files. A weight's scales are looked for in its own file, then in the
        other .safetensors files. Equal names of different files are told apart by the file's name before them.

    Raises
    ------
    InputError
        If a file is missing, of another kind or damaged, or no tensor can be measured.
    """
    pool: list[dict[str, Stored]] = []
    single: list[dict[str, Stored]] = []
    placed: set[Path] = set()
    everything = _all_files(paths)
    for path in everything:
        if path.name.endswith(_INDEX):
            tensors = _of_index(path)
            pool.append(tensors)
            placed |= {tensor.path.resolve() for tensor in tensors.values()}
    for path in everything:
        if not path.name.endswith(_INDEX) and path.resolve() not in placed:
            (pool if path.suffix == ".safetensors" else single).append({t.name: t for t in files.read(path)})
    contents = Contents(files=placed | set(everything))
    found: list[tuple[Path, Source]] = []
    together = quantised.Tensors(pool)
    for own, parts in [*((own, together) for own in pool), *((own, quantised.Tensors([own])) for own in single)]:
        recognised = parts.recognised(own)
        found += recognised.sources
        contents.left_out.update(recognised.left_out)
        contents.undecoded.update(recognised.undecoded)
    counts = Counter(source.name for _, source in found)
    named = [replace(s, name=f"{path}: {s.name}") if counts[s.name] > 1 else s for path, s in found]
    contents.sources.extend(named)
    if not named:
        reasons = [f"{name} {why}" for name, why in (contents.undecoded | contents.left_out).items()]
        what = "; ".join(reasons[:4]) or "nothing"
        raise InputError(f"{', '.join(map(str, paths))}: expected a float tensor with an axis and elements, got {what}")
    return contents


def _files_of(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    indices = sorted(path.glob(f"*{_INDEX}"))
    if len(indices) > 1:
        raise InputError(f"{path}: name one of its indices, {', '.join(p.name for p in indices)}")
    inside = sorted(p for p in path.iterdir() if p.suffix in files.SUFFIXES)
    if not inside and not indices:
        raise InputError(f"{path}: expected files that end in {', '.join(files.SUFFIXES)} in the folder, got none")
    yield from indices
    # An index says which of the folder's .safetensors files count.
    yield from (p for p in inside if not (indices and p.suffix == ".safetensors"))


def _of_index(path: Path) -> dict[str, Stored]:
    """The tensors of a checkpoint whose index maps names to files beside it."""
    try:
        placed = json.loads(path.read_text("utf-8"))["weight_map"]
        shards = sorted(set(placed.values()))
    except OSError as error:
        raise InputError(f"{path}: not readable ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON with a weight_map of names to files ({error!r:.100})") from error
    tensors: dict[str, Stored] = {}
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise InputError(f"{path}: expected names of .safetensors files beside it, got {shard!r}")
        stored = {t.name: t for t in files.read(path.parent / shard)}
        for name in (name for name, file in placed.items() if file == shard):
            if name not in stored:
                raise InputError(f"{path.parent / shard}: {path.name} places {name} in it, but it holds no such tensor")
            tensors[name] = stored[name]
    return tensors
