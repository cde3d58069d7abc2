"""A few of the campaign's cases on each run, and what is refused before it is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from checks import hostile
from nncomp.errors import ModelError
from nncomp.format.frames import Block, FrameWriter, ModelReference, checksum
from nncomp.network import registry
from nncomp.network.registry import MAX_BYTES, ModelFile
from tests.conftest import ROOT, Run, environment


def test_hostile_files_give_their_bytes_or_a_named_error() -> None:
    command = [sys.executable, "-m", "checks.hostile", "--count", "250", "--first", "1000000"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment(), check=False, timeout=600)
    assert result.returncode == 0, result.stderr
    assert "250 cases" in result.stdout


def test_the_campaign_notices_wrong_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = hostile.read_corpus()
    decode = hostile._decode
    monkeypatch.setattr(hostile, "_decode", lambda data, find_model: decode(data, find_model) + b"!")
    with pytest.raises(hostile.CaseError, match="other bytes were accepted"):
        [hostile.run_case(corpus, 0, case) for case in range(400)]
    monkeypatch.setattr(hostile, "_decode", lambda data, find_model: data[10**9])
    with pytest.raises(hostile.CaseError, match="IndexError"):
        hostile.run_case(corpus, 0, 0)


def test_a_case_is_the_same_each_time() -> None:
    corpus = hostile.read_corpus()
    first, second = ([hostile.run_case(corpus, 3, case) for case in range(40)] for _ in range(2))
    assert first == second


BOMBS = """
import io, sys, time
from checks import hostile
from nncomp.stream import pipeline

class Sink:
    written = 0
    def write(self, data):
        self.written += len(data)
        return len(data)

packed, raw_bytes = getattr(hostile, sys.argv[1])(int(sys.argv[2]))
assert len(packed) < 300 * int(sys.argv[2]), len(packed)
sink = Sink()
hostile.limit_memory()
begun_s = time.process_time()
pipeline.decompress(io.BytesIO(packed), sink, None, 0)
assert sink.written == raw_bytes, sink.written
assert time.process_time() - begun_s < hostile.LIMIT_S + raw_bytes / 2_000_000
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
@pytest.mark.parametrize(("name", "blocks"), [("long_copies", 12), ("short_copies", 4)])
def test_copies_of_much_from_few_bytes_take_no_more_memory(name: str, blocks: int) -> None:
    """Blocks of 64 MiB from 60 bytes each, and of 65,536 copies from 200 each: more than the memory that is allowed."""
    command = [sys.executable, "-c", BOMBS, name, str(blocks)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment(), check=False, timeout=600)
    assert result.returncode == 0, result.stderr


def test_a_model_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole: it takes no room
    with pytest.raises(ModelError, match="at most 1,073,741,824"):
        ModelFile(path, 255, bytes(32)).read()
    monkeypatch.setattr(registry, "_content_hash", lambda _: pytest.fail("all of it is hashed"))
    with pytest.raises(ModelError, match="at most 1,073,741,824"):
        registry.open_model(path)


def test_many_frames_are_listed_in_time_that_grows_with_them(run: Run, tmp_path: Path) -> None:
    """20,000 frames that each name another model: two by two compared, they would take a minute."""
    with (tmp_path / "a.nnc").open("wb") as file:
        for i in range(20_000):
            FrameWriter(file, ModelReference(255, i.to_bytes(8, "little"))).write(Block(0, 0, b"", checksum(b""), True))
    result = run("list", "--json", "a.nnc")
    assert result.returncode == 0
    assert result.stdout.count(b"own ") == 20_000
