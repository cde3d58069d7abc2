"""A few of the campaign's faults on each run, and that the campaign would notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from checks import faults
from tests.conftest import ROOT, environment

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
