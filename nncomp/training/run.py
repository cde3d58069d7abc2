"""From a corpus to a checkpoint and an exported model: what `nncomp train` does.

Knows where text and results are; the loop itself is in `nncomp.training.loop`.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from io import TextIOWrapper
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nncomp.errors import DataError
from nncomp.network.base_model import joined, own_tensors
from nncomp.network.encoder import Encoder, encoder_path, save_encoder
from nncomp.network.engine import Network
from nncomp.network.model import TRAINED_ON, Arrays, Model, save_model
from nncomp.network.surprisal import surprisal_bits
from nncomp.network.vocabulary import Vocabulary
from nncomp.training.coded import CODE_LEVELS, CodedTrainer, add_code, new_encoder, restore_encoder, saved_encoder, worth
from nncomp.training.corpus import Corpus
from nncomp.training.data import Report, encode_pieces
from nncomp.training.export import export
from nncomp.training.float_network import FloatNetwork, NetworkShape
from nncomp.training.loop import Trainer, TrainingConfig, evaluate, load_checkpoint, new_model
from nncomp.training.mixing_start import learn_start_values, plain_values
from nncomp.training.mixture import BLOCK_BYTES, known_losses
from nncomp.training.objectives import MIXTURE, read_estimates, token_estimates
from nncomp.training.prepare import find_texts, prepare, read_prepared, vocabulary_from_json
from nncomp.training.processes import Peers, choose_device
from nncomp.training.restore import grow, restore
from nncomp.version import commit

_START_BYTES = 1_500_000  # of text to learn the start values of mixing on
_VALIDATION_BYTES = 100_000  # of each file, while training
_VALIDATION_LANES = 32  # fewer where there is little text

Row = dict[str, float]


def _held_out_bits(trainer: Trainer, pieces: list[NDArray[np.uint16]], codes: str = "own") -> float:
    """Return the bits of the held-out text; with a code that each group of it is told, its bits included."""
    ids = np.concatenate(pieces)
    if isinstance(trainer, CodedTrainer):
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        return worth(trainer.model, trainer.encoder, ids, ends, trainer.shape, codes).total_bits
    return evaluate(trainer.model, ids, max(1, min(_VALIDATION_LANES, len(ids) // 2)))


def left_s(row: Row, config: TrainingConfig) -> float:
    """Return how long the rest of a run takes, by a row of its figures."""
    return row["elapsed_s"] / row["share"] - row["elapsed_s"] if row["share"] else config.time_s


def line_of(row: Row, config: TrainingConfig) -> str:
    """Return a row of figures for a person to read."""
    rate = row["tokens"] / row["elapsed_s"]
    valid = f", held out {row['valid_bpb']:.3f}" if "valid_bpb" in row else ""
    return (
        f"step {row['step']:,}: {row['tokens'] / 1e6:.1f} M tokens, {rate:,.0f} a second; "
        f"bits per byte {row['train_bpb']:.3f}{valid}; {left_s(row, config) / 60:.0f} min left"
    )


def read_log(folder: Path, last_step: float = float("inf")) -> list[Row]:
    """Return the rows of figures of a run up to a step; a line that was cut off is none."""
    rows: list[Row] = []
    path = folder / "log.jsonl"
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["step"] <= last_step:
            rows.append(row)
    return rows


def _open_log(folder: Path, step: int) -> TextIOWrapper:
    """Return the log to write on after the rows up to the step of the checkpoint; what came later is done again."""
    rows = read_log(folder, step)
    log = (folder / "log.jsonl").open("w")
    log.writelines(json.dumps(row) + "\n" for row in rows)
    return log


def _begin(
    start: NetworkShape | Model, vocabulary: Vocabulary, config: TrainingConfig, code_dimensions: int, layers: int
) -> FloatNetwork:
    """Return the decoder to train, on the device where it is trained."""
    if isinstance(start, Model):
        decoder = grow(start, layers, config.seed) if layers else restore(start)
    else:
        decoder = new_model(replace(start, start_token=vocabulary.tokens.index(b"\n")), config.seed)
    if code_dimensions and decoder.code is None:
        add_code(decoder, code_dimensions, CODE_LEVELS, config.seed)
    return decoder.to(choose_device())


def train(
    data: str,
    valid: str | None,
    folder: Path,
    start: NetworkShape | Model,
    config: TrainingConfig,
    command: str,
    report: Report,
    code_dimensions: int = 0,
    encoder: Encoder | None = None,
    targets: Path | None = None,
    peers: Peers | None = None,
    on_row: Callable[[Row], None] | None = None,
    layers: int = 0,
) -> Path:
    """Train a decoder on the text at `data` and return the path of the finished checkpoint in `folder`.

    Without `valid`, some documents are held out. `start` is the shape of a new decoder, or a model to go on from with
    its own vocabulary. With `code_dimensions` it gets an encoder, and learns to be told a code of so many; a model that
    knows one already goes on with its `encoder`. `targets` is the file of estimates that hinge and absolute distance need.
    `folder` also keeps the vocabulary, the encoded corpus, what was trained on, a log of figures (JSON lines) and
    `record.json`; a run that finds its own checkpoint there goes on from it. Ctrl-C ends the training early. Of several
    `peers` the first prepares and writes. `on_row` is told each row of figures in place of a line to `report`. With `layers`,
    the model to go on from is to have so many, and only the new ones learn. Raises DataError for unusable text.
    """
    peers = peers or Peers()
    summed_bits = None
    if peers.is_first:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder} cannot be written: {error.strerror}.") from error
        corpus, held_out = find_texts(data, valid, report)
        report(f"{len(corpus):,} documents, {corpus.total_bytes:,} bytes of text")
        documents = list(corpus.documents()) if targets else []  # an objective of estimates holds its text in memory
        summed_bits = read_estimates(targets, documents) if targets else None
        known = start.vocabulary if isinstance(start, Model) else start.vocab_size
        prepare(corpus, folder, known, config.seed, report, BLOCK_BYTES if config.objective == MIXTURE else 0)
        if config.objective == MIXTURE:
            known_losses(folder, *read_prepared(folder), report)
    peers.wait()
    vocabulary, ids, ends = read_prepared(folder)
    decoder = _begin(start, vocabulary, config, code_dimensions, layers)
    if config.objective == MIXTURE:
        estimates: NDArray[np.float32] | None = known_losses(folder, vocabulary, ids, ends, report)
    else:
        estimates = None if summed_bits is None else token_estimates(summed_bits, documents, vocabulary, config.seed)
    if estimates is not None and len(estimates) != len(ids):
        raise DataError(f"{folder / 'ids.npy'} holds the tokens of another text; remove it, or give another --work.")
    if peers.count > 1 and (decoder.code is not None or targets):
        raise DataError("A decoder that is told a code, or learns from --targets, is trained by one process; leave torchrun out.")
    checkpoint = folder / "checkpoint.pt"
    if decoder.code is None:
        trainer = Trainer(decoder, config, ids, checkpoint, estimates, peers)
    elif estimates is not None:
        raise DataError("A decoder that is told a code learns by cross-entropy; leave --objective or the code out.")
    else:
        reader = restore_encoder(encoder) if encoder is not None else new_encoder(decoder, config.seed)
        trainer = CodedTrainer(decoder, reader.to(decoder.device), config, ids, ends, checkpoint)
    if trainer.checkpoint.exists():
        trainer.restore()
        report(f"going on from step {trainer.progress.step:,}")
    if not peers.is_first:
        _follow(trainer)
        return trainer.checkpoint
    seen = [corpus.short_digests()]
    if isinstance(start, Model) and TRAINED_ON in start.extra:
        seen.append(start.extra[TRAINED_ON])
    np.save(folder / "documents.npy", np.unique(np.concatenate(seen)))
    head = held_out.heads(_VALIDATION_BYTES)
    valid_pieces = encode_pieces(head, vocabulary, 0)
    valid_bytes = sum(len(d.text) for d in head)
    token_bytes = corpus.total_bytes / len(ids)
    parameters = sum(p.numel() for p in trainer.model.layers.parameters())
    report(f"{parameters:,} parameters in the layers, {token_bytes:.2f} bytes a token")
    device = decoder.device
    cores = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    record: dict[str, object] = {
        "command": command,
        "commit": commit() or "unknown",
        "data": data,
        "documents": len(corpus),
        "documents_sha256": corpus.fingerprint(),
        "data_bytes": corpus.total_bytes,
        "machine": f"{platform.machine()}, {cores if device.type == 'cpu' else torch.cuda.get_device_name(device)}",
        "processes": peers.count,
        "torch": torch.__version__,
        "started": time.strftime("%Y-%m-%d"),
        "training": asdict(config),
    }
    if isinstance(start, Model):
        record["init"] = start.record
    last_valid = config.share(trainer.progress.elapsed_s, trainer.progress.tokens)
    try:
        with _open_log(folder, trainer.progress.step) as log:
            for row in trainer.run():
                row["bytes"] = round(row["tokens"] * token_bytes)
                row["train_bpb"] = row["bits_per_token"] / token_bytes
                row["share"] = config.share(row["elapsed_s"], int(row["tokens"]))
                if row["share"] - last_valid > 1 / 20:
                    row["valid_bpb"] = _held_out_bits(trainer, valid_pieces) / valid_bytes
                    last_valid = row["share"]
                log.write(json.dumps(row) + "\n")
                log.flush()
                if on_row is None:
                    report(line_of(row, config))
                else:
                    on_row(row)
    except KeyboardInterrupt:
        if peers.count > 1:
            raise _stopped(folder) from None
        report("stopped: the model so far is quantised and exported; to go on, give the same --work again")
    if trainer.mode != "on":
        trainer.quantize_now()
    progress = trainer.progress
    record |= {
        "steps": progress.step,
        "elapsed_s": round(progress.elapsed_s),
        "tokens_seen": progress.tokens,
        "bytes_seen": round(progress.tokens * token_bytes),
        "valid_bpb_float": _held_out_bits(trainer, valid_pieces) / valid_bytes,
    }
    if isinstance(trainer, CodedTrainer):
        record["valid_bpb_float_without_code"] = _held_out_bits(trainer, valid_pieces, "none") / valid_bytes
    (folder / "record.json").write_text(json.dumps(record, indent=1))
    return trainer.checkpoint


def _follow(trainer: Trainer) -> None:
    """Do what the first process does, where it takes all of them; that one says what there is to say."""
    try:
        for _ in trainer.run():
            pass
    except KeyboardInterrupt:
        return
    if trainer.mode != "on":
        trainer.quantize_now()


def _stopped(folder: Path) -> DataError:
    return DataError(
        f"Stopped; the checkpoint is in {folder}. The same command goes on from it; without torchrun it can be stopped again, "
        "for a model of what was learned so far."
    )


def domain_scores(model: Model, held_out: Corpus) -> dict[str, float]:
    """Return bits per byte of the integer network alone for each file of the documents, and for "all"."""
    packed = Network(model)
    total_bits, scores = 0.0, {}
    for name, numbers in held_out.by_name().items():
        text = b"".join(document.text for document in held_out.part(np.array(numbers)).documents())
        bits = surprisal_bits(packed, model.vocabulary.encode(text), 16)
        scores[name] = bits / len(text)
        total_bits += bits
    scores["all"] = total_bits / held_out.total_bytes
    return scores


def finish(
    folder: Path,
    data: str,
    valid: str | None,
    level: str,
    init: Model | None,
    out: Path,
    report: Report,
    base: bytes | None = None,
) -> str:
    """Export the checkpoint in `folder` to the model file `out`, with start values of mixing; return its SHA-256.

    An encoder goes to a file of its own beside it. The record in the file has the bits per byte of the exported integer
    model itself on the validation text at `valid`; the start values are learned on the training text
    at `data`, for the mixing of `level` or of the model begun with (`init`). `base` is the file of that model, if the
    new one only has more layers; then the new file has no more than these.
    """
    decoder, checkpoint = load_checkpoint(folder / "checkpoint.pt")
    vocabulary = vocabulary_from_json((folder / "tokens.json").read_text())
    record = json.loads((folder / "record.json").read_text())
    model = export(decoder, vocabulary, record)
    if base is not None and init is not None:
        of_base = init.arrays._asdict()
        model = replace(model, arrays=Arrays(**joined(own_tensors(model.arrays._asdict(), of_base), of_base)))
    corpus, held_out = find_texts(data, valid, lambda line: None)
    record["valid_bpb_integer"] = {k: round(v, 4) for k, v in domain_scores(model, held_out).items()}
    report(f"integer model, bits per byte without mixing: {record['valid_bpb_integer']['all']:.4f}")
    if decoder.code is not None:
        weights = checkpoint["encoder"]
        assert isinstance(weights, dict)
        save_encoder(saved_encoder(weights, decoder.config.code_levels), encoder_path(out))
    model = replace(model, extra={TRAINED_ON: np.load(folder / "documents.npy")})
    return save_model(learn_start_values(model, corpus, _START_BYTES, 0, plain_values(level, init)), out, base)
