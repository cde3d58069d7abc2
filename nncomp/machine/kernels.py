"""How compiled functions are made and kept: once for each version of the source, in the user's cache folder.

Every compiled function of nncomp is decorated with `compiled` or `inlined`. Numba keeps the machine code in a folder named by a
hash. The hash covers the source of all compiled functions and of the modules that their constants come from (`hashed_files`), so
stale machine code is never used. One process compiles a function; another process that needs the same function waits and then
loads it. A folder that can only be read is read: what is not in it each process compiles for itself, and where there is no
folder, everything. Knows nothing of what the functions do.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache, UserProvidedCacheLocator
from numba.core.dispatcher import Dispatcher
from numba.core.runtime import rtsys

from nncomp.machine.limits import usable_cores, user_cache
from nncomp.machine.watch import say_preparing
from nncomp.version import PACKAGE

# Modules of compiled functions, and modules that their constants come from; tests/test_house.py fails if one is missing.
_HASHED = ("errors.py", "format/numbers.py", "range_coder.py", "version.py", "blocks/token_loop.py", "training/recurrence.py")
_HASHED_FOLDERS = ("machine", "mixing", "network")
_KEPT_FOLDERS = 4  # of other versions
_KEPT_DAYS = 30


def hashed_files() -> list[Path]:
    """Return the source files that compiled functions depend on."""
    files = [PACKAGE / name for name in _HASHED]
    return sorted(files + [path for folder in _HASHED_FOLDERS for path in (PACKAGE / folder).rglob("*.py")])


@functools.cache
def cache_folder() -> Path | None:
    """Return the folder for machine code, $XDG_CACHE_HOME/nncomp/kernels-HASH, or None where there is and can be none."""
    digest = hashlib.sha256()
    for path in hashed_files():
        digest.update(path.read_bytes())
    kept = user_cache()
    if kept is None:
        return None
    try:
        base = kept / "nncomp"
        folder = base / f"kernels-{digest.hexdigest()[:16]}"
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            remove_old_folders(base, folder)
        with suppress(OSError):  # of a folder that can only be read
            os.utime(folder)  # when it was last used
    except OSError:
        return None
    return folder if os.access(folder, os.R_OK | os.X_OK) else None


@functools.cache
def is_kept() -> bool:
    """Return whether machine code that is made now is kept. Trying tells, as rights do not: the root user has them all."""
    try:
        tempfile.TemporaryFile(dir=cache_folder()).close()
    except OSError:
        return False
    return cache_folder() is not None


def remove_old_folders(base: Path, current: Path) -> None:
    """Remove the folders of other versions, but for the newest few that were used within 30 days."""
    others = [(path.stat().st_mtime, path) for path in base.glob("kernels-*") if path != current]
    for i, (used_s, path) in enumerate(sorted(others, reverse=True)):
        if i >= _KEPT_FOLDERS or used_s < time.time() - 86_400 * _KEPT_DAYS:
            shutil.rmtree(path, ignore_errors=True)


class _Locks:
    """The locks of the functions that this process compiles: one, and within it the functions that it calls."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def take(self, folder: Path | None, name: str) -> None:
        descriptor = -1
        if folder:
            with suppress(ImportError, OSError):  # without locks two processes may do the same work
                import fcntl

                descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptors.append(descriptor)

    def give_back(self) -> None:
        descriptor = self._descriptors.pop()
        if descriptor >= 0:
            os.close(descriptor)


_locks = _Locks()


class _Locator(UserProvidedCacheLocator):  # type: ignore[misc]
    """Where a function's machine code is, in nncomp's folder. Numba's own takes no folder that it cannot write."""

    def ensure_cache_path(self) -> None:
        with suppress(OSError):
            Path(self.get_cache_path()).mkdir(parents=True, exist_ok=True)


class _Impl(CompileResultCacheImpl):  # type: ignore[misc]
    """Numba's names of files, in a folder that need not be writable."""

    _locator_classes = (_Locator,)


class _Kept(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function, for one process at a time; it tells the user that functions are being compiled."""

    _impl_class = _Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = self._load(sig, target_context)
        if found is None:
            say_preparing(is_kept())
            _locks.take(cache_folder(), self._impl.filename_base)
            found = self._load(sig, target_context)  # another process may have made it meanwhile
            if found is not None:
                _locks.give_back()
        return found

    def _load(self, sig: Any, target_context: Any) -> Any:
        try:  # not load_overload, which first loads all that a compilation needs: a quarter of the time of a start
            rtsys.initialize(target_context)  # what compiled code calls
            return self._load_overload(sig, target_context)
        except Exception:  # of a damaged file: the function is compiled again
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:  # a full disk is no reason to fail
            pass
        finally:
            _locks.give_back()


class _NotKept(NullCache):  # type: ignore[misc]
    def load_overload(self, sig: Any, target_context: Any) -> Any:
        say_preparing(False)


def _njit(**options: Any) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        made = njit(**options)(function)
        if isinstance(made, Dispatcher):  # not with NUMBA_DISABLE_JIT=1
            folder, before = cache_folder(), config.CACHE_DIR
            config.CACHE_DIR = str(folder or "")  # read when the cache is made; other libraries keep theirs
            made._cache = _Kept(function) if folder else _NotKept()  # type: ignore[attr-defined]  # as enable_caching does
            config.CACHE_DIR = before
        return made

    return decorate


_helpers: list[subprocess.Popen[bytes]] = []
# A helper's standard input is a pipe of its parent: it ends when the parent ends, however that ends.
_END_WITH_PARENT = "import os, sys, threading; threading.Thread(target=lambda: os._exit(len(os.read(0, 1))), daemon=True).start()"


def compile_beside(module: str, function: str, call: str) -> None:
    """Let another process compile `function` of `module` by calling `call` there, while this process compiles something else.

    This happens only where there is a second core and where machine code is kept. A caller that needs the function calls
    `wait_for_helpers` before: Numba compiles in one thread at a time, and a thread that waits inside would stop the others.
    """
    folder = cache_folder()
    has_locks = hasattr(os, "sched_getaffinity")  # where it is missing, locks may be missing too
    if not sys.executable or config.DISABLE_JIT or not has_locks or usable_cores() < 2 or not folder or not is_kept():
        return
    if any(folder.rglob(f"{module.rpartition('.')[2]}.{function}-*.nbi")):
        return
    code = f"{_END_WITH_PARENT}; sys.path[:] = {sys.path!r}; from {module} import {call}; {call}()"
    with suppress(OSError):  # then this process compiles it
        quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
        _helpers.append(subprocess.Popen([sys.executable, "-Pc", code], stdin=pipe, stdout=quiet, stderr=quiet))


def wait_for_helpers() -> None:
    """Wait for the processes that compile beside this one."""
    while _helpers:
        _helpers[-1].wait()
        if pipe := _helpers[-1].stdin:
            pipe.close()
        with suppress(IndexError):  # another thread may have waited as well
            _helpers.pop()


def with_twin(twin: Callable[..., Any]) -> Callable[[Any], Any]:
    """Decorate an intrinsic with its twin in Python, which is used where nothing is compiled (NUMBA_DISABLE_JIT=1)."""

    def decorate(intrinsic: Any) -> Any:
        return twin if config.DISABLE_JIT else intrinsic

    return decorate


compiled: Callable[[Any], Any] = _njit(nogil=True, error_model="numpy")
# Inlined functions make no arrays; counting references to their arguments took a quarter of the time. Python does not call them;
# the wrappers for such calls took a sixth of the first compilation.
_only_inlined = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inlined: Callable[[Any], Any] = njit(**_only_inlined, _nrt=False, error_model="numpy")
parallel: Callable[[Any], Any] = _njit(parallel=True, fastmath=True)  # for training, never for coding
