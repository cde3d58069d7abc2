"""The search at small scale: arms are what they say, and a run of two of them leaves a line each and a table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import search, search_arms
from benchmarks.paper import runner
from benchmarks.search_arms import ARMS, LANES, STEPS, Arm, Chunks, log_probabilities, new_network, optimizers, taught_loss, train
from nncomp.network.model import Model
from tests.models import SHAPE, TEXT, small_decoder, small_model

IDS = np.random.default_rng(0).integers(SHAPE.vocab_size, size=LANES * STEPS * 3).astype(np.uint16)


def moved(arm: Arm) -> float:
    """Return how far the weights of an arm move in 20 steps."""
    model, start = new_network(arm, 0, SHAPE.start_token), new_network(arm, 0, SHAPE.start_token)
    ticks = iter(range(30))
    train(model, arm, IDS, 20.5, 0, clock=lambda: next(ticks))
    return sum(float((p - q).detach().abs().sum()) for p, q in zip(model.parameters(), start.parameters(), strict=True))


def test_two_arms_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_bytes(TEXT * (2 if name == "one" else 3))
    small: dict[str, Arm] = {name: replace(ARMS[name], shape=SHAPE) for name in ("base", "no-gate")}
    model: Model = small_model()
    monkeypatch.setattr(search, "ARMS", small)
    monkeypatch.setattr(search, "BASE", SHAPE)
    monkeypatch.setattr(search, "default_model", lambda: model)
    monkeypatch.setattr(search, "PIECE_BYTES", 1000)
    monkeypatch.setattr(search, "TRAIN_BYTES", 100_000)
    monkeypatch.setattr(runner, "RESULTS", tmp_path)
    monkeypatch.setattr(search, "TIMES", 3)
    folder = str(tmp_path)
    search.main([folder, folder, "--seconds", "0.3", "--arms", *small, "--work", str(tmp_path / "work"), "--seeds", "0"])
    lines = [json.loads(line) for line in (tmp_path / "search.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["arm"] for line in lines] == ["base", "no-gate"]
    for line in lines:
        assert 0 < line["bpb"] < 8 and line["tokens"] >= LANES * STEPS and set(line["kinds"]) == {"one", "two"}
        assert 0 < line["bpb_by_size"] < 8
    assert lines[0]["coding_us"] > 0 and lines[1]["coding_us"] is None
    assert lines[1]["parameters"] < lines[0]["parameters"] and lines[1]["multiply_adds"] < lines[0]["multiply_adds"]
    capsys.readouterr()
    search.main(["--table"])
    assert ARMS["no-gate"].says in capsys.readouterr().out


def test_a_taught_loss_is_half_the_cross_entropy_where_teacher_and_pupil_agree() -> None:
    model, other = small_decoder(), small_decoder(1)
    targets = torch.randint(SHAPE.vocab_size, (30, 2))
    hidden = torch.randn(30, 2, SHAPE.width)
    entropy = model.loss_sum(hidden, targets)
    group, in_group = log_probabilities(model, hidden, targets)
    assert (group.shape, in_group.shape) == ((60, SHAPE.group_count), (60, SHAPE.group_size))
    torch.testing.assert_close(taught_loss(model, model, (hidden, hidden), targets), entropy / 2)
    assert taught_loss(model, other, (hidden, hidden), targets) > entropy / 2


def test_arms_leave_out_what_they_say() -> None:
    before = replace(ARMS["base"], shape=SHAPE)
    plain, tied = new_network(before, 0, 0), new_network(replace(before, is_tied=True), 0, 0)
    assert sum(p.numel() for p in plain.parameters()) - sum(p.numel() for p in tied.parameters()) == tied.embedding.numel()
    ids = torch.randint(SHAPE.vocab_size, (8, 1))
    for arm in (replace(before, has_shift=False), replace(before, dropout=0.5)):
        model = new_network(arm, 0, 0).eval()
        same = new_network(before, 0, 0)
        same.load_state_dict(model.state_dict())
        for mine, theirs in zip(*(each.hidden(ids, each.initial_state(1)) for each in (model, same)), strict=True):
            torch.testing.assert_close(mine, theirs)
    muon = optimizers(plain, replace(before, muon_rate=1e-3))
    counts = [len(group["params"]) for each in muon for group in each.param_groups]
    assert counts[1] == 4 * SHAPE.layer_count and sum(counts) == len(list(plain.parameters()))


def test_the_rate_falls_unless_constant_and_a_mean_of_weights_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_arms, "AVERAGED_SHARE", 0.5)
    before = replace(ARMS["base"], shape=SHAPE)
    fell, stayed = moved(before), moved(replace(before, is_constant=True))
    assert 0 < moved(replace(before, is_averaged=True, is_constant=True)) < stayed
    assert 0 < fell < stayed


def test_text_is_read_in_lanes_and_again_from_its_beginning() -> None:
    chunks = Chunks([small_decoder()], IDS, 0)
    streams = IDS.reshape(LANES, -1).T
    read = [chunks.next().numpy() for _ in range(3)]
    for chunk, at in zip(read, (0, STEPS, 0), strict=True):
        is_same = (chunk == streams[at : at + STEPS + 1]) | (np.arange(STEPS + 1)[:, None] == 0)
        assert is_same.all()
