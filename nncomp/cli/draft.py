"""A file that is being written: it has no name or a temporary name until it is complete.

Linux has files without a name on most file systems: if the process is killed, the file is gone. Elsewhere the file has a
temporary name in the same folder. Its mode is 0600. Raises OSError.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

_TEMPORARY = ".nncomp-", ".part"
_NAMES = 100  # random names to try


def is_temporary(name: str) -> bool:
    """Return whether this is the temporary name of a draft, perhaps left behind by a killed process."""
    return name.startswith(_TEMPORARY[0]) and name.endswith(_TEMPORARY[1])


def _temporary_name() -> str:
    return f"{_TEMPORARY[0]}{os.urandom(6).hex()}{_TEMPORARY[1]}"


class Draft:
    """A new file in a folder: `descriptor` writes it (the caller closes it), `path` reads it until it is published."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: int | None = None  # keeps a file without a name open
        self.descriptor = self._open_unnamed()
        if self._held is None:
            self.path = folder / _temporary_name()  # not the whole path, which may be too long
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)

    def _open_unnamed(self) -> int:
        try:
            descriptor = os.open(self._folder, os.O_TMPFILE | os.O_RDWR, 0o600)
        except (AttributeError, OSError):  # a file with a name then raises any other error of the folder
            return -1
        path = Path(f"/proc/self/fd/{descriptor}")
        if not path.exists():  # without /proc the file could never get a name
            os.close(descriptor)
            return -1
        try:
            self._held = os.dup(descriptor)
        except OSError:  # no more descriptors: a file with a name takes one
            os.close(descriptor)
            return -1
        self.path = path.with_name(str(self._held))
        return descriptor

    def publish(self, target: Path, is_replacing: bool) -> None:
        """Give the file its name. `is_replacing` lets it take the place of another file."""
        if self._held is None:
            self.path.replace(target)
            return
        try:
            self._link(target)
        except FileExistsError:
            if not is_replacing:
                raise
            self._replace(target)
        self._close()

    def discard(self) -> None:
        """Delete the file; after `publish` this does nothing."""
        if self._held is None:
            with suppress(OSError):
                self.path.unlink()
        self._close()

    def _replace(self, target: Path) -> None:
        """Take the place of another file. A link cannot replace, so the file first gets a temporary name."""
        for _ in range(_NAMES):
            temporary = target.with_name(_temporary_name())
            with suppress(FileExistsError):
                self._link(temporary)
                break
        try:
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _link(self, name: Path) -> None:
        folder = os.open(name.parent, os.O_RDONLY | os.O_DIRECTORY)  # os.link follows links only with a folder descriptor
        try:
            os.link(self.path, name.name, dst_dir_fd=folder, follow_symlinks=True)
        finally:
            with suppress(OSError):  # the name is there
                os.close(folder)

    def _close(self) -> None:
        if self._held is not None and self._held >= 0:
            held, self._held = self._held, -1
            with suppress(OSError):  # what was written is on the disk already
                os.close(held)


def sync(descriptor: int) -> None:
    """Sync a file to the disk, where its file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def sync_folder(folder: Path) -> None:
    """Sync the new name to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
