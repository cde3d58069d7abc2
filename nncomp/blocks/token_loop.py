"""The compiled loop over a block's tokens: the network predicts, mixing sharpens, the range coder codes; lanes advance in step.

Encoding and decoding are one loop, for one thread or for each of several, that take turns. Knows nothing of payloads.
"""

# L lanes, N tokens of the block, R raw bytes

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nncomp.machine.kernels import compiled
from nncomp.machine.turns import pass_on, wait_for
from nncomp.mixing.token_predictor import begin_token, end_token, fetch, predict, update
from nncomp.network.engine import feed, token_frequencies
from nncomp.network.known_tokens import node_probability, path_probabilities, sum_up, take_rows
from nncomp.range_coder import decode_decision, is_spent

TOKENS, LEFT, WRONG, STEPS = range(4)  # fields of `Shared.count`
OVERFLOW, SPENT, FAILED = 1, 2, 3  # what may be wrong: a token does not fit its lane, words end early, a thread failed


class Shared(NamedTuple):
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
    count: Any  # int64: tokens so far, bytes left, what went wrong, after how many steps a call ends when decoding
    position: Any  # int64: bytes done, for whoever watches


@compiled
def run(
    product: Any, packed: Any, a: Any, b: Any, m: Any, s: Any, offsets: Any, text: Any, first_lane: int,
    turn: Any, part: int, parts: int, give_core_away: Any, is_outside: bool,
) -> None:  # fmt: skip
    """Code the lanes from `first_lane` on. With several parts, each is run by a thread of its own: while one mixes and codes, in
    its turn, the others may run their network. So the order is that of one thread.

    When decoding, a turn is a step of the part's own lanes, as many as `b` has. When encoding, the parts share the lanes' states,
    and a turn is the next rows of the known tokens; the parts go through the network one behind the other, layer by layer.
    A network that is outside has been run: for all steps, and s.network is what it says, or for one, which is in `b`.
    A part beyond `parts` feeds the other half of the network, and nothing else.
    When decoding, a call ends after s.count[STEPS] steps; what follows may be run by another number of threads."""
    decoding, rows, skipped = s.words.size > 0, b.rows.size, part
    groups, size = b.groups.shape[1], b.tokens.size
    group_bits, bits = 0, 0
    while 1 << group_bits < groups:
        group_bits += 1
    while 1 << bits < groups * size:
        bits += 1
    starts = m.constants.starts
    cumulative = np.zeros(max(groups, size) + 1, np.int64)
    walk, lanes_R, after_R = np.zeros(starts.size, np.int64), np.arange(rows), np.zeros(rows, np.int32)
    before_R = s.before[first_lane : first_lane + rows] if decoding else np.zeros(rows, np.int32)
    known_R = np.zeros((rows, bits), np.uint16)
    number = part
    while True:
        if not decoding:
            for _ in range(skipped + 1):  # those of the other parts, and its own
                rows = take_rows(s.ids, s.first_ids, walk, s.before[0], before_R, lanes_R, after_R)
            skipped = parts - 1
        elif (number - part) // parts >= s.count[STEPS]:
            return
        has_ended = parts == 1 and (s.count[LEFT] == 0 or s.count[WRONG] != 0)
        if rows > 0 and not is_outside and not has_ended:
            turn_in_network = (number - part) // parts if decoding else number
            feed(product, packed, a, b, before_R[:rows], lanes_R, turn_in_network, give_core_away)
            for i in range(0 if decoding else rows):
                token_frequencies(product, packed, a, b, i, after_R[i] // size)
                path_probabilities(b.groups[i], b.tokens, after_R[i], cumulative, known_R[i])
        wait_for(turn, number, give_core_away)
        if part == 0:
            s.position[0] = s.data.size - s.count[LEFT]
            if decoding and is_spent(s.decoder, s.words):  # once a step: altered bytes need not be decoded to the end
                s.count[WRONG] = SPENT
        if s.count[LEFT] == 0 or s.count[WRONG] or rows == 0:
            if part < parts:
                pass_on(turn, number + 1)
            return
        if part >= parts:
            number += 1
            continue
        for i in range(rows):
            lane = first_lane + lanes_R[i]
            here = s.filled[lane]
            room = starts[lane + 1] - starts[lane] - here
            if room == 0:
                continue
            lane_data = s.data[starts[lane] : starts[lane + 1]]
            token = np.int64(after_R[i])
            b1 = np.int64(lane_data[here - 1]) if here > 0 else np.int64(0)
            at = s.count[TOKENS] * bits
            known = s.network[at : at + bits] if is_outside else known_R[i]
            begin_token(m, lane, lane_data, here)
            node, count, low = np.int64(1), groups, np.int64(0)
            fetch(m, np.int64(0), node, b1)
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
                node = node << 1 | bit
                if depth + 1 < bits:
                    fetch(m, depth + 1, node, b1)
                update(m, lane, bit)
                low += count * bit
            token = node - (1 << bits)
            width = offsets[token + 1] - offsets[token]
            if width > room:
                s.count[WRONG] = OVERFLOW
                break
            if decoding:
                for k in range(width):
                    lane_data[here + k] = text[offsets[token] + k]
                before_R[i] = token
            end_token(m, lane, token, lane_data, here, width)
            s.filled[lane] += width
            s.count[TOKENS] += 1
            s.count[LEFT] -= width
        pass_on(turn, number + 1)
        number += parts
