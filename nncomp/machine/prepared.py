"""Object code that comes with nncomp: a wheel that is built for a platform holds it for a few kinds of processor.

A process takes the first kind whose features its processor has. Kernels are then compiled for that kind, if the wheel lacks one.
Where no such object code is, as in a checkout, they are compiled for the processor itself. The folder is named after a hash of
the source that kernels are made of, so that changed source never meets it. `python -m nncomp.cli.prepare` makes it.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from nncomp.machine import llvm
from nncomp.version import PACKAGE

# Modules of kernels, and modules that their constants come from; tests/test_house.py fails if one is missing.
_HASHED = ("errors.py", "format/numbers.py", "range_coder.py", "version.py", "blocks/token_loop.py")
_HASHED_FOLDERS = ("machine", "mixing", "network")
FOLDER = PACKAGE / "prepared"
_V3 = ["avx", "avx2", "bmi", "bmi2", "cmov", "cx16", "f16c", "fma", "lzcnt", "movbe", "popcnt", "sahf", "sse4.2", "xsave"]
_V4 = [*_V3, *["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"]]


class Kind(NamedTuple):
    """A kind of processor, in LLVM's names."""

    label: str  # of its folder
    machine: str  # the beginning of a platform's triple
    name: str  # of the processor that stands for the kind
    features: str  # beside those that the name means
    needed: list[str]  # features of a processor of this kind


KINDS = (
    Kind("x86-64-v4-vnni", "x86_64", "x86-64-v4", "+avx2,+avx512vnni", [*_V4, "avx512vnni"]),
    Kind("x86-64-v3-vnni", "x86_64", "x86-64-v3", "+avx2,+avxvnni", [*_V3, "avxvnni"]),
    Kind("x86-64-v3", "x86_64", "x86-64-v3", "+avx2", _V3),
    Kind("aarch64-dotprod", "aarch64", "generic", "+neon,+dotprod", ["neon", "dotprod"]),
    Kind("aarch64-neon", "aarch64", "generic", "+neon", ["neon"]),
    Kind("arm64-dotprod", "arm64", "generic", "+neon,+dotprod", ["neon", "dotprod"]),
    Kind("arm64-neon", "arm64", "generic", "+neon", ["neon"]),
)


def hashed_files() -> list[Path]:
    """Return the source files that kernels depend on."""
    files = [PACKAGE / name for name in _HASHED]
    return sorted(files + [path for folder in _HASHED_FOLDERS for path in (PACKAGE / folder).rglob("*.py")])


def source_hash() -> bytes:
    """Return the SHA-256 of the source that kernels depend on. Raises OSError where it cannot be read."""
    digest = hashlib.sha256()
    for path in hashed_files():
        digest.update(path.read_bytes())
    return digest.digest()


def source_folder() -> Path:
    """Return the folder of this source's object code; it has a folder for each kind."""
    return FOLDER / source_hash().hex()[:16]


@functools.cache
def found() -> tuple[Kind, Path] | None:
    """Return the kind that this machine's processor is of and the folder with its object code; None where there is none.

    It is None, too, where the environment names another processor.
    """
    if not FOLDER.is_dir() or "NUMBA_CPU_NAME" in os.environ or "NUMBA_CPU_FEATURES" in os.environ:
        return None
    try:
        folder = source_folder()
    except OSError:
        return None
    has = {feature for feature, is_there in llvm.host_features().items() if is_there}
    folders = ((kind, folder / kind.label) for kind in KINDS if has.issuperset(kind.needed))
    return next(((kind, path) for kind, path in folders if path.is_dir()), None)


def kind() -> Kind | None:
    """Return the kind that this machine's processor is of, if there is object code for one."""
    pair = found()
    return pair[0] if pair else None


def folder() -> Path | None:
    """Return the folder with object code for this machine's processor, if there is one."""
    pair = found()
    return pair[1] if pair else None
