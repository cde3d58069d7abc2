"""Mixing on tokens: the network's probability of each decision, sharpened by what the block itself has shown.

A token of a vocabulary of 2**bits is `bits` decisions, most significant first: a path down a tree. All lanes of a block share
what is learned, and are coded in lane order within a step. The caller walks the tree. For each token of a lane it calls
`begin_token`; for each decision `fetch`, `predict` and `update`; then `end_token`.

`token_contexts` says what contexts look at and how to add one. `token_predictor_reference.py` is the definition. Knows nothing of
the network's inside, of files or of the coder.
"""

# L lanes, N contexts, I inputs, R selectors

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import inlined
from nncomp.mixing import byte_contexts, match_model, mixer, start_values, token_contexts, token_histories
from nncomp.mixing.arithmetic import BIAS, COUNT_BITS, combine, flat, limited, stretch
from nncomp.mixing.bit_histories import INPUTS_PER_CONTEXT
from nncomp.mixing.copies_of import copied
from nncomp.mixing.match_model import COMPARED, EXPECTED, LENGTH, MATCHES, MISSES, POINTER
from nncomp.mixing.mixer import APM_CONTEXT, Mixer, MixerScratch
from nncomp.mixing.start_values import (
    APMS,
    BUCKETS_MOST,
    BY_KINDS,
    BY_LAST_BYTE,
    BY_MATCH,
    BY_NODE,
    FINAL_WEIGHT_SETS,
    FIRST_WEIGHT_SETS,
    LAST_TOKENS_BITS,
    MAX_BITS,
    NETWORK_LEVELS,
    NODE_APM_CONTEXTS,
)

MATCH_LEAST = (5, 2)  # tokens that must agree before a match is followed
_MISSES_TO_LEAVE = 0xF  # four in a row: a match is followed no more
_APM_SHARES = (2, 5, 1)  # eighths: of the mixed prediction, and of each APM
_LEAST_RATE, _EXTRA_RATE = 800, 160_000  # of learning, see mixer.falling_rate
_DECISIONS_SHIFT = 7  # the rate falls with the decisions >> this
CONTEXT_MAPS = "histories", "joint", "records", "record_joint"  # the start values of the maps of `TokenHistories`, in its order
_START_COUNT = 60  # of an adaptive probability in a model file, at most: so it goes on learning


class TokenConstants(NamedTuple):
    """What does not change while a block is coded."""

    contexts: Any  # (N,) int64: the numbers of the contexts in use
    selectors: Any  # (R,) int64: the numbers of the selectors in use
    starts: Any  # (L + 1,) int64: where each lane's bytes begin in the block
    apm_mask: Any  # int64, the contexts less one of the APMs by node: a power of 2 less one


class TokenMemory(NamedTuple):
    """What the predictor remembers from token to token."""

    texts: byte_contexts.Text  # of each lane
    tokens: token_contexts.Tokens
    matches: match_model.Matches
    histories: token_histories.TokenHistories
    mixer: Mixer
    apms: Any  # see start_values.APM_NAMES
    network_map: Any  # an APM of the network's prediction, by the last token and the node
    decisions: Any  # (1,) int64: how many there were


class TokenScratch(NamedTuple):
    """What `begin_token`, `fetch` and `predict` leave for the calls that follow."""

    sources: Any  # (SOURCES,) int64: what each source has for the token at hand
    hashes: Any  # (N,) int64: the hash of each context in use
    places: token_histories.Places
    network: Any  # (2,) int64: the context of `network_map`, and the network's prediction (logistic domain)
    mixing: MixerScratch


class TokenMixing(NamedTuple):
    """The predictor of a block of tokens."""

    constants: TokenConstants
    memory: TokenMemory
    scratch: TokenScratch


@inlined
def begin_token(m: TokenMixing, lane: int, data: Any, at: int) -> None:
    """Set all contexts for the next token of the lane, which begins at byte `at` of the lane's bytes, `data`."""
    memory, scratch = m.memory, m.scratch
    text, matches = byte_contexts.text_of(memory.texts, lane), memory.matches.state[lane]
    start = m.constants.starts[lane]
    token_contexts.set_sources(scratch.sources, memory.tokens, text, matches, start, lane, data, at)
    token_contexts.hash_contexts(scratch.hashes, scratch.sources, m.constants.contexts, lane, at)
    token_histories.begin_contexts(memory.histories, scratch.places, scratch.hashes)


@inlined
def _last_token(m: TokenMixing, lane: int) -> int:
    return token_contexts.token_before(m.memory.tokens, m.constants.starts[lane], lane, np.int64(1))


@inlined
def fetch(m: TokenMixing, lane: int, bits: int, depth: int, node: int, b1: int) -> None:
    """Ask for what `predict` will read at the next node, some time before: between the two the last decision is learned."""
    mixer.ask_for_apm(m.memory.network_map, combine(node, _last_token(m, lane)) & m.constants.apm_mask)
    mixer.ask_for_apm(m.memory.apms[0], combine(node, b1) & m.constants.apm_mask)
    if depth > 0 and token_histories.depth_in_part(bits, depth) == 0:
        token_histories.ask_for_lines(m.memory.histories, m.scratch.places, m.scratch.hashes, node)


@inlined
def _select(m: TokenMixing, lane: int, sure: int, top: int, b1: int, is_late: int, token: int) -> None:
    """Let each selector pick its weight set. `token` has the first bits of the last token."""
    chosen, selectors = m.scratch.mixing.chosen, m.constants.selectors
    for r in range(selectors.size):
        selector = selectors[r]
        if selector == BY_MATCH:
            chosen[r] = sure
        elif selector == BY_NODE:
            chosen[r] = FIRST_WEIGHT_SETS[1] + top
        elif selector == BY_LAST_BYTE:
            chosen[r] = FIRST_WEIGHT_SETS[2] + b1 * 2 + is_late
        elif selector == BY_KINDS:
            kinds = m.memory.texts.state[lane, byte_contexts.KINDS] & 0x3F
            chosen[r] = FIRST_WEIGHT_SETS[3] + kinds * 2 + is_late
        else:
            chosen[r] = FIRST_WEIGHT_SETS[4] + token


@inlined
def predict(m: TokenMixing, lane: int, bits: int, depth: int, node: int, network: int, b1: int) -> int:
    """Return p1 (1..65535) of the decision at `node` (a 1 and the token's `depth` decisions so far).

    `network` is the network's p1 of the decision, `b1` the lane's last byte. `fetch` has asked for the node.
    """
    memory, places, mixing = m.memory, m.scratch.places, m.scratch.mixing
    inputs, last, contexts = mixing.inputs, mixing.last, m.constants.contexts.size
    t1 = _last_token(m, lane)
    by_token = combine(node, t1) & m.constants.apm_mask
    deep = token_histories.depth_in_part(bits, depth)
    if deep == 0:
        token_histories.look_up(memory.histories, places, inputs, depth)
    stretched, slot = stretch(network), (node & ((1 << deep) - 1)) | 1 << deep
    token_histories.predict_histories(memory.histories, places, inputs, stretched, slot, node, depth, bits)
    at = INPUTS_PER_CONTEXT * contexts
    sure = match_model.predict_matches(memory.matches, lane, inputs, at, bits, depth, node)
    at += match_model.INPUTS_PER_MATCH * MATCHES
    inputs[at] = stretched
    inputs[at + 1] = flat(network)
    inputs[at + 2] = limited(stretch(mixer.refine_by(memory.network_map, by_token, stretched)) - stretched)
    top = node if node < 256 else 256 + depth
    _select(m, lane, sure, top, b1, np.int64(2 * depth >= bits), t1 >> max(bits - LAST_TOKENS_BITS, 0))
    level = min(max((stretched + 2048) >> 8, 0), NETWORK_LEVELS - 1)
    mixing.final_chosen[0] = sure * MAX_BITS + depth
    mixing.final_chosen[1] = FINAL_WEIGHT_SETS[0] + min(places.counts[0], BUCKETS_MOST) * NETWORK_LEVELS + level
    mixer.mix(memory.mixer, mixing)
    m.scratch.network[0], m.scratch.network[1] = by_token, stretched
    last[APM_CONTEXT] = combine(node, b1) & m.constants.apm_mask
    last[APM_CONTEXT + 1] = sure * NETWORK_LEVELS + level
    return mixer.refine(memory.apms, mixing, _APM_SHARES)


@inlined
def update(m: TokenMixing, lane: int, bit: int) -> None:
    """Teach everything the decision that `predict` was last asked for; the rate falls with the decisions so far."""
    memory, mixing = m.memory, m.scratch.mixing
    token_histories.update_histories(memory.histories, m.scratch.places, bit)
    rate = mixer.falling_rate(_LEAST_RATE, _EXTRA_RATE, memory.decisions[0] >> _DECISIONS_SHIFT)
    mixer.update_mixer(memory.mixer, mixing, bit, rate, rate >> 3)
    mixer.update_apms(memory.apms, mixing, bit)
    mixer.update_apm(memory.network_map, m.scratch.network[0], m.scratch.network[1], bit)
    match_model.update_matches(memory.matches, lane, bit)
    memory.decisions[0] += 1


@inlined
def end_token(m: TokenMixing, lane: int, bits: int, token: int, data: Any, at: int, size: int) -> None:
    """Take note of the lane's token of `bits` decisions, whose bytes are data[at : at + size]."""
    token_histories.end_contexts(m.memory.histories, m.scratch.places, m.scratch.hashes, token, bits)
    text = byte_contexts.text_of(m.memory.texts, lane)
    for t in range(at + 1, at + size + 1):
        byte_contexts.follow_text(text, data, t)
    place = token_contexts.append_token(m.memory.tokens, m.constants.starts[lane], lane, token)
    for k in range(MATCHES):
        _follow_match(m, lane, k, token, place)


@inlined
def _follow_match(m: TokenMixing, lane: int, k: int, token: int, place: int) -> None:
    """Bring match k of the lane up to date with the lane's last token, which stands at `place`."""
    ids, count, least = m.memory.tokens.ids, m.memory.tokens.counts[lane], MATCH_LEAST[k]
    heads, s = m.memory.matches.heads, m.memory.matches.state[lane, k]
    if s[EXPECTED] >= 0:
        match_model.count_hit(s, s[EXPECTED] == token)
    if count >= least:
        h = np.int64(0)
        for i in range(least):
            h = combine(h, np.int64(ids[place - i]))
        h = h * heads.shape[1] >> 32
        candidate = np.int64(heads[k, h])
        if s[LENGTH] < least and candidate > 0:
            length = 0
            limit = min(COMPARED, min(count, candidate - 1))
            while length < limit and ids[candidate - 1 - length] == ids[place - length]:
                length += 1
            if length >= least:
                match_model.restart(s, candidate, length)
        heads[k, h] = place + 1
    if s[MISSES] & _MISSES_TO_LEAVE == _MISSES_TO_LEAVE:
        s[POINTER] = 0
    s[EXPECTED] = -1
    starts, counts = m.constants.starts, m.memory.tokens.counts
    for other in range(counts.size):  # the pointer must be at a token that is known already
        if starts[other] < s[POINTER] <= starts[other] + counts[other]:
            s[EXPECTED] = np.int64(ids[s[POINTER]])
    match_model.set_class(s, k)


def learned_values(m: TokenMixing) -> dict[str, NDArray[Any]]:
    """Return the start values (`start_values.shapes`) as a block has left them.

    Counts are lowered, so that they go on learning.
    """
    memory, mask = m.memory, np.uint32((1 << COUNT_BITS) - 1)
    learned = dict(zip(CONTEXT_MAPS, memory.histories[-len(CONTEXT_MAPS) :], strict=True))
    learned["strength"] = memory.matches.strength
    return {
        "contexts": m.constants.contexts.astype(np.uint8),
        "row_sets": m.constants.selectors.astype(np.uint8),
        "weights": memory.mixer.weights,
        "final_weights": memory.mixer.final_weights,
        **{name: (array & ~mask) | np.minimum(array & mask, np.uint32(_START_COUNT)) for name, array in learned.items()},
        "map_1": memory.apms[1],
    }


def resumed(m: TokenMixing, raw_bytes: int) -> TokenMixing:
    """Return a copy of the predictor of one lane whose bytes are all there, with room for `raw_bytes` more."""
    fields = m.memory._asdict()
    old = fields.pop("histories")
    histories = token_histories.new_histories(old.table.size // token_histories.LINE_BYTES, *copied(old[2:]))
    histories.table[:] = old.table
    memory = TokenMemory(histories=histories, **{name: copied(part) for name, part in fields.items()})
    ids = np.concatenate([memory.tokens.ids, np.zeros(raw_bytes, np.int32)])
    memory = memory._replace(tokens=memory.tokens._replace(ids=ids))
    starts = m.constants.starts + np.array([0, raw_bytes])
    return TokenMixing(m.constants._replace(starts=starts), memory, copied(m.scratch))


def new_mixing(raw_bytes: int, starts: NDArray[np.int64], lines: int, given: dict[str, NDArray[Any]]) -> TokenMixing:
    """Return the predictor of `raw_bytes` bytes in lanes that begin at `starts` (L + 1,), with `lines` lines of hash table.

    The tables of matches have as many entries as there are lines.

    `given` are the start values of the model (`start_values.shapes`). Raises ModelError for missing and damaged ones.
    """
    lanes = len(starts) - 1
    start = {name: array.copy() for name, array in start_values.check_start(given).items()}
    contexts, selectors = start_values.chosen_parts(start)
    count, by_node = len(contexts), min(lines, NODE_APM_CONTEXTS)
    mixing = mixer.new_mixer_scratch(start_values.input_count(count), len(selectors), len(FINAL_WEIGHT_SETS), APMS)
    mixing.inputs[start_values.bias_input(count)] = BIAS
    return TokenMixing(
        TokenConstants(
            contexts=np.array(contexts, np.int64),
            selectors=np.array(selectors, np.int64),
            starts=np.asarray(starts, np.int64),
            apm_mask=np.int64(by_node - 1),
        ),
        TokenMemory(
            texts=byte_contexts.new_text(lanes),
            tokens=token_contexts.new_tokens(raw_bytes, lanes),
            matches=match_model.new_matches(lanes, lines, start["strength"]),
            histories=token_histories.new_histories(lines, *(start[name] for name in CONTEXT_MAPS)),
            mixer=Mixer(start["weights"], start["final_weights"]),
            apms=(mixer.new_apm(by_node), start["map_1"]),
            network_map=mixer.new_apm(by_node),
            decisions=np.zeros(1, np.int64),
        ),
        TokenScratch(
            sources=np.zeros(token_contexts.SOURCES, np.int64),
            hashes=np.zeros(count, np.int64),
            places=token_histories.new_places(count),
            network=np.zeros(2, np.int64),
            mixing=mixing,
        ),
    )
