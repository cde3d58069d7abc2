"""The start values of mixing that a model learns: the mean of what documents left, and worth having on other text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nncomp.blocks.token_payload import encode_and_learn, model_start, start_of
from nncomp.mixing.start_values import check_start
from nncomp.network.engine import Network
from nncomp.training import mixing_start
from nncomp.training.corpus import find_corpus
from tests.models import TEXT, small_model

PLAIN = mixing_start.plain_values((0, 2, 9, 14), (0, 1, 4))


@pytest.mark.parametrize("documents", [1, 6])
def test_the_mean_of_what_documents_leave(tmp_path: Path, documents: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and points are means; of an adaptive probability its upper 22 bits are, and the count is the last one."""
    monkeypatch.setattr(mixing_start, "_PIECE_BYTES", 500)
    (tmp_path / "text.txt").write_bytes(TEXT[: 500 * documents])
    corpus, model = find_corpus(str(tmp_path)), small_model()
    pieces, values = list(corpus.spans(mixing_start._draw(corpus, 500 * documents, np.random.default_rng(3)))), PLAIN
    assert len(pieces) == documents
    left = []
    for piece in pieces:
        values = encode_and_learn(Network(model), piece, values).learned
        left.append(values)
    left = left[documents // 4 :]
    found = start_of(mixing_start.learn_start_values(model, corpus, 500 * documents, 3, PLAIN).extra)
    check_start(found)
    assert set(found) == set(PLAIN)
    for name, array in found.items():
        each = np.array([one[name] for one in left], np.int64)
        if array.dtype == np.uint32:
            assert np.array_equal(array & 1023, left[-1][name] & 1023), name
            array, each = array >> 10, each >> 10
        assert np.array_equal(array, np.floor(each.mean(0) + 0.5)), name


def test_learned_values_make_other_text_smaller(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(TEXT[:20_000])
    learned = Network(mixing_start.learn_start_values(small_model(), find_corpus(str(tmp_path)), 20_000, 0, PLAIN))
    other = TEXT[20_000:22_000]
    assert len(encode_and_learn(learned, other, model_start(learned)).payload) < len(
        encode_and_learn(learned, other, PLAIN).payload
    )
