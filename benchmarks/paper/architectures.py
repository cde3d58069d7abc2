"""A network with a code of the text, beside networks without a code: same text, tokens and steps, several seeds.

    python -m benchmarks.paper.architectures TRAIN_FOLDER VALID_FOLDER [--seeds 0 1 2] [--tokens 2000000] [--arms NAME...]

Groups of 8 lanes x 512 tokens share a code, in training and in measurements; the code's bits under its learned prior are
charged. Arms: the network with a code; without ("causal"); a wider network without a code, with as many parameters as network,
code and encoder together; the causal network, trained for as many processor seconds; a causal transformer.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.paper.coded_network import CodedNetwork, coded
from benchmarks.paper.coded_trainer import CodedConfig
from benchmarks.paper.float_encoder import Encoder
from benchmarks.paper.runner import (
    Text,
    block_bits,
    group_trainer,
    new_small_encoder,
    parameters,
    save,
    stretches,
    tokens_of,
    train,
    vocabulary_of,
)
from benchmarks.paper.transformer import Transformer
from nncomp.network.vocabulary import Vocabulary
from nncomp.training.float_network import FloatNetwork, NetworkShape

SHAPE = NetworkShape(
    vocab_size=1024, group_count=32, width=96, layer_count=2, state_width=128, mlp_width=256, group_mlp_width=128
)
CODE = {"code_dimensions": 8, "code_levels": 5}
ARMS = "coded", "causal", "wider", "longer", "transformer"
TRAIN_BYTES, STRETCH_BYTES, VALID_BYTES = 400_000, 50_000, 40_000  # of each file; stretches are what groups are drawn from
LANES, STEPS, GROUP_LANES, GROUP_CHUNKS = 32, 128, 8, 4
POINTS = 8


def texts(train_folder: Path, valid_folder: Path) -> tuple[Text, Text, Text, Vocabulary]:
    """Return text to train on, text to measure on (in blocks of 10 KB), and a part of the latter for measurements in a run."""
    learned = stretches(train_folder, STRETCH_BYTES, TRAIN_BYTES)
    vocabulary = vocabulary_of(learned, SHAPE.vocab_size)
    held_out = [text[:VALID_BYTES] for text in stretches(valid_folder, VALID_BYTES, VALID_BYTES)]
    blocks = [text[i : i + 10_000] for text in held_out for i in range(0, VALID_BYTES, 10_000)]
    return tokens_of(learned, vocabulary), tokens_of(blocks, vocabulary), tokens_of(blocks[::4], vocabulary), vocabulary


def config(tokens: int, seed: int) -> CodedConfig:
    """Return the configuration of all arms: in float, in groups."""
    return CodedConfig(
        1e9, tokens, seed, LANES, STEPS, quantized_share=0, checkpoint_s=1e9, group_lanes=GROUP_LANES, group_chunks=GROUP_CHUNKS
    )


def measure(network: FloatNetwork, encoder: Encoder | None, text: Text) -> dict[str, float]:
    """Return bits per byte: "net" with the code, code included; "code" alone; "chosen", the better of with and without a code,
    and a bit for the choice; "none" without a code; "shuffled" with the code of another block."""
    none = block_bits(network, None, text, GROUP_LANES)
    if encoder is None:
        return {"net": none.net.sum() / text.raw_bytes}
    own = block_bits(network, encoder, text, GROUP_LANES, "own")
    chosen = np.minimum(own.net, none.net) + 1
    return {
        "net": own.net.sum() / text.raw_bytes,
        "code": own.code.sum() / text.raw_bytes,
        "chosen": chosen.sum() / text.raw_bytes,
        "none": none.net.sum() / text.raw_bytes,
        "shuffled": block_bits(network, encoder, text, GROUP_LANES, "shuffled").net.sum() / text.raw_bytes,
    }


def make(arm: str, seed: int, start_token: int) -> tuple[FloatNetwork, Encoder | None]:
    """Return the untrained network of an arm, and its encoder."""
    torch.manual_seed(seed)
    shape = replace(SHAPE, start_token=start_token)
    if arm == "coded":
        network = CodedNetwork(coded(shape, **CODE))
        return network, new_small_encoder(network, seed)
    if arm == "transformer":  # as many parameters: the layers' products of 128 wide states go to the inner layer
        return Transformer(replace(shape, mlp_width=SHAPE.mlp_width + 64)), None
    return FloatNetwork(replace(shape, width=112, state_width=160) if arm == "wider" else shape), None


def run(arm: str, seed: int, tokens: int, data: tuple[Text, Text, Text, Vocabulary]) -> float:
    """Train an arm, save its line, and return the processor seconds of its training."""
    learned, held_out, part, vocabulary = data
    network, encoder = make(arm, seed, vocabulary.tokens.index(b"\n"))
    trainer = group_trainer(network, encoder, config(tokens, seed), learned)
    curve, cpu_s = train(trainer, POINTS, lambda: measure(network, encoder, part))
    line = {"arm": arm, "seed": seed, "tokens": tokens, "parameters": parameters(network, encoder), "cpu_s": round(cpu_s, 1)}
    save(
        "architectures",
        line | {"final": {k: round(v, 5) for k, v in measure(network, encoder, held_out).items()}, "curve": curve},
    )
    return cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("valid", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = texts(arguments.train, arguments.valid)
    for seed in arguments.seeds:
        took: dict[str, float] = {}
        for arm in arguments.arms:
            tokens = arguments.tokens
            if arm == "longer":
                tokens = round(tokens * took["coded"] / took["causal"])
            took[arm] = run(arm, seed, tokens, data)


if __name__ == "__main__":
    main()
