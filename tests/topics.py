"""A source whose code is worth a known number of bits: each text is drawn from one of K topics, token by token.

A text of L lanes that do not see each other says its topic L times over, a code once. All figures are exact.
"""

# K topics, V tokens, L lanes, T tokens a lane

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TOPICS, TOKENS, LANES, STEPS = 16, 256, 16, 16
TEXT_TOKENS = LANES * STEPS
TOPIC_KV = np.random.default_rng(0).dirichlet(np.full(TOKENS, 0.05), TOPICS)


def texts(count: int, seed: int) -> tuple[NDArray[np.uint16], NDArray[np.int64], NDArray[np.int64]]:
    """Return texts one after another, where they end, and the topic of each."""
    random = np.random.default_rng(seed)
    topics = random.integers(0, TOPICS, count)
    ids = [random.choice(TOKENS, TEXT_TOKENS, p=TOPIC_KV[topic]) for topic in topics]
    return np.concatenate(ids).astype(np.uint16), np.arange(1, count + 1) * TEXT_TOKENS, topics


def ideal_bits(ids: NDArray[np.uint16], topics: NDArray[np.int64]) -> tuple[float, float]:
    """Return the bits of texts for who knows the source: told the topic for log2 K bits a text, and told nothing.

    Without it every lane is coded with the mixture of all topics, each as likely as the tokens before it in the lane say.
    """
    log2_KV = np.log2(np.maximum(TOPIC_KV, 1e-300))
    told, untold = len(topics) * math.log2(TOPICS), 0.0
    for text, topic in zip(ids.reshape(-1, LANES, STEPS), topics, strict=True):
        told -= float(log2_KV[topic][text].sum())
        of_lanes_KL = log2_KV[:, text].sum(-1)
        most_L = of_lanes_KL.max(0)
        untold -= float((most_L + np.log2(np.exp2(of_lanes_KL - most_L).mean(0))).sum())
    return told, untold
