"""A code against controls: numbers of lanes, sizes of blocks, a common prefix, another block's code, dimensions, prices.

    python -m benchmarks.paper.controls TRAIN_FOLDER VALID_FOLDER [--seeds 0] [--only grid variants]

Grid: one network with a code and one without ("causal"), trained as in `benchmarks.paper.architectures`, measured on blocks of
other text of the training's kinds. Prefix: the first tokens of a block are coded in one lane, and all lanes go on from the state
after them. Variants: codes of other sizes, a code without a price in the loss, a code whose rounding is learned from noise.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper import architectures as setting
from benchmarks.paper.coded_network import CodedNetwork, coded
from benchmarks.paper.float_encoder import Encoder
from benchmarks.paper.runner import (
    NoisyEncoder,
    Text,
    block_bits,
    group_trainer,
    new_small_encoder,
    parameters,
    save,
    stretches,
    tokens_of,
    train,
)
from nncomp.network.vocabulary import Vocabulary
from nncomp.training.float_network import FloatNetwork

LANES = 1, 16, 64, 256
SKIP_BYTES = 2_000_000  # at the beginning of the training files: far from what was learned from
_KINDS = "code", "csv", "encyclopedic", "json", "literature", "multilingual-lit", "news", "xml"
BLOCKS = {  # bytes of a block: bytes taken of each of these files
    16_000: (32_000, _KINDS),
    64_000: (64_000, _KINDS),
    256_000: (256_000, ("code", "encyclopedic", "literature")),
    1_000_000: (1_000_000, ("literature",)),
    4_000_000: (4_000_000, ("encyclopedic",)),
}
LONG_BYTES = 1_000_000  # blocks of which a prefix is next to nothing
PREFIXES = 64, 512
VARIANTS: dict[str, tuple[Any, ...]] = {  # dimensions, values of a digit, share of the run in which the price rises, encoder
    "2 dimensions": (2, 5, 0.2),
    "32 dimensions": (32, 5, 0.2),
    "8 dimensions, no price": (8, 5, 1e9),
    "8 dimensions, noise-trained": (8, 5, 0.2, NoisyEncoder),
}


def trained(
    learned: Text,
    tokens: int,
    seed: int,
    start_token: int,
    dimensions: int,
    values: int,
    warmup: float,
    kind: type[Encoder] = Encoder,
) -> tuple[FloatNetwork, Encoder | None]:
    """Return a trained network, and its encoder if it has a code."""
    torch.manual_seed(seed)
    shape = replace(setting.SHAPE, start_token=start_token)
    network, encoder = FloatNetwork(shape), None
    if dimensions:
        torch.manual_seed(seed)
        network = CodedNetwork(coded(shape, dimensions, values))
        encoder = new_small_encoder(network, seed, kind)
    config = replace(setting.config(tokens, seed), code_warmup=warmup)
    train(group_trainer(network, encoder, config, learned), 1, dict)
    return network, encoder


def measure_grid(train_folder: Path, tokens: int, seed: int, data: tuple[Text, Text, Text, Vocabulary]) -> None:
    """Save a line for each size of block and number of lanes."""
    learned, _, _, vocabulary = data
    start_token = vocabulary.tokens.index(b"\n")
    dimensions, values = setting.CODE.values()
    coded, encoder = trained(learned, tokens, seed, start_token, dimensions, values, 0.2)
    causal, _ = trained(learned, tokens, seed, start_token, 0, 0, 0)
    for block_bytes, (of_each, names) in BLOCKS.items():
        text = tokens_of(stretches(train_folder, block_bytes, of_each, SKIP_BYTES, names), vocabulary)
        for lanes in LANES:
            own = block_bits(coded, encoder, text, lanes, "own")
            found = {"causal": block_bits(causal, None, text, lanes).net, "own": own.net, "code": own.code}
            found["none"] = block_bits(coded, None, text, lanes).net
            if len(text.ends) > 1:
                found["shuffled"] = block_bits(coded, encoder, text, lanes, "shuffled").net
            for prefix in PREFIXES if lanes > 1 and block_bytes < LONG_BYTES else ():
                found[f"prefix {prefix}"] = block_bits(causal, None, text, lanes, prefix=prefix).net
            bpb = {name: round(float(bits.sum()) / text.raw_bytes, 5) for name, bits in found.items()}
            line = {"block_bytes": block_bytes, "blocks": len(text.ends), "lanes": lanes, "seed": seed, "tokens": tokens}
            save("grid", line | {"bpb": bpb})


def measure_variants(names: list[str], tokens: int, seed: int, data: tuple[Text, Text, Text, Vocabulary]) -> None:
    """Save a line for each variant of the code."""
    learned, held_out, _, vocabulary = data
    for name in names:
        network, encoder = trained(learned, tokens, seed, vocabulary.tokens.index(b"\n"), *VARIANTS[name])
        figures = {key: round(value, 5) for key, value in setting.measure(network, encoder, held_out).items()}
        size = parameters(network, encoder)
        save("variants", {"variant": name, "seed": seed, "tokens": tokens, "parameters": size, "final": figures})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("valid", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--only", nargs="+", choices=["grid", "variants"], default=["grid", "variants"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = setting.texts(arguments.train, arguments.valid)
    for seed in arguments.seeds:
        if "variants" in arguments.only:
            measure_variants(arguments.variants, arguments.tokens, seed, data)
        if "grid" in arguments.only:
            measure_grid(arguments.train, arguments.tokens, seed, data)


if __name__ == "__main__":
    main()
