"""Which nncomp this is: its version, the folder of its package, the commit of its checkout, a hash of its source."""

from __future__ import annotations

import functools
from pathlib import Path

VERSION = "0.1.0"
PACKAGE = Path(__file__).resolve().parent


def commit() -> str | None:
    """Return the commit of the checkout that runs, or None where nncomp runs from no checkout."""
    import shutil
    import subprocess

    if not (PACKAGE.parent / ".git").exists() or not shutil.which("git"):
        return None
    result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PACKAGE, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


@functools.cache
def source_digest() -> str:
    """Return the SHA-256 of nncomp's own source, hexadecimal: two processes with the same digest run the same nncomp."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
