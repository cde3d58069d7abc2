"""The loops over vectors do what their twins in Python do, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nncomp.mixing import mixer, tables, vectors
from nncomp.mixing.start_values import input_count
from nncomp.mixing.token_contexts import all_contexts
from tests.conftest import called_from_python

WIDTHS = 8, 16, 24, 56, 64, 408


def _dot(rows: Any, row: int, inputs: Any) -> Any:
    return vectors.dot(rows, row, inputs)


def _move(rows: Any, row: int, inputs: Any, step: int, limit: int) -> None:
    vectors.move_along(rows, row, inputs, step, limit)


def _find(words: Any, first: int, mask: int, value: int) -> Any:
    return vectors.find_eight(words, first, mask, value)


dot, move, find = (called_from_python(function) for function in (_dot, _move, _find))
dot_slowly, move_slowly, find_slowly = vectors.dot.py_func, vectors.move_along.py_func, vectors.find_eight.py_func


def _inputs(rng: Any, width: int, most: int) -> Any:
    return rng.integers(-most, most + 1, width).astype(np.int32)


@pytest.mark.parametrize("width", WIDTHS)
def test_dot(width: int) -> None:
    rng = np.random.default_rng(width)
    rows = rng.integers(-mixer.WEIGHT_LIMIT, mixer.WEIGHT_LIMIT + 1, (3, width)).astype(np.int32)
    inputs = _inputs(rng, width, tables.LOGIT_LIMIT)
    assert [dot(rows, row, inputs) for row in range(3)] == [dot_slowly(rows, row, inputs) for row in range(3)]


def test_the_greatest_dot_fits() -> None:
    """As many inputs as a mixer can have, all of them and all weights at their bounds."""
    count = input_count(len(all_contexts()), 2)
    rows, inputs = np.full((1, count), mixer.WEIGHT_LIMIT, np.int32), np.full(count, tables.LOGIT_LIMIT, np.int32)
    for sign in (1, -1):
        assert dot(rows, 0, sign * inputs) == count * (sign * mixer.WEIGHT_LIMIT * tables.LOGIT_LIMIT >> vectors.DOT_SHIFT)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("step", [11, -4000, 1 << 19, -(1 << 19)])
def test_move_along(width: int, step: int) -> None:
    rng = np.random.default_rng(width)
    rows = rng.integers(-mixer.WEIGHT_LIMIT, mixer.WEIGHT_LIMIT + 1, (3, width)).astype(np.int32)
    inputs, slow = _inputs(rng, width, tables.LOGIT_LIMIT), rows.copy()
    for row in (2, 0, 2):
        move(rows, row, inputs, step, mixer.WEIGHT_LIMIT)
        move_slowly(slow, row, inputs, step, mixer.WEIGHT_LIMIT)
    assert (rows == slow).all()


def test_find_eight() -> None:
    """All sets of places, at an odd beginning, each word beside bits that the mask hides."""
    rng, value, mask = np.random.default_rng(1), 0x2A0, 0xFFE0
    for places in range(256):
        words = rng.integers(0, 1 << 32, 11).astype(np.uint32)
        words[3:] = np.where([places >> i & 1 for i in range(8)], words[3:] & ~np.uint32(mask) | value, words[3:] | 0x400)
        assert find(words, 3, mask, value) == find_slowly(words, 3, mask, value) == places.bit_length() - 1
