"""The process of the command line: signals, shell completion, exit statuses. `nncomp` on the PATH calls `main`."""

from __future__ import annotations

import codecs
import os
import signal
import sys
from io import TextIOWrapper
from types import FrameType
from typing import NoReturn

from nncomp.cli.failures import COMPLETE, FAILED, describe, forget_stdout, say

_TYPER_INTERRUPTED = 130


def _print_any_name() -> None:
    """Let stdout take every file name: bytes that are no UTF-8 as they are, letters that its encoding lacks as escapes."""
    if isinstance(sys.stdout, TextIOWrapper):
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> NoReturn:
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
        forget_stdout()
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
        forget_stdout()
        if not code and not isinstance(error, BrokenPipeError):
            say(f"nncomp: stdout cannot be written: {getattr(error, 'strerror', None) or error}.")
        code = code or FAILED
    sys.exit(code)
