"""A corpus that may be larger than memory: where the documents are, and how they are read piece by piece.

Every file is one document, unless a `documents.tsv` beside it has rows (file, offset, bytes, ...) for documents in it.
All files are read once for sizes and SHA-256, and again for each use of the text. At most a piece of 400,000 bytes is in
memory at a time. Files that cannot be read or are not text are left out and named. Knows nothing of networks.
"""

from __future__ import annotations

import hashlib
import io
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import DataError
from nncomp.network.vocabulary import Vocabulary
from nncomp.training.text_files import Document, Report, cut, find_files, plain_name, read_up_to, readable, shuffled

_BINARY_SHARE = 0.001  # a file with a larger share of NUL bytes is not text
_SPAN_BYTES = 4000
_READ_BYTES = 1 << 20

Span = tuple[int, int, int]  # the number of a document, where in it, how many bytes
Place = tuple[int, int, bytes]  # of a document in its file: offset, size, SHA-256
Row = tuple[int, int, int]  # of an index: the number of its line, offset and size of a document


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order: the file of each, its offset and size there, and its SHA-256."""

    paths: tuple[str, ...]
    files: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    digests: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def total_bytes(self) -> int:
        return int(self.sizes.sum())

    def name(self, number: int) -> str:
        """Return the name of a document's file."""
        return plain_name(self.paths[self.files[number]])

    def by_name(self) -> dict[str, list[int]]:
        """Return the numbers of the documents in files of each name, names sorted."""
        found: dict[str, list[int]] = {}
        names = [plain_name(path) for path in self.paths]
        for number, file in enumerate(self.files.tolist()):
            found.setdefault(names[file], []).append(number)
        return dict(sorted(found.items()))

    def part(self, chosen: NDArray[Any]) -> Corpus:
        """Return some of the documents: those of the given numbers, or where a mask is true."""
        columns = {name: getattr(self, name)[chosen] for name in ("files", "offsets", "sizes", "digests")}
        return replace(self, **columns)

    def read(self, spans: Iterable[Span]) -> Iterator[bytes]:
        """Give the text of spans one after another; fastest in the order of the documents.

        Raises DataError for a file that cannot be read any more, or is shorter than it was.
        """
        with ExitStack() as opened:
            now, at, file = -1, 0, io.BytesIO()
            for number, begin, size in spans:
                place = int(self.offsets[number]) + begin
                if self.files[number] != now or place < at:
                    opened.close()
                    now, at = int(self.files[number]), 0
                    file = opened.enter_context(readable(self.paths[now]))
                if place != at:
                    file.seek(place)
                text = read_up_to(file, size)
                if len(text) != size:
                    raise _changed(self.paths[now])
                at = place + size
                yield text

    def spans(self, chosen: list[Span]) -> list[bytes]:
        """Return the text of spans in any order, reading each file once."""
        order = sorted(range(len(chosen)), key=lambda i: chosen[i])
        found = dict(zip(order, self.read(chosen[i] for i in order), strict=True))
        return [found[i] for i in range(len(chosen))]

    def documents(self) -> Iterator[Document]:
        """Give the documents one after another."""
        texts = self.read((number, 0, size) for number, size in enumerate(self.sizes.tolist()))
        for number, text in enumerate(texts):
            yield Document(self.name(number), text)

    def heads(self, bytes_of_each: int) -> list[Document]:
        """Return the beginning of each file: its documents until they have `bytes_of_each` bytes, each cut to that size."""
        taken: dict[str, int] = {}
        chosen: list[Span] = []
        for number, size in enumerate(self.sizes.tolist()):
            name = self.name(number)
            if taken.get(name, 0) < bytes_of_each:
                taken[name] = taken.get(name, 0) + size
                chosen.append((number, 0, min(size, bytes_of_each)))
        return [Document(self.name(span[0]), text) for span, text in zip(chosen, self.read(chosen), strict=True)]

    def sample(self, total_bytes: int, seed: int) -> list[bytes]:
        """Return about `total_bytes` of text as spans of 4,000 bytes from random documents; larger ones are drawn more often."""
        random = np.random.default_rng(seed)
        picks = random.choice(len(self), size=max(1, total_bytes // _SPAN_BYTES), p=self.sizes / self.total_bytes)
        chosen = []
        for pick in picks.tolist():
            size = int(self.sizes[pick])
            start = int(random.integers(0, max(1, size - _SPAN_BYTES)))
            chosen.append((pick, start, min(_SPAN_BYTES, size - start)))
        return self.spans(chosen)

    def pieces(self) -> Iterator[bytes]:
        """Give all text in pieces; no piece has text of two documents. Raises DataError when a document has changed."""
        spans = ((number, begin, part) for number, size in enumerate(self.sizes.tolist()) for begin, part in cut(size))
        texts = self.read(spans)
        for number, size in enumerate(self.sizes.tolist()):
            sha = hashlib.sha256()
            for _ in cut(size):
                sha.update(text := next(texts))
                yield text
            if sha.digest() != self.digests[number].tobytes():
                raise _changed(self.paths[self.files[number]])

    def write_tokens(self, vocabulary: Vocabulary, seed: int, ids_path: Path, ends_path: Path, joined_bytes: int = 0) -> None:
        """Write the tokens of all pieces in random order, uint16, and where each piece ends, int64, as .npy files.

        Neighbouring pieces are joined until they have `joined_bytes` bytes. The pieces go to a temporary file in the order of
        reading, and from there to their places, one at a time. A file is complete under its name or absent. Raises DataError
        for text that cannot be read or a full disk.
        """
        read, sorted_out, counts = ids_path.with_suffix(".read"), ids_path.with_suffix(".part"), array("q")
        try:
            with read.open("wb") as file:
                for piece in joined(self.pieces(), joined_bytes):
                    ids = vocabulary.encode(piece).astype(np.uint16)
                    file.write(ids.tobytes())
                    counts.append(len(ids))
            size_P = np.array(counts, np.int64)
            begin_P, order_P = np.cumsum(size_P) - size_P, shuffled(len(size_P), seed)
            with read.open("rb") as source, sorted_out.open("wb") as file:
                header = {"descr": "<u2", "fortran_order": False, "shape": (int(size_P.sum()),)}
                np.lib.format.write_array_header_1_0(file, header)
                for i in order_P:
                    source.seek(2 * int(begin_P[i]))
                    file.write(source.read(2 * int(size_P[i])))
            np.save(ends_path, np.cumsum(size_P[order_P]))
            sorted_out.replace(ids_path)
        except OSError as error:
            raise DataError(f"The tokens cannot be written to {ids_path.parent}: {error.strerror or error}.") from error
        finally:
            read.unlink(missing_ok=True)
            sorted_out.unlink(missing_ok=True)

    def short_digests(self) -> NDArray[np.uint64]:
        """Return the first 8 bytes of each document's SHA-256, little-endian, sorted; the model file holds them."""
        return np.unique(np.ascontiguousarray(self.digests[:, :8]).view("<u8").ravel().astype(np.uint64))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the sorted SHA-256 of all documents, hexadecimal."""
        order = np.lexsort(self.digests.view(">u8").T[::-1])
        return hashlib.sha256(self.digests[order].tobytes()).hexdigest()


def joined(pieces: Iterable[bytes], least_bytes: int) -> Iterator[bytes]:
    """Join neighbouring pieces until they have `least_bytes` bytes.

    >>> list(joined([b"a", b"b", b"cde", b"f"], 2))
    [b'ab', b'cde', b'f']
    """
    together = bytearray()
    for piece in pieces:
        together += piece
        if len(together) >= least_bytes:
            yield bytes(together)
            together.clear()
    if together:
        yield bytes(together)


def together(corpora: Sequence[Corpus]) -> Corpus:
    """Return the documents of several corpora as one corpus."""
    first = np.cumsum([0, *(len(corpus.paths) for corpus in corpora)])
    return Corpus(
        paths=tuple(path for corpus in corpora for path in corpus.paths),
        files=np.concatenate([corpus.files + begin for corpus, begin in zip(corpora, first, strict=False)]),
        offsets=np.concatenate([corpus.offsets for corpus in corpora]),
        sizes=np.concatenate([corpus.sizes for corpus in corpora]),
        digests=np.concatenate([corpus.digests for corpus in corpora]),
    )


def _changed(path: str) -> DataError:
    return DataError(f"{path} has changed since it was read first; train on text that does not change meanwhile.")


def find_corpus(location: str, report: Report = lambda line: None) -> Corpus:
    """Return the documents of a file, a folder or a glob pattern, in a fixed order; `report` gets a line for each file left out.

    Raises DataError when there is no text, and for a row of an index that is of no file, or of more than the file has.
    """
    paths, index = find_files(location)
    rows = _read_index(index, None if has_magic(location) else paths) if index else {}
    places, digests = array("q"), bytearray()
    left_out: list[DataError] = []
    for number, path in enumerate(paths):
        try:
            found = _documents_in(path, rows.get(plain_name(path)))
        except _WrongRowError as error:
            raise DataError(f"{index}: {error}") from None
        except DataError as error:
            left_out.append(error)
            report(f"left out: {error}")
            continue
        for offset, size, digest in found:
            places.extend((number, offset, size))
            digests += digest
    if left_out:
        report(f"{len(left_out)} of {len(paths)} files left out")
    if not places:
        raise DataError(f"There is no training text at {location}: {_why_none(len(paths), left_out)}")
    files, offsets, sizes = np.array(places, np.int64).reshape(-1, 3).T
    return Corpus(tuple(paths), files, offsets, sizes, np.frombuffer(bytes(digests), np.uint8).reshape(-1, 32))


def _why_none(files: int, left_out: list[DataError]) -> str:
    """Return why there is no text in so many files, some of which were left out for these reasons."""
    if not files:
        return "no file is there. Give a file, a folder or a glob pattern."
    if files == 1:
        return str(left_out[0]) if left_out else "the file is empty."
    return f"of {files} files, {len(left_out)} cannot be used, and the others are empty."


def _read_index(path: str, paths: list[str] | None) -> dict[str, list[Row]]:
    """Return the rows of an index of documents by file; each must be of one of the files at these paths, if they are given."""
    rows: dict[str, list[Row]] = {}
    names = None if paths is None else {plain_name(each) for each in paths}
    with readable(path) as file:
        lines = file.read().decode(errors="replace").splitlines()
    for number, line in enumerate(lines[1:], 2):
        try:
            name, offset, size, *_ = line.split("\t")
            row = number, int(offset), int(size)
            if min(row) < 0:
                raise ValueError
        except ValueError:
            raise DataError(f"{path}: line {number} is not a file, an offset and a size, with tabs between them.") from None
        if names is not None and name not in names:
            raise DataError(f"{path}: line {number} is of {name}, and there is no such file.")
        rows.setdefault(name, []).append(row)
    return rows


class _WrongRowError(DataError):
    """A row of an index says what its file does not have."""


def _documents_in(path: str, rows: list[Row] | None) -> list[Place]:
    """Return the documents of a file: those in the rows of the index, else the whole file. Raises DataError for a binary file."""
    whole, total, zeros = hashlib.sha256(), 0, 0
    with readable(path) as file:
        while text := file.read(_READ_BYTES):
            zeros += text.count(0)
            total += len(text)
            if rows is None:
                whole.update(text)
    if zeros > _BINARY_SHARE * total:
        raise DataError(f"{path} is not text: it has NUL bytes.")
    if rows is None:
        return [(0, total, whole.digest())] if total else []
    found: list[Place] = []
    with readable(path) as file:
        for line, offset, size in rows:
            if offset + size > total:
                raise _WrongRowError(f"line {line} ends at byte {offset + size:,} of {path}, which has {total:,} bytes.")
            sha, left = hashlib.sha256(), size
            if file.tell() != offset:
                file.seek(offset)
            while left > 0:
                text = read_up_to(file, min(left, _READ_BYTES))
                sha.update(text)
                left -= len(text)
                if not text:
                    raise _changed(path)
            if size:
                found.append((offset, size, sha.digest()))
    return found
