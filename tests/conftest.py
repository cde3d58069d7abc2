"""What the tests share: the real command in a process of its own, and text that every Python carries."""

from __future__ import annotations

import os
import pydoc_data.topics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from numba import njit

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def environment() -> dict[str, str]:
    """Return the environment of a command: this checkout's nncomp, wherever the command runs."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path, "COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs `nncomp` with the given arguments in the test's own folder."""

    def call(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "nncomp", *map(str, arguments)]
        result = subprocess.run(command, cwd=tmp_path, input=stdin, capture_output=True, env=environment(), timeout=600)
        assert b"Traceback" not in result.stderr, result.stderr.decode()
        return result

    return call


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
