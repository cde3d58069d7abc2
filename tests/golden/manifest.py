"""What golden files there are, what each is about, and what it must give; light to import."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.golden.models import FOLDER, model_bytes

MANIFEST = FOLDER / "manifest.json"


@dataclass(frozen=True)
class Good:
    """A file, the model it needs ("" for none), the SHA-256 of its content, and the content's size."""

    file: str
    about: str
    model: str
    sha256: str
    raw_sha256: str
    raw_bytes: int


@dataclass(frozen=True)
class Bad:
    """A file, the model it is given ("" for none), the error it must give, and a part of its sentence."""

    file: str
    about: str
    model: str
    sha256: str
    error: str
    sentence: str


def read_manifest(path: Path = MANIFEST) -> dict[str, Any]:
    """Return the manifest: `models` (name to SHA-256), `good` and `bad` (rows)."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {"models": {}, "good": [], "bad": []}


def good_rows() -> list[Good]:
    return [Good(**row) for row in read_manifest()["good"]]


def bad_rows() -> list[Bad]:
    return [Bad(**row) for row in read_manifest()["bad"]]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def check(manifest: dict[str, Any], folder: Path = FOLDER) -> None:
    """Raise ValueError unless every file is as the manifest says."""
    for row in [*manifest["good"], *manifest["bad"]]:
        if sha256((folder / row["file"]).read_bytes()) != row["sha256"]:
            raise ValueError(f"The golden file {row['file']} was changed; restore it: these files never change.")
    for name, expected in manifest["models"].items():
        if sha256(model_bytes(name)) != expected:
            raise ValueError(f"The golden model {name} was changed; restore it: these files never change.")
