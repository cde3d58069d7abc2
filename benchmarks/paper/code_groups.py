"""Groups of lanes, for a network with a code. A group is a part of one document, cut into lanes like a block, with one code.

All groups of a batch begin and end together. A group may be shorter than the limit, as its document is; after its end there
are no targets. Knows nothing of networks.
"""

# G groups, L lanes of all groups, T steps

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_TARGET = -1


@dataclass(frozen=True)
class GroupShape:
    """The limits of a group: `lanes` lanes, each of at most `chunks` times `steps` tokens."""

    lanes: int
    chunks: int
    steps: int

    @property
    def tokens(self) -> int:
        return self.lanes * self.chunks * self.steps


def draw_groups(ends: NDArray[np.int64], shape: GroupShape, count: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Return `count` random groups as (first token, number of tokens). Every token of the text is as likely to be drawn.

    `ends` are the ends of the documents in the corpus.
    """
    groups = []
    for _ in range(count):
        document = int(np.searchsorted(ends, random.integers(ends[-1]), "right"))
        begin = int(ends[document - 1]) if document else 0
        tokens = min(int(ends[document]) - begin, shape.tokens)
        groups.append((int(random.integers(begin, int(ends[document]) - tokens + 1)), tokens))
    return groups


def chunk_of(
    ids: NDArray[Any], groups: list[tuple[int, int]], shape: GroupShape, number: int, start_token: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the input of all lanes in chunk `number`, shape (T, L), and the targets, NO_TARGET after the end of a lane."""
    fed = np.full((len(groups) * shape.lanes, shape.steps), start_token, np.int64)
    targets = np.full(fed.shape, NO_TARGET, np.int64)
    for g, (first, tokens) in enumerate(groups):
        for lane in range(shape.lanes):
            low, high = tokens * lane // shape.lanes, tokens * (lane + 1) // shape.lanes
            here = low + number * shape.steps
            part = ids[first + here : first + min(high, here + shape.steps)]
            row = g * shape.lanes + lane
            targets[row, : len(part)] = part
            if len(part):
                fed[row, 0] = ids[first + here - 1] if number else start_token
                fed[row, 1 : len(part)] = part[:-1]
    return np.ascontiguousarray(fed.T), np.ascontiguousarray(targets.T)
