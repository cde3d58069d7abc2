"""From text to a checkpoint and to an exported model: what `nncomp train` does.

Knows the text and the work folder; the loop itself is `nncomp.training.trainer`.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nncomp.errors import DataError
from nncomp.network.base_model import joined, own_tensors
from nncomp.network.engine import Network
from nncomp.network.model import TRAINED_ON, Arrays, Model, save_model
from nncomp.network.surprisal import surprisal_bits
from nncomp.network.vocabulary import Vocabulary
from nncomp.training.code_table import CodePlan, learn_codes
from nncomp.training.corpus import Corpus
from nncomp.training.export import export
from nncomp.training.float_network import FloatNetwork, new_network
from nncomp.training.grow import grow
from nncomp.training.held_out import Texts, find_texts
from nncomp.training.mixing_start import first_values, learn_start_values
from nncomp.training.mixture import BLOCK_BYTES, known_losses
from nncomp.training.objectives import MIXTURE, read_estimates, token_estimates
from nncomp.training.prepared_text import prepare, read_prepared
from nncomp.training.processes import Processes, StoppedError, choose_device
from nncomp.training.restore import restore
from nncomp.training.run_log import Row, line_of, open_log
from nncomp.training.run_plan import RunPlan
from nncomp.training.text_files import Report, encode_pieces
from nncomp.training.trainer import Trainer, evaluate
from nncomp.version import commit

_START_BYTES = 4_000_000  # of text that the start values of mixing are learned on, at most
_VALIDATION_BYTES = 100_000  # of each file, while training
_VALIDATION_LANES = 32  # fewer for little text
_VALIDATIONS = 20  # measurements on the text held out in a run


def train(
    plan: RunPlan, report: Report, processes: Processes | None = None, on_row: Callable[[Row], None] | None = None
) -> FloatNetwork:
    """Carry out a plan and return the trained network, on the CPU, with the scales of its activations.

    A run that finds its own checkpoint in the folder goes on from it. Ctrl-C ends the training early, after a step; a second one
    at once, with KeyboardInterrupt. Of several processes the first one prepares and writes. `on_row` gets each row of figures;
    without it, `report` gets the row as a line. Raises DataError for unusable text.
    """
    processes = processes or Processes()
    _check(plan, processes)
    texts = _prepare(plan, report) if processes.is_first else None
    processes.wait()
    trainer = _new_trainer(plan, texts, report, processes)
    if trainer.checkpoint.exists():
        trainer.restore()
        report(f"going on from step {trainer.progress.step:,}")
    if texts is None:
        return _follow(trainer)
    measure = _Measure(trainer, texts)
    _remember_documents(plan, texts.documents)
    layers = sum(p.numel() for p in trainer.network.layers.parameters())
    report(f"{layers:,} parameters in the layers, {measure.token_bytes:.2f} bytes a token")
    record = _record_of_start(plan, trainer, texts)
    processes.hold_signals()
    try:
        with open_log(plan.folder, trainer.progress.step) as log:
            for row in measure.rows():
                log.write(json.dumps(row) + "\n")
                log.flush()
                if on_row is None:
                    report(line_of(row, plan.config))
                else:
                    on_row(row)
    except StoppedError:
        if processes.count > 1:
            raise _stopped(plan.folder) from None
        report(
            "stopped: the model so far is quantised and exported; to go on, rename or remove the model file and give the same "
            f"command again, with {plan.folder} as it is"
        )
    finally:
        if processes.count == 1:
            processes.release_signals()
    trainer.quantize_now()
    (plan.folder / "record.json").write_text(json.dumps(record | measure.record(), indent=1))
    return _on_cpu(trainer.network)


def _check(plan: RunPlan, processes: Processes) -> None:
    """Raise DataError for a plan whose parts exclude each other."""
    if processes.count > 1 and plan.targets:
        raise DataError("With --targets a network is trained by one process; leave torchrun out.")


def _prepare(plan: RunPlan, report: Report) -> Texts:
    """Find the text and write vocabulary and tokens to the folder."""
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{plan.folder} cannot be written: {error.strerror}.") from error
    texts = find_texts(plan.data, plan.valid, report)
    report(
        f"{len(texts.documents):,} documents, {texts.learned.total_bytes:,} bytes of text; "
        f"{texts.held_out.total_bytes:,} bytes to measure on"
    )
    known = plan.start.vocabulary if isinstance(plan.start, Model) else plan.start.vocab_size
    is_mixture = plan.config.objective == MIXTURE
    prepare(texts.learned, plan.folder, known, plan.config.seed, report, BLOCK_BYTES if is_mixture else 0)
    if is_mixture:
        known_losses(plan.folder, *read_prepared(plan.folder), report)
    return texts


def _new_trainer(plan: RunPlan, texts: Texts | None, report: Report, processes: Processes) -> Trainer:
    """Return the trainer of a plan, at its beginning, on the device of this process."""
    config, checkpoint = plan.config, plan.folder / "checkpoint.pt"
    vocabulary, ids, ends = read_prepared(plan.folder)
    network = _begin(plan, vocabulary).to(choose_device())
    estimates: NDArray[np.float32] | None = None
    if config.objective == MIXTURE:
        estimates = known_losses(plan.folder, vocabulary, ids, ends, report)
    elif plan.targets and texts is not None:
        documents = list(texts.learned.documents())  # in memory
        estimates = token_estimates(read_estimates(plan.targets, documents), documents, vocabulary, config.seed)
    if estimates is not None and len(estimates) != len(ids):
        raise DataError(f"{plan.folder / 'ids.npy'} holds the tokens of another text; remove it, or give another --work.")
    return Trainer(network, config, ids, checkpoint, estimates, processes)


def _begin(plan: RunPlan, vocabulary: Vocabulary) -> FloatNetwork:
    """Return the network that the run begins with."""
    seed = plan.config.seed
    if isinstance(plan.start, Model):
        return grow(plan.start, plan.grown, seed) if plan.grown else restore(plan.start)
    return new_network(replace(plan.start, start_token=vocabulary.tokens.index(b"\n")), seed)


def _remember_documents(plan: RunPlan, documents: Corpus) -> None:
    """Write the hashes of the documents that the model has learned from, with those of the model it goes on from."""
    seen = [documents.short_digests()]
    if plan.init and TRAINED_ON in plan.init.extra:
        seen.append(plan.init.extra[TRAINED_ON])
    np.save(plan.folder / "documents.npy", np.unique(np.concatenate(seen)))


def _record_of_start(plan: RunPlan, trainer: Trainer, texts: Texts) -> dict[str, object]:
    """Return what is known of a run before it begins."""
    device, cores = trainer.network.device, f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    record: dict[str, object] = {
        "command": plan.command,
        "commit": commit() or "unknown",
        "data": plan.data,
        "documents": len(texts.documents),
        "documents_sha256": texts.documents.fingerprint(),
        "data_bytes": texts.learned.total_bytes,
        "machine": f"{platform.machine()}, {cores if device.type == 'cpu' else torch.cuda.get_device_name(device)}",
        "processes": trainer.processes.count,
        "torch": torch.__version__,
        "training": asdict(plan.config),
    }
    if not plan.config.tokens:  # a run of so many tokens makes the same file on any day
        record["started"] = time.strftime("%Y-%m-%d")
    return record | ({"init": plan.init.record} if plan.init else {})


class _Measure:
    """The figures of a run: rows while it trains, and a record at the end."""

    def __init__(self, trainer: Trainer, texts: Texts) -> None:
        vocabulary, ids, _ = read_prepared(trainer.checkpoint.parent)
        head = texts.held_out.heads(_VALIDATION_BYTES)
        self.trainer = trainer
        self.token_bytes = texts.learned.total_bytes / len(ids)
        self.pieces = encode_pieces(head, vocabulary, 0)
        self.piece_bytes = sum(len(document.text) for document in head)

    def rows(self) -> Iterator[Row]:
        """Train, and give a row of figures every 25 steps; some rows have the bits per byte of the text held out."""
        config, progress = self.trainer.config, self.trainer.progress
        last_valid = config.share(progress.elapsed_s, progress.tokens)
        for row in self.trainer.run():
            row["bytes"] = round(row["tokens"] * self.token_bytes)
            row["train_bpb"] = row["bits_per_token"] / self.token_bytes
            row["share"] = config.share(row["elapsed_s"], int(row["tokens"]))
            if row["share"] - last_valid > 1 / _VALIDATIONS:
                row["valid_bpb"] = self._held_out_bpb()
                last_valid = row["share"]
            yield row

    def record(self) -> dict[str, object]:
        """Return what is known of a run at its end."""
        progress = self.trainer.progress
        return ({} if self.trainer.config.tokens else {"elapsed_s": round(progress.elapsed_s)}) | {
            "steps": progress.step,
            "launches": self.trainer.launches,
            "tokens_seen": progress.tokens,
            "bytes_seen": round(progress.tokens * self.token_bytes),
            "valid_bpb_float": self._held_out_bpb(),
        }

    def _held_out_bpb(self) -> float:
        """Return the bits per byte of the beginning of the text held out."""
        ids = np.concatenate(self.pieces)
        return evaluate(self.trainer.network, ids, max(1, min(_VALIDATION_LANES, len(ids) // 2))) / self.piece_bytes


def _follow(trainer: Trainer) -> FloatNetwork:
    """Train beside the first process, which writes and reports."""
    try:
        for _ in trainer.run():
            pass
    except StoppedError:
        return trainer.network
    trainer.quantize_now()
    return trainer.network


def _on_cpu(network: FloatNetwork) -> FloatNetwork:
    """Return a copy of a network that nothing of the training holds any more."""
    copied = FloatNetwork(network.config)
    copied.load_state_dict(network.state_dict())
    return copied


def _stopped(folder: Path) -> DataError:
    return DataError(
        f"Stopped; the checkpoint is in {folder}. The same command goes on from it; without torchrun it can be stopped again, "
        "for a model of what was learned so far."
    )


def domain_scores(model: Model, held_out: Corpus) -> dict[str, float]:
    """Return bits per byte of the integer network alone for each file of the documents, and for "all"."""
    network = Network(model)
    total_bits, scores = 0.0, {}
    for name, numbers in held_out.by_name().items():
        text = b"".join(document.text for document in held_out.part(np.array(numbers)).documents())
        bits = surprisal_bits(network, model.vocabulary.encode(text), 16)
        scores[name] = bits / len(text)
        total_bits += bits
    scores["all"] = total_bits / held_out.total_bytes
    return scores


def finish(plan: RunPlan, network: FloatNetwork, out: Path, report: Report) -> str:
    """Export the network that `train` returned to the model file `out`, with start values of mixing. Return the file's SHA-256.

    The record in the model file has the bits per byte of the integer network on the text held out. The table of codes, if one is
    wanted, and the start values of mixing are learned on the training text. With `base` in the plan, the file holds only the new
    layers.
    """
    vocabulary, _, _ = read_prepared(plan.folder)
    record = json.loads((plan.folder / "record.json").read_text())
    model = export(network, vocabulary, record)
    if plan.base is not None and plan.init is not None:
        of_base = plan.init.arrays._asdict()
        model = replace(model, arrays=Arrays(**joined(own_tensors(model.arrays._asdict(), of_base), of_base)))
    texts = find_texts(plan.data, plan.valid, lambda line: None)
    record["valid_bpb_integer"] = {k: round(v, 4) for k, v in domain_scores(model, texts.held_out).items()}
    report(f"integer model, bits per byte without mixing: {record['valid_bpb_integer']['all']:.4f}")
    if plan.codes:
        model = learn_codes(model, [texts.learned], CodePlan(plan.codes), report)
    ngrams = plan.init.ngrams if plan.init else None
    model = replace(model, extra={TRAINED_ON: np.load(plan.folder / "documents.npy")}, ngrams=ngrams)
    plain = first_values(plan.init, plan.has_quick_mixing)
    start_bytes = min(_START_BYTES, texts.learned.total_bytes)
    return save_model(learn_start_values(model, texts.learned, start_bytes, 0, plain), out, plan.base)
