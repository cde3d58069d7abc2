"""The literals that copies may reach back to: in memory, in a file, and round and round in a window."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable

import pytest

from nncomp.errors import OutputError
from nncomp.machine import watch
from nncomp.stream import history
from nncomp.stream.history import History


@pytest.mark.parametrize("in_memory", [0, 5000, 1 << 20])
def test_what_was_appended_is_read(in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MEMORY_BYTES", in_memory)
    chance = random.Random(in_memory)
    kept, data = History(10_000), b""
    for _ in range(60):
        more = chance.randbytes(chance.choice([0, 1, 700, 9_999, 10_000, 25_000]))
        kept.append(more)
        data += more
        assert kept.end == len(data)
        for _ in range(20):
            place = chance.randrange(max(0, len(data) - 10_000), len(data) + 1)
            count = chance.randrange(len(data) - place + 1)
            assert kept.read(place, count) == data[place : place + count]


def test_a_temporary_file_is_told_once_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MEMORY_BYTES", 1000)
    told: list[int] = []
    monkeypatch.setattr(watch, "_on_temporary", told.append)
    small, large = History(1000), History(1 << 20)
    for _ in range(5):
        small.append(bytes(900))
    assert not told
    for _ in range(3):
        large.append(bytes(600))
    assert told == [1 << 20]


def test_what_is_skipped_takes_no_memory() -> None:
    kept = History(1 << 32)
    kept.skip(3 << 30)
    kept.append(b"behind it")
    assert kept.read((3 << 30) + 1, 5) == b"ehind"
    assert kept._kept._rolled, "a file has holes"  # type: ignore[attr-defined]
    kept.close()


def test_a_full_disk_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = History(1 << 20)

    class Full:
        def seek(self, _: int) -> None:
            pass

        def write(self, _: object) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            pass

    monkeypatch.setattr(kept, "_kept", Full())
    with pytest.raises(OutputError, match="No space left on device"):
        kept.append(b"text")


@pytest.mark.parametrize("act", [lambda kept: kept.append(bytes(2000)), lambda kept: kept.skip(2000)])
def test_no_folder_for_temporary_files_is_a_named_error(act: Callable[[History], None], monkeypatch: pytest.MonkeyPatch) -> None:
    def find() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(history, "MEMORY_BYTES", 1000)
    monkeypatch.setattr(tempfile, "gettempdir", find)
    kept = History(1 << 20)
    with pytest.raises(OutputError, match=r"\(No usable temporary directory found in .*\)\. Set TMPDIR to a folder"):
        act(kept)
