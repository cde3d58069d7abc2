"""The start values of mixing: weights and maps learned on short documents, stored in the model file.

Each document is coded like a file of its own, with empty tables. The learned weights, histories and maps pass from document to
document. So mixing is already good at the start of a small file. Knows nothing of how mixing works.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.blocks.token_payload import encode_and_learn, start_extra, start_of
from nncomp.mixing.start_values import ALL_SELECTORS, chosen_parts, start_values
from nncomp.mixing.token_contexts import context
from nncomp.network.engine import Network
from nncomp.network.model import Model
from nncomp.training.corpus import Corpus, Span

_PIECE_BYTES = 30_000
_ALL, _LANE, _KIB, _2_KIB, _4_KIB, _8_KIB = range(6)  # reaches
# The contexts of the token tree that a model uses, by source and reach: a usual model, then a quick model and its selectors.
_USUAL = (
    *((source, _ALL) for source in (2, 3, 4, 7, 9, 11, 14, 21, 22, 23, 24)),
    *((source, _LANE) for source in (0, 1, 6, 10, 12, 13, 15, 17, 19)),
    *((0, _KIB), (17, _2_KIB), (1, _4_KIB), (19, _8_KIB)),
)
_QUICK = (
    *((source, _ALL) for source in (0, 1, 2, 12, 22)),
    *((source, _LANE) for source in (6, 12, 13, 17, 19)),
    *((1, _4_KIB), (19, _8_KIB)),
)
_QUICK_SELECTORS = (1, 3)


def plain_values(init: Model | None, is_quick: bool = False) -> dict[str, NDArray[Any]]:
    """Return start values that nothing was learned for, with the contexts of the model `init` or of a new model.

    With `is_quick` a new model has few contexts, as `fast` has.
    """
    if init is not None:
        return start_values(*chosen_parts(start_of(init.extra)))
    chosen, selectors = (_QUICK, _QUICK_SELECTORS) if is_quick else (_USUAL, ALL_SELECTORS)
    return start_values(tuple(sorted(context(*one) for one in chosen)), selectors, is_joint=True)


def learn_start_values(model: Model, corpus: Corpus, total_bytes: int, seed: int, plain: dict[str, NDArray[Any]]) -> Model:
    """Return the model with start values of mixing, learned from `plain` values on about `total_bytes` of the corpus.

    Each file of the corpus gives as many documents as each other file.
    """
    packed, values = Network(model), plain
    for piece in corpus.spans(_draw(corpus, total_bytes, np.random.default_rng(seed))):
        values = encode_and_learn(packed, piece, values).learned
    return replace(model, extra={**model.extra, **start_extra(values)})


def _draw(corpus: Corpus, total_bytes: int, random: np.random.Generator) -> list[Span]:
    """Return spans of random documents, one of each file in turn, until they have `total_bytes` bytes."""
    by_name, spans, done = corpus.by_name(), [], 0
    while True:
        for name in random.permutation(list(by_name)):
            numbers = by_name[str(name)]
            number = numbers[int(random.integers(len(numbers)))]
            size = int(corpus.sizes[number])
            begin = int(random.integers(0, max(1, size - _PIECE_BYTES)))
            spans.append((number, begin, min(_PIECE_BYTES, size - begin)))
            done += spans[-1][2]
            if done >= total_bytes:
                return spans
