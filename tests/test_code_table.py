"""A table of codes learned for a tiny model: it makes texts of its kinds smaller, and nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nncomp.blocks import token_payload
from nncomp.blocks.code_choice import code_bits, likely_codes
from nncomp.network.code import named_codes
from nncomp.network.engine import Network
from nncomp.network.model import Model
from nncomp.network.surprisal import surprisal_bits
from nncomp.training import whole_run
from nncomp.training.code_table import CodePlan, _first_entries, learn_codes
from nncomp.training.corpus import Corpus, find_corpus
from nncomp.training.run_plan import RunPlan
from nncomp.training.trainer import TrainingConfig
from tests.models import SHAPE, TEXT, load_model, small_model

LETTERS = bytes(range(97, 123)) * 400
PLAN = CodePlan(4, steps=120, texts=20, text_bytes=300, tokens=40, tried_tokens=10)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "text.txt").write_bytes(TEXT)
    (folder / "letters.txt").write_bytes(LETTERS)
    return find_corpus(str(folder))


@pytest.fixture(scope="module")
def learned(corpus: Corpus) -> Model:
    torch.set_num_threads(1)
    return learn_codes(small_model(), [corpus], PLAN)


def test_learned_codes_make_texts_smaller(learned: Model) -> None:
    """The integer network takes fewer bits with the code that is chosen; payloads are never larger, in all smaller."""
    network, saved, saved_with_mixing, all_bits = Network(learned), 0.0, 0.0, 0.0
    for data in (TEXT[:200], TEXT[700:1000], TEXT[2000:2200], LETTERS[3:120]):
        ids, code = learned.vocabulary.encode(data), likely_codes(network, token_payload.model_start(network), data, 4)[0].code
        none_bits = surprisal_bits(network, ids, 1)
        all_bits += none_bits
        saved += none_bits - surprisal_bits(network, ids, 1, code)
        with_code = token_payload.encode_tokens(network, data)
        without = token_payload.encode_and_learn(network, data, token_payload.model_start(network))
        assert token_payload.decode_tokens(network, with_code.payload, len(data)) == data
        assert len(with_code.payload) <= len(without.payload)
        saved_with_mixing += without.cost_bits - with_code.cost_bits
    assert saved > 0.03 * all_bits
    assert saved_with_mixing > 0


def test_only_the_table_is_learned(learned: Model) -> None:
    before = small_model()
    assert learned.sizes == before.sizes | {"code_entries": 4}
    for name, array in before.arrays._asdict().items():
        assert np.array_equal(getattr(learned.arrays, name), array), name
    assert learned.code is not None
    assert len(np.unique(learned.code.state.reshape(4, -1), axis=0)) == 4, "each code is another"


def test_the_encoder_names_a_good_code(learned: Model) -> None:
    """The first code that it names saves nearly as much as the best of all."""
    assert learned.code is not None
    network, first, best = Network(learned), 0.0, 0.0
    for data in (TEXT[:200], TEXT[700:1000], TEXT[2000:2200], LETTERS[3:120], LETTERS[:50]):
        ids = learned.vocabulary.encode(data)
        none, *bits = code_bits(network, token_payload.model_start(network), ids, range(5)).sum(0).tolist()
        first += none - bits[named_codes(learned.code, learned.arrays.embedding[ids])[0] - 1]
        best += none - min(bits)
    assert first > 0.9 * best > 0


def test_first_entries_are_of_similar_texts() -> None:
    """Texts of one name are parted by the tokens that they have; more codes than names, fewer, and one."""
    random = np.random.default_rng(0)
    ids = np.concatenate([np.tile(np.arange(low, low + 20), (10, 1)) for low in (0, 100, 200)])
    names = np.repeat([0, 0, 1], 10)
    entries, families = _first_entries(ids, names, 4, random)
    assert families.tolist() == [0, 1, 0, 1]
    assert len(set(entries[:10])) == len(set(entries[10:20])) == 1 and entries[0] != entries[10]
    assert set(families[entries[:20]]) == {0} and set(families[entries[20:]]) == {1}
    assert set(_first_entries(ids, names, 1, random)[0]) == {0}


def test_a_model_with_codes_from_text_to_file(tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nncomp train --code`: the model has the table, and a training goes on from it, without the table or with a new one."""
    monkeypatch.setattr(whole_run, "_START_BYTES", 30_000)
    monkeypatch.setattr(whole_run, "CodePlan", lambda codes: replace(PLAN, codes=codes, steps=5))
    folder = str(Path(corpus.paths[0]).parent)
    config, lines = TrainingConfig(time_s=600, tokens=4 * 32 * 10, lanes=4, steps=32, warmup_steps=5), list[str]()
    start: Model | None = None
    for codes in (3, 0):
        plan = RunPlan(folder, folder, tmp_path / f"work{codes}", start or SHAPE, config, codes=codes)
        network = whole_run.train(plan, lines.append)
        whole_run.finish(plan, network, tmp_path / f"{codes}.safetensors", lines.append)
        start = load_model(tmp_path / f"{codes}.safetensors")
        assert (start.code is not None, start.sizes.get("code_entries", 0)) == (codes > 0, codes)
    assert json.loads((tmp_path / "work3/record.json").read_text(encoding="utf-8"))["valid_bpb_float"] > 0
