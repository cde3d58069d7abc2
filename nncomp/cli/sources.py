"""Sources: paths, URLs and standard input; and what descriptor of this process a name stands for (`/dev/fd/3`, `<(command)`).

Knows nothing of the contents.
"""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from nncomp.cli.metadata import read_attributes
from nncomp.cli.names import STANDARD
from nncomp.errors import DataError, NncompError, OutputError
from nncomp.stream import storage
from nncomp.stream.patience import PatientReader

FOLDER = "This is a folder. Give files; compress, decompress, test and list take all files in it with -r."
_NO_FOLDERS = "This is a folder. Give a file."
_LINKS = 40  # that are followed, as the system does


@dataclass
class Source:
    """A stream to read. Failures raise DataError. `status` is None unless the stream is a regular file.

    `remote_bytes` is the size of an object at a URL, None if unknown and for everything else; `attributes` are the extended
    attributes that a result takes over.
    """

    stream: BinaryIO
    status: os.stat_result | None
    remote_bytes: int | None = None
    attributes: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stream = cast(BinaryIO, PatientReader(self.stream))

    @property
    def size(self) -> int | None:
        return self.status.st_size if self.status else self.remote_bytes

    @property
    def is_seekable(self) -> bool:
        return self.size is not None and self.stream.seekable()

    def read(self, count: int) -> bytes:
        return self.stream.read(count)

    def has_changed(self) -> bool:
        """Return whether a regular file has another size or time of change than when it was opened."""
        if self.status is None:
            return False
        now = os.fstat(self.stream.fileno())
        return (now.st_size, now.st_mtime_ns) != (self.status.st_size, self.status.st_mtime_ns)


def descriptor_of(name: str) -> int | None:
    """Return the descriptor of this process that a name stands for, such as 1 for /dev/stdout; None for every other name."""
    own = re.compile(rf"(?:/proc/(?:{os.getpid()}|self)(?:/task/[0-9]+)?|/dev)/fd")
    for _ in range(_LINKS):
        folder, last = os.path.split(name)
        try:
            folder = os.path.realpath(folder)
        except OSError:  # the current folder was removed
            return None
        if own.fullmatch(folder) and last.isdecimal() and last.isascii():
            return int(last)
        name = os.path.join(folder, last)  # noqa: PTH118 (a name, with its last part as it is)
        try:
            name = os.path.join(folder, os.readlink(name))  # noqa: PTH115, PTH118
        except (OSError, ValueError):
            return None
    return None


@contextmanager
def open_source(name: str, takes_folders: bool = True) -> Iterator[Source]:
    """Open a file, or stdin for "-"; raises DataError when it cannot be read. Of a folder it says -r, if that helps."""
    if name == STANDARD:
        if sys.stdin is None:
            raise DataError("Standard input is closed. Give a file.")
        yield Source(cast(BinaryIO, getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)), None)
        return
    if storage.is_url(name):
        with storage.open_read(name) as (remote, remote_bytes):
            yield Source(remote, None, remote_bytes)
        return
    stream = _opened(name, takes_folders)
    try:
        status = os.fstat(stream.fileno())
        if stat.S_ISREG(status.st_mode):
            yield Source(stream, status, attributes=read_attributes(stream.fileno()))
        else:
            yield Source(stream, None)
    finally:
        with suppress(OSError):  # all that was read is right
            stream.close()


def is_folder(name: str) -> bool:
    """Return whether a name is a folder's; not if the system does not tell: opening it fails later, and says why."""
    try:
        return Path(name).is_dir()
    except OSError:
        return False


def _opened(name: str, takes_folders: bool) -> BinaryIO:
    """Open a file. Only a regular one has a buffer: it would read a terminal, which goes on, once more after the end."""
    try:
        if Path(name).is_dir():
            os.scandir(name).close()  # raises OSError if it cannot be read
            raise DataError(FOLDER if takes_folders else _NO_FOLDERS)
        descriptor = descriptor_of(name)
        if descriptor is not None and not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return cast(BinaryIO, os.fdopen(os.dup(descriptor), "rb", buffering=0))  # a socket has no name to open
        stream = Path(name).open("rb", buffering=0)  # noqa: SIM115 (closed by the caller)
        is_regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
        return cast(BinaryIO, io.BufferedReader(stream) if is_regular else stream)
    except NncompError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise DataError(f"The file cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def remove_source(name: str, source: os.stat_result) -> None:
    """Remove a source whose result is complete; raises OutputError if the file has changed since it was read."""
    try:
        now = Path(name).lstat()  # a link that has come meanwhile is no source
        if not os.path.samestat(now, source) or (now.st_size, now.st_mtime_ns) != (source.st_size, source.st_mtime_ns):
            raise OutputError("The file changed while it was read, so it is not removed. The result holds what was read.")
        Path(name).unlink()
    except OSError as error:
        raise OutputError(f"The file cannot be removed: {error.strerror}. The result is complete.") from error
