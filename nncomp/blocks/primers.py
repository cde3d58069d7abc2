"""What a process knows after the last bytes of a reference, kept from block to block. What is kept is copied, never changed.

Knows which kinds of block can begin with a primer, and how large its tables are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from nncomp.blocks.levels import LANE_BYTES
from nncomp.format.numbers import MIN_TABLE_BITS

_Known = TypeVar("_Known")

PRIMER = 3  # of blocks that are written: 2**16 bytes, see `payloads.primer_bytes`
PRIMED_LINES_LOG2 = 18  # of the hash table of tokens: 16 MiB, copied for each block
_MOST_TABLE_BITS = 24  # of the hash table of bytes
MAX_PRIMED_BYTES = 2 * LANE_BYTES  # of a block that may begin with a primer: a longer one gains little and has several lanes


def table_bits(primer_bytes: int) -> int:
    """Return log2 of the size of the hash table of a block of bytes: that of its primer, whatever the block has.

    >>> table_bits(1000), table_bits(65536)
    (19, 24)
    """
    return min(_MOST_TABLE_BITS, max(MIN_TABLE_BITS, (512 * primer_bytes).bit_length()))


class Primers:
    """The last thing that is known of a primer for each kind of block, by what it was made of."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Hashable, Any]] = {}
        self._lock = threading.Lock()

    def get(self, kind: int, key: Hashable, make: Callable[[], _Known]) -> _Known:
        """Return what `make` made for this kind of block and this key, now or before."""
        with self._lock:
            if kind not in self._kept or self._kept[kind][0] != key:
                self._kept.pop(kind, None)  # before another is made
                self._kept[kind] = key, make()
            found: _Known = self._kept[kind][1]
            return found
