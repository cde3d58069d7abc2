"""The literals so far of a stream, as far back as copies may reach: in memory up to 16 MiB, then in a temporary file.

The file has no name and goes with the process. Knows bytes only.
"""

from __future__ import annotations

import tempfile

from nncomp.errors import OutputError
from nncomp.machine import watch

MEMORY_BYTES = 16 << 20  # more is kept in a file


class History:
    """The last `window_bytes` of what was appended. Places count from the first byte that ever was."""

    def __init__(self, window_bytes: int) -> None:
        self.window_bytes = window_bytes
        self.end = 0
        self._is_told = False
        self._kept = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 (closed with the object)

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Keep `data`, over what falls out of the window. Raises OutputError if there is no room for it."""
        view = memoryview(data)
        if len(view) > self.window_bytes:
            self.end += len(view) - self.window_bytes
            view = view[-self.window_bytes :]
        if not self._is_told and min(self.end + len(view), self.window_bytes) > MEMORY_BYTES:
            self._is_told = True
            watch.say_temporary(self.window_bytes)
        try:
            while view:
                at = self.end % self.window_bytes
                part = view[: self.window_bytes - at]
                self._kept.seek(at)
                self._kept.write(part)
                self.end += len(part)
                view = view[len(part) :]
        except OSError as error:
            raise _no_room(error) from error

    def skip(self, count: int) -> None:
        """Go on behind so many bytes that are not known; they are never read. Raises OutputError if there is no room for more."""
        self.end += count
        if self.end > MEMORY_BYTES:
            try:
                self._kept.rollover()  # a file has holes, memory has none
            except OSError as error:
                raise _no_room(error) from error

    def read(self, place: int, count: int) -> bytes:
        """Return `count` bytes from a place on, all of them within the window."""
        assert max(0, self.end - self.window_bytes) <= place and place + count <= self.end
        at = place % self.window_bytes
        first = min(count, self.window_bytes - at)
        try:
            self._kept.seek(at)
            data = self._kept.read(first)
            if first < count:
                self._kept.seek(0)
                data += self._kept.read(count - first)
        except OSError as error:
            raise _no_room(error) from error
        return data

    def close(self) -> None:
        self._kept.close()

    def __del__(self) -> None:
        self.close()  # after an error nobody else does


def _no_room(error: OSError) -> OutputError:
    try:
        advice = f"Make room in {tempfile.gettempdir()}, the folder for temporary files, or set TMPDIR to another."
    except OSError:  # there is no such folder
        advice = "Set TMPDIR to a folder that can be written."
    said = error.strerror or error
    return OutputError(f"The text that repeats may reach back to cannot be kept in a temporary file ({said}). {advice}")
