"""Bit histories in a hash table, and what each of them predicts: the indirect contexts of ZPAQ (ICM).

A context is a 32-bit hash. With the path so far in the tree of decisions, the hash names a *bucket* of the hash table. A bucket
has 16 bytes: one check and 15 *slots*. They serve four decisions in a row: slot 1 the first, slots 2 and 3 the second, 4 to 7
the third, 8 to 15 the fourth. A slot holds the *bit history* of its decision: one of 255 states. A StateMap says for each context
and each bit history how likely a 1 is, and learns that from every decision.

Knows nothing of bytes, tokens, the coder or where contexts come from. The definition is `byte_predictor_reference.Slots`.
"""

# N contexts

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nncomp.machine.aligned import aligned_zeros
from nncomp.machine.kernels import inlined
from nncomp.machine.prefetch import prefetch
from nncomp.mixing import tables
from nncomp.mixing.arithmetic import (
    COUNT_BITS,
    adapt,
    combine,
    flat,
    packed_probability,
    probability,
    stretch,
)

BUCKET_BYTES = 16
STATES = 256  # entries of a StateMap: one for each bit history; the last one is of no use
_STATE_MASK = STATES - 1
INPUTS_PER_CONTEXT = 2  # of the mixer
COUNT_LIMIT = (1 << COUNT_BITS) - 1  # of a StateMap's counts
_NEXT, _FIRST = tables.history_tables()


class BitHistories(NamedTuple):
    """What is learned: bit histories, and what they predict."""

    table: Any  # (BUCKET_BYTES * buckets,) uint8, aligned to 64 bytes: byte 0 of a bucket is its check, the others are slots
    state_maps: Any  # (N * STATES,) uint32: an adaptive probability for each context and bit history


class HistoryPlaces(NamedTuple):
    """Scratch: where the decision at hand found its bit histories."""

    bucket: Any  # (N,) int64: the first byte of each context's bucket; between `ask_for_buckets` and `find_buckets` its hash
    slot: Any  # (N,) int64: each context's slot in `table`
    state_map: Any  # (N,) int64: each context's place in `state_maps`; modulo STATES it is the bit history


def new_state_maps(contexts: int) -> Any:
    """Return StateMaps that predict what the counts of each bit history say: shape (N * STATES,), uint32."""
    return np.tile(np.array([packed_probability(p) for p in _FIRST.tolist()], np.uint32), contexts)


def new_bit_histories(buckets: int, state_maps: Any) -> BitHistories:
    """Return an empty hash table of `buckets` buckets (even, < 2**28) for these StateMaps."""
    return BitHistories(aligned_zeros(buckets * BUCKET_BYTES, np.uint8), state_maps)


def new_places(contexts: int) -> HistoryPlaces:
    """Return scratch for N contexts."""
    return HistoryPlaces(*(np.zeros(contexts, np.int64) for _ in HistoryPlaces._fields))


@inlined
def bucket_of_two(table: Any, first: int, second: int, check: int) -> int:
    """Return that of two buckets, which begin at these bytes, that has the check; a new one replaces the less used."""
    if table[first] == check:
        return first
    if table[second] == check:
        return second
    if table[second + 1] < table[first + 1]:  # bit histories are numbered by how many decisions they hold
        first = second
    table[first] = check
    for i in range(1, BUCKET_BYTES):
        table[first + i] = 0
    return first


@inlined
def _find_bucket(table: Any, h: int) -> int:
    """Return the first byte of the bucket for the 32-bit hash `h`; a new bucket replaces the less used of two.

    Bound: h < 2**32 and buckets < 2**28, so their product is below 2**60.
    """
    one = (h * (table.size // BUCKET_BYTES)) >> 32
    return bucket_of_two(table, one * BUCKET_BYTES, (one ^ 1) * BUCKET_BYTES, h & 0xFF)


@inlined
def ask_for_buckets(histories: BitHistories, places: HistoryPlaces, hashes: Any, node: int) -> None:
    """Ask for the cache lines of all contexts' buckets at a node of the tree, some time before `find_buckets` needs them."""
    buckets = histories.table.size // BUCKET_BYTES
    for i in range(places.bucket.size):
        h = combine(hashes[i], node)
        places.bucket[i] = h
        prefetch(histories.table, (h * buckets >> 32) * BUCKET_BYTES)


@inlined
def find_buckets(histories: BitHistories, places: HistoryPlaces) -> None:
    """Set the buckets of all contexts at the node that `ask_for_buckets` was called with."""
    for i in range(places.bucket.size):
        places.bucket[i] = _find_bucket(histories.table, places.bucket[i])


@inlined
def predict_histories(histories: BitHistories, places: HistoryPlaces, inputs: Any, slot: int) -> None:
    """Set the two inputs of each context: the StateMap's prediction for the bit history in `slot` (1..15) of its bucket."""
    for i in range(places.bucket.size):
        at = places.bucket[i] + slot
        places.slot[i] = at
        place = i * STATES + np.int64(histories.table[at])
        places.state_map[i] = place
        p = probability(histories.state_maps[place])
        inputs[INPUTS_PER_CONTEXT * i] = stretch(p)
        inputs[INPUTS_PER_CONTEXT * i + 1] = flat(p)


@inlined
def count_known(places: HistoryPlaces, count: int) -> int:
    """Return how many of the first `count` contexts have met the decision at hand before."""
    known = 0
    for i in range(count):
        known += (places.state_map[i] & _STATE_MASK) != 0
    return known


@inlined
def update_histories(histories: BitHistories, places: HistoryPlaces, bit: int) -> None:
    """Teach the decision `bit` to the StateMaps and the bit histories of all contexts."""
    for i in range(places.bucket.size):
        place = places.state_map[i]
        state = place & _STATE_MASK
        if state:  # an empty slot has predicted nothing
            adapt(histories.state_maps, place, bit, COUNT_LIMIT)
        histories.table[places.slot[i]] = _NEXT[2 * state + bit]
