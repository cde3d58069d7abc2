"""Training: the recurrence's gradient, documents, a run that learns, goes on from its checkpoint and exports."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import math
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nncomp.blocks.codec import Codec
from nncomp.errors import DataError
from nncomp.format.numbers import BlockKind
from nncomp.network.engine import Network
from nncomp.network.model import read_model
from nncomp.network.registry import open_model
from nncomp.network.surprisal import surprisal_bits
from nncomp.training import whole_run
from nncomp.training.corpus import find_corpus
from nncomp.training.export import export
from nncomp.training.float_network import FloatNetwork, new_network
from nncomp.training.held_out import Texts, hold_out, hold_out_pieces
from nncomp.training.lanes import lane_streams
from nncomp.training.processes import Processes
from nncomp.training.recurrence import scan, scan_naive
from nncomp.training.restore import restore
from nncomp.training.run_plan import RunPlan
from nncomp.training.text_files import Document
from nncomp.training.trainer import Trainer, TrainingConfig
from tests.models import SHAPE, TEXT, encode_shuffled, load_checkpoint, load_model, read_documents, small_model, small_vocabulary


def test_scan_is_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand(7, 5, generator=generator), torch.randn(7, 5, generator=generator), torch.randn(5, generator=generator)]
    results = []
    for function in (scan, scan_naive):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = function(*leaves)
        (out * torch.arange(35.0).view(7, 5)).sum().backward()  # type: ignore[no-untyped-call]
        results.append([out, *(leaf.grad for leaf in leaves)])
    for ours, naive in zip(*results, strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-5, atol=1e-5)


def test_documents_follow_the_index_or_are_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress(b"onetwothree"))
    (tmp_path / "b.txt").write_bytes(b"plain")
    (tmp_path / "documents.tsv").write_text("file\toffset\tbytes\na.txt\t0\t3\na.txt\t3\t3\na.txt\t6\t5\n")
    assert [d.text for d in read_documents(str(tmp_path))] == [b"one", b"two", b"three", b"plain"]
    assert [d.text for d in read_documents(str(tmp_path / "*.txt"))] == [b"plain"]
    with pytest.raises(DataError, match="no training text"):
        read_documents(str(tmp_path / "absent"))


def test_what_is_no_text_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"good"))
    (tmp_path / "b.txt.xz").write_bytes(b"not xz")
    (tmp_path / "c.bin").write_bytes(bytes(range(256)) * 10)
    lines: list[str] = []
    assert [d.text for d in read_documents(str(tmp_path), lines.append)] == [b"good"]
    assert "b.txt.xz cannot be read" in lines[0] and "c.bin is not text" in lines[1] and lines[2] == "2 of 3 files left out"
    (tmp_path / "a.txt.gz").unlink()
    with pytest.raises(DataError, match="no training text"):
        read_documents(str(tmp_path))
    with pytest.raises(DataError, match="cannot be listed"):
        read_documents("nosuch://place/of/text")


def test_text_in_another_storage() -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe("/corpus/a.txt", b"far away")
    assert [d.text for d in read_documents("memory://corpus")] == [b"far away"]


def test_documents_are_held_out_by_their_hash(tmp_path: Path) -> None:
    rows = []
    for name, order in (("a.txt", range(1000)), ("b.txt", range(999, -1, -1))):
        (tmp_path / name).write_text("".join(f"document {i:3}" for i in order))
        rows += [f"{name}\t{12 * i}\t12\n" for i in range(1000)]
    (tmp_path / "documents.tsv").write_text("file\toffset\tbytes\n" + "".join(rows))
    corpus = find_corpus(str(tmp_path))
    halves = corpus.part(np.arange(1000)), corpus.part(np.arange(1000, 2000))
    texts = hold_out(halves[0])
    kept, held = ([d.text for d in part.documents()] for part in (texts.learned, texts.held_out))
    assert 5 < len(held) < 50 and sorted(kept + held) == sorted(d.text for d in halves[0].documents())
    assert [d.text for d in hold_out(halves[1]).held_out.documents()] == held[::-1], "the same ones in any order"
    assert np.array_equal(texts.documents.digests, texts.learned.digests)
    with pytest.raises(DataError, match="too few"):
        hold_out(corpus.part(np.arange(1)))


def overlap(texts: Texts, sizes: tuple[int, ...]) -> int:
    """Return how many bytes of the files, of these sizes, are both learned from and held out."""
    has = [[np.zeros(size, bool) for size in sizes] for _ in range(2)]
    for part, files in zip((texts.learned, texts.held_out), has, strict=True):
        for f, first, size in zip(part.files, part.offsets, part.sizes, strict=True):
            files[f][first : first + size] = True
    return sum(int((a & b).sum()) for a, b in zip(*has, strict=True))


@pytest.mark.parametrize("sizes", [(50_000,), (123_457,), (9_000, 1, 250_001, 77), (3_000_000,)])
def test_pieces_are_held_out_where_documents_are_few(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """All text is learned from or held out, none of it both; each piece has the hash of its own bytes."""
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.txt").write_bytes((TEXT * (size // len(TEXT) + 1))[:size])
    corpus = find_corpus(str(tmp_path))
    texts = hold_out_pieces(corpus)
    learned, held = texts.learned, texts.held_out
    assert learned.total_bytes + held.total_bytes == sum(sizes) and overlap(texts, sizes) == 0
    assert 0.99 * sum(sizes) / 50 - 2 <= held.total_bytes <= sum(sizes) / 50
    assert len(held) == max(1, sum(sizes) // 50 // 40_000)
    for part in (learned, held):
        for document, digest in zip(part.documents(), part.digests, strict=True):
            assert hashlib.sha256(document.text).digest() == digest.tobytes()
    assert texts.documents is corpus, "the model file remembers whole documents"
    again = hold_out_pieces(find_corpus(str(tmp_path)))
    assert np.array_equal(again.held_out.offsets, held.offsets)


def test_a_file_too_small_to_hold_some_out_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT[:1000] * 49 + TEXT[:999])
    with pytest.raises(DataError, match="The text has 49,999 bytes, too few to hold some out: give 50,000 bytes or more"):
        hold_out_pieces(find_corpus(str(tmp_path / "a.txt")))


def test_a_corpus_smaller_than_a_batch_is_named() -> None:
    with pytest.raises(DataError, match="lanes of 257 steps need"):
        lane_streams(np.zeros(100, np.uint16), 32, 256)


def test_a_run_learns_goes_on_and_exports(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "text.txt").write_bytes(TEXT * 2)
    work, out = tmp_path / "work", tmp_path / "own.safetensors"
    lines: list[str] = []
    config = TrainingConfig(time_s=600, tokens=4 * 32 * 225, lanes=4, steps=32, warmup_steps=5, quantized_share=0.4)
    plan = RunPlan(str(corpus), str(corpus), work, SHAPE, config, has_quick_mixing=True)
    network = whole_run.train(plan, lines.append)
    rows = [json.loads(line) for line in (work / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[-1]["train_bpb"] < 0.5 * rows[0]["train_bpb"]
    decoder, document = load_checkpoint(work / "checkpoint.pt")
    assert document["mode"] == "on", "the run ends quantised"

    longer = replace(config, tokens=4 * 32 * 230)
    again = Trainer(new_network(decoder.config, 0), longer, np.load(work / "ids.npy"), work / "checkpoint.pt")
    again.restore()
    assert all(torch.equal(a, b) for a, b in zip(again.network.parameters(), decoder.parameters(), strict=True))
    assert again.progress.step == document["progress"]["step"]
    list(again.run())
    assert again.progress.step > document["progress"]["step"]

    whole_run.finish(plan, network, out, lines.append)
    model = load_model(out)
    ids = encode_shuffled(read_documents(str(corpus)), model.vocabulary, 0)
    bits = surprisal_bits(Network(model), ids, 16)
    assert model.record["valid_bpb_integer"]["all"] == round(bits / len(TEXT * 2), 4)
    again.network.set_quantization("on")
    targets = torch.from_numpy(lane_streams(ids, 16, 1).astype(np.int64))
    start = torch.full((1, 16), model.sizes["start_token"])
    with torch.no_grad():
        loss, _ = again.network(torch.cat([start, targets[:-1]]), targets, again.network.initial_state(16))
    float_bits = float(loss) / math.log(2) * len(ids) / targets.numel()
    assert bits == pytest.approx(float_bits, rel=0.005), "the same tokens, float and integer"
    coded = Codec(open_model(out)).encode_block(TEXT[5000:9000])
    assert coded.kind == BlockKind.TOKENS
    assert Codec(open_model(out)).decode_block(coded.kind, coded.payload, 4000) == TEXT[5000:9000]


def test_a_restored_model_exports_the_same_integers() -> None:
    model = small_model()
    again = export(restore(model), model.vocabulary, {})
    for name, before in model.arrays._asdict().items():
        after = getattr(again.arrays, name)
        if name == "embedding_scale":  # the norm takes the size of a row away: its rounding comes back as another scale
            assert np.allclose(before, after, rtol=0.02), name
        else:
            assert np.abs(before.astype(np.int64) - after).max() <= 1, name


def test_training_goes_on_where_the_model_is(tmp_path: Path) -> None:
    """The first loss of a run that goes on from a model is the model's own, and an export at once gives the model's integers.

    A chunk of one lane that begins with the start token, so that the coder and the trainer see the same steps.
    """
    model = read_model(open_model("fast"))
    start = model.sizes["start_token"]
    ids = np.concatenate([[start], model.vocabulary.encode(TEXT[:4000])]).astype(np.uint16)
    config = TrainingConfig(time_s=1, lanes=1, steps=len(ids) - 1, reset_probability=0)
    exact = surprisal_bits(Network(model), ids[1:], 1)

    def first_bits(network: FloatNetwork) -> float:
        loss, count = Trainer(network, config, ids, tmp_path / "c.pt")._next_loss()
        assert count == len(ids) - 1
        return float(loss.detach()) / math.log(2)

    trainer = Trainer(restore(model), config, ids, tmp_path / "c.pt")
    assert trainer.mode == "on"
    rounded = first_bits(restore(model))
    plain = restore(model)
    plain.set_quantization("off")
    assert rounded == pytest.approx(exact, rel=0.02)
    assert abs(first_bits(plain) - exact) > 5 * abs(rounded - exact)
    trainer.quantize_now()
    again = export(trainer.network, model.vocabulary, {}).arrays
    for name, before in model.arrays._asdict().items():
        if name != "embedding_scale":  # see test_a_restored_model_exports_the_same_integers
            assert np.abs(before.astype(np.int64) - getattr(again, name)).max() <= 1, name


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Measured in tokens: the same losses and the same weights, through warm-up, observing and quantised training."""
    ids = encode_shuffled([Document("a", TEXT)], small_vocabulary(), 0)
    config = TrainingConfig(time_s=1, tokens=110 * 4 * 16, lanes=4, steps=16, warmup_steps=5, quantized_share=0.5)

    def trainer(name: str) -> Trainer:
        return Trainer(new_network(SHAPE, 0), config, ids, tmp_path / name)

    whole = trainer("whole")
    losses = [row["bits_per_token"] for row in whole.run()]
    stopped, parts = trainer("parts"), []
    for row in stopped.run():  # rows come after 25, 50, 75 and 100 steps; half of the run is 55
        parts.append(row["bits_per_token"])
        if len(parts) == 3:
            break
    del stopped
    again = trainer("parts")
    again.restore()
    assert again.mode == "observe" and again.progress.step == 75
    parts += [row["bits_per_token"] for row in again.run()]
    assert parts == losses and len(losses) == 4
    assert whole.progress.tokens == again.progress.tokens == config.tokens
    for (name, before), after in zip(whole.network.state_dict().items(), again.network.state_dict().values(), strict=True):
        assert torch.equal(before, after), name


class Interrupted(Trainer):
    """A trainer that gets a real SIGINT in the middle of some steps."""

    steps: tuple[int, ...] = ()

    def _gradients(self) -> tuple[torch.Tensor, int]:
        made = super()._gradients()  # the place in the text has moved, and no weight has changed
        if self.progress.step in self.steps:
            signal.raise_signal(signal.SIGINT)
        return made


def test_ctrl_c_ends_a_run_between_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a new network, before anything is rounded: its model is rounded and exported, and the run goes on as if it had not been
    stopped, to the last bit of the model file. A second Ctrl-C ends it at once, and keeps the checkpoint that is there."""
    corpus = tmp_path / "text"
    corpus.write_bytes(TEXT)
    config = TrainingConfig(time_s=1, tokens=70 * 4 * 16, lanes=4, steps=16, warmup_steps=5, quantized_share=0.7)
    whole, parts = (RunPlan(str(corpus), str(corpus), tmp_path / name, SHAPE, config) for name in ("whole", "parts"))
    monkeypatch.setattr(whole_run, "Trainer", Interrupted)
    monkeypatch.setattr(whole_run, "_START_BYTES", 3000)
    lines: list[str] = []

    def export_of(plan: RunPlan, name: str) -> bytes:
        whole_run.finish(plan, whole_run.train(plan, lines.append), tmp_path / name, lines.append)
        return (tmp_path / name).read_bytes()

    usual = signal.getsignal(signal.SIGINT)
    expected = export_of(whole, "a")
    monkeypatch.setattr(Interrupted, "steps", (11,))
    export_of(parts, "b")
    assert signal.getsignal(signal.SIGINT) is usual
    assert any(line.startswith("stopped: the model so far") for line in lines)
    checkpoint = parts.folder / "checkpoint.pt"
    assert load_checkpoint(checkpoint)[1]["progress"]["step"] == 12 and load_checkpoint(checkpoint)[1]["mode"] == "off"
    monkeypatch.setattr(Interrupted, "steps", (30,))
    stopped = checkpoint.read_bytes()

    def interrupt_twice(self: Interrupted) -> tuple[torch.Tensor, int]:
        signal.raise_signal(signal.SIGINT)
        return gradients(self)

    gradients = Interrupted._gradients
    with monkeypatch.context() as patch:
        patch.setattr(Interrupted, "_gradients", interrupt_twice)
        patch.setattr(Interrupted, "steps", (12,))
        with pytest.raises(KeyboardInterrupt):
            whole_run.train(parts, lines.append)
    assert signal.getsignal(signal.SIGINT) is usual and checkpoint.read_bytes() == stopped
    export_of(parts, "c")
    assert load_checkpoint(checkpoint)[1]["progress"]["step"] == 31 and load_checkpoint(checkpoint)[1]["mode"] == "observe"
    monkeypatch.setattr(Interrupted, "steps", ())
    assert export_of(parts, "d") == expected


def test_a_training_in_a_thread_holds_no_signals() -> None:
    found: list[object] = []
    processes, usual = Processes(), signal.getsignal(signal.SIGINT)
    for thread in (threading.Thread(target=work) for work in (processes.hold_signals, processes.release_signals)):
        thread.start()
        thread.join()
        found.append(signal.getsignal(signal.SIGINT))
    assert found == [usual, usual]


def test_a_loss_that_is_no_number_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    ids = encode_shuffled([Document("a", TEXT)], small_vocabulary(), 0)
    trainer = Trainer(new_network(SHAPE, 0), TrainingConfig(time_s=60, lanes=4, steps=16), ids, tmp_path / "c.pt")
    trainer.save()
    good = trainer.checkpoint.read_bytes()
    with torch.no_grad():
        trainer.network.embedding.fill_(math.nan)
    with pytest.raises(DataError, match="not a number"):
        list(trainer.run())
    assert trainer.checkpoint.read_bytes() == good


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    trainer = Trainer(new_network(SHAPE, 0), TrainingConfig(time_s=1, lanes=4, steps=16), np.zeros(400, np.uint16), path)
    trainer.save()
    data = path.read_bytes()
    parts = dict.fromkeys(trainer.document(), 0)
    saved, documents = [], list[object]([[1], {"config": {}}, parts, trainer.document() | {"network": {}}])
    for document in documents:
        torch.save(document, path)
        saved.append(path.read_bytes())
    for damaged in (b"", b"not a checkpoint", b"PK\3\4", data[: len(data) // 2], data[:-9], *saved):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"^\S*c\.pt is not a checkpoint of this version, or damaged; remove it [^()]*\.$"):
            trainer.restore()
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"c\.pt cannot be read: Is a directory"):
        trainer.restore()


def test_a_checkpoint_of_another_configuration_is_named(tmp_path: Path) -> None:
    ids = np.zeros(4 * 40, np.uint16)
    config = TrainingConfig(time_s=1, lanes=4, steps=32)
    trainer = Trainer(new_network(SHAPE, 0), config, ids, tmp_path / "c.pt")
    trainer.save()
    other = Trainer(new_network(type(SHAPE)(**{**SHAPE.to_json(), "width": 16}), 0), config, ids, tmp_path / "c.pt")
    with pytest.raises(DataError, match="another configuration"):
        other.restore()
    other = Trainer(new_network(SHAPE, 0), replace(config, lanes=2), ids, tmp_path / "c.pt")
    with pytest.raises(DataError, match="another configuration: it has 4 lanes"):
        other.restore()
    for more, said in (({"seed": 1}, "--seed"), ({"init": "ab", "objective": "hinge"}, "--init and another --objective")):
        other = Trainer(new_network(SHAPE, 0), replace(config, **more), ids, tmp_path / "c.pt")
        with pytest.raises(DataError, match=f"of a training with another {said}; give what it was begun with"):
            other.restore()
    Trainer(new_network(SHAPE, 0), replace(config, time_s=2, tokens=9), ids, tmp_path / "c.pt").restore()  # only the length


def test_too_little_text_for_the_tokens_is_named() -> None:
    from nncomp.network.vocabulary import train_vocabulary

    assert len(small_vocabulary().tokens) == SHAPE.vocab_size
    with pytest.raises(DataError, match="too small to learn"):
        train_vocabulary([b"abc"], 512)
