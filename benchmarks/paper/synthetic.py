"""Sources of text whose entropy is known in closed form."""

# A letters, K topics, N symbols

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST_LETTER = ord("a")


def entropy_bits(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy of distributions along the last axis, in bits.

    >>> entropy_bits(np.array([[0.5, 0.25, 0.25], [1, 0, 0]])).tolist()
    [1.5, 0.0]
    """
    bits: NDArray[np.float64] = (p * np.log2(np.where(p > 0, 1 / np.where(p > 0, p, 1), 1))).sum(-1)
    return bits


@dataclass(frozen=True)
class Markov:
    """Letters that depend on the two before them: `p[a, b, c]` is the probability that c comes after a, b."""

    p: NDArray[np.float64]

    @property
    def rate_bits(self) -> float:
        """The entropy of a letter in bits: the mean of the rows' entropies, weighted by the frequency of each pair."""
        size = len(self.p)
        step = np.zeros((size, size, size, size))  # from the pair (a, b) to the pair (b, c)
        for b in range(size):
            step[:, b, b, :] = self.p[:, b, :]
        matrix = step.reshape(size * size, size * size)
        share = np.full(size * size, 1 / size**2)
        for _ in range(5000):
            share = share @ matrix
        return float(share @ entropy_bits(self.p).ravel())

    def corrupted(self, rate: float) -> Markov:
        """Return the source in which a share of the letters is uniformly random, and later letters depend on these."""
        return Markov((1 - rate) * self.p + rate / len(self.p))

    def sample(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Return `count` letters, 0 to A - 1."""
        upto, chance = np.cumsum(self.p, -1), random.random(count)
        out, a, b = np.zeros(count, np.int64), 0, 0
        for i in range(count):
            a, b = b, min(int(np.searchsorted(upto[a, b], chance[i], "right")), len(self.p) - 1)
            out[i] = b
        return out

    def surprisal_bits(self, letters: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the true surprisal of each letter in bits; the letters before the first are taken as 0, 0."""
        padded = np.concatenate([[0, 0], letters])
        bits: NDArray[np.float64] = -np.log2(self.p[padded[:-2], padded[1:-1], padded[2:]])
        return bits


def random_markov(letters: int, evenness: float, seed: int) -> Markov:
    """Return a source with random rows; with a smaller `evenness`, one letter of each row is more likely."""
    return Markov(np.random.default_rng(seed).dirichlet(np.full(letters, evenness), (letters, letters)))


def repeated_rate_bits(letters: int, rate: float) -> float:
    """Return the entropy of a letter of a known text, a share of which is replaced by uniformly random letters."""
    other = rate / letters
    return float(entropy_bits(np.array([1 - rate + other, *[other] * (letters - 1)])))


def repeated(period: int, letters: int, rate: float, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return a random paragraph, repeated, with a share of its letters replaced by random letters."""
    text = np.resize(np.random.default_rng(7).integers(letters, size=period), count)
    return np.where(random.random(count) < rate, random.integers(letters, size=count), text)


def as_bytes(letters: NDArray[Any]) -> bytes:
    """Return letters from a on as text."""
    return (letters + FIRST_LETTER).astype(np.uint8).tobytes()


@dataclass(frozen=True)
class Topics:
    """Blocks with one hidden topic each; all topics are equally likely. A block's symbols come from its topic's distribution."""

    p: NDArray[np.float64]  # K, A

    @property
    def code_bits(self) -> float:
        """The bits that name the topic of a block."""
        return math.log2(len(self.p))

    def sample(self, blocks: int, symbols: int, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the topics of blocks, and their symbols, shape (blocks, N)."""
        topics = random.integers(len(self.p), size=blocks)
        upto = np.cumsum(self.p, -1)
        chance = random.random((blocks, symbols))
        drawn = [np.searchsorted(upto[topic], row, "right") for topic, row in zip(topics, chance, strict=True)]
        return topics, np.minimum(np.array(drawn), self.p.shape[1] - 1)

    def told_bits(self, topics: NDArray[np.int64], symbols: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the bits of each block if its topic is known, shape (blocks,), without the bits of the topic."""
        bits: NDArray[np.float64] = -np.log2(self.p[topics[:, None], symbols]).sum(1)
        return bits

    def untold_bits(self, symbols: NDArray[np.int64], lanes: int) -> NDArray[np.float64]:
        """Return the bits of each block for the best predictor without its topic, in lanes that do not see each other."""
        blocks, count = symbols.shape
        log_p = np.log2(self.p.T)[symbols.reshape(blocks, lanes, count // lanes)].sum(2)  # blocks, lanes, K
        most = log_p.max(-1)
        bits: NDArray[np.float64] = -(most + np.log2(np.mean(2 ** (log_p - most[..., None]), -1))).sum(1)
        return bits


def random_topics(topics: int, letters: int, evenness: float, seed: int) -> Topics:
    """Return a source with random topics; every letter has some probability in each."""
    p = np.random.default_rng(seed).dirichlet(np.full(letters, evenness), topics)
    return Topics(0.98 * p + 0.02 / letters)
