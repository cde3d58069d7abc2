"""Failures: a message on stderr in place of a traceback, and the exit status: 0 done, 1 failed, 2 wrong arguments."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from nncomp.cli.names import seen, shown
from nncomp.cli.options import WrongUse
from nncomp.cli.streams import is_closed
from nncomp.errors import NncompError
from nncomp.machine.limits import refused

FAILED = 1
COMPLETE = "_NNCOMP_COMPLETE"  # a shell sets this variable to ask for completions


def say(message: str) -> None:
    """Write a line to stderr. If stderr is closed, nothing happens. What a terminal would obey is shown instead."""
    if sys.stderr is None:  # print would write to stdout
        return
    try:
        print(seen(message), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _forget(sys.stderr)


def describe(error: BaseException) -> str:
    """Return the message for an error."""
    if isinstance(error, NncompError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted. No partial file is left."
    if sentence := refused(error):
        return sentence
    if isinstance(error, OSError) and error.strerror:
        return f"{shown(os.fsdecode(error.filename))}: {error.strerror}." if error.filename else f"{error.strerror}."
    import traceback

    where = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"This is a bug in nncomp, not in your file ({type(error).__name__}: {error}; "
        f"{Path(where.filename).name}:{where.lineno}). Please report it."
    )


@contextmanager
def guarded(subject: str = "") -> Iterator[None]:
    """Turn any error inside into a message that begins with `subject`, and exit status 1."""
    try:
        yield
    except WrongUse:
        raise
    except BrokenPipeError:
        forget_stdout()
        raise SystemExit(FAILED) from None
    except (Exception, KeyboardInterrupt) as error:
        say(f"nncomp: {shown(subject)}: {describe(error)}" if subject else f"nncomp: {describe(error)}")
        raise SystemExit(FAILED) from None


def forget_stdout() -> None:
    """Drop what stdout still holds, and all later output."""
    if not is_closed(sys.stdout):
        _forget(sys.stdout)


def _forget(stream: TextIO) -> None:
    """Let a stream lead nowhere: Python flushes the standard streams once more when it ends, and exits with 120 if it cannot."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
