"""Sinks: paths, URLs and standard output. An output is complete under its name, or absent.

A regular file is written as a draft in the same folder (`nncomp/cli/draft.py`) and synced to the disk before it gets its name.
A name that stands for an open descriptor of this process (`/dev/stdout`, `/dev/fd/3`, `>(command)`) is that descriptor: what is
written goes where it stands, after what others wrote there. Knows nothing of the contents.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from nncomp.cli.draft import Draft, sync, sync_folder
from nncomp.cli.metadata import take_over
from nncomp.cli.names import STANDARD, shown
from nncomp.cli.sources import Source, descriptor_of
from nncomp.cli.streams import is_closed
from nncomp.errors import NncompError, OutputError
from nncomp.stream import storage
from nncomp.stream.patience import PatientWriter

_HOLE_BYTES = 1 << 15  # of zeros that become a hole: several pages, so that files do not fall to pieces
_ZEROS = bytes(_HOLE_BYTES)


@dataclass
class Sink:
    """A stream to write. Failures raise OutputError. `path` reads the written bytes back; it is None for a pipe or a device.

    After the end, `missing` says what of the source's metadata the file could not be given.
    """

    stream: BinaryIO
    name: str
    path: Path | None = None
    missing: list[str] = field(default_factory=list)
    is_sparse: bool = False  # long runs of zeros become holes, which take no room on the disk

    def __post_init__(self) -> None:
        self._writer = PatientWriter(self.stream)
        self._hole_bytes = 0  # at the end, not yet part of the file

    @property
    def is_terminal(self) -> bool:
        return self.stream.isatty()

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        with self.failures():
            if not self.is_sparse or self.path is None:
                return self._writer.write(data)
            for start in range(0, len(data), _HOLE_BYTES):
                part = data[start : start + _HOLE_BYTES]
                if part == _ZEROS:
                    self._hole_bytes += len(part)
                else:
                    self._leave_hole()
                    self._writer.write(part)
            return len(data)

    def flush_to_reader(self) -> None:
        """Write what is held for a pipe; raise BrokenPipeError if nobody reads it any more. Called while a long input is read, of
        which little may be written."""
        if self.path or not hasattr(select, "poll"):
            return
        with self.failures():
            self._writer.flush()
        poll = select.poll()
        try:
            poll.register(self.stream.fileno(), 0)  # errors are told without being asked for
        except (AttributeError, OSError, ValueError):  # an object elsewhere
            return
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            raise BrokenPipeError

    def _leave_hole(self) -> None:
        if self._hole_bytes:
            self.stream.seek(self._hole_bytes, os.SEEK_CUR)
            self._hole_bytes = 0

    def settle(self) -> None:
        """Make a hole at the end part of the file."""
        if self._hole_bytes:
            self._leave_hole()
            self.stream.truncate()

    @contextmanager
    def written(self) -> Iterator[io.BufferedReader]:
        """Open the bytes written so far for reading."""
        assert self.path is not None
        with self.failures():
            self.settle()
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
    except (BrokenPipeError, NncompError):
        raise
    except OSError as error:
        left = " No partial file is left." if is_file else ""
        raise OutputError(f"{shown(name)} cannot be written: {error.strerror or error}.{left}") from error


class Discard:
    """A sink that drops all bytes, for `nncomp test`."""

    def write(self, data: bytes) -> int:
        return len(data)


@contextmanager
def open_sink(
    name: str,
    is_forced: bool,
    source: Source | None,
    is_same: bool = True,
) -> Iterator[Sink]:
    """Open a file, or stdout for "-". After the `with` block the file is complete under its name; after an error it is absent.

    The file takes over what `source` has (see `nncomp/cli/metadata.py`). What has another content (`is_same` is false) takes over
    who may read it, but no time of change and no `user.` attributes.
    Raises OutputError if the file exists and `is_forced` is false, or if it cannot be written.
    """
    if not name:
        raise OutputError("The name of the output is empty. Give the name of a file, or - for standard output.")
    if name.endswith("/") and not storage.is_url(name):
        raise OutputError(f"{shown(name)} is the name of a folder. Give the name of a file, or the folder with --output-dir.")
    descriptor = descriptor_of(name)
    if name == STANDARD or descriptor == 1:
        if is_closed(sys.stdout):
            raise OutputError("Standard output is closed. Give a file with -o.")
        sys.stdout.flush()  # what was printed comes first
        sink = Sink(sys.stdout.buffer, "Standard output")
        yield sink
        with sink.failures():
            sys.stdout.buffer.flush()
        return
    if storage.is_url(name):
        with storage.open_write(name, is_forced) as writer:
            yield Sink(cast(BinaryIO, writer), name)
        return
    existing = None if descriptor is not None else status_of(name)
    if existing and stat.S_ISDIR(existing.st_mode):
        raise OutputError(f"{shown(name)} is a folder. Give the name of a file.")
    if existing and source and source.status and os.path.samestat(existing, source.status):
        raise OutputError("The result would overwrite its own source. Give another name.")
    if descriptor is not None or (existing and not stat.S_ISREG(existing.st_mode)):  # a device or a pipe has no draft
        with _failures(name, is_file=False), _opened_as_it_is(name, descriptor) as stream:
            yield Sink(stream, name)
        return
    with _failures(name):
        path = Path(name)  # as it is given: the whole path may be too long
        if path.is_symlink():
            path = Path(os.path.realpath(name))  # a link stays, and its target is replaced
    found = status_of(str(path))
    if existing and not (found and os.path.samestat(existing, found)):
        raise OutputError(f"{shown(name)} is a link to a file without a name. Give the name of a file.")
    _refuse_existing(path, name, is_forced)
    with _complete_or_absent(path, name, is_forced, source, is_same) as sink:
        yield sink


def status_of(name: str) -> os.stat_result | None:
    """Return what is at the name of an output, links followed, or None if nothing is; raises OutputError if no file can be."""
    with _failures(name):
        try:
            return Path(name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:  # a zero byte
            raise OSError(str(error)) from error


def _opened_as_it_is(name: str, descriptor: int | None) -> BinaryIO:
    if descriptor is None:
        return cast(BinaryIO, Path(name).open("wb", buffering=0))
    return cast(BinaryIO, os.fdopen(os.dup(descriptor), "wb", buffering=0))


def make_folder(folder: Path) -> None:
    """Make a folder and those that it is in, where they are not there; raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {shown(str(folder))} cannot be made: {error.strerror}.") from error


def check_folder(name: str) -> None:
    """Raise OutputError, before any work is done, if no file can come into a folder, which may have to be made."""
    if storage.is_url(name):
        return
    there = next((each for each in (Path(name), *Path(name).parents) if status_of(str(each))), Path())
    if not there.is_dir():
        raise OutputError(f"The folder {shown(name)} cannot be made: {shown(str(there))} is a file.")
    if not os.access(there, os.W_OK | os.X_OK):
        is_read_only = hasattr(os, "statvfs") and os.statvfs(there).f_flag & os.ST_RDONLY
        said = os.strerror(errno.EROFS if is_read_only else errno.EACCES)
        raise OutputError(f"The folder {shown(name)} cannot be written: {said}.")


def _refuse_existing(path: Path, name: str, is_forced: bool) -> None:
    if not is_forced and path.exists():
        raise OutputError(f"{shown(name)} already exists. Overwrite it with -f, or give another name.")


@contextmanager
def _complete_or_absent(path: Path, name: str, is_forced: bool, source: Source | None, is_same: bool) -> Iterator[Sink]:
    """Open a draft, which takes over what the source has."""
    status = source.status if source else None
    with _failures(name):
        draft = Draft(path.parent)
    try:
        with os.fdopen(draft.descriptor, "wb", buffering=0) as stream:  # close would write a buffer again after an error
            sink = Sink(stream, name, draft.path)
            yield sink
            with sink.failures():
                sink.settle()
                stream.flush()
                if source and status:
                    kept = source.attributes.items()
                    attributes = {name: value for name, value in kept if is_same or not name.startswith("user.")}
                    sink.missing += take_over(draft.descriptor, status, attributes)
                else:
                    with suppress(OSError):  # then only its owner may read it
                        draft.path.chmod(0o666 & ~_umask())
                sync(draft.descriptor)
        with sink.failures():
            if status and is_same:
                try:
                    os.utime(draft.path, ns=(status.st_atime_ns, status.st_mtime_ns))
                except OSError:
                    sink.missing.append("the time")
            _refuse_existing(path, name, is_forced)  # another process may have made the file meanwhile
            draft.publish(path, is_forced)
    except BaseException:
        draft.discard()
        raise
    sync_folder(path.parent)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
