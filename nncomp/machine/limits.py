"""What the system lets this process have: cores, memory, threads, a cache folder; and the sentence for an error that says it was
refused more.

A container's limits are those of control groups (cgroups, version 1 or 2), read from files. Where there are no such files, there
are no such limits. Knows nothing of what cores and memory are for.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_OPEN_FILES = 512  # where the system does not say, as on Windows
_NO_LIMIT_BYTES = 1 << 60  # version 1 writes no limit as a number near 2**63


def usable_cores() -> int:
    """Return how many cores this process may use: those it may run on, and no more than its control groups give time for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = group_cores()
    return cores if quota is None else max(1, min(cores, quota))


def group_cores(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> int | None:
    """Return for how many cores the control groups give time, rounded up; None without a limit."""
    found: list[int] = []
    for folder in _folders("cpu", groups, own):
        quota, period = _words(folder / "cpu.max", 2) or _old_quota(folder) or ("max", "")
        if quota.isdecimal() and period.isdecimal() and int(period):
            found.append(-(-int(quota) // int(period)))
    return min(found, default=None)


def group_memory_bytes(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> int | None:
    """Return how many bytes of memory the control groups allow all their processes together; None without a limit."""
    found: list[int] = []
    for folder in _folders("memory", groups, own):
        for name in ("memory.max", "memory.limit_in_bytes"):
            word = "".join(_words(folder / name, 1))
            if word.isdecimal() and int(word) < _NO_LIMIT_BYTES:
                found.append(int(word))
    return min(found, default=None)


def refused(error: BaseException) -> str | None:
    """Return the sentence for an error that says that the system has no more memory, threads or files; else None."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return f"There is not enough memory. Fewer worker processes (-T, or workers=) take less.{_raise_address_space()}"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return "The system allows no more threads. Raise the limit on processes (ulimit -u); fewer worker processes need fewer."
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        return "The system allows no more open files. Raise the limit (ulimit -n)."
    if isinstance(error, (ImportError, OSError)) and address_space_bytes() is not None and _is_of_library(error):
        return f"There is not enough memory to load a library ({_first_line(error)}).{_raise_address_space()}"
    return None


def _first_line(error: BaseException) -> str:
    """Return what the error says that began it, in one line: NumPy wraps it in a page of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).partition(" from ")[0].splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def open_files() -> int:
    """Return how many files this process may have open (ulimit -n)."""
    try:
        import resource
    except ImportError:
        return _OPEN_FILES
    limit: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _OPEN_FILES if limit == resource.RLIM_INFINITY else limit


def address_space_bytes() -> int | None:
    """Return the limit on the address space of this process (ulimit -v), or None without one."""
    try:
        import resource
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _is_of_library(error: ImportError | OSError) -> bool:
    return isinstance(error, ImportError) or ".so" in str(error)


def _raise_address_space() -> str:
    limit = address_space_bytes()
    return "" if limit is None else f" The limit on address space is {limit // 1024} KiB; raise it (ulimit -v)."


def _folders(controller: str, groups: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of this process's control group and of those that it is in, for a controller of either version."""
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            root = groups
        elif controller in names.split(","):
            root = next((groups / name for name in (names, controller) if (groups / name).is_dir()), groups / controller)
        else:
            continue
        place = root / path.strip("/")
        yield root  # a container sees its own group as the root, and may still be told the path outside
        while place != root and root in place.parents:
            yield place
            place = place.parent


def _words(path: Path, count: int) -> list[str]:
    """Return the words of a file if there are so many; an empty list if not, or if it cannot be read."""
    try:
        words = path.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []
    return words if len(words) == count else []


def _old_quota(folder: Path) -> list[str]:
    words = [*_words(folder / "cpu.cfs_quota_us", 1), *_words(folder / "cpu.cfs_period_us", 1)]
    return words if len(words) == 2 else []


def user_cache() -> Path | None:
    """Return the user's folder for what can be made again: $XDG_CACHE_HOME, or .cache in the home; None where there is no home.

    Names that are empty or relative do not count, as the XDG standard says: nothing is made where a command happens to be.
    """
    asked = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(asked):  # noqa: PTH117 (an empty name is no path)
        return Path(asked)
    home = os.environ.get("HOME")
    try:
        if home is None or os.path.isabs(home):  # noqa: PTH117
            return Path.home() / ".cache"
        import pwd

        return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache"
    except (ImportError, KeyError, RuntimeError):
        return None
