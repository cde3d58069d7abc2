"""A block as tokens: the network predicts, mixing sharpens, the range coder writes; L lanes advance in step.

The payload is a head (`TokensHead`), which has the code, and the coder's words. Lane l holds the bytes from l * R // L to
(l + 1) * R // L of the R raw bytes. Network, mixing and coder meet here; docs/FORMAT.md, "Token blocks". Knows nothing of files.
"""

# L lanes, N tokens of the block, R raw bytes

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp import range_coder
from nncomp.blocks import token_threads
from nncomp.blocks.levels import USUAL, Effort, lines_log2
from nncomp.blocks.token_loop import OVERFLOW
from nncomp.blocks.token_threads import Begin
from nncomp.errors import FormatError
from nncomp.format.payloads import TokensHead
from nncomp.mixing.token_contexts import tokens_of_lanes
from nncomp.mixing.token_predictor import learned_values, new_mixing
from nncomp.network.choice import likely_codes
from nncomp.network.code import NO_CODE, entry_count
from nncomp.network.engine import Network
from nncomp.network.vocabulary import Vocabulary

PARTS = 16  # of a block, whose surprisal is told
_LANE_BYTES = 65_536  # a lane should have at least so many bytes: each one starts cold
_TRIED_BYTES, _TRIED_CODES = 1 << 14, 2  # of a block this short, so many codes are tried in full
_CHUNK = 1 << 18  # tokens looked at together for their costs
_START = "mixing."  # prefix of the start values of mixing among a model's extra arrays


def lanes_log2(raw_bytes: int, most: int = USUAL.max_lanes) -> int:
    """Return log2 of the lanes for a block: as many, up to `most`, as leave each at least 64 KiB.

    >>> [1 << lanes_log2(n) for n in (1, 100_000, 152_089, 1 << 22)]
    [1, 1, 2, 4]
    """
    return max(0, min(most, raw_bytes // _LANE_BYTES).bit_length() - 1)


def lane_starts(raw_bytes: int, lanes: int) -> NDArray[np.int64]:
    """Return where each lane begins, and the end, shape (L + 1,)."""
    return np.array([lane * raw_bytes // lanes for lane in range(lanes + 1)], dtype=np.int64)


class Encoded(NamedTuple):
    """A payload, its surprisal in bits, how many of them each part of the raw bytes took, and what mixing has learned."""

    payload: bytes
    cost_bits: float
    part_bits: NDArray[np.float64]  # (PARTS,)
    learned: dict[str, NDArray[Any]]


def encode_tokens(network: Network, data: bytes, threads: int = 1, effort: Effort = USUAL) -> Encoded:
    """Return the payload of a block (at least one byte); the same for any number of threads.

    Of a short block payloads without a code and with likely codes are made, and the smallest is returned. A longer block has no
    code: what it adds to the input of each token is for the beginning of a text, and costs 0.04 to 0.33 % of 100 KB.
    """
    start, codes = model_start(network), [NO_CODE]
    if len(data) <= _TRIED_BYTES:
        codes += [choice.code for choice in likely_codes(network, data)[:_TRIED_CODES]]
    found = [encode_and_learn(network, data, start, threads, code, effort) for code in codes]
    return min(found, key=lambda each: (len(each.payload), each.cost_bits))


def model_start(network: Network) -> dict[str, NDArray[Any]]:
    """Return the start values of mixing of a model, unchecked."""
    return start_of(network.model.extra)


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
    p = predict_tokens(network, data, start, head, threads)
    payload = head.pack() + range_coder.words_to_bytes(range_coder.encode(p.decisions, p.p1))
    bits = part_bits(p, network.model.vocabulary, lane_starts(len(data), head.lanes))
    return Encoded(payload, float(bits.sum()), bits, p.learned)


def part_bits(p: Predicted, vocabulary: Vocabulary, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the surprisal of each part of the block's bytes; a token is of the part it begins in. Shape (PARTS,)."""
    costs = range_coder.costs_bits(p.decisions, p.p1, vocabulary.bits)  # in the order of coding: step by step, in each the lanes
    sizes, counts, part_bytes = np.diff(vocabulary.offsets), np.diff(p.first_ids), -(-starts[-1] // PARTS)
    bits = np.zeros(PARTS)
    for lane, count in enumerate(counts.tolist()):
        begin = int(starts[lane])
        for low in range(0, count, _CHUNK):  # a block may have millions of tokens
            steps = np.arange(low, min(low + _CHUNK, count))
            before = sum((np.minimum(steps, each) for each in counts), np.zeros_like(steps))  # coded in earlier steps
            before += sum((each > steps for each in counts[:lane]), np.zeros_like(steps))
            widths = sizes[p.ids[p.first_ids[lane] + steps]]
            ends = begin + np.cumsum(widths)
            bits += np.bincount((ends - widths) // part_bytes, costs[before], PARTS)
            begin = int(ends[-1])
    return bits


class Predicted(NamedTuple):
    """The decisions of a block, and what mixing has learned when all are coded."""

    ids: NDArray[np.int32]  # N, the tokens, lane after lane
    first_ids: NDArray[np.int64]  # L + 1, where each lane's begin
    decisions: NDArray[np.uint8]  # N * bits, in the order of coding: step by step, in each the lanes in order
    p1: NDArray[np.uint16]  # the same, 1..65535
    learned: dict[str, NDArray[Any]]


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
    starts = lane_starts(len(data), head.lanes)
    vocabulary = network.model.vocabulary
    parts = lane_ids or [vocabulary.encode(data[low:high]) for low, high in pairwise(starts.tolist())]
    ids = np.concatenate(parts)
    first_ids = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    mixing = new_mixing(len(data), starts, head.lines, start)
    raw = np.frombuffer(data, np.uint8).copy()
    decisions, p1 = token_threads.encode(network, mixing, raw, ids, first_ids, Begin(head.code), threads)
    return Predicted(ids, first_ids, decisions, p1, learned_values(mixing))


def decode_tokens(network: Network, payload: bytes, raw_bytes: int, threads: int = 1) -> bytes:
    """Return the raw bytes of a payload; raises FormatError when it does not hold exactly `raw_bytes`."""
    return decode_lanes(network, payload, raw_bytes, threads)[0]


def decode_lanes(network: Network, payload: bytes, raw_bytes: int, threads: int = 1) -> tuple[bytes, list[NDArray[np.int32]]]:
    """Return what `decode_tokens` does, and the tokens of each lane."""
    head, entries = TokensHead.parse(payload), entry_count(network.model.sizes)
    if head.primer:
        raise FormatError("A block of tokens begins with a reference where there can be none; the file is altered.")
    if head.code > entries:
        raise FormatError(f"A block of tokens has the code {head.code}, but its model has {entries} codes; the file is altered.")
    words = range_coder.bytes_to_words(payload[TokensHead.SIZE :])
    vocabulary = network.model.vocabulary
    range_coder.check_claim(words, -(-raw_bytes // int(np.diff(vocabulary.offsets).max())) * vocabulary.bits)
    mixing = new_mixing(raw_bytes, lane_starts(raw_bytes, head.lanes), head.lines, model_start(network))
    decoder = range_coder.first_state(words)
    data, wrong = token_threads.decode(network, mixing, words, decoder, Begin(head.code), threads)
    if wrong == OVERFLOW:
        raise FormatError("A token of a block does not fit the bytes left of its lane; the file is altered.")
    range_coder.check_finished(decoder, words)
    return data.tobytes(), tokens_of_lanes(mixing.memory.tokens, mixing.constants.starts)
