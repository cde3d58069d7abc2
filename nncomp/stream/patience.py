"""Reading an object until it has given all that is asked for or has ended, and writing to one until it has taken all.

A pipe, a socket or a terminal may give a few bytes of many, may be interrupted by a signal, and, where it does not block, may
have nothing yet; it may take a few bytes of many, or none yet. None of this is an end or a failure: here it is waited for. Knows
nothing of what the bytes are.
"""

from __future__ import annotations

import io
import os
import select
import stat
import time
from typing import Any

from nncomp.errors import DataError, NncompError

_SHORTEST_S, _LONGEST_S = 0.001, 0.05  # between two attempts, where nothing tells when the next one is worth it
_POLL_MS = 60_000
_ALL_BYTES = 1 << 20  # at a time, where everything is asked for


class PatientReader:
    """An object with `read`, as a stream that gives as many bytes as are asked for, and fewer only where it ends.

    After the end it is not read again, unless it is moved by `seek`: a terminal would go on. Errors of the object pass, as
    DataError where they are errors of the system. Raises TypeError if the object cannot be read or gives no bytes.
    """

    def __init__(self, stream: Any) -> None:
        if not callable(getattr(stream, "read", None)):
            raise TypeError(f"A binary file object is needed, and {type(stream).__name__} has no method read.")
        self._stream = stream
        self._is_over = False

    def read(self, count: int = -1) -> bytes:
        """Return the next `count` bytes, fewer at the end; all that is left if the count is negative."""
        if count < 0:
            return b"".join(iter(lambda: self.read(_ALL_BYTES), b""))
        if not count or self._is_over:
            return b""
        data = self._part(count)
        if type(data) is bytes and len(data) == count:  # the usual case, and many reads are small
            return data
        return self._all_of(data, count)

    def _all_of(self, data: Any, count: int) -> bytes:
        """Return the next `count` bytes, of which `data` are the first; fewer at the end."""
        parts: list[bytes] = []
        pause = _Pause(self._stream, is_writing=False)
        while True:
            if data is None:
                pause.wait()
            elif not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"A binary file object is needed, and this one gives {type(data).__name__}.")
            elif len(data) > count:
                raise DataError(f"The file object gave {len(data):,} bytes where {count:,} were asked for.")
            else:
                self._is_over = not data
                count -= len(data)
                parts.append(bytes(data))
                pause.begin_anew()
            if not count or self._is_over:
                return b"".join(parts)
            data = self._part(count)

    def _part(self, count: int) -> Any:
        try:
            return self._stream.read(count)
        except (BlockingIOError, InterruptedError):
            return None
        except NncompError:
            raise
        except io.UnsupportedOperation as error:  # an OSError, which says no more than "read"
            raise DataError("The file cannot be read: it is not open for reading.") from error
        except OSError as error:
            raise DataError(f"The file cannot be read: {error.strerror or error}.") from error

    def seekable(self) -> bool:
        """Return whether the object can seek. An object without `seekable` is tried: many that are made by hand have none."""
        if seekable := getattr(self._stream, "seekable", None):
            return bool(seekable())
        try:
            self._stream.seek(self._stream.tell())
        except (AttributeError, OSError):
            return False
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position and return it."""
        self._is_over = False
        try:
            reached = self._stream.seek(offset, whence)
            return int(self._stream.tell() if reached is None else reached)
        except NncompError:
            raise
        except OSError as error:
            if isinstance(error, io.UnsupportedOperation) and not self._is_regular():
                raise
            raise DataError(f"The file cannot be read: {error.strerror or error}.") from error

    def _is_regular(self) -> bool:
        """Return whether this is a regular file, which can seek, even if its object says otherwise after a failure."""
        try:
            return stat.S_ISREG(os.fstat(self._stream.fileno()).st_mode)
        except (AttributeError, OSError, ValueError):
            return False

    def tell(self) -> int:
        return int(self._stream.tell())

    def fileno(self) -> int:
        return int(self._stream.fileno())


class PatientWriter:
    """An object with `write`, as a stream that takes all bytes it is given. Errors of the object pass.

    An object that says nothing of how much it took (None) took all, unless it is raw: there None means nothing yet.
    Raises TypeError if the object cannot be written.
    """

    def __init__(self, stream: Any) -> None:
        if not callable(getattr(stream, "write", None)):
            raise TypeError(f"A binary file object is needed, and {type(stream).__name__} has no method write.")
        self._stream = stream
        self._is_raw = isinstance(stream, io.RawIOBase)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of `data` and return its length."""
        view = memoryview(data).cast("B")
        pause = _Pause(self._stream, is_writing=True)
        done = 0
        while done < len(view):
            taken = self._part(view[done:] if self._is_raw or done else data)  # an object made by hand may want just bytes
            done += taken
            pause.begin_anew() if taken else pause.wait()
        return done

    def _part(self, rest: bytes | bytearray | memoryview) -> int:
        try:
            taken = self._stream.write(rest)
        except BlockingIOError as error:
            return int(getattr(error, "characters_written", 0))
        except InterruptedError:
            return 0
        if taken is None:
            return 0 if self._is_raw else len(rest)
        if not isinstance(taken, int) or not 0 <= taken <= len(rest):
            raise OSError(f"The file object says that it took {taken!r} of {len(rest):,} bytes.")
        if taken == 0 and not self._is_raw:
            raise OSError("The file object takes no more bytes.")
        return taken

    def flush(self) -> None:
        """Let the object write what it holds, if it can."""
        flush = getattr(self._stream, "flush", None)
        pause = _Pause(self._stream, is_writing=True)
        while flush is not None:
            try:
                flush()
                return
            except (BlockingIOError, InterruptedError):
                pause.wait()


class PatientRaw(io.RawIOBase):
    """A raw stream on a descriptor that need not block, as one that does: for the buffers and texts of Python above it.

    It cannot seek: others may share the descriptor, and where it stands.
    """

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.mode, self.name = raw.mode, raw.name

    def readinto(self, buffer: Any) -> int:
        pause = _Pause(self._raw, is_writing=False)
        while (count := self._raw.readinto(buffer)) is None:
            pause.wait()
        return count  # one part: the buffer above asks until it has all

    def write(self, data: Any) -> int:
        pause = _Pause(self._raw, is_writing=True)
        while (count := self._raw.write(data)) is None:
            pause.wait()
        return count

    def readable(self) -> bool:
        return self._raw.readable()

    def writable(self) -> bool:
        return self._raw.writable()

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._raw.close()


class _Pause:
    """Waits until an object may have more to give, or to take: by its descriptor, or else a little longer each time."""

    def __init__(self, stream: Any, is_writing: bool) -> None:
        self._stream, self._is_writing = stream, is_writing
        self.begin_anew()

    def begin_anew(self) -> None:
        """Take note that the object gave or took something."""
        self._pause_s, self._is_again = _SHORTEST_S, False

    def wait(self) -> None:
        if not self._polled() or self._is_again:  # a descriptor that is ready, with an object that is not, would make this spin
            time.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, _LONGEST_S)
        self._is_again = True

    def _polled(self) -> bool:
        """Wait for the descriptor of the object; return false where there is none, or none that can be waited for."""
        try:
            descriptor = self._stream.fileno()
            if hasattr(select, "poll"):
                poll = select.poll()
                poll.register(descriptor, select.POLLOUT if self._is_writing else select.POLLIN)
                return any(not event & select.POLLNVAL for _, event in poll.poll(_POLL_MS))
            lists = ([], [descriptor]) if self._is_writing else ([descriptor], [])
            return any(select.select(*lists, [], _POLL_MS / 1000))
        except (AttributeError, OSError, ValueError, TypeError):  # no descriptor; or of a kind that cannot be waited for
            return False
