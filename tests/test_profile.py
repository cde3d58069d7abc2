"""`python -m benchmarks.profile`: a row for each part of a byte's time, and the parts of the loop are not more than the loop."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nncomp.network.registry import installed_model

pytestmark = [pytest.mark.slow, pytest.mark.skipif(installed_model("default") is None, reason="no shipped model")]


def test_every_part_has_its_microseconds(tmp_path: Path, english: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import profile

    (tmp_path / "text").write_bytes(english)
    profile.main([str(tmp_path / "text"), "--first", "4000", "--model", "fast"])
    printed = capsys.readouterr().out
    assert "4,000 bytes" in printed
    found = {name: float(number) for name, number in re.findall(r"^\| (.+?) \| (-?[\d.]+)", printed, re.MULTILINE)}
    parts = {"network: step", "network: tokens of a group", "mixing", "tokenizer", "coder"}
    of_step = {f"- {name}" for name in (*profile.PARTS, profile.LAST_PART)}
    of_bytes = "as bytes: mixing", "as bytes: coder", "as bytes: decoding", "LZMA, quickest", "LZMA"
    others = {"encoding", "decoding", *(f"{name}, a byte" for name in of_bytes)}
    (rest,) = found.keys() - parts - of_step - others
    assert found[rest] == pytest.approx(found["encoding"] - sum(found[name] for name in parts), abs=0.06)
    assert all(
        found[name] > 0
        for name in {"encoding", "decoding", "mixing", "network: step", "as bytes: mixing, a byte", "LZMA, a byte"}
    )
