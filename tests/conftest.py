"""What the tests share: the real command in a process of its own, and text that every Python carries."""

from __future__ import annotations

import locale
import os
import pydoc_data.topics
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from numba import njit

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]

# What a person, a shell or a hook of git may have set, and what would change a result: of nncomp, of Python, and of the programs
# that tests run. NNCOMP_FULL asks for the long tests, NNCOMP_PRODUCT for another product of the network in all of them.
_CHANGING = re.compile(
    r"(_?NNCOMP_(?!FULL|PRODUCT).*|PYTHON(UTF8|IOENCODING|WARNINGS|UNBUFFERED|OPTIMIZE|VERBOSE|DEVMODE|INSPECT)|FORCE_COLOR|TTY_.*|"
    r"TERMINAL_WIDTH|LANGUAGE|LC_.*|GIT_(DIR|WORK_TREE|INDEX_FILE|PREFIX)|PIP_.*|AWS_.*|MANWIDTH|MANOPT|MANPAGER|TAR_OPTIONS|GZIP|"
    r"BZIP2?|XZ_(OPT|DEFAULTS)|ZSTD_.*|BASH_ENV|ENV|(?i:\w+_proxy))"
)
_UTF8 = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
_SCREEN = {"COLUMNS": "80", "LINES": "24", "TERM": "dumb", "NO_COLOR": "1"}


def pytest_configure() -> None:
    """Let tests and commands have the same environment wherever and by whomever they are run; the screen comes with each test."""
    for name in list(os.environ):
        if _CHANGING.fullmatch(name):
            del os.environ[name]
    os.environ.update({"LANG": _UTF8, "LC_ALL": _UTF8, "TZ": "UTC"})
    # A thread of torch or of Numba that waits for work sleeps: on cores that other tests keep busy, waiting awake took ten times
    # the time of the work. It is read when the first of them is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with suppress(locale.Error):
        locale.setlocale(locale.LC_CTYPE, _UTF8)  # for text that is read in this process
    if hasattr(time, "tzset"):
        time.tzset()
    os.umask(0o022)
    # A script in the background ignores these, and so would all commands.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGQUIT", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    # A deadline, and a complaint that examples come slowly, would be about the machine.
    settings.register_profile("nncomp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("nncomp")


@pytest.fixture(autouse=True)
def _screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is printed in this process have the screen of a command."""
    for name, value in _SCREEN.items():
        monkeypatch.setenv(name, value)


def environment() -> dict[str, str]:
    """Return the environment of a command: this checkout's nncomp, wherever the command runs."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path} | _SCREEN


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """Return a function that runs `nncomp` with the given arguments in the test's own folder.

    On Linux a process that has nncomp loaded forks for it: a new interpreter takes a second. `run_anew` starts one.
    """
    if sys.platform != "linux":
        return request.getfixturevalue("run_anew")  # type: ignore[no-any-return]
    return _forking(request.getfixturevalue("commands_with_models"), tmp_path)


def _forking(commands: Any, folder: Path) -> Run:
    def call(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        result: subprocess.CompletedProcess[bytes] = commands.run_piped(*arguments, cwd=folder, stdin=stdin)
        assert b"Traceback" not in result.stderr, result.stderr.decode()
        return result

    return call


@pytest.fixture
def run_anew(tmp_path: Path) -> Run:
    """Return a function that runs `nncomp` as a person does, in an interpreter of its own, in the test's own folder."""

    def call(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "nncomp", *map(str, arguments)]
        result = subprocess.run(command, cwd=tmp_path, input=stdin, capture_output=True, env=environment(), timeout=600)
        assert b"Traceback" not in result.stderr, result.stderr.decode()
        return result

    return call


@pytest.fixture(scope="session")
def commands() -> Iterator[Any]:
    """Yield what starts commands in a moment (tests/kinds/commands.py)."""
    from tests.kinds.commands import Commands

    made = Commands()
    yield made
    made.close()


@pytest.fixture(scope="session")
def commands_with_models() -> Iterator[Any]:
    """Yield what starts commands with models in a moment."""
    from tests.kinds.commands import Commands

    made = Commands("models")
    yield made
    made.close()


@pytest.fixture(scope="session")
def commands_for_training() -> Iterator[Any]:
    """Yield what starts `nncomp train` in a moment: torch, which takes seconds to import, is there. None where nothing forks."""
    if sys.platform != "linux":
        yield None
        return
    from tests.kinds.commands import Commands

    made = Commands("training")
    yield made
    made.close()


@pytest.fixture
def run_training(tmp_path: Path, request: pytest.FixtureRequest, commands_for_training: Any) -> Run:
    """Return a function as `run` does, for `nncomp train`."""
    if not commands_for_training:
        return request.getfixturevalue("run_anew")  # type: ignore[no-any-return]
    return _forking(commands_for_training, tmp_path)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Yield a cluster of two workers."""
    pytest.importorskip("distributed")
    from nncomp.cluster.connection import connect

    with connect("local", 2) as found:
        found.client.wait_for_workers(2, timeout=60)
        yield found


@pytest.fixture(scope="session")
def english() -> bytes:
    """Return some 20 KB of English text."""
    return Path(pydoc_data.topics.__file__).read_bytes()[:20_000]


def called_from_python(inlined: Any) -> Any:
    """Return an inlined function, which only compiled code can call, as one that Python can."""
    return njit(error_model="numpy")(getattr(inlined, "py_func", inlined))
