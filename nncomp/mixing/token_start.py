"""What mixing on tokens begins a block with, from the start values of a model, and what it has learned when the block ends.

Knows nothing of how decisions are predicted (`token_predictor`).
"""

# L lanes, N contexts, R selectors

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.mixing import byte_contexts, match_model, mixer, ngram_table, start_values, token_contexts, token_histories
from nncomp.mixing.arithmetic import BIAS, COUNT_BITS
from nncomp.mixing.copies_of import copied
from nncomp.mixing.match_model import MATCHES
from nncomp.mixing.mixer import Mixer
from nncomp.mixing.start_values import (
    APMS,
    BY_MATCH,
    FINAL_WEIGHT_SETS,
    NODE_APM_CONTEXTS,
    WEIGHT_SETS,
)
from nncomp.mixing.token_predictor import TokenConstants, TokenMemory, TokenMixing, TokenScratch

# Rates of learning, see mixer.learn: of the final mixers, of the selector by match, of the other selectors.
_FINAL_RATES, _MATCH_RATES, _OTHER_RATES = (100, 20_000, 5), (2400, 160_000, 5), (800, 160_000, 5)
CONTEXT_MAPS = "histories", "joint", "records", "record_joint"  # the start values of the maps of `TokenHistories`, in its order
_START_COUNT = 60  # of an adaptive probability in a model file, at most: so it goes on learning


def learned_values(m: TokenMixing) -> dict[str, NDArray[Any]]:
    """Return the start values (`start_values.shapes`) as a block has left them.

    Counts are lowered, so that they go on learning.
    """
    memory, mask = m.memory, np.uint32((1 << COUNT_BITS) - 1)
    learned = dict(zip(CONTEXT_MAPS, memory.histories[-len(CONTEXT_MAPS) :], strict=True))
    learned["strength"], learned["map_1"] = memory.matches.strength, memory.apms[1]
    learned["ngram_strength"] = memory.ngrams.strength
    return {
        "contexts": m.constants.contexts.astype(np.uint8),
        "row_sets": m.constants.selectors.astype(np.uint8),
        "weights": mixer.learned_first(memory.mixer.sets),
        "final_weights": mixer.learned_first(memory.mixer.finals),
        **{name: (array & ~mask) | np.minimum(array & mask, np.uint32(_START_COUNT)) for name, array in learned.items()},
    }


def resumed(m: TokenMixing, raw_bytes: int) -> TokenMixing:
    """Return a copy of the predictor of one lane whose bytes are all there, with room for `raw_bytes` more."""
    fields = m.memory._asdict()
    old, ngrams = fields.pop("histories"), fields.pop("ngrams")
    histories = token_histories.new_histories(old.table.size // token_histories.LINE_BYTES, *copied(old[2:]))
    histories.table[:] = old.table
    ngrams = ngrams._replace(strength=ngrams.strength.copy())  # the entries are never written
    memory = TokenMemory(histories=histories, ngrams=ngrams, **{name: copied(part) for name, part in fields.items()})
    ids = np.concatenate([memory.tokens.ids, np.zeros(raw_bytes, np.int32)])
    memory = memory._replace(tokens=memory.tokens._replace(ids=ids))
    starts = m.constants.starts + np.array([0, raw_bytes])
    return TokenMixing(m.constants._replace(starts=starts), memory, copied(m.scratch))


def rates_of(selectors: Sequence[int]) -> NDArray[np.int64]:
    """Return the rates of learning of the final mixers and of each of these selectors, shape (1 + R, 3)."""
    return np.array([_FINAL_RATES, *(_MATCH_RATES if k == BY_MATCH else _OTHER_RATES for k in selectors)], np.int64)


def new_mixing(
    raw_bytes: int,
    starts: NDArray[np.int64],
    lines: int,
    given: dict[str, NDArray[Any]],
    networks: int = 1,
    ngrams: NDArray[np.uint32] | None = None,
) -> TokenMixing:
    """Return the predictor of `raw_bytes` bytes in lanes that begin at `starts` (L + 1,), with `lines` lines of hash table.

    The tables of matches have as many entries as there are lines. One or two networks predict. `ngrams` are the entries of the
    model's n-gram table, if it has one.

    `given` are the start values of the model (`start_values.shapes`). Raises ModelError for missing and damaged ones.
    """
    lanes = len(starts) - 1
    start = {name: array.copy() for name, array in start_values.check_start(given, networks).items()}
    contexts, selectors = start_values.chosen_parts(start)
    count, by_node = len(contexts), min(lines, NODE_APM_CONTEXTS)
    mixing = mixer.new_mixer_scratch(start_values.input_count(count, networks), len(selectors), len(FINAL_WEIGHT_SETS), APMS)
    mixing.inputs[start_values.bias_input(count)] = BIAS
    return TokenMixing(
        TokenConstants(
            contexts=np.array(contexts, np.int64),
            selectors=np.array(selectors, np.int64),
            rates=rates_of(selectors),
            starts=np.asarray(starts, np.int64),
            apm_mask=np.int64(by_node - 1),
            networks=np.int64(networks),
        ),
        TokenMemory(
            texts=byte_contexts.new_text(lanes),
            tokens=token_contexts.new_tokens(raw_bytes, lanes),
            matches=match_model.new_matches(lanes, lines, start["strength"]),
            ngrams=ngram_table.Ngrams(ngram_table.no_entries() if ngrams is None else ngrams, start["ngram_strength"]),
            histories=token_histories.new_histories(lines, *(start[name] for name in CONTEXT_MAPS)),
            mixer=Mixer(
                mixer.new_sets(sum(WEIGHT_SETS), start["weights"]), mixer.new_sets(sum(FINAL_WEIGHT_SETS), start["final_weights"])
            ),
            apms=(mixer.new_apm(by_node), start["map_1"]),
            network_map=mixer.new_apm(by_node),
        ),
        TokenScratch(
            sources=np.zeros(token_contexts.SOURCES, np.int64),
            hashes=np.zeros((lanes, count), np.int64),
            places=token_histories.new_places(count),
            ngram_hashes=np.zeros((lanes, len(ngram_table.ORDERS)), np.int64),
            ngram=np.full(ngram_table.FIELDS, -1, np.int64),
            heads=np.zeros(MATCHES, np.int64),
            network=np.zeros(3, np.int64),
            mixing=mixing,
        ),
    )
