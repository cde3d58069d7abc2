"""The file of an n-gram table: which token follows others in many texts. A model file names it by the SHA-256 of its bytes.

Several models of the same tokens share one. docs/FORMAT.md, "N-gram table". Knows nothing of what the entries mean.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import ModelError
from nncomp.format.numbers import MAX_NGRAM_LINES, NGRAM_SLOTS
from nncomp.network.tensors import read_tensors, written

NGRAMS_FORMAT = "nncomp-ngrams-1"
_ALIGNMENT = 64  # a line of the table is then one of a cache


class NgramTable(NamedTuple):
    """The entries of an n-gram table, the tokens that they are for, and the file that has them."""

    entries: NDArray[np.uint32]  # (lines, 16), read-only
    vocab_size: int
    content_hash: str  # SHA-256 of the file, hexadecimal
    record: dict[str, Any]
    data: Any = b""  # the bytes of the file


def parse_ngrams(data: Any, content_hash: str) -> NgramTable:
    """Return the table in the bytes of a file, anything with a buffer, that have this hash. Raises ModelError."""
    try:
        tensors, header = read_tensors(data)
        kind = header.get("format")
        if kind != NGRAMS_FORMAT:
            raise ValueError(f"it is of the kind {kind!r:.80}, and this version reads {NGRAMS_FORMAT!r}")
        vocab_size, record = int(header["vocab_size"]), json.loads(header["record"])
        entries = tensors.pop("entries")
        if tensors or header["vocab_size"] != str(vocab_size):
            raise ValueError("its head has more, or another form, than it may have")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ModelError(f"The n-gram table of the model is damaged: {error}.") from error
    is_right = entries.dtype == np.uint32 and entries.ndim == 2 and entries.shape[1] == NGRAM_SLOTS
    if not is_right or not 1 <= len(entries) <= MAX_NGRAM_LINES:
        raise ModelError("The n-gram table of the model has entries of another type or shape; the file is damaged.")
    return NgramTable(entries, vocab_size, content_hash, record, data)


def save_ngrams(entries: NDArray[np.uint32], vocab_size: int, record: dict[str, Any], path: Path) -> NgramTable:
    """Write a table (lines, 16) to `path`, each line on a multiple of 64 bytes; return it as it is read. Raises ModelError."""
    header = {"format": NGRAMS_FORMAT, "vocab_size": str(vocab_size), "record": json.dumps(record)}
    data = written({"entries": np.ascontiguousarray(entries)}, header, _ALIGNMENT)
    table = parse_ngrams(data, hashlib.sha256(data).hexdigest())
    write_whole(data, path)
    return table


def write_whole(data: Any, path: Path) -> None:
    """Write a file that is complete under its name, or not there."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(path)
