"""A block of tokens that begins with a primer, the last bytes of a reference: network and mixing have read it before.

The block is coded as if its bytes stood after the primer in one lane, whose first tokens are known. What is known after the
primer is kept and copied for each block. docs/FORMAT.md, "Primed blocks". Knows nothing of files.
"""

# N tokens of the block, P bytes of the primer

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.blocks import token_threads
from nncomp.blocks.token_payload import (
    Encoded,
    Predicted,
    claimed_words,
    collected,
    decoded,
    encoded,
    knowledge,
    lane_starts,
    model_start,
)
from nncomp.blocks.token_threads import Begin, Coded
from nncomp.format.payloads import TokensHead
from nncomp.mixing.copies_of import copied
from nncomp.mixing.token_contexts import tokens_of_lanes
from nncomp.mixing.token_predictor import TokenMixing
from nncomp.mixing.token_start import new_mixing, resumed
from nncomp.network.engine import Network
from nncomp.network.state import State, new_state


class Primed(NamedTuple):
    """What is known after a primer."""

    network: Network
    mixing: TokenMixing
    states: tuple[State, ...]  # of each network
    last_token: int
    text: NDArray[np.uint8]  # P, the primer

    def begin(self) -> Begin:
        """Return how a block begins after it."""
        return Begin(states=copied(self.states), before=self.last_token, done_bytes=len(self.text))


def prime(network: Network, primer: bytes, lines_log2: int) -> Primed:
    """Return what is known after a primer of at least one byte, with so many lines of hash table.

    An outside network is not asked: the loops compute the same.
    """
    network = Network(network.model) if type(network) is not Network else network
    ids = network.model.vocabulary.encode(primer)
    starts, first_ids = lane_starts(len(primer), 1), np.array([0, len(ids)])
    mixing = new_mixing(len(primer), starts, 1 << lines_log2, model_start(network), *knowledge(network))
    text, states = np.frombuffer(primer, np.uint8).copy(), tuple(new_state(each.model, 1) for each in network.all)
    for _ in token_threads.encode(network, mixing, text, ids, first_ids, Begin(states=states), 1):
        pass  # nothing is coded
    return Primed(network, mixing, states, int(ids[-1]), text)


def encode_after(primed: Primed, data: bytes, head: TokensHead, threads: int = 1) -> Encoded:
    """Return the payload of a block (at least one byte) after a primer; the same for any number of threads."""
    mixing, vocabulary = resumed(primed.mixing, len(data)), primed.network.model.vocabulary
    coded = _coded(primed, mixing, data, vocabulary.encode(data), threads)
    payload, bits = encoded(head, coded, vocabulary.bits, len(data), len(primed.text))
    return Encoded(payload, float(bits.sum()), bits, mixing)


def predict_after(primed: Primed, data: bytes, ids: NDArray[np.int32] | None = None, threads: int = 1) -> Predicted:
    """Return the decisions of a block (at least one byte) after a primer, with the probabilities they are coded with.

    The tokens are those that the vocabulary takes, unless they are given, shape (N,).
    """
    mixing, vocabulary = resumed(primed.mixing, len(data)), primed.network.model.vocabulary
    ids = vocabulary.encode(data) if ids is None else ids
    decisions, p1 = collected(_coded(primed, mixing, data, ids, threads), len(ids) * vocabulary.bits)
    return Predicted(ids, np.array([0, len(ids)]), decisions, p1, mixing)


def _coded(primed: Primed, mixing: TokenMixing, data: bytes, ids: NDArray[np.int32], threads: int) -> Iterator[Coded]:
    """Yield the decisions of known tokens after a primer, some tokens at a time; `mixing` learns them."""
    text = np.concatenate([primed.text, np.frombuffer(data, np.uint8)])
    return token_threads.encode(primed.network, mixing, text, ids, np.array([0, len(ids)]), primed.begin(), threads)


def decode_after(primed: Primed, payload: bytes, raw_bytes: int, threads: int = 1) -> bytes:
    """Return the raw bytes of a payload after a primer; raises FormatError when it does not hold exactly `raw_bytes`."""
    return decode_tokens_after(primed, payload, raw_bytes, threads)[0]


def decode_tokens_after(primed: Primed, payload: bytes, raw_bytes: int, threads: int = 1) -> tuple[bytes, NDArray[np.int32]]:
    """Return what `decode_after` does, and the tokens of the block, shape (N,)."""
    words, mixing = claimed_words(primed.network, payload, raw_bytes), resumed(primed.mixing, raw_bytes)
    data = decoded(primed.network, mixing, words, primed.begin(), threads, primed.text)
    (ids,), known = tokens_of_lanes(mixing.memory.tokens, mixing.constants.starts), int(primed.mixing.memory.tokens.counts[0])
    return data[len(primed.text) :].tobytes(), ids[known:]
