"""A block as tokens: the network predicts, mixing sharpens, the range coder writes; L lanes advance in step.

The payload is a head (`TokensHead`), which has the code, and the coder's words. Lane l holds the bytes from l * R // L to
(l + 1) * R // L of the R raw bytes. Network, mixing and coder meet here; docs/FORMAT.md, "Token blocks". Knows nothing of files.
"""

# L lanes, N tokens of the block, R raw bytes

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp import range_coder
from nncomp.blocks import token_threads
from nncomp.blocks.code_choice import Choice, likely_codes
from nncomp.blocks.levels import FEW_LANES, LANE_BYTES, PARTS, USUAL, Effort, lines_log2
from nncomp.blocks.token_loop import OVERFLOW
from nncomp.blocks.token_threads import NO_BYTES, Begin
from nncomp.errors import FormatError
from nncomp.format.payloads import TokensHead
from nncomp.mixing.token_contexts import tokens_of_lanes
from nncomp.mixing.token_predictor import TokenMixing
from nncomp.mixing.token_start import learned_values, new_mixing
from nncomp.network.code import NO_CODE, entry_count
from nncomp.network.engine import Network
from nncomp.range_coder import Words

_LONG_LANE_BYTES = 4 * LANE_BYTES  # of more than FEW_LANES each should have so many
_NAMED_CODES = 4  # that the network tries for each that may be coded in full
_TRIED_BYTES = 1 << 15  # with more effort, a short block is coded with several codes: so many bytes in all
_START = "mixing."  # prefix of the start values of mixing among a model's extra arrays


def lanes_log2(raw_bytes: int, most: int = USUAL.max_lanes) -> int:
    """Return log2 of the lanes for a block: as many, up to `most`, as leave each at least 64 KiB, and of more than four 256 KiB.

    >>> [1 << lanes_log2(n) for n in (1, 100_000, 152_089, 1 << 20, 1 << 22)]
    [1, 1, 2, 4, 8]
    """
    lanes = max(min(FEW_LANES, raw_bytes // LANE_BYTES), raw_bytes // _LONG_LANE_BYTES)
    return max(0, min(most, lanes).bit_length() - 1)


def lane_starts(raw_bytes: int, lanes: int) -> NDArray[np.int64]:
    """Return where each lane begins, and the end, shape (L + 1,)."""
    return np.array([lane * raw_bytes // lanes for lane in range(lanes + 1)], dtype=np.int64)


class Encoded(NamedTuple):
    """A payload, its surprisal in bits, how many of them each part of the raw bytes took, and mixing at the end."""

    payload: bytes
    cost_bits: float
    part_bits: NDArray[np.float64]  # (PARTS,)
    mixing: TokenMixing

    @property
    def learned(self) -> dict[str, NDArray[Any]]:
        """What mixing has learned, as start values."""
        return learned_values(self.mixing)


def encode_tokens(network: Network, data: bytes, threads: int = 1, effort: Effort = USUAL) -> Encoded:
    """Return the payload of a block (at least one byte); the same for any number of threads.

    A block of one lane has the likeliest code. With more effort, payloads of a short block are made without a code, too, and with
    some likely codes; the smallest is returned. Several lanes begin at several places of the text, of which a code says nothing.
    """
    start, likely = model_start(network), list[Choice]()
    if not lanes_log2(len(data), effort.max_lanes):
        likely = likely_codes(network, start, data, _NAMED_CODES * effort.tried_codes)
    tried = max(1, min(effort.tried_codes, _TRIED_BYTES // len(data)))
    codes = [choice.code for choice in likely if choice.saved_bits > 0][:tried] or [NO_CODE]
    if tried > 1:
        found = [encode_and_learn(network, data, start, threads, code, effort) for code in dict.fromkeys([NO_CODE, *codes])]
        return min(found, key=lambda each: (len(each.payload), each.cost_bits))
    return encode_and_learn(network, data, start, threads, codes[0], effort)


def model_start(network: Network) -> dict[str, NDArray[Any]]:
    """Return the start values of mixing of a model, unchecked."""
    return start_of(network.model.extra)


def knowledge(network: Network) -> tuple[int, NDArray[np.uint32] | None]:
    """Return what `new_mixing` asks for last: how many networks predict, and the entries of the n-gram table if there is one."""
    ngrams = network.model.ngrams
    return network.model.networks, None if ngrams is None else ngrams.entries.reshape(-1)


def start_of(extra: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the start values of mixing among a model's extra arrays."""
    return {name.removeprefix(_START): array for name, array in extra.items() if name.startswith(_START)}


def start_extra(values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return start values of mixing as the extra arrays of a model."""
    return {_START + name: array for name, array in values.items()}


def encode_and_learn(
    network: Network,
    data: bytes,
    start: dict[str, NDArray[Any]],
    threads: int = 1,
    code: int = NO_CODE,
    effort: Effort = USUAL,
) -> Encoded:
    """Return the payload of a block with this code or none; mixing has learned from `start` on."""
    head = TokensHead(lanes_log2(len(data), effort.max_lanes), lines_log2(len(data), effort.max_lines_log2), code)
    known = _known_tokens(network, data, start, head)
    payload, bits = encoded(head, known.coded(network, code, threads), network.model.vocabulary.bits, len(data))
    return Encoded(payload, float(bits.sum()), bits, known.mixing)


def encoded(
    head: TokensHead, coded: Iterable[token_threads.Coded], bits: int, raw_bytes: int, first: int = 0
) -> tuple[bytes, NDArray[np.float64]]:
    """Return the payload of a block's tokens of `bits` decisions, and the surprisal of each part; its bytes begin at `first`."""
    encoder, costs = range_coder.new_encoder(), np.zeros(PARTS)
    for some in coded:
        encoder.add(some.decisions, some.p1)
        _add_part_bits(costs, some.places - first, range_coder.costs_bits(some.decisions, some.p1, bits), raw_bytes)
    return head.pack() + range_coder.words_to_bytes(encoder.words()), costs


class _Known(NamedTuple):
    """A block whose tokens are known, before it is coded."""

    data: NDArray[np.uint8]
    ids: NDArray[np.int32]  # N, the tokens, lane after lane
    first_ids: NDArray[np.int64]  # L + 1, where each lane's begin
    mixing: TokenMixing

    def coded(self, network: Network, code: int, threads: int) -> Iterator[token_threads.Coded]:
        return token_threads.encode(network, self.mixing, self.data, self.ids, self.first_ids, Begin(code), threads)


def _known_tokens(
    network: Network,
    data: bytes,
    start: dict[str, NDArray[Any]],
    head: TokensHead,
    lane_ids: list[NDArray[np.int32]] | None = None,
) -> _Known:
    starts = lane_starts(len(data), head.lanes)
    parts = lane_ids or [network.model.vocabulary.encode(data[low:high]) for low, high in pairwise(starts.tolist())]
    first_ids = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    mixing = new_mixing(len(data), starts, head.lines, start, *knowledge(network))
    return _Known(np.frombuffer(data, np.uint8).copy(), np.concatenate(parts), first_ids, mixing)


def _add_part_bits(totals: NDArray[np.float64], places: NDArray[np.int32], costs: NDArray[np.float64], raw_bytes: int) -> None:
    """Add what tokens cost, in bits, to the total of the part that each begins in.

    They are added one by one, so that the sums do not depend on how many are coded at a time.
    """
    np.add.at(totals, places // -(-raw_bytes // PARTS), costs)


class Predicted(NamedTuple):
    """The decisions of a block, and mixing when all are coded."""

    ids: NDArray[np.int32]  # N, the tokens, lane after lane
    first_ids: NDArray[np.int64]  # L + 1, where each lane's begin
    decisions: NDArray[np.uint8]  # N * bits, in the order of coding: step by step, in each the lanes in order
    p1: NDArray[np.uint16]  # the same, 1..65535
    mixing: TokenMixing

    @property
    def learned(self) -> dict[str, NDArray[Any]]:
        """What mixing has learned, as start values."""
        return learned_values(self.mixing)


def predict_tokens(
    network: Network,
    data: bytes,
    start: dict[str, NDArray[Any]],
    head: TokensHead,
    threads: int = 1,
    lane_ids: list[NDArray[np.int32]] | None = None,
) -> Predicted:
    """Return the decisions of a block (at least one byte) in the lanes of `head`, with the probabilities they are coded with.

    The network has the code of `head`. The tokens are those that the vocabulary takes, unless they are given, lane by lane.
    """
    known, bits = _known_tokens(network, data, start, head, lane_ids), network.model.vocabulary.bits
    decisions, p1 = collected(known.coded(network, head.code, threads), len(known.ids) * bits)
    return Predicted(known.ids, known.first_ids, decisions, p1, known.mixing)


def collected(coded: Iterable[token_threads.Coded], count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Return the `count` decisions of a block and p1 of each, both of shape (count,); 0 where its tokens end before its bytes."""
    decisions, p1, done = np.zeros(count, np.uint8), np.zeros(count, np.uint16), 0
    for some in coded:
        here = slice(done, done + len(some.p1))
        decisions[here], p1[here], done = some.decisions, some.p1, here.stop
    return decisions, p1


def decode_tokens(network: Network, payload: bytes, raw_bytes: int, threads: int = 1) -> bytes:
    """Return the raw bytes of a payload; raises FormatError when it does not hold exactly `raw_bytes`."""
    return decode_lanes(network, payload, raw_bytes, threads)[0]


def decode_lanes(network: Network, payload: bytes, raw_bytes: int, threads: int = 1) -> tuple[bytes, list[NDArray[np.int32]]]:
    """Return what `decode_tokens` does, and the tokens of each lane."""
    head, words, mixing = opened(network, payload, raw_bytes)
    data = decoded(network, mixing, words, Begin(head.code), threads)
    return data.tobytes(), tokens_of_lanes(mixing.memory.tokens, mixing.constants.starts)


def decoded(
    network: Network, mixing: TokenMixing, words: Words, begin: Begin, threads: int, first: NDArray[np.uint8] = NO_BYTES
) -> NDArray[np.uint8]:
    """Return the raw bytes that the words hold after the `first` ones, and those; raises FormatError if they hold other ones."""
    decoder = range_coder.first_state(words)
    data, wrong = token_threads.decode(network, mixing, words, decoder, begin, threads, first)
    if wrong == OVERFLOW:
        raise FormatError("A token of a block does not fit the bytes left of its lane; the file is altered.")
    range_coder.check_finished(decoder, words)
    return data


class Opened(NamedTuple):
    """A payload before its first token is decoded."""

    head: TokensHead
    words: Words
    mixing: TokenMixing


def opened(network: Network, payload: bytes, raw_bytes: int) -> Opened:
    """Return what a payload is decoded with; raises FormatError for what no sender writes."""
    head, entries = TokensHead.parse(payload), entry_count(network.model.sizes)
    if head.primer:
        raise FormatError("A block of tokens begins with a reference where there can be none; the file is altered.")
    if head.code > entries:
        raise FormatError(f"A block of tokens has the code {head.code}, but its model has {entries} codes; the file is altered.")
    words, starts = claimed_words(network, payload, raw_bytes), lane_starts(raw_bytes, head.lanes)
    return Opened(head, words, new_mixing(raw_bytes, starts, head.lines, model_start(network), *knowledge(network)))


def claimed_words(network: Network, payload: bytes, raw_bytes: int) -> Words:
    """Return the words of a payload; raises FormatError if they are too few for so many raw bytes."""
    words, vocabulary = range_coder.bytes_to_words(payload[TokensHead.SIZE :]), network.model.vocabulary
    range_coder.check_claim(words, -(-raw_bytes // int(np.diff(vocabulary.offsets).max())) * vocabulary.bits)
    return words
