"""A reference: a text that the sender and the receiver of a file both have, and that stands before the content.

Copies take bytes of it, and blocks may begin with what mixing and the network know after its last bytes. It may be large: it is
read where it is needed, and only its hash is of all of it. Knows bytes and places; nothing of blocks.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nncomp.errors import DataError, NoReferenceError
from nncomp.format.frames import FrameHeader
from nncomp.format.numbers import REFERENCE_HASH_BYTES

if TYPE_CHECKING:
    from nncomp.stream.samples import SampleTable

_READ_BYTES = 1 << 20
_KEPT_BYTES = 1 << 22  # a smaller file is kept in memory


class Reference:
    """A text before the content, from bytes or a file that can seek. Places count from its first byte."""

    def __init__(self, file: BinaryIO, name: str = "The reference", identity: os.stat_result | None = None) -> None:
        self._file, self._name, self._identity = file, name, identity
        self._lock = threading.Lock()
        self._table: SampleTable | None = None
        hashed = hashlib.sha256()
        try:
            self._status = _status(file)
            self.size = file.seek(0, io.SEEK_END)
            file.seek(0)
            while part := file.read(_READ_BYTES):
                hashed.update(part)
        except (OSError, AttributeError) as error:
            raise DataError(f"{name} cannot be read as a reference, which needs a file that can seek ({error}).") from error
        if not self.size:
            raise DataError(f"{name} is empty; a reference has at least one byte.")
        self.name_bytes = hashed.digest()[:REFERENCE_HASH_BYTES]  # how a frame names it

    @classmethod
    def of(cls, text: bytes | bytearray | memoryview | str | os.PathLike[str]) -> Reference:
        """Return a reference of bytes, or of the file of this name; raises DataError if it cannot be read."""
        if isinstance(text, (bytes, bytearray, memoryview)):
            return cls(io.BytesIO(bytes(text)))
        name = f"The reference {str(text)!r}"
        try:
            file = Path(text).open("rb")  # noqa: SIM115 (closed with the object)
            identity, data = os.fstat(file.fileno()), file.read(_KEPT_BYTES + 1)
            if len(data) > _KEPT_BYTES:
                return cls(file, name, identity)
            file.close()
            return cls(io.BytesIO(data), name, identity)
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise DataError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}.") from error

    def read(self, place: int, count: int) -> bytes:
        """Return `count` bytes from a place on, all of them within the reference; raises DataError if they cannot be had."""
        assert place >= 0 and place + count <= self.size
        try:
            with self._lock:
                self._file.seek(place)
                data = self._file.read(count)
        except OSError as error:
            raise DataError(f"{self._name} cannot be read: {error.strerror or error}.") from error
        if len(data) != count:
            raise self._changed()
        return data

    def tail(self, count: int) -> bytes:
        """Return the last `count` bytes, or all if it has fewer."""
        count = min(count, self.size)
        return self.read(self.size - count, count)

    def is_file(self, status: os.stat_result | None) -> bool:
        """Return whether a file of this status is the one that the reference was opened from."""
        return bool(status and self._identity and os.path.samestat(status, self._identity))

    def check_unchanged(self) -> None:
        """Raise DataError if the file was written since its hash was taken: then what was coded is of another text."""
        if _status(self._file) != self._status:
            raise self._changed()

    def close(self) -> None:
        """Close the file. Nothing can be read after that."""
        self._file.close()

    def __del__(self) -> None:
        self.close()

    def _changed(self) -> DataError:
        return DataError(f"{self._name} changed while it was read. Try again with a reference that stays the same.")

    def sample_table(self) -> SampleTable:
        """Return a table of its samples, as `SampleTable` has those of literals: places before the first one are negative.

        That of a small reference is kept and copied.
        """
        if self.size > _KEPT_BYTES:
            return self._samples()
        if self._table is None:
            self._table = self._samples()
        return self._table.copy()

    def _samples(self) -> SampleTable:
        from nncomp.stream.samples import HASHED_BYTES, SampleTable, samples

        table, context = SampleTable(), b""
        for place in range(0, self.size, _READ_BYTES):
            piece = self.read(place, min(_READ_BYTES, self.size - place))
            ends, checks = samples(context, piece)
            is_whole = ends + place >= HASHED_BYTES
            table.insert(checks[is_whole], ends[is_whole] + place - self.size)
            context = piece[-HASHED_BYTES + 1 :]
        return table


def _status(file: BinaryIO) -> tuple[int, int] | None:
    """Return what changes when a file is written; None for what is no file of the system."""
    try:
        found = os.fstat(file.fileno())
    except (OSError, AttributeError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size


def needed_reference(head: FrameHeader, given: Reference | None) -> Reference | None:
    """Return the reference that a frame names, or None for a frame that names none.

    Raises NoReferenceError if none is given, or another one.
    """
    if not head.reference:
        return None
    if given is None:
        raise NoReferenceError(
            f"The file is compressed with a reference (its SHA-256 begins with {head.reference.hex()}). "
            "Give that text with --reference FILE, or reference= in Python."
        )
    if given.name_bytes != head.reference:
        raise NoReferenceError(
            f"The file is compressed with another reference: its SHA-256 begins with {head.reference.hex()}, "
            f"and that of the given one with {given.name_bytes.hex()}."
        )
    return given
