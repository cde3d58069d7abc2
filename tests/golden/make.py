"""Makes the golden files that are not there yet: `python -m tests.golden.make`. A file that is there is not changed.

`--anew` removes all files first. Use it when the format changes before a release; after a release, a golden file never changes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tests.golden import bad_files, good_files
from tests.golden.manifest import MANIFEST, Bad, Good, check, read_manifest, sha256
from tests.golden.models import FOLDER, NAMES, make_missing, model_bytes


def add_missing(folder: Path = FOLDER) -> list[str]:
    """Write the files that are not in the manifest, and their rows; return their names."""
    make_missing(folder)
    manifest = read_manifest(folder / MANIFEST.name)
    for name in NAMES:
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


def remove_all(folder: Path = FOLDER) -> None:
    """Remove the golden files and their models, and their rows of the manifest."""
    manifest = read_manifest(folder / MANIFEST.name)
    for kind in ("good", "bad"):
        for row in manifest[kind]:
            (folder / row["file"]).unlink()
        manifest[kind] = []
    for name in manifest["models"]:
        (folder / f"{name}.xz").unlink()
    manifest["models"] = {}
    (folder / MANIFEST.name).write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--anew", action="store_true", help="remove all golden files and their models first")
    if parser.parse_args().anew:
        remove_all()
    print("added:", ", ".join(add_missing()) or "nothing; all are there")
