"""A block as tokens: the network predicts, mixing sharpens, the range coder writes; L lanes advance in step.

Payload: log2 of the lanes, log2 of the mixing table's lines, flags (a byte each), then the coder's words: those of a code z,
if flag 0 says that there is one (`nncomp.code`), and of the tokens. Lane l holds the bytes from l * R // L to (l + 1) * R // L
of the R raw bytes. This is where network, mixing and coder meet; docs/FORMAT.md, "Token blocks". Knows nothing of files.
"""

# L lanes, N tokens of the block, R raw bytes

from __future__ import annotations

from itertools import pairwise
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp import coding, watch
from nncomp.code import NO_CODE, NO_PRIOR, Levels, code_bits, code_decisions, read_code
from nncomp.coding import decode_decision, is_spent
from nncomp.errors import FormatError
from nncomp.exact.batch import ROWS, node_probability, path_probabilities, sum_up, take_rows
from nncomp.exact.engine import PackedModel, feed, layer_weights, new_buffers, token_frequencies
from nncomp.exact.halves import halves
from nncomp.exact.outside import OutsideModel
from nncomp.kernels import compiled
from nncomp.mixing.token_model import TokenMixing, begin_token, end_token, learned_values, new_mixing, predict, update
from nncomp.tokens import Vocabulary
from nncomp.turns import FOREVER, pass_on, wait_for, yield_address

PARTS = 16  # of a block, whose surprisal is told
MAX_LANES_LOG2 = 4  # that a block may have
MOST_LANES = 4  # that are taken: with the products' tiles more are hardly quicker, and each costs bits
MAX_LINES_LOG2 = 20  # 64 MB of mixing table
_MIN_LINES_LOG2 = 8
_LANE_BYTES = 65_536  # a lane should have at least so many bytes: each one starts cold
_HEADER_BYTES = 3
_FLAG_CODE = 1  # a code comes before the tokens
_START = "mixing."  # prefix of the start values of mixing among a model's extra arrays
_TOKENS, _LEFT, _WRONG = range(3)  # fields of `_Shared.count`
_OVERFLOW, _SPENT, _FAILED = 1, 2, 3  # what may be wrong: a token does not fit its lane, words end early, a thread failed
_HALVED_BYTES = 4096  # of a lane from which on it pays to halve the network, and
_HALVED_WEIGHTS = 1 << 20  # of the network: what is smaller stays in the cache of one core
_MAX_THREADS = 2


def lanes_log2(raw_bytes: int, most: int = MOST_LANES) -> int:
    """Return log2 of the lanes for a block: as many, up to `most`, as leave each at least 64 KiB.

    >>> [1 << lanes_log2(n) for n in (1, 100_000, 152_089, 1 << 22)]
    [1, 1, 2, 4]
    """
    return max(0, min(most, raw_bytes // _LANE_BYTES).bit_length() - 1)


def lines_log2(raw_bytes: int) -> int:
    """Return log2 of the mixing table's lines (64 bytes each) for a block: about four a byte, 64 MB at most."""
    return max(_MIN_LINES_LOG2, min(MAX_LINES_LOG2, (4 * raw_bytes - 1).bit_length()))


def lane_starts(raw_bytes: int, lanes: int) -> NDArray[np.int64]:
    """Return where each lane begins, and the end, shape (L + 1,)."""
    return np.array([lane * raw_bytes // lanes for lane in range(lanes + 1)], dtype=np.int64)


class _Shared(NamedTuple):
    """What the threads of a block share; only the one whose turn it is may touch it."""

    data: Any  # R uint8, the raw bytes
    filled: Any  # L int64, bytes done of each lane
    before: Any  # L int32, the token before; when encoding the first one's
    ids: Any  # N, the tokens when encoding, lane after lane
    first_ids: Any  # L + 1 int64, where each lane's tokens begin
    words: Any  # uint32, the coder's words when decoding, else empty
    decoder: Any  # uint64, its state, at the first token
    decisions: Any  # N * bits uint8, filled when encoding, in the order of coding
    p1: Any  # the same, uint16
    network: Any  # the same, the network's p1 where that is known from outside, else empty
    count: Any  # int64: tokens so far, bytes left, what went wrong
    position: Any  # int64: bytes done, for whoever watches


@compiled
def _run(
    product: Any, packed: Any, a: Any, b: Any, m: Any, s: Any, offsets: Any, text: Any, first_lane: int,
    turn: Any, part: int, parts: int, give_core_away: Any, is_outside: bool,
) -> None:  # fmt: skip
    """Code the lanes from `first_lane` on. With several parts, each is run by a thread of its own: while one mixes and codes, in
    its turn, the others may run their network. So the order is that of one thread.

    When decoding, a turn is a step of the part's own lanes, as many as `b` has. When encoding, the parts share the lanes' states,
    and a turn is the next rows of the known tokens; the parts go through the network one behind the other, layer by layer.
    A network that is outside has been run: for all steps, and s.network is what it says, or for one, which is in `b`.
    A part beyond `parts` feeds the other half of the network, and nothing else."""
    decoding, rows, skipped = s.words.size > 0, b.rows.size, part
    groups, size = b.groups.shape[1], b.tokens.size
    group_bits, bits = 0, 0
    while 1 << group_bits < groups:
        group_bits += 1
    while 1 << bits < groups * size:
        bits += 1
    cumulative = np.zeros(max(groups, size) + 1, np.int64)
    walk, lanes_R, after_R = np.zeros(m.starts.size, np.int64), np.arange(rows), np.zeros(rows, np.int32)
    before_R = s.before[first_lane : first_lane + rows] if decoding else np.zeros(rows, np.int32)
    known_R = np.zeros((rows, bits), np.uint16)
    number = part
    while True:
        if not decoding:
            for _ in range(skipped + 1):  # those of the other parts, and its own
                rows = take_rows(s.ids, s.first_ids, walk, s.before[0], before_R, lanes_R, after_R)
            skipped = parts - 1
        has_ended = parts == 1 and (s.count[_LEFT] == 0 or s.count[_WRONG] != 0)
        if rows > 0 and not is_outside and not has_ended:
            turn_in_network = (number - part) // parts if decoding else number
            feed(product, packed, a, b, before_R[:rows], lanes_R, turn_in_network, give_core_away)
            for i in range(0 if decoding else rows):
                token_frequencies(product, packed, a, b, i, after_R[i] // size)
                path_probabilities(b.groups[i], b.tokens, after_R[i], cumulative, known_R[i])
        wait_for(turn, number, give_core_away)
        if part == 0:
            s.position[0] = s.data.size - s.count[_LEFT]
            if decoding and is_spent(s.decoder, s.words):  # once a step: altered bytes need not be decoded to the end
                s.count[_WRONG] = _SPENT
        if s.count[_LEFT] == 0 or s.count[_WRONG] or rows == 0:
            if part < parts:
                pass_on(turn, number + 1)
            return
        if part >= parts:
            number += 1
            continue
        for i in range(rows):
            lane = first_lane + lanes_R[i]
            here = s.filled[lane]
            room = m.starts[lane + 1] - m.starts[lane] - here
            if room == 0:
                continue
            lane_data = s.data[m.starts[lane] : m.starts[lane + 1]]
            token = np.int64(after_R[i])
            b1 = np.int64(lane_data[here - 1]) if here > 0 else np.int64(0)
            at = s.count[_TOKENS] * bits
            known = s.network[at : at + bits] if is_outside else known_R[i]
            begin_token(m, lane, lane_data, here)
            node, count, low = np.int64(1), groups, np.int64(0)
            for depth in range(bits):
                if decoding:
                    if depth == 0:
                        sum_up(b.groups[i], cumulative)
                    elif depth == group_bits:
                        token_frequencies(product, packed, a, b, i, node - groups)
                        sum_up(b.tokens, cumulative)
                        count, low = size, np.int64(0)
                    count >>= 1
                    middle = cumulative[low + count]
                    network = node_probability(middle - cumulative[low], cumulative[low + 2 * count] - middle)
                else:
                    network = np.int64(known[depth])
                p = predict(m, lane, bits, depth, node, network, b1)
                if decoding:
                    bit = np.int64(decode_decision(s.decoder, s.words, p))
                else:
                    bit = token >> (bits - 1 - depth) & 1
                    s.decisions[at + depth] = bit
                    s.p1[at + depth] = p
                update(m, lane, bit)
                low += count * bit
                node = node << 1 | bit
            token = node - (1 << bits)
            width = offsets[token + 1] - offsets[token]
            if width > room:
                s.count[_WRONG] = _OVERFLOW
                break
            if decoding:
                for k in range(width):
                    lane_data[here + k] = text[offsets[token] + k]
                before_R[i] = token
            end_token(m, lane, token, lane_data, here, width)
            s.filled[lane] += width
            s.count[_TOKENS] += 1
            s.count[_LEFT] -= width
        pass_on(turn, number + 1)
        number += parts
        if is_outside and decoding:
            return


class Encoded(NamedTuple):
    """A payload, its surprisal in bits, how many of them each part of the raw bytes took, and what mixing has learned."""

    payload: bytes
    cost_bits: float
    part_bits: NDArray[np.float64]  # (PARTS,), without those of a code
    learned: dict[str, NDArray[Any]]


def encode_tokens(
    model: PackedModel, data: bytes, threads: int = 1, code: Levels = NO_CODE, most_lanes: int = MOST_LANES
) -> Encoded:
    """Return the payload of a block (at least one byte); the same for any number of threads.

    A code that is given is sent if the payload is the smaller for it: both are made.
    """
    start = model_start(model)
    best = encode_and_learn(model, data, start, threads, NO_CODE, most_lanes)
    if len(code):
        told = encode_and_learn(model, data, start, threads, code, most_lanes)
        best = told if len(told.payload) < len(best.payload) else best
    return best


def model_start(model: PackedModel) -> dict[str, NDArray[Any]]:
    """Return the start values of mixing that a model brings along, or none."""
    return start_of(model.model.extra)


def start_of(extra: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the start values of mixing among a model's extra arrays."""
    return {name.removeprefix(_START): array for name, array in extra.items() if name.startswith(_START)}


def start_extra(values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return start values of mixing as the extra arrays of a model."""
    return {_START + name: array for name, array in values.items()}


def encode_and_learn(
    model: PackedModel,
    data: bytes,
    start: dict[str, NDArray[Any]],
    threads: int = 1,
    code: Levels = NO_CODE,
    most_lanes: int = MOST_LANES,
) -> Encoded:
    """Return what `encode_tokens` does with this code or none; mixing has learned from `start` on."""
    sizes = lanes_log2(len(data), most_lanes), lines_log2(len(data))
    p = predict_tokens(model, data, start, *sizes, threads, code=code)
    flags, decisions, p1 = 0, p.decisions, p.p1
    if len(code):
        flags, first = _FLAG_CODE, code_decisions(_prior(model), code)
        decisions, p1 = np.concatenate([first[0], decisions]), np.concatenate([first[1], p1])
    payload = bytes([*sizes, flags]) + coding.words_to_bytes(coding.encode(decisions, p1))
    part_bits = _part_bits(p, model.model.vocabulary, lane_starts(len(data), 1 << sizes[0]))
    return Encoded(payload, float(part_bits.sum()) + code_cost_bits(model, code), part_bits, p.learned)


def _part_bits(p: Predicted, vocabulary: Vocabulary, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the surprisal of each part of the block's bytes; a token is of the part it begins in. Shape (PARTS,)."""
    widths = np.diff(vocabulary.offsets)[p.ids]
    begins = np.cumsum(widths) - widths
    lanes = np.searchsorted(starts, begins, side="right") - 1
    steps = np.arange(len(lanes)) - np.searchsorted(lanes, lanes)  # of each token in its lane
    in_order = begins[np.lexsort((lanes, steps))]
    costs = coding.costs_bits(p.decisions, p.p1, vocabulary.bits)
    return np.bincount(in_order // -(-starts[-1] // PARTS), costs, PARTS).astype(np.float64)


def _prior(model: PackedModel) -> NDArray[np.uint16]:
    """Return the prior of a model's codes, shape (C, K - 1); of no dimensions if it has none."""
    code = model.model.code
    return np.array(code.p1) if code is not None else NO_PRIOR  # a copy, for compiled code is told that it may write


def code_cost_bits(model: PackedModel, code: Levels) -> float:
    """Return the bits of a code under the model's prior; none costs none."""
    return code_bits(_prior(model), code)


class Predicted(NamedTuple):
    """The decisions of a block, and what mixing has learned when all are coded."""

    ids: NDArray[np.int32]  # N, the tokens, lane after lane
    decisions: NDArray[np.uint8]  # N * bits, in the order of coding: step by step, in each the lanes in order
    p1: NDArray[np.uint16]  # the same, 1..65535
    learned: dict[str, NDArray[Any]]


def predict_tokens(
    model: PackedModel,
    data: bytes,
    start: dict[str, NDArray[Any]],
    lanes_bits: int,
    lines_bits: int,
    threads: int = 1,
    lane_ids: list[NDArray[np.int32]] | None = None,
    code: Levels = NO_CODE,
) -> Predicted:
    """Return the decisions of a block (at least one byte) in 2**lanes_bits lanes, with the probabilities they are coded with.

    Those of a code are not among them. The tokens are those that the vocabulary takes, unless they are given, lane by lane.
    """
    starts = lane_starts(len(data), 1 << lanes_bits)
    vocabulary = model.model.vocabulary
    parts = lane_ids or [vocabulary.encode(data[low:high]) for low, high in pairwise(starts.tolist())]
    ids = np.concatenate(parts)
    first_ids = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    decisions = np.zeros(len(ids) * vocabulary.bits, np.uint8)
    p1 = np.zeros(len(decisions), np.uint16)
    mixing = new_mixing(len(data), starts, 1 << lines_bits, start)
    raw, nothing = np.frombuffer(data, np.uint8).copy(), np.zeros(0, np.uint32)
    _code(model, mixing, raw, ids, first_ids, nothing, np.zeros(5, np.uint64), decisions, p1, threads, code)
    return Predicted(ids, decisions, p1, learned_values(mixing))


def decode_tokens(model: PackedModel, payload: bytes, raw_bytes: int, threads: int = 1) -> bytes:
    """Return the raw bytes of a payload; raises FormatError when it does not hold exactly `raw_bytes`."""
    return decode_lanes(model, payload, raw_bytes, threads)[0]


def decode_lanes(
    model: PackedModel, payload: bytes, raw_bytes: int, threads: int = 1
) -> tuple[bytes, list[NDArray[np.int32]], Levels]:
    """Return what `decode_tokens` does, the tokens of each lane, and the code."""
    if len(payload) < _HEADER_BYTES + 4:
        raise FormatError("A block of tokens is too short for its header; the file is truncated or altered.")
    lanes_bits, lines_bits, flags = payload[:_HEADER_BYTES]
    if flags & ~_FLAG_CODE:
        raise FormatError(f"A block of tokens has the flags {flags:#x}, which this nncomp does not know; use a newer one.")
    prior = _prior(model)
    if flags & _FLAG_CODE and not len(prior):
        raise FormatError(f"A block of tokens has a code (flags {flags:#x}), but its model knows none; the file is altered.")
    if lanes_bits > MAX_LANES_LOG2 or not _MIN_LINES_LOG2 <= lines_bits <= MAX_LINES_LOG2:
        raise FormatError(
            f"A block of tokens asks for 2**{lanes_bits} lanes and 2**{lines_bits} lines of mixing table; "
            f"at most 2**{MAX_LANES_LOG2} and 2**{MAX_LINES_LOG2} are allowed. The file is altered."
        )
    words = coding.bytes_to_words(payload[_HEADER_BYTES:])
    vocabulary = model.model.vocabulary
    coding.check_claim(words, -(-raw_bytes // int(np.diff(vocabulary.offsets).max())) * vocabulary.bits)
    mixing = new_mixing(raw_bytes, lane_starts(raw_bytes, 1 << lanes_bits), 1 << lines_bits, model_start(model))
    decoder, data = coding.first_state(words), np.zeros(raw_bytes, np.uint8)
    code = np.zeros(len(prior) if flags & _FLAG_CODE else 0, np.int64)
    if len(code):
        read_code(decoder, words, prior, code)
    no_ids, no_first = np.zeros(0, np.int32), np.zeros(0, np.int64)
    empty, no_p1 = np.zeros(0, np.uint8), np.zeros(0, np.uint16)
    if _code(model, mixing, data, no_ids, no_first, words, decoder, empty, no_p1, threads, code) == _OVERFLOW:
        raise FormatError("A token of a block does not fit the bytes left of its lane; the file is altered.")
    coding.check_finished(decoder, words)
    places = zip(mixing.starts.tolist(), mixing.counts.tolist(), strict=False)
    return data.tobytes(), [mixing.history[first + 1 : first + 1 + count].copy() for first, count in places], code


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
    threads: int,
    code: Levels,
) -> int:
    """Run the loop over all lanes in up to two threads; return what is wrong, 0 for nothing."""
    vocabulary, lanes = model.model.vocabulary, len(mixing.starts) - 1
    outside = model if isinstance(model, OutsideModel) else None
    rows = min(ROWS, len(ids))  # 0 when decoding
    parts = 1 if outside else min(threads, -(-len(ids) // ROWS) or lanes, _MAX_THREADS)
    before = np.full(lanes, model.model.sizes["start_token"], np.int32)
    count, turn = np.array([0, data.size, 0]), np.zeros(1, np.int64)
    network = outside.probabilities(ids, first_ids, code) if outside and len(ids) else np.zeros(0, np.uint16)
    shared = _Shared(
        data, np.zeros(lanes, np.int64), before, ids, first_ids, words, decoder, decisions, p1, network, count, watch.position()
    )

    # All of it before a thread starts: one that failed here would be waited for without end.
    networks = [(model.packed, model.arrays)] * parts
    may_halve = not outside and not rows and lanes == 1 < threads and data.size >= _HALVED_BYTES
    is_large = sum(weight.size for weight in layer_weights(model.arrays)) >= _HALVED_WEIGHTS
    both = halves(model, code) if may_halve and is_large else []
    if rows:
        firsts = [0] * parts
        buffers = [new_buffers(model.model, lanes, code, rows) for _ in range(parts)]
        buffers = [b._replace(h=buffers[0].h, before=buffers[0].before, turns=buffers[0].turns) for b in buffers]
    elif both:
        firsts, networks, buffers = [0, 0], [(half.packed, half.arrays) for half in both], [half.buffers for half in both]
    else:
        firsts = [lanes * part // parts for part in range(parts + 1)]
        buffers = [new_buffers(model.model, last - first, code) for first, last in pairwise(firsts)]
    errors = list[BaseException]()

    def run(part: int) -> None:
        try:
            _run(
                model.product, *networks[part], buffers[part], mixing, shared, vocabulary.offsets, vocabulary.text,
                firsts[part], turn, part, parts, np.uint64(yield_address()), outside is not None,
            )  # fmt: skip
        except BaseException as error:  # the other thread must not wait for this one
            errors.append(error)
            count[_WRONG] = _FAILED
            for waited_for in (turn, buffers[part].turns, buffers[part].met[part : part + 1]):
                waited_for.fill(FOREVER)

    if outside and not len(network):
        engine, is_last = outside.start(lanes, code), False
        while not is_last:
            is_last = not count[_LEFT] or bool(count[_WRONG])  # once more, as the loop does on its own
            if not is_last:
                buffers[0].groups[:], buffers[0].hidden[:] = engine.step(before), engine.hidden
            turn[0] = 0
            run(0)
            if errors:
                raise errors[0]
        return int(count[_WRONG])
    others = [Thread(target=run, args=(part,), daemon=True) for part in range(1, len(buffers))]
    for thread in others:
        thread.start()
    run(0)
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
    return int(count[_WRONG])
