"""Files at URLs: s3://, gs:// and memory:// can be read and written, https:// and all other storage of fsspec read.

fsspec and its packages come with the extra nncomp[cluster]. They are imported for a URL, never for a local path. Their errors
become messages of nncomp. Knows nothing of the contents.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from nncomp.errors import DataError, NncompError, OutputError

WRITABLE = ("s3", "s3a", "gs", "gcs", "memory")  # an object appears when it is committed
_BUCKETED = ("s3", "s3a", "gs", "gcs")
_READ_BYTES = 8 << 20  # fetched ahead
_INSTALL = "pip install 'nncomp[cluster]'"
_PATTERN = re.compile(r"[*?\[]")


def is_url(name: str) -> bool:
    """Return whether a name is a URL and not a path.

    >>> is_url("s3://bucket/notes.txt"), is_url("notes.txt"), is_url("C:/notes.txt")
    (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None


def is_pattern(name: str) -> bool:
    """Return whether a name is a pattern with *, ? or []. In http and https URLs these are ordinary characters."""
    return _PATTERN.search(name) is not None and _protocol(name) not in ("http", "https")


def matches(pattern: str) -> list[str]:
    """Return the URLs that match a pattern, sorted."""
    with _failures(pattern, DataError, "listed"):
        system, path = _open_system(pattern)
        found = system.glob(path, detail=True)
        return _urls(system, [name for name, about in found.items() if about["type"] == "file"])


def inside(url: str) -> list[str] | None:
    """Return the URLs of all files below a folder, sorted; None if the URL is not a folder."""
    with _failures(url, DataError, "listed"):
        system, path = _open_system(url)
        return _urls(system, system.find(path)) if system.isdir(path) else None


def exists(url: str) -> bool:
    """Return whether there is an object at a URL."""
    with _failures(url, OutputError, "looked for"):
        system, path = _open_system(url)
        system.invalidate_cache()
        return bool(system.exists(path))


@contextmanager
def open_read(url: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """Open a URL to read; yield the stream and its size, None if unknown. Opening and reading raise DataError."""
    with _failures(url, DataError, "read"):
        system, path = _open_system(url)
        file = system.open(path, "rb", block_size=_READ_BYTES)
    with io.BufferedReader(_Reader(url, file), 1 << 16) as stream:
        yield cast(BinaryIO, stream), getattr(file, "size", None)


@contextmanager
def open_write(url: str, is_forced: bool) -> Iterator[Writer]:
    """Open a URL to write. The object is complete after the `with` block; after an error, the object is as before.

    Raises OutputError if the object exists and `is_forced` is false, or if it cannot be written.
    """
    if _protocol(url) not in WRITABLE:
        allowed = ", ".join(f"{name}://" for name in WRITABLE)
        raise OutputError(f"{url} cannot be written: nncomp writes to {allowed} and local files.")
    refuse_existing(url, is_forced)
    if bucket := _missing_bucket(url):  # otherwise the error would come after the work
        raise OutputError(f"{url} cannot be written: there is no bucket {bucket}.")
    with _failures(url, OutputError, "written"):
        system, path = _open_system(url)
        file: Any = _InMemory(system, path) if _protocol(url) == "memory" else system.open(path, "wb", autocommit=False)
    try:
        yield Writer(url, file)
        refuse_existing(url, is_forced)  # another process may have made it meanwhile
        with _failures(url, OutputError, "written"):
            file.close()
            file.commit()
            system.invalidate_cache()
    except BaseException:
        with suppress(Exception):
            file.discard()
        with suppress(AttributeError):
            file.closed = True  # otherwise the garbage collector uploads it
        raise


def refuse_existing(url: str, is_forced: bool) -> None:
    """Raise OutputError if the object exists and `is_forced` is false."""
    if not is_forced and exists(url):
        raise OutputError(f"{url} already exists. Overwrite it with -f, or give another name.")


class _Reader(io.RawIOBase):
    """A file in storage. Failures raise DataError."""

    def __init__(self, url: str, file: Any) -> None:
        self._url, self._file = url, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return getattr(self._file, "size", None) is not None and bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:
        with _failures(self._url, DataError, "read"):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _failures(self._url, DataError, "read"):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            with suppress(Exception):
                self._file.close()
        super().close()


class Writer(io.RawIOBase):
    """A file in storage that is being written. Failures raise OutputError."""

    def __init__(self, url: str, file: Any) -> None:
        self._url, self._file = url, file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with _failures(self._url, OutputError, "written"):
            return int(self._file.write(data))


class _InMemory(io.BytesIO):
    """A file of memory://. fsspec's own would exist, empty, as soon as it is opened."""

    def __init__(self, system: Any, path: str) -> None:
        super().__init__()
        self._system, self._path, self._held = system, path, b""

    def close(self) -> None:
        if not self.closed:
            self._held = self.getvalue()
        super().close()

    def commit(self) -> None:
        self._system.pipe_file(self._path, self._held)


def _open_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    import fsspec

    system, path = fsspec.core.url_to_fs(url)
    return system, path


def _urls(system: Any, paths: list[str]) -> list[str]:
    return sorted(system.unstrip_protocol(path) for path in paths)


def _protocol(url: str) -> str:
    return url.partition("://")[0].lower()


@contextmanager
def _failures(url: str, kind: type[NncompError], done: str) -> Iterator[None]:
    """Turn every exception of a storage into one error: the storages raise different types, not all of them OSError."""
    try:
        yield
    except NncompError:
        raise
    except Exception as error:
        subject = "The file" if done == "read" else url
        raise kind(f"{subject} cannot be {done}: {_reason(url, error)}.") from error


def _reason(url: str, error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{_protocol(url)}:// needs packages that are not installed ({error}); {_INSTALL}"
    server = error.__cause__ or error if isinstance(error, FileNotFoundError) else error  # fsspec calls all of http's so
    if isinstance(server, ConnectionError) or type(server).__module__.startswith("aiohttp."):
        return _missing(url) if getattr(server, "status", None) == 404 else _of_server(server)
    if isinstance(error, FileNotFoundError):
        return _missing(url)
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        return "access is refused; check the credentials in the environment and their rights"
    if isinstance(error, ValueError) and "rotocol" in str(error):
        return f"fsspec knows no storage {_protocol(url)}://"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _of_server(error: BaseException) -> str:
    """Return what a server answered, or why there is no answer."""
    if status := getattr(error, "status", None):
        return f"the server answers {status} {getattr(error, 'message', '')}".rstrip()
    if not isinstance(error, OSError):
        return f"the transfer failed ({' '.join(str(error).split()).rstrip('.')})"
    number = getattr(error, "errno", None) or 0
    why = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)  # below 0: no such host
    return f"the server cannot be reached ({why})"


def _missing(url: str) -> str:
    bucket = _missing_bucket(url)
    return f"there is no bucket {bucket}" if bucket else "there is no such object"


def _missing_bucket(url: str) -> str | None:
    """Return the bucket of a URL if it certainly does not exist. Without the right to look, return None."""
    if _protocol(url) in _BUCKETED:
        with suppress(Exception):
            system, path = _open_system(url)
            bucket = str(path.split("/")[0])
            try:
                system.info(bucket)
            except FileNotFoundError:
                return bucket
    return None
