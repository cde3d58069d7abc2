"""What mixing knows before it has seen a byte: weights and maps learned on short documents, shipped with the model.

Each document is coded as a file of its own, with empty tables; only the learned weights, histories and maps are handed
on. So small files start well mixed. Knows nothing of how mixing works.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.exact.engine import PackedModel
from nncomp.exact.weights import IntegerModel
from nncomp.mixing.token_start import chosen_parts, start_values
from nncomp.token_block import encode_and_learn, start_extra, start_of
from nncomp.training.corpus import Corpus, Span

_PIECE_BYTES = 30_000
# What a quick level does without (docs/LOG.md): of the contexts and sets of weight rows of the token tree it uses only these.
_QUICK = (0, 1, 2, 6, 12, 13, 17, 19), (1, 3)


def plain_values(level: str, init: IntegerModel | None) -> dict[str, NDArray[Any]]:
    """Return what mixing begins with, before anything is learned: with as many parts as a level has, or the model begun with."""
    if init is not None:
        return start_values(*chosen_parts(start_of(init.extra)))
    return start_values(*_QUICK) if level == "fast" else start_values()


def learn_start_values(
    model: IntegerModel, corpus: Corpus, total_bytes: int, seed: int, plain: dict[str, NDArray[Any]]
) -> IntegerModel:
    """Return the model with start values of mixing, learned from `plain` ones on about `total_bytes` of the corpus, all
    files alike."""
    packed, values = PackedModel(model), plain
    for piece in corpus.spans(_draw(corpus, total_bytes, np.random.default_rng(seed))):
        _, _, values = encode_and_learn(packed, piece, values)
    return replace(model, extra={**model.extra, **start_extra(values)})


def _draw(corpus: Corpus, total_bytes: int, random: np.random.Generator) -> list[Span]:
    """Return spans of random documents, one of each file in turn, until they are as long as is asked for."""
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
