"""The process of the command `nncomp`: signals, shell completion, exit status."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

from nncomp.cli.failures import COMPLETE, FAILED, describe, forget_stdout, say
from nncomp.cli.streams import is_closed, prepare
from nncomp.version import VERSION

_TYPER_INTERRUPTED = 130
_SAME_S = 0.5  # a signal so soon after another one is the same wish: a key repeats, or a shell tells the whole group


class _Signals:
    """SIGINT, SIGTERM and SIGHUP end the command with KeyboardInterrupt, unless the caller has it ignore them."""

    def __init__(self) -> None:
        found = (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
        self._numbers = [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]
        self._last_s = -_SAME_S
        for number in self._numbers:
            signal.signal(number, self._interrupt)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        last_s, self._last_s = self._last_s, time.monotonic()
        if self._last_s - last_s >= _SAME_S:
            raise KeyboardInterrupt

    def let_go(self) -> None:
        """From now on a signal ends the process at once and in silence: all that is left is its end."""
        for number in self._numbers:
            signal.signal(number, signal.SIG_DFL)


def _run_app() -> int:
    """Run the command that the arguments name; return its exit status. Typer is imported for what is not plain."""
    if sys.argv[1:] == ["--version"]:  # what the app would print; loading it takes longer than all else
        print(f"nncomp {VERSION}")
        return 0
    from nncomp.cli.app import app
    from nncomp.cli.options import WrongUse
    from nncomp.cli.plain import read
    from nncomp.cli.shorthand import spell_out

    is_terminal = sys.stdin is None or sys.stdin.isatty()
    words = spell_out(sys.argv[1:], app.functions, is_terminal)
    command = words[0] if words and COMPLETE not in os.environ else ""
    values = read(app.functions[command], words[1:]) if command in app.functions else None
    try:
        if values is None:
            from nncomp.cli.typer_app import typer_app

            typer_app()(args=words, prog_name="nncomp")
        else:
            try:
                app.run(command, values)
            except WrongUse as error:
                from nncomp.cli.typer_app import report

                report(words, error)
    except SystemExit as error:
        if error.code == _TYPER_INTERRUPTED:  # before any command could say it
            raise KeyboardInterrupt from None
        return error.code if isinstance(error.code, int) else 0
    return 0


def _flush(status: int) -> None:
    """Write what stdout still holds. After a failure, what cannot be written is dropped: Python would exit with 120."""
    if is_closed(sys.stdout):
        return
    try:
        sys.stdout.flush()
    except OSError:
        forget_stdout()
        if not status:
            raise


def main() -> NoReturn:
    """Run nncomp; SIGTERM and SIGHUP end it as Ctrl-C does."""
    # NumPy's products are small here: its threads would only spin on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signals = _Signals()
    try:
        prepare()
        if COMPLETE in os.environ:  # a shell asks what the words so far could become
            from typer._completion_classes import completion_init

            completion_init()
        status = _run_app()
        _flush(status)
    except BrokenPipeError:
        forget_stdout()
        status = FAILED
    except (Exception, KeyboardInterrupt) as error:
        say(f"nncomp: {describe(error)}")
        signals.let_go()
        status = FAILED
        _flush(status)
    signals.let_go()
    sys.exit(status)
