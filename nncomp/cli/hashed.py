"""Streams that keep a digest of what goes through them, so that a result can be compared with its source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from nncomp.format.frames import Readable, Writable


def new_hash() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=32)


def digest_of(data: bytes) -> bytes:
    """Return the digest of bytes."""
    found = new_hash()
    found.update(data)
    return found.digest()


class HashedSource:
    """A stream that keeps the digest of the bytes it gave; it calls `before` each time that it is read."""

    def __init__(self, stream: Readable, before: Callable[[], None] = lambda: None) -> None:
        self._stream, self._before = stream, before
        self._hash = new_hash()
        self.digest = self._hash.digest

    def read(self, count: int) -> bytes:
        self._before()
        data = self._stream.read(count)
        self._hash.update(data)
        return data


class HashedSink:
    """A sink that keeps the digest of the bytes it took."""

    def __init__(self, sink: Writable) -> None:
        self._sink = sink
        self._hash = new_hash()
        self.digest = self._hash.digest

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return self._sink.write(data)
