"""Training text: documents on disk to a shuffled stream of token ids.

A folder may hold `documents.tsv` (file, offset, bytes, ... a row a document); without it every file is one document.
`.xz` and `.gz` files are read as what they hold. Knows nothing of models.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import DataError
from nncomp.tokens import Vocabulary

_PIECE_BYTES = 400_000  # longer documents are cut, so that one does not fill a lane for long
_OPENERS: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}


@dataclass(frozen=True)
class Document:
    """One text: the file it is in, and its bytes."""

    name: str
    text: bytes


def read_file(path: Path) -> bytes:
    """Return the bytes of a plain, .xz or .gz file."""
    try:
        if opener := _OPENERS.get(path.suffix):
            with opener(path, "rb") as file:
                return bytes(file.read())
        return path.read_bytes()
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be read as training text: {error}.") from error


def read_documents(location: str) -> list[Document]:
    """Return all documents of a file, a folder or a glob pattern, in a fixed order.

    Raises DataError when there is no text in it.
    """
    path = Path(location)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("documents.tsv"))
        index = next((p for p in (path / "documents.tsv", path / "documents.tsv.xz") if p.exists()), None)
    else:
        files, index = sorted(Path(p) for p in glob.glob(location, recursive=True) if Path(p).is_file()), None  # noqa: PTH207
    rows: dict[str, list[tuple[int, int]]] = {}
    if index is not None:
        for line in read_file(index).decode().splitlines()[1:]:
            name, offset, size, *_ = line.split("\t")
            rows.setdefault(name, []).append((int(offset), int(size)))
    documents: list[Document] = []
    for file in files:
        text, name = read_file(file), file.name.removesuffix(".xz")
        spans = rows.get(name, [(0, len(text))])
        documents += [Document(name, text[offset : offset + size]) for offset, size in spans if size]
    if not documents:
        raise DataError(f"There is no training text at {location}: give a file, a folder or a glob pattern.")
    return documents


def fingerprint(documents: list[Document]) -> str:
    """Return a hash of what was trained on: SHA-256 over the sorted SHA-256 of every document, hexadecimal."""
    digests = sorted(hashlib.sha256(document.text).digest() for document in documents)
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


def encode_shuffled(documents: list[Document], vocabulary: Vocabulary, seed: int) -> NDArray[np.uint16]:
    """Return the tokens of all documents in random order, cut into pieces of at most 400,000 bytes, uint16."""
    pieces = [d.text[i : i + _PIECE_BYTES] for d in documents for i in range(0, len(d.text), _PIECE_BYTES)]
    order = np.random.default_rng(seed).permutation(len(pieces))
    return np.concatenate([vocabulary.encode(pieces[i]).astype(np.uint16) for i in order])
