"""enwik8, the first 100,000,000 bytes of a Wikipedia dump: from the cache, or downloaded; verified in either case."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from nncomp.errors import DataError

NAME = "enwik8"
URL = "http://mattmahoney.net/dc/enwik8.zip"
SIZE_BYTES = 100_000_000
MD5 = "a1fa5ffddb56f4953e226637dabbb36a"
_TIMEOUT_S = 30

OpenUrl = Callable[[str], IO[bytes]]


def cache_folder() -> Path:
    """Return where nncomp keeps what it downloaded."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nncomp"


def find_enwik8(cache: Path, open_url: OpenUrl | None = None) -> Path:
    """Return the path of a verified enwik8 in `cache`, downloaded if it is not there.

    Raises DataError when it cannot be downloaded or is not the original.
    """
    path = cache / NAME
    if path.is_file() and _is_original(path):
        return path
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
            archive, unpacked = Path(folder) / "enwik8.zip", Path(folder) / NAME
            _download(archive, open_url or _open_url)
            _unpack(archive, unpacked)
            if not _is_original(unpacked):
                raise DataError(f"What {URL} gave is not the original enwik8 (its MD5 is not {MD5}); try again later.")
            unpacked.replace(path)
    except OSError as error:
        raise DataError(f"enwik8 cannot be kept in {cache}: {error.strerror or error}.") from error
    return path


def _open_url(url: str) -> Any:
    return urllib.request.urlopen(url, timeout=_TIMEOUT_S)


def _download(archive: Path, open_url: OpenUrl) -> None:
    try:
        with open_url(URL) as response, archive.open("wb") as file:
            shutil.copyfileobj(response, file)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"enwik8 is not in the cache and cannot be downloaded from {URL} ({reason}). "
            "Where there is no network, give the path of a copy: nncomp bench PATH."
        ) from error


def _unpack(archive: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as packed, packed.open(NAME) as source, target.open("wb") as file:
            # A zip's claim of its size is not believed: no more than is wanted is unpacked.
            remaining = SIZE_BYTES + 1
            while remaining and (piece := source.read(min(1 << 20, remaining))):
                file.write(piece)
                remaining -= len(piece)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise DataError(f"What {URL} gave is not the zip file it should be ({error}); try again later.") from error


def _is_original(path: Path) -> bool:
    if path.stat().st_size != SIZE_BYTES:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == MD5
