"""Failures, said in one sentence on stderr, and exit codes: 0 done, 1 failed, 2 used wrongly. No traceback comes out."""

from __future__ import annotations

import codecs
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import NoReturn

from nncomp.errors import NncompError

FAILED = 1
_TYPER_INTERRUPTED = 130
COMPLETE = "_NNCOMP_COMPLETE"  # the variable with which a shell asks for completions


def say(message: str) -> None:
    """Write a line to stderr; a stderr that is gone is no reason to fail."""
    if sys.stderr is None:  # print would take stdout for it
        return
    with suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)


def describe(error: BaseException) -> str:
    """Return the one sentence that says what happened."""
    if isinstance(error, NncompError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted; no partial file is left."
    if isinstance(error, MemoryError):
        return "There is not enough memory; try again with fewer workers, for example -T 1."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    where = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"A fault of nncomp, not of your file ({type(error).__name__}: {error}; "
        f"{Path(where.filename).name}:{where.lineno}). Please report it."
    )


@contextmanager
def guarded(subject: str = "") -> Iterator[None]:
    """Turn whatever fails inside into one sentence about `subject` and exit code 1."""
    import typer

    try:
        yield
    except (typer.Exit, typer.BadParameter):
        raise
    except BrokenPipeError:
        _forget_stdout()
        raise typer.Exit(FAILED) from None
    except (Exception, KeyboardInterrupt) as error:
        say(f"nncomp: {subject}: {describe(error)}" if subject else f"nncomp: {describe(error)}")
        raise typer.Exit(FAILED) from None


def for_each(names: list[str], work: Callable[[str], None]) -> None:
    """Do the work for each name; go on after a failure, but not after Ctrl-C; exit with 1 if any failed."""
    import typer

    failed = False
    for name in names:
        try:
            work(name)
        except NncompError as error:
            say(f"nncomp: {name}: {describe(error)}")
            failed = True
    if failed:
        raise typer.Exit(FAILED)


def _forget_stdout() -> None:
    """Let nothing more be written to a stdout whose reader is gone, not even when Python ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())


def _print_any_name() -> None:
    """Let stdout take every file name: bytes that are no UTF-8 as they are, letters that its encoding lacks as escapes."""
    if isinstance(sys.stdout, TextIOWrapper):
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def run() -> NoReturn:
    """Run the app; SIGTERM and SIGHUP end it as Ctrl-C does."""
    try:
        _print_any_name()
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
                signal.signal(getattr(signal, name), _interrupt)
        if COMPLETE in os.environ:  # a shell asks what the words so far could become
            from typer._completion_classes import completion_init

            completion_init()
        from nncomp.cli.app import app, command_names
        from nncomp.cli.shorthand import spell_out

        is_terminal = sys.stdin is None or sys.stdin.isatty()
        app(args=spell_out(sys.argv[1:], command_names(), is_terminal), prog_name="nncomp")
        _leave(0)
    except SystemExit as error:
        if error.code == _TYPER_INTERRUPTED:  # before any command could say it
            say(f"nncomp: {describe(KeyboardInterrupt())}")
            _leave(FAILED)
        _leave(error.code)
    except BrokenPipeError:
        _forget_stdout()
        sys.exit(FAILED)
    except (Exception, KeyboardInterrupt) as error:
        say(f"nncomp: {describe(error)}")
        _leave(FAILED)


def _leave(code: str | int | None) -> NoReturn:
    """Exit when stdout has all bytes; one that does not take them is a failure, said once, and Python does not try again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        _forget_stdout()
        if not code and not isinstance(error, BrokenPipeError):
            say(f"nncomp: stdout cannot be written: {getattr(error, 'strerror', None) or error}.")
        code = code or FAILED
    sys.exit(code)
