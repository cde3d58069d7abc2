"""Which text a training learns from, and which it is measured on.

Without text given for measuring, some of the training text is held out: documents where there are many, else pieces of the
documents. The choice is the same each time. Likewise some documents are left out where n-grams are counted. Knows nothing of
networks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import DataError
from nncomp.training.corpus import Corpus, find_corpus
from nncomp.training.text_files import Report

_SHARE = 50  # one document in 50 is held out, or one byte in 50
_LEFT_OUT_SHARE = 16  # one document in so many is not counted for an n-gram table
_MOST_BYTES = 3_000_000
_PIECE_BYTES, _LEAST_BYTES = 40_000, 1_000
_READ_BYTES = 1 << 20

Part = tuple[int, int, int]  # of a document: its number, where the part begins, where it ends


@dataclass(frozen=True)
class Texts:
    """The text to learn from, the text to measure on, and the documents that the text to learn from is part of."""

    learned: Corpus
    held_out: Corpus
    documents: Corpus


def find_texts(data: str, valid: str | None, report: Report) -> Texts:
    """Return the text at `data` to learn from and the text at `valid` to measure on; without `valid`, a part of the former."""
    corpus = find_corpus(data, report)
    return Texts(corpus, find_corpus(valid, report), corpus) if valid else hold_out(corpus)


def hold_out(corpus: Corpus) -> Texts:
    """Hold out one document in 50, chosen by its hash, at most 3 MB and a tenth of the text.

    Where that gives no document, pieces of the documents are held out instead. Raises DataError for too little text.
    """
    may_be = np.ascontiguousarray(corpus.digests[:, :4]).view("<u4").ravel() % _SHARE == 0
    held = may_be & (np.cumsum(corpus.sizes * may_be) <= min(_MOST_BYTES, corpus.total_bytes // 10))
    if held.any():
        return Texts(corpus.part(~held), corpus.part(held), corpus.part(~held))
    return hold_out_pieces(corpus)


def left_out(corpus: Corpus) -> Corpus:
    """Return the documents that are not counted for an n-gram table, chosen by their hashes; all where there would be none."""
    chosen = _is_left_out(corpus)
    return corpus.part(chosen) if chosen.any() else corpus


def counted(corpus: Corpus) -> Corpus:
    """Return the documents that are counted for an n-gram table."""
    return corpus.part(~_is_left_out(corpus))


def _is_left_out(corpus: Corpus) -> NDArray[np.bool_]:
    return np.asarray(np.ascontiguousarray(corpus.digests[:, 4:8]).view("<u4").ravel() % _LEFT_OUT_SHARE == 0)


def hold_out_pieces(corpus: Corpus) -> Texts:
    """Hold out one byte in 50, at most 3 MB, in pieces of about 40,000 bytes at even distances.

    A piece ends where its document ends. Raises DataError for less than 50,000 bytes of text.
    """
    held_bytes = min(_MOST_BYTES, corpus.total_bytes // _SHARE)
    if held_bytes < _LEAST_BYTES:
        raise DataError(
            f"The text has {corpus.total_bytes:,} bytes, too few to hold some out: give {_SHARE * _LEAST_BYTES:,} bytes or more, "
            "or other text to measure on with --valid."
        )
    held = list(_even_pieces(corpus, max(1, held_bytes // _PIECE_BYTES), held_bytes))
    return Texts(_parts(corpus, list(_between(corpus, held))), _parts(corpus, held), corpus)


def _even_pieces(corpus: Corpus, count: int, held_bytes: int) -> Iterator[Part]:
    """Give pieces of all documents seen as one text: one in the middle of each of `count` equal stretches."""
    end_D = np.cumsum(corpus.sizes)
    half = held_bytes // count // 2
    for i in range(count):
        middle = corpus.total_bytes * (2 * i + 1) // (2 * count)
        number = int(np.searchsorted(end_D, middle, "right"))
        first, end = int(end_D[number] - corpus.sizes[number]), int(end_D[number])
        yield number, max(middle - half, first) - first, min(middle + half, end) - first


def _between(corpus: Corpus, held: list[Part]) -> Iterator[Part]:
    """Give the parts of the documents that are not held out."""
    for number, size in enumerate(corpus.sizes.tolist()):
        at = 0
        for _, begin, end in [*(part for part in held if part[0] == number), (number, size, size)]:
            if begin > at:
                yield number, at, begin
            at = end


def _parts(corpus: Corpus, parts: list[Part]) -> Corpus:
    """Return the parts of documents as documents of their own."""
    number_P, begin_P, end_P = np.array(parts, np.int64).reshape(-1, 3).T
    digests = bytearray()
    for number, begin, end in parts:
        sha = hashlib.sha256()
        for text in corpus.read((number, at, min(_READ_BYTES, end - at)) for at in range(begin, end, _READ_BYTES)):
            sha.update(text)
        digests += sha.digest()
    return replace(
        corpus,
        files=corpus.files[number_P],
        offsets=corpus.offsets[number_P] + begin_P,
        sizes=end_P - begin_P,
        digests=np.frombuffer(bytes(digests), np.uint8).reshape(-1, 32),
    )
