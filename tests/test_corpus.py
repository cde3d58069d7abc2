"""A corpus on disk: what is made of it piece by piece is what would be made of it in memory."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncomp.errors import DataError
from nncomp.training import text_files
from nncomp.training.corpus import Corpus, find_corpus
from nncomp.training.text_files import encode_pieces
from tests.models import TEXT, read_documents, small_vocabulary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with text in plain and compressed files, some of it in documents by an index, not in order."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_bytes(TEXT[:9000])
    (folder / "b.txt.gz").write_bytes(gzip.compress(TEXT[9000:15000]))
    (folder / "c.txt").write_bytes(b"")
    (folder / "d.txt").write_bytes(TEXT[15000:15100])
    rows = [(4000, 2000), (0, 1000), (1000, 2500), (5900, 100), (6000, 0)]
    index = "file\toffset\tbytes\tmore\n" + "".join(f"b.txt\t{begin}\t{size}\tx\n" for begin, size in rows)
    (folder / "documents.tsv").write_text(index)
    return folder


def test_tokens_on_disk_are_those_in_memory(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "PIECE_BYTES", 700)
    corpus, documents = find_corpus(str(folder)), read_documents(str(folder))
    assert [len(d.text) for d in documents] == [9000, 2000, 1000, 2500, 100, 100], "empty ones left out"
    assert [d.name for d in documents] == ["a.txt", *["b.txt"] * 4, "d.txt"] and len(corpus) == 6
    pieces = encode_pieces(documents, small_vocabulary(), 3)
    corpus.write_tokens(small_vocabulary(), 3, tmp_path / "ids.npy", tmp_path / "ends.npy")
    np.save(tmp_path / "same.npy", np.concatenate(pieces))
    assert (tmp_path / "ids.npy").read_bytes() == (tmp_path / "same.npy").read_bytes()
    assert np.load(tmp_path / "ends.npy").tolist() == np.cumsum([len(piece) for piece in pieces]).tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "ends.npy", "ids.npy", "same.npy"]


def test_what_is_remembered_and_sampled(folder: Path) -> None:
    corpus, documents = find_corpus(str(folder)), read_documents(str(folder))
    digests = sorted(hashlib.sha256(d.text).digest() for d in documents)
    assert corpus.fingerprint() == hashlib.sha256(b"".join(digests)).hexdigest()
    assert set(corpus.short_digests().tolist()) == {int.from_bytes(each[:8], "little") for each in digests}
    random, expected = np.random.default_rng(5), []
    sizes = np.array([len(d.text) for d in documents])
    for pick in random.choice(len(documents), size=10, p=sizes / sizes.sum()):
        start = int(random.integers(0, max(1, sizes[pick] - 4000)))
        expected.append(documents[pick].text[start : start + 4000])
    assert corpus.sample(40_000, 5) == expected
    assert [(d.name, len(d.text)) for d in corpus.heads(2500)] == [
        ("a.txt", 2500),
        ("b.txt", 2000),
        ("b.txt", 1000),
        ("d.txt", 100),
    ]


class Bytes:
    """A vocabulary of bytes that takes no time."""

    def encode(self, text: bytes) -> np.ndarray[Any, Any]:
        return np.frombuffer(text, np.uint8)


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """One file of 30 MB, one document: a few pieces of it are in memory at a time."""
    (tmp_path / "a.txt").write_bytes(TEXT * (30_000_000 // len(TEXT)))
    tracemalloc.start()
    corpus = find_corpus(str(tmp_path / "a.txt"))
    corpus.write_tokens(Bytes(), 0, tmp_path / "ids.npy", tmp_path / "ends.npy")  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert corpus.total_bytes > 29_000_000 and peak < 5_000_000
    assert len(np.load(tmp_path / "ids.npy", mmap_mode="r")) == corpus.total_bytes


@pytest.mark.parametrize("text", [TEXT[:8000], b"x" * 9000])
def test_text_that_changed_meanwhile_is_named(folder: Path, tmp_path: Path, text: bytes) -> None:
    corpus: Corpus = find_corpus(str(folder))
    (folder / "a.txt").write_bytes(text)
    with pytest.raises(DataError, match=r"a\.txt has changed since"):
        corpus.write_tokens(small_vocabulary(), 0, tmp_path / "ids.npy", tmp_path / "ends.npy")
    assert not list(tmp_path.glob("*ids*"))


def test_an_index_that_is_none_is_named(folder: Path) -> None:
    for line in ("b.txt\t1", "b.txt\tone\t2", "b.txt\t-1\t2"):
        (folder / "documents.tsv").write_text(f"file\toffset\tbytes\nb.txt\t0\t5\n{line}\n")
        with pytest.raises(DataError, match="line 3 is not a file"):
            find_corpus(str(folder))
    for row, said in (
        ("e.txt\t0\t5", r"documents\.tsv: line 3 is of e\.txt, and there is no such file\."),
        ("b.txt\t5999\t2", r"documents\.tsv: line 3 ends at byte 6,001 of .*b\.txt\.gz, which has 6,000 bytes\."),
        ("b.txt\t7000\t0", "line 3 ends at byte 7,000 of"),
    ):
        (folder / "documents.tsv").write_text(f"file\toffset\tbytes\nb.txt\t0\t5\n{row}\n")
        with pytest.raises(DataError, match=said):
            find_corpus(str(folder))


def test_a_pattern_may_leave_out_files_of_the_index(folder: Path) -> None:
    (folder / "documents.tsv").write_text("file\toffset\tbytes\na.txt\t0\t5\nb.txt\t0\t5\n")
    assert find_corpus(str(folder / "[ad]*")).total_bytes == 105, "5 of a.txt, and the whole other file"


def test_why_there_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "zero.txt").write_bytes(b"")
    (tmp_path / "zeros").write_bytes(bytes(100))
    for name, said in (
        ("absent", "no file is there. Give a file, a folder or a glob pattern."),
        ("zero.txt", "the file is empty."),
        ("zeros", f"{tmp_path}/zeros is not text: it has NUL bytes."),
        ("", "of 2 files, 1 cannot be used, and the others are empty."),
        ("*.txt", "the file is empty."),
    ):
        with pytest.raises(DataError) as caught:
            find_corpus(str(tmp_path / name))
        assert str(caught.value) == f"There is no training text at {tmp_path / name}: {said}"
