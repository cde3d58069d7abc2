"""From the network's frequencies to the probabilities of decisions: a token is a path down the tree of all tokens.

The first decisions halve the groups down to one, the others the tokens of that group. Functions that compiled loops call.
"""

# G groups, S tokens a group

from __future__ import annotations

from typing import Any

import numpy as np

from nncomp.machine.bits import lowest_bit
from nncomp.machine.kernels import inlined


@inlined
def node_probability(zeros: int, ones: int) -> int:
    """Return p1 (1..65535) of a decision whose two sides have these frequencies; zeros + ones < 2**32."""
    total = zeros + ones
    return min(max(((ones << 16) + (total >> 1)) // total, 1), 65535)


@inlined
def sum_up(frequencies: Any, cumulative: Any) -> None:
    """Set cumulative[i] to the sum of the first i frequencies."""
    cumulative[0] = 0
    for i in range(frequencies.size):
        cumulative[i + 1] = cumulative[i] + frequencies[i]


@inlined
def span_p1(cumulative: Any, low: int, count: int) -> int:
    """Return p1 of the decision between the `count` frequencies from `low` on and as many after them, from their sums."""
    middle = cumulative[low + count]
    return node_probability(middle - cumulative[low], cumulative[low + 2 * count] - middle)  # type: ignore[no-any-return]


@inlined
def _halve(frequencies: Any, place: int, cumulative: Any, p1: Any) -> None:
    """Set p1 (uint16) of the decisions that lead to `place` among 2**p1.size frequencies."""
    sum_up(frequencies, cumulative)
    low, count = np.int64(0), np.int64(frequencies.size)
    for depth in range(p1.size):
        count >>= 1
        p1[depth] = span_p1(cumulative, low, count)
        low += place & count


@inlined
def path_probabilities(groups: Any, tokens: Any, token: int, cumulative: Any, p1: Any) -> None:
    """Set `p1` (uint16, one a decision) to the network's p1 of the decisions of a token, from the frequencies of the groups (G)
    and of the tokens of its group (S). `cumulative` is scratch, max(G, S) + 1 int64."""
    group = np.int64(token) // tokens.size
    group_bits = lowest_bit(groups.size)
    _halve(groups, group, cumulative, p1[:group_bits])
    _halve(tokens, np.int64(token) - group * tokens.size, cumulative, p1[group_bits:])
