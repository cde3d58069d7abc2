"""Entropy-aware training against cross-entropy, early stopping and dropout: many epochs of a small corpus, several seeds.

    python -m benchmarks.paper.objectives CORPUS HELD_OUT [--seeds 0 1 2] [--epochs 20] [--arms NAME...]

The estimates are those that `nncomp entropy --per-token` writes for the corpus. The training uses the first 300 KB of the file
CORPUS. 12 stretches of 15 KB of the file HELD_OUT are held out: half of them decide where to stop early, the others are reported.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812

from benchmarks.paper.architectures import SHAPE
from benchmarks.paper.runner import Text, parameters, save, tokens_of, train, vocabulary_of
from nncomp.network.vocabulary import Vocabulary
from nncomp.training.float_network import FloatNetwork
from nncomp.training.objectives import read_estimates, token_estimates
from nncomp.training.text_files import Document
from nncomp.training.trainer import Trainer, TrainingConfig, evaluate

CORPUS_BYTES, STRETCH_BYTES, STRETCHES = 300_000, 15_000, 12
DROPOUT = 0.2
ARMS = {  # objective, dropout, share of the epochs
    "cross-entropy": ("cross-entropy", 0.0, 1.0),
    "cross-entropy, a quarter of the epochs": ("cross-entropy", 0.0, 0.25),
    "hinge": ("hinge", 0.0, 1.0),
    "absolute": ("absolute", 0.0, 1.0),
    "cross-entropy, dropout": ("cross-entropy", DROPOUT, 1.0),
    "hinge, dropout": ("hinge", DROPOUT, 1.0),
}
POINTS = 10


def drop_out(network: FloatNetwork, rate: float) -> None:
    """Apply dropout in training to the outputs of both products that each layer adds."""

    def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return F.dropout(output, rate, module.training)

    for layer in network.layers:
        for name in ("state_out", "mlp_out"):
            layer.get_submodule(name).register_forward_hook(hook)


def estimates_of(corpus: Path, documents: list[Document], vocabulary: Vocabulary) -> NDArray[np.float32]:
    """Return the estimated entropy of each token of the corpus, in nats, by the command that a person would use."""
    targets = corpus.with_suffix(".jsonl")
    subprocess.run([sys.executable, "-m", "nncomp", "entropy", "-q", str(corpus), "--per-token", str(targets)], check=True)
    return token_estimates(read_estimates(targets, documents), documents, vocabulary, 0)


def run(arm: str, seed: int, epochs: int, learned: Text, estimates: NDArray[np.float32], held_out: list[Text]) -> None:
    """Train an arm and save its line."""
    objective, dropout, share = ARMS[arm]
    torch.manual_seed(seed)
    network = FloatNetwork(SHAPE)
    if dropout:
        drop_out(network, dropout)
    tokens = round(epochs * share * len(learned.ids))
    config = TrainingConfig(1e9, tokens, seed, 16, 128, quantized_share=0, checkpoint_s=1e9, objective=objective)

    def bits_per_byte(text: Text) -> float:
        network.eval()
        found = evaluate(network, text.ids, 16) / text.raw_bytes
        network.train()
        return found

    def measure() -> dict[str, float]:
        return {"stop": bits_per_byte(held_out[0]), "held_out": bits_per_byte(held_out[1])}

    with tempfile.TemporaryDirectory() as folder:
        given = None if objective == "cross-entropy" else estimates
        trainer = Trainer(network, config, learned.ids, Path(folder) / "checkpoint.pt", given)
        curve, cpu_s = train(trainer, POINTS, measure)
    best = min(curve, key=lambda point: point["stop"])
    line = {"arm": arm, "seed": seed, "epochs": epochs * share, "tokens": tokens, "parameters": parameters(network)}
    figures = {"final": curve[-1]["held_out"], "stopped": best["held_out"], "stopped_share": best["tokens"] / tokens}
    entropy = {"estimate": float(estimates.sum()) / math.log(2) / learned.raw_bytes, "learned": bits_per_byte(learned)}
    figures = {name: round(value, 5) for name, value in (figures | entropy).items()}
    save("objectives", line | figures | {"cpu_s": round(cpu_s, 1), "curve": curve})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = arguments.corpus.read_bytes()[:CORPUS_BYTES]
    other = arguments.held_out.read_bytes()
    starts = [len(other) * i // STRETCHES for i in range(STRETCHES)]
    spans = [other[start : start + STRETCH_BYTES] for start in starts]
    vocabulary = vocabulary_of([text], SHAPE.vocab_size)
    learned = tokens_of([text], vocabulary)
    held_out = [tokens_of(spans[i::2], vocabulary) for i in range(2)]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        corpus.write_bytes(text)
        estimates = estimates_of(corpus, [Document("corpus.txt", text)], vocabulary)
    assert len(estimates) == len(learned.ids)
    for seed in arguments.seeds:
        for arm in arguments.arms:
            run(arm, seed, arguments.epochs, learned, estimates, held_out)


if __name__ == "__main__":
    main()
