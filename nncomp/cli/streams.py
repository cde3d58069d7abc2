"""Standard input, output and error, made ready: they wait where they do not block, take every name, and fail aloud if closed."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO

from nncomp.errors import OutputError
from nncomp.stream.patience import PatientRaw


class Closed(io.TextIOBase):
    """Standard output that was closed at the start: whoever writes to it gets an error, and not nothing."""

    def write(self, text: str) -> NoReturn:
        raise OutputError("Standard output is closed.")

    def writable(self) -> bool:
        return True


def prepare() -> None:
    """Make the standard streams ready. Call it first: a file that is opened before could take the place of a closed stream."""
    hold_places()
    sys.stdin = _patient(sys.stdin, "r")
    sys.stdout = _patient(sys.stdout, "w") if sys.stdout else Closed()
    sys.stderr = _patient(sys.stderr, "w")
    _print_any_name()


def is_closed(stream: TextIO | None) -> bool:
    """Return whether a standard stream was closed at the start."""
    return stream is None or isinstance(stream, Closed)


def hold_places() -> None:
    """Open the null device in place of each closed standard stream, the wrong way round, so that using it is an error."""
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError as error:
            if error.errno != errno.EBADF:
                continue
            with suppress(OSError):
                opened = os.open(os.devnull, flags)  # the lowest free number
                os.set_inheritable(opened, True)


def _patient(stream: Any, mode: str) -> Any:
    """Return a standard stream that waits where its descriptor does not block; another object than a file stays as it is."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(stream, TextIOWrapper) or not isinstance(raw, io.FileIO):
        return stream
    settings = {name: getattr(stream, name) for name in ("encoding", "errors", "line_buffering", "write_through")}
    buffer = stream.detach()
    if buffer is not raw:
        buffer.detach()
    patient = PatientRaw(raw)
    made = io.BufferedReader(patient) if mode == "r" else io.BufferedWriter(patient)
    return TextIOWrapper(made, **settings)


def _print_any_name() -> None:
    """Let stdout take every file name: bytes that are not UTF-8 unchanged, letters that its encoding lacks as escapes."""
    if isinstance(sys.stdout, TextIOWrapper):
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal. A stream that was closed at the start is none."""
    return stream is not None and stream.isatty()
