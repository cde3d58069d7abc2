"""LLVM's part of a start, by llvmlite: the processor's name and features, and object code that is loaded.

llvmlite is imported when something here is first asked for. Numba is not imported.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_engines: list[Any] = []  # which hold the code
_AT_HWCAP, _ASIMDDP = 16, 1 << 20  # of Linux on ARM: what the processor has, and its dot products of bytes


@functools.cache
def _binding() -> Any:
    import llvmlite.binding

    return llvmlite.binding


def library_folder(name: str) -> Path:
    """Return the folder of an installed library, which is not imported. Raises OSError where there is none."""
    spec = importlib.util.find_spec(name)
    for folder in (spec and spec.submodule_search_locations) or ():
        return Path(folder)
    raise OSError(f"The library {name} is not installed as a folder.")


def triple() -> str:
    """Return LLVM's name of the platform of this process: "x86_64-unknown-linux-gnu" and so on."""
    return str(_binding().get_process_triple())


def host_name() -> str:
    """Return LLVM's name of this processor: "znver4", "sapphirerapids" and so on."""
    return str(_binding().get_host_cpu_name())


@functools.cache
def host_features() -> dict[str, bool]:
    """Return the features that LLVM knows and whether this processor has them; of ARM those alone that somebody can tell."""
    found: dict[str, bool] = {}
    with suppress(RuntimeError):  # LLVM cannot tell
        found = dict(_binding().get_host_cpu_features())
    return found | ({"dotprod": _has_dot_product()} if triple().startswith(("aarch64-", "arm64-")) else {})


def _has_dot_product() -> bool:
    """Return whether this ARM processor has dot products of bytes, which LLVM does not look for; False where nobody can tell."""
    with suppress(AttributeError, OSError, TypeError):  # another system than the two
        system = ctypes.CDLL(None)
        if sys.platform == "darwin":
            value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
            name = b"hw.optional.arm.FEAT_DotProd"
            return system.sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, 0) == 0 and value.value == 1
        system.getauxval.restype, system.getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
        return bool(system.getauxval(_AT_HWCAP) & _ASIMDDP)
    return False


def load(code: bytes, entry: str, processor: str, features: str) -> int:
    """Return the address of a function of object code that was made for a processor; the code stays loaded.

    Raises RuntimeError if it cannot be loaded.
    """
    llvm = _binding()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(triple()).create_target_machine(cpu=processor, features=features, jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = int(engine.get_function_address(entry))
    if not address:
        raise RuntimeError("The object code has no entry.")
    _engines.append(engine)
    return address
