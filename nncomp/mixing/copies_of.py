"""Copies of what a predictor has learned: its named tuples of arrays, all of them anew."""

from __future__ import annotations

from typing import Any

import numpy as np


def copied(part: Any) -> Any:
    """Return an array's copy, or a tuple, named or not, of the copies of its parts.

    >>> copied((np.array([1, 2]), (np.array([3]),)))
    (array([1, 2]), (array([3]),))
    """
    if isinstance(part, np.ndarray):
        return part.copy()
    made = [copied(each) for each in part]
    return type(part)(*made) if hasattr(part, "_fields") else tuple(made)
