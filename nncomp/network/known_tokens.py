"""Tokens that are known beforehand: which are fed at once, and the network's probabilities of those that come next.

When a block is encoded, all its tokens are known. They are taken in the order of coding (step by step, in each the lanes that
are not at their end), some dozens at a time, whatever step and lane they are of. Compiled functions that other compiled loops
call; same integers as step by step, by test with `==`.
"""

# R rows, L lanes, N tokens, G groups, S tokens a group

from __future__ import annotations

from typing import Any

import numpy as np

from nncomp.machine.kernels import inlined

ROWS = 32  # fed at once: the weights are read once for all of them, and what is between the layers stays in a core's cache


@inlined
def node_probability(zeros: int, ones: int) -> int:
    """Return p1 (1..65535) of a node whose halves have these frequencies; zeros + ones < 2**32."""
    total = zeros + ones
    return min(max(((ones << 16) + (total >> 1)) // total, 1), 65535)


@inlined
def sum_up(frequencies: Any, cumulative: Any) -> None:
    """Set cumulative[i] to the sum of the first i frequencies."""
    cumulative[0] = 0
    for i in range(frequencies.size):
        cumulative[i + 1] = cumulative[i] + frequencies[i]


@inlined
def _halve(frequencies: Any, place: int, cumulative: Any, p1: Any) -> None:
    """Set p1 (uint16) of the decisions that lead to `place` among 2**p1.size frequencies."""
    sum_up(frequencies, cumulative)
    low, count = np.int64(0), np.int64(frequencies.size)
    for depth in range(p1.size):
        count >>= 1
        middle = cumulative[low + count]
        p1[depth] = node_probability(middle - cumulative[low], cumulative[low + 2 * count] - middle)
        low += place & count


@inlined
def take_rows(ids: Any, first_ids: Any, walk: Any, start_token: int, before_R: Any, lanes_R: Any, after_R: Any) -> int:
    """Set the next rows in the order of coding: their lanes, their tokens (`after_R`) and those before them; return how many
    there are, R but at the end.

    Lane l has the tokens `ids` from first_ids[l] on. `walk` (L + 1 int64, zeros at first) keeps how many of each lane have been
    taken, and which lane is the next.
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
def path_probabilities(groups: Any, tokens: Any, token: int, cumulative: Any, p1: Any) -> None:
    """Set `p1` (bits uint16) to the network's p1 of the decisions of a token, by the frequencies of the groups (G) and of the
    tokens of its group (S). `cumulative` is scratch, max(G, S) + 1 int64."""
    group = np.int64(token) // tokens.size
    group_bits = 0
    while 1 << group_bits < groups.size:
        group_bits += 1
    _halve(groups, group, cumulative, p1[:group_bits])
    _halve(tokens, np.int64(token) - group * tokens.size, cumulative, p1[group_bits:])
