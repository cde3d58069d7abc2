"""What mixing on tokens knows before a block begins: the start values of a model file, and the sizes that they have.

A model file says which contexts and selectors it uses, for each costs time. The names of the arrays are those of the model file
(docs/FORMAT.md, "Start values"). Knows nothing of how they are used.
"""

# N contexts and R selectors in use, I inputs

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import ModelError
from nncomp.mixing import match_model, mixer
from nncomp.mixing.bit_histories import INPUTS_PER_CONTEXT, new_joint_maps, new_state_maps
from nncomp.mixing.match_model import INPUTS_PER_MATCH, MATCHES
from nncomp.mixing.token_contexts import all_contexts

MAX_BITS = 16  # decisions of a token
TOPS = 256 + MAX_BITS  # the first eight decisions by node, the others by depth
NETWORK_INPUTS = 2
OTHER_INPUTS = INPUTS_PER_MATCH * MATCHES + NETWORK_INPUTS + 1  # beside those of contexts: matches, network, bias

# What each selector picks its weight set by, and how many weight sets it has.
SELECTOR_NAMES = "match", "node", "last byte", "kinds of the last two bytes"
BY_MATCH, BY_NODE, BY_LAST_BYTE, BY_KINDS = range(len(SELECTOR_NAMES))
WEIGHT_SETS = (match_model.SURE_VALUES, TOPS, 2 * 256, 2 * 64)  # the last two: also by whether half of the token is known
FIRST_WEIGHT_SETS = tuple(accumulate(WEIGHT_SETS, initial=0))[:-1]
FINAL_WEIGHT_SETS = match_model.SURE_VALUES * MAX_BITS

# The APMs, and how many contexts each has.
APM_NAMES = "node", "last byte and node", "match and network"
APM_CONTEXTS = (TOPS, 1 << 16, 16 * match_model.SURE_VALUES)

# Weights before anything is learned; mixer.WEIGHT_ONE is 1.
FIRST_WEIGHTS = (4000, 1000)  # of a context's two inputs
FIRST_MATCH_WEIGHTS = (8000, 0)
FIRST_NETWORK_WEIGHTS = (45000, 0)
STRENGTH_SLOPE = 2

PLAIN_CONTEXTS = tuple(range(20))  # of a model file that does not say
ALL_SELECTORS = tuple(range(len(SELECTOR_NAMES)))


def network_input(contexts: int) -> int:
    """Return which input is the network's first one: contexts and matches come before."""
    return INPUTS_PER_CONTEXT * contexts + INPUTS_PER_MATCH * MATCHES


def bias_input(contexts: int) -> int:
    """Return which input is the bias: the last one."""
    return network_input(contexts) + NETWORK_INPUTS


def input_count(contexts: int) -> int:
    """Return the length of a weight set."""
    return mixer.padded(bias_input(contexts) + 1)


def start_values(
    contexts: tuple[int, ...] = PLAIN_CONTEXTS, selectors: tuple[int, ...] = ALL_SELECTORS, is_joint: bool = False
) -> dict[str, NDArray[Any]]:
    """Return the arrays of a model file before anything is learned.

    `contexts` and `selectors` say which contexts and selectors are used; both are left out where they are
    those of a model that does not say.
    """
    count = len(contexts)
    first = np.zeros(input_count(count), np.int32)
    first[: bias_input(count)] = (*FIRST_WEIGHTS * count, *FIRST_MATCH_WEIGHTS * MATCHES, *FIRST_NETWORK_WEIGHTS)
    chosen = {"contexts": np.array(contexts, np.uint8), "row_sets": np.array(selectors, np.uint8)}
    return {
        "weights": np.tile(first, (sum(WEIGHT_SETS), 1)),
        "final_weights": mixer.first_final_weights(FINAL_WEIGHT_SETS, len(selectors)),
        "histories": new_state_maps(count),
        "strength": match_model.first_strength(STRENGTH_SLOPE),
        "map_0": mixer.new_apm(APM_CONTEXTS[0]),
        "map_2": mixer.new_apm(APM_CONTEXTS[2]),
        **({"joint": new_joint_maps(count)} if is_joint else {}),
        **(chosen if (contexts, selectors) != (PLAIN_CONTEXTS, ALL_SELECTORS) else {}),
    }


def _chosen(given: dict[str, NDArray[Any]], name: str, known: tuple[int, ...], plain: tuple[int, ...]) -> tuple[int, ...]:
    """Return which of the `known` numbers a model uses, upwards; the plain ones when the model does not say."""
    found = given.get(name)
    if found is None:
        return plain
    numbers = tuple(found.tolist()) if found.dtype == np.uint8 and found.ndim == 1 else ()
    if not numbers or not set(numbers) <= set(known) or list(numbers) != sorted(set(numbers)):
        raise ModelError(f"The model's list {name} of mixing is none of those there can be; the file is damaged.")
    return numbers


def chosen_parts(given: dict[str, NDArray[Any]]) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
    """Return which contexts and selectors a model with these start values uses, and whether it has joint StateMaps.

    Raises ModelError for damaged lists.
    """
    contexts = _chosen(given, "contexts", all_contexts(), PLAIN_CONTEXTS)
    return contexts, _chosen(given, "row_sets", ALL_SELECTORS, ALL_SELECTORS), "joint" in given


_GREATEST = {  # values; weights may be as far below 0. Any uint32 is a valid adaptive probability.
    "weights": mixer.WEIGHT_LIMIT,
    "final_weights": mixer.WEIGHT_LIMIT,
    "map_0": mixer.APM_TOP,
    "map_2": mixer.APM_TOP,
}


def check_start(given: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the start values of a model file, or the plain ones if it has none; raises ModelError for damaged ones."""
    if not given:
        return start_values()
    for name, array in start_values(*chosen_parts(given)).items():
        found = given.get(name)
        if found is None or found.dtype != array.dtype or found.shape != array.shape:
            raise ModelError(f"The model's start value {name} of mixing is missing or of another shape; the file is damaged.")
        top = _GREATEST.get(name)
        if top is not None and (found.max() > top or found.min() < (-top if "weights" in name else 0)):
            raise ModelError(f"The model's start value {name} of mixing leaves its bounds; the file is damaged.")
    return given
