"""Mixing on the token tree: the network's probability of each decision, sharpened by what the file itself has shown.

A token of a vocabulary of 2**bits is `bits` decisions, most significant first. All lanes of a block share the tables and
are coded in lane order within a step. The caller walks the tree; per token and lane it calls `begin_token`, for every
decision `predict` and `update`, and then `end_token`. Knows nothing of the network's inside, of files or of the coder.
`token_reference.py` is the definition.
"""

# L lanes, N contexts, I inputs

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import inlined
from nncomp.mixing import byte_contexts as bc
from nncomp.mixing import components
from nncomp.mixing.byte_predictor import MATCH_CLASSES, length_class
from nncomp.mixing.components import combine
from nncomp.mixing.start_values import (
    ALL_ROW_SETS,
    FINAL_ROWS,
    MATCH_LEAST,
    MATCHES,
    MAX_BITS,
    OTHER_INPUTS,
    PLAIN_CONTEXTS,
    ROW_SETS,
    SOURCES,
    check_start,
    input_count,
    start_values,
)

_POINTER, _LENGTH, _MISSES, _EXPECTED, _BIT, _CLASS = range(6)  # fields of a match
_MIXED, _FINAL, _MAP_0, _MAP_1, _MAP_2, _DECISIONS = range(6)  # fields of `last`
_ROW_1, _ROW_2, _ROW_3 = (sum(ROW_SETS[:i]) for i in range(1, len(ROW_SETS)))
_LAST_ROWS = 65536  # of the second APM
_HEADS = 1 << 18
_PAIRS = 1 << 18  # of tokens, whose followers are kept
_START_COUNT = 60  # of a history or strength that a model brings along


class TokenMixing(NamedTuple):
    """All that the predictor remembers while a block is coded."""

    slots: components.Slots
    mixer: components.Mixer
    maps: Any  # three APMs: by node, by last byte and node, by the match and the network
    state: Any  # (L, bc.STATE), (L, 64), (L, 2, 256), (L, 2, 256): what bc.follow_text keeps of each lane
    tags: Any
    fields: Any
    field_hashes: Any
    contexts: Any  # (N,) int64: the numbers of the contexts in use
    row_sets: Any  # (R,) int64: which of the sets of weight rows
    hashes: Any  # (N,) int64
    sources: Any  # (SOURCES,) int64: hashes of what contexts look at
    followers: Any  # (65536,) uint32: the last token that followed each one, and the one before it << 16
    pair_followers: Any  # (_PAIRS,) uint32, likewise what followed two tokens
    heads: Any  # (MATCHES, heads) int32: place in `history` after the last occurrence of a hash; 0: none
    match: Any  # (L, MATCHES, 6) int64: place in history or 0, length, late misses, expected token or -1, bit or -1, class
    strength: Any  # (MATCHES * MATCH_CLASSES,) uint32: that the expected bit comes, as in components.adapt
    history: Any  # (bytes + 1,) int32: tokens; lane l's from starts[l] + 1 on
    counts: Any  # (L,) int64: tokens of each lane so far
    starts: Any  # (L + 1,) int64: where each lane's bytes begin
    last: Any  # (6,) int64: the last prediction, for its update, and how many there were


@inlined
def _token_at(m: TokenMixing, lane: int, back: int) -> int:
    """Return the token `back` steps ago in the lane (1: the last), or 0."""
    count = m.counts[lane]
    return np.int64(m.history[m.starts[lane] + 1 + count - back]) if count >= back else np.int64(0)


@inlined
def _byte_at(data: Any, at: int) -> int:
    return np.int64(data[at]) if at >= 0 else np.int64(0)


@inlined
def begin_token(m: TokenMixing, lane: int, data: Any, at: int) -> None:
    """Set all contexts for the next token of the lane, which begins at byte `at` of the lane's bytes, `data`."""
    s = m.state[lane]
    b1, b2, b3, b4 = _byte_at(data, at - 1), _byte_at(data, at - 2), _byte_at(data, at - 3), _byte_at(data, at - 4)
    one = np.int64(1)  # a plain 1 is a type of its own, for which a function is compiled anew
    t1, t2, t3 = _token_at(m, lane, one), _token_at(m, lane, one + 1), _token_at(m, lane, one + 2)
    last4 = b1 | b2 << 8 | b3 << 16 | b4 << 24
    word, column, line = s[bc.WORD], s[bc.COLUMN], s[bc.LINE]
    above = np.int64(data[s[bc.LINE_ABOVE] + column]) if s[bc.LINE_ABOVE] + column < line else np.int64(0)
    f = min(s[bc.FIELD], 255)
    place = m.fields[lane, 1, f] + at - m.fields[lane, 0, f]
    field_above = np.int64(0)
    if (m.fields[lane, 1, f] > 0 or f == 0) and place < line:
        field_above = np.int64(data[place])
    long, short = m.match[lane, 0], m.match[lane, 1]
    if long[_EXPECTED] >= 0:
        expected = combine(long[_EXPECTED] << 5 | min(long[_LENGTH], 31), b1)
    else:
        expected = combine(short[_EXPECTED] + 1, b1 + 256)
    followers = np.int64(m.followers[t1])
    pair_followers = np.int64(m.pair_followers[combine(t1, t2) & (_PAIRS - 1)])
    h = m.sources
    h[0] = 0
    h[1] = t1
    h[2] = t1 | t2 << 16
    h[3] = combine(t1 | t2 << 16, t3)
    h[4] = combine(s[bc.KEY], word)
    h[5] = combine(combine(h[3], _token_at(m, lane, one + 3)), _token_at(m, lane, one + 4))
    h[6] = b1
    h[7] = b1 | b2 << 8
    h[8] = b1 | b2 << 8 | b3 << 16
    h[9] = last4
    h[10] = combine(combine(s[bc.INDENT] << 8 | s[bc.FIRST], word), b1)
    h[11] = combine(word, b1)
    h[12] = combine(combine(word, s[bc.PREVIOUS_WORD]), b1)
    h[13] = field_above | b1 << 8 | f << 16
    h[14] = expected
    h[15] = min(column, 255) << 8 | above
    h[16] = combine(combine(m.field_hashes[lane, 1, f], s[bc.FIELD_HASH]), f)
    h[17] = s[bc.FORMAT] & 0xFFFFFFFF
    h[18] = combine(s[bc.FORMAT] & 0xFFFFFF, word)
    h[19] = combine(m.tags[lane, s[bc.TAG_DEPTH]], combine(s[bc.IN_TAG], word))
    h[20] = combine(followers, t1)
    h[21] = combine(pair_followers, t1)
    h[22] = combine(followers & 0xFFFF, pair_followers)
    h[23] = combine(combine(word, s[bc.PREVIOUS_WORD]), s[bc.OLDER_WORD])
    h[24] = combine(combine(word, s[bc.OLDER_WORD]), b1)
    for i in range(m.contexts.size):
        number = m.contexts[i]
        reach = number >> 5
        where = np.int64(0)
        if reach > 0:
            where = 1 + lane
            if reach > 1:
                where += 16 * (1 + (at >> (8 + reach)))
        m.hashes[i] = combine(h[number & 31], number + 1 + 256 * where)


@inlined
def fetch(m: TokenMixing, depth: int, node: int, b1: int) -> None:
    """Ask for what `predict` will read at the next node, some time before: between the two the last decision is learned."""
    components.prefetch_row(m.maps[1], combine(node, b1) & (_LAST_ROWS - 1))
    if _slot_depth(depth) == 0:
        components.ask_for_buckets(m.slots, m.hashes, node)


@inlined
def _slot_depth(depth: int) -> int:
    """Return how deep in its bucket a decision is: a bucket serves depths 0..3, 4..6, 7..9, and so on."""
    return depth if depth < 4 else (depth - 4) % 3


@inlined
def _predict_matches(m: TokenMixing, lane: int, bits: int, depth: int, node: int) -> int:
    """Set the inputs of both matches; return what the longer one that expects a bit expects and how surely: 0, or 2..49."""
    inputs, first = m.mixer.inputs, 2 * m.contexts.size
    sure = 0
    for k in range(MATCHES):
        s = m.match[lane, k]
        s[_BIT] = -1
        x = 0
        flat = 0
        expected = s[_EXPECTED] + (1 << bits)
        if s[_EXPECTED] >= 0 and expected >> (bits - depth) == node:
            bit = expected >> (bits - 1 - depth) & 1
            s[_BIT] = bit
            p = np.int64(m.strength[s[_CLASS]]) >> 16
            sign = 2 * bit - 1
            x = sign * np.int64(components.stretch(p))
            flat = sign * ((p - 32768) >> 5)
            if sure == 0:
                sure = (1 + (length_class(s[_LENGTH]) >> 1)) * 2 + bit + 32 * k
        inputs[first + 2 * k] = x
        inputs[first + 2 * k + 1] = flat
    return sure


@inlined
def predict(m: TokenMixing, lane: int, bits: int, depth: int, node: int, network: int, b1: int) -> int:
    """Return p1 (1..65535) of the decision at `node` (a 1 and the token's `depth` decisions so far).

    `network` is the network's p1 of it and b1 the lane's last byte. The node has been asked for by `fetch`.
    """
    mixer, last = m.mixer, m.last
    last[_MAP_1] = combine(node, b1) & (_LAST_ROWS - 1)
    part = _slot_depth(depth)
    if part == 0:
        components.find_buckets(m.slots)
    components.predict_slots(m.slots, mixer.inputs, (node & ((1 << part) - 1)) | 1 << part)
    sure = _predict_matches(m, lane, bits, depth, node)
    net = np.int64(components.stretch(network))
    if m.slots.joint.size > 0:
        components.predict_joint(m.slots, mixer.inputs, net)
    at = 2 * (m.contexts.size + MATCHES)
    mixer.inputs[at] = net
    mixer.inputs[at + 1] = (network - 32768) >> 5
    top = node if node < 256 else 256 + depth
    late = np.int64(2 * depth >= bits)
    for r in range(m.row_sets.size):
        which = m.row_sets[r]
        if which == 0:
            mixer.row[r] = sure
        elif which == 1:
            mixer.row[r] = _ROW_1 + top
        elif which == 2:
            mixer.row[r] = _ROW_2 + b1 * 2 + late
        else:
            mixer.row[r] = _ROW_3 + (m.state[lane, bc.KINDS] & 0x3F) * 2 + late
    last[_FINAL] = sure * MAX_BITS + depth
    mixed = components.mix(mixer, last[_FINAL])
    last[_MIXED] = mixed
    last[_MAP_0] = top
    last[_MAP_2] = sure * 16 + min(max((net + 2048) >> 8, 0), 15)
    p0 = components.correct(m.maps[0], last[_MAP_0], mixed)
    p1 = components.correct(m.maps[1], last[_MAP_1], mixed)
    p2 = components.correct(m.maps[2], last[_MAP_2], mixed)
    return min(max((components.squash(mixed) + 2 * p0 + 3 * p1 + 2 * p2 + 4) >> 3, 1), 65535)


@inlined
def update(m: TokenMixing, lane: int, bit: int) -> None:
    """Teach everything the decision that `predict` was last asked for; the rate falls with the decisions so far."""
    last = m.last
    if m.slots.joint.size > 0:
        components.update_joint(m.slots, bit)
    components.update_slots(m.slots, bit)
    rate = 800 + 2500 * 64 // (64 + (last[_DECISIONS] >> 7))
    components.update_mixer(m.mixer, last[_FINAL], last[_MIXED], bit, rate, rate >> 2)
    components.update_apm(m.maps[0], last[_MAP_0], last[_MIXED], bit, 6)
    components.update_apm(m.maps[1], last[_MAP_1], last[_MIXED], bit, 6)
    components.update_apm(m.maps[2], last[_MAP_2], last[_MIXED], bit, 6)
    for k in range(MATCHES):
        s = m.match[lane, k]
        if s[_BIT] >= 0:
            components.adapt(m.strength, s[_CLASS], np.int64(s[_BIT] == bit), 255)
    last[_DECISIONS] += 1


@inlined
def end_token(m: TokenMixing, lane: int, token: int, data: Any, at: int, size: int) -> None:
    """Take note of the lane's token, whose bytes are data[at : at + size]."""
    text = bc.Text(m.state[lane], m.tags[lane], m.fields[lane], m.field_hashes[lane], m.hashes)
    for t in range(at + 1, at + size + 1):
        bc.follow_text(text, data, t)
    one = np.int64(1)
    t1 = _token_at(m, lane, one)
    pair = combine(t1, _token_at(m, lane, one + 1)) & (_PAIRS - 1)
    m.followers[t1] = np.uint32((np.int64(m.followers[t1]) << 16 | token) & 0xFFFFFFFF)
    m.pair_followers[pair] = np.uint32((np.int64(m.pair_followers[pair]) << 16 | token) & 0xFFFFFFFF)
    m.counts[lane] += 1
    count = m.counts[lane]
    place = m.starts[lane] + count
    m.history[place] = token
    for k in range(MATCHES):
        least = MATCH_LEAST[k]
        s = m.match[lane, k]
        if s[_EXPECTED] >= 0:
            hit = s[_EXPECTED] == token
            s[_LENGTH] = min(s[_LENGTH] + 1, 65535) if hit else 0
            s[_MISSES] = (s[_MISSES] << 1 | (not hit)) & 0xFF
            s[_POINTER] += 1
        if count >= least:
            h = np.int64(0)
            for i in range(least):
                h = combine(h, np.int64(m.history[place - i]))
            h = h * m.heads.shape[1] >> 32
            candidate = np.int64(m.heads[k, h])
            if s[_LENGTH] < least and candidate > 0:
                length = 0
                limit = min(32, min(count, candidate - 1))
                while length < limit and m.history[candidate - 1 - length] == m.history[place - length]:
                    length += 1
                if length >= least:
                    s[_POINTER] = candidate
                    s[_LENGTH] = length
                    s[_MISSES] = 0
            m.heads[k, h] = place + 1
        if s[_MISSES] & 0xF == 0xF:
            s[_POINTER] = 0
        s[_EXPECTED] = -1
        for other in range(m.counts.size):  # the pointer must be at a token that is known already
            if m.starts[other] < s[_POINTER] <= m.starts[other] + m.counts[other]:
                s[_EXPECTED] = np.int64(m.history[s[_POINTER]])
        misses = s[_MISSES]
        late = 0 if misses == 0 else (1 if misses & 3 == 0 else (2 if misses & 1 == 0 else 3))
        s[_CLASS] = k * MATCH_CLASSES + (length_class(s[_LENGTH]) << 2 | late)


def learned_values(m: TokenMixing) -> dict[str, NDArray[Any]]:
    """Return the arrays of `start_values` as a block has left them; the counts are lowered, so that they go on learning."""
    counts = np.uint32(1023)
    histories, strength, joint = (
        (array & ~counts) | np.minimum(array & counts, np.uint32(_START_COUNT))
        for array in (m.slots.history, m.strength, m.slots.joint)
    )
    learned = {
        "weights": m.mixer.weights,
        "final_weights": m.mixer.final_weights,
        "histories": histories,
        "strength": strength,
        "map_0": m.maps[0],
        "map_2": m.maps[2],
    }
    is_joint = len(joint) > 0
    if is_joint:
        learned["joint"] = joint
    return start_values(tuple(m.contexts.tolist()), tuple(m.row_sets.tolist()), is_joint) | learned


def new_mixing(raw_bytes: int, starts: NDArray[np.int64], lines: int, given: dict[str, NDArray[Any]]) -> TokenMixing:
    """Return the memory for `raw_bytes` bytes in lanes that begin at `starts`, with `lines` lines of 64 bytes of slots.

    `given` are the start values of the model (the arrays of `start_values`), or none.
    """
    lanes = len(starts) - 1
    start = {name: array.copy() for name, array in check_start(given).items()}
    contexts = start.get("contexts", np.array(PLAIN_CONTEXTS)).astype(np.int64)
    row_sets = start.get("row_sets", np.array(ALL_ROW_SETS)).astype(np.int64)
    inputs = np.zeros(input_count(len(contexts)), np.int32)
    inputs[2 * len(contexts) + OTHER_INPUTS - 1] = 256
    mixer = components.new_mixer(inputs, start["weights"], len(row_sets), FINAL_ROWS)
    slots = components.new_slots(len(contexts), 4 * lines)._replace(history=start["histories"])
    match = np.zeros((lanes, MATCHES, 6), np.int64)
    match[:, :, _EXPECTED] = match[:, :, _BIT] = -1
    match[:, :, _CLASS] = np.arange(MATCHES) * MATCH_CLASSES
    return TokenMixing(
        slots=slots._replace(joint=start.get("joint", slots.joint)),
        mixer=mixer._replace(final_weights=start["final_weights"]),
        maps=(start["map_0"], components.new_apm(_LAST_ROWS), start["map_2"]),
        state=np.zeros((lanes, bc.STATE), np.int64),
        tags=np.zeros((lanes, 64), np.int64),
        fields=np.zeros((lanes, 2, 256), np.int64),
        field_hashes=np.zeros((lanes, 2, 256), np.int64),
        contexts=contexts,
        row_sets=row_sets,
        hashes=np.zeros(len(contexts), np.int64),
        sources=np.zeros(SOURCES, np.int64),
        followers=np.zeros(65536, np.uint32),
        pair_followers=np.zeros(_PAIRS, np.uint32),
        heads=np.zeros((MATCHES, _HEADS), np.int32),
        match=match,
        strength=start["strength"],
        history=np.zeros(raw_bytes + 1, np.int32),
        counts=np.zeros(lanes, np.int64),
        starts=np.asarray(starts, np.int64),
        last=np.zeros(6, np.int64),
    )
