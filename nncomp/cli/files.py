"""Opening what is read and what is written, paths and URLs: an output is complete under its final name, or it is not there.

A regular file is a draft in the same folder (`nncomp/cli/draft.py`), brought to the disk before it gets its name.
Knows nothing of what the bytes are.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from nncomp.cli.draft import Draft
from nncomp.errors import DataError, OutputError
from nncomp.stream import storage

SUFFIX = ".nnc"
STANDARD = "-"  # stands for stdin or stdout


@dataclass
class Source:
    """A stream to read, with its failures in sentences; `status` is None when it is no regular file.

    `remote_bytes` is the size of what is at a URL, None for others and where the storage does not tell.
    """

    stream: BinaryIO
    status: os.stat_result | None
    remote_bytes: int | None = None

    @property
    def size(self) -> int | None:
        return self.status.st_size if self.status else self.remote_bytes

    @property
    def is_seekable(self) -> bool:
        return self.size is not None and self.stream.seekable()

    def read(self, count: int) -> bytes:
        try:
            return self.stream.read(count)
        except OSError as error:
            raise DataError(f"The file cannot be read: {error.strerror}.") from error


@dataclass
class Sink:
    """A stream to write, with its failures in sentences; `path` is where it can be read again, None for a pipe or a device."""

    stream: BinaryIO
    name: str
    path: Path | None = None

    def write(self, data: bytes) -> int:
        """Write all of `data`; a stdout that Python was told not to buffer takes only a part at a time."""
        rest = memoryview(data)
        with self.failures():
            while rest:
                rest = rest[self.stream.write(rest) :]
        return len(data)

    @contextmanager
    def written(self) -> Iterator[io.BufferedReader]:
        """Open what is written so far, to read it again."""
        assert self.path is not None
        with self.failures():
            self.stream.flush()
            stream = self.path.open("rb")
        with stream:
            yield stream

    def failures(self) -> AbstractContextManager[None]:
        return _failures(self.name, is_file=self.path is not None)


@contextmanager
def _failures(name: str, is_file: bool = True) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        left = " No partial file is left." if is_file else ""
        raise OutputError(f"{name} cannot be written: {error.strerror}.{left}") from error


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal; it is None when the process was started with it closed."""
    return stream is not None and stream.isatty()


class Discard:
    """A sink for `nncomp test`: the bytes are checked and then forgotten."""

    def write(self, data: bytes) -> int:
        return len(data)


@contextmanager
def open_source(name: str) -> Iterator[Source]:
    """Open a file, or stdin for "-"; raises DataError when it cannot be read."""
    if name == STANDARD:
        if sys.stdin is None:
            raise DataError("Standard input is closed. Give a file.")
        yield Source(sys.stdin.buffer, None)
        return
    if storage.is_url(name):
        with storage.open_read(name) as (remote, remote_bytes):
            yield Source(remote, None, remote_bytes)
        return
    try:
        if Path(name).is_dir():
            os.scandir(name).close()  # says what is wrong if it cannot be read
            raise DataError("This is a folder. Give files, or -r to take all files in it.")
        stream = Path(name).open("rb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise DataError(f"The file cannot be read: {error.strerror}.") from error
    with stream:
        status = os.fstat(stream.fileno())
        yield Source(stream, status if stat.S_ISREG(status.st_mode) else None)


@contextmanager
def open_sink(name: str, is_forced: bool, source: os.stat_result | None, keeps_time: bool = True) -> Iterator[Sink]:
    """Open a file, or stdout for "-"; what is written is there under its name after the block, or not at all.

    The file takes the mode and, if `keeps_time`, the modification time from `source`. Raises OutputError when it exists
    and `is_forced` is false, and whenever it cannot be written.
    """
    if name == STANDARD:
        if sys.stdout is None:
            raise OutputError("Standard output is closed. Give a file with -o.")
        sink = Sink(sys.stdout.buffer, "Standard output")
        yield sink
        with sink.failures():
            sys.stdout.buffer.flush()
        return
    if storage.is_url(name):
        with storage.open_write(name, is_forced) as writer:
            yield Sink(cast(BinaryIO, writer), name)
        return
    path = Path(os.path.realpath(name))  # through a link: the link stays, and its target is replaced
    with _failures(name):
        existing = path.stat() if path.exists() else None
    if existing and stat.S_ISDIR(existing.st_mode):
        raise OutputError(f"{name} is a folder. Give the name of a file.")
    if existing and source and os.path.samestat(existing, source):
        raise OutputError("The result would overwrite its own source. Give another name.")
    if existing and not stat.S_ISREG(existing.st_mode):  # a device or a pipe: nothing to complete or rename
        with _failures(name, is_file=False), path.open("wb", buffering=0) as stream:
            yield Sink(stream, name)
        return
    _refuse_existing(path, name, is_forced)
    with _complete_or_absent(path, name, is_forced, source, keeps_time) as sink:
        yield sink


def remove_source(name: str, source: os.stat_result) -> None:
    """Remove a file whose result is complete; raises OutputError when it is no longer the file that was read."""
    try:
        now = Path(name).stat()
        if not os.path.samestat(now, source) or (now.st_size, now.st_mtime_ns) != (source.st_size, source.st_mtime_ns):
            raise OutputError("The file changed while it was read, so it is not removed. The result holds what was read.")
        Path(name).unlink()
    except OSError as error:
        raise OutputError(f"The file cannot be removed: {error.strerror}. The result is complete.") from error


def _refuse_existing(path: Path, name: str, is_forced: bool) -> None:
    if not is_forced and path.exists():
        raise OutputError(f"{name} already exists. Overwrite it with -f, or give another name.")


@contextmanager
def _complete_or_absent(
    path: Path, name: str, is_forced: bool, source: os.stat_result | None, keeps_time: bool
) -> Iterator[Sink]:
    with _failures(name):
        draft = Draft(path.parent)
    try:
        with os.fdopen(draft.descriptor, "wb", buffering=0) as stream:  # a buffer would be written again when it is closed
            sink = Sink(stream, name, draft.path)
            yield sink
            with sink.failures():
                stream.flush()
                if source:
                    draft.path.chmod(stat.S_IMODE(source.st_mode) & 0o777)
                else:
                    draft.path.chmod(0o666 & ~_umask())
                os.fsync(draft.descriptor)
        with sink.failures():
            if source and keeps_time:
                os.utime(draft.path, ns=(source.st_atime_ns, source.st_mtime_ns))
            _refuse_existing(path, name, is_forced)  # somebody else may have made it meanwhile
            draft.publish(path, is_forced)
    except BaseException:
        draft.discard()
        raise
    _sync_folder(path.parent)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk; not every system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
