"""The training text as tokens: a vocabulary and token ids in the work folder of a run.

A file is complete under its name or absent. A later run finds the files and uses them. Knows nothing of networks.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import DataError
from nncomp.network.vocabulary import Vocabulary, train_vocabulary
from nncomp.training.corpus import Corpus
from nncomp.training.text_files import Report

_SAMPLE_BYTES = 24_000_000  # of text to learn the tokens from


def vocabulary_to_json(vocabulary: Vocabulary) -> str:
    """Return a document that `vocabulary_from_json` reads: tokens in hexadecimal, merges as pairs of ids."""
    return json.dumps({"tokens": [token.hex() for token in vocabulary.tokens], "merges": vocabulary.merges})


def vocabulary_from_json(text: str) -> Vocabulary:
    """Return the vocabulary that `vocabulary_to_json` wrote."""
    document = json.loads(text)
    return Vocabulary(tuple(bytes.fromhex(token) for token in document["tokens"]), tuple((a, b) for a, b in document["merges"]))


def prepare(corpus: Corpus, folder: Path, known: Vocabulary | int, seed: int, report: Report, joined_bytes: int = 0) -> None:
    """Write vocabulary and tokens to the folder, unless they are there. `known` is a vocabulary, or the size of a new one.

    For `joined_bytes` see `Corpus.write_tokens`. Raises DataError when the folder belongs to a training on other text or with
    other tokens, or the disk is full.
    """
    tokens, ids, ends, belongs = (folder / name for name in ("tokens.json", "ids.npy", "ends.npy", "corpus.json"))
    text: dict[str, object] = {
        "documents": len(corpus),
        "bytes": corpus.total_bytes,
        "documents_sha256": corpus.fingerprint(),
    } | ({"joined_bytes": joined_bytes} if joined_bytes else {})
    try:
        if belongs.exists() and json.loads(belongs.read_text()) != text:
            if (folder / "checkpoint.pt").exists():
                raise DataError(f"{folder} belongs to a training on other text, or by another objective; give another --work.")
            for path in (tokens, ids, ends):  # no training began
                path.unlink(missing_ok=True)
        if not tokens.exists():
            if isinstance(known, int):
                report(f"learning {known:,} tokens")
                known = train_vocabulary(corpus.sample(_SAMPLE_BYTES, 0), known)
            tokens.write_text(vocabulary_to_json(known))
        vocabulary = vocabulary_from_json(tokens.read_text())
        if isinstance(known, Vocabulary) and known.tokens != vocabulary.tokens:
            raise DataError(f"{folder} belongs to a training with other tokens; remove it, or give another --work.")
        if not (ids.exists() and ends.exists()):
            report("cutting the text into tokens")
            belongs.write_text(json.dumps(text))
            corpus.write_tokens(vocabulary, seed, ids, ends, joined_bytes)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}.") from error


def read_prepared(folder: Path) -> tuple[Vocabulary, NDArray[np.uint16], NDArray[np.int64]]:
    """Return the vocabulary, the tokens (on disk) and the ends of the pieces from a run's folder.

    Raises DataError when they are absent, for example if processes on several machines do not share the folder.
    """
    try:
        vocabulary = vocabulary_from_json((folder / "tokens.json").read_text())
        return vocabulary, np.load(folder / "ids.npy", mmap_mode="r"), np.load(folder / "ends.npy")
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} cannot be read ({error}); give a --work that all machines see, or remove it.") from error
