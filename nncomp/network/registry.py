"""Which model is which file: levels, ids and content hashes.

Verifies by SHA-256 and never guesses: a frame names its model by id and hash, and only the file with that hash will
do. Knows nothing of what is inside a model file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nncomp.errors import ModelError
from nncomp.format.numbers import MODEL_HASH_BYTES, MODEL_IDS, OWN_MODEL
from nncomp.version import PACKAGE

MAX_BYTES = 1 << 30  # of a model file
_MAX_HEAD_BYTES = 1 << 20  # that are looked at to find a base


@dataclass(frozen=True)
class ModelFile:
    """A model file: its id, the SHA-256 of its bytes, the device of torch that its network is to run on ("": none), its base."""

    path: Path
    model_id: int
    content_hash: bytes
    device: str = ""
    base: ModelFile | None = None  # the one that this goes on from

    @property
    def hash8(self) -> bytes:
        """The part of the hash that a frame holds."""
        return self.content_hash[:MODEL_HASH_BYTES]

    @property
    def size_bytes(self) -> int:
        """How long the file is, with its base's; raises ModelError when it cannot be looked at."""
        try:
            return self.path.stat().st_size + (self.base.size_bytes if self.base else 0)
        except OSError as error:
            raise ModelError(f"The model {self.path} cannot be read: {error.strerror}.") from error

    def read_base(self) -> bytes | None:
        """Return the bytes of the base, None without one; raises ModelError as `read` does."""
        return self.base.read() if self.base else None

    def read(self) -> bytes:
        """Return the bytes of the file; raises ModelError unless they still have the hash, or are more than a model has."""
        try:
            if self.size_bytes > MAX_BYTES:
                raise ModelError(f"The model {self.path} has {self.size_bytes:,} bytes; a model has at most {MAX_BYTES:,}.")
            data = self.path.read_bytes()
        except OSError as error:
            raise ModelError(f"The model {self.path} cannot be read: {error.strerror}.") from error
        if hashlib.sha256(data).digest() != self.content_hash:
            raise ModelError(f"The model {self.path} was changed while it was in use; run the command again.")
        return data


def models_folder() -> Path:
    """Return the folder of the models that come with nncomp: inside the installed package, or beside it in a checkout."""
    installed = PACKAGE / "models"
    return installed if installed.is_dir() else PACKAGE.parent / "models"


def level_path(level: str) -> Path:
    """Return where the model of a level is, if it is there."""
    return models_folder() / f"{level}.safetensors"


def open_model(level_or_path: str | Path) -> ModelFile:
    """Return the model of a level, or the model at a path; raises ModelError when there is none."""
    level = str(level_or_path)
    if level in MODEL_IDS:
        path = level_path(level)
        if not path.is_file():
            raise ModelError(f"The model of level {level} is not installed: there is no {path}. Install nncomp again.")
        return model_file(path, MODEL_IDS[level], _content_hash(path))
    path = Path(level_or_path)
    if not path.is_file():
        levels = ", ".join(MODEL_IDS)
        raise ModelError(f"There is no model {level}: give a level ({levels}) or the path of a .safetensors file.")
    content_hash = _content_hash(path)
    for name, model_id in MODEL_IDS.items():
        shipped = level_path(name)
        if shipped.is_file() and _content_hash(shipped) == content_hash:
            return model_file(path, model_id, content_hash)
    return model_file(path, OWN_MODEL, content_hash)


def model_file(path: Path, model_id: int, content_hash: bytes) -> ModelFile:
    """Return the model at a path; its base, if its head names one, is among those that come with nncomp, or is missing."""
    claimed, base = _claimed_base(path), None
    for name, base_id in MODEL_IDS.items() if claimed else ():
        shipped = level_path(name)
        if shipped.is_file() and (found := _content_hash(shipped)).hex() == claimed:
            base = ModelFile(shipped, base_id, found)
    return ModelFile(path, model_id, content_hash, base=base)


def _claimed_base(path: Path) -> str | None:
    """Return the hash that the head of a model file names as its base's; what is no model file names none."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(size)) if size <= _MAX_HEAD_BYTES else {}
        claimed = head["__metadata__"]["base"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return claimed if isinstance(claimed, str) else None


def installed_model(level: str) -> ModelFile | None:
    """Return the model of a level, or None when it is not installed."""
    return open_model(level) if level_path(level).is_file() else None


def installed_models() -> list[ModelFile]:
    """Return all models that come with nncomp and are installed."""
    return [open_model(level) for level in MODEL_IDS if level_path(level).is_file()]


def default_model() -> ModelFile | None:
    """Return the model of the default level, or None when none is installed."""
    return installed_model("default")


def strongest_model() -> ModelFile | None:
    """Return the model that predicts best of those installed, whatever it costs, or None when none is."""
    return installed_model("max") or default_model()


def find(model_id: int, hash8: bytes, given: Iterable[ModelFile] = ()) -> ModelFile:
    """Return the model with this hash, from those given and those that come with nncomp; raises ModelError otherwise.

    A model of one's own is searched only among the given ones, for a path is all that is known of it.
    """
    given = list(given)
    known = {model.hash8 for model in given}
    candidates = given + [model for model in installed_models() if model.hash8 not in known]
    for model in candidates:
        if model.hash8 == hash8:
            return model
    level = next((name for name, known_id in MODEL_IDS.items() if known_id == model_id), None)
    wanted = f"the model of level {level}" if level else "a model of its maker's own"
    seen = [m for m in candidates if m in given or m.model_id == model_id]
    found = "; ".join(f"{m.path} has {m.hash8.hex()}" for m in seen) if seen else "no such model is here"
    raise ModelError(
        f"The file was made with {wanted}, whose hash begins with {hash8.hex()}, but {found}. "
        "Give the right one with --model PATH" + (", or use the nncomp version that made the file." if level else ".")
    )


def _content_hash(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ModelError(f"The model {path} cannot be read: {error.strerror}.") from error
