"""The training text as tokens: a vocabulary and token ids in the work folder of a run.

A file is complete under its name or absent. A later run finds the files and uses them. Knows nothing of networks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import DataError, ModelError
from nncomp.network.vocabulary import Vocabulary, train_vocabulary
from nncomp.training.corpus import Corpus
from nncomp.training.text_files import Report

Value = TypeVar("Value")

_SAMPLE_BYTES = 24_000_000  # of text to learn the tokens from


def vocabulary_to_json(vocabulary: Vocabulary) -> str:
    """Return a document that `vocabulary_from_json` reads: tokens in hexadecimal, merges as pairs of ids."""
    return json.dumps({"tokens": [token.hex() for token in vocabulary.tokens], "merges": vocabulary.merges})


def read_array(path: Path, dtype: type[np.generic]) -> NDArray[Any]:
    """Return the numbers of a .npy file, on disk. Raises DataError for a file of others, and OSError if there is none."""
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
        is_right = array.dtype == dtype and array.ndim == 1
    except OSError:
        raise
    except Exception as error:  # of any kind: NumPy reads the head of the file as Python
        raise _damaged(path) from error
    if not is_right:
        raise _damaged(path)
    return array


def _damaged(path: Path) -> DataError:
    return DataError(f"{path} is damaged; remove it, and it is made anew, or give another --work.")


def _read_json(path: Path, kind: Callable[[str], Value]) -> Value:
    """Return what `kind` makes of a file's text. Raises DataError for a damaged file, and OSError if there is none."""
    try:
        return kind(path.read_text())
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, ModelError) as error:
        raise DataError(f"{path} is damaged; remove {path.parent} to start anew, or give another --work.") from error


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
    } | {name: number for name, number in (("joined_bytes", joined_bytes), ("seed", seed)) if number}
    try:
        if belongs.exists() and _read_json(belongs, json.loads) != text:
            if (folder / "checkpoint.pt").exists():
                raise DataError(
                    f"{folder} belongs to a training on other text, or by another objective or --seed; give another --work."
                )
            for path in (tokens, ids, ends):  # no training began
                path.unlink(missing_ok=True)
        if not tokens.exists():
            if isinstance(known, int):
                report(f"learning {known:,} tokens")
                known = train_vocabulary(corpus.sample(_SAMPLE_BYTES, 0), known)
            tokens.write_text(vocabulary_to_json(known))
        vocabulary = _read_json(tokens, vocabulary_from_json)
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

    Raises DataError when one is damaged, or absent, for example if processes on several machines do not share the folder.
    """
    try:
        vocabulary = _read_json(folder / "tokens.json", vocabulary_from_json)
        return vocabulary, read_array(folder / "ids.npy", np.uint16), read_array(folder / "ends.npy", np.int64)
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error}); give a --work that all machines see, or remove it.") from error
