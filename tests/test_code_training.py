"""FloatNetwork and encoder trained together: what a code earns where it can earn something, and a run that goes on as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from nncomp.blocks import token_payload
from nncomp.blocks.codec import Codec
from nncomp.errors import DataError
from nncomp.format.numbers import BlockKind
from nncomp.network.code import code_bits
from nncomp.network.encoder import Encoder, encoder_path, save_encoder
from nncomp.network.engine import Network
from nncomp.network.model import load_model, save_model
from nncomp.network.registry import open_model
from nncomp.network.surprisal import surprisal_bits
from nncomp.network.vocabulary import byte_vocabulary
from nncomp.training import whole_run
from nncomp.training.code_groups import NO_TARGET, GroupShape, all_groups, chunk_of, draw_groups
from nncomp.training.coded_trainer import CodedTrainer, add_code, coded_bits, new_encoder, saved_encoder
from nncomp.training.export import export
from nncomp.training.float_network import NetworkShape, new_network
from nncomp.training.run_plan import RunPlan
from nncomp.training.trainer import TrainingConfig
from tests.models import SHAPE, TEXT
from tests.topics import LANES, STEPS, TEXT_TOKENS, ideal_bits, texts

TINY = NetworkShape(256, 16, 48, 1, 64, 96, 48, start_token=10)


def test_groups_are_pieces_of_one_document() -> None:
    ids, ends = np.arange(100, dtype=np.uint16), np.array([7, 50, 100])
    shape = GroupShape(lanes=2, chunks=2, steps=5)
    for first, tokens in draw_groups(ends, shape, 300, np.random.default_rng(0)):
        assert np.searchsorted(ends, first, "right") == np.searchsorted(ends, first + tokens - 1, "right")
        assert 7 <= tokens <= 20
    groups = all_groups(ends, shape)
    assert [first for first, _ in groups] == [0, 7, 27, 47, 50, 70, 90] and sum(tokens for _, tokens in groups) == 100
    fed, targets = zip(*(chunk_of(ids, groups[:2], shape, number, 999) for number in range(2)), strict=True)
    assert np.concatenate(targets).T.tolist()[0] == [0, 1, 2, *[NO_TARGET] * 7], "the first lane of a document of 7 tokens"
    assert np.concatenate(targets).T.tolist()[3] == list(range(17, 27))
    assert np.concatenate(fed).T.tolist()[3] == [999, *range(17, 26)], "each lane begins with the start token"
    assert sorted(t for t in np.concatenate(targets).flat if t != NO_TARGET) == list(range(27)), "every token once"


class Trained(NamedTuple):
    model: Network
    encoder: Encoder
    losses: list[float]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return a model that learned the topics, exported."""
    torch.set_num_threads(1)
    ids, ends, _ = texts(4000, 1)
    decoder = new_network(TINY, 0)
    add_code(decoder, 4, 4, 0)
    config = TrainingConfig(
        time_s=1, tokens=820_000, lanes=256, steps=STEPS, group_lanes=LANES, group_chunks=1, learning_rate=6e-3, warmup_steps=20,
        quantized_share=0.3,
    )  # fmt: skip
    encoder = new_encoder(decoder, 0, width=32)
    trainer = CodedTrainer(decoder, encoder, config, ids, ends, tmp_path_factory.mktemp("topics") / "c.pt")
    losses = [row["bits_per_token"] for row in trainer.run()]
    assert trainer.mode == "on"
    model = export(decoder, byte_vocabulary(), {"note": "topics, for tests"})
    return Trained(Network(model), saved_encoder(encoder.state_dict(), 4), losses)


@pytest.mark.slow
def test_a_code_earns_what_it_can(trained: Trained) -> None:
    """Hidden topics, new texts, the exported integers, the code charged: more than half of what there is to gain is gained,
    and that against the best there is without a code, which no causal model of a lane can be better than."""
    packed, encoder = trained.model, trained.encoder
    ids, _, topics = texts(100, 2)
    told, untold = ideal_bits(ids, topics)
    assert untold - told > 0.04 * untold, "60 bits of a text of 256 tokens"
    prior = packed.model.code.p1 if packed.model.code else None
    assert prior is not None
    with_code = others = plain = price = 0.0
    levels = [encoder.code(text) for text in ids.reshape(-1, TEXT_TOKENS)]
    for text, own, other in zip(ids.reshape(-1, TEXT_TOKENS), levels, levels[1:] + levels[:1], strict=True):
        price += code_bits(prior, own)
        with_code += surprisal_bits(packed, text, LANES, own)
        others += surprisal_bits(packed, text, LANES, other)
        plain += surprisal_bits(packed, text, LANES)
    assert untold - (with_code + price) > 0.5 * (untold - told)
    assert told < with_code + price < untold < min(plain, others), (
        "nothing is better than the truth; another text's code misleads"
    )
    assert 3.5 * 100 < price < 10 * 100, "the topic takes 4 bits, and the price is near it"
    assert trained.losses[-1] < 0.85 * trained.losses[0]


@pytest.mark.slow
def test_files_with_a_code_that_pays(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compressor sends the code where it makes the payload smaller, mixing and all; without the encoder it sends none."""
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: 4)
    path = tmp_path / "topics.safetensors"
    save_model(trained.model.model, path)
    ids, _, _ = texts(12, 3)
    data = [text.astype(np.uint8).tobytes() for text in ids.reshape(-1, TEXT_TOKENS)]
    plain = [Codec(open_model(path))._encode(BlockKind.TOKENS, text) for text in data]
    save_encoder(trained.encoder, encoder_path(path))
    codec = Codec(open_model(path))
    coded = [codec._encode(BlockKind.TOKENS, text) for text in data]
    for text, before, after in zip(data, plain, coded, strict=True):
        assert codec.decode_block(after.kind, after.payload, len(text)) == text
        assert after == before if after.payload[2] == 0 else len(after.payload) < len(before.payload)
    assert not any(block.payload[2] for block in plain)
    assert sum(block.payload[2] for block in coded) > 6, "most texts are sent with one"
    assert sum(len(block.payload) for block in coded) < 0.99 * sum(len(block.payload) for block in plain)


def small_run(folder: Path, name: str, **changes: Any) -> CodedTrainer:
    ids, ends, _ = texts(200, 4)
    decoder = new_network(replace(TINY, width=16, state_width=16, mlp_width=16, group_mlp_width=16), 0)
    add_code(decoder, 3, 3, 0)
    config = TrainingConfig(
        time_s=1, tokens=110 * 64, lanes=8, steps=8, group_lanes=4, group_chunks=3, warmup_steps=5, quantized_share=0.5
    )
    return CodedTrainer(decoder, new_encoder(decoder, 0, width=8), replace(config, **changes), ids, ends, folder / name)


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
        assert trainer.encoder is not None and trainer.network.code is not None
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
    assert trainer.encoder is not None and trainer.network.code is not None
    shape = GroupShape(4, 8, 8)
    found = {codes: coded_bits(trainer.network, trainer.encoder, ids, ends, shape, codes, 2) for codes in ("own", "none")}
    assert found["none"].code_bits == 0 and found["own"].code_bits == pytest.approx(5 * 3 * np.log2(3)), "an untrained prior"
    assert found["own"].tokens == found["none"].tokens == len(ids)
    assert found["own"].total_bits == found["own"].token_bits + found["own"].code_bits
    alone = coded_bits(trainer.network, None, ids, ends, shape, batch=2)
    assert alone == found["none"]


def test_a_model_with_a_code_from_text_to_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nncomp train --code`: the model and its encoder, which go on from where they are, and code a file."""
    monkeypatch.setattr(whole_run, "_START_BYTES", 30_000)
    corpus, out = tmp_path / "corpus", tmp_path / "own.safetensors"
    corpus.mkdir()
    (corpus / "text.txt").write_bytes(TEXT * 2)
    config = TrainingConfig(
        time_s=600, tokens=4 * 32 * 60, lanes=4, steps=32, warmup_steps=5, quantized_share=0.4, group_lanes=2, group_chunks=2
    )
    lines: list[str] = []
    plan = RunPlan(str(corpus), str(corpus), tmp_path / "work", SHAPE, config, code_dimensions=4)
    whole_run.train(plan, lines.append)
    whole_run.finish(plan, out, lines.append)
    model = load_model(out)
    assert model.code is not None and model.sizes["code_dimensions"] == 4
    record = json.loads((tmp_path / "work/record.json").read_text(encoding="utf-8"))
    assert record["valid_bpb_float"] > 0 and record["valid_bpb_float_without_code"] > 0
    codec = Codec(open_model(out))
    assert codec._encoder is not None
    coded = codec._encode(BlockKind.TOKENS, TEXT[5000:9000])
    assert codec.decode_block(coded.kind, coded.payload, 4000) == TEXT[5000:9000]

    config = replace(config, tokens=4 * 32 * 10)
    more = RunPlan(str(corpus), str(corpus), tmp_path / "more", model, config, encoder=codec._encoder)
    whole_run.train(more, lines.append)
    whole_run.finish(more, tmp_path / "more.safetensors", lines.append)
    again = load_model(tmp_path / "more.safetensors")
    assert again.sizes == model.sizes and again.code is not None
    assert np.abs(again.code.p1.astype(int) - model.code.p1).max() < 6000, "it went on from what was learned"
