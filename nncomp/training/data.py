"""Training text: documents in files, near or far, to a shuffled stream of token ids.

A location is a file, a folder or a glob pattern, and any path that fsspec knows (s3://, https://, ...). Compressed files are
read as what they hold. A folder may hold `documents.tsv` (file, offset, bytes, ... a row a document); without it every file
is one document. What cannot be read, or is not text, is left out and named. Knows nothing of models.
"""

from __future__ import annotations

import hashlib
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import DataError
from nncomp.tokens import Vocabulary

_PIECE_BYTES = 400_000  # longer documents are cut, so that one does not fill a lane for long
_INDEX = "documents.tsv"
_COMPRESSED = ".xz", ".gz", ".bz2", ".zst", ".lzma"
_BINARY_SHARE = 0.001  # of NUL bytes: text has none
_HELD_OUT = 50  # one document in so many is held out, when no other text is given
_HELD_OUT_BYTES = 3_000_000

Report = Callable[[str], None]


@dataclass(frozen=True)
class Document:
    """One text: the file it is in, and its bytes."""

    name: str
    text: bytes


def read_documents(location: str, report: Report = lambda line: None) -> list[Document]:
    """Return all documents of a file, a folder or a glob pattern, in a fixed order; tell `report` what is left out.

    Raises DataError when there is no text in it.
    """
    names, index = _find(location)
    rows: dict[str, list[tuple[int, int]]] = {}
    if index:
        for line in _read(index).decode().splitlines()[1:]:
            name, offset, size, *_ = line.split("\t")
            rows.setdefault(name, []).append((int(offset), int(size)))
    documents: list[Document] = []
    left_out = 0
    for path in names:
        try:
            text = _read(path)
            if text.count(0) > _BINARY_SHARE * len(text):
                raise DataError(f"{path} is not text: it has NUL bytes.")
        except DataError as error:
            left_out += 1
            report(f"left out: {error}")
            continue
        name = _plain_name(path)
        spans = rows.get(name, [(0, len(text))])
        documents += [Document(name, text[offset : offset + size]) for offset, size in spans if size]
    if left_out:
        report(f"{left_out} of {len(names)} files left out")
    if not any(document.text for document in documents):
        raise DataError(f"There is no training text at {location}: give a file, a folder or a glob pattern.")
    return documents


def _find(location: str) -> tuple[list[str], str | None]:
    """Return the paths of the files at a location, sorted, and of the index of documents among them."""
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(location)
        found = [path] if system.isfile(path) else system.find(path) if system.isdir(path) else system.glob(path)
        paths = sorted(system.unstrip_protocol(each) if "://" in location else each for each in found if not system.isdir(each))
    except ImportError as error:
        raise DataError(f"{location} needs a package that is not installed: {error}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{location} cannot be listed: {error}.") from error
    index = next((each for each in paths if _plain_name(each) == _INDEX), None)
    return [each for each in paths if each != index], index


def _plain_name(path: str) -> str:
    name = PurePosixPath(path).name
    return next((name.removesuffix(suffix) for suffix in _COMPRESSED if name.endswith(suffix)), name)


def _read(path: str) -> bytes:
    """Return the bytes of a file, decompressed by its suffix; raises DataError."""
    import fsspec

    try:
        with fsspec.open(path, "rb", compression="infer") as file:
            return bytes(file.read())
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, ImportError) as error:
        raise DataError(f"{path} cannot be read as training text: {error}.") from error


def hold_out(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    """Return the documents to train on and those held out: one in 50 by its hash, 3 MB at most.

    A document held out once is held out always. Raises DataError when there are too few to hold any out.
    """
    kept, held, held_bytes = [], [], 0
    for document in documents:
        if held_bytes < _HELD_OUT_BYTES and int.from_bytes(digest(document.text)[:4], "little") % _HELD_OUT == 0:
            held.append(document)
            held_bytes += len(document.text)
        else:
            kept.append(document)
    if not held or not kept:
        raise DataError(f"{len(documents)} documents are too few to hold some out; give other text with --valid.")
    return kept, held


def digest(text: bytes) -> bytes:
    """Return the SHA-256 of a document."""
    return hashlib.sha256(text).digest()


def short_digests(documents: list[Document]) -> NDArray[np.uint64]:
    """Return the first 8 bytes of each document's SHA-256, little-endian, sorted: what a model remembers it was trained on."""
    return np.unique(np.array([int.from_bytes(digest(d.text)[:8], "little") for d in documents], np.uint64))


def fingerprint(documents: list[Document]) -> str:
    """Return a hash of what was trained on: SHA-256 over the sorted SHA-256 of every document, hexadecimal."""
    digests = sorted(digest(document.text) for document in documents)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def sample_text(documents: list[Document], total_bytes: int, seed: int) -> list[bytes]:
    """Return about `total_bytes` of text as spans of 4,000 bytes from random documents, by size."""
    random = np.random.default_rng(seed)
    sizes = np.array([len(document.text) for document in documents], dtype=np.float64)
    picks = random.choice(len(documents), size=max(1, total_bytes // 4000), p=sizes / sizes.sum())
    spans = []
    for pick in picks:
        text = documents[pick].text
        start = int(random.integers(0, max(1, len(text) - 4000)))
        spans.append(text[start : start + 4000])
    return spans


def shuffled_pieces(documents: list[Document], seed: int) -> list[tuple[int, bytes]]:
    """Return pieces of at most 400,000 bytes of the documents in random order, each with its place in all of them."""
    pieces, place = [], 0
    for text in (document.text for document in documents):
        pieces += [(place + i, text[i : i + _PIECE_BYTES]) for i in range(0, len(text), _PIECE_BYTES)]
        place += len(text)
    return [pieces[i] for i in np.random.default_rng(seed).permutation(len(pieces))]


def encode_pieces(documents: list[Document], vocabulary: Vocabulary, seed: int) -> list[NDArray[np.uint16]]:
    """Return the tokens of each piece of at most 400,000 bytes of the documents, uint16, in random order."""
    return [vocabulary.encode(piece).astype(np.uint16) for _, piece in shuffled_pieces(documents, seed)]


def encode_shuffled(documents: list[Document], vocabulary: Vocabulary, seed: int) -> NDArray[np.uint16]:
    """Return the tokens of all documents in random order, cut into pieces of at most 400,000 bytes, uint16."""
    return np.concatenate(encode_pieces(documents, vocabulary, seed))
