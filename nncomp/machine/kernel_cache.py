"""Where object code is: it came with nncomp (`prepared`), or is kept once for each version of the source and each processor, in
the user's cache folder.

A file is a digest and the object code. The digest covers the file's name too, so that a damaged file, or one that was made for
another processor and then renamed, is not taken. One process compiles a kernel; another process that needs the same one waits and
then loads it. A folder that can only be read is read: what is not in it each process compiles for itself, and where there is no
folder, everything. Hashes of model files are kept here too. Knows nothing of what the kernels do.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from nncomp.machine import prepared, processor
from nncomp.machine.limits import user_cache

_KEPT_FOLDERS = 4  # of other versions
_KEPT_DAYS = 30
_LOCK_S, _LOCK_POLL_S = 90.0, 0.05  # the longest that a process waits for another one that compiles, and between two looks
_DIGEST_BYTES = 32
_failures: list[OSError] = []  # why this process could not keep something
_OPTIONS = "NUMBA_OPT", "NUMBA_BOUNDSCHECK", "NUMBA_LOOP_VECTORIZE", "NUMBA_SLP_VECTORIZE"  # they change what is compiled


@functools.cache
def cache_folder() -> Path | None:
    """Return the folder for object code, nncomp/kernels-HASH in the user's cache, or None where there is and can be none."""
    kept = user_cache()
    if kept is None:
        return None
    base = kept / "nncomp"
    try:
        digest = hashlib.sha256(processor.compiler_versions() + prepared.source_hash())
        folder = base / f"kernels-{digest.hexdigest()[:16]}"
        if not folder.is_dir():
            kept.mkdir(parents=True, exist_ok=True)
            for made in (base, folder):  # code runs from here: nobody else may write it, whatever the umask
                made.mkdir(mode=0o755, exist_ok=True)
            with suppress(OSError):  # another process may remove them, too
                remove_old_folders(base, folder)
        with suppress(OSError):  # of a folder that can only be read
            os.utime(folder)  # when it was last used
    except OSError:
        return None
    is_ours = _is_ours(base) and _is_ours(folder)
    return folder if is_ours and os.access(folder, os.R_OK | os.X_OK) else None


def _is_ours(folder: Path) -> bool:
    """Return whether only this user or the root user may write in a folder, where a system tells."""
    if not hasattr(os, "geteuid"):
        return True
    status = folder.stat()
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


@functools.cache
def is_kept() -> bool:
    """Return whether object code that is made now is kept. Trying tells, as rights do not: the root user has them all."""
    folder = cache_folder()
    if folder is None:
        return False
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def remove_old_folders(base: Path, current: Path) -> None:
    """Remove the folders of other versions, but for the newest few that were used within 30 days."""
    others = [(path.stat().st_mtime, path) for path in base.glob("kernels-*") if path != current]
    for i, (used_s, path) in enumerate(sorted(others, reverse=True)):
        if i >= _KEPT_FOLDERS or used_s < time.time() - 86_400 * _KEPT_DAYS:
            shutil.rmtree(path, ignore_errors=True)


def entry_name(kernel: str, signature: str) -> str:
    """Return the name of the file with a kernel's object code: for these arguments and for this machine's processor."""
    set_by_hand = [f"{option}={os.environ[option]}" for option in _OPTIONS if option in os.environ]
    key = "\0".join((signature, processor.name(), processor.features_text(), *set_by_hand))
    return f"{kernel}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.o"


def read(name: str) -> bytes | None:
    """Return the object code of this name, or None where there is none or it is damaged. What came with nncomp is taken first."""
    for find in (prepared.folder, cache_folder):
        folder = find()
        if folder is None:
            continue
        with suppress(OSError):
            data = (folder / name).read_bytes()
            if data[:_DIGEST_BYTES] == _digest(name, data[_DIGEST_BYTES:]):
                return data[_DIGEST_BYTES:]
    return None


def has_some(kernel: str) -> bool:
    """Return whether there is object code of a kernel, for whatever arguments."""
    return any(any(folder.glob(f"{kernel}-*.o")) for folder in (prepared.folder(), cache_folder()) if folder)


def packed(name: str, code: bytes) -> bytes:
    """Return the content of the file of this name: a digest and the object code."""
    return _digest(name, code) + code


def write(name: str, code: bytes) -> None:
    """Keep object code under this name, if it can be kept: a full disk is no reason to fail. `failure` tells of it."""
    folder = cache_folder()
    if folder is None:
        return
    try:
        descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(packed(name, code))
                if hasattr(os, "fchmod"):
                    os.fchmod(descriptor, 0o644)  # other users may read a cache that is prepared for them
            Path(temporary).replace(folder / name)  # whole, or not at all
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        _failures.append(error)


def failure() -> OSError | None:
    """Return why this process could not keep something, or None where it kept everything."""
    return _failures[-1] if _failures else None


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one process at a time go on with this name, where there are locks and a folder for them.

    A process that holds the lock for longer than a compilation takes may be stopped (Ctrl-Z): others go on without it.
    """
    descriptor, folder = -1, cache_folder()
    if folder:
        with suppress(ImportError, OSError):  # without locks two processes may do the same work
            import fcntl

            descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            _wait_for_lock(partial(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB))
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _wait_for_lock(lock: Callable[[], None]) -> None:
    """Call `lock`, which raises BlockingIOError where another process has the lock, until it returns or it is too long."""
    end = time.monotonic() + _LOCK_S
    while True:
        try:
            return lock()
        except BlockingIOError:
            if time.monotonic() > end:
                return None
            time.sleep(_LOCK_POLL_S)


def _digest(name: str, code: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + code).digest()
