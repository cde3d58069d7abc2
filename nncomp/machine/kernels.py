"""Kernels: functions that run as machine code, made once for each version of the source and each processor.

A function that is decorated with `compiled` is a kernel: Python and other kernels call it. One that is decorated with `inlined`
becomes a part of the kernels that call it. Neither allocates, raises or returns anything to Python: results are written to arrays
that the caller gives. Arguments are C-contiguous arrays, numbers, and (named) tuples of them. Their types and ranks are a
kernel's signature; a kernel that is called with others is compiled for these too.

Machine code is kept as object code (`kernel_cache`), which a later process loads and calls without Numba (`object_code`). Only
where there is none yet is Numba imported (`compiling`). With NUMBA_DISABLE_JIT=1 nothing is compiled, and Python runs the
functions. Knows nothing of what they do.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nncomp.machine import kernel_cache, object_code
from nncomp.machine.forks import ForkLock, once
from nncomp.machine.limits import usable_cores
from nncomp.machine.watch import say_loaded, say_preparing

if TYPE_CHECKING:
    import subprocess

_disabled = os.environ.get("NUMBA_DISABLE_JIT", "")
IS_COMPILED = not (_disabled.isdecimal() and int(_disabled))


class _Function:
    """A function that compiled code calls; `py_func` is its Python source."""

    is_inlined = True

    def __init__(self, function: Callable[..., Any]) -> None:
        self.py_func = function
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        return self.py_func(*arguments)

    @once
    def _dispatcher(self) -> Any:
        from nncomp.machine import compiling

        return compiling.dispatcher(self.py_func, self.is_inlined)

    @property
    def _numba_type_(self) -> Any:
        """Numba asks for this when it meets the function in the source of another."""
        from nncomp.machine import compiling

        return compiling.numba_type(self._dispatcher)


class _Intrinsic(_Function):
    """A function whose machine code is made by hand: by the intrinsic of the same name in a module that needs Numba."""

    def __init__(self, twin: Callable[..., Any], module: str) -> None:
        super().__init__(twin)
        self._module = module

    @once
    def _dispatcher(self) -> Any:
        return getattr(importlib.import_module(self._module), self.py_func.__name__.lstrip("_"))


class Kernel(_Function):
    """A function that Python calls as machine code."""

    is_inlined = False

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self.name = f"{function.__module__.removeprefix('nncomp.')}.{function.__name__}"
        self._codes: dict[tuple[str, ...], object_code.Code] = {}
        self._lock = ForkLock()

    @property
    def is_loaded(self) -> bool:
        """Whether this process has its machine code, for whatever arguments."""
        return bool(self._codes)

    def __call__(self, *arguments: Any) -> None:
        """Run the kernel. Raises TypeError for arguments that no kernel takes."""
        self.bound(*arguments)()

    def bound(self, *arguments: Any) -> Callable[[], None]:
        """Return what runs the kernel with these arguments, as often as it is called. Arrays may change; they live as long as it.

        Calling it takes a microsecond; to bind some fifty arrays takes 100. Raises TypeError for arguments that no kernel takes.
        """
        if not IS_COMPILED:
            return functools.partial(self.py_func, *arguments)
        words, kinds = object_code.flat(arguments)
        signature = tuple(kinds)
        code = self._codes.get(signature) or self._loaded(signature, arguments)
        return object_code.bound(code, words, arguments)

    def code_for(self, arguments: tuple[Any, ...]) -> tuple[str, bytes]:
        """Return object code for arguments of these types and the name of its file: found, or compiled by whatever process."""
        kinds = object_code.flat(arguments)[1]
        name = kernel_cache.entry_name(self.name, " ".join(kinds))
        code = kernel_cache.read(name)
        return name, code if code is not None else self._made(name, arguments)

    def _loaded(self, signature: tuple[str, ...], arguments: tuple[Any, ...]) -> object_code.Code:
        """Return the machine code for these arguments."""
        with self._lock:
            if signature not in self._codes:
                self._codes[signature] = object_code.load(self.code_for(arguments)[1])
                say_loaded(self, arguments)
            return self._codes[signature]

    def _made(self, name: str, arguments: tuple[Any, ...]) -> bytes:
        """Return object code that was not there: compiled now, unless another process has made it meanwhile."""
        say_preparing(kernel_cache.is_kept())
        with kernel_cache.locked(name):
            code = kernel_cache.read(name)
            if code is None:
                from nncomp.machine import compiling

                code = compiling.object_code(self, arguments)
                kernel_cache.write(name, code)
        return code


_helpers: list[subprocess.Popen[bytes]] = []
# A helper's standard input is a pipe of its parent: it ends when the parent ends, however that ends.
_END_WITH_PARENT = "import os, sys, threading; threading.Thread(target=lambda: os._exit(len(os.read(0, 1))), daemon=True).start()"


def compile_beside(kernel: Kernel, module: str, call: str) -> None:
    """Let another process compile a kernel by calling `call` of `module` there, while this process compiles something else.

    This happens only where there is a second core and where machine code is kept. Whoever needs the kernel waits for it.
    """
    has_locks = hasattr(os, "sched_getaffinity")  # where it is missing, locks may be missing too
    if kernel.is_loaded or not sys.executable or not IS_COMPILED or not has_locks or kernel_cache.has_some(kernel.name):
        return
    if usable_cores() < 2 or not kernel_cache.is_kept():
        return
    import subprocess  # takes 10 ms, and a start where all is compiled does without

    code = f"{_END_WITH_PARENT}; sys.path[:] = {sys.path!r}; from {module} import {call}; {call}()"
    with suppress(OSError):  # then this process compiles it
        quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
        _helpers.append(subprocess.Popen([sys.executable, "-Pc", code], stdin=pipe, stdout=quiet, stderr=quiet))


def intrinsic(module: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorate the twin in Python of an intrinsic; `module` is the name of the module that makes its machine code."""
    return lambda twin: _Intrinsic(twin, module)


def compiled(function: Any) -> Kernel:
    """Decorate a kernel."""
    return Kernel(function)


def inlined(function: Any) -> Any:
    """Decorate a part of kernels."""
    return _Function(function)
