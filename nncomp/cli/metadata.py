"""What a result takes over from its source: owner, group, mode, access list, extended attributes and times.

A result is never more open than its source, at no moment: it begins as readable by its owner only, and what cannot be taken over
is taken away. Knows nothing of contents.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

_ACCESS_LIST = "system.posix_acl_access"
_OWN_ATTRIBUTES = "user."  # other attributes are the system's business, or grant rights to a program


def read_attributes(descriptor: int) -> dict[str, bytes]:
    """Return the extended attributes of an open file that a result takes over, its access list among them."""
    found: dict[str, bytes] = {}
    if hasattr(os, "listxattr"):
        with suppress(OSError):  # of a file system without attributes
            for name in os.listxattr(descriptor):
                if name == _ACCESS_LIST or name.startswith(_OWN_ATTRIBUTES):
                    with suppress(OSError):
                        found[name] = os.getxattr(descriptor, name)
    return found


def take_over(descriptor: int, source: os.stat_result, attributes: dict[str, bytes]) -> list[str]:
    """Give an open file, which only its owner can read, what its source has but for the times; return what could not be given."""
    missing = []
    mode = stat.S_IMODE(source.st_mode) & 0o777
    has_group = _give_group(descriptor, source.st_gid)
    if not has_group:
        missing.append("the group")
    if hasattr(os, "fchown") and os.fstat(descriptor).st_uid != source.st_uid:
        with suppress(OSError):  # only the system's owner may
            os.fchown(descriptor, source.st_uid, -1)
    access = attributes.get(_ACCESS_LIST)
    if access and not (has_group and _give(descriptor, _ACCESS_LIST, access)):
        missing.append("the access list")
        mode &= ~0o070  # with an access list these bits are what the list allows at most, not the group's own
    elif not has_group:
        mode &= ~0o070 | (mode & 0o007) << 3  # the other group may do what all may
    if not access:
        _remove_access_list(descriptor)  # one that the folder gave
    given = [_give(descriptor, name, value) for name, value in attributes.items() if name != _ACCESS_LIST]
    if not all(given):
        missing.append("extended attributes")
    if hasattr(os, "fchmod"):
        try:
            os.fchmod(descriptor, mode)
        except OSError:  # then only its owner may read it
            missing.append("the mode")
    return missing


def _give_group(descriptor: int, group: int) -> bool:
    if not hasattr(os, "fchown") or os.fstat(descriptor).st_gid == group:
        return True
    try:
        os.fchown(descriptor, -1, group)
    except OSError:
        return False
    return True


def _give(descriptor: int, name: str, value: bytes) -> bool:
    try:
        os.setxattr(descriptor, name, value)
    except OSError:
        return False
    return True


def _remove_access_list(descriptor: int) -> None:
    if hasattr(os, "removexattr"):
        try:
            os.removexattr(descriptor, _ACCESS_LIST)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EINVAL, errno.ENOSYS):
                raise
