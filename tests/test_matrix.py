"""A part of the exactness matrix on each run: what each product makes and reads in whole blocks.

The other rows are compared in smaller tests: test_token_payload.py (the definition), test_independent.py, test_known_tokens.py
(no compiler) and test_torch_engine.py. `python -m checks.matrix` has them all in one table.
"""

from __future__ import annotations

from typing import Any

import pytest

from checks import matrix
from nncomp.network.registry import installed_model

pytestmark = [pytest.mark.slow, pytest.mark.skipif(installed_model("default") is None, reason="no shipped model")]


def test_engines_make_the_same_files_and_read_them_all() -> None:
    lines: list[str] = []
    assert matrix.fill([row for row in matrix.ROWS if row.threads == 2], lines.append)
    assert len(lines) == 1 + 3
    assert all("8 of 8" in line for line in lines[1:])


def test_the_matrix_notices_another_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(row: matrix.Row, files: dict[str, str]) -> dict[str, Any]:
        odd = row.name == matrix.ROWS[1].name
        told = dict.fromkeys(files, True) if files else {"short 0": "ab" if odd else "aa"}
        return {"files": told, "numpy": "0"}

    monkeypatch.setattr(matrix, "ask", ask)
    assert not matrix.fill(matrix.ROWS[:3], lambda line: None)
    assert matrix.fill([matrix.ROWS[0], matrix.ROWS[2]], lambda line: None)
    monkeypatch.setattr(matrix, "ask", lambda row, files: {"files": {"short 0": False if files else "aa"}, "numpy": "0"})
    assert not matrix.fill(matrix.ROWS[:1], lambda line: None)
