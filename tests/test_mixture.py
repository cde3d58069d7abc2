"""The objective "mixture": what mixing alone makes of the training text, and a training that leaves that to it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nncomp import range_coder
from nncomp.blocks.levels import lines_log2
from nncomp.blocks.token_payload import predict_tokens
from nncomp.errors import DataError
from nncomp.format.payloads import TokensHead
from nncomp.network.engine import Network
from nncomp.network.model import parse_model
from nncomp.training import whole_run
from nncomp.training.mixture import mixing_losses, silent_model, token_losses
from nncomp.training.run_plan import RunPlan
from tests.fast_engine import FastEngine
from tests.models import SHAPE, TEXT, small_start, small_vocabulary
from tests.test_objectives import CONFIG


def test_a_silent_network_finds_all_tokens_alike() -> None:
    engine = FastEngine(Network(silent_model(small_vocabulary())), 2)
    for token in (0, 300):
        groups = engine.step(np.array([token, 5]))
        assert len(np.unique(groups)) == 1
        assert len(np.unique(engine.token_frequencies(1, 3))) == 1


def test_losses_are_what_mixing_alone_costs() -> None:
    vocabulary, model = small_vocabulary(), Network(silent_model(small_vocabulary()))
    ids = vocabulary.encode(TEXT)
    losses, _ = token_losses(model, ids, small_start())
    p = predict_tokens(model, TEXT, small_start(), TokensHead(0, lines_log2(len(TEXT))))
    assert losses.shape == ids.shape and (losses > 0).all()
    assert losses.sum() / math.log(2) == pytest.approx(range_coder.cost_bits(p.decisions, p.p1), rel=1e-5)
    assert losses[-300:].mean() < losses[:300].mean() / 1.5, "it learns as it goes"


def test_pieces_are_predicted_apart() -> None:
    ids = small_vocabulary().encode(TEXT * 2).astype(np.uint16)
    half = len(ids) // 2
    lines: list[str] = []
    apart = mixing_losses(small_vocabulary(), ids, np.array([half, len(ids)]), lines.append)
    together = mixing_losses(small_vocabulary(), ids, np.array([len(ids)]), lines.append)
    assert np.array_equal(apart[:half], mixing_losses(small_vocabulary(), ids, np.array([half, len(ids)]), lines.append)[:half])
    assert together[half:].sum() < apart[half:].sum() / 2, "the second half repeats the first"
    assert "100%" in lines[-2]


def test_processes_find_the_same_losses() -> None:
    ids = small_vocabulary().encode(TEXT * 2).astype(np.uint16)
    ends = np.array([len(ids) // 3, len(ids) // 2, len(ids)])
    alone, together = (mixing_losses(small_vocabulary(), ids, ends, lambda line: None, workers) for workers in (0, 2))
    assert np.array_equal(alone, together)


def test_a_training_of_the_mixture(tmp_path: Path) -> None:
    corpus, work = tmp_path / "text.txt", tmp_path / "work"
    corpus.write_bytes(TEXT)
    lines: list[str] = []
    plan = RunPlan(str(corpus), str(corpus), work, SHAPE, replace(CONFIG, objective="mixture"))
    network = whole_run.train(plan, lines.append)
    assert json.loads((work / "record.json").read_text(encoding="utf-8"))["training"]["objective"] == "mixture"
    assert len(np.load(work / "mixing.npy")) == len(np.load(work / "ids.npy"))
    assert any(line.startswith("losses of mixing alone") for line in lines)
    whole_run.finish(plan, network, tmp_path / "own.safetensors", lines.append)
    assert parse_model((tmp_path / "own.safetensors").read_bytes(), "own").record["training"]["objective"] == "mixture"
    with pytest.raises(DataError, match="by another objective"):
        whole_run.train(replace(plan, config=CONFIG), lines.append)
