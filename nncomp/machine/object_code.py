"""Object code in this process: arguments as words, and code that is loaded by LLVM and called with them.

A kernel's arguments are arrays, numbers and (named) tuples of them. `flat` makes 64-bit words of them: of an array its address
and its shape, of a number its value. The object code reads its arguments from these words (`nncomp.machine.compiling`). Numba is
not imported. Knows nothing of what the kernels do, nor of where object code is kept.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from nncomp.machine import llvm, processor

ENTRY = "nncomp_entry"  # the name of the function in object code
_SCALARS = {bool: "bool", int: "int64", np.bool_: "bool", np.int64: "int64", np.int32: "int64", np.uint64: "uint64"}


def flat(arguments: tuple[Any, ...]) -> tuple[list[int], list[str]]:
    """Return the words of a kernel's arguments and their kinds. Raises TypeError for what no kernel takes.

    >>> words, kinds = flat((True, 7, (np.zeros((2, 3), np.int8),)))
    >>> words[:2], words[3:], " ".join(kinds)
    ([1, 7], [2, 3], 'bool int64 tuple( |i1[2] )')
    """
    words, kinds = list[int](), list[str]()
    done = dict[int, tuple[slice, slice]]()
    for each in arguments:
        _flatten(each, words, kinds, done)
    return words, kinds


def _flatten(value: Any, words: list[int], kinds: list[str], done: dict[int, tuple[slice, slice]]) -> None:
    """Append an argument's words and their kinds. `done` says, by `id`, where those of the tuples before it are.

    Several networks of a kernel may have the same constants, some hundred words.
    """
    kind = type(value)
    if kind is np.ndarray:
        interface = value.__array_interface__
        if interface["strides"] is not None or not value.flags.aligned or not value.dtype.isnative:  # no strides: C-contiguous
            raise TypeError(
                f"A kernel takes arrays whose elements stand one after another, aligned; this one of {value.dtype} is not."
            )
        words.append(interface["data"][0])
        words.extend(value.shape)
        kinds.append(f"{interface['typestr']}[{value.ndim}]")
    elif isinstance(value, tuple):
        if found := done.get(id(value)):
            of_words, of_kinds = found
            words += words[of_words]
            kinds += kinds[of_kinds]
            return
        first_word, first_kind = len(words), len(kinds)
        kinds.append(f"{kind.__name__}(")
        for part in value:
            _flatten(part, words, kinds, done)
        kinds.append(")")
        done[id(value)] = slice(first_word, len(words)), slice(first_kind, len(kinds))
    elif kind in _SCALARS:
        words.append(int(value))
        kinds.append(_SCALARS[kind])
    else:
        raise TypeError(f"No kernel takes a {kind.__name__}.")


def emptied(value: Any) -> Any:
    """Return an argument of the same type whose arrays are empty."""
    if isinstance(value, np.ndarray):
        return np.zeros((0,) * value.ndim, value.dtype)
    if isinstance(value, tuple):
        parts = [emptied(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


Code = Callable[[int], int]


def load(code: bytes) -> Code:
    """Return the function of object code, which takes the address of its words. Raises RuntimeError if it cannot be loaded."""
    address = llvm.load(code, ENTRY, processor.name(), processor.features_text())
    return ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(address)


def bound(code: Code, words: list[int], arguments: tuple[Any, ...]) -> Callable[[], None]:
    """Return what calls the code with these words. It keeps the arguments, for the words have addresses of their arrays."""
    kept = (ctypes.c_uint64 * len(words))(*words), arguments
    address = ctypes.addressof(kept[0])

    def call(_kept: object = kept) -> None:
        if code(address):
            raise RuntimeError("A kernel has failed.")

    return call
