"""Arguments of the command line: names of files, folders and patterns, byte ranges, memory sizes."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from nncomp.blocks.memory import Memory
from nncomp.cli.draft import is_temporary
from nncomp.cli.names import STANDARD, SUFFIX, shown
from nncomp.cli.options import WrongUse
from nncomp.cli.sources import is_folder
from nncomp.cli.streams import is_terminal
from nncomp.errors import DataError
from nncomp.format.numbers import BLOCK_BYTES, MIN_BLOCK_BYTES
from nncomp.machine.limits import group_memory_bytes
from nncomp.stream import storage
from nncomp.stream.ranges import Range
from nncomp.stream.reference import Reference


@dataclass(frozen=True)
class Lists:
    """Files that hold names of files: one name a line, and names that end with a zero byte. - is standard input."""

    lines: Sequence[str] = ()
    zeros: Sequence[str] = ()

    def names(self) -> list[str]:
        """Return the names; raises DataError for a list that cannot be read."""
        lines = [name for each in self.lines for name in _listed(each, b"\n")]
        return lines + [name for each in self.zeros for name in _listed(each, b"\0")]

    def is_given(self) -> bool:
        return bool(self.lines or self.zeros)

    def of_input(self) -> int:
        """Return how many lists are standard input."""
        return [*self.lines, *self.zeros].count(STANDARD)


NO_LISTS = Lists()


def expand(names: list[str] | None, is_recursive: bool, is_packed: bool, lists: Lists = NO_LISTS) -> list[tuple[str, str]]:
    """Return the files that the names and the lists mean, in order, each with its name in an output folder.

    Without names and lists this is standard input. `is_recursive` takes the files in folders: .nnc files if `is_packed`, else all
    other files; never links. A URL may be a pattern; the shell expands local patterns.
    The name in an output folder is the path below the given folder, else the file name; of a list it is the path that is there.
    Raises WrongUse without names if standard input is a terminal, or if standard input would be a list and a file.
    """
    if not names and not lists.is_given():
        if sys.stdin is None or is_terminal(sys.stdin):
            raise WrongUse("No FILE is given, and nothing is piped in. Give a FILE, or - for standard input.")
        return [(STANDARD, STANDARD)]
    if lists.of_input() > 1:
        raise WrongUse("Standard input cannot be two lists. Give one of --files and --files0 a file.")
    listed = lists.names()
    if lists.of_input() and STANDARD in [*(names or []), *listed]:
        raise WrongUse("Standard input cannot be a list of files and a file. Give the list as a file, or leave out -.")
    found: list[tuple[str, str]] = []
    for name in names or []:
        root, files = _meant(name, is_recursive, is_packed)
        found += [(each, _below(root, each)) for each in files]
    for name in listed:
        root, files = _meant(name, is_recursive, is_packed)
        is_path = files == [name] and not storage.is_url(name)
        found += [(each, each if is_path else _below(root, each)) for each in files]
    return found


def open_reference(name: str | None) -> Reference | None:
    """Return the reference of this name, None for none; raises WrongUse if it can be none, DataError if it cannot be read."""
    if name in ("", STANDARD):
        raise WrongUse("A reference is a file, and cannot be standard input. Give its name: --reference FILE.")
    return None if name is None else Reference.of(name)


def planned(names: list[str] | None, is_recursive: bool, is_packed: bool) -> list[tuple[str, str]]:
    """Return the files that the names mean, each with its name in an output folder. Local names may be patterns.

    The name in the output folder is the path below the given folder or below the fixed part of a pattern, else the file name.
    """
    if not names or STANDARD in names:
        raise WrongUse("--cluster needs files with names. Give FILEs, folders with -r, or patterns.")
    found: list[tuple[str, str]] = []
    for name in names:
        is_pattern = not storage.is_url(name) and glob.has_magic(name) and not Path(name).exists()
        root, files = _of_pattern(name) if is_pattern else _meant(name, is_recursive, is_packed)
        found += [(each, _below(root, each)) for each in files]
    return found


def _below(root: str, name: str) -> str:
    """Return the path of a file below a folder, however the folder is written.

    >>> _below("./in/.", "in/.x"), _below(".", ".x"), _below("", "x"), _below("s3://bucket/in/", "s3://bucket/in/x")
    ('.x', '.x', 'x', 'x')
    """
    if storage.is_url(name):
        return name.removeprefix(root).lstrip("/")
    return str(PurePath(name).relative_to(root))


def _listed(name: str, separator: bytes) -> list[str]:
    try:
        if name == STANDARD:
            if sys.stdin is None:
                raise DataError("Standard input is closed. Give the list of files as a file.")
            data = sys.stdin.buffer.read()
        else:
            data = Path(name).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"The list of files {shown(name)} cannot be read: {why}.") from error
    return [os.fsdecode(each) for each in data.split(separator) if each]


def _of_pattern(pattern: str) -> tuple[str, list[str]]:
    files = sorted(name for name in glob.glob(pattern, recursive=True) if Path(name).is_file())  # noqa: PTH207 (names as given)
    if not files:
        raise DataError(f"{pattern} matches no file.")
    return _fixed(pattern), files


def _meant(name: str, is_recursive: bool, is_packed: bool) -> tuple[str, list[str]]:
    """Return the files that a name means, and the folder that holds them."""
    if storage.is_url(name):
        if storage.is_pattern(name):
            if files := storage.matches(name):
                return _fixed(name), files
            raise DataError(f"{name} matches no file.")
        within = storage.inside(name) if is_recursive else None
        if within is not None:
            return name.rstrip("/"), [each for each in within if each.endswith(SUFFIX) == is_packed]
    elif is_recursive and name not in ("", STANDARD) and is_folder(name):
        return name.rstrip("/") or name, _inside(name, is_packed)
    return name[: name.rfind("/") + 1], [name]


def _fixed(pattern: str) -> str:
    """Return the folder before the first wildcard of a pattern.

    >>> _fixed("in/a*/b.txt"), _fixed("*.txt")
    ('in/', '')
    """
    found = re.search(r"[*?\[]", pattern)
    return pattern[: pattern.rfind("/", 0, found.start() if found else None) + 1]


def _inside(folder: str, is_packed: bool) -> list[str]:
    found: list[str] = []

    def unreadable(error: OSError) -> None:
        found.append(error.filename)  # opening it fails later

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            is_wanted = name.endswith(SUFFIX) == is_packed and not is_temporary(name)
            if is_wanted and _is_plain_file(path):
                found.append(str(path))
    return found


def _is_plain_file(path: Path) -> bool:
    """Return whether this is a file and no link; also if the system does not tell: opening it fails later, and says why."""
    try:
        return path.is_file() and not path.is_symlink()
    except OSError:
        return True


def parse_range(text: str | None) -> Range | None:
    """Return the byte range of START:END; raises WrongUse for anything else.

    >>> parse_range("1000:2000"), parse_range("5:"), parse_range(":10")
    ((1000, 2000), (5, None), (0, 10))
    """
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{0,18}):([0-9]{0,18})", text)
    if not found:
        raise WrongUse(f"{text!r} is not a range. Write START:END in bytes, for example 1000:2000, 1000: or :2000.")
    start, end = int(found[1] or 0), int(found[2]) if found[2] else None
    if end is not None and end < start:
        raise WrongUse(f"The range {text} ends before it begins.")
    return start, end


def parse_memory(text: str | None) -> Memory:
    """Return the memory limit of SIZE: a number of bytes, with K, M, G or T (powers of 1000) or Ki, Mi, Gi or Ti (of 1024).

    A B may follow.

    Without SIZE, the memory that control groups leave to this process counts.

    >>> parse_memory("500M"), parse_memory("2GiB"), parse_memory(None)
    (Memory(limit_bytes=500000000), Memory(limit_bytes=2147483648), Memory(limit_bytes=None))
    """
    if text is None:
        return Memory(room_bytes=group_memory_bytes())
    return Memory(parse_size(text))


def parse_block_size(text: str) -> int:
    """Return the bytes of a block; raises WrongUse for what is no size, and for one out of bounds.

    >>> parse_block_size("1Mi")
    1048576
    """
    size = parse_size(text)
    if not MIN_BLOCK_BYTES <= size <= BLOCK_BYTES:
        raise WrongUse(f"--block-size {text} is out of bounds: {MIN_BLOCK_BYTES >> 10}Ki to {BLOCK_BYTES >> 20}Mi.")
    return size


def parse_size(text: str) -> int:
    """Return the bytes of a SIZE, as `parse_memory` takes it; raises WrongUse for anything else."""
    found = re.fullmatch(r"([0-9]{1,15})(?:([KMGT])(i?))?B?", text, re.IGNORECASE)
    if not found:
        raise WrongUse(f"{text!r} is not a size. Write a number of bytes, for example 500M or 2G.")
    power = 0 if found[2] is None else "KMGT".index(found[2].upper()) + 1
    unit: int = (1024 if found[3] else 1000) ** power
    return int(found[1]) * unit
