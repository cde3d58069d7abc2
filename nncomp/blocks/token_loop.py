"""The compiled loop over the tokens of a block: the network predicts, mixing sharpens, the range coder codes; lanes in step.

Encoding and decoding are one loop. One thread runs it, or two. Knows nothing of payloads.
"""

# L lanes, N tokens of the block, R rows fed at once

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nncomp.machine.bits import lowest_bit
from nncomp.machine.kernels import compiled, inlined
from nncomp.machine.turns import pass_on, wait_for
from nncomp.mixing.arithmetic import HALF
from nncomp.mixing.token_predictor import begin_token, end_token, fetch, foresee, predict, prepare_token, told_by_second, update
from nncomp.network.decisions import path_probabilities, span_p1, sum_up
from nncomp.network.engine import copy_rows, feed, feed_here, token_frequencies
from nncomp.network.state import stage_count
from nncomp.range_coder import decode_decision, is_spent

TOKENS, LEFT, WRONG = range(3)  # places in `Shared.count`
OVERFLOW, SPENT, FAILED = 1, 2, 3  # what may be wrong: a token does not fit its lane, the words end early, a thread failed


class Shared(NamedTuple):
    """What the threads of a block share. The thread that mixes writes it; the other one reads what is done."""

    data: Any  # uint8, the raw bytes of the block
    filled: Any  # L int64, bytes done of each lane
    before: Any  # L int32, the token before; when encoding, the token before the first
    ids: Any  # N int32, the tokens, lane after lane; empty when decoding
    first_ids: Any  # L + 1 int64, where the tokens of each lane begin
    words: Any  # uint32, the coder's words; empty when encoding
    decoder: Any  # uint64, the decoder's state at the first token
    decisions: Any  # uint8, filled when encoding: those of the tokens of one call, in the order of coding
    p1: Any  # uint16, filled when encoding: the probability of each decision
    places: Any  # int32, filled when encoding: where in the block each token begins
    network_p1: Any  # N * bits uint16, the network's p1 when an outside network encodes; else empty
    second_p1: Any  # likewise of the second network
    offsets: Any  # V + 1 int64, where the bytes of each token begin in `text`
    text: Any  # uint8, the bytes of all tokens of the vocabulary
    is_outside: Any  # bool, whether the network runs outside of this loop
    count: Any  # 3 int64: tokens so far (when encoding: of one call), bytes left, what is wrong
    position: Any  # 1 int64: bytes done, for whoever watches


class Fed(NamedTuple):
    """A network, or a part of one, as one thread feeds it."""

    constants: Any  # `engine.Constants`
    state: Any  # of its lanes
    scratch: Any
    exchange: Any  # with the other thread


class Turns(NamedTuple):
    """How one thread keeps step with the other. A turn is a feed of rows and their coding."""

    turn: Any  # 1 int64: how many turns are done
    mixes: Any  # bool: whether the thread mixes and codes; a thread that does not feeds its part of the network and nothing else
    ahead: int  # a thread that only feeds begins a turn when the turn so many before is done; so many groups of lanes are decoded
    span: Any  # 2 int64: the first turn of this call, and the one after its last
    give_core_away: Any  # uint64, the address of the function that a waiting thread calls


class Rows(NamedTuple):
    """Scratch of one thread for the rows at hand."""

    cumulative: Any  # 2 (max(G, S) + 1) int64, for each network
    walk: Any  # L + 1 int64: see `take_rows`, zeros at first
    lanes: Any  # R int64
    before: Any  # R int32, the token before
    after: Any  # R int32, the token itself if it is known
    known: Any  # 2 R bits uint16, each network's p1 of known tokens


def new_rows(lanes: int, rows: int, groups: int, size: int) -> Rows:
    """Return scratch for R rows of a block of L lanes, for G groups of S tokens."""
    i32, i64, bits = np.int32, np.int64, (groups * size).bit_length() - 1
    return Rows(
        cumulative=np.zeros((2, max(groups, size) + 1), i64),
        walk=np.zeros(lanes + 1, i64),
        lanes=np.zeros(rows, i64),
        before=np.zeros(rows, i32),
        after=np.zeros(rows, i32),
        known=np.zeros((2, rows, bits), np.uint16),
    )


@inlined
def take_rows(ids: Any, first_ids: Any, walk: Any, start_token: int, before_R: Any, lanes_R: Any, after_R: Any) -> int:
    """Take the next rows of known tokens in the order of coding, R or as many as are left; return how many.

    Row i gets its lane, its token (`after_R`) and the token before it. Lane l has the tokens `ids` from first_ids[l] on. `walk`
    (int64, zeros at first) keeps how many tokens of each lane are taken, and then which lane is next.
    """
    lanes, rows, ended = first_ids.size - 1, 0, 0
    lane = walk[lanes]
    while rows < lanes_R.size and ended < lanes:
        at = first_ids[lane] + walk[lane]
        if at < first_ids[lane + 1]:
            before_R[rows] = ids[at - 1] if walk[lane] > 0 else start_token
            lanes_R[rows] = lane
            after_R[rows] = ids[at]
            walk[lane] += 1
            rows += 1
            ended = 0
        else:
            ended += 1
        lane = lane + 1 if lane + 1 < lanes else 0
    walk[lanes] = lane
    return rows


@inlined
def _lanes_at_work(s: Any, starts: Any, first: int, count: int, lanes_R: Any, before_R: Any) -> int:
    """Set the lanes from `first` on, so many, that are not decoded yet, and the last token of each; return how many they are.

    An outside network has a row for each lane, so there all of them count.
    """
    rows = 0
    for lane in range(first, first + count):
        if s.is_outside or s.filled[lane] < starts[lane + 1] - starts[lane]:
            lanes_R[rows] = lane
            before_R[rows] = s.before[lane]
            rows += 1
    return rows


@inlined
def _predict_known(constants: Any, scratch: Any, after_R: Any, cumulative: Any, known_R: Any) -> None:
    """Set `known_R` (R bits, uint16) to the network's p1 of known tokens, from the rows that were fed."""
    for i in range(after_R.size):
        token_frequencies(constants, scratch, i, after_R[i] // scratch.tokens.size)
        path_probabilities(scratch.groups[i], scratch.tokens, after_R[i], cumulative, known_R[i])


@inlined
def _feed(n: Any, t: Any, before_R: Any, lanes_R: Any) -> None:
    feed(n.constants, n.state, n.scratch, n.exchange, before_R, lanes_R, t.give_core_away)


@inlined
def _take(fed: Any, give_core_away: Any) -> Any:
    """Wait for what the other thread passes on next; return how many feeds were taken before."""
    taken = fed[1, 0]
    wait_for(fed[0], taken + 1, give_core_away)
    fed[1, 0] = taken + 1
    return taken


@inlined
def _tell_known(n: Any, stages: int, t: Any, after_R: Any, cumulative: Any, known_R: Any) -> Any:
    """Set `known_R` to the network's p1 of known tokens, from the rows that were fed.

    Where the other thread does so, return the place in `exchange.known` that has them; else -1.
    """
    exchange = n.exchange
    if exchange.first >= stages:  # the other thread passes on all that the network says of known tokens
        return _take(exchange.fed, t.give_core_away) % exchange.known.shape[0]
    if t.mixes or exchange.end >= stages:
        passed = exchange.fed[0, 0]
        out = known_R if t.mixes else exchange.known[passed % exchange.known.shape[0]]
        _predict_known(n.constants, n.scratch, after_R, cumulative, out)
        if not t.mixes:
            pass_on(exchange.fed[0], passed + 1)
    return np.int64(-1)


@inlined
def _tell_groups(exchange: Any, stages: int, t: Any, hidden: Any, groups: Any) -> None:
    """Where the thread that does not mix has all stages, hand over what it says of the next tokens, which are to be decoded."""
    rows = groups.shape[0]
    if exchange.groups.shape[1] > 0 and exchange.first >= stages:
        place = _take(exchange.fed, t.give_core_away) % exchange.groups.shape[0]
        copy_rows(exchange.hidden[place, :rows], hidden)
        copy_rows(exchange.groups[place, :rows], groups)
    elif exchange.groups.shape[1] > 0 and exchange.end >= stages and not t.mixes:
        passed = exchange.fed[0, 0]
        place = passed % exchange.groups.shape[0]
        copy_rows(hidden, exchange.hidden[place, :rows])
        copy_rows(groups, exchange.groups[place, :rows])
        pass_on(exchange.fed[0], passed + 1)


@compiled
def run(lead: Any, first: Any, second: Any, m: Any, s: Any, t: Any, r: Any) -> None:
    """Code the block `s` (Shared) with the mixing `m`, in turns `t` (Turns); `r` (Rows) is scratch. One thread does all of it. Or
    one mixes and codes, with the last part of the network, and the other has the first part; the order of coding is the same.

    `first` and `second` (Fed) are the networks; where there is one, `second` is not read. `lead` are layers of the first one that
    are fed before. All three are of the same types.

    When decoding, a turn is a step of a group of lanes; when encoding, the next rows of known tokens. After the turns of a call,
    t.span, another number of threads may go on.

    An outside network has run before: when encoding for all steps (s.network_p1), when decoding for one step (`scratch`).
    """
    scratch, has_second = first.scratch, m.constants.networks > 1
    stages, second_stages = stage_count(first.state.h.shape[0]), stage_count(second.state.h.shape[0])
    decoding, most = s.words.size > 0, scratch.rows.size
    groups, size = scratch.groups.shape[1], scratch.tokens.size
    group_bits, bits = lowest_bit(groups), lowest_bit(groups * size)
    starts = m.constants.starts
    sums, second_sums, known_R, second_R = r.cumulative[0], r.cumulative[1], r.known[0], r.known[1]
    walk, before_R, lanes_R, after_R = r.walk, r.before, r.lanes, r.after
    for number in range(t.span[0], t.span[1]):
        if not t.mixes:
            wait_for(t.turn, number + 1 - t.ahead, t.give_core_away)
        if decoding:
            rows = _lanes_at_work(s, starts, number % t.ahead * most, most, lanes_R, before_R)
        else:
            rows = take_rows(s.ids, s.first_ids, walk, s.before[0], before_R, lanes_R, after_R)
        is_done = s.count[LEFT] == 0 or s.count[WRONG] != 0 or (rows == 0 and not decoding)
        if is_done or rows == 0:  # when decoding, lanes of this turn have ended and others have not
            if t.mixes:
                pass_on(t.turn, number + 1)
            if is_done:
                return
            continue
        if not s.is_outside:
            if lead.exchange.end > 0:
                _feed(lead, t, before_R[:rows], lanes_R)
            if has_second and not t.mixes:
                _feed(second, t, before_R[:rows], lanes_R)
            if first.exchange.first < stages:
                feed_here(first.constants, first.state, scratch, first.exchange, before_R[:rows], lanes_R, t.give_core_away)
            if has_second and t.mixes and second.exchange.first < second_stages:
                _feed(second, t, before_R[:rows], lanes_R)
        if not decoding and not s.is_outside:
            told = _tell_known(first, stages, t, after_R[:rows], sums, r.known[0])
            known_R = first.exchange.known[told] if told >= 0 else r.known[0]
            if has_second:
                told = _tell_known(second, second_stages, t, after_R[:rows], second_sums, r.known[1])
                second_R = second.exchange.known[told] if told >= 0 else r.known[1]
        if decoding and not s.is_outside:
            _tell_groups(first.exchange, stages, t, scratch.hidden[:rows], scratch.groups[:rows])
            if has_second:
                _tell_groups(second.exchange, second_stages, t, second.scratch.hidden[:rows], second.scratch.groups[:rows])
        if not t.mixes:
            continue
        s.position[0] = s.data.size - s.count[LEFT]
        if decoding and is_spent(s.decoder, s.words):  # so altered bytes are not decoded to the end
            s.count[WRONG] = SPENT
            pass_on(t.turn, number + 1)
            return
        for i in range(rows):
            lane = lanes_R[i]
            here = s.filled[lane]
            room = starts[lane + 1] - starts[lane] - here
            if room == 0:
                continue
            lane_data = s.data[starts[lane] : starts[lane + 1]]
            token = np.int64(after_R[i])
            b1 = np.int64(lane_data[here - 1]) if here > 0 else np.int64(0)
            at = s.count[TOKENS] * bits
            known = s.network_p1[at : at + bits] if s.is_outside else known_R[i]
            second_known = s.second_p1[at : at + bits] if s.is_outside else second_R[i]
            if not decoding:
                s.places[s.count[TOKENS]] = starts[lane] + here
            if here == 0:
                prepare_token(m, lane, bits, lane_data, here)
            begin_token(m, lane, bits)
            node, count, low, bit = np.int64(1), groups, np.int64(0), np.int64(0)
            if decoding:
                sum_up(scratch.groups[i], sums)
                if has_second:
                    sum_up(second.scratch.groups[i], second_sums)
            for depth in range(bits + 1):
                network, likely = np.int64(0), np.int64(0)
                if depth < bits and decoding:
                    if depth == group_bits:
                        token_frequencies(first.constants, scratch, i, node - groups)
                        sum_up(scratch.tokens, sums)
                        if has_second:
                            token_frequencies(second.constants, second.scratch, i, node - groups)
                            sum_up(second.scratch.tokens, second_sums)
                        count, low = size, np.int64(0)
                    count >>= 1
                    network = np.int64(span_p1(sums, low, count))
                    likely = np.int64(network >= HALF)
                    if has_second:
                        told_by_second(m.scratch.network, span_p1(second_sums, low, count))
                elif depth < bits:
                    network = np.int64(known[depth])
                    likely = token >> (bits - 1 - depth) & 1
                    if has_second:
                        told_by_second(m.scratch.network, np.int64(second_known[depth]))
                if depth > 0:
                    if depth + 1 < bits:
                        foresee(m, lane, bits, depth + 1, node << 1 | likely)
                    update(m, lane, bit)
                if depth == bits:
                    break
                p = predict(m, lane, bits, depth, node, network, b1)
                if decoding:
                    bit = np.int64(decode_decision(s.decoder, s.words, p))
                else:
                    bit = likely
                    s.decisions[at + depth] = bit
                    s.p1[at + depth] = p
                node = node << 1 | bit
                if depth + 1 < bits:
                    fetch(m, lane, bits, depth + 1, node, b1)
                low += count * bit
            token = node - (1 << bits)
            width = s.offsets[token + 1] - s.offsets[token]
            if width > room:
                s.count[WRONG] = OVERFLOW
                break
            if decoding:
                for k in range(width):
                    lane_data[here + k] = s.text[s.offsets[token] + k]
                s.before[lane] = token
            end_token(m, lane, bits, token, lane_data, here, width)
            s.filled[lane] += width
            s.count[TOKENS] += 1
            s.count[LEFT] -= width
        pass_on(t.turn, number + 1)
