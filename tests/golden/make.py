"""Makes the golden files that are not there yet: `python -m tests.golden.make`. What is there is never changed.

A file that today's encoder would write otherwise stays as it is: what was written once must always be read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.golden import bad_files, good_files
from tests.golden.models import EXTREME, FOLDER, SMALL, make_missing, model_bytes

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
    return dict(json.loads(path.read_text())) if path.exists() else {"models": {}, "good": [], "bad": []}


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


def add_missing(folder: Path = FOLDER) -> list[str]:
    """Write the files that are not in the manifest, and their rows; return their names."""
    make_missing(folder)
    manifest = read_manifest(folder / MANIFEST.name)
    for name in (SMALL, EXTREME):
        manifest["models"].setdefault(name, sha256(model_bytes(name)))
    check(manifest, folder)
    known = {row["file"] for kind in ("good", "bad") for row in manifest[kind]}
    added = []
    for name, (about, model, data, content) in good_files.files().items():
        if name not in known:
            row = Good(name, about, model, sha256(data), sha256(content), len(content))
            manifest["good"].append(vars(row))
            added.append(_write_new(folder / name, data))
    for name, (about, model, data, error, sentence) in bad_files.files(folder).items():
        if name not in known:
            manifest["bad"].append(vars(Bad(name, about, model, sha256(data), error, sentence)))
            added.append(_write_new(folder / name, data))
    (folder / MANIFEST.name).write_text(json.dumps(manifest, indent=1) + "\n")
    return added


def _write_new(path: Path, data: bytes) -> str:
    path.parent.mkdir(exist_ok=True)
    with path.open("xb") as file:  # an existing file is an error
        file.write(data)
    return path.name


if __name__ == "__main__":
    print("added:", ", ".join(add_missing()) or "nothing; all are there")
