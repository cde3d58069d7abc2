"""From a corpus to a checkpoint and an exported model: what `nncomp train` does.

Knows where text and results are; the loop itself is in `nncomp.training.loop`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nncomp.encoder import Encoder, encoder_path, save_encoder
from nncomp.errors import DataError
from nncomp.exact.engine import PackedModel
from nncomp.exact.export import export
from nncomp.exact.restore import restore
from nncomp.exact.score import surprisal_bits
from nncomp.exact.weights import TRAINED_ON, IntegerModel, save_model
from nncomp.model.decoder import DecoderConfig
from nncomp.tokens import Vocabulary, from_tokenizer_json, train_vocabulary
from nncomp.training.coded import (
    CODE_LEVELS,
    CodedTrainer,
    add_code,
    new_encoder,
    restore_encoder,
    saved_encoder,
    worth,
)
from nncomp.training.data import (
    Document,
    encode_pieces,
    fingerprint,
    hold_out,
    read_documents,
    sample_text,
    short_digests,
)
from nncomp.training.loop import Trainer, TrainingConfig, evaluate, load_checkpoint, new_model
from nncomp.training.objectives import read_estimates, token_estimates
from nncomp.training.start_values import learn_start_values, plain_values

_SAMPLE_BYTES = 24_000_000  # of text to learn the tokens from
_START_BYTES = 1_500_000  # of text to learn the start values of mixing on
_VALIDATION_BYTES = 100_000  # of each file, while training

Report = Callable[[str], None]


def vocabulary_to_json(vocabulary: Vocabulary) -> str:
    """Return a document that `vocabulary_from_json` reads: tokens in hexadecimal, merges as pairs of ids."""
    return json.dumps({"tokens": [token.hex() for token in vocabulary.tokens], "merges": vocabulary.merges})


def vocabulary_from_json(text: str) -> Vocabulary:
    """Return the vocabulary that `vocabulary_to_json` wrote, or that the `tokenizers` library saved."""
    document = json.loads(text)
    if "model" in document:
        return from_tokenizer_json(document)
    return Vocabulary(tuple(bytes.fromhex(token) for token in document["tokens"]), tuple((a, b) for a, b in document["merges"]))


def _commit() -> str:
    here = Path(__file__).parent
    result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def _head(documents: list[Document]) -> list[Document]:
    """Return the documents that begin in the first 100,000 bytes of each file."""
    taken: dict[str, int] = {}
    chosen = []
    for document in documents:
        if taken.get(document.name, 0) < _VALIDATION_BYTES:
            taken[document.name] = taken.get(document.name, 0) + len(document.text)
            chosen.append(Document(document.name, document.text[:_VALIDATION_BYTES]))
    return chosen


def _texts(data: str, valid: str | None, report: Report) -> tuple[list[Document], list[Document]]:
    """Return the documents to train on and to measure on: other text, or some of the documents held out."""
    documents = read_documents(data, report)
    return (documents, read_documents(valid, report)) if valid else hold_out(documents)


def _ends(pieces: list[NDArray[np.uint16]]) -> NDArray[np.int64]:
    return np.cumsum([len(piece) for piece in pieces], dtype=np.int64)


def _held_out_bits(trainer: Trainer, pieces: list[NDArray[np.uint16]], codes: str = "own") -> float:
    """Return the bits of the held-out text; with a code that each group of it is told, its bits included."""
    ids = np.concatenate(pieces)
    if isinstance(trainer, CodedTrainer):
        return worth(trainer.model, trainer.encoder, ids, _ends(pieces), trainer.shape, codes).total_bits
    return evaluate(trainer.model, ids)


def _line(row: dict[str, float], config: TrainingConfig) -> str:
    """Return a row of figures for a person to read."""
    left_s = row["elapsed_s"] / row["share"] - row["elapsed_s"] if row["share"] else config.time_s
    rate = row["tokens"] / row["elapsed_s"]
    valid = f", held out {row['valid_bpb']:.3f}" if "valid_bpb" in row else ""
    return (
        f"step {row['step']:,}: {row['tokens'] / 1e6:.1f} M tokens, {rate:,.0f} a second; "
        f"bits per byte {row['train_bpb']:.3f}{valid}; {left_s / 60:.0f} min left"
    )


def train(
    data: str,
    valid: str | None,
    folder: Path,
    start: DecoderConfig | IntegerModel,
    config: TrainingConfig,
    command: str,
    report: Report,
    code_dimensions: int = 0,
    encoder: Encoder | None = None,
    targets: Path | None = None,
) -> Path:
    """Train a decoder on the text at `data` and return the path of the finished checkpoint in `folder`.

    Without `valid`, some documents are held out. `start` is the shape of a new decoder, or a model to go on from with
    its own vocabulary. With `code_dimensions` it gets an encoder, and learns to be told a code of so many; a model that
    knows one already goes on with its `encoder`. `targets` is the file of estimates that an objective other than cross-entropy
    needs. `folder` also keeps the vocabulary, the encoded corpus, what was trained on, a log of figures (JSON lines) and
    `record.json`; a run that finds its own checkpoint there goes on from it. Ctrl-C ends the training early. Raises DataError
    for unusable text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    documents, held_out = _texts(data, valid, report)
    report(f"{len(documents):,} documents, {sum(len(d.text) for d in documents):,} bytes of text")
    summed_bits = read_estimates(targets, documents) if targets else None
    tokens_path, ids_path, ends_path = folder / "tokens.json", folder / "ids.npy", folder / "ends.npy"
    if not tokens_path.exists():
        learned = (
            start.vocabulary
            if isinstance(start, IntegerModel)
            else train_vocabulary(sample_text(documents, _SAMPLE_BYTES, 0), start.vocab_size)
        )
        tokens_path.write_text(vocabulary_to_json(learned))
    vocabulary = vocabulary_from_json(tokens_path.read_text())
    if not (ids_path.exists() and ends_path.exists()):
        pieces = encode_pieces(documents, vocabulary, config.seed)
        np.save(ids_path, np.concatenate(pieces))
        np.save(ends_path, _ends(pieces))
    ids = np.load(ids_path, mmap_mode="r")
    train_bytes = sum(len(d.text) for d in documents)
    head = _head(held_out)
    valid_pieces = encode_pieces(head, vocabulary, 0)
    valid_bytes = sum(len(d.text) for d in head)
    if isinstance(start, IntegerModel):
        decoder = restore(start)
    else:
        decoder = new_model(replace(start, start_token=vocabulary.tokens.index(b"\n")), config.seed)
    estimates = None if summed_bits is None else token_estimates(summed_bits, documents, vocabulary, config.seed)
    if estimates is not None and len(estimates) != len(ids):
        raise DataError(f"{ids_path} holds the tokens of another text; remove it, or give another --work.")
    if code_dimensions and decoder.code is None:
        add_code(decoder, code_dimensions, CODE_LEVELS, config.seed)
    checkpoint = folder / "checkpoint.pt"
    if decoder.code is None:
        trainer = Trainer(decoder, config, ids, checkpoint, estimates)
    elif estimates is not None:
        raise DataError("A decoder that is told a code learns by cross-entropy; leave --objective or the code out.")
    else:
        reader = restore_encoder(encoder) if encoder is not None else new_encoder(decoder, config.seed)
        trainer = CodedTrainer(decoder, reader, config, ids, np.load(ends_path), checkpoint)
    if trainer.checkpoint.exists():
        trainer.restore()
        report(f"going on from step {trainer.progress.step:,}")
    seen = [short_digests(documents)]
    if isinstance(start, IntegerModel) and TRAINED_ON in start.extra:
        seen.append(start.extra[TRAINED_ON])
    np.save(folder / "documents.npy", np.unique(np.concatenate(seen)))
    parameters = sum(p.numel() for p in trainer.model.layers.parameters())
    report(f"{parameters:,} parameters in the layers, {train_bytes / len(ids):.2f} bytes a token")
    record: dict[str, object] = {
        "command": command,
        "commit": _commit(),
        "data": data,
        "documents": len(documents),
        "documents_sha256": fingerprint(documents),
        "data_bytes": train_bytes,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores",
        "torch": torch.__version__,
        "started": time.strftime("%Y-%m-%d"),
        "training": asdict(config),
    }
    if isinstance(start, IntegerModel):
        record["init"] = start.record
    last_valid = config.share(trainer.progress.elapsed_s, trainer.progress.tokens)
    try:
        with (folder / "log.jsonl").open("a") as log:
            for row in trainer.run():
                row["train_bpb"] = row["bits_per_token"] * len(ids) / train_bytes
                row["share"] = config.share(row["elapsed_s"], int(row["tokens"]))
                if row["share"] - last_valid > 1 / 20:
                    row["valid_bpb"] = _held_out_bits(trainer, valid_pieces) / valid_bytes
                    last_valid = row["share"]
                log.write(json.dumps(row) + "\n")
                log.flush()
                report(_line(row, config))
    except KeyboardInterrupt:
        report("stopped: the model so far is quantised and exported; to go on, give the same --work again")
    if trainer.mode != "on":
        trainer.quantize_now()
    progress = trainer.progress
    record |= {
        "steps": progress.step,
        "elapsed_s": round(progress.elapsed_s),
        "tokens_seen": progress.tokens,
        "bytes_seen": round(progress.tokens * train_bytes / len(ids)),
        "valid_bpb_float": _held_out_bits(trainer, valid_pieces) / valid_bytes,
    }
    if isinstance(trainer, CodedTrainer):
        record["valid_bpb_float_without_code"] = _held_out_bits(trainer, valid_pieces, "none") / valid_bytes
    (folder / "record.json").write_text(json.dumps(record, indent=1))
    return trainer.checkpoint


def domain_scores(model: IntegerModel, held_out: list[Document]) -> dict[str, float]:
    """Return bits per byte of the integer network alone for each file of the documents, and for "all"."""
    packed = PackedModel(model)
    texts: dict[str, bytes] = {}
    for document in held_out:
        texts[document.name] = texts.get(document.name, b"") + document.text
    total_bits, scores = 0.0, {}
    for name, text in sorted(texts.items()):
        bits = surprisal_bits(packed, model.vocabulary.encode(text), 16)
        scores[name] = bits / len(text)
        total_bits += bits
    scores["all"] = total_bits / sum(map(len, texts.values()))
    return scores


def finish(folder: Path, data: str, valid: str | None, level: str, init: IntegerModel | None, out: Path, report: Report) -> str:
    """Export the checkpoint in `folder` to the model file `out`, with start values of mixing; return its SHA-256.

    An encoder goes to a file of its own beside it. The record in the file has the bits per byte of the exported integer
    model itself on the validation text at `valid`; the start values are learned on the training text
    at `data`, for the mixing of `level` or of the model begun with (`init`).
    """
    decoder, checkpoint = load_checkpoint(folder / "checkpoint.pt")
    vocabulary = vocabulary_from_json((folder / "tokens.json").read_text())
    record = json.loads((folder / "record.json").read_text())
    model = export(decoder, vocabulary, record)
    documents, held_out = _texts(data, valid, lambda line: None)
    record["valid_bpb_integer"] = {k: round(v, 4) for k, v in domain_scores(model, held_out).items()}
    report(f"integer model, bits per byte without mixing: {record['valid_bpb_integer']['all']:.4f}")
    if decoder.code is not None:
        weights = checkpoint["encoder"]
        assert isinstance(weights, dict)
        save_encoder(saved_encoder(weights, decoder.config.code_levels), encoder_path(out))
    model = replace(model, extra={TRAINED_ON: np.load(folder / "documents.npy")})
    return save_model(learn_start_values(model, documents, _START_BYTES, 0, plain_values(level, init)), out)
