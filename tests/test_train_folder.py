"""The work folder of a training: what is damaged there is one sentence that names the file; what another run left is not used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncomp.errors import DataError
from nncomp.training.corpus import find_corpus
from nncomp.training.mixture import known_losses
from nncomp.training.prepared_text import prepare, read_prepared
from nncomp.training.run_log import read_log
from tests.models import TEXT, small_vocabulary


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Return a work folder of a small text."""
    (tmp_path / "text").write_bytes(TEXT[:3000])
    (tmp_path / "work").mkdir()
    prepare_again(tmp_path / "work")
    return tmp_path / "work"


def prepare_again(work: Path, seed: int = 0) -> None:
    prepare(find_corpus(str(work.parent / "text")), work, small_vocabulary(), seed, lambda line: None)


def npy(array: Any) -> bytes:
    np.save("array.npy", array)
    return Path("array.npy").read_bytes()


@pytest.mark.parametrize("name", ["ids.npy", "ends.npy"])
def test_damaged_tokens(name: str, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice is true: after the file is removed, it is made as it was."""
    monkeypatch.chdir(work.parent)
    good = (work / name).read_bytes()
    of_others = (npy(np.zeros(9)), npy(np.zeros((3, 3), np.uint16)), npy(np.array(5, np.uint16)))
    of_none = (b"", b"\0" * 200, good[:50], good[:-1], b"PK\3\4" + good, good[:11] + b"(" + good[12:])
    for damaged in of_none + of_others:
        (work / name).write_bytes(damaged)
        prepare_again(work)
        with pytest.raises(DataError, match=rf"^\S*/work/{name} is damaged; remove it, and it is made anew, or give another"):
            read_prepared(work)
    (work / name).unlink()
    prepare_again(work)
    read_prepared(work)
    assert (work / name).read_bytes() == good


def test_damaged_losses_of_mixing_are_computed_anew(work: Path) -> None:
    vocabulary, ids, ends = read_prepared(work)
    losses = np.array(known_losses(work, vocabulary, ids, ends, lambda line: None))
    for damaged in (b"", b"PK\3\4", (work / "mixing.npy").read_bytes()[:-3]):
        (work / "mixing.npy").write_bytes(damaged)
        assert np.array_equal(known_losses(work, vocabulary, ids, ends, lambda line: None), losses)


@pytest.mark.parametrize("name", ["corpus.json", "tokens.json"])
def test_damaged_documents(name: str, work: Path) -> None:
    good = (work / name).read_bytes()
    wrong = [b"", b"\xff\xfe", good[:-1], b"[" * 100_000]
    if name == "tokens.json":
        wrong += [
            b"[]",
            b"{}",
            b'{"tokens": 5, "merges": []}',
            b'{"tokens": ["zz"], "merges": []}',
            b'{"tokens": [], "merges": []}',
        ]
    for damaged in wrong:
        (work / name).write_bytes(damaged)
        with pytest.raises(
            DataError, match=rf"^\S*/work/{name} is damaged; remove \S*/work to start anew, or give another --work"
        ):
            prepare_again(work)


def test_the_order_is_that_of_the_seed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens in the order of another seed are made anew before a training began, and refused after that."""
    monkeypatch.setattr("nncomp.training.text_files.PIECE_BYTES", 100)
    prepared = []
    for seed in (1, 2, 1):
        prepare_again(work, seed)
        prepared.append((work / "ids.npy").read_bytes())
    assert prepared[0] == prepared[2] != prepared[1]
    (work / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(DataError, match="by another objective or --seed"):
        prepare_again(work, 2)


def test_a_damaged_log_has_the_rows_that_are_left(tmp_path: Path) -> None:
    row = {"step": 25, "train_bpb": 2.0}
    (tmp_path / "log.jsonl").write_bytes(b"\xff\n5\n{}\n" + json.dumps(row).encode() + b'\n{"step": "a"}\n{"st')
    assert read_log(tmp_path, 100) == [row]
