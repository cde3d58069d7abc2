"""Samples: places of a stream, chosen by a rolling hash, that are found again where its bytes repeat; and a table of them.

Knows bytes and places; whether bytes really repeat is compared elsewhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HASHED_BYTES = 32
_SAMPLE_BELOW = np.uint32(1 << 26)  # a sample's hash: one place in 64
_FIRST_LOG2, _LAST_LOG2 = 12, 22  # entries of the table, 8 bytes each: 32 MiB at most
_SPREAD = np.uint32(0x9E3779B1)


def _byte_numbers() -> NDArray[np.uint32]:
    """Return a number for each byte, (256,), by SplitMix64: the same on every machine, so that files are the same."""
    numbers, state, mask = np.empty(256, np.uint32), 0, (1 << 64) - 1
    for byte in range(256):
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & mask
        numbers[byte] = (mixed ^ mixed >> 31) >> 32
    return numbers


_NUMBER_OF_BYTE = _byte_numbers()


def rolling_hashes(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return for each byte the hash of it and the 31 bytes before it, (n,) to (n,); at the beginning of fewer bytes.

    The hash is the sum over j < 32 of the number of the byte j places before, shifted left by j, modulo 2**32.
    """
    hashes = _NUMBER_OF_BYTE.take(data)
    step = 1
    while step < HASHED_BYTES:  # then each hash is of twice as many bytes
        hashes[step:] += hashes[:-step] << np.uint32(step)
        step *= 2
    return hashes


def samples(context: bytes, piece: bytes) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return where the samples of a piece end (the place after their last byte), and a check of each.

    `context`: up to 31 bytes before the piece. A run of one byte has one sample.
    """
    hashes = rolling_hashes(np.frombuffer(context + piece, np.uint8))[len(context) :]
    is_sample = hashes < _SAMPLE_BELOW
    is_sample[1:] &= hashes[1:] != hashes[:-1]
    places = np.flatnonzero(is_sample)
    found = hashes[places]
    return places + 1, (found ^ found >> np.uint32(15)) * _SPREAD


class SampleTable:
    """Where each sample was seen last: its place in the literals modulo 2**32.

    The table grows with what it holds. Once it is as large as it may be, every second sample is forgotten, and from then on none
    like it is kept: so the table reaches back as far as before, and a repeat must be longer to be found.
    """

    def __init__(self) -> None:
        self._log2 = _FIRST_LOG2
        self._entries = np.zeros(1 << self._log2, np.uint64)  # high half: check; low half: place + 1, or 0 for none
        self._ignored = np.uint32(0)  # bits of a check: only samples that have none of them are kept
        self._count = 0

    def copy(self) -> SampleTable:
        """Return a table that holds the same and grows by itself."""
        copied = SampleTable()
        copied._log2, copied._entries, copied._ignored, copied._count = (
            self._log2,
            self._entries.copy(),
            self._ignored,
            self._count,
        )
        return copied

    def find(self, checks: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return the place of each sample, or -1: (n,) to (n,). A place may be wrong."""
        entries = self._entries[self._index(checks)]
        places = (entries & np.uint64(0xFFFFFFFF)).astype(np.int64) - 1
        places[(entries >> np.uint64(32)).astype(np.uint32) != checks] = -1
        return places

    def insert(self, checks: NDArray[np.uint32], places: NDArray[np.int64]) -> None:
        """Keep the places of samples, in place of older ones with the same index."""
        is_kept = checks & self._ignored == 0
        checks, places = checks[is_kept], places[is_kept]
        low = ((places + 1) & 0xFFFFFFFF).astype(np.uint64)
        self._entries[self._index(checks)] = checks.astype(np.uint64) << np.uint64(32) | low
        self._count += len(checks)
        if self._count > len(self._entries) // 2:
            self._make_room()

    def _make_room(self) -> None:
        entries = self._entries[self._entries != 0]
        if self._log2 < _LAST_LOG2:
            self._log2 += 1
        else:
            self._ignored = self._ignored << np.uint32(1) | np.uint32(1)
        checks = (entries >> np.uint64(32)).astype(np.uint32)
        is_kept = checks & self._ignored == 0
        self._entries = np.zeros(1 << self._log2, np.uint64)
        self._entries[self._index(checks[is_kept])] = entries[is_kept]
        self._count = int(is_kept.sum())

    def _index(self, checks: NDArray[np.uint32]) -> NDArray[np.uint32]:
        return checks >> np.uint32(32 - self._log2)
