"""Sources and sinks: paths, URLs and standard streams. An output is complete under its name, or absent.

A regular file is written as a draft in the same folder (`nncomp/cli/draft.py`) and synced to the disk before it gets its name.
Knows nothing of the contents.
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
    """A stream to read. Failures raise DataError. `status` is None unless the stream is a regular file.

    `remote_bytes` is the size of an object at a URL, None if unknown and for everything else.
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
    """A stream to write. Failures raise OutputError. `path` reads the written bytes back; it is None for a pipe or a device."""

    stream: BinaryIO
    name: str
    path: Path | None = None

    def write(self, data: bytes) -> int:
        """Write all of `data`. An unbuffered stdout takes only a part at a time."""
        rest = memoryview(data)
        with self.failures():
            while rest:
                rest = rest[self.stream.write(rest) :]
        return len(data)

    @contextmanager
    def written(self) -> Iterator[io.BufferedReader]:
        """Open the bytes written so far for reading."""
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
    """Return whether a standard stream is a terminal. A stream that was closed at the start is None."""
    return stream is not None and stream.isatty()


class Discard:
    """A sink that drops all bytes, for `nncomp test`."""

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
            os.scandir(name).close()  # raises OSError if it cannot be read
            raise DataError("This is a folder. Give files, or -r to take all files in it.")
        stream = Path(name).open("rb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise DataError(f"The file cannot be read: {error.strerror}.") from error
    with stream:
        status = os.fstat(stream.fileno())
        yield Source(stream, status if stat.S_ISREG(status.st_mode) else None)


@contextmanager
def open_sink(name: str, is_forced: bool, source: os.stat_result | None, keeps_time: bool = True) -> Iterator[Sink]:
    """Open a file, or stdout for "-". After the `with` block the file is complete under its name; after an error it is absent.

    The file takes the mode and, if `keeps_time`, the modification time of `source`. Raises OutputError if the file exists
    and `is_forced` is false, or if it cannot be written.
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
    path = Path(os.path.realpath(name))  # a link stays, and its target is replaced
    with _failures(name):
        existing = path.stat() if path.exists() else None
    if existing and stat.S_ISDIR(existing.st_mode):
        raise OutputError(f"{name} is a folder. Give the name of a file.")
    if existing and source and os.path.samestat(existing, source):
        raise OutputError("The result would overwrite its own source. Give another name.")
    if existing and not stat.S_ISREG(existing.st_mode):  # a device or a pipe has no draft
        with _failures(name, is_file=False), path.open("wb", buffering=0) as stream:
            yield Sink(stream, name)
        return
    _refuse_existing(path, name, is_forced)
    with _complete_or_absent(path, name, is_forced, source, keeps_time) as sink:
        yield sink


def remove_source(name: str, source: os.stat_result) -> None:
    """Remove a source whose result is complete; raises OutputError if the file has changed since it was read."""
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
        with os.fdopen(draft.descriptor, "wb", buffering=0) as stream:  # close would write a buffer again after an error
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
            _refuse_existing(path, name, is_forced)  # another process may have made the file meanwhile
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
    """Sync the new name to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
