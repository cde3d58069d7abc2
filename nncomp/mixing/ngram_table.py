"""The n-gram table: which token follows the last two to five tokens in other texts, counted before and part of the model.

An entry has a check of its tokens, the token that follows them most often, and a *class*, how surely it does. The entries of the
last two, three, four and five tokens are looked up, and the surest is taken; of equals that of most tokens. Until the token at
hand parts from the one that is expected, an adaptive probability for each class and depth says how often the expected bit comes.

A *line* has 16 entries of 32 bits, so a look-up fetches one line of a cache. The table is never written. Knows nothing of lanes
and files. The definition is `ngram_table_reference.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.format.numbers import NGRAM_SLOTS
from nncomp.machine.kernels import inlined
from nncomp.machine.prefetch import prefetch
from nncomp.mixing import vectors
from nncomp.mixing.arithmetic import adapt, combine, next_bit, packed_probability, probability, set_expected

ORDERS = 2, 3, 4, 5  # how many tokens the entries are looked up by
CLASS_BITS = 5
CLASSES = 1 << CLASS_BITS
INPUTS = 2  # of the mixer
_ENTRY_BITS = 32
_DEPTHS = 16  # decisions of a token, at most
_COUNT_LIMIT = 255  # of the adaptive probabilities' counts
_FIRST_SURE, _SURE_CLASSES = 50, 7  # values that matches leave, a pair for each class of classes
_CLASS_ONE, _CLASS_OCTAVE = 12, 3  # the class of an even chance, and how many classes double the odds


class Ngrams(NamedTuple):
    """The table, and what is learned of its classes."""

    # (16 * lines,) uint32, read-only: token, class and check, from the highest bits on; the check of an empty one is 0
    entries: Any
    strength: Any  # (CLASSES * 16,) uint32: adaptive probability that the expected bit comes, for each class and depth


# What is looked up for the token at hand, int64: the expected token, or -1; its class; the expected bit of the decision at hand,
# or -1; its place in `strength`.
TOKEN, CLASS, BIT, PLACE = range(4)
FIELDS = 4


def first_strength() -> NDArray[np.uint32]:
    """Return strengths before anything is learned: what the class says of the token, spread over its decisions."""
    odds = [2.0 ** ((k - _CLASS_ONE) / _CLASS_OCTAVE) for k in range(CLASSES)]
    chances = [min((x / (1 + x)) ** (1 - depth / _DEPTHS), 0.999) for x in odds for depth in range(_DEPTHS)]
    return np.array([packed_probability(int(65536 * chance)) for chance in chances], np.uint32)


def class_of(chance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the class of a chance that the token comes: only for counting, not part of the coded path."""
    chance = np.clip(chance, 1e-6, 1 - 1e-6)
    return np.clip(np.round(_CLASS_ONE + _CLASS_OCTAVE * np.log2(chance / (1 - chance))), 0, CLASSES - 1).astype(np.int64)


def no_entries() -> NDArray[np.uint32]:
    """Return the table of a model without n-grams: an empty line."""
    return np.zeros(NGRAM_SLOTS, np.uint32)


@inlined
def _line(entries: Any, h: int) -> int:
    """Return the first entry of the line for the 32-bit hash `h`. Bound: at most 2**22 lines, so the product is below 2**54."""
    return (h * (entries.size // NGRAM_SLOTS) >> 32) * NGRAM_SLOTS


@inlined
def hash_ngrams(hashes: Any, sources: Any, t4: int) -> None:
    """Set the hash of each order, `hashes` (4,), from what the sources of contexts have and the token before the last three."""
    hashes[0] = combine(sources[2], np.int64(2))
    hashes[1] = combine(sources[3], np.int64(3))
    hashes[2] = combine(combine(sources[3], t4), np.int64(4))
    hashes[3] = combine(sources[5], np.int64(5))


@inlined
def ask_for_entries(ngrams: Ngrams, hashes: Any) -> None:
    """Ask for the lines of all orders, some time before `look_up` needs them."""
    for k in range(hashes.size):
        prefetch(ngrams.entries, 4 * _line(ngrams.entries, hashes[k]))


@inlined
def look_up(ngrams: Ngrams, found: Any, hashes: Any, bits: int) -> None:
    """Set the token and the class that the surest entry has for the token at hand, of `bits` decisions."""
    entries, check_bits = ngrams.entries, _ENTRY_BITS - CLASS_BITS - bits
    mask = (np.int64(1) << check_bits) - 1
    found[TOKEN] = found[CLASS] = -1
    for i in range(hashes.size):
        h = hashes[hashes.size - 1 - i]
        first, check = _line(entries, h) + 8, max(h & mask, 1)
        at = vectors.find_eight(entries, first, mask, check)
        if at < 0:
            first -= 8
            at = vectors.find_eight(entries, first, mask, check)
        if at >= 0:
            entry = np.int64(entries[first + at])
            sure = entry >> check_bits & (CLASSES - 1)
            if sure > found[CLASS]:
                found[TOKEN] = entry >> (check_bits + CLASS_BITS)
                found[CLASS] = sure


@inlined
def predict_ngrams(ngrams: Ngrams, found: Any, inputs: Any, first: int, bits: int, depth: int, node: int) -> int:
    """Set two inputs, inputs[first] and the next, and the expected bit for the decision at `node` of a token of `bits`.

    Returns what is expected, and how surely, after the values of `match_model.predict_matches`: 0 for nothing, else 50..63.
    """
    bit = next_bit(found[TOKEN], bits, depth, node)
    found[BIT] = bit
    if bit < 0:
        inputs[first] = inputs[first + 1] = 0
        return np.int64(0)
    found[PLACE] = found[CLASS] * _DEPTHS + depth
    set_expected(inputs, first, probability(ngrams.strength[found[PLACE]]), bit)
    return np.int64(_FIRST_SURE + 2 * (found[CLASS] * _SURE_CLASSES >> CLASS_BITS) + bit)


@inlined
def update_ngrams(ngrams: Ngrams, found: Any, bit: int) -> None:
    """Teach the decision `bit` to the strength of the expected one, if there was one."""
    if found[BIT] >= 0:
        adapt(ngrams.strength, found[PLACE], np.int64(found[BIT] == bit), _COUNT_LIMIT)
