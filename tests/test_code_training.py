"""Network and encoder trained together, as in docs/PAPER.md: what a code earns where it can, and a run that goes on as it was."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.paper import float_encoder
from benchmarks.paper.code_groups import NO_TARGET, GroupShape, chunk_of, draw_groups
from benchmarks.paper.coded_network import CodedNetwork, coded
from benchmarks.paper.coded_trainer import CodedConfig, CodedTrainer
from benchmarks.paper.runner import Text, block_bits, new_small_encoder
from nncomp.errors import DataError
from nncomp.training.shapes import NetworkShape
from tests.topics import LANES, STEPS, ideal_bits, texts

TINY = NetworkShape(256, 16, 48, 1, 64, 96, 48, start_token=10)


def test_groups_are_pieces_of_one_document() -> None:
    ids, ends = np.arange(100, dtype=np.uint16), np.array([7, 50, 100])
    shape = GroupShape(lanes=2, chunks=2, steps=5)
    for first, tokens in draw_groups(ends, shape, 300, np.random.default_rng(0)):
        assert np.searchsorted(ends, first, "right") == np.searchsorted(ends, first + tokens - 1, "right")
        assert 7 <= tokens <= 20
    fed, targets = zip(*(chunk_of(ids, [(0, 7), (7, 20)], shape, number, 999) for number in range(2)), strict=True)
    assert np.concatenate(targets).T.tolist()[0] == [0, 1, 2, *[NO_TARGET] * 7], "the first lane of a document of 7 tokens"
    assert np.concatenate(targets).T.tolist()[3] == list(range(17, 27))
    assert np.concatenate(fed).T.tolist()[3] == [999, *range(17, 26)], "each lane begins with the start token"
    assert sorted(t for t in np.concatenate(targets).flat if t != NO_TARGET) == list(range(27)), "every token once"


def test_examples_of_the_encoder() -> None:
    assert doctest.testmod(float_encoder) == (0, 2)


@pytest.mark.slow
def test_a_code_earns_what_it_can(tmp_path: Path) -> None:
    """Hidden topics, new texts, the float network, the code charged: more than half of what there is to gain is gained, and
    that against the best there is without a code, which no causal model of a lane can be better than."""
    torch.set_num_threads(1)
    ids, ends, _ = texts(4000, 1)
    torch.manual_seed(0)
    network = CodedNetwork(coded(TINY, 4, 4))
    config = CodedConfig(
        time_s=1, tokens=820_000, lanes=256, steps=STEPS, group_lanes=LANES, group_chunks=1, learning_rate=6e-3, warmup_steps=20,
        quantized_share=0.3,
    )  # fmt: skip
    trainer = CodedTrainer(network, new_small_encoder(network, 0), config, ids, ends, tmp_path / "c.pt")
    losses = [row["bits_per_token"] for row in trainer.run()]
    ids, ends, topics = texts(100, 2)
    told, untold = ideal_bits(ids, topics)
    assert untold - told > 0.04 * untold, "60 bits of a text of 256 tokens"
    text = Text(ids, ends, len(ids))
    own, none, other = (block_bits(network, trainer.encoder, text, LANES, code) for code in ("own", "none", "shuffled"))
    assert untold - own.net.sum() > 0.5 * (untold - told)
    assert told < own.net.sum() < untold < min(none.tokens.sum(), other.tokens.sum()), (
        "nothing is better than the truth; another text's code misleads"
    )
    assert 3.5 * 100 < own.code.sum() < 10 * 100, "the topic takes 4 bits, and the price is near it"
    assert losses[-1] < 0.85 * losses[0]


def small_run(folder: Path, name: str, **changes: Any) -> CodedTrainer:
    ids, ends, _ = texts(200, 4)
    sizes = {"width": 16, "state_width": 16, "mlp_width": 16, "group_mlp_width": 16}
    torch.manual_seed(0)
    decoder = CodedNetwork(coded(replace(TINY, **sizes), 3, 3))
    config = CodedConfig(
        time_s=1, tokens=110 * 64, lanes=8, steps=8, group_lanes=4, group_chunks=3, warmup_steps=5, quantized_share=0.5
    )
    return CodedTrainer(decoder, new_small_encoder(decoder, 0), replace(config, **changes), ids, ends, folder / name)


def test_a_run_with_a_code_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """The same losses and weights, of the encoder too, through warm-up of the price and quantised training, inside a group."""
    whole = small_run(tmp_path, "whole")
    losses = [row["bits_per_token"] for row in whole.run()]
    stopped, parts = small_run(tmp_path, "parts"), []
    for row in stopped.run():
        parts.append(row["bits_per_token"])
        if len(parts) == 3:
            break
    assert 0 < stopped.chunk < 3 or stopped.chunk == 3
    del stopped
    again = small_run(tmp_path, "parts")
    again.restore()
    parts += [row["bits_per_token"] for row in again.run()]
    assert parts == losses and len(losses) >= 4
    for ours, other in ((whole.network, again.network), (whole.encoder, again.encoder)):
        assert ours is not None and other is not None
        for (name, before), after in zip(ours.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(before, after), name


def test_every_part_learns(tmp_path: Path) -> None:
    """A few steps move the tables, the prior and the encoder; groups that are told no code do not."""
    for dropout, moves in ((0.0, True), (1.0, False)):
        trainer = small_run(tmp_path, f"c{dropout}", code_dropout=dropout, code_warmup=0.0, weight_decay=0.0, quantized_share=0.0)
        assert trainer.encoder is not None and isinstance(trainer.network, CodedNetwork)
        parts = [*trainer.network.code.named_parameters(), *trainer.encoder.named_parameters()]
        before = [part.detach().clone() for _, part in parts]
        for _ in range(6):
            trainer._step(1e-3)
        changed = {name: not torch.equal(old, part) for old, (name, part) in zip(before, parts, strict=True)}
        assert set(changed.values()) == {moves}, changed


def test_lanes_that_are_no_whole_groups_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="8 lanes are not whole groups of 3"):
        small_run(tmp_path, "c", group_lanes=3)


def test_what_a_code_is_worth_is_charged(tmp_path: Path) -> None:
    trainer = small_run(tmp_path, "c")
    ids, ends, _ = texts(5, 5)
    assert trainer.encoder is not None and isinstance(trainer.network, CodedNetwork)
    text = Text(ids, ends, len(ids))
    own, none = (block_bits(trainer.network, trainer.encoder, text, 4, code) for code in ("own", "none"))
    assert none.code.tolist() == [0] * 5 and own.code == pytest.approx(np.full(5, 3 * np.log2(3))), "an untrained prior"
    assert (own.net == own.tokens + own.code).all() and (own.tokens != none.tokens).all()
    assert (block_bits(trainer.network, None, text, 4).net == none.net).all()
