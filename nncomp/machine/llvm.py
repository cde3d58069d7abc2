"""LLVM's part of a start: the processor's name and features, and object code that is loaded. The library is llvmlite's.

Its functions are called as they are: loading the library takes 13 ms, importing llvmlite.binding 58. They are those of llvmlite
0.50, as pyproject.toml asks for it. What is here has a context of LLVM of its own: Numba in another thread never meets it.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
import threading
from pathlib import Path
from typing import Any

VERSION = "0.50"  # of llvmlite
_POINTER, _TEXT, _NUMBER, _BOOL = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_bool
_OUT = ctypes.POINTER(ctypes.c_void_p)  # the address of a text that `_taken` frees
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {  # result and arguments
    "ContextCreate": (_POINTER, []),
    "CreateMCJITCompiler": (_POINTER, [_POINTER, _POINTER, _BOOL, _OUT]),
    "CreateObjectFile": (_POINTER, [_TEXT, ctypes.c_size_t]),
    "CreateTargetMachine": (_POINTER, [_POINTER, _TEXT, _TEXT, _TEXT, _NUMBER, _TEXT, _TEXT, _NUMBER, _NUMBER, _TEXT]),
    "DisposeString": (None, [_POINTER]),
    "FinalizeObject": (None, [_POINTER]),
    "GetFunctionAddress": (ctypes.c_uint64, [_POINTER, _TEXT]),
    "GetHostCPUFeatures": (_NUMBER, [_OUT]),
    "GetHostCPUName": (None, [_OUT]),
    "GetProcessTriple": (None, [_OUT]),
    "GetTargetFromTriple": (_POINTER, [_TEXT, _OUT]),
    "InitializeNativeAsmPrinter": (None, []),
    "InitializeNativeTarget": (None, []),
    "MCJITAddObjectFile": (None, [_POINTER, _POINTER]),
    "ParseAssembly": (_POINTER, [_POINTER, _TEXT, _OUT]),
}
_lock = threading.RLock()


@functools.cache
def _functions() -> dict[str, Any]:
    """Return LLVM's functions by name; raises RuntimeError for another version of llvmlite, OSError without its library."""
    folder = library_folder("llvmlite")
    if f"version_version = '{VERSION}.".encode() not in (folder / "_version.py").read_bytes():
        raise RuntimeError(f"nncomp needs llvmlite {VERSION}; install nncomp again.")
    name = {"win32": "llvmlite.dll", "darwin": "libllvmlite.dylib"}.get(sys.platform, "libllvmlite.so")
    library = ctypes.CDLL(str(folder / "binding" / name))
    found = {}
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, f"LLVMPY_{name}")
        function.restype, function.argtypes = result, arguments
        found[name] = function
    return found


def library_folder(name: str) -> Path:
    """Return the folder of an installed library, which is not imported. Raises OSError where there is none."""
    spec = importlib.util.find_spec(name)
    for folder in (spec and spec.submodule_search_locations) or ():
        return Path(folder)
    raise OSError(f"The library {name} is not installed as a folder.")


def _taken(text: Any) -> str:
    """Return a text that LLVM gave, and free it."""
    found = ctypes.string_at(text.value).decode() if text.value else ""
    if text.value:
        _functions()["DisposeString"](text)
    return found


def _text(function: str) -> str:
    text = ctypes.c_void_p()
    with _lock:
        _functions()[function](ctypes.byref(text))
        return _taken(text)


def triple() -> str:
    """Return LLVM's name of the platform of this process: "x86_64-unknown-linux-gnu" and so on."""
    return _text("GetProcessTriple")


def host_name() -> str:
    """Return LLVM's name of this processor: "znver4", "sapphirerapids" and so on."""
    return _text("GetHostCPUName")


def host_features() -> dict[str, bool]:
    """Return the features that LLVM knows and whether this processor has them; nothing where LLVM cannot tell."""
    return {feature[1:]: feature[0] == "+" for feature in _text("GetHostCPUFeatures").split(",") if feature}


def load(code: bytes, entry: str, processor: str, features: str) -> int:
    """Return the address of a function of object code that was made for a processor; the code stays loaded.

    Raises RuntimeError if it cannot be loaded.
    """
    with _lock:
        llvm, message = _functions(), ctypes.c_void_p()

        def made(value: int | None) -> int:
            if not value:
                raise RuntimeError(_taken(message) or "LLVM loads no object code here.")
            return value

        llvm["InitializeNativeTarget"]()
        llvm["InitializeNativeAsmPrinter"]()
        platform = triple()
        target = made(llvm["GetTargetFromTriple"](platform.encode(), ctypes.byref(message)))
        platform += "-elf" if os.name == "nt" else ""  # MCJIT takes nothing else there
        names = platform.encode(), processor.encode(), features.encode()
        machine = made(llvm["CreateTargetMachine"](target, *names, 2, b"default", b"jitdefault", 0, 1, b""))
        module = made(llvm["ParseAssembly"](_context(), b"", ctypes.byref(message)))
        has_own_memory = os.uname().machine in ("arm64", "aarch64") if hasattr(os, "uname") else False
        engine = made(llvm["CreateMCJITCompiler"](module, machine, has_own_memory, ctypes.byref(message)))
        llvm["MCJITAddObjectFile"](engine, made(llvm["CreateObjectFile"](code, len(code))))
        llvm["FinalizeObject"](engine)
        return made(llvm["GetFunctionAddress"](engine, entry.encode()))


@functools.cache
def _context() -> int:
    return int(_functions()["ContextCreate"]())
