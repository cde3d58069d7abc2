"""The fuzzer, without atheris: it says so, and with a stand-in that only feeds it golden files it judges each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, environment

STAND_IN = """
import contextlib, pathlib
state = {}
@contextlib.contextmanager
def instrument_imports(include):
    yield
def Setup(arguments, one):
    state.update(folder=arguments[1], one=one)
def Fuzz():
    for path in sorted(pathlib.Path(state["folder"]).iterdir())[:12]:
        state["one"](path.read_bytes())
    print("judged")
"""


def fuzz(*path: str) -> subprocess.CompletedProcess[bytes]:
    surroundings = environment()
    surroundings["PYTHONPATH"] = ":".join([*path, surroundings["PYTHONPATH"]])
    command = [sys.executable, "-m", "checks.fuzz", str(ROOT / "tests" / "golden" / "bad")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, env=surroundings, check=False, timeout=300)


def test_without_atheris_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "atheris.py").write_text("raise ImportError")
    result = fuzz(str(tmp_path))
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode().splitlines() == ["fuzz: atheris is not installed; pip install atheris."]


def test_each_file_is_judged(tmp_path: Path) -> None:
    (tmp_path / "atheris.py").write_text(STAND_IN)
    result = fuzz(str(tmp_path))
    assert result.returncode == 0, result.stderr.decode()
    assert result.stdout.decode().splitlines() == ["judged"]
