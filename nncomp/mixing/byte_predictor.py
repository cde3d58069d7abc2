"""Mixing on bytes: 8 decisions a byte, most significant first, one lane, no network.

Encoder and decoder run one predictor. The sizes of its tables follow from the number of bytes and from `table_bits`, by
`sizes`, which is part of the format. `byte_predictor_reference.py` is the definition. Knows nothing of files.

To add a context, in this order; tests/test_contexts.py names the place that is missing: a formula in docs/FORMAT.md, "The byte
model"; a name and a line `h[...] = ...` in byte_contexts.py; an entry at the end of `Text.contexts` in
byte_contexts_reference.py; an entry and the number of contexts in checks/independent/byte_model.py. A new context changes every
block of bytes: that is another version of the format.
"""

# N contexts, I inputs

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp import range_coder
from nncomp.errors import FormatError
from nncomp.format.numbers import MAX_TABLE_BITS, MIN_TABLE_BITS
from nncomp.machine.kernels import compile_beside, compiled, inlined
from nncomp.mixing import bit_histories, byte_contexts, match_model, mixer
from nncomp.mixing.arithmetic import BIAS, combine
from nncomp.mixing.bit_histories import INPUTS_PER_CONTEXT
from nncomp.mixing.byte_contexts import CONTEXTS, FIELD, IN_TAG
from nncomp.mixing.copies_of import copied
from nncomp.mixing.match_model import COMPARED, EXPECTED, INPUTS_PER_MATCH, LENGTH, MATCHES, MISSES, POINTER
from nncomp.mixing.mixer import APM_CONTEXT, APM_POINTS, Mixer, MixerScratch

MAX_BYTES = (1 << 31) - 1  # positions are int32

MATCH_LEAST = (8, 4)  # bytes that must agree before a match is followed
_MISSES_TO_LEAVE = 0xFF  # eight in a row: a match is followed no more

MATCH_INPUT = INPUTS_PER_CONTEXT * CONTEXTS  # the first input of the matches
BIAS_INPUT = MATCH_INPUT + INPUTS_PER_MATCH * MATCHES
FIRST_WEIGHTS = (4500, 500)  # of a context's two inputs; mixer.WEIGHT_ONE is 1
FIRST_MATCH_WEIGHTS = (12000, 2000)
STRENGTH_SLOPE = 4

# What each selector picks its weight set by, and how many weight sets it has. All but byte and format also by the depth.
SELECTOR_NAMES = "match", "node", "last byte", "format", "contexts known", "field and tag"
FORMATS = 1 << 14  # hashes of the last formats
WEIGHT_SETS = (8 * match_model.SURE_VALUES, 256, 256, FORMATS, 8 * 2 * 16, 8 * 5 * 16)
SELECTORS = len(SELECTOR_NAMES)
_FIRST_SET = tuple(accumulate(WEIGHT_SETS, initial=0))
_ORDERS = 8  # the first contexts, of orders 0 to 8: how many of them are known picks a weight set
_FINAL_WEIGHT_SETS = 256

_MATCH_APM_CONTEXTS = 8 * 256  # of the APM by match and node; the others are by the last one and two bytes and the node
_APM_SHARES = (1, 1, 3, 3)  # eighths: of the mixed prediction, and of each APM
APMS = len(_APM_SHARES) - 1
RATES = np.array([(300, 128_000, 1), *[(800, 256_000, 1)] * SELECTORS])  # of learning, see mixer.update_mixer


class ByteMemory(NamedTuple):
    """What the predictor remembers from byte to byte."""

    text: byte_contexts.Text
    matches: match_model.Matches
    histories: bit_histories.BitHistories
    mixer: Mixer
    apms: Any  # three APMs: by match and node; by the last byte and node; by the last two bytes and node


class ByteScratch(NamedTuple):
    """What `start_byte` and `predict` leave for the calls that follow."""

    hashes: Any  # (N,) int64: the hash of each context
    places: bit_histories.HistoryPlaces
    mixing: MixerScratch


class ByteMixing(NamedTuple):
    """The predictor of a block of bytes."""

    memory: ByteMemory
    scratch: ByteScratch


@compiled
def follow_matches(matches: match_model.Matches, data: Any, t: int) -> None:
    """Bring both matches up to date with the byte before position t, and set the bytes they expect."""
    for k in range(MATCHES):
        least = MATCH_LEAST[k]
        s = matches.state[0, k]
        if s[EXPECTED] >= 0:
            match_model.count_hit(s, s[EXPECTED] == data[t - 1])
        if t >= least:
            h = 0
            for i in range(least):
                h = combine(h, np.int64(data[t - 1 - i]))
            heads = matches.heads[k]
            h = (h * heads.size) >> 32
            if s[LENGTH] < least:
                candidate = np.int64(heads[h])
                if candidate > 0 and candidate != s[POINTER]:
                    length = 0
                    limit = min(COMPARED, candidate)
                    while length < limit and data[candidate - 1 - length] == data[t - 1 - length]:
                        length += 1
                    if length >= least:
                        match_model.restart(s, candidate, length)
            heads[h] = t
        if s[MISSES] == _MISSES_TO_LEAVE:
            s[POINTER] = 0
        s[EXPECTED] = np.int64(data[s[POINTER]]) if s[POINTER] > 0 else -1
        match_model.set_class(s, k)


@inlined
def _by_last_byte(m: ByteMixing, node: int, b1: int) -> int:
    """Return the context of the second APM; the number of its contexts is a power of two."""
    return combine(node, b1) & (m.memory.apms[1].size // APM_POINTS - 1)


@inlined
def _by_last_two_bytes(m: ByteMixing, node: int, b1: int, b2: int) -> int:
    """Return the context of the third APM."""
    return combine(combine(node, b1), b2 + 256) & (m.memory.apms[2].size // APM_POINTS - 1)


@inlined
def fetch(m: ByteMixing, node: int, depth: int, b1: int, b2: int) -> None:
    """Ask for what `predict` will read at the next node, some time before: between the two the last decision is learned."""
    mixer.ask_for_apm(m.memory.apms[1], _by_last_byte(m, node, b1))
    mixer.ask_for_apm(m.memory.apms[2], _by_last_two_bytes(m, node, b1, b2))
    if depth & 3 == 0:
        bit_histories.ask_for_buckets(m.memory.histories, m.scratch.places, m.scratch.hashes, node)


@inlined
def start_byte(m: ByteMixing, data: Any, t: int) -> None:
    """Set all contexts for the byte at position t, and ask for what `predict` will read."""
    text, matches = m.memory.text, m.memory.matches
    if t > 0:
        byte_contexts.follow_text(text, data, t)
        follow_matches(matches, data, t)
    long = matches.state[0, 0]
    byte_contexts.set_contexts(m.scratch.hashes, text, (long[EXPECTED] + 1) << 5 | min(long[LENGTH], 31), data, t)
    fetch(m, np.int64(1), np.int64(0), byte_contexts.byte_at(data, t - 1), byte_contexts.byte_at(data, t - 2))


@inlined
def predict(m: ByteMixing, node: int, depth: int, b1: int, b2: int) -> int:
    """Return p1 (1..65535) of the next decision; `node` is a 1 and the `depth` decisions of this byte so far.

    `fetch` has asked for the node; b1 and b2 are the last bytes.
    """
    memory, places, mixing = m.memory, m.scratch.places, m.scratch.mixing
    state, inputs, chosen = memory.text.state, mixing.inputs, mixing.chosen
    deep = depth & 3
    if deep == 0:
        bit_histories.find_buckets(memory.histories, places)
    slot = (node & ((1 << deep) - 1)) | 1 << deep
    bit_histories.predict_histories(memory.histories, places, inputs, slot)
    one_lane = np.int64(0)
    sure = match_model.predict_matches(memory.matches, one_lane, inputs, MATCH_INPUT, np.int64(8), depth, node)
    known = bit_histories.count_known(places, _ORDERS)
    chosen[0] = sure * 8 + depth
    chosen[1] = _FIRST_SET[1] + node
    chosen[2] = _FIRST_SET[2] + b1
    chosen[3] = _FIRST_SET[3] + byte_contexts.format_hash(state) % FORMATS
    chosen[4] = _FIRST_SET[4] + known * 8 + depth + (128 if sure else 0)
    chosen[5] = _FIRST_SET[5] + min(state[FIELD], 15) * 8 + depth + 128 * state[IN_TAG]
    mixing.final_chosen[0] = node
    mixer.mix(memory.mixer, mixing)
    mixing.last[APM_CONTEXT] = node + 256 * min(sure, 7)
    mixing.last[APM_CONTEXT + 1] = _by_last_byte(m, node, b1)
    mixing.last[APM_CONTEXT + 2] = _by_last_two_bytes(m, node, b1, b2)
    return mixer.refine(memory.apms, mixing, _APM_SHARES)


@inlined
def update(m: ByteMixing, bit: int) -> None:
    """Teach all but the matches the decision that `predict` was last asked for. The next byte may have been started."""
    memory, mixing = m.memory, m.scratch.mixing
    bit_histories.update_histories(memory.histories, m.scratch.places, bit)
    mixer.update_mixer(memory.mixer, mixing, bit, RATES)
    mixer.update_apms(memory.apms, mixing, bit)


@compiled
def run_model(m: ByteMixing, data: Any, span: Any, probabilities: Any, words: Any, decoder: Any, decoding: bool) -> None:
    """Predict and learn each decision of a span of `data`: given (fill `probabilities`) or decoded from `words` (fill `data`).

    A call goes on where the one before it ended: there the next byte has been started.
    """
    first, end = span[0], span[1]
    if first == 0:
        start_byte(m, data, first)
    for t in range(first, end):
        if decoding and range_coder.is_spent(decoder, words):  # altered bytes need not be decoded to the end
            return
        b1, b2 = byte_contexts.byte_at(data, t - 1), byte_contexts.byte_at(data, t - 2)
        symbol = np.int64(data[t])
        node = np.int64(1)  # a plain 1 is a type of its own, for which all would be compiled twice
        for depth in range(8):
            p = predict(m, node, depth, b1, b2)
            if decoding:
                bit = range_coder.decode_decision(decoder, words, p)
            else:
                bit = (symbol >> (7 - depth)) & 1
                probabilities[8 * (t - first) + depth] = p
            node = node << 1 | bit
            match_model.update_matches(m.memory.matches, np.int64(0), bit)
            if depth < 7:
                fetch(m, node, depth + 1, b1, b2)
            else:
                data[t] = node & 0xFF
                start_byte(m, data, t + 1)
            update(m, bit)


def prepare() -> None:
    """Have all compiled that blocks of bytes need."""
    probabilities(np.zeros(1, np.uint8))


def prepare_beside() -> None:
    """Have it compiled by another process, if it is not there already, while this one does something else."""
    compile_beside(run_model, __name__, prepare.__name__)


def sizes(count: int, table_bits: int) -> tuple[int, int, int]:
    """Return (buckets, contexts of an APM, heads of a match) for `count` bytes; raises FormatError out of bounds.

    >>> sizes(10**9, 26), sizes(0, 26)
    ((2883584, 65536, 1048576), (2816, 256, 1024))
    """
    if not (MIN_TABLE_BITS <= table_bits <= MAX_TABLE_BITS and 0 <= count <= MAX_BYTES):
        raise FormatError(
            f"A block asks for tables of 2**{table_bits} bytes and {count} bytes of text; this version takes "
            f"2**{MIN_TABLE_BITS} to 2**{MAX_TABLE_BITS} and up to {MAX_BYTES}."
        )
    bits = min(table_bits, max(MIN_TABLE_BITS, (count * 512).bit_length()))
    return 11 << (bits - 8), 1 << min(16, bits - 8), 1 << min(20, bits - 6)


def new_mixing(count: int, table_bits: int) -> ByteMixing:
    """Return the predictor of `count` bytes."""
    return _mixing_of(sizes(count, table_bits))


def _mixing_of(sizes_of: tuple[int, int, int]) -> ByteMixing:
    """Return the predictor with tables of these `sizes`."""
    buckets, apm_contexts, heads = sizes_of
    mixing = mixer.new_mixer_scratch(BIAS_INPUT + 1, SELECTORS, finals=1, apms=APMS)
    mixing.inputs[BIAS_INPUT] = BIAS
    first = np.zeros(len(mixing.inputs), np.int32)
    first[:BIAS_INPUT] = (*FIRST_WEIGHTS * CONTEXTS, *FIRST_MATCH_WEIGHTS * MATCHES)
    state_maps = bit_histories.new_state_maps(CONTEXTS)
    memory = ByteMemory(
        text=byte_contexts.new_text(),
        matches=match_model.new_matches(1, heads, match_model.first_strength(STRENGTH_SLOPE)),
        histories=bit_histories.new_bit_histories(buckets, state_maps),
        mixer=Mixer(
            mixer.new_sets(sum(WEIGHT_SETS), first[None]),
            mixer.new_sets(_FINAL_WEIGHT_SETS, mixer.first_final_weights(_FINAL_WEIGHT_SETS, SELECTORS)),
        ),
        apms=tuple(mixer.new_apm(contexts) for contexts in (_MATCH_APM_CONTEXTS, apm_contexts, apm_contexts)),
    )
    return ByteMixing(memory, ByteScratch(np.zeros(CONTEXTS, np.int64), bit_histories.new_places(CONTEXTS), mixing))


class Primed(NamedTuple):
    """A predictor that has read a text, for tables of this size, and the text: what follows it is predicted with both."""

    mixing: ByteMixing
    text: NDArray[np.uint8]
    sizes: tuple[int, int, int]


def primed(text: bytes, sizes_of: tuple[int, int, int]) -> Primed:
    """Return a predictor that has read a text, with tables of these `sizes`."""
    model, data = _mixing_of(sizes_of), np.frombuffer(text, np.uint8).copy()
    run_model(model, data, np.array([0, len(data)]), np.zeros(8 * len(data), np.uint16), *_no_words(), False)
    return Primed(model, data, sizes_of)


def _no_words() -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """Return the words and the state of no decoder."""
    return np.zeros(0, np.uint32), np.zeros(5, np.uint64)


def _begin(count: int, table_bits: int, after: Primed | None) -> tuple[ByteMixing, NDArray[np.uint8]]:
    """Return the predictor of `count` bytes, and the bytes before them, with room for them."""
    if after is None:
        return new_mixing(count, table_bits), np.zeros(count, np.uint8)
    assert after.sizes == sizes(len(after.text) + count, table_bits)
    return copied(after.mixing), np.concatenate([after.text, np.zeros(count, np.uint8)])


def probabilities_in_parts(
    data: NDArray[np.uint8], part_bytes: int, table_bits: int = MAX_TABLE_BITS, after: Primed | None = None
) -> Iterator[NDArray[np.uint16]]:
    """Yield p1 (uint16, 1..65535) of each decision of `data`, 8 a byte, most significant first, `part_bytes` bytes at a time.

    `after` is what was read before it.
    """
    model, whole = _begin(len(data), table_bits, after)
    start = len(whole) - len(data)
    whole[start:] = data
    span, probabilities = np.zeros(2, np.int64), np.zeros(8 * min(part_bytes, len(data)), np.uint16)
    run = run_model.bound(model, whole, span, probabilities, *_no_words(), False)
    for first in range(start, len(whole), part_bytes):
        span[:] = first, min(first + part_bytes, len(whole))
        run()
        yield probabilities[: 8 * (span[1] - first)].copy()


def probabilities(data: NDArray[np.uint8], table_bits: int = MAX_TABLE_BITS, after: Primed | None = None) -> NDArray[np.uint16]:
    """Return p1 (uint16, 1..65535) of each decision of `data`, 8 a byte, most significant first.

    `after` is what was read before it. The decisions are the bits themselves: without `after`,
    `range_coder.encode(np.unpackbits(data), probabilities(data))` is the block.
    """
    parts = list(probabilities_in_parts(data, max(1, len(data)), table_bits, after))
    return parts[0] if parts else np.zeros(0, np.uint16)


def decode_bytes(
    words: NDArray[np.uint32], count: int, table_bits: int = MAX_TABLE_BITS, after: Primed | None = None
) -> NDArray[np.uint8]:
    """Return the `count` bytes (uint8) coded in `words`; raises FormatError when the words do not end where the text ends."""
    sizes(count, table_bits)
    range_coder.check_claim(words, 8 * count)
    model, whole = _begin(count, table_bits, after)
    words = np.array(words, np.uint32)
    start, decoder = len(whole) - count, range_coder.first_state(words)
    run_model(model, whole, np.array([start, len(whole)]), np.zeros(0, np.uint16), words, decoder, True)
    range_coder.check_finished(decoder, words)
    return whole[start:]
