"""Mixing alone, on bytes: 8 decisions a byte, most significant first, one lane, no network.

Both directions run one predictor. The sizes of its tables follow from the number of bytes and from `table_bits`, by
`sizes`, which is part of the format. Knows nothing of files or of the container. `reference.py` is the definition.
"""

# N contexts, I inputs

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp import range_coder
from nncomp.errors import FormatError
from nncomp.format.numbers import MAX_TABLE_BITS, MIN_TABLE_BITS
from nncomp.machine.kernels import compile_beside, compiled, inlined, wait_for_helpers
from nncomp.mixing import byte_contexts, components
from nncomp.mixing.byte_contexts import CONTEXTS, FIELD, IN_TAG, KINDS
from nncomp.mixing.components import combine

MAX_BYTES = (1 << 31) - 1  # positions are int32
MATCHES = 2
MATCH_LEAST = (8, 4)  # bytes that must agree before a match is followed
INPUTS = 64  # two a context, two a match, the bias; the rest stays 0
MATCH_CLASSES = 64
ROW_SETS = (512, 256, 256, 512, 256, 640)  # weight rows, by: match, node, last byte, kinds of bytes, contexts seen, field
ROWS = len(ROW_SETS)
FIRST_WEIGHTS = (4500, 500)  # of a context's two inputs; 65536 is 1
FIRST_MATCH_WEIGHTS = (12000, 2000)
_MATCH_INPUT = 2 * CONTEXTS
_BIAS_INPUT = _MATCH_INPUT + 2 * MATCHES
_ROW_1, _ROW_2, _ROW_3, _ROW_4, _ROW_5 = (sum(ROW_SETS[:i]) for i in range(1, ROWS))
_LENGTH_LIMIT = 65535
_POINTER, _LENGTH, _MISSES, _EXPECTED, _BIT, _CLASS = range(6)  # fields of a match's state
_MIXED, _SURE, _MAP_0, _MAP_1, _MAP_2 = range(5)  # fields of the last prediction


class Matches(NamedTuple):
    """Where the last bytes were seen before, and how well that has predicted."""

    heads: Any  # (MATCHES, 2**bits) int32: position after the last occurrence of a hash
    state: Any  # (MATCHES, 6) int64: position, length, late misses, expected byte + 1 or 0, expected bit or -1, class
    strength: Any  # (MATCHES * MATCH_CLASSES,) uint32: that the expected bit comes, as in `components.adapt`


class ByteMixing(NamedTuple):
    """All that the predictor remembers."""

    slots: components.Slots
    mixer: components.Mixer
    text: byte_contexts.Text
    matches: Matches
    maps: Any  # three APMs: by the match, by the last byte, by the last two bytes, each with the node
    last: Any  # (5,) int64: the last prediction, for its update


@inlined
def length_class(length: int) -> int:
    """Return the class 0..15 of a match's length."""
    if length < 8:
        return length
    if length < 16:
        return 8 + (length - 8 >> 2)
    if length < 32:
        return 10 + (length - 16 >> 3)
    if length < 64:
        return 12
    if length < 256:
        return 13
    return 14 if length < 1024 else 15


@inlined
def match_class(state: Any) -> int:
    """Return the class 0..63 of a match: its length and its late misses."""
    misses = state[_MISSES]
    late = 0 if misses == 0 else (1 if misses & 3 == 0 else (2 if misses & 1 == 0 else 3))
    return length_class(state[_LENGTH]) << 2 | late


@compiled
def follow_matches(matches: Matches, data: Any, t: int) -> None:
    """Bring both matches up to date with the byte before position t, and set the bytes they expect."""
    for m in range(MATCHES):
        least = MATCH_LEAST[m]
        s = matches.state[m]
        if s[_POINTER] > 0:
            if data[s[_POINTER]] == data[t - 1]:
                s[_LENGTH] = min(s[_LENGTH] + 1, _LENGTH_LIMIT)
                s[_MISSES] = s[_MISSES] << 1 & 0xFF
            else:
                s[_LENGTH] = 0
                s[_MISSES] = (s[_MISSES] << 1 | 1) & 0xFF
            s[_POINTER] += 1
        if t >= least:
            h = 0
            for i in range(least):
                h = combine(h, np.int64(data[t - 1 - i]))
            heads = matches.heads[m]
            h = (h * heads.size) >> 32
            if s[_LENGTH] < least:
                candidate = np.int64(heads[h])
                if candidate > 0 and candidate != s[_POINTER]:
                    length = 0
                    while length < 32 and length < candidate and data[candidate - 1 - length] == data[t - 1 - length]:
                        length += 1
                    if length >= least:
                        s[_POINTER] = candidate
                        s[_LENGTH] = length
                        s[_MISSES] = 0
            heads[h] = t
        if s[_MISSES] == 0xFF:
            s[_POINTER] = 0
        s[_EXPECTED] = np.int64(data[s[_POINTER]]) + 1 if s[_POINTER] > 0 else 0
        s[_CLASS] = m * MATCH_CLASSES + match_class(s)


@inlined
def start_byte(text: Any, matches: Any, data: Any, t: int) -> None:
    """Bring the state up to date for the byte at position t."""
    if t > 0:
        byte_contexts.follow_text(text, data, t)
        follow_matches(matches, data, t)
    state = matches.state
    byte_contexts.set_contexts(text, state[0, _EXPECTED] << 5 | min(state[0, _LENGTH], 31), data, t)


@inlined
def predict_matches(matches: Matches, inputs: Any, node: int, depth: int) -> int:
    """Set the inputs of both matches; return what the longer one that expects a bit expects and how surely: 0, or 2..49."""
    sure = 0
    for m in range(MATCHES):
        s = matches.state[m]
        s[_BIT] = -1
        x = 0
        flat = 0
        expected = s[_EXPECTED] + 255  # a 1 and the expected byte
        if s[_EXPECTED] > 0 and expected >> (8 - depth) == node:
            bit = (expected >> (7 - depth)) & 1
            s[_BIT] = bit
            p = np.int64(matches.strength[s[_CLASS]]) >> 16
            sign = 2 * bit - 1
            x = sign * np.int64(components.stretch(p))
            flat = sign * ((p - 32768) >> 5)
            if sure == 0:
                sure = (1 + (length_class(s[_LENGTH]) >> 1)) * 2 + bit + 32 * m
        inputs[_MATCH_INPUT + 2 * m] = x
        inputs[_MATCH_INPUT + 2 * m + 1] = flat
    return sure


@inlined
def fetch(slots: Any, text: Any, maps: Any, node: int, depth: int, b1: int, b2: int) -> None:
    """Ask for what `predict` will read at the next node, some time before: between the two the last decision is learned."""
    rows = maps[1].size // components.APM_POINTS
    components.prefetch_row(maps[1], combine(node, b1) & (rows - 1))
    components.prefetch_row(maps[2], combine(combine(node, b1), b2 + 256) & (rows - 1))
    if depth & 3 == 0:
        components.ask_for_buckets(slots, text.hashes, node)


@inlined
def predict(
    slots: Any, mixer: Any, text: Any, matches: Any, maps: Any, last: Any, node: int, depth: int, b1: int, b2: int
) -> int:
    """Return p1 (1..65535) of the next decision; `node` is a 1 and the `depth` decisions of this byte so far. The node has been
    asked for by `fetch`."""
    rows = maps[1].size // components.APM_POINTS  # a power of two
    last[_MAP_1] = combine(node, b1) & (rows - 1)
    last[_MAP_2] = combine(combine(node, b1), b2 + 256) & (rows - 1)
    if depth & 3 == 0:
        components.find_buckets(slots)
    components.predict_slots(slots, mixer.inputs, node if depth < 4 else (node & ((1 << (depth - 4)) - 1)) | 1 << (depth - 4))
    sure = predict_matches(matches, mixer.inputs, node, depth)
    seen = components.count_seen(slots, 0, 8)
    row = mixer.row
    row[0] = sure * 8 + depth
    row[1] = _ROW_1 + node
    row[2] = _ROW_2 + b1
    row[3] = _ROW_3 + (text.state[KINDS] & 0x3F) * 8 + depth
    row[4] = _ROW_4 + seen * 8 + depth + (128 if sure else 0)
    row[5] = _ROW_5 + min(text.state[FIELD], 15) * 8 + depth + 128 * text.state[IN_TAG]
    mixed = components.mix(mixer, node)
    last[_MIXED] = mixed
    last[_MAP_0] = node + 256 * min(sure, 7)
    p0 = components.correct(maps[0], last[_MAP_0], mixed)
    p1 = components.correct(maps[1], last[_MAP_1], mixed)
    p2 = components.correct(maps[2], last[_MAP_2], mixed)
    return min(max((components.squash(mixed) + p0 + 3 * p1 + 3 * p2 + 4) >> 3, 1), 65535)


@inlined
def update(slots: Any, mixer: Any, matches: Any, maps: Any, last: Any, node: int, bit: int, t: int) -> None:
    """Teach all parts the decision `bit`; the rates fall with the position t."""
    rate = 1000 + 4000 * 64 // (64 + (t >> 2))
    final_rate = 600 + 2000 * 64 // (64 + (t >> 3))
    components.update_slots(slots, bit)
    components.update_mixer(mixer, node, last[_MIXED], bit, rate, final_rate)
    components.update_apm(maps[0], last[_MAP_0], last[_MIXED], bit, 6)
    components.update_apm(maps[1], last[_MAP_1], last[_MIXED], bit, 6)
    components.update_apm(maps[2], last[_MAP_2], last[_MIXED], bit, 6)
    for m in range(MATCHES):
        expected = matches.state[m, _BIT]
        if expected >= 0:
            components.adapt(matches.strength, matches.state[m, _CLASS], np.int64(expected == bit), 255)


@compiled
def run_model(model: Any, data: Any, first: int, end: int, probabilities: Any, words: Any, decoder: Any, decoding: bool) -> None:
    """Predict and learn each decision of data[first:end]: given (fill `probabilities`) or decoded from `words` (fill `data`)."""
    slots, mixer, text, matches, maps, last = model  # taken apart once: each use of a field of a tuple counts references
    if decoding:
        range_coder.start_decoder(decoder, words)
    for t in range(first, end):
        start_byte(text, matches, data, t)
        if decoding and range_coder.is_spent(decoder, words):  # altered bytes need not be decoded to the end
            return
        b1 = np.int64(data[t - 1]) if t > 0 else np.int64(0)
        b2 = np.int64(data[t - 2]) if t > 1 else np.int64(0)
        symbol = np.int64(data[t])
        node = np.int64(1)  # a plain 1 is a type of its own, for which all would be compiled twice
        fetch(slots, text, maps, node, np.int64(0), b1, b2)
        for depth in range(8):
            p = predict(slots, mixer, text, matches, maps, last, node, depth, b1, b2)
            if decoding:
                bit = range_coder.decode_decision(decoder, words, p)
            else:
                bit = (symbol >> (7 - depth)) & 1
                probabilities[8 * t + depth] = p
            if depth < 7:
                fetch(slots, text, maps, node << 1 | bit, depth + 1, b1, b2)
            update(slots, mixer, matches, maps, last, node, bit, t)
            node = node << 1 | bit
        data[t] = node & 0xFF


def prepare() -> None:
    """Have all compiled that blocks of bytes need."""
    encode_bytes(np.zeros(1, np.uint8))


def prepare_beside() -> None:
    """Have it compiled by another process, if it is not there already, while this one does something else."""
    compile_beside(__name__, run_model.__name__, prepare.__name__)


def sizes(count: int, table_bits: int) -> tuple[int, int, int]:
    """Return (buckets, rows of a APM, heads of a match) for `count` bytes; raises FormatError out of bounds.

    >>> sizes(10**9, 26), sizes(0, 26)
    ((2883584, 65536, 262144), (2816, 256, 1024))
    """
    if not (MIN_TABLE_BITS <= table_bits <= MAX_TABLE_BITS and 0 <= count <= MAX_BYTES):
        raise FormatError(
            f"A block asks for tables of 2**{table_bits} bytes and {count} bytes of text; this version takes "
            f"2**{MIN_TABLE_BITS} to 2**{MAX_TABLE_BITS} and up to {MAX_BYTES}."
        )
    bits = min(table_bits, max(MIN_TABLE_BITS, (count * 512).bit_length()))
    return 11 << (bits - 8), 1 << min(16, bits - 8), 1 << min(18, bits - 6)


def new_mixing(count: int, table_bits: int) -> ByteMixing:
    """Return the memory for `count` bytes."""
    buckets, map_rows, heads = sizes(count, table_bits)
    first = np.zeros(INPUTS, np.int32)
    first[:_MATCH_INPUT] = FIRST_WEIGHTS * CONTEXTS
    first[_MATCH_INPUT:_BIAS_INPUT] = FIRST_MATCH_WEIGHTS * MATCHES
    inputs = np.zeros(INPUTS, np.int32)
    inputs[_BIAS_INPUT] = 256
    strength = [(65536 - 65536 // (3 + 4 * (c >> 2))) << 16 for c in range(MATCH_CLASSES)] * MATCHES
    return ByteMixing(
        slots=components.new_slots(CONTEXTS, buckets),
        mixer=components.new_mixer(inputs, np.tile(first, (sum(ROW_SETS), 1)), ROWS, 256),
        text=byte_contexts.new_text(),
        matches=Matches(
            heads=np.zeros((MATCHES, heads), np.int32),
            state=np.array([[0, 0, 0, 0, -1, m * MATCH_CLASSES] for m in range(MATCHES)], np.int64),
            strength=np.array(strength, np.uint32),
        ),
        maps=(components.new_apm(2048), components.new_apm(map_rows), components.new_apm(map_rows)),
        last=np.zeros(5, np.int64),
    )


def probabilities_in_parts(
    data: NDArray[np.uint8], part_bytes: int, table_bits: int = MAX_TABLE_BITS
) -> Iterator[NDArray[np.uint16]]:
    """Yield p1 (uint16, 1..65535) of each decision of `data`, 8 a byte, most significant first, `part_bytes` bytes at a time."""
    model, data = new_mixing(len(data), table_bits), np.array(data, np.uint8)
    probabilities = np.zeros(8 * len(data), np.uint16)
    nothing, decoder = np.zeros(0, np.uint32), np.zeros(5, np.uint64)
    wait_for_helpers()
    for first in range(0, len(data), part_bytes):
        end = min(first + part_bytes, len(data))
        run_model(model, data, first, end, probabilities, nothing, decoder, False)
        yield probabilities[8 * first : 8 * end]


def encode_bytes(data: NDArray[np.uint8], table_bits: int = MAX_TABLE_BITS) -> NDArray[np.uint16]:
    """Return p1 (uint16, 1..65535) of each decision of `data`, 8 a byte, most significant first.

    The decisions are the bits themselves: `range_coder.encode(np.unpackbits(data), encode_bytes(data))` is the block.
    """
    parts = list(probabilities_in_parts(data, max(1, len(data)), table_bits))
    return parts[0] if parts else np.zeros(0, np.uint16)


def decode_bytes(words: NDArray[np.uint32], count: int, table_bits: int = MAX_TABLE_BITS) -> NDArray[np.uint8]:
    """Return the `count` bytes (uint8) coded in `words`; raises FormatError when the words do not end where the text ends."""
    sizes(count, table_bits)
    range_coder.check_claim(words, 8 * count)
    model = new_mixing(count, table_bits)
    data = np.zeros(count, np.uint8)
    decoder = np.zeros(5, np.uint64)
    words = np.array(words, np.uint32)
    wait_for_helpers()
    run_model(model, data, 0, count, np.zeros(0, np.uint16), words, decoder, True)
    range_coder.check_finished(decoder, words)
    return data
