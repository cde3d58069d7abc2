"""Mixing on the token tree: the network's probability of each decision, sharpened by what the file itself has shown.

A token of a vocabulary of 2**bits is `bits` decisions, most significant first. All lanes of a block share the tables and
are coded in lane order within a step. The caller walks the tree; per token and lane it calls `begin_token`, for every
decision `predict` and `update`, and then `end_token`. Knows nothing of the network's inside, of files or of the coder.
`token_reference.py` is the definition.
"""

# L lanes, N contexts, I inputs, V tokens

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from nncomp.mixing import byte_model, core, tables
from nncomp.mixing.byte_model import Text, follow_text
from nncomp.mixing.core import combine
from nncomp.mixing.prefetch import prefetch

CONTEXTS = 20
MATCHES = 2
_MATCH_TOKENS = (5, 2)  # that a match must agree on to begin
NETWORK = 2 * CONTEXTS + 2 * MATCHES  # place of the network's inputs
INPUTS = NETWORK + 4
BUCKET_BYTES = 16  # a check and 15 bit histories: four decisions in a row
MAX_BITS = 13
_DEPTHS = 16
ROW_SETS = (64, 512, 256 * 2, 16 * _DEPTHS)
_ROW_STARTS = tuple(sum(ROW_SETS[:i]) for i in range(len(ROW_SETS)))
ROWS = len(ROW_SETS)
MATCH_CLASSES = 64
_NEXT, _FIRST = tables.history_tables()


class TokenMixing(NamedTuple):
    """Everything that is learned while a block is coded."""

    table: Any  # (16 * buckets,) uint8, aligned to 64: the check, then the bit histories of the slots 1..15
    places: Any  # (N,) int64: first byte of each context's bucket
    histories: Any  # (N * 256,) uint32: for each context and bit history a probability (22 bits) << 10 | count
    mixer: Any  # core.Mixer
    maps: Any  # (3, ...) correction maps
    state: Any  # (L, byte_model.STATE) int64 and so on: what follow_text keeps, lane by lane
    tags: Any
    fields: Any
    field_hashes: Any
    hashes: Any  # (N,) int64
    heads: Any  # (MATCHES, 2**k) int32: place + 1 in `history` after the last occurrence of a hash
    match: Any  # (L, MATCHES, 4) int64: place, length, misses, expected token or -1
    strength: Any  # (MATCHES * MATCH_CLASSES,) uint32
    history: Any  # (bytes,) int32: the tokens of each lane, from the lane's first byte on
    counts: Any  # (L,) int64: tokens of each lane so far
    starts: Any  # (L + 1,) int64: where each lane's bytes begin
    scratch: Any  # (16,) int64: what predict leaves for update


_MIXED, _NODE_ROW, _MAP_0, _MAP_1, _MAP_2, _FINAL_ROW, _DECISIONS, _SURE, _CLASS_0, _CLASS_1 = range(10)


@njit  # type: ignore[untyped-decorator]
def _find_bucket(table: Any, h: int) -> int:
    """Return the first byte of the bucket for the 32-bit hash `h`: one of four in a line, else the least used of them.

    Bound: h < 2**32 and there are fewer than 2**28 lines, so their product is below 2**60.
    """
    line = (h * (table.size >> 6) >> 32) << 6
    check = (h * 0x2C1B3C6D >> 17) & 0xFF
    first = line + (h & 3) * 16
    least = first
    use = 256
    for i in range(3):
        at = line + ((h + i) & 3) * 16
        if table[at] == check:
            return at
        n = np.int64(table[at + 1])
        if n < use:
            use = n
            least = at
    table[least] = check
    for i in range(1, 16):
        table[least + i] = 0
    return least


@njit  # type: ignore[untyped-decorator]
def _token_at(m: TokenMixing, lane: int, back: int) -> int:
    """Return the token `back` steps ago in the lane (1: the last), or 0."""
    count = m.counts[lane]
    return np.int64(m.history[m.starts[lane] + count - back]) if count >= back else np.int64(0)


@njit  # type: ignore[untyped-decorator]
def begin_token(m: TokenMixing, lane: int, data: Any, at: int) -> None:
    """Set all contexts for the next token of the lane, which begins at byte `at` of `data` (the lane's own bytes)."""
    s = m.state[lane]
    b1 = np.int64(data[at - 1]) if at > 0 else np.int64(0)
    b2 = np.int64(data[at - 2]) if at > 1 else np.int64(0)
    b3 = np.int64(data[at - 3]) if at > 2 else np.int64(0)
    b4 = np.int64(data[at - 4]) if at > 3 else np.int64(0)
    b5 = np.int64(data[at - 5]) if at > 4 else np.int64(0)
    b6 = np.int64(data[at - 6]) if at > 5 else np.int64(0)
    t1, t2, t3 = _token_at(m, lane, 1), _token_at(m, lane, 2), _token_at(m, lane, 3)
    last4 = b1 | b2 << 8 | b3 << 16 | b4 << 24
    word = s[byte_model.WORD]
    above = np.int64(0)
    if s[byte_model.LINE_ABOVE] + s[byte_model.COLUMN] < s[byte_model.LINE]:
        above = np.int64(data[s[byte_model.LINE_ABOVE] + s[byte_model.COLUMN]])
    f = min(s[byte_model.FIELD], 255)
    h = m.hashes
    h[0] = 0
    h[1] = t1
    h[2] = t1 | t2 << 16
    h[3] = combine(t1 | t2 << 16, t3)
    h[4] = combine(h[3], _token_at(m, lane, 4))
    h[5] = combine(combine(h[4], _token_at(m, lane, 5)), _token_at(m, lane, 6))
    h[6] = b1
    h[7] = b1 | b2 << 8
    h[8] = b1 | b2 << 8 | b3 << 16
    h[9] = last4
    h[10] = combine(last4, b5 | b6 << 8)
    h[11] = combine(word, b1)
    h[12] = combine(combine(word, s[byte_model.PREVIOUS_WORD]), b1)
    h[13] = combine(t2 | t3 << 16, 13)
    h[14] = combine(t1 | t3 << 16, 14)
    h[15] = combine(min(s[byte_model.COLUMN], 255) << 8 | above, 15)
    h[16] = combine(combine(m.field_hashes[lane, 1, f], s[byte_model.FIELD_HASH]), f)
    h[17] = s[byte_model.FORMAT] & 0xFFFFFFFF
    h[18] = combine(s[byte_model.FORMAT] & 0xFFFFFF, word)
    h[19] = combine(m.tags[lane, s[byte_model.TAG_DEPTH]], combine(s[byte_model.IN_TAG], word))
    for i in range(CONTEXTS):
        h[i] = combine(h[i], i + 1)
    for k in range(MATCHES):
        state = m.match[lane, k]
        m.scratch[_CLASS_0 + k] = byte_model.match_class(state)


@njit  # type: ignore[untyped-decorator]
def predict(m: TokenMixing, lane: int, bits: int, depth: int, node: int, network: int, b1: int) -> int:
    """Return p1 (1..65535) of the decision at `node` (a 1 and the token's decisions so far); network is its p1."""
    mixer, scratch = m.mixer, m.scratch
    part = depth if depth < 4 else (depth - 4) % 3
    if part == 0:
        for i in range(CONTEXTS):
            h = combine(m.hashes[i], node)
            m.places[i] = h
            prefetch(m.table, (h * (m.table.size >> 6) >> 32) << 6)
        for i in range(CONTEXTS):
            m.places[i] = _find_bucket(m.table, m.places[i])
    slot = (node & ((1 << part) - 1)) | 1 << part
    x = mixer.inputs
    for i in range(CONTEXTS):
        state = np.int64(m.table[m.places[i] + slot])
        p = np.int64(m.histories[i * 256 + state]) >> 16
        known = np.int64(state != 0)
        x[2 * i] = core.stretch(p) * known
        x[2 * i + 1] = ((p - 32768) >> 5) * known
    sure = 0
    for k in range(MATCHES):
        expected = m.match[lane, k, 3]
        y = 0
        flat = 0
        if expected >= 0 and (expected | 1 << bits) >> (bits - depth) == node:
            bit = expected >> (bits - 1 - depth) & 1
            q = np.int64(m.strength[k * MATCH_CLASSES + scratch[_CLASS_0 + k]]) >> 16
            y = np.int64(core.stretch(q))
            flat = (q - 32768) >> 5
            if bit == 0:
                y = -y
                flat = -flat
            if sure == 0:
                sure = 1 + (scratch[_CLASS_0 + k] >> 3) * 2 + bit + 16 * k
        x[2 * CONTEXTS + 2 * k] = y
        x[2 * CONTEXTS + 2 * k + 1] = flat
    net = np.int64(core.stretch(network))
    x[NETWORK] = net
    x[NETWORK + 1] = (network - 32768) >> 5
    x[NETWORK + 2] = 256
    x[NETWORK + 3] = 0
    row = mixer.row
    top = node if node < 256 else 256 + depth
    row[0] = sure
    row[1] = _ROW_STARTS[1] + top
    row[2] = _ROW_STARTS[2] + b1 * 2 + (depth >= 7)
    row[3] = _ROW_STARTS[3] + min(max((net + 1536) // 205, 0), 14) * _DEPTHS + depth
    final_row = sure * _DEPTHS + depth
    mixed = core.mix(mixer, final_row)
    scratch[_MIXED] = mixed
    scratch[_FINAL_ROW] = final_row
    scratch[_SURE] = sure
    scratch[_MAP_0] = top
    scratch[_MAP_1] = combine(node, b1) & 0xFFFF
    scratch[_MAP_2] = sure * 16 + min(max((net + 2048) >> 8, 0), 15)
    p = 2 * core.squash(mixed)
    p += core.correct(m.maps[0], scratch[_MAP_0], mixed)
    p += core.correct(m.maps[1], scratch[_MAP_1], mixed)
    p = (p + 2) >> 2
    return min(max(p, 1), 65535)


@njit  # type: ignore[untyped-decorator]
def update(m: TokenMixing, lane: int, bits: int, depth: int, node: int, bit: int) -> None:
    """Teach everything the decision that `predict` was last asked for."""
    mixer, scratch = m.mixer, m.scratch
    part = depth if depth < 4 else (depth - 4) % 3
    slot = (node & ((1 << part) - 1)) | 1 << part
    for i in range(CONTEXTS):
        at = m.places[i] + slot
        state = np.int64(m.table[at])
        if state:
            core.adapt(m.histories, i * 256 + state, bit, core.HISTORY_LIMIT)
        m.table[at] = _NEXT[2 * state + bit]
    n = scratch[_DECISIONS]
    rate = min(RATE0 + RATE1 * 64 // (64 + (n >> 5)), 8000)
    core.update_mixer(mixer, scratch[_FINAL_ROW], scratch[_MIXED], bit, rate, rate >> 1)
    core.update_map(m.maps[0], scratch[_MAP_0], scratch[_MIXED], bit, 6)
    core.update_map(m.maps[1], scratch[_MAP_1], scratch[_MIXED], bit, 6)
    for k in range(MATCHES):
        expected = m.match[lane, k, 3]
        if expected >= 0 and (expected | 1 << bits) >> (bits - depth) == node:
            hit = np.int64(expected >> (bits - 1 - depth) & 1 == bit)
            core.adapt(m.strength, k * MATCH_CLASSES + scratch[_CLASS_0 + k], hit, 255)
    scratch[_DECISIONS] = n + 1


RATE0 = 400
RATE1 = 2500


@njit  # type: ignore[untyped-decorator]
def end_token(m: TokenMixing, lane: int, token: int, data: Any, at: int, size: int) -> None:
    """Take note of the lane's token, whose bytes are data[at : at + size]."""
    text = Text(m.state[lane], m.tags[lane], m.fields[lane], m.field_hashes[lane], m.hashes)
    for t in range(at + 1, at + size + 1):
        follow_text(text, data, t)
    place = m.starts[lane] + m.counts[lane]
    m.history[place] = token
    m.counts[lane] += 1
    count = m.counts[lane]
    for k in range(MATCHES):
        least = _MATCH_TOKENS[k]
        s = m.match[lane, k]
        if s[3] >= 0:
            if s[3] == token:
                s[1] = min(s[1] + 1, 65535)
                s[2] = s[2] << 1 & 0xFF
            else:
                s[1] = 0
                s[2] = (s[2] << 1 | 1) & 0xFF
            s[0] += 1
        if count >= least:
            h = np.int64(0)
            for i in range(least):
                h = combine(h, np.int64(m.history[place - i]))
            h = h * m.heads.shape[1] >> 32
            if s[1] < least:
                candidate = np.int64(m.heads[k, h])  # the place after the occurrence
                if candidate > 0:
                    length = 0
                    while length < 32 and length < candidate and length < count and m.history[candidate - 1 - length] == m.history[place - length]:
                        length += 1
                    if length >= least:
                        s[0] = candidate
                        s[1] = length
                        s[2] = 0
            m.heads[k, h] = place + 1
        if s[2] & 0xF == 0xF:
            s[0] = 0
        s[3] = -1
        if s[0] > 0:
            # the place is of a lane that has got so far already?
            for other in range(m.counts.size):
                if m.starts[other] <= s[0] < m.starts[other] + m.counts[other]:
                    s[3] = np.int64(m.history[s[0]])


def _new_table(lines: int) -> Any:
    """Return a zeroed table of `lines` cache lines (uint8), aligned to them."""
    room = np.zeros(64 * lines + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + 64 * lines]


def new_mixing(raw_bytes: int, starts: Any, lines: int, extra: dict[str, Any]) -> TokenMixing:
    """Return the memory for a block of `raw_bytes` bytes in lanes that begin at `starts` (L + 1 of them)."""
    lanes = len(starts) - 1
    initial = np.zeros(INPUTS, np.int32)
    for i in range(CONTEXTS):
        initial[2 * i : 2 * i + 2] = [4000, 1000]
    for k in range(MATCHES):
        initial[2 * CONTEXTS + 2 * k : 2 * CONTEXTS + 2 * k + 2] = [8000, 0]
    initial[NETWORK] = 45000
    mixer = core.Mixer(
        inputs=np.zeros(INPUTS, np.int32),
        weights=np.tile(initial, (sum(ROW_SETS), 1)),
        row=np.zeros(ROWS, np.int64),
        outputs=np.zeros(ROWS, np.int32),
        final_weights=np.full((64 * _DEPTHS, ROWS), core.WEIGHT_ONE // ROWS, np.int32),
    )
    strength = [(65536 - 65536 // (3 + (c >> 2) * 2)) << 16 for c in range(MATCH_CLASSES)] * MATCHES
    match = np.zeros((lanes, MATCHES, 4), np.int64)
    match[:, :, 3] = -1
    return TokenMixing(
        table=_new_table(lines),
        places=np.zeros(CONTEXTS, np.int64),
        histories=np.tile(_FIRST.astype(np.uint32) << np.uint32(16), CONTEXTS),
        mixer=mixer,
        maps=(core.new_map(512), core.new_map(65536), core.new_map(1024)),
        state=np.zeros((lanes, byte_model.STATE), np.int64),
        tags=np.zeros((lanes, 64), np.int64),
        fields=np.zeros((lanes, 2, 256), np.int64),
        field_hashes=np.zeros((lanes, 2, 256), np.int64),
        hashes=np.zeros(CONTEXTS, np.int64),
        heads=np.zeros((MATCHES, 1 << 16), np.int32),
        match=match,
        strength=np.array(strength, np.uint32),
        history=np.zeros(raw_bytes + 1, np.int32),
        counts=np.zeros(lanes, np.int64),
        starts=np.array(starts, np.int64),
        scratch=np.zeros(16, np.int64),
    )
