"""Sizes of mixing on the token tree, and what it knows before it has seen a byte: the start values of a model.

A model says which contexts and sets of weight rows it uses: each one costs time. A context is a source, what is looked at, and
a reach, where it was seen: in all lanes, in this lane, or in this lane's last KiB to 32 KiB. Knows nothing of how they work.
"""

# N contexts, R row sets in use

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import ModelError
from nncomp.mixing import components
from nncomp.mixing.byte_predictor import MATCH_CLASSES

# What each source of a context looks at, in the order of `token_model.begin_token`.
SOURCE_NAMES = (
    "order 0", "1 token", "2 tokens", "3 tokens", "key, word", "5 tokens", "1 byte", "2 bytes", "3 bytes", "4 bytes",
    "indent, first byte, word", "word", "2 words", "field above (byte)", "expected token", "column, byte above",
    "field above (hash)", "format", "format, word", "tag, word", "followers of 1 token", "followers of 2 tokens",
    "both followers", "3 words", "word, older word",
)  # fmt: skip
SOURCES = len(SOURCE_NAMES)  # a context is number 32 * reach + source
REACHES = 8  # 0: all lanes, 1: this lane, k > 1: this lane since a multiple of 2**(8 + k) bytes
MATCHES = 2
MATCH_LEAST = (5, 2)  # tokens that must agree before a match is followed
OTHER_INPUTS = 2 * MATCHES + 3  # beside two a context: two a match, two of the network, the bias
MAX_BITS = 16
ROW_SETS = (64, 256 + MAX_BITS, 512, 128)  # weight rows, by: match, node, last byte, kinds of the last two bytes
FINAL_ROWS = 64 * MAX_BITS
_TOP_ROWS, _SURE_ROWS = 256 + MAX_BITS, 1024  # of the first and the last APM
FIRST_WEIGHTS = (4000, 1000)  # of a context's two inputs; 65536 is 1
FIRST_MATCH_WEIGHTS = (8000, 0)
FIRST_NETWORK_WEIGHTS = (45000, 0)


PLAIN_CONTEXTS, ALL_ROW_SETS = tuple(range(20)), tuple(range(len(ROW_SETS)))
_KNOWN = tuple(32 * reach + source for reach in range(REACHES) for source in range(SOURCES))


def context(source: int, reach: int) -> int:
    """Return the number of a context."""
    return 32 * reach + source


def input_count(contexts: int) -> int:
    """Return the length of a row of weights: a multiple of 8, what no input takes stays 0."""
    return -(-(2 * contexts + OTHER_INPUTS) // 8) * 8


def start_values(
    contexts: tuple[int, ...] = PLAIN_CONTEXTS, row_sets: tuple[int, ...] = ALL_ROW_SETS, is_joint: bool = False
) -> dict[str, NDArray[Any]]:
    """Return the learned arrays as they are before anything is learned, and which contexts and row sets are used (unless the
    plain ones)."""
    count, rows = len(contexts), len(row_sets)
    first = np.zeros(input_count(count), np.int32)
    first[: 2 * count] = FIRST_WEIGHTS * count
    first[2 * count : 2 * (count + MATCHES)] = FIRST_MATCH_WEIGHTS * MATCHES
    first[2 * (count + MATCHES) :][:2] = FIRST_NETWORK_WEIGHTS
    strength = [(65536 - 65536 // (3 + 2 * (c >> 2))) << 16 for c in range(MATCH_CLASSES)] * MATCHES
    chosen = {"contexts": np.array(contexts, np.uint8), "row_sets": np.array(row_sets, np.uint8)}
    return {
        "weights": np.tile(first, (sum(ROW_SETS), 1)),
        "final_weights": np.full((FINAL_ROWS, rows), components.WEIGHT_ONE // rows, np.int32),
        "histories": components.new_slots(count, 2).history,
        "strength": np.array(strength, np.uint32),
        "map_0": components.new_apm(_TOP_ROWS),
        "map_2": components.new_apm(_SURE_ROWS),
        **({"joint": components.new_joint(count)} if is_joint else {}),
        **(chosen if (contexts, row_sets) != (PLAIN_CONTEXTS, ALL_ROW_SETS) else {}),
    }


def _chosen(given: dict[str, NDArray[Any]], name: str, known: tuple[int, ...], plain: tuple[int, ...]) -> tuple[int, ...]:
    """Return which of the `known` numbers a model uses: some of them, upwards; the plain ones when it does not say."""
    found = given.get(name)
    if found is None:
        return plain
    numbers = tuple(found.tolist()) if found.dtype == np.uint8 and found.ndim == 1 else ()
    if not numbers or not set(numbers) <= set(known) or list(numbers) != sorted(set(numbers)):
        raise ModelError(f"The model's list {name} of mixing is none of those there can be; the file is damaged.")
    return numbers


def chosen_parts(given: dict[str, NDArray[Any]]) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
    """Return which contexts and row sets a model with these start values uses, and whether joint probabilities; raises
    ModelError for damaged lists."""
    contexts = _chosen(given, "contexts", _KNOWN, PLAIN_CONTEXTS)
    return contexts, _chosen(given, "row_sets", ALL_ROW_SETS, ALL_ROW_SETS), "joint" in given


def check_start(given: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the start values of a model file (or, if it has none, the plain ones); raises ModelError for damaged ones.

    Any uint32 will do as a history, a joint probability or a strength: 22 bits of probability and 10 of count.
    """
    if not given:
        return start_values()
    plain = start_values(*chosen_parts(given))
    for name, array in plain.items():
        found = given.get(name)
        if found is None or found.dtype != array.dtype or found.shape != array.shape:
            raise ModelError(f"The model's start value {name} of mixing is missing or of another shape; the file is damaged.")
        top = {
            "weights": components.WEIGHT_LIMIT,
            "final_weights": components.WEIGHT_LIMIT,
            "map_0": (1 << 22) - 1,
            "map_2": (1 << 22) - 1,
        }
        if name in top and (found.max() > top[name] or found.min() < (-top[name] if "weights" in name else 0)):
            raise ModelError(f"The model's start value {name} of mixing leaves its bounds; the file is damaged.")
    return given
