"""Which model is which file: names, ids and hashes of models.

A frame names its model by id and hash. Only a file with this SHA-256 is taken. Knows nothing of what is inside a model file, but
for the hashes of the files that it names.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nncomp.errors import ModelError
from nncomp.format.numbers import MAX_HEAD_BYTES, MODEL_HASH_BYTES, MODEL_IDS, MODEL_NAMES, NO_MODEL, OWN_MODEL
from nncomp.machine import kernel_cache
from nncomp.version import PACKAGE

Bytes = bytes | mmap.mmap
MAX_BYTES = 1 << 30  # of a model file
NGRAMS = "ngrams"  # the name of the file of the n-gram table
NAMED = "base", "second", "ngrams"  # in the head of a model file: the hashes of other files
_REMEMBERED = 64  # versions of files whose hash is remembered
_YOUNG_NS = 2 * 10**9  # a file that was written so short a time ago may be written again without a sign of it


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Make a ModelError of a failure to read a model."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"The model {path} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class ModelFile:
    """A model file: its id, the SHA-256 of its bytes, the device of torch that runs its network ("": none), what it names."""

    path: Path
    model_id: int
    content_hash: bytes
    device: str = ""
    base: ModelFile | None = None  # the model whose layers this model builds on
    second: ModelFile | None = None  # the model whose network predicts beside this one's
    ngrams: ModelFile | None = None  # the file of the n-gram table

    @property
    def hash8(self) -> bytes:
        """The part of the hash that a frame holds."""
        return self.content_hash[:MODEL_HASH_BYTES]

    @property
    def _named(self) -> list[ModelFile]:
        return [file for file in (self.base, self.second, self.ngrams) if file]

    @property
    def can_be_base(self) -> bool:
        """Whether another file may name this one as its base: nncomp finds it by its hash, and it has no base itself."""
        return self.model_id != OWN_MODEL and self.base is None

    @property
    def size_bytes(self) -> int:
        """The size of the file and of those that it names together; raises ModelError when a file cannot be read."""
        with _reading(self.path):
            return self.path.stat().st_size + sum(file.size_bytes for file in self._named)

    @property
    def ngram_bytes(self) -> int:
        """The size of the n-gram table's file, which is read where it is used and never copied; 0 where there is none."""
        return self.ngrams.size_bytes if self.ngrams else 0

    def read_named(self) -> dict[str, Bytes]:
        """Return the bytes of the files that this one names, by their SHA-256, hexadecimal; raises ModelError as `read` does."""
        return {file.content_hash.hex(): file.read() for file in self._named}

    def read(self) -> Bytes:
        """Return the bytes of the file; raises ModelError if they are too many, or changed since the hash was taken.

        A model that comes with nncomp is mapped: its bytes are read when they are used. Another one may be written in place.
        """
        _check_size(self.path, self.size_bytes)
        is_shipped = self.path.parent == models_folder()
        data: Bytes = b""
        with _reading(self.path), suppress(ValueError), self.path.open("rb") as file:  # ValueError: an empty file
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if is_shipped else file.read()
        found = _content_hash(self.path) if is_shipped else hashlib.sha256(data).digest()
        if found != self.content_hash:
            raise ModelError(f"The model {self.path} was changed while it was in use; run the command again.")
        return data


def _check_size(path: Path, size_bytes: int) -> None:
    if size_bytes > MAX_BYTES:
        raise ModelError(f"The model {path} has {size_bytes:,} bytes; a model has at most {MAX_BYTES:,}.")


def models_folder() -> Path:
    """Return the folder of the models that come with nncomp: inside the installed package, or beside it in a checkout."""
    installed = PACKAGE / "models"
    return installed if installed.is_dir() else PACKAGE.parent / "models"


def shipped_path(name: str) -> Path:
    """Return where the model of this name is, if it is installed."""
    return models_folder() / f"{name}.safetensors"


def open_model(name_or_path: str | os.PathLike[str]) -> ModelFile:
    """Return the model of a name, or the model at a path; raises ModelError when there is none."""
    name = os.fspath(name_or_path)
    if name in MODEL_IDS:
        path = shipped_path(name)
        if not path.is_file():
            raise ModelError(f"The model {name} is not installed: there is no {path}. Install nncomp again.")
        return model_file(path, MODEL_IDS[name], _content_hash(path))
    path = Path(name)
    with _reading(path):
        size_bytes = path.stat().st_size if path.is_file() else -1
    if size_bytes < 0:
        raise ModelError(f"There is no model {name}: give a name ({MODEL_NAMES}) or the path of a .safetensors file.")
    _check_size(path, size_bytes)  # before all of it is hashed
    content_hash = _content_hash(path)
    for shipped_name, model_id in MODEL_IDS.items():
        shipped = shipped_path(shipped_name)
        if shipped.is_file() and _content_hash(shipped) == content_hash:
            return model_file(path, model_id, content_hash)
    return model_file(path, OWN_MODEL, content_hash)


def model_file(path: Path, model_id: int, content_hash: bytes) -> ModelFile:
    """Return the model at a path. Files that its head names are searched among those that come with nncomp; an n-gram table
    may be beside the model, too, as ngrams*.safetensors."""
    claimed, found = _claimed_files(path, *_version(path)), dict[str, ModelFile]()
    for name, number in (MODEL_IDS | {NGRAMS: NO_MODEL}).items() if any(claimed) else ():
        _find_claimed(claimed, shipped_path(name), number, found)
    if claimed[-1] and claimed[-1] not in found:
        for folder in dict.fromkeys((path.parent, path.resolve().parent)):
            for place in sorted(folder.glob(f"{NGRAMS}*.safetensors")):
                _find_claimed(claimed[-1:], place, NO_MODEL, found)
    base, second, ngrams = (found.get(each) for each in claimed)
    return ModelFile(path, model_id, content_hash, base=base, second=second, ngrams=ngrams)


def _find_claimed(claimed: tuple[str, ...], place: Path, number: int, found: dict[str, ModelFile]) -> None:
    """Add the file at a place to those found if it is one of the claimed ones; one that cannot be read is none."""
    with suppress(ModelError):
        if place.is_file() and (digest := _content_hash(place)).hex() in claimed:
            found.setdefault(digest.hex(), ModelFile(place, number, digest))


def _version(path: Path) -> tuple[int, ...]:
    """Return what tells this version of a file from others: what is read of it once need not be read again."""
    with _reading(path):
        status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=_REMEMBERED)
def _claimed_files(path: Path, *version: int) -> tuple[str, ...]:
    """Return the hashes of the files that the head of a model file names, by NAMED; "" for none."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(size)) if size <= MAX_HEAD_BYTES else {}
        claimed = [head["__metadata__"].get(name) for name in NAMED]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ("",) * len(NAMED)
    return tuple(each if isinstance(each, str) else "" for each in claimed)


def installed_model(name: str) -> ModelFile | None:
    """Return the model of a name, or None when it is not installed."""
    return open_model(name) if shipped_path(name).is_file() else None


def installed_models() -> list[ModelFile]:
    """Return all models that come with nncomp and are installed."""
    return [open_model(name) for name in MODEL_IDS if shipped_path(name).is_file()]


def find(model_id: int, hash8: bytes, given: Iterable[ModelFile] = ()) -> ModelFile:
    """Return the model with this hash among the given models and those that come with nncomp; raises ModelError otherwise.

    Any other model must be among the given ones: nncomp knows no other place to search.
    """
    given = list(given)
    known = {model.hash8 for model in given}
    candidates = given + [model for model in installed_models() if model.hash8 not in known]
    for model in candidates:
        if model.hash8 == hash8:
            return model
    name = next((name for name, known_id in MODEL_IDS.items() if known_id == model_id), None)
    wanted = f"the model {name}" if name else "a model that does not come with nncomp"
    seen = [m for m in candidates if m in given or m.model_id == model_id]
    found = "; ".join(f"{m.path} has {m.hash8.hex()}" for m in seen) if seen else "no such model is here"
    raise ModelError(
        f"The file was made with {wanted}, whose hash begins with {hash8.hex()}, but {found}. "
        "Give the right one with --model PATH" + (", or use the nncomp version that made the file." if name else ".")
    )


def _content_hash(path: Path) -> bytes:
    """Return the SHA-256 of a file, computed once for each version of the file; raises ModelError if it cannot be read."""
    return _hash_of(path, *_version(path))


@lru_cache(maxsize=_REMEMBERED)
def _hash_of(path: Path, *version: int) -> bytes:
    """Return the hash of a version of a file: as an earlier process found it, or computed and remembered."""
    key = "\0".join([str(path.absolute()), *map(str, version)])
    name = f"model-{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:16]}.sha256"
    found = kernel_cache.read(name)
    if found is not None:
        return found
    with _reading(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    if time.time_ns() - max(version[-2:]) > _YOUNG_NS:  # version ends with the times of the last changes
        kernel_cache.write(name, digest)
    return digest
