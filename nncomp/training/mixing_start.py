"""The start values of mixing that a new model gets: plain ones, and those learned from them on short documents.

Each document is coded like a file of its own, with empty tables. The learned weights, histories and maps pass from document to
document, and their mean is kept. So mixing is already good at the start of a small file. Knows nothing of how mixing works.
"""

# N contexts and R selectors in use

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.blocks.token_payload import encode_and_learn, start_extra, start_of
from nncomp.mixing import match_model, mixer, ngram_table
from nncomp.mixing.arithmetic import COUNT_BITS
from nncomp.mixing.bit_histories import STATES, new_state_maps
from nncomp.mixing.match_model import MATCHES
from nncomp.mixing.start_values import (
    ALL_SELECTORS,
    FINAL_WEIGHT_SETS,
    FIRST_SETS,
    bias_input,
    chosen_parts,
    input_count,
    match_apm_contexts,
)
from nncomp.mixing.token_contexts import context
from nncomp.mixing.token_histories import RECORD_MAPS, new_joint_maps, new_record_maps
from nncomp.network.engine import Network
from nncomp.network.model import Model
from nncomp.training.corpus import Corpus, Span
from nncomp.training.held_out import left_out

_PIECE_BYTES = 30_000
_ALL, _LANE, _KIB, _2_KIB, _4_KIB, _8_KIB, _16_KIB, _32_KIB = range(8)  # reaches
# The contexts of the token tree that a model uses, by source and reach: a usual model; a model of two networks, which has time
# for more of them; a quick model and its selectors.
_USUAL = (
    *((source, _ALL) for source in (2, 3, 4, 7, 11, 14, 21, 22, 23, 24)),
    *((source, _LANE) for source in (0, 1, 10, 12, 13, 15, 17, 19)),
    *((0, _KIB), (6, _KIB), (17, _2_KIB), (1, _4_KIB), (12, _8_KIB), (19, _8_KIB)),
)
_MANY = (
    *((source, _ALL) for source in (2, 3, 4, 7, 11, 14, 21, 22, 23, 24)),
    *((source, _LANE) for source in (0, 1, 10, 12, 13, 15, 17, 19)),
    *((0, _KIB), (6, _KIB), (17, _2_KIB), (1, _4_KIB), (2, _4_KIB), (11, _4_KIB), (12, _8_KIB), (19, _8_KIB)),
    *((8, _16_KIB), (16, _16_KIB), (18, _32_KIB), (19, _32_KIB)),
)
_QUICK = (
    *((source, _ALL) for source in (0, 1, 2, 12, 22)),
    *((source, _LANE) for source in (13, 17, 19)),
    *((6, _KIB), (1, _4_KIB), (19, _8_KIB)),
)
_QUICK_SELECTORS = (1, 3, 4)

# Plain weights; mixer.WEIGHT_ONE is 1.
_CONTEXT_WEIGHTS = (4000, 1000)  # of a context's two inputs
_MATCH_WEIGHTS = (8000, 0)
_NGRAM_WEIGHTS = (4000, 0)
_NETWORK_WEIGHTS = (45000, 0, 0)
_STRENGTH_SLOPE = 2


def plain_values(
    contexts: tuple[int, ...], selectors: tuple[int, ...] = ALL_SELECTORS, networks: int = 1
) -> dict[str, NDArray[Any]]:
    """Return start values (`start_values.shapes`) that nothing was learned for.

    `contexts` (N) and `selectors` (R) are the numbers of those in use, upwards.
    """
    count = len(contexts)
    first = np.zeros(input_count(count, networks), np.int32)
    first[: bias_input(count)] = (*_CONTEXT_WEIGHTS * count, *_MATCH_WEIGHTS * MATCHES, *_NGRAM_WEIGHTS, *_NETWORK_WEIGHTS)
    return {
        "contexts": np.array(contexts, np.uint8),
        "row_sets": np.array(selectors, np.uint8),
        "weights": np.tile(first, (sum(FIRST_SETS), 1)),
        "final_weights": mixer.first_final_weights(sum(FINAL_WEIGHT_SETS), len(selectors)),
        "histories": new_state_maps(count),
        "joint": new_joint_maps(count, STATES),
        "records": new_record_maps(count),
        "record_joint": new_joint_maps(count, RECORD_MAPS),
        "strength": match_model.first_strength(_STRENGTH_SLOPE),
        "ngram_strength": ngram_table.first_strength(),
        "map_1": mixer.new_apm(match_apm_contexts(networks)),
    }


def first_values(init: Model | None = None, is_quick: bool = False) -> dict[str, NDArray[Any]]:
    """Return plain values with the contexts and selectors of the model `init` or of a new model.

    With `is_quick` a new model has few of them, as `fast` has.
    """
    if init is not None:
        return plain_values(*chosen_parts(start_of(init.extra)))
    chosen, selectors = (_QUICK, _QUICK_SELECTORS) if is_quick else (_USUAL, ALL_SELECTORS)
    return plain_values(tuple(sorted(context(*one) for one in chosen)), selectors)


def values_anew(model: Model) -> dict[str, NDArray[Any]]:
    """Return plain values for a model that is made of parts: with the contexts and selectors that a new model would have.

    It has few of them where the model has few selectors, and more where it has two networks.
    """
    if model.second is not None:
        return plain_values(tuple(sorted(context(*one) for one in _MANY)), networks=2)
    return first_values(is_quick=len(chosen_parts(start_of(model.extra))[1]) < len(ALL_SELECTORS))


def learn_start_values(model: Model, corpus: Corpus, total_bytes: int, seed: int, plain: dict[str, NDArray[Any]]) -> Model:
    """Return the model with start values of mixing, learned from `plain` values on about `total_bytes` of the corpus.

    Each file of the corpus gives as many documents as each other file; of a model with an n-gram table, documents that were not
    counted for it. What a document leaves suits documents of its kind. So the start values are the mean of what each document
    left, without the first quarter of them.
    """
    packed, values = Network(model), plain
    corpus = left_out(corpus) if model.ngrams else corpus  # an n-gram table is surer of texts that were counted for it
    spans, mean = _draw(corpus, total_bytes, np.random.default_rng(seed)), _Mean()
    for i, piece in enumerate(corpus.spans(spans)):
        values = encode_and_learn(packed, piece, values).learned
        if i >= len(spans) // 4:
            mean.add(values)
    return replace(model, extra={**model.extra, **start_extra(mean.of_all())})


class _Mean:
    """The mean of start values: of weights and points, and of adaptive probabilities with the counts of the last ones."""

    def __init__(self) -> None:
        self.sums, self.last, self.count = dict[str, NDArray[np.int64]](), dict[str, NDArray[Any]](), 0

    def add(self, values: dict[str, NDArray[Any]]) -> None:
        """Count these values, too."""
        self.last, self.count = values, self.count + 1
        for name, array in values.items():
            self.sums[name] = self.sums.get(name, np.int64(0)) + (array >> _count_bits(array)).astype(np.int64)

    def of_all(self) -> dict[str, NDArray[Any]]:
        """Return the mean."""
        means = dict[str, NDArray[Any]]()
        for name, last in self.last.items():
            bits = _count_bits(last)
            rounded = (self.sums[name] + self.count // 2) // self.count
            means[name] = (rounded << bits | last.astype(np.int64) & ((1 << bits) - 1)).astype(last.dtype)
        return means


def _count_bits(array: NDArray[Any]) -> int:
    return COUNT_BITS if array.dtype == np.uint32 else 0


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
