"""A few of the campaign's faults on each run, and that the campaign would notice."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from checks import faults
from nncomp.format.numbers import BLOCK_BYTES
from nncomp.stream import history
from tests.conftest import ROOT, environment
from tests.kinds.commands import Commands

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals, limits and modes are those of Linux")


@pytest.mark.slow
def test_a_few_of_each_fault() -> None:
    command = [sys.executable, "-m", "checks.faults", "--kills", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment(), check=False, timeout=900)
    assert result.returncode == 0, result.stderr
    assert "kill -9 during decompress" in result.stdout
    assert "a name of 255 bytes" in result.stdout


def test_the_campaign_notices_what_must_not_be(tmp_path: Path) -> None:
    place = faults.Place(tmp_path, b"text", b"packed")
    place.reset("text")
    assert not place.check("text.nnc")
    (tmp_path / ".nncomp-x.part").write_bytes(b"pac")
    assert not place.check("text.nnc")
    assert place.leftovers() == 1
    (tmp_path / "text.nnc").write_bytes(b"packed")
    assert place.check("text.nnc")
    for name, data in (("text.nnc", b"pack"), ("text", b"tex"), ("other", b"")):
        place.reset("text")
        (tmp_path / name).write_bytes(data)
        with pytest.raises(faults.FaultError):
            place.check("text.nnc")


def test_a_full_folder_for_temporary_files(commands: Commands, tmp_path: Path) -> None:
    """The 16 MiB that are kept in memory are passed, and nothing more can be kept: one sentence, and nothing is left."""
    with faults.small_file_system() as mounted:
        if not mounted:
            pytest.skip("no file system may be mounted here")
        noise = random.Random(0).randbytes(history.MEMORY_BYTES + 2 * BLOCK_BYTES)
        (tmp_path / "text").write_bytes(noise)
        assert commands.run("-q", "--model", "none", "text", cwd=tmp_path).code == 0
        packed = (tmp_path / "text.nnc").read_bytes()
        for arguments in (["text", "--model", "none", "-o", "made"], ["-d", "text.nnc", "-o", "made"]):
            result = commands.run("-q", *arguments, cwd=tmp_path, env={"TMPDIR": str(mounted)})
            assert (result.code, result.said.count("\n")) == (1, 1), result.said
            assert f"Make room in {mounted}, the folder for temporary files" in result.said
            assert list(mounted.iterdir()) == []
            assert {path.name for path in tmp_path.iterdir()} == {"text", "text.nnc"}
        assert ((tmp_path / "text").read_bytes(), (tmp_path / "text.nnc").read_bytes()) == (noise, packed)
