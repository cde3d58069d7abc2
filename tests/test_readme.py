"""Every command of README.md does what a newcomer expects: exit code 0, in a folder that has what it names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nncomp.network.registry import shipped_path
from tests.conftest import ROOT, environment

TEXT = b"A line of notes, and another line of notes.\n" * 50

# What is not run here, by its beginning, and why.
NOT_RUN = {
    "pip install": "needs a network; tests/test_shipped.py installs the wheel without one",
    "pipx install": "needs a network",
    "uv tool install": "needs a network",
    "git clone": "needs a network",
    "make": "makes a virtual environment, with a network; CI runs make test",
    "nncomp train": "takes minutes; tests/test_training.py trains for seconds",
    "nncomp bench": "takes minutes, and a network for a corpus; tests/test_bench.py measures small files",
    "python -m benchmarks": "takes minutes to hours",
    "python -m tests": "takes minutes to hours",
}
PACKED = "notes.txt.nnc", "report.txt.nnc"  # they are there, and the texts they are made of are not, when a command names them


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for its_language, block in found if its_language == language]


def commands() -> list[str]:
    """Return the lines of all blocks of shell commands, without remarks; other blocks show what is printed."""
    lines = [line for block in [*blocks(""), *blocks("sh"), *blocks("console")] for line in block.splitlines()]
    plain = [re.sub(r"\s+#.*", "", line.removeprefix("$ ")).strip() for line in lines]
    return [line for line in dict.fromkeys(plain) if re.match(r"(nncomp|cat|tar|man|python3?|pipx?|uv|make|git) ", line)]


def reason(command: str) -> str | None:
    return next((why for start, why in NOT_RUN.items() if re.match(rf"{re.escape(start)}\b", command)), None)


def run_in(folder: Path, command: list[str]) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    for name, module in (("nncomp", " -m nncomp"), ("python", "")):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable}{module} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    kept = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")  # compiled loops; the rest of the home is the folder
    surroundings = environment() | {"HOME": str(folder), "XDG_CACHE_HOME": kept}
    surroundings["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(command, cwd=folder, capture_output=True, env=surroundings, timeout=300, check=False)
    assert result.returncode == 0, result.stderr.decode()


def prepare(folder: Path, command: str) -> None:
    """Make what a reader has at this point: texts, a folder, a model of one's own, places of the shell."""
    (folder / "folder").mkdir()
    for name in ("notes.txt", "report.txt", "folder/page.txt"):
        (folder / name).write_bytes(TEXT)
    shutil.copy(shipped_path("default"), folder / "mine.safetensors")
    (folder / ".local/share/bash-completion/completions").mkdir(parents=True)
    for name in PACKED:
        if name in command:
            run_in(folder, ["nncomp", "-q", name.removesuffix(".nnc")])
            (folder / name.removesuffix(".nnc")).unlink()


def test_the_commands_are_found() -> None:
    found = commands()
    assert len(found) > 8
    assert any(command.startswith("tar ") for command in found)
    assert not [start for start in NOT_RUN if start == "nncomp"], "a reason is for one command"


@pytest.mark.skipif(sys.platform == "win32" or not shipped_path("default").exists(), reason="needs a POSIX shell and the model")
@pytest.mark.parametrize("command", [each for each in commands() if reason(each) is None])
def test_a_command_of_the_readme(tmp_path: Path, command: str) -> None:
    prepare(tmp_path, command)
    run_in(tmp_path, ["bash", "-e", "-o", "pipefail", "-c", command])
    if command.startswith(("nncomp -d ", "nncomp decompress ")):
        assert TEXT in [path.read_bytes() for path in tmp_path.glob("*.txt")]


@pytest.mark.skipif(not shipped_path("default").exists(), reason="needs the model")
@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_of_the_readme(tmp_path: Path, number: int) -> None:
    pytest.importorskip("fsspec")
    code = blocks("python")[number]
    prepare(tmp_path, code)
    run_in(tmp_path, ["python", "-c", code])
