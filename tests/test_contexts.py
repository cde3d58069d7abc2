"""Every context is in every place that must know it; a failure names the place that lacks it, or the number that is wrong there.

CONTRIBUTING.md and `nncomp/mixing/byte_predictor.py` say in which order to fill them. That all places mean the same is tested
where blocks are compared: test_token_payload.py, test_byte_predictor.py and test_independent.py.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from checks.independent import byte_model, token_tree
from checks.independent.model_file import _expected_of_mixing
from checks.independent.refused import RefusedError
from nncomp.mixing import byte_contexts, token_contexts
from nncomp.mixing.byte_contexts_reference import Text
from nncomp.mixing.token_predictor_reference import TokenReference
from tests.conftest import ROOT
from tests.models import small_start

FORMAT = (ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8")


def lines_of(kernel: Any) -> list[int]:
    """Return the numbers i of the lines `h[i] = ...` of a kernel."""
    source = inspect.getsource(getattr(kernel, "py_func", kernel))
    return [int(number) for number in re.findall(r"^ +h\[(\d+)\] = ", source, re.MULTILINE)]


def rows_of(header: str) -> list[int]:
    """Return the numbers in the table of FORMAT.md whose header begins so; its cells are number and formula in turns."""
    (table,) = re.findall(rf"^{re.escape(header)}.*\n((?:\|.*\n)+)", FORMAT, re.MULTILINE)
    return sorted(int(number) for number in re.findall(r"\| (\d+) \| [^|]+ (?=\|)", table))


def sources_of_the_second_decoder() -> list[int]:
    lane, tables = token_tree.LaneText(0, 0), (np.zeros(65536, np.int64), np.zeros(2**18, np.int64))
    found: list[int] = []
    while len(found) < token_contexts.SOURCE_LIMIT:
        try:
            lane.contexts(np.array([len(found)]), *tables)
        except IndexError:
            break
        found.append(len(found))
    return found


def sources_of_its_models() -> list[int]:
    found = []
    for source in range(token_contexts.SOURCE_LIMIT):
        try:
            _expected_of_mixing(
                {f"extra.mixing.{name}": np.array([n], np.uint8) for name, n in (("contexts", source), ("row_sets", 0))}, 1
            )
        except RefusedError:
            continue
        found.append(source)
    return found


def counted(values: Any) -> list[int]:
    return list(range(len(values)))


TOKEN_PLACES: dict[str, Callable[[], list[int]]] = {
    'the table of docs/FORMAT.md, "The token tree"': lambda: rows_of("| s | h |"),
    '"source 0 to ..." in docs/FORMAT.md, "Start values"': lambda: list(
        range(int(re.findall(r"reach 0 to 7, source 0 to (\d+)", FORMAT)[0]) + 1)
    ),
    "set_sources in nncomp/mixing/token_contexts.py": lambda: lines_of(token_contexts.set_sources),
    "TokenReference.sources in nncomp/mixing/token_predictor_reference.py": lambda: counted(
        TokenReference(8, [0, 1], 256, small_start()).sources(0)
    ),
    "LaneText.contexts in checks/independent/token_tree.py": sources_of_the_second_decoder,
    "`known` in checks/independent/model_file.py": sources_of_its_models,
}
BYTE_PLACES: dict[str, Callable[[], list[int]]] = {
    'the table of docs/FORMAT.md, "The byte model"': lambda: rows_of("| i | h |"),
    "set_contexts in nncomp/mixing/byte_contexts.py": lambda: lines_of(byte_contexts.set_contexts),
    "Text.contexts in nncomp/mixing/byte_contexts_reference.py": lambda: counted(Text().contexts(b"", 0)),
    "_CONTEXTS in checks/independent/byte_model.py": lambda: list(range(byte_model._CONTEXTS)),
    "ByteModel._contexts in checks/independent/byte_model.py": lambda: counted(byte_model.ByteModel(16, 1)._contexts()),
}


@pytest.mark.parametrize("place", TOKEN_PLACES)
def test_sources_of_mixing_on_tokens(place: str) -> None:
    expected, found = list(range(token_contexts.SOURCES)), TOKEN_PLACES[place]()
    assert found == expected, f"{place} has the sources {found}; SOURCE_NAMES in token_contexts.py has {expected}"


@pytest.mark.parametrize("place", BYTE_PLACES)
def test_contexts_of_mixing_on_bytes(place: str) -> None:
    expected, found = list(range(byte_contexts.CONTEXTS)), BYTE_PLACES[place]()
    assert found == expected, f"{place} has the contexts {found}; CONTEXT_NAMES in byte_contexts.py has {expected}"


def test_names_are_told_apart() -> None:
    for names in (token_contexts.SOURCE_NAMES, byte_contexts.CONTEXT_NAMES):
        assert len(set(names)) == len(names)
    numbers = token_contexts.all_contexts()
    assert len({token_contexts.context_name(number) for number in numbers}) == len(numbers) == len(set(numbers))
