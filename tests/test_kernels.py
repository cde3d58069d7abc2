"""Compiling beside: another process compiles what this one needs later, once, and this one goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import config

from nncomp import range_coder
from nncomp.machine import kernels
from nncomp.mixing import byte_predictor

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="nothing is compiled")


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the commands of the processes that are started from now on; none is."""
    commands: list[list[str]] = []

    def start(command: list[str], **_: object) -> subprocess.Popen[bytes]:
        commands.append(command)
        raise OSError

    monkeypatch.setattr(subprocess, "Popen", start)
    return commands


SMALL = """
import numpy as np
from nncomp.machine.kernels import compiled

@compiled
def double(x):
    return x + x

def prepare():
    double(np.int64(1))
"""


@pytest.mark.usefixtures("two_cores")
def test_what_is_not_there_is_compiled_by_another_process(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function of a module of the test's own: that of `byte_predictor` takes half a minute."""
    (tmp_path / "small_module.py").write_text(SMALL)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(kernels, "cache_folder", lambda: tmp_path)
    kernels.compile_beside("small_module", "double", "prepare")
    (command,) = started
    assert command[:2] == [sys.executable, "-Pc"]  # without the folder that a person stands in
    monkeypatch.undo()
    surroundings = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen(command, env=surroundings, stdin=subprocess.PIPE) as helper:
        assert helper.wait(120) == 0
    assert [path.name.split("-")[0] for path in tmp_path.rglob("*.nbi")] == ["small_module.double"]


@pytest.mark.usefixtures("two_cores")
def test_the_bytes_are_prepared_beside(tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process makes the one form of `run_model` that coding and decoding take. Here it is there already."""
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "cache_folder", lambda: tmp_path)
        byte_predictor.prepare_beside()
    ((*command, code),) = started
    monkeypatch.undo()
    data = np.zeros(9, np.uint8)
    words = range_coder.encode(np.unpackbits(data), byte_predictor.encode_bytes(data))
    assert byte_predictor.decode_bytes(words, len(data)).tolist() == data.tolist()
    (form,) = byte_predictor.run_model.signatures
    asked = f"{code}; from nncomp.mixing.byte_predictor import run_model; assert str(run_model.signatures) == {str([form])!r}"
    with subprocess.Popen([*command, asked], stdin=subprocess.PIPE) as helper:
        assert helper.wait(120) == 0


@pytest.mark.usefixtures("two_cores")
def test_a_helper_ends_when_its_parent_ends(tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "cache_folder", lambda: tmp_path)
    byte_predictor.prepare_beside()
    (command,) = started
    monkeypatch.undo()
    code = command[2].rpartition("; ")[0] + "; import time; time.sleep(60)"
    with subprocess.Popen([*command[:2], code], stdin=subprocess.PIPE) as helper:
        assert helper.stdin
        helper.stdin.close()  # as when the parent is killed
        assert helper.wait(30) == 0


@pytest.mark.usefixtures("two_cores")
def test_what_is_there_is_not_compiled_again(started: list[list[str]]) -> None:
    byte_predictor.encode_bytes(np.zeros(1, np.uint8))
    byte_predictor.prepare_beside()
    assert not started


def test_one_core_compiles_one_after_the_other(tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    byte_predictor.prepare_beside()
    assert not started


def test_a_helper_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)"])
    monkeypatch.setattr(kernels, "_helpers", [helper])
    kernels.wait_for_helpers()
    assert helper.returncode == 0
    assert not kernels._helpers
