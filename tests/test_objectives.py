"""Objectives of training: their gradients, the file of estimates they need, and which token each estimate is of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nncomp.entropy.gap import compress_and_analyse
from nncomp.entropy.report import unit_lines
from nncomp.errors import DataError
from nncomp.network.model import save_model
from nncomp.network.registry import ModelFile, open_model
from nncomp.stream.tasks import Coding
from nncomp.training import trainer as trainer_module
from nncomp.training import whole_run
from nncomp.training.float_network import new_network
from nncomp.training.objectives import distance, read_estimates, token_estimates
from nncomp.training.run_plan import RunPlan
from nncomp.training.text_files import Document, shuffled_pieces
from nncomp.training.trainer import Trainer, TrainingConfig
from tests.conftest import Run
from tests.models import SHAPE, TEXT, encode_shuffled, small_model, small_vocabulary

CONFIG = TrainingConfig(time_s=1, tokens=25 * 4 * 16, lanes=4, steps=16, warmup_steps=5, quantized_share=0.1)


def a_line(offset: int, text: str, bits: float) -> bytes:
    line = {"offset": offset, "bytes": len(text.encode()), "text": text, "bits": bits, "chain_bits": bits}
    return json.dumps(line).encode() + b"\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """Return an untrained model in a file."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(small_model(), path)
    return open_model(path)


@pytest.mark.parametrize(("objective", "gradient"), [("hinge", [1, 0, 0]), ("absolute", [1, -1, 0])])
def test_gradients(objective: str, gradient: list[float]) -> None:
    losses = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    distance(objective, losses, torch.tensor([1.0, 2.0, 2.0])).backward()  # type: ignore[no-untyped-call]
    assert losses.grad is not None and losses.grad.tolist() == gradient


def test_estimates_are_spread_over_bytes_and_taken_together_for_tokens(tmp_path: Path) -> None:
    """Estimates by any units, here two lines for each three bytes, give each token what its bytes were given."""
    documents = [Document("a", TEXT[:400]), Document("b", TEXT[400:700] + "žluť\n".encode())]
    text = "".join(d.text.decode() for d in documents)
    path, at, lines = tmp_path / "t.jsonl", 0, []
    for i, character in enumerate(text):
        lines.append(a_line(at, character, 1.5 if i % 2 else 0.25))
        at += len(character.encode())
    path.write_bytes(b"".join(lines))
    summed = read_estimates(path, documents)
    assert summed[-1] == pytest.approx(sum(1.5 if i % 2 else 0.25 for i in range(len(text))))
    vocabulary = small_vocabulary()
    ids = encode_shuffled(documents, vocabulary, 3)
    estimates = token_estimates(summed, documents, vocabulary, 3).tolist()
    assert len(estimates) == len(ids)
    for place, piece in shuffled_pieces(documents, 3):
        for token in vocabulary.encode(piece):
            size = len(vocabulary.tokens[token])
            assert estimates.pop(0) == pytest.approx((summed[place + size] - summed[place]) * np.log(2), rel=1e-5)
            place += size


def test_the_file_that_entropy_writes(tmp_path: Path, tiny: ModelFile) -> None:
    documents = [Document("a", TEXT[:3000]), Document("b", b"\xff caf\xe9\n" + TEXT[3000:4000])]
    analysis = compress_and_analyse(b"".join(d.text for d in documents), Coding(tiny), None, 0)
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"".join(unit_lines(analysis)))
    estimates = token_estimates(read_estimates(path, documents), documents, small_vocabulary(), 0)
    assert float(estimates.sum()) / np.log(2) == pytest.approx(analysis.estimate_bits, rel=1e-5)


GOOD = a_line(0, "ab", 1.0) + a_line(2, "c\n", 2.0)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b"", "ends after 0 bytes"),
        (GOOD[: GOOD.index(b"\n") + 1], "ends after 2 bytes, and the training text has 4"),
        (GOOD + a_line(4, "d", 1.0), "line 3 is of another text"),
        (a_line(0, "ab", 1.0) + a_line(2, "d\n", 2.0), "line 2 is of another text"),
        (a_line(0, "ab", 1.0) + a_line(1, "c\n", 2.0), "line 2 is of another text"),
        (a_line(0, "ab", float("nan")), "line 1 is no estimate"),
        (GOOD.replace(b"2.0", b"1" + b"0" * 400), "line 2 is no estimate"),
        (GOOD.replace(b'"bytes": 2', b'"bytes": 0'), "line 1 is no estimate"),
        (GOOD.replace(b'"chain_bits"', b'"other"'), "line 1 is no estimate"),
        (b"[" * 100_000 + b"\n", "line 1 is no estimate"),
        (b"\xff\n", "line 1 is no estimate"),
        (b"7\n", "line 1 is no estimate"),
    ],
)
def test_a_file_of_another_text_is_named(tmp_path: Path, lines: bytes, said: str) -> None:
    path, documents = tmp_path / "t.jsonl", [Document("a", b"abc"), Document("b", b"\n")]
    path.write_bytes(GOOD)
    assert read_estimates(path, documents).tolist() == [0.0, 0.5, 1.0, 2.0, 3.0]
    path.write_bytes(lines)
    with pytest.raises(DataError, match=said):
        read_estimates(path, documents)
    with pytest.raises(DataError, match="cannot be read"):
        read_estimates(tmp_path / "absent", documents)


def losses_of(objective: str, estimates: np.ndarray | None, folder: Path) -> list[float]:
    ids = encode_shuffled([Document("a", TEXT)], small_vocabulary(), 0)
    trainer = Trainer(new_network(SHAPE, 0), replace(CONFIG, objective=objective), ids, folder / objective, estimates)
    return [row["bits_per_token"] for row in trainer.run()]


def test_a_run_towards_nothing_is_one_of_cross_entropy(tmp_path: Path) -> None:
    """With estimates of 0 every distance is the loss itself; with high ones hinge learns nothing, and absolute unlearns."""
    size = len(encode_shuffled([Document("a", TEXT)], small_vocabulary(), 0))
    zeros, high = np.zeros(size, np.float32), np.full(size, 40, np.float32)
    plain = losses_of("cross-entropy", None, tmp_path)
    assert losses_of("hinge", zeros, tmp_path) == pytest.approx(plain, rel=1e-5)
    assert losses_of("absolute", zeros, tmp_path) == pytest.approx(plain, rel=1e-5)
    (idle,), (unlearning,) = losses_of("hinge", high, tmp_path), losses_of("absolute", high, tmp_path)
    assert idle == pytest.approx(9, abs=0.3), "bits of 512 tokens, all alike"
    assert plain[0] < idle - 0.3 and unlearning > idle + 0.3


def test_each_token_has_its_own_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates that are the token's number come back with that token, also where the corpus begins again."""
    ids = encode_shuffled([Document("a", TEXT[:4000])], small_vocabulary(), 0)
    trainer = Trainer(new_network(SHAPE, 0), replace(CONFIG, objective="hinge"), ids, tmp_path / "c", ids.astype(np.float32))
    seen: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    token_losses = trainer.network.token_losses

    def note_targets(hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        targets.append(ids)
        return token_losses(hidden, ids)

    def note_estimates(objective: str, losses: torch.Tensor, estimates: torch.Tensor) -> torch.Tensor:
        seen.append(estimates)
        return losses.sum()

    monkeypatch.setattr(trainer.network, "token_losses", note_targets)
    monkeypatch.setattr(trainer_module, "distance", note_estimates)
    list(trainer.run())
    assert len(seen) == len(targets) == 25
    assert all(torch.equal(a, b) for a, b in zip(seen, targets, strict=True))


def test_a_training_with_targets(tmp_path: Path, tiny: ModelFile) -> None:
    corpus, targets = tmp_path / "text.txt", tmp_path / "t.jsonl"
    corpus.write_bytes(TEXT)
    targets.write_bytes(b"".join(unit_lines(compress_and_analyse(TEXT, Coding(tiny), None, 0))))
    lines: list[str] = []
    work, config = tmp_path / "work", replace(CONFIG, objective="absolute")
    plan = RunPlan(str(corpus), str(corpus), work, SHAPE, config, targets=targets)
    whole_run.train(plan, lines.append)
    assert json.loads((work / "record.json").read_text(encoding="utf-8"))["training"]["objective"] == "absolute"
    np.save(work / "ids.npy", np.load(work / "ids.npy")[:-1])
    with pytest.raises(DataError, match="holds the tokens of another text"):
        whole_run.train(plan, lines.append)
    corpus.write_bytes(TEXT + b"more")
    with pytest.raises(DataError, match=r"ends after .* bytes, and the training text has"):
        whole_run.train(replace(plan, folder=tmp_path / "other"), lines.append)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--objective", "hinge"], "need each other"),
        (["--targets", "t.jsonl"], "need each other"),
        (["--objective", "hinge", "--targets", "t.jsonl"], "other text with --valid"),
        (["--objective", "odd"], "odd"),
    ],
)
def test_wrong_use_is_exit_2(run: Run, arguments: list[str], said: str) -> None:
    result = run("train", "--data", "a", "-o", "b", *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert said in " ".join(result.stderr.decode().replace("│", " ").split())
