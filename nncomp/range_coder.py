"""The range coder: from binary decisions with integer probabilities to 32-bit words, and back.

A probability is an integer p1 in 1..65535: the decision is 1 with probability p1 / 65536.

constriction's RangeEncoder writes the words. Where it has no wheel (Linux on ARM) and is not installed, a twin writes the same
words. Compiled loops read them with the integer decoder below. It does what constriction's RangeDecoder does:
tests/test_range_coder.py compares the twins with constriction. Knows nothing of where probabilities come from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import FormatError
from nncomp.machine.kernels import compiled, inlined

PROBABILITY_BITS = 16
PROBABILITY_ONE = 1 << PROBABILITY_BITS
_MOST_DECISIONS_PER_WORD = 1_453_624  # the likeliest decision shrinks the range by 1 - 2**-16; a word is read after 2**-32
_CHUNK_DECISIONS = 1 << 20
_LOWER, _RANGE, _POINT, _POSITION, DAMAGED = range(5)  # fields of the decoder's state, uint64[5]
_HELD, _FIRST, _WRITTEN = range(2, 5)  # of the twin's state, uint64[5], after the same two
_WHOLE_RANGE = 0xFFFFFFFFFFFFFFFF

Words = NDArray[np.uint32]


class Encoder:
    """Takes decisions and gives words: constriction's encoder. Raises ImportError where that is not installed."""

    def __init__(self) -> None:
        import constriction

        self._encoder = constriction.stream.queue.RangeEncoder()
        self._model = constriction.stream.model.Bernoulli(perfect=False)

    def add(self, decisions: NDArray[np.uint8], probabilities: NDArray[np.uint16]) -> None:
        """Code decisions (0 or 1, uint8) with p1 (uint16, 1..65535)."""
        for start in range(0, len(decisions), _CHUNK_DECISIONS):  # in parts: constriction takes 12 bytes a decision
            part = slice(start, start + _CHUNK_DECISIONS)
            p1 = np.ascontiguousarray(probabilities[part], dtype=np.float64) / PROBABILITY_ONE
            self._encoder.encode(np.ascontiguousarray(decisions[part], dtype=np.int32), self._model, p1)

    def words(self) -> Words:
        """Return the words (uint32) of all decisions."""
        words: Words = self._encoder.get_compressed()
        return words


@inlined
def _share_of_zero(p1: Any) -> Any:
    """Return the share of decision 0 of 2**24, exactly as constriction rounds it: floor((1 - p) * (2**24 - 2)) + 1."""
    return (np.uint64(65536 - np.int64(p1)) * np.uint64((1 << 24) - 2) >> np.uint64(16)) + np.uint64(1)


@compiled
def _encode(decisions: Any, probabilities: Any, state: Any, words: Any) -> None:
    """Write the words that are sure after these decisions; `words` (uint32) has room for those held back and one a decision.

    While lower + range passes 2**64, a carry may still reach the last words. They are held back: the first of them is known, and
    each further one is 2**32 - 1, or 0 with the carry.
    """
    lower, size, held, first = state[_LOWER], state[_RANGE], state[_HELD], state[_FIRST]
    count, none, one, half = 0, np.uint64(0), np.uint64(1), np.uint64(32)
    for i in range(decisions.size):
        before, scale = lower, size >> np.uint64(24)
        split = scale * _share_of_zero(probabilities[i])
        if decisions[i]:
            lower += split
            size = (scale << np.uint64(24)) - split
        else:
            size = split
        if held > none and lower + size > lower:
            carry = lower < before
            words[count] = np.uint32(first + one if carry else first)
            count += 1
            while held > one:
                words[count] = np.uint32(0 if carry else 0xFFFFFFFF)
                count += 1
                held -= one
            held = none
        if size < np.uint64(1 << 32):
            word = lower >> half
            lower <<= half
            size <<= half
            if held > none:
                held += one
            elif lower + size > lower:
                words[count] = np.uint32(word)
                count += 1
            else:
                held, first = one, word
    state[_LOWER], state[_RANGE], state[_HELD], state[_FIRST] = lower, size, held, first
    state[_WRITTEN] = np.uint64(count)


class TwinEncoder(Encoder):
    """Gives the words that constriction's encoder gives, without it."""

    def __init__(self) -> None:
        self._state = np.array([0, _WHOLE_RANGE, 0, 0, 0], np.uint64)
        self._parts: list[Words] = []

    def add(self, decisions: NDArray[np.uint8], probabilities: NDArray[np.uint16]) -> None:
        """Code decisions (0 or 1, uint8) with p1 (uint16, 1..65535)."""
        words = np.zeros(len(decisions) + int(self._state[_HELD]) + 1, np.uint32)
        _encode(np.ascontiguousarray(decisions), np.ascontiguousarray(probabilities, np.uint16), self._state, words)
        self._parts.append(words[: int(self._state[_WRITTEN])].copy())

    def words(self) -> Words:
        """Return the words (uint32) of all decisions."""
        lower, size, held, first, _ = self._state.tolist()
        last: list[int] = []
        if size != _WHOLE_RANGE:  # there were decisions
            point = (lower + (1 << 32) - 1) & _WHOLE_RANGE
            if held:
                carry = point < lower
                last = [(first + carry) & 0xFFFFFFFF] + [0 if carry else 0xFFFFFFFF] * (held - 1)
            last.append(point >> 32)
            if (lower + size & _WHOLE_RANGE) >> 32 == point >> 32:
                last.append(0)
        return np.concatenate([*self._parts, np.array(last, np.uint32)])


def new_encoder() -> Encoder:
    """Return constriction's encoder, or its twin where constriction is not installed."""
    try:
        return Encoder()
    except ImportError:
        return TwinEncoder()


def encode(decisions: NDArray[np.uint8], probabilities: NDArray[np.uint16]) -> Words:
    """Return the words (uint32) of decisions (0 or 1, uint8) that are coded with p1 (uint16, 1..65535)."""
    encoder = new_encoder()
    encoder.add(decisions, probabilities)
    return encoder.words()


def costs_bits(decisions: NDArray[np.uint8], probabilities: NDArray[np.uint16], per_unit: int) -> NDArray[np.float64]:
    """Return the surprisal of each unit of `per_unit` decisions: the sum of -log2 of their probabilities, float64."""
    costs = np.empty(len(decisions) // per_unit)
    for start in range(0, len(costs), _CHUNK_DECISIONS // per_unit):
        end = min(start + _CHUNK_DECISIONS // per_unit, len(costs))
        part = slice(start * per_unit, end * per_unit)
        p1 = probabilities[part].astype(np.float64) / PROBABILITY_ONE
        costs[start:end] = -np.log2(np.where(decisions[part] != 0, p1, 1 - p1)).reshape(-1, per_unit).sum(1)
    return costs


def cost_bits(decisions: NDArray[np.uint8], probabilities: NDArray[np.uint16]) -> float:
    """Return the surprisal of all decisions."""
    return float(costs_bits(decisions, probabilities, 1).sum())


def words_to_bytes(words: Words) -> bytes:
    """Return the words as little-endian bytes."""
    return words.astype("<u4").tobytes()


def bytes_to_words(payload: bytes) -> Words:
    """Return the words of a payload; raises FormatError when it is not a whole number of words."""
    if len(payload) % 4:
        raise FormatError(f"A coded block has {len(payload)} bytes, not a multiple of 4; the file is truncated or altered.")
    return np.frombuffer(payload, dtype="<u4").astype(np.uint32)


def check_claim(words: Words, decisions: int) -> None:
    """Raise FormatError if the words cannot hold so many decisions, however likely each one is.

    A decoder reads two words at the start, and another one each time that the range has shrunk by 2**-32. Of a stream of W words
    it reads at most W + 2.
    """
    if decisions > (len(words) + 1) * _MOST_DECISIONS_PER_WORD:
        raise FormatError(f"A block claims more than its {len(words)} words can hold; the file is altered.")


def first_state(words: Words) -> NDArray[np.uint64]:
    """Return the decoder's state (uint64[5]) at the start of the words (uint32)."""
    first, second = [*words[:2].tolist(), 0, 0][:2]
    return np.array([0, _WHOLE_RANGE, first << 32 | second, 2, 0], np.uint64)


@inlined
def decode_decision(state: Any, words: Any, p1: Any) -> int:
    """Return the next decision, which is coded with p1; set `state[DAMAGED]` where no encoder writes such words.

    Bounds: scale < 2**40, the share is < 2**24, so their product is < 2**64.
    """
    scale = state[_RANGE] >> np.uint64(24)
    offset = state[_POINT] - state[_LOWER]
    if offset >= scale << np.uint64(24):
        state[DAMAGED] = np.uint64(1)
    split = scale * _share_of_zero(p1)
    bit = 0
    if offset >= split:
        bit = 1
        state[_LOWER] += split
        state[_RANGE] = (scale << np.uint64(24)) - split
    else:
        state[_RANGE] = split
    if state[_RANGE] < np.uint64(1 << 32):
        state[_LOWER] <<= np.uint64(32)
        state[_RANGE] <<= np.uint64(32)
        point = state[_POINT] << np.uint64(32)
        position = state[_POSITION]
        if position < np.uint64(words.size):
            point |= np.uint64(words[np.int64(position)])
        state[_POINT] = point
        state[_POSITION] = position + np.uint64(1)
    return bit


@inlined
def is_spent(state: Any, words: Any) -> bool:
    """Whether `check_finished` is sure to fail: the words are damaged, or more than two beyond their end were read."""
    return bool(state[DAMAGED] != np.uint64(0) or state[_POSITION] > np.uint64(words.size + 2))


def check_finished(state: NDArray[np.uint64], words: Words) -> None:
    """Raise FormatError unless the decoder has used up the words and they are not damaged.

    A whole stream ends 0 to 2 words before the position that the decoder reads next: it holds two words.
    """
    position = int(state[_POSITION])
    if state[DAMAGED] or not len(words) <= position <= len(words) + 2:
        raise FormatError("A coded block does not end where its data ends; the file is truncated or altered.")
