"""A block as tokens: the network predicts, mixing sharpens, the range coder writes; L lanes advance in step.

Payload: log2 of the lanes, log2 of the mixing table's lines, flags (a byte each; flags are reserved for the encoder's
code and are 0), then the coder's words. Lane l holds the bytes from l * R // L to (l + 1) * R // L of the R raw bytes.
This is where network, mixing and coder meet; docs/FORMAT.md, "Token blocks". Knows nothing of files.
"""

# L lanes, N tokens of the block, R raw bytes

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp import coding, watch
from nncomp.coding import decode_decision, is_spent, start_decoder
from nncomp.errors import FormatError
from nncomp.exact.engine import PackedModel, new_buffers, step, token_frequencies
from nncomp.kernels import compiled, inlined
from nncomp.mixing.token_model import TokenMixing, begin_token, end_token, learned_values, new_mixing, predict, update

MAX_LANES_LOG2 = 4
MAX_LINES_LOG2 = 20  # 64 MB of mixing table
_MIN_LINES_LOG2 = 8
_LANE_BYTES = 16_384  # a lane should have at least so many bytes: each one starts cold
_HEADER_BYTES = 3
_START = "mixing."  # prefix of the start values of mixing among a model's extra arrays
_OVERFLOW, _SPENT = 1, 2  # what the compiled loop returns for a token that does not fit its lane, and for words that end early


def lanes_log2(raw_bytes: int) -> int:
    """Return log2 of the lanes for a block: the most, up to 16, that leave each at least 16 KiB.

    >>> [1 << lanes_log2(n) for n in (1, 40_000, 152_089, 1 << 22)]
    [1, 2, 8, 16]
    """
    return max(0, min(MAX_LANES_LOG2, (raw_bytes // _LANE_BYTES).bit_length() - 1))


def lines_log2(raw_bytes: int) -> int:
    """Return log2 of the mixing table's lines (64 bytes each) for a block: about four a byte, 64 MB at most."""
    return max(_MIN_LINES_LOG2, min(MAX_LINES_LOG2, (4 * raw_bytes - 1).bit_length()))


def lane_starts(raw_bytes: int, lanes: int) -> NDArray[np.int64]:
    """Return where each lane begins, and the end, shape (L + 1,)."""
    return np.array([lane * raw_bytes // lanes for lane in range(lanes + 1)], dtype=np.int64)


@inlined
def node_probability(zeros: int, ones: int) -> int:
    """Return p1 (1..65535) of a node whose halves have these frequencies; zeros + ones < 2**32."""
    total = zeros + ones
    return min(max(((ones << 16) + (total >> 1)) // total, 1), 65535)


@compiled
def _run(
    product: Any, packed: Any, a: Any, b: Any, m: Any, data: Any, offsets: Any, text: Any, start_token: int,
    ids: Any, first_ids: Any, words: Any, decoder: Any, decisions: Any, p1: Any, position: Any,
) -> int:  # fmt: skip
    """Code all lanes. Encoding (`words` is empty): the tokens are `ids`, lane l's from first_ids[l] on; fill `decisions`
    and `p1`. Decoding: fill `data`; return _OVERFLOW or _SPENT when that fails. `position` shows how far it is."""
    lanes = m.starts.size - 1
    decoding = words.size > 0
    groups, size = b.groups.shape[1], b.tokens.size
    group_bits, bits = 0, 0
    while 1 << group_bits < groups:
        group_bits += 1
    while 1 << bits < groups * size:
        bits += 1
    cumulative = np.zeros(max(groups, size) + 1, np.int64)
    filled = np.zeros(lanes, np.int64)
    before = np.full(lanes, start_token, np.int32)
    if decoding:
        start_decoder(decoder, words)
    left, at = data.size, 0
    while left > 0:
        position[0] = data.size - left
        if decoding and is_spent(decoder, words):  # once a step: altered bytes need not be decoded to the end
            return _SPENT
        step(product, packed, a, b, before)
        for lane in range(lanes):
            room = m.starts[lane + 1] - m.starts[lane] - filled[lane]
            if room == 0:
                continue
            lane_data = data[m.starts[lane] : m.starts[lane + 1]]
            here = filled[lane]
            token = np.int64(0) if decoding else np.int64(ids[first_ids[lane] + m.counts[lane]])
            b1 = np.int64(lane_data[here - 1]) if here > 0 else np.int64(0)
            begin_token(m, lane, lane_data, here)
            node = np.int64(1)
            for depth in range(bits):
                if depth == 0:
                    count, low = groups, np.int64(0)
                    cumulative[0] = 0
                    for i in range(groups):
                        cumulative[i + 1] = cumulative[i] + b.groups[lane, i]
                elif depth == group_bits:
                    token_frequencies(product, packed, a, b, lane, node - groups)
                    count, low = size, np.int64(0)
                    for i in range(size):
                        cumulative[i + 1] = cumulative[i] + b.tokens[i]
                count >>= 1
                middle = cumulative[low + count]
                network = node_probability(middle - cumulative[low], cumulative[low + 2 * count] - middle)
                p = predict(m, lane, bits, depth, node, network, b1)
                if decoding:
                    bit = np.int64(decode_decision(decoder, words, p))
                else:
                    bit = token >> (bits - 1 - depth) & 1
                    decisions[at] = bit
                    p1[at] = p
                    at += 1
                update(m, lane, bit)
                low += count * bit
                node = node << 1 | bit
            token = node - (1 << bits)
            width = offsets[token + 1] - offsets[token]
            if width > room:
                return _OVERFLOW
            if decoding:
                for i in range(width):
                    lane_data[here + i] = text[offsets[token] + i]
            end_token(m, lane, token, lane_data, here, width)
            before[lane] = token
            filled[lane] += width
            left -= width
    return 0


def encode_tokens(model: PackedModel, data: bytes) -> tuple[bytes, float]:
    """Return the payload of a block (at least one byte) and its surprisal in bits."""
    payload, cost_bits, _ = encode_and_learn(model, data, model_start(model))
    return payload, cost_bits


def model_start(model: PackedModel) -> dict[str, NDArray[Any]]:
    """Return the start values of mixing that a model brings along, or none."""
    return {name.removeprefix(_START): array for name, array in model.model.extra.items() if name.startswith(_START)}


def start_extra(values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return start values of mixing as the extra arrays of a model."""
    return {_START + name: array for name, array in values.items()}


def encode_and_learn(
    model: PackedModel, data: bytes, start: dict[str, NDArray[Any]]
) -> tuple[bytes, float, dict[str, NDArray[Any]]]:
    """Return what `encode_tokens` does, and what mixing has learned from `start` on."""
    lanes_bits, lines_bits = lanes_log2(len(data)), lines_log2(len(data))
    starts = lane_starts(len(data), 1 << lanes_bits)
    vocabulary = model.model.vocabulary
    parts = [vocabulary.encode(data[low:high]) for low, high in pairwise(starts.tolist())]
    ids = np.concatenate(parts)
    first_ids = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    decisions = np.zeros(len(ids) * vocabulary.bits, np.uint8)
    p1 = np.zeros(len(decisions), np.uint16)
    mixing = new_mixing(len(data), starts, 1 << lines_bits, start)
    raw, nothing = np.frombuffer(data, np.uint8).copy(), np.zeros(0, np.uint32)
    _code(model, mixing, raw, ids, first_ids, nothing, np.zeros(5, np.uint64), decisions, p1)
    words = coding.encode(decisions, p1)
    payload = bytes([lanes_bits, lines_bits, 0]) + coding.words_to_bytes(words)
    return payload, coding.cost_bits(decisions, p1), learned_values(mixing)


def decode_tokens(model: PackedModel, payload: bytes, raw_bytes: int) -> bytes:
    """Return the raw bytes of a payload; raises FormatError when it does not hold exactly `raw_bytes`."""
    if len(payload) < _HEADER_BYTES + 4:
        raise FormatError("A block of tokens is too short for its header; the file is truncated or altered.")
    lanes_bits, lines_bits, flags = payload[:_HEADER_BYTES]
    if flags:
        raise FormatError(f"A block of tokens has the flags {flags:#x}, which this nncomp does not know; use a newer one.")
    if lanes_bits > MAX_LANES_LOG2 or not _MIN_LINES_LOG2 <= lines_bits <= MAX_LINES_LOG2:
        raise FormatError(
            f"A block of tokens asks for 2**{lanes_bits} lanes and 2**{lines_bits} lines of mixing table; "
            f"at most 2**{MAX_LANES_LOG2} and 2**{MAX_LINES_LOG2} are allowed. The file is altered."
        )
    words = coding.bytes_to_words(payload[_HEADER_BYTES:])
    mixing = new_mixing(raw_bytes, lane_starts(raw_bytes, 1 << lanes_bits), 1 << lines_bits, model_start(model))
    decoder, data = np.zeros(5, np.uint64), np.zeros(raw_bytes, np.uint8)
    no_ids, no_first = np.zeros(0, np.int32), np.zeros(0, np.int64)
    empty, no_p1 = np.zeros(0, np.uint8), np.zeros(0, np.uint16)
    if _code(model, mixing, data, no_ids, no_first, words, decoder, empty, no_p1) == _OVERFLOW:
        raise FormatError("A token of a block does not fit the bytes left of its lane; the file is altered.")
    coding.check_finished(decoder, words)
    return data.tobytes()


def _code(
    model: PackedModel,
    mixing: TokenMixing,
    data: Any,
    ids: Any,
    first_ids: Any,
    words: Any,
    decoder: Any,
    decisions: Any,
    p1: Any,
) -> int:
    vocabulary, start_token = model.model.vocabulary, model.model.sizes["start_token"]
    buffers = new_buffers(model.model, len(mixing.starts) - 1)
    result: int = _run(
        model.product, model.packed, model.arrays, buffers, mixing, data, vocabulary.offsets, vocabulary.text,
        start_token, ids, first_ids, words, decoder, decisions, p1, watch.position(),
    )  # fmt: skip
    return result
