"""What mixing on tokens knows before a block begins: the start values of a model file, and the sizes that they have.

Every model file has all of them. It says which contexts and selectors it uses, for each costs time. The names of the arrays are
those of the model file (docs/FORMAT.md, "Start values"). Knows nothing of how they are used.
"""

# N contexts and R selectors in use, I inputs

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import ModelError
from nncomp.mixing import match_model, mixer, ngram_table, vectors
from nncomp.mixing.bit_histories import INPUTS_PER_CONTEXT, STATES
from nncomp.mixing.match_model import INPUTS_PER_MATCH, MATCHES
from nncomp.mixing.token_contexts import all_contexts
from nncomp.mixing.token_histories import NETWORK_BINS, RECORD_MAPS

MAX_BITS = 16  # decisions of a token
NETWORK_INPUTS = 3
OTHER_INPUTS = INPUTS_PER_MATCH * MATCHES + ngram_table.INPUTS + NETWORK_INPUTS + 1  # beside those of contexts; 1: the bias

# What each selector picks its weight set by, and how many weight sets it has.
SELECTOR_NAMES = "match", "node", "last byte", "format", "last token"
BY_MATCH, BY_NODE, BY_LAST_BYTE, BY_FORMAT, BY_LAST_TOKEN = range(len(SELECTOR_NAMES))
NODES = 1 << 14  # later ones by depth
FORMATS = 1 << 14  # hashes of formats
TOKENS_BITS = 14  # tokens with the same first bits share a weight set
_BY_LAST_BYTE = 2 * 256  # by the last byte and by whether half of the token is known
WEIGHT_SETS = match_model.SURE_VALUES, NODES + MAX_BITS, _BY_LAST_BYTE, FORMATS, 1 << TOKENS_BITS
SETS_START = tuple(accumulate(WEIGHT_SETS, initial=0))[:-1]

# The first sets: what weight sets begin as. A model file has these.
FIRST_NODES, FIRST_FORMATS, FIRST_TOKENS_BITS = 256, 128, 10
FIRST_SETS = match_model.SURE_VALUES, FIRST_NODES + MAX_BITS, _BY_LAST_BYTE, FIRST_FORMATS, 1 << FIRST_TOKENS_BITS
FIRST_SETS_START = tuple(accumulate(FIRST_SETS, initial=0))[:-1]

# The final mixers, by match and depth, and by node: how many final weight sets each has.
FINAL_WEIGHT_SETS = match_model.SURE_VALUES * MAX_BITS, NODES + MAX_BITS

# The APMs. The first one, and the one that refines the network's prediction, by the last token and the node, are APMs by node.
# They have as many contexts as the hash table has lines, up to a number.
APM_NAMES = "last byte and node", "match and network"
APMS = len(APM_NAMES)
NODE_APM_CONTEXTS = 1 << 16
NETWORK_LEVELS = 16  # of the network's prediction
MATCH_APM_CONTEXTS = NETWORK_LEVELS * match_model.SURE_VALUES
APART_CLASSES = 4  # how far the second network is from the first one, with its sign: the second APM has its contexts for each

ALL_SELECTORS = tuple(range(len(SELECTOR_NAMES)))


def ngram_input(contexts: int) -> int:
    """Return which input is the first one of the n-gram table: contexts and matches come before."""
    return INPUTS_PER_CONTEXT * contexts + INPUTS_PER_MATCH * MATCHES


def network_input(contexts: int) -> int:
    """Return which input is the network's first one."""
    return ngram_input(contexts) + ngram_table.INPUTS


def bias_input(contexts: int) -> int:
    """Return which input is the bias: the last one of a model of one network."""
    return network_input(contexts) + NETWORK_INPUTS


def input_count(contexts: int, networks: int = 1) -> int:
    """Return the length of a weight set."""
    return vectors.padded(bias_input(contexts) + networks)


def match_apm_contexts(networks: int) -> int:
    """Return how many contexts the second APM has."""
    return MATCH_APM_CONTEXTS if networks == 1 else MATCH_APM_CONTEXTS * APART_CLASSES


def shapes(contexts: int, selectors: int, networks: int = 1) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Return dtype and shape of each array that N contexts and R selectors have, in a model of so many networks."""
    return {
        "contexts": (np.uint8, (contexts,)),
        "row_sets": (np.uint8, (selectors,)),
        "weights": (np.int32, (sum(FIRST_SETS), input_count(contexts, networks))),
        "final_weights": (np.int32, (sum(FINAL_WEIGHT_SETS), selectors)),
        "histories": (np.uint32, (contexts * STATES,)),
        "joint": (np.uint32, (contexts * STATES * NETWORK_BINS,)),
        "records": (np.uint32, (contexts * RECORD_MAPS,)),
        "record_joint": (np.uint32, (contexts * RECORD_MAPS * NETWORK_BINS,)),
        "strength": (np.uint32, (MATCHES * match_model.CLASSES,)),
        "ngram_strength": (np.uint32, (ngram_table.CLASSES * MAX_BITS,)),
        "map_1": (np.uint32, (match_apm_contexts(networks) * mixer.APM_POINTS,)),
    }


def _chosen(given: dict[str, NDArray[Any]], name: str, known: tuple[int, ...]) -> tuple[int, ...]:
    """Return which of the `known` numbers a model uses, upwards."""
    found = given.get(name)
    if found is None:
        raise ModelError(f"The model lacks the start value {name} of mixing; the file is damaged or of another version.")
    numbers = tuple(found.tolist()) if found.dtype == np.uint8 and found.ndim == 1 else ()
    if not numbers or not set(numbers) <= set(known) or list(numbers) != sorted(set(numbers)):
        raise ModelError(f"The model's list {name} of mixing is none of those there can be; the file is damaged.")
    return numbers


def chosen_parts(given: dict[str, NDArray[Any]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of the contexts and of the selectors that a model with these start values uses.

    Raises ModelError for lists that are missing or damaged.
    """
    return _chosen(given, "contexts", all_contexts()), _chosen(given, "row_sets", ALL_SELECTORS)


def check_start(given: dict[str, NDArray[Any]], networks: int = 1) -> dict[str, NDArray[Any]]:
    """Return the start values of a model of so many networks.

    Raises ModelError, with the part's name, for missing and damaged ones.
    """
    contexts, selectors = chosen_parts(given)
    for name, (dtype, shape) in shapes(len(contexts), len(selectors), networks).items():
        found = given.get(name)
        if found is None:
            raise ModelError(f"The model lacks the start value {name} of mixing; the file is damaged or of another version.")
        if found.dtype != dtype or found.shape != shape:
            raise ModelError(f"The model's start value {name} of mixing is of another type or shape; the file is damaged.")
        is_weights = name in ("weights", "final_weights")  # any uint32 is a valid adaptive probability
        if is_weights and not -mixer.WEIGHT_LIMIT <= found.min() <= found.max() <= mixer.WEIGHT_LIMIT:
            raise ModelError(f"The model's start value {name} of mixing leaves its bounds; the file is damaged.")
    return given
