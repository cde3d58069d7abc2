"""The files of the training text: how they are found and read, and how documents become pieces and tokens.

A location is a file, a folder or a glob pattern, as a path or as a URL that fsspec knows (s3://, https://, ...). Compressed
files are decompressed. `nncomp.training.corpus` says which documents they hold. Knows nothing of networks.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import DataError
from nncomp.network.vocabulary import Vocabulary

PIECE_BYTES = 400_000  # longer documents are cut, so that no lane stays in one document for long
_INDEX = "documents.tsv"
_COMPRESSED = ".xz", ".gz", ".bz2", ".zst", ".lzma"

Report = Callable[[str], None]


@dataclass(frozen=True)
class Document:
    """One text: the file it is in, and its bytes."""

    name: str
    text: bytes


def check_location(location: str) -> None:
    """Raise DataError for an empty name of a text: it would be the current folder."""
    if not location:
        raise DataError("The name of the text is empty: give a file, a folder or a glob pattern.")


def find_files(location: str) -> tuple[list[str], str | None]:
    """Return the sorted paths of the files at a location, and the path of an index of documents among them.

    Raises DataError for a location that is empty or cannot be listed.
    """
    check_location(location)
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(location)
        found = [path] if system.isfile(path) else system.find(path) if system.isdir(path) else system.glob(path)
        paths = sorted(system.unstrip_protocol(each) if "://" in location else each for each in found if not system.isdir(each))
    except ImportError as error:
        raise DataError(f"{location} needs a package that is not installed: {error}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{location} cannot be listed: {error}.") from error
    index = next((each for each in paths if plain_name(each) == _INDEX), None)
    return [each for each in paths if each != index], index


def plain_name(path: str) -> str:
    """Return the name of a file without folders and without the suffix of a compressed file.

    >>> plain_name("corpus/news.txt.xz")
    'news.txt'
    """
    name = PurePosixPath(path).name
    return next((name.removesuffix(suffix) for suffix in _COMPRESSED if name.endswith(suffix)), name)


@contextmanager
def readable(path: str) -> Iterator[Any]:
    """Give the file at a path, decompressed by its suffix. A failure to read becomes a DataError."""
    import fsspec

    try:
        with fsspec.open(path, "rb", compression="infer") as file:
            yield file
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, ImportError) as error:
        raise DataError(f"{path} cannot be read as training text: {error}.") from error


def read_up_to(file: Any, size: int) -> bytes:
    """Return the next `size` bytes of a file, fewer only at its end. (Some readers return less than asked.)"""
    parts, missing = [], size
    while missing and (part := file.read(missing)):
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def cut(size: int) -> Iterator[tuple[int, int]]:
    """Give where the pieces of a document begin, and how long they are.

    >>> list(cut(900_000))
    [(0, 400000), (400000, 400000), (800000, 100000)]
    """
    for begin in range(0, size, PIECE_BYTES):
        yield begin, min(PIECE_BYTES, size - begin)


def shuffled(count: int, seed: int) -> NDArray[np.int64]:
    """Return the order in which the pieces of all documents are trained on."""
    return np.random.default_rng(seed).permutation(count)


def shuffled_pieces(documents: list[Document], seed: int) -> list[tuple[int, bytes]]:
    """Return the documents in pieces of at most 400,000 bytes, in random order, each with its offset in the whole text."""
    pieces, place = [], 0
    for text in (document.text for document in documents):
        pieces += [(place + begin, text[begin : begin + size]) for begin, size in cut(len(text))]
        place += len(text)
    return [pieces[i] for i in shuffled(len(pieces), seed)]


def encode_pieces(documents: list[Document], vocabulary: Vocabulary, seed: int) -> list[NDArray[np.uint16]]:
    """Return the tokens of each piece of at most 400,000 bytes of the documents, uint16, in random order.

    `Corpus.write_tokens` does the same without holding the documents in memory.
    """
    return [vocabulary.encode(piece).astype(np.uint16) for _, piece in shuffled_pieces(documents, seed)]
