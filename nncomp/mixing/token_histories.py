"""What contexts of tokens have seen: records of one token, buckets of bit histories for more, and what each of them predicts.

Most contexts ever see one token. So a context begins with a *record*, four bytes: a check, the token, and how often it came. It
expects that token. When a second token comes, the context gets a *bucket* of bit histories (see `bit_histories`) for the
decisions of its first part; where the two tokens part, the context begins again, with a record for each, at the node of the
next part. A context with two tokens has a bucket and two records where it would have seven buckets.

A *line* of the hash table has 64 bytes: eight records and two buckets. The record of a context at a node and its bucket are in
the same line, so a look-up fetches one.

Knows nothing of lanes, the coder or where contexts come from. The definition is `token_histories_reference.py`.
"""

# N contexts

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nncomp.machine import aligned
from nncomp.machine.aligned import aligned_zeros
from nncomp.machine.kernels import inlined
from nncomp.machine.prefetch import prefetch
from nncomp.mixing import tables, vectors
from nncomp.mixing.arithmetic import LOGIT_LIMIT, adapt, combine, limited, next_bit, packed_probability, probability, stretch
from nncomp.mixing.bit_histories import BUCKET_BYTES, COUNT_LIMIT, STATES, bucket_of_two

LINE_BYTES, LINE_RECORDS = aligned.LINE_BYTES, 8  # a line of the hash table is one of a cache
RECORD_BYTES = 4
_FIRST_BUCKET = LINE_RECORDS * RECORD_BYTES  # of a line, in bytes
COUNT_BITS, CHECK_BITS = 5, 11  # of a record, from its lowest bit on; the token is in the other 16
MOST = 15  # the greatest count
HAS_BUCKET = 16  # in place of a count: there was a second token
_COUNT_MASK = (1 << COUNT_BITS) - 1
_CHECK_MASK = (1 << CHECK_BITS) - 1
_MARK_MASK = _CHECK_MASK << COUNT_BITS
RECORD_MAPS = 256  # for each context: by count and depth, 16 * 16
NETWORK_BINS = 8  # of the network's stretched probability, for the joint maps
_BIN_BITS = 9  # a bin is 2**9 wide in the logistic domain: two nats
_JOINT_START_COUNT = 3  # a joint map learns quickly at first
_NEXT, _FIRST = tables.history_tables()


class TokenHistories(NamedTuple):
    """What is learned: the hash table, and adaptive probabilities of what its entries predict."""

    records: Any  # (16 * lines,) uint32, aligned to 64 bytes: the first 8 of 16 are a line's records
    table: Any  # (64 * lines,) uint8, the same memory: bytes 32 to 63 of a line are its buckets
    state_maps: Any  # (N * STATES,) uint32: of a 1, for each context and bit history
    joint_maps: Any  # (N * STATES * NETWORK_BINS,) uint32: likewise by the network's bin too
    record_maps: Any  # (N * RECORD_MAPS,) uint32: that the expected bit comes
    record_joint: Any  # (N * RECORD_MAPS * NETWORK_BINS,) uint32: likewise by the bin that the network has for the expected bit


class Places(NamedTuple):
    """Scratch: what the token at hand has found. Rows of ROW int64, one after another: what belongs together is read together."""

    looked_up: Any  # N rows, by context: where it was looked up last, see RECORD
    opened: Any  # a row for each context with a bucket, see BUCKET
    expecting: Any  # a row for each context that expects a token, which has the decisions so far, see EXPECTED
    counts: Any  # see OPENED


ROW = 8  # numbers of a row
# Fields of a row of `looked_up`: the place of the record in `records`, or of the first of its line; the record, or 0 for none;
# the hash and the depth of the node.
RECORD, FOUND, HASH, DEPTH = range(4)
# Fields of a row of `opened` and of `expecting`: the context; then the hash at the node of the next look-up, the first byte of
# the bucket, the slot in `table`, the place in `state_maps` (modulo STATES it is the bit history) and in `joint_maps`;
CONTEXT, NEXT_HASH, BUCKET, SLOT, STATE_MAP, JOINT_MAP = range(6)
# or the token, the place in `record_maps` of depth 0, the expected bit, and the places in `record_maps` and `record_joint`.
_, EXPECTED, FIRST_MAP, BIT, RECORD_MAP, RECORD_JOINT = range(6)
# Fields of `Places.counts`: how many contexts have a bucket, how many expect a token, and the node that was asked for last.
OPENED, EXPECTING, ASKED = range(3)


def _middles() -> list[int]:
    """Return the probability in the middle of each of the network's bins, as adaptive probabilities."""
    middles = [((2 * i + 1 - NETWORK_BINS) << _BIN_BITS) // 2 for i in range(NETWORK_BINS)]
    squashed = tables.squash_table()
    return [packed_probability(int(squashed[x + LOGIT_LIMIT])) | _JOINT_START_COUNT for x in middles]


def new_joint_maps(contexts: int, states: int) -> Any:
    """Return joint maps that predict what the network does, for N contexts with so many states: (N * states * BINS,), uint32."""
    return np.tile(np.array(_middles(), np.uint32), contexts * states)


def new_record_maps(contexts: int) -> Any:
    """Return record maps that predict what the bit history of as many equal bits does: shape (N * RECORD_MAPS,), uint32."""
    row, state = [], 0
    for count in range(MOST + 1):
        row += [packed_probability(int(_FIRST[state]))] * 16
        state = int(_NEXT[2 * state + 1]) if count < MOST else state
    return np.tile(np.array(row, np.uint32), contexts)


def new_histories(lines: int, *maps: Any) -> TokenHistories:
    """Return an empty hash table of `lines` lines (< 2**26), with the last four fields of `TokenHistories`."""
    table = aligned_zeros(lines * LINE_BYTES, np.uint8)
    return TokenHistories(table.view(np.uint32), table, *maps)


def new_places(contexts: int) -> Places:
    """Return scratch for N contexts."""
    return Places(*(aligned_zeros(ROW * contexts, np.int64) for _ in Places._fields))


@inlined
def _line(table: Any, h: int) -> int:
    """Return the first byte of the line for the 32-bit hash `h`. Bound: fewer than 2**26 lines, so the product is below 2**58."""
    return (h * (table.size // LINE_BYTES) >> 32) * LINE_BYTES


@inlined
def _mark(h: int) -> int:
    """Return the check of the hash `h` in its place in a record: never 0, so that an empty record has no check."""
    return max(h & _CHECK_MASK, 1) << COUNT_BITS


@inlined
def _in_fours(bits: int) -> int:
    """Return how many of the decisions of a token are in parts of four; the others are in parts of three."""
    return 4 * (bits - 3 * ((bits + 3) >> 2))


@inlined
def part_size(bits: int, depth: int) -> int:
    """Return how many decisions the part has that begins at `depth`.

    A token has as few parts as it can, of four decisions and then of three: of 14 decisions 4, 4, 3 and 3.
    """
    return np.int64(4) if depth < _in_fours(bits) else np.int64(3)


@inlined
def depth_in_part(bits: int, depth: int) -> int:
    """Return how deep in its part a decision is."""
    by_four = _in_fours(bits)
    return depth & 3 if depth < by_four else (depth - by_four) % 3


@inlined
def _find_bucket(table: Any, h: int) -> int:
    """Return the first byte of the bucket for the hash `h`; a new bucket replaces the less used of the line's two."""
    first = _line(table, h) + _FIRST_BUCKET
    return bucket_of_two(table, first, first + BUCKET_BYTES, h & 0xFF)


@inlined
def ask_for_roots(histories: TokenHistories, hashes: Any) -> None:
    """Ask for the lines of all contexts at the root, some time before `look_up` needs them."""
    for i in range(hashes.size):
        prefetch(histories.table, _line(histories.table, hashes[i]))


@inlined
def begin_contexts(places: Places, hashes: Any) -> None:
    """Begin a token with these contexts."""
    for i in range(hashes.size):
        places.opened[ROW * i + CONTEXT] = i
        places.opened[ROW * i + NEXT_HASH] = hashes[i]
    places.counts[OPENED], places.counts[EXPECTING], places.counts[ASKED] = hashes.size, 0, 1


@inlined
def ask_for_lines(histories: TokenHistories, places: Places, hashes: Any, node: int) -> None:
    """Ask for the lines of the contexts with a bucket at `node`, where a part begins, some time before `look_up` needs them."""
    if places.counts[ASKED] == node:
        return
    for k in range(places.counts[OPENED]):
        h = combine(hashes[places.opened[ROW * k + CONTEXT]], node)
        places.opened[ROW * k + NEXT_HASH] = h
        prefetch(histories.table, _line(histories.table, h))
    places.counts[ASKED] = node


@inlined
def look_up(histories: TokenHistories, places: Places, inputs: Any, depth: int) -> None:
    """Find what the contexts that had a bucket so far have seen at the node, at `depth`, that was asked for."""
    looked_up, opened, expecting = places.looked_up, np.int64(0), places.counts[EXPECTING]
    for k in range(places.counts[OPENED]):
        i, h = places.opened[ROW * k + CONTEXT], places.opened[ROW * k + NEXT_HASH]
        first = _line(histories.table, h) // RECORD_BYTES
        at = vectors.find_eight(histories.records, first, _MARK_MASK, _mark(h))
        found, place = (np.int64(histories.records[first + at]), first + at) if at >= 0 else (np.int64(0), first)
        row = ROW * i
        looked_up[row + RECORD], looked_up[row + FOUND], looked_up[row + HASH], looked_up[row + DEPTH] = place, found, h, depth
        if found & HAS_BUCKET:
            places.opened[ROW * opened + CONTEXT] = i
            places.opened[ROW * opened + BUCKET] = _find_bucket(histories.table, h)
            opened += 1
        elif found:
            row = ROW * expecting
            places.expecting[row + CONTEXT], places.expecting[row + EXPECTED] = i, found >> 16
            places.expecting[row + FIRST_MAP] = i * RECORD_MAPS + 16 * (found & _COUNT_MASK)
            expecting += 1
        else:
            inputs[2 * i] = 0
            inputs[2 * i + 1] = 0
    places.counts[OPENED], places.counts[EXPECTING] = opened, expecting


@inlined
def _network_bin(network: int) -> int:
    return min(max((network >> _BIN_BITS) + NETWORK_BINS // 2, 0), NETWORK_BINS - 1)


@inlined
def predict_histories(
    histories: TokenHistories, places: Places, inputs: Any, network: int, slot: int, node: int, depth: int, bits: int
) -> None:
    """Set the two inputs of each context: what it predicts, and how far its joint map leads away from the network.

    `network` is the network's stretched probability, `slot` (1..15) the decision's slot in its bucket. The inputs of a context
    that knows nothing are 0; from then on it is left out.
    """
    one, zero = _network_bin(network), _network_bin(-network)
    opened, expecting = places.opened, places.expecting
    for k in range(places.counts[OPENED]):
        row = ROW * k
        i, at = opened[row + CONTEXT], opened[row + BUCKET] + slot
        state = np.int64(histories.table[at])
        place = i * STATES + state
        joint = place * NETWORK_BINS + one
        opened[row + SLOT], opened[row + STATE_MAP], opened[row + JOINT_MAP] = at, place, joint
        inputs[2 * i] = stretch(probability(histories.state_maps[place]))
        apart = limited(stretch(probability(histories.joint_maps[joint])) - network)
        inputs[2 * i + 1] = apart if state else np.int64(0)
    left = np.int64(0)
    for k in range(places.counts[EXPECTING]):
        row = ROW * k
        i, token, first = expecting[row + CONTEXT], expecting[row + EXPECTED], expecting[row + FIRST_MAP]
        bit = next_bit(token, bits, depth, node)
        if bit < 0:
            inputs[2 * i] = inputs[2 * i + 1] = 0
            continue
        place = first + depth
        joint = place * NETWORK_BINS + (one if bit else zero)
        x = stretch(probability(histories.record_maps[place]))
        y = stretch(probability(histories.record_joint[joint]))
        inputs[2 * i] = x if bit else -x
        inputs[2 * i + 1] = limited((y if bit else -y) - network)
        row = ROW * left
        expecting[row + CONTEXT], expecting[row + EXPECTED], expecting[row + FIRST_MAP] = i, token, first
        expecting[row + BIT], expecting[row + RECORD_MAP], expecting[row + RECORD_JOINT] = bit, place, joint
        left += 1
    places.counts[EXPECTING] = left


@inlined
def update_histories(histories: TokenHistories, places: Places, bit: int) -> None:
    """Teach the decision `bit` to all maps that predicted it and to the bit histories."""
    for k in range(places.counts[OPENED]):
        row = ROW * k
        place = places.opened[row + STATE_MAP]
        state = place & (STATES - 1)
        if state:  # an empty slot has predicted nothing
            adapt(histories.joint_maps, places.opened[row + JOINT_MAP], bit, COUNT_LIMIT)
            adapt(histories.state_maps, place, bit, COUNT_LIMIT)
        histories.table[places.opened[row + SLOT]] = _NEXT[2 * state + bit]
    for k in range(places.counts[EXPECTING]):
        row = ROW * k
        hit = np.int64(places.expecting[row + BIT] == bit)
        adapt(histories.record_joint, places.expecting[row + RECORD_JOINT], hit, COUNT_LIMIT)
        adapt(histories.record_maps, places.expecting[row + RECORD_MAP], hit, COUNT_LIMIT)


@inlined
def _put_record(histories: TokenHistories, h: int, token: int, count: int) -> None:
    """Write the record of the hash `h`: over one with its check, else over one of its line with the least count.

    Where there are several, it is the first from a place on that the hash gives.
    """
    records, first, mark = histories.records, _line(histories.table, h) // RECORD_BYTES, _mark(h)
    begin, best = h >> CHECK_BITS, (HAS_BUCKET + 1) * LINE_RECORDS
    for j in range(LINE_RECORDS):
        record = np.int64(records[first + j])
        rank = np.int64(-1) if record & _MARK_MASK == mark else record & _COUNT_MASK
        best = min(best, rank * LINE_RECORDS + (j - begin & (LINE_RECORDS - 1)))
    records[first + (best + begin & (LINE_RECORDS - 1))] = token << 16 | mark | count


@inlined
def _ask_for_paths(histories: TokenHistories, context: int, depth: int, old: int, new: int, bits: int) -> None:
    """Ask for the lines that `_open` will write: of two tokens of a context, from the part at `depth` on."""
    depth += part_size(bits, depth)
    while depth < bits:
        node, old_node = (new | 1 << bits) >> (bits - depth), (old | 1 << bits) >> (bits - depth)
        prefetch(histories.table, _line(histories.table, combine(context, node)))
        if node != old_node:
            prefetch(histories.table, _line(histories.table, combine(context, old_node)))
            return
        depth += part_size(bits, depth)


@inlined
def _write_part(table: Any, bucket: int, token: int, count: int, depth: int, bits: int) -> None:
    """Add a token to a bucket of the part at `depth`, as often as `count` says."""
    slot = np.int64(1)
    for d in range(depth, depth + part_size(bits, depth)):
        bit = token >> (bits - 1 - d) & 1
        state = np.int64(table[bucket + slot])
        for _ in range(count):
            state = np.int64(_NEXT[2 * state + bit])
        table[bucket + slot] = state
        slot = slot << 1 | bit


@inlined
def _open(histories: TokenHistories, context: int, h: int, depth: int, record: int, new: int, bits: int) -> None:
    """Give a context with a record a bucket, for a second token has come: at `depth`, with the hash `h` there."""
    old, count = record >> 16, record & _COUNT_MASK
    while True:
        bucket = _find_bucket(histories.table, h)
        _write_part(histories.table, bucket, old, count, depth, bits)
        _write_part(histories.table, bucket, new, np.int64(1), depth, bits)
        depth += part_size(bits, depth)
        if depth >= bits:
            return
        node, old_node = (new | 1 << bits) >> (bits - depth), (old | 1 << bits) >> (bits - depth)
        h = combine(context, node)
        if node != old_node:
            _put_record(histories, combine(context, old_node), old, count)
            _put_record(histories, h, new, np.int64(1))
            return
        _put_record(histories, h, new, np.int64(HAS_BUCKET))


@inlined
def end_contexts(histories: TokenHistories, places: Places, hashes: Any, token: int, bits: int) -> None:
    """Teach the token to the records: first to those that stay, then to those that become buckets."""
    looked_up, opening = places.looked_up, np.int64(0)
    for i in range(hashes.size):
        row = ROW * i
        record, h = looked_up[row + FOUND], looked_up[row + HASH]
        if record == 0:
            _put_record(histories, h, token, np.int64(1))
        elif record & HAS_BUCKET == 0:
            count: Any = np.int64(HAS_BUCKET)
            if record >> 16 == token:
                count = min((record & _COUNT_MASK) + 1, MOST)
            else:
                places.opened[ROW * opening + CONTEXT] = i
                opening += 1
                _ask_for_paths(histories, hashes[i], looked_up[row + DEPTH], record >> 16, token, bits)
            histories.records[looked_up[row + RECORD]] = token << 16 | _mark(h) | count
    for k in range(opening):
        i = places.opened[ROW * k + CONTEXT]
        row = ROW * i
        _open(histories, hashes[i], looked_up[row + HASH], looked_up[row + DEPTH], looked_up[row + FOUND], token, bits)
