"""Mixing on tokens: the network's probability of each decision, sharpened by what the block itself and the n-gram table show.

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

from nncomp.machine.kernels import inlined
from nncomp.machine.prefetch import prefetch
from nncomp.mixing import byte_contexts, match_model, mixer, ngram_table, token_contexts, token_histories
from nncomp.mixing.arithmetic import combine, flat, limited, stretch
from nncomp.mixing.bit_histories import INPUTS_PER_CONTEXT
from nncomp.mixing.match_model import COMPARED, EXPECTED, LENGTH, MATCHES, MISSES, POINTER
from nncomp.mixing.mixer import APM_CONTEXT, Mixer, MixerScratch
from nncomp.mixing.start_values import (
    APART_CLASSES,
    BY_FORMAT,
    BY_LAST_BYTE,
    BY_LAST_TOKEN,
    BY_MATCH,
    BY_NODE,
    FINAL_WEIGHT_SETS,
    FIRST_FORMATS,
    FIRST_NODES,
    FIRST_SETS_START,
    FIRST_TOKENS_BITS,
    FORMATS,
    MAX_BITS,
    NETWORK_INPUTS,
    NETWORK_LEVELS,
    NODES,
    SETS_START,
    TOKENS_BITS,
)

MATCH_LEAST = (5, 2)  # tokens that must agree before a match is followed
_MISSES_TO_LEAVE = 0xF  # four in a row: a match is followed no more
_APM_SHARES = (4, 2, 2)  # eighths: of the mixed prediction, and of each APM


class TokenConstants(NamedTuple):
    """What does not change while a block is coded."""

    contexts: Any  # (N,) int64: the numbers of the contexts in use
    selectors: Any  # (R,) int64: the numbers of the selectors in use
    rates: Any  # (1 + R, 3) int64: see mixer.update_mixer
    starts: Any  # (L + 1,) int64: where each lane's bytes begin in the block
    apm_mask: Any  # int64, the contexts less one of the APMs by node: a power of 2 less one
    networks: Any  # int64, 1 or 2: how many predict


class TokenMemory(NamedTuple):
    """What the predictor remembers from token to token."""

    texts: byte_contexts.Text  # of each lane
    tokens: token_contexts.Tokens
    matches: match_model.Matches
    ngrams: ngram_table.Ngrams
    histories: token_histories.TokenHistories
    mixer: Mixer
    apms: Any  # see start_values.APM_NAMES
    network_map: Any  # an APM of the network's prediction, by the last token and the node


class TokenScratch(NamedTuple):
    """What `prepare_token`, `fetch` and `predict` leave for the calls that follow."""

    sources: Any  # (SOURCES,) int64: what each source has for the token at hand
    hashes: Any  # (L, N) int64: the hash of each context in use, for each lane's next token
    places: token_histories.Places
    ngram_hashes: Any  # (L, 4) int64: the hash of each order, for each lane's next token
    ngram: Any  # (4,) int64, see ngram_table.TOKEN
    heads: Any  # (MATCHES,) int64: where each match's table has the last tokens
    network: Any  # (3,) int64, see BY_TOKEN
    mixing: MixerScratch


# Fields of `TokenScratch.network`: the context of `network_map`, the network's prediction (logistic domain), and the second
# network's p1.
BY_TOKEN, STRETCHED, SECOND = range(3)


class TokenMixing(NamedTuple):
    """The predictor of a block of tokens."""

    constants: TokenConstants
    memory: TokenMemory
    scratch: TokenScratch


@inlined
def prepare_token(m: TokenMixing, lane: int, bits: int, data: Any, at: int) -> None:
    """Hash all contexts of the lane's next token, which begins at byte `at` of the lane's bytes, `data`; ask for what it needs.

    That is done when the token before it has ended. Tokens of the other lanes come between, so the answers have time.
    """
    memory, scratch, hashes = m.memory, m.scratch, m.scratch.hashes[lane]
    text, matches = byte_contexts.text_of(memory.texts, lane), memory.matches.state[lane]
    token_contexts.set_sources(scratch.sources, memory.tokens, text, matches, m.constants.starts[lane], lane, data, at)
    token_contexts.hash_contexts(hashes, scratch.sources, m.constants.contexts, lane, at)
    token_histories.ask_for_roots(memory.histories, hashes)
    t4 = token_contexts.token_before(memory.tokens, m.constants.starts[lane], lane, np.int64(4))
    ngram_table.hash_ngrams(scratch.ngram_hashes[lane], scratch.sources, t4)
    ngram_table.ask_for_entries(memory.ngrams, scratch.ngram_hashes[lane])
    b1 = np.int64(data[at - 1]) if at > 0 else np.int64(0)
    _ask_for_node(m, lane, np.int64(1), b1)
    sets = memory.mixer.sets
    mixer.ask_for_set(sets, SETS_START[BY_FORMAT] + _by_format(m, lane))
    mixer.ask_for_set(sets, SETS_START[BY_LAST_TOKEN] + (_last_token(m, lane) >> max(bits - TOKENS_BITS, 0)))


@inlined
def begin_token(m: TokenMixing, lane: int, bits: int) -> None:
    """Set all contexts for the next token of the lane, of `bits` decisions, which has been prepared."""
    token_histories.begin_contexts(m.scratch.places, m.scratch.hashes[lane])
    ngram_table.look_up(m.memory.ngrams, m.scratch.ngram, m.scratch.ngram_hashes[lane], bits)


@inlined
def _last_token(m: TokenMixing, lane: int) -> int:
    return token_contexts.token_before(m.memory.tokens, m.constants.starts[lane], lane, np.int64(1))


@inlined
def _by_node(node: int, depth: int, nodes: int) -> int:
    """Return a number for the node: its own where it is one of the first `nodes`, else one by its depth."""
    return node if node < nodes else nodes + depth


@inlined
def _by_format(m: TokenMixing, lane: int) -> int:
    return byte_contexts.format_hash(m.memory.texts.state[lane]) & (FORMATS - 1)


@inlined
def _ask_for_node(m: TokenMixing, lane: int, node: int, b1: int) -> None:
    mixer.ask_for_apm(m.memory.network_map, combine(node, _last_token(m, lane)) & m.constants.apm_mask)
    mixer.ask_for_apm(m.memory.apms[0], combine(node, b1) & m.constants.apm_mask)


@inlined
def foresee(m: TokenMixing, lane: int, bits: int, depth: int, node: int) -> None:
    """Ask for the lines of the hash table for a node, at `depth`, that is likely to come, if a part of the token begins there."""
    if token_histories.depth_in_part(bits, depth) == 0:
        token_histories.ask_for_lines(m.memory.histories, m.scratch.places, m.scratch.hashes[lane], node)


@inlined
def fetch(m: TokenMixing, lane: int, bits: int, depth: int, node: int, b1: int) -> None:
    """Ask for what `predict` will read at the next node, some time before: between the two the last decision is learned."""
    _ask_for_node(m, lane, node, b1)
    mixer.ask_for_set(m.memory.mixer.sets, SETS_START[BY_NODE] + _by_node(node, depth, NODES))
    foresee(m, lane, bits, depth, node)


@inlined
def _select(m: TokenMixing, lane: int, bits: int, depth: int, node: int, sure: int, b1: int) -> None:
    """Let each selector pick its weight set, and the first set that this one begins as."""
    chosen, begun_as, selectors = m.scratch.mixing.chosen, m.scratch.mixing.begun_as, m.constants.selectors
    for r in range(selectors.size):
        selector = selectors[r]
        if selector == BY_MATCH:
            own = first = sure
        elif selector == BY_NODE:
            own, first = _by_node(node, depth, NODES), _by_node(node, depth, FIRST_NODES)
        elif selector == BY_LAST_BYTE:
            own = first = b1 * 2 + np.int64(2 * depth >= bits)
        elif selector == BY_FORMAT:
            own = _by_format(m, lane)
            first = own & (FIRST_FORMATS - 1)
        else:
            token = _last_token(m, lane)
            own = token >> max(bits - TOKENS_BITS, 0)
            first = token >> max(bits - FIRST_TOKENS_BITS, 0)
        chosen[r] = SETS_START[selector] + own
        begun_as[r] = FIRST_SETS_START[selector] + first


@inlined
def _apart(difference: int) -> int:
    """Return the class of how far the second network is from the first one (logistic domain)."""
    return np.int64(difference >= -128) + np.int64(difference >= 0) + np.int64(difference >= 128)


@inlined
def told_by_second(network: Any, p1: int) -> None:
    """Take the second network's p1 of the decision that is predicted next; `network` is that of `TokenScratch`."""
    network[SECOND] = p1


@inlined
def predict(m: TokenMixing, lane: int, bits: int, depth: int, node: int, network: int, b1: int) -> int:
    """Return p1 (1..65535) of the decision at `node` (a 1 and the token's `depth` decisions so far).

    `network` is the network's p1 of the decision, `b1` the lane's last byte. `fetch` has asked for the node. If there is a second
    network, `told_by_second` has been called.
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
    sure_of_ngram = ngram_table.predict_ngrams(memory.ngrams, m.scratch.ngram, inputs, at, bits, depth, node)
    sure = sure if sure > 0 else sure_of_ngram
    at += ngram_table.INPUTS
    inputs[at] = stretched
    inputs[at + 1] = flat(network)
    inputs[at + 2] = limited(stretch(mixer.refine_by(memory.network_map, by_token, stretched)) - stretched)
    level = min(max((stretched + 2048) >> 8, 0), NETWORK_LEVELS - 1)
    context = sure * NETWORK_LEVELS + level
    if m.constants.networks > 1:
        second = stretch(m.scratch.network[SECOND])
        inputs[at + NETWORK_INPUTS + 1] = second
        context = context * APART_CLASSES + _apart(second - stretched)
    _select(m, lane, bits, np.int64(depth), np.int64(node), sure, np.int64(b1))
    mixing.final_chosen[0] = sure * MAX_BITS + depth
    mixing.final_chosen[1] = FINAL_WEIGHT_SETS[0] + _by_node(node, depth, NODES)
    mixer.mix(memory.mixer, mixing)
    m.scratch.network[BY_TOKEN], m.scratch.network[STRETCHED] = by_token, stretched
    last[APM_CONTEXT], last[APM_CONTEXT + 1] = combine(node, b1) & m.constants.apm_mask, context
    return mixer.refine(memory.apms, mixing, _APM_SHARES)


@inlined
def update(m: TokenMixing, lane: int, bit: int) -> None:
    """Teach everything the decision that `predict` was last asked for."""
    memory, mixing = m.memory, m.scratch.mixing
    token_histories.update_histories(memory.histories, m.scratch.places, bit)
    mixer.update_mixer(memory.mixer, mixing, bit, m.constants.rates)
    mixer.update_apms(memory.apms, mixing, bit)
    mixer.update_apm(memory.network_map, m.scratch.network[BY_TOKEN], m.scratch.network[STRETCHED], bit)
    match_model.update_matches(memory.matches, lane, bit)
    ngram_table.update_ngrams(memory.ngrams, m.scratch.ngram, bit)


@inlined
def end_token(m: TokenMixing, lane: int, bits: int, token: int, data: Any, at: int, size: int) -> None:
    """Take note of the lane's token of `bits` decisions, whose bytes are data[at : at + size]."""
    place = token_contexts.append_token(m.memory.tokens, m.constants.starts[lane], lane, token)
    for k in range(MATCHES):
        _ask_for_head(m, lane, k, place)
    token_histories.end_contexts(m.memory.histories, m.scratch.places, m.scratch.hashes[lane], token, bits)
    text = byte_contexts.text_of(m.memory.texts, lane)
    for t in range(at + 1, at + size + 1):
        byte_contexts.follow_text(text, data, t)
    for k in range(MATCHES):
        _follow_match(m, lane, k, token, place)
    prepare_token(m, lane, bits, data, at + size)


@inlined
def _ask_for_head(m: TokenMixing, lane: int, k: int, place: int) -> None:
    """Find where match k's table has the lane's last tokens, the last of which stands at `place`, and ask for it."""
    ids, heads, h = m.memory.tokens.ids, m.memory.matches.heads, np.int64(0)
    if m.memory.tokens.counts[lane] >= MATCH_LEAST[k]:
        for i in range(MATCH_LEAST[k]):
            h = combine(h, np.int64(ids[place - i]))
        h = h * heads.shape[1] >> 32
        prefetch(heads, 4 * (k * heads.shape[1] + h))
    m.scratch.heads[k] = h


@inlined
def _follow_match(m: TokenMixing, lane: int, k: int, token: int, place: int) -> None:
    """Bring match k of the lane up to date with the lane's last token, which stands at `place`."""
    ids, count, least = m.memory.tokens.ids, m.memory.tokens.counts[lane], MATCH_LEAST[k]
    heads, s = m.memory.matches.heads, m.memory.matches.state[lane, k]
    if s[EXPECTED] >= 0:
        match_model.count_hit(s, s[EXPECTED] == token)
    if count >= least:
        h = m.scratch.heads[k]
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
