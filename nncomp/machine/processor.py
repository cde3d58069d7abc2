"""What kernels are compiled for: this machine's processor by LLVM's names, and the versions of the compiler.

Where object code came with nncomp (`prepared`), it is the kind of processor that this machine's is of. NUMBA_CPU_NAME and
NUMBA_CPU_FEATURES name another processor, as they do for Numba. Numba itself is not imported.
"""

from __future__ import annotations

import functools
import os
import sys
from contextlib import suppress

from nncomp.machine import llvm, prepared

_COMPILERS = "llvmlite", "numba"


@functools.cache
def name() -> str:
    """Return the processor's name: "znver4", "sapphirerapids" and so on."""
    kind = prepared.kind()
    return kind.name if kind else os.environ.get("NUMBA_CPU_NAME") or llvm.host_name()


@functools.cache
def features_text() -> str:
    """Return the processor's features as LLVM takes them: "+avx2,-avx512f" and so on."""
    kind, named = prepared.kind(), os.environ.get("NUMBA_CPU_FEATURES")
    if kind or named is not None:
        return kind.features if kind else named or ""
    return ",".join(f"{'+' if has else '-'}{feature}" for feature, has in sorted(llvm.host_features().items()))


def has_matrix_unit() -> bool:
    """Return whether this machine's own processor has AMX, whatever is compiled for."""
    return llvm.host_features().get("amx-int8", False)


@functools.cache
def features() -> frozenset[str]:
    """Return the processor's features, each with its sign."""
    return frozenset(features_text().split(","))


def compiler_versions() -> bytes:
    """Return what tells the versions of Python and of the compiler's libraries. Reads files, for importing takes longer."""
    found = [sys.version.encode(), sys.platform.encode()]
    for library in _COMPILERS:
        with suppress(OSError):  # of a library that is packed in another way
            found.append((llvm.library_folder(library) / "_version.py").read_bytes())
    return b"\0".join(found)
