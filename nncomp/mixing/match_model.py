"""The match model: follows the last place where the last symbols were seen before, and expects what came next there.

A symbol is a byte or a token. There are two match models, a long one and a short one. A match's *class* is made of its length and
its last misses; an adaptive probability for each class says how often the expected bit comes. Knows nothing of how symbols are
kept: `byte_predictor` and `token_predictor` find the places. The definition is `byte_predictor_reference.Match`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.aligned import aligned_zeros
from nncomp.machine.kernels import inlined
from nncomp.mixing.arithmetic import HALF, adapt, next_bit, packed_probability, probability, set_expected

MATCHES = 2  # the long one, then the short one
CLASSES = 64  # 16 classes of length, 4 of misses
INPUTS_PER_MATCH = 2  # of the mixer
COMPARED = 32  # symbols that are compared, backwards, when a place is found
SURE_VALUES = 64  # `predict_matches` returns less
_SURE_OF_MATCH = SURE_VALUES // MATCHES
_LENGTH_LIMIT = 65535
_MISSES_MASK = 0xFF  # the last eight
_COUNT_LIMIT = 255  # of the adaptive probabilities' counts

# Fields of a match's state: the place that is followed, or 0; how many symbols agree; the last misses, a bit each; the expected
# symbol, or -1; the expected bit, or -1; the class.
POINTER, LENGTH, MISSES, EXPECTED, BIT, CLASS = range(6)
_FIELDS = 6


class Matches(NamedTuple):
    """What the match models have seen and learned. L lanes; of bytes there is one."""

    heads: Any  # (MATCHES, 2**n) int32: for each hash of the last symbols the place after them; 0: none
    state: Any  # (L, MATCHES, 6) int64: the fields above
    strength: Any  # (MATCHES * CLASSES,) uint32: adaptive probability that the expected bit comes


def new_matches(lanes: int, heads: int, strength: Any) -> Matches:
    """Return matches that follow nothing, with tables of `heads` hashes."""
    state = np.zeros((lanes, MATCHES, _FIELDS), np.int64)
    state[:, :, [EXPECTED, BIT]] = -1
    state[:, :, CLASS] = np.arange(MATCHES) * CLASSES
    return Matches(aligned_zeros(MATCHES * heads, np.int32).reshape(MATCHES, heads), state, strength)


def first_strength(slope: int) -> NDArray[np.uint32]:
    """Return strengths before anything is learned: the longer the match, the surer. Shape (MATCHES * CLASSES,)."""
    row = [packed_probability(2 * HALF - 2 * HALF // (3 + slope * (c >> 2))) for c in range(CLASSES)]
    return np.array(row * MATCHES, np.uint32)


@inlined
def length_class(length: int) -> int:
    """Return the class 0..15 of a match's length."""
    if length < 8:
        return length
    if length < 16:
        return 8 + (length - 8 >> 2)
    if length < 32:
        return 10 + (length - 16 >> 3)
    if length < 64:
        return 12
    if length < 256:
        return 13
    return 14 if length < 1024 else 15


@inlined
def count_hit(match: Any, hit: int) -> None:
    """Take note of whether the expected symbol came, and go on to the next place."""
    match[LENGTH] = min(match[LENGTH] + 1, _LENGTH_LIMIT) if hit else 0
    match[MISSES] = (match[MISSES] << 1 | (not hit)) & _MISSES_MASK
    match[POINTER] += 1


@inlined
def restart(match: Any, place: int, length: int) -> None:
    """Follow another place, before which `length` symbols agree."""
    match[POINTER] = place
    match[LENGTH] = length
    match[MISSES] = 0


@inlined
def set_class(match: Any, k: int) -> None:
    """Set the class of match k by its length and its misses."""
    misses = match[MISSES]
    late = 0 if misses == 0 else (1 if misses & 3 == 0 else (2 if misses & 1 == 0 else 3))
    match[CLASS] = k * CLASSES + (length_class(match[LENGTH]) << 2 | late)


@inlined
def predict_matches(matches: Matches, lane: int, inputs: Any, first: int, bits: int, depth: int, node: int) -> int:
    """Set two inputs of each match, from inputs[first] on, and return `sure`: for the decision at `node` of a symbol of `bits`.

    `sure` is what the first match that expects a bit expects, and how surely: 0 for none, else 2..49.
    """
    sure = 0
    for k in range(MATCHES):
        s = matches.state[lane, k]
        at = first + INPUTS_PER_MATCH * k
        bit = next_bit(s[EXPECTED], bits, depth, node)
        s[BIT] = bit
        if bit >= 0:
            set_expected(inputs, at, probability(matches.strength[s[CLASS]]), bit)
            if sure == 0:
                sure = (1 + (length_class(s[LENGTH]) >> 1)) * 2 + bit + _SURE_OF_MATCH * k
        else:
            inputs[at] = inputs[at + 1] = 0
    return sure


@inlined
def update_matches(matches: Matches, lane: int, bit: int) -> None:
    """Teach the decision `bit` to the strength of each match that expected one."""
    for k in range(MATCHES):
        s = matches.state[lane, k]
        if s[BIT] >= 0:
            adapt(matches.strength, s[CLASS], np.int64(s[BIT] == bit), _COUNT_LIMIT)
