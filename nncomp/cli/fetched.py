"""Local copies of files at URLs, for work that needs a path: models, files to measure, trained models."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from nncomp.errors import DataError, ModelError
from nncomp.network.registry import MAX_BYTES
from nncomp.stream import storage

_MODEL = ".safetensors"


def model_path(name: str) -> str:
    """Return a path unchanged, and for a URL the path of a copy of the model in the cache folder, named by its hash."""
    if not storage.is_url(name):
        return name
    from nncomp.bench.corpora import cache_folder  # which loads all that a download needs

    data = _read(name)
    folder = cache_folder() / "models"
    path = folder / f"{hashlib.sha256(data).hexdigest()}{_MODEL}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _keep(path, data)
    except OSError as error:
        raise ModelError(f"The model {name} cannot be kept in {folder}: {error.strerror}.") from error
    return str(path)


def copies(url: str, folder: Path) -> dict[Path, str]:
    """Copy the files of a URL (a file, a folder or a pattern) into a local folder; return the URL of each copy."""
    names = storage.matches(url) if storage.is_pattern(url) else storage.inside(url) or [url]
    made: dict[Path, str] = {}
    for name in names:
        place = folder / str(len(made))  # two files may have the same name
        place.mkdir(parents=True)
        path = place / (PurePosixPath(name).name or "file")
        with storage.open_read(name) as (stream, _), path.open("wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
        made[path] = name
    if not made:
        raise DataError(f"{url} matches no file.")
    return made


@contextmanager
def written_here(name: str) -> Iterator[Path]:
    """Yield a path to write a result to. If `name` is a URL, the result is uploaded after the `with` block."""
    if not storage.is_url(name):
        yield Path(name)
        return
    storage.refuse_existing(name, False)
    with tempfile.TemporaryDirectory(prefix="nncomp-") as folder:
        path = Path(folder) / PurePosixPath(name).name
        yield path
        if path.is_file():
            with storage.open_write(name, False) as sink, path.open("rb") as source:
                shutil.copyfileobj(source, sink, 1 << 20)


def _read(name: str) -> bytes:
    try:
        with storage.open_read(name) as (stream, _):
            data = stream.read(MAX_BYTES + 1)
    except DataError as error:
        raise ModelError(f"The model {name}: {error}") from error
    if len(data) > MAX_BYTES:
        raise ModelError(f"The model {name} has more than {MAX_BYTES:,} bytes, the limit for a model.")
    return data


def _keep(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
