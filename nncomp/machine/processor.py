"""What kernels are compiled for: this machine's processor by LLVM's names, and the versions of the compiler.

NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name another processor, as they do for Numba. Numba itself is not imported.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from contextlib import suppress
from pathlib import Path

_COMPILERS = "llvmlite", "numba"


@functools.cache
def name() -> str:
    """Return the processor's name: "znver4", "sapphirerapids" and so on."""
    import llvmlite.binding as llvm

    return os.environ.get("NUMBA_CPU_NAME") or str(llvm.get_host_cpu_name())


@functools.cache
def features_text() -> str:
    """Return the processor's features as LLVM takes them: "+avx2,-avx512f" and so on."""
    import llvmlite.binding as llvm

    named = os.environ.get("NUMBA_CPU_FEATURES")
    if named is not None:
        return named
    try:
        return str(llvm.get_host_cpu_features().flatten())
    except RuntimeError:  # of a processor whose features LLVM cannot tell
        return ""


def has_matrix_unit() -> bool:
    """Return whether this machine's own processor has AMX, whatever is compiled for."""
    import llvmlite.binding as llvm

    try:
        return bool(llvm.get_host_cpu_features().get("amx-int8"))
    except RuntimeError:
        return False


@functools.cache
def features() -> frozenset[str]:
    """Return the processor's features, each with its sign."""
    return frozenset(features_text().split(","))


def compiler_versions() -> bytes:
    """Return what tells the versions of Python and of the compiler's libraries. Reads files, for importing takes longer."""
    found = [sys.version.encode(), sys.platform.encode()]
    for library in _COMPILERS:
        spec = importlib.util.find_spec(library)
        with suppress(OSError):  # of a library that is packed in another way
            found.append((Path((spec and spec.origin) or "").parent / "_version.py").read_bytes())
    return b"\0".join(found)
