"""The core of mixing: hashed slots, indirect histories, the logistic mixer and the final correction, for any decision tree.

A *context* is a hash. With the path so far it names a bucket (16 bytes) of 15 slots, which serve four decisions in a
row: slot 1 the first, 2..3 the second, 4..7 the third, 8..15 the fourth. A slot holds the history of its decisions, one
of 255 states; what a history means is learned per context: an adaptive probability for each state. The mixer weighs
all predictions in the logistic domain with several weight rows at once, a second mixer weighs the rows, and
APMs refine the result.

Integers only; every probability has 16 bits. Knows nothing of bytes, tokens, the coder or where contexts come from.
`reference.py` is the definition of all of it; the two are compared with `==`.
"""

# N contexts, I inputs, R weight rows used at a time

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nncomp.machine.kernels import inlined
from nncomp.machine.prefetch import prefetch
from nncomp.mixing import tables

BUCKET_BYTES = 16
INPUTS_PER_CONTEXT = 2
JOINT_BINS = 8  # of what another predictor says, two nats each, for joint probabilities
APM_POINTS = 25  # points of a APM, 256 (one nat) apart over +-3072
WEIGHT_ONE = 65536
WEIGHT_LIMIT = 1 << 20  # 16.0

HISTORY_LIMIT = 1023
_SQUASH = tables.squash_table().astype(np.uint16)  # of 16 bits, for the sake of the nearest cache
_STRETCH = tables.stretch_table().astype(np.int16)
_NEXT, _FIRST = tables.history_tables()
_HISTORY_RATE = tables.rate_table(HISTORY_LIMIT + 1, 15).astype(np.uint16)
_LIMIT = tables.LOGIT_LIMIT


class Slots(NamedTuple):
    """The contexts' memory. All are contiguous; the bucket table is aligned to 64 bytes."""

    table: Any  # (16 * buckets,) uint8: byte 0 of a bucket is its check, the others are histories
    base: Any  # (N,) int64: first byte of each context's bucket
    at: Any  # (N,) int64: each context's slot in use
    map_at: Any  # (N,) int64: each context's place in `history`
    history: Any  # (N * 256,) uint32: probability (22 bits) << 10 | count
    joint_at: Any  # (N,) int64: each context's place in `joint`
    joint: Any  # (N * 256 * JOINT_BINS,) uint32, likewise by history and what another predictor says; or empty


class Mixer(NamedTuple):
    """The weights and what they are applied to."""

    inputs: Any  # (I,) int32, logistic domain
    weights: Any  # (rows, I) int32, 65536 is 1
    row: Any  # (R,) int64: the rows in use
    outputs: Any  # (R,) int32, logistic domain
    final_weights: Any  # (final rows, R) int32


def new_slots(contexts: int, buckets: int) -> Slots:
    """Return the memory of `contexts` contexts with one shared table of `buckets` buckets (even, < 2**28)."""
    room = np.zeros(buckets * BUCKET_BYTES + 64, np.uint8)
    start = -room.ctypes.data % 64
    return Slots(
        table=room[start : start + buckets * BUCKET_BYTES],
        base=np.zeros(contexts, np.int64),
        at=np.zeros(contexts, np.int64),
        map_at=np.zeros(contexts, np.int64),
        history=np.tile((_FIRST.astype(np.uint32) << np.uint32(16)), contexts),
        joint_at=np.zeros(contexts, np.int64),
        joint=np.zeros(0, np.uint32),
    )


def new_mixer(inputs: Any, weights: Any, rows: int, final_rows: int) -> Mixer:
    """Return a mixer of the first `inputs` and `weights`, that uses `rows` weight rows at a time and averages them first."""
    return Mixer(
        inputs=inputs,
        weights=weights,
        row=np.zeros(rows, np.int64),
        outputs=np.zeros(rows, np.int32),
        final_weights=np.full((final_rows, rows), WEIGHT_ONE // rows, np.int32),
    )


@inlined
def combine(a: int, b: int) -> int:
    """Return a 32-bit hash of two 32-bit values. Bound: 2**32 * 2**30 + 2**32 * 2**29 < 2**63."""
    h = (a * 0x2F0B4C47 + b * 0x1E3779B1 + 0x3C6EF372) & 0xFFFFFFFF
    return h ^ (h >> 15)


@inlined
def find_bucket(table: Any, h: int) -> int:
    """Return the first byte of the bucket for the 32-bit hash `h`; a new one replaces the less used of two.

    Bound: h < 2**32 and buckets < 2**28, so their product is below 2**60.
    """
    buckets = table.size // BUCKET_BYTES
    check = h & 0xFF
    one = (h * buckets) >> 32
    first = one * BUCKET_BYTES
    if table[first] == check:
        return first
    second = (one ^ 1) * BUCKET_BYTES
    if table[second] == check:
        return second
    if table[second + 1] < table[first + 1]:  # states are numbered by how much they have seen
        first = second
    table[first] = check
    for i in range(1, BUCKET_BYTES):
        table[first + i] = 0
    return first


@inlined
def ask_for_buckets(slots: Slots, hashes: Any, node: int) -> None:
    """Ask for the cache lines of the buckets of all contexts at a node of the tree; `find_buckets` is the next to be called."""
    buckets = slots.table.size // BUCKET_BYTES
    for i in range(slots.base.size):
        h = combine(hashes[i], node)
        slots.base[i] = h
        prefetch(slots.table, (h * buckets >> 32) * BUCKET_BYTES)


@inlined
def find_buckets(slots: Slots) -> None:
    """Set the buckets of all contexts at the node that they were asked for."""
    for i in range(slots.base.size):
        slots.base[i] = find_bucket(slots.table, slots.base[i])


@inlined
def squash(x: int) -> int:
    """Return the probability (1..65535) of a value of the logistic domain, limited first."""
    return np.int64(_SQUASH[min(max(x, -_LIMIT), _LIMIT) + _LIMIT])


@inlined
def stretch(p: int) -> int:
    """Return the logistic value of a 16-bit probability (0..65535)."""
    return np.int64(_STRETCH[p >> 4])


@inlined
def adapt(maps: Any, i: int, bit: int, limit: int) -> None:
    """Move a 22-bit probability with its count towards `bit`.

    Bound: |target - p| < 2**22 and rate <= 2**16, so the product is below 2**38.
    """
    v = np.int64(maps[i])
    count = v & 1023
    p = v >> 10
    p += (((bit << 22) - bit - p) * np.int64(_HISTORY_RATE[count])) >> 16
    maps[i] = (p << 10) | (count + (count < limit))


@inlined
def predict_slots(slots: Slots, inputs: Any, node: int) -> None:
    """Fill the inputs of all contexts, two each, for slot `node` (1..15) of their buckets."""
    for i in range(slots.base.size):
        at = slots.base[i] + node
        slots.at[i] = at
        place = i * 256 + np.int64(slots.table[at])
        slots.map_at[i] = place
        p = np.int64(slots.history[place]) >> 16
        inputs[2 * i] = _STRETCH[p >> 4]
        inputs[2 * i + 1] = (p - 32768) >> 5


def new_joint(contexts: int) -> Any:
    """Return joint probabilities that say what the other predictor does, in the middle of each level; they learn quickly."""
    middle = [int(_SQUASH[512 * (level - JOINT_BINS // 2) + 256 + _LIMIT]) for level in range(JOINT_BINS)]
    return np.tile(np.array([p << 16 | 3 for p in middle], np.uint32), contexts * 256)


@inlined
def predict_joint(slots: Slots, inputs: Any, other: int) -> None:
    """Set the second input of all contexts: how far a history, where the other predictor says `other` (logistic domain), leads
    away from it."""
    level = min(max((other >> 9) + JOINT_BINS // 2, 0), JOINT_BINS - 1)
    for i in range(slots.base.size):
        place = slots.map_at[i]
        at = place * JOINT_BINS + level
        slots.joint_at[i] = at
        apart = np.int64(_STRETCH[slots.joint[at] >> 20]) - other if place & 0xFF else np.int64(0)
        inputs[2 * i + 1] = min(max(apart, -_LIMIT), _LIMIT)


@inlined
def update_joint(slots: Slots, bit: int) -> None:
    """Teach the joint probabilities that were asked the decision `bit`."""
    for i in range(slots.base.size):
        if slots.map_at[i] & 0xFF:
            adapt(slots.joint, slots.joint_at[i], bit, HISTORY_LIMIT)


@inlined
def count_seen(slots: Slots, first: int, last: int) -> int:
    """Return how many of the contexts first..last-1 have met the decision at hand before."""
    seen = 0
    for i in range(first, last):
        seen += slots.map_at[i] & 0xFF != 0
    return seen


@inlined
def update_slots(slots: Slots, bit: int) -> None:
    """Teach the slots and histories of all contexts the decision `bit`."""
    for i in range(slots.base.size):
        place = slots.map_at[i]
        if place & 0xFF:  # an empty slot predicts nothing
            adapt(slots.history, place, bit, HISTORY_LIMIT)
        slots.table[slots.at[i]] = _NEXT[2 * (place & 0xFF) + bit]


@inlined
def mix(mixer: Mixer, final_row: int) -> int:
    """Return the mixed prediction (logistic domain); keep each row's own in `outputs`.

    Bound: |w| <= 2**20, |x| < 2**12, at most 2**10 inputs: the sum is below 2**42.
    """
    total = np.int64(0)
    for r in range(mixer.row.size):
        w = mixer.weights[mixer.row[r]]
        dot = np.int64(0)
        for i in range(mixer.inputs.size):
            dot += np.int64(w[i]) * np.int64(mixer.inputs[i])
        x = min(max(dot >> 16, -_LIMIT), _LIMIT)
        mixer.outputs[r] = x
        total += x * np.int64(mixer.final_weights[final_row, r])
    return min(max(total >> 16, -_LIMIT), _LIMIT)


@inlined
def learn(weights: Any, inputs: Any, error: int, rate: int) -> None:
    """Move one row of weights along its inputs by the error (16 bits) times the rate (2**-18 of a weight's 1).

    Bound: |error| <= 2**16, rate <= 2**13, so |step| <= 2**19; |step * x| < 2**31.
    """
    step = np.int32((error * rate) >> 10)
    if -11 < step < 11:  # |step * x| <= 10 * 3071 < 2**15: no weight would change
        return
    for i in range(inputs.size):
        change = np.int32(np.int32(inputs[i] * step) + np.int32(32768)) >> np.int32(16)  # each of 32 bits: twice as many at once
        w = np.int32(weights[i] + np.int32(change))
        weights[i] = min(max(w, np.int32(-WEIGHT_LIMIT)), np.int32(WEIGHT_LIMIT))


@inlined
def update_mixer(mixer: Mixer, final_row: int, mixed: int, bit: int, rate: int, final_rate: int) -> None:
    """Teach the rows in use and the final row the decision `bit`."""
    target = bit << 16
    learn(mixer.final_weights[final_row], mixer.outputs, target - squash(mixed), final_rate)
    for r in range(mixer.row.size):
        learn(mixer.weights[mixer.row[r]], mixer.inputs, target - squash(np.int64(mixer.outputs[r])), rate)


def new_apm(rows: int) -> Any:
    """Return a APM of `rows` contexts that changes nothing yet: shape (rows * APM_POINTS,), int32, 22 bits."""
    points = [int(_SQUASH[min(max(256 * (j - 12), -_LIMIT), _LIMIT) + _LIMIT]) << 6 for j in range(APM_POINTS)]
    return np.tile(np.array(points, np.int32), rows)


@inlined
def correct(points: Any, row: int, x: int) -> int:
    """Return the corrected probability (16 bits) of `x`: between the two nearest points of the row."""
    x += 3072
    at = row * APM_POINTS + (x >> 8)
    weight = x & 255
    return (points[at] * (256 - weight) + points[at + 1] * weight) >> 14


@inlined
def prefetch_row(points: Any, row: int) -> None:
    """Ask for the cache lines of a row of a APM, which are needed soon."""
    at = row * APM_POINTS
    prefetch(points, 4 * at)
    prefetch(points, 4 * at + 64)


@inlined
def update_apm(points: Any, row: int, x: int, bit: int, shift: int) -> None:
    """Move the nearer of the two points towards `bit`."""
    x += 3072 + 128
    at = row * APM_POINTS + (x >> 8)
    points[at] += ((bit << 22) - bit - points[at]) >> shift
