"""Estimates of entropy against the truth, on sources whose entropy is known in closed form.

    python -m benchmarks.paper.sources [--seeds 0 1 2] [--only markov topics]

Letters: a small network is trained on the source, exported to integers, and measured on other text of the source: alone, in
float; and as the bound that nncomp estimates, network and mixing together. Topics: blocks of one hidden topic each, in lanes;
the bits of a network with a code, the code charged, beside a network without a code from the same training.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.paper import synthetic
from benchmarks.paper.coded_network import CodedNetwork, coded
from benchmarks.paper.coded_trainer import CodedConfig
from benchmarks.paper.float_encoder import Encoder
from benchmarks.paper.runner import NoisyEncoder, Text, block_bits, group_trainer, new_small_encoder, save
from nncomp.entropy.estimate import EstimateTask
from nncomp.network.model import save_model
from nncomp.network.registry import open_model
from nncomp.network.vocabulary import byte_vocabulary
from nncomp.training.export import export
from nncomp.training.float_network import FloatNetwork, NetworkShape
from nncomp.training.trainer import Trainer, TrainingConfig, evaluate

SHAPE = NetworkShape(vocab_size=256, group_count=16, width=64, layer_count=2, state_width=64, mlp_width=128, group_mlp_width=64)
LETTERS, PERIOD = 8, 500
HELD_OUT = 200_000  # letters


@dataclass(frozen=True)
class Letters:
    """A source of letters: text to learn from, other text, the truth of each letter of it if there is a closed form."""

    learned: NDArray[np.int64]
    held_out: NDArray[np.int64]
    rate_bits: float
    true_bits: NDArray[np.float64] | None


def sources(seed: int, learned: int, held_out: int) -> dict[str, Letters]:
    """Return all sources of letters, drawn anew for each seed."""
    random = np.random.default_rng(1000 + seed)
    plain = synthetic.random_markov(LETTERS, 0.3, seed)
    found = {}
    for name, source in {
        "order 2": plain,
        "order 2, 5 % random": plain.corrupted(0.05),
        "order 2, 20 % random": plain.corrupted(0.2),
    }.items():
        text = source.sample(held_out, random)
        found[name] = Letters(source.sample(learned, random), text, source.rate_bits, source.surprisal_bits(text))
    for rate in (0.05, 0.2):
        text, other = (synthetic.repeated(PERIOD, LETTERS, rate, count, random) for count in (learned, held_out))
        name = f"repeated, {100 * rate:.0f} % random"
        found[name] = Letters(text, other, synthetic.repeated_rate_bits(LETTERS, rate), None)
    return found


def measure_letters(source: Letters, tokens: int, seed: int) -> dict[str, float]:
    """Train a network on a source and return bits a letter: the truth, and the estimates of it."""
    torch.manual_seed(seed)
    network, vocabulary, count = FloatNetwork(SHAPE), byte_vocabulary(), len(source.held_out)
    with tempfile.TemporaryDirectory() as folder:
        ids = (source.learned + synthetic.FIRST_LETTER).astype(np.uint16)
        config = TrainingConfig(1e9, tokens, seed, 16, 64, warmup_steps=30, checkpoint_s=1e9)
        trainer = Trainer(network, config, ids, Path(folder) / "checkpoint.pt")
        list(trainer.run())
        network_bits = evaluate(network, (source.held_out + synthetic.FIRST_LETTER).astype(np.uint16), 4)
        path = Path(folder) / "model.safetensors"
        save_model(export(network, vocabulary, {}), path)
        text = synthetic.as_bytes(source.held_out)
        bound = EstimateTask(text, open_model(str(path))).run().bits
    figures = {"truth": source.rate_bits, "network": network_bits / count, "bound": bound.sum() / count}
    figures["mixing"] = EstimateTask(text, None).run().total_bits / count
    if source.true_bits is not None:
        figures["sample"] = source.true_bits.mean()
        figures["correlation"] = float(np.corrcoef(source.true_bits, bound)[0, 1])
        figures["apart"] = float(np.abs(source.true_bits - bound).mean())
    return figures


def measure_topics(
    source: synthetic.Topics, symbols: int, lanes: int, tokens: int, seed: int, blocks: tuple[int, int] = (6000, 500)
) -> dict[str, float]:
    """Train with a code and without, and return bits a block: the truth with and without a code, and what was reached."""
    random, figures = np.random.default_rng(2000 + seed), {}
    texts = []
    for count in blocks:
        topics, drawn = source.sample(count, symbols, random)
        ends = np.arange(1, count + 1) * symbols
        texts.append(Text((drawn.ravel() + synthetic.FIRST_LETTER).astype(np.uint16), ends, drawn.size))
    figures["told"] = source.told_bits(topics, drawn).mean() + source.code_bits
    figures["untold"] = source.untold_bits(drawn, lanes).mean()
    config = CodedConfig(
        1e9, tokens, seed, 64, symbols // lanes, quantized_share=0, checkpoint_s=1e9, group_lanes=lanes, group_chunks=1
    )
    for name, kind in {"coded": Encoder, "noise": NoisyEncoder, "causal": None}.items():
        torch.manual_seed(seed)
        network, encoder = FloatNetwork(SHAPE), None
        if kind:
            torch.manual_seed(seed)
            network = CodedNetwork(coded(SHAPE, 4, 4))
            encoder = new_small_encoder(network, seed, kind)
        list(group_trainer(network, encoder, config, texts[0]).run())
        figures[name] = block_bits(network, None, texts[1], lanes).net.mean()
        if encoder is not None:
            own = block_bits(network, encoder, texts[1], lanes, "own")
            figures[f"{name}, none"], figures[name] = figures[name], own.net.mean()
            figures["code" if name == "coded" else f"{name}, code"] = own.code.mean()
            figures[f"{name}, shuffled"] = block_bits(network, encoder, texts[1], lanes, "shuffled").net.mean()
    theory = figures["untold"] - figures["told"]
    figures["gain"] = (figures["causal"] - figures["coded"]) / theory
    figures["gain over the best untold"] = (figures["untold"] - figures["coded"]) / theory
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tokens", type=int, default=1_000_000, help="letters to train on")
    parser.add_argument("--only", nargs="+", choices=["markov", "topics"], default=["markov", "topics"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        if "markov" in arguments.only:
            for name, source in sources(seed, 1_000_000, HELD_OUT).items():
                figures = measure_letters(source, arguments.tokens, seed)
                save("sources", {"source": name, "seed": seed} | {k: round(float(v), 5) for k, v in figures.items()})
        if "topics" in arguments.only:
            for topics, lanes, symbols in ((16, 8, 256), (64, 16, 512)):
                hidden = synthetic.random_topics(topics, 64, 0.1, seed)
                figures = measure_topics(hidden, symbols, lanes, arguments.tokens, seed)
                shape = {"source": "topics", "topics": topics, "lanes": lanes, "symbols": symbols, "seed": seed}
                save("sources", shape | {k: round(float(v), 5) for k, v in figures.items()})


if __name__ == "__main__":
    main()
