"""Liberty syntax: text to groups and back, without knowing what any attribute means.

Own parser, because PyPI's ``liberty-parser`` 0.0.29 (a lark grammar) takes 23 times as long on the same file
(0.81 s against 0.035 s for the 1.7 MB of IHP SG13G2). Table values stay text until the numbers are wanted.

Syntax: *Liberty User Guide*, volume 1, "General Syntax": group statements ``kind (names) { ... }``, simple
attributes ``name : value ;`` and complex attributes ``name (values) ;``.
"""

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwsim.base.errors import InputError

# One match is one statement. The possessive quantifiers (Python >= 3.11) forbid backtracking, so that broken
# input of any size fails at once, at the statement that is broken.
_STATEMENT = re.compile(
    r"""
    [\s;]*+
    (?:
        (?P<name> [A-Za-z_][\w.\[\]]*+ ) \s*+
        (?:
            [:=] \s*+ (?P<value> " (?: [^"\\] | \\. )*+ " | [^;{}"\n]++ )
          | \( (?P<args> (?: [^()"{};] | " [^"]*+ " )*+ ) \) \s*+ (?P<open> \{ )?
        )
      | (?P<close> \} )
      | (?P<end> \Z )
    )
    """,
    re.VERBOSE | re.DOTALL,
)
#: Strings, comments, and backslashes that continue a line outside of strings.
_BETWEEN = re.compile(r'"(?:[^"\\]|\\.)*+"|/\*.*?\*/|//[^\n]*+|\\(?=[ \t]*\r?\n)', re.DOTALL)
_ARGUMENT = re.compile(r'"([^"]*)"|([^\s,"\\]+)')
#: A string that goes on in the next line.
_CONTINUED = re.compile(r"\\?\s*\n\s*")
#: First bytes of other kinds of compressed files.
_COMPRESSED = {b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}
_NUMBER_SEPARATORS = str.maketrans(dict.fromkeys('",\\', " "))


@dataclass(slots=True, eq=False)
class Group:
    """One ``kind (args) { ... }``.

    Attributes
    ----------
    kind : str
        ``library``, ``cell``, ``pin``, ``timing``, ...
    raw_args : str
        Text between the parentheses; :attr:`args` has it split and unquoted.
    simple : dict of str to str
        ``name : value`` attributes, raw text as in the file, quotes included. The last one of a name wins.
    complex : list of (str, str)
        ``name (values)`` attributes in file order, raw text; names may repeat.
    groups : list of Group
        Subgroups in file order.
    """

    kind: str
    raw_args: str = ""
    simple: dict[str, str] = field(default_factory=dict)
    complex: list[tuple[str, str]] = field(default_factory=list)
    groups: list["Group"] = field(default_factory=list)

    @property
    def args(self) -> tuple[str, ...]:
        """Names of the group, unquoted."""
        return split(self.raw_args)

    @property
    def name(self) -> str:
        """First name of the group, or an empty string."""
        return next(iter(self.args), "")

    def get(self, name: str, default: str = "") -> str:
        """Value of a simple attribute without its quotes, on one line; ``default`` if absent."""
        value = self.simple.get(name)
        return default if value is None else _CONTINUED.sub(" ", value.strip('"')).strip()

    def is_true(self, name: str) -> bool:
        """Whether a simple attribute is true, however it is written; false if absent."""
        return self.get(name).lower() in ("true", "1", "yes")

    def number(self, name: str, default: float = 0.0) -> float:
        """Value of a simple attribute as a number, ``default`` if absent; `InputError` if it is not one."""
        text = self.get(name)
        if not text:
            return default
        try:
            return float(text)
        except ValueError:
            raise InputError(f"{self.kind} ({self.name}): {name} must be a number, got {text!r}") from None

    def values(self, name: str) -> Iterator[tuple[str, ...]]:
        """Argument lists of every complex attribute of that name, unquoted."""
        return (split(raw) for key, raw in self.complex if key == name)

    def raw(self, name: str) -> str | None:
        """Raw text of the first complex attribute of that name, or None."""
        return next((raw for key, raw in self.complex if key == name), None)

    def all(self, kind: str) -> Iterator["Group"]:
        """Subgroups of a kind, in file order."""
        return (group for group in self.groups if group.kind == kind)

    def first(self, kind: str) -> "Group | None":
        """First subgroup of a kind, or None."""
        return next(self.all(kind), None)


def split(raw: str) -> tuple[str, ...]:
    """Split the raw arguments of a group or complex attribute and take the quotes off."""
    return tuple(quoted or bare for quoted, bare in _ARGUMENT.findall(raw))


def numbers(raw: str) -> np.ndarray:
    """All numbers of ``values(...)`` or ``index_1(...)`` text, row after row, as float64.

    Raises
    ------
    InputError
        If something in the text is not a finite number.
    """
    words = raw.translate(_NUMBER_SEPARATORS).split()
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError:
        values = np.full(1, np.nan)
    if not np.isfinite(values).all():
        wrong = next(word for word in words if not _is_number(word))
        raise InputError(f"expected numbers in a table, got {wrong!r}")
    return values


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def parse(text: str, name: str = "<text>") -> Group:
    """Parse Liberty text whose outermost group is ``library``.

    Parameters
    ----------
    text : str
        Whole file.
    name : str
        Name of the text in error messages, usually its path.

    Raises
    ------
    InputError
        With ``name`` and the line, if a statement is malformed, braces do not balance, or it is not Liberty.
    """
    text = _plain(text)
    top = Group("file")
    stack = [top]
    current = top
    position = 0
    match = _STATEMENT.match
    while True:
        statement = match(text, position)
        if statement is None:
            raise InputError(_malformed(text, position, name, current))
        keyword, value, args, opening, closing, _ = statement.groups()
        position = statement.end()
        if value is not None:
            current.simple[keyword] = value.rstrip()
        elif opening is not None:
            group = Group(keyword, args)
            current.groups.append(group)
            stack.append(group)
            current = group
        elif args is not None:
            current.complex.append((keyword, args))
        elif closing is not None:
            stack.pop()
            if not stack:
                raise InputError(f"{name}:{_line(text, position)}: unexpected '}}', no group is open")
            current = stack[-1]
        else:
            break
    if current is not top:
        inside = f"{current.kind} ({current.name})"
        raise InputError(f"{name}:{_line(text, len(text))}: file ends inside {inside}, expected '}}'")
    if len(top.groups) != 1 or top.groups[0].kind != "library":
        kinds = ", ".join(group.kind for group in top.groups) or "no group"
        raise InputError(f"{name}: not a Liberty file: expected one library (...) {{...}}, found {kinds}")
    return top.groups[0]


def _plain(text: str) -> str:
    """Text without byte-order mark, comments and continuations outside of strings; lines stay where they are."""

    def replacement(match: re.Match[str]) -> str:
        found = match[0]
        return found if found[0] == '"' else " " + "\n" * found.count("\n")

    return _BETWEEN.sub(replacement, text.removeprefix("\ufeff"))


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _malformed(text: str, position: int, name: str, inside: Group) -> str:
    """Message for the statement at ``position``, which does not match the grammar."""
    blank = re.compile(r"[\s;]*").match(text, position)
    start = blank.end() if blank else position
    excerpt = text[start : start + 60].splitlines()[0] if start < len(text) else "end of file"
    at_top = inside.kind == "file"
    where = "not a Liberty file" if at_top else f"broken statement in {inside.kind} ({inside.name})"
    return f"{name}:{_line(text, start)}: {where}: expected 'name : value;' or 'name (...)', got {excerpt!r}"


def read(path: str | Path) -> Group:
    """Read a Liberty file, plain or gzip-compressed (recognised by its first bytes, not by its name).

    Raises
    ------
    InputError
        If the file is missing, unreadable, a truncated or corrupt gzip, or not Liberty.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read Liberty file {path}: {error.strerror or error}") from None
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path}: truncated or corrupt gzip file: {error}") from None
    for magic, kind in _COMPRESSED.items():
        if data.startswith(magic):
            raise InputError(f"{path}: compressed with {kind}: expected plain text or gzip")
    # Liberty is ASCII but for comments, where real files carry Latin-1 and UTF-8 alike.
    return parse(data.decode("utf-8", errors="replace"), str(path))


def write(group: Group) -> str:
    """Liberty text of a group: attributes, then subgroups.

    In a library the ``default_`` attributes follow the groups that they may name and precede the cells that
    they apply to. Comments are not kept.
    """
    lines: list[str] = []
    _write(group, "", lines)
    return "\n".join(lines) + "\n"


def _write(group: Group, indent: str, lines: list[str]) -> None:
    lines.append(f"{indent}{group.kind} ({group.raw_args}) {{")
    inner = indent + "  "
    lines += [f"{inner}{name} ({raw});" for name, raw in group.complex]
    is_library = group.kind == "library"
    defaults = {name for name in group.simple if is_library and name.startswith("default_")}
    cells = [child for child in group.groups if is_library and child.kind == "cell"]
    lines += [f"{inner}{name} : {value};" for name, value in group.simple.items() if name not in defaults]
    for child in group.groups:
        if child.kind != "cell":
            _write(child, inner, lines)
    lines += [f"{inner}{name} : {value};" for name, value in group.simple.items() if name in defaults]
    for cell in cells:
        _write(cell, inner, lines)
    lines.append(f"{indent}}}")
