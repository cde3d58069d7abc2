"""No index of a compiled loop is out of bounds, also where the input is altered: none is checked when nncomp runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nncomp.machine.kernels import IS_COMPILED
from tests.conftest import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32" or not IS_COMPILED, reason="needs signals and compiled loops")


def status(cache: Path, *what: str) -> int:
    """Return how the process ended: 0, or less the signal."""
    command = [sys.executable, "-m", "tests.checked_indices", *what]
    return subprocess.run(command, env={**environment(), "XDG_CACHE_HOME": str(cache)}, capture_output=True).returncode


@pytest.mark.parametrize("what", ["tokens", "bytes", "repeats"])
def test_no_index_is_out_of_bounds(what: str, tmp_path: Path) -> None:
    assert status(tmp_path, what) == 0


def test_an_index_out_of_bounds_is_found(tmp_path: Path) -> None:
    assert status(tmp_path, "outside", "2") == 0
    for place in ("3", "-1", str(1 << 62)):
        assert -status(tmp_path, "outside", place) in {signal.SIGILL, signal.SIGTRAP}
