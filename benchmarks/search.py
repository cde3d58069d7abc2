"""Small networks of other shapes, and other ways to train them, each for the same processor time.

    python -m benchmarks.search TRAIN_FOLDER VALID_FOLDER [--seconds 150] [--arms NAME...] [--seeds 0 1 2] [--work FOLDER]
    python -m benchmarks.search --table

Each arm (`benchmarks.search_arms`) is a new network, trained on the same text by one thread. It is measured on the first 30,000
bytes of each held-out file, one lane each: bits per byte of the network alone, in float, not quantised. If the integer engine
can run the network, it is exported, and a step with four lanes of that text is timed. Results are lines of
benchmarks/results/search.jsonl; `--table` prints them as Markdown. Text and vocabularies stay in the work folder for later runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.paper import runner
from benchmarks.paper.runner import block_bits, save_line, stretches, tokens_of
from benchmarks.paper.tables import spread, table
from benchmarks.search_arms import ARMS, BASE, Arm, new_network, train
from nncomp.machine.kernels import compiled
from nncomp.network.engine import Network, step, token_frequencies
from nncomp.network.model import Model, read_model
from nncomp.network.registry import open_model
from nncomp.network.state import new_scratch, new_state, no_exchange
from nncomp.network.vocabulary import MAX_TOKEN_BYTES, Vocabulary, from_tokenizer_json, train_vocabulary
from nncomp.training.corpus import find_corpus
from nncomp.training.export import export
from nncomp.training.float_network import FloatNetwork
from nncomp.training.lanes import lane_streams, rows_of
from nncomp.training.prepared_text import vocabulary_from_json, vocabulary_to_json
from nncomp.training.restore import restore

NAME = "search"  # of the file of results
TRAIN_BYTES, PIECE_BYTES, VALID_BYTES = 24_000_000, 10_000, 30_000
SAMPLE_BYTES = 24_000_000  # to learn tokens from, as `nncomp train` does
TIMED_LANES, TIMED_STEPS, TIMES = 4, 20, 195
WORDS = r" ?[^ \n]+| +|\n+"  # a space belongs to the word after it


@dataclass(frozen=True)
class Texts:
    """Where text is, and the folder for what is made of it."""

    train: Path
    valid: Path
    work: Path

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each kind of training text."""
        return {path.stem: path.stat().st_size for path in sorted(self.train.glob("*.txt"))}

    def vocabulary(self, size: int, is_word_bound: bool) -> Vocabulary:
        """Return the default model's vocabulary, or another one, learned from a sample like its."""
        if size == BASE.vocab_size and not is_word_bound:
            return default_model().vocabulary
        path = self.work / f"tokens-{size}{'-words' if is_word_bound else ''}.json"
        if not path.exists():
            sample = find_corpus(str(self.train), print).sample(SAMPLE_BYTES, 0)
            learned = word_vocabulary(sample, size) if is_word_bound else train_vocabulary(sample, size)
            path.write_text(vocabulary_to_json(learned))
        return vocabulary_from_json(path.read_text())

    def ids(self, arm: Arm, vocabulary: Vocabulary, seed: int) -> NDArray[np.uint16]:
        """Return the tokens to train an arm on: pieces from all over each file, in random order."""
        name = f"{len(vocabulary.tokens)}{'-words' if arm.is_word_bound else ''}{'-even' if arm.is_even else ''}"
        ids_path, ends_path = self.work / f"ids-{name}.npy", self.work / f"ends-{name}.npy"
        if not ends_path.exists():
            text = tokens_of(self._pieces(arm.is_even), vocabulary)
            np.save(ids_path, text.ids)
            np.save(ends_path, text.ends)
        pieces = np.split(np.load(ids_path), np.load(ends_path)[:-1])
        return np.concatenate([pieces[i] for i in np.random.default_rng(seed).permutation(len(pieces))])

    def _pieces(self, is_even: bool) -> list[bytes]:
        sizes, found = self.sizes(), []
        for name, size in sizes.items():
            share = 1 / len(sizes) if is_even else size / sum(sizes.values())
            count = min(size // PIECE_BYTES, round(TRAIN_BYTES * share / PIECE_BYTES))
            with (self.train / f"{name}.txt").open("rb") as file:
                for start in np.linspace(0, size - PIECE_BYTES, count).astype(int).tolist():
                    file.seek(start)
                    found.append(file.read(PIECE_BYTES))
        return found


def default_model() -> Model:
    """Return the default model."""
    return read_model(open_model("default"))


def word_vocabulary(samples: list[bytes], size: int) -> Vocabulary:
    """Return a vocabulary none of whose tokens crosses from one word to the next; else as `train_vocabulary` makes it."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "isolated")
    alphabet = [chr(i) for i in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, max_token_length=MAX_TOKEN_BYTES, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator((sample.decode("latin-1") for sample in samples), trainer)
    return from_tokenizer_json(json.loads(tokenizer.to_str()))


@compiled
def _code(constants: Any, state: Any, scratch: Any, alone: Any, ids_TL: Any) -> None:
    for t in range(len(ids_TL) - 1):
        step(constants, state, scratch, alone, ids_TL[t])
        for lane in range(ids_TL.shape[1]):
            token_frequencies(constants, scratch, lane, ids_TL[t + 1, lane] // scratch.tokens.size)


def coding_us(network: FloatNetwork, vocabulary: Vocabulary, ids: NDArray[np.uint16]) -> float:
    """Return the microseconds of a token in the integer engine, step and tokens of one group: the least of 195 times 20 steps."""
    chunk = torch.from_numpy(rows_of(lane_streams(ids, 32, 1), 0, 257))
    network.set_quantization("observe")
    with torch.no_grad():
        network(chunk[:-1], chunk[1:], network.initial_state(32))
    network.set_quantization("off")
    packed, times = Network(export(network, vocabulary, {})), []
    state, scratch = new_state(packed.model, TIMED_LANES), new_scratch(packed.model.sizes, TIMED_LANES)
    lanes = np.ascontiguousarray(lane_streams(ids, TIMED_LANES, TIMED_STEPS), dtype=np.int32)
    for number in range(TIMES + 1):
        at = number * TIMED_STEPS % (len(lanes) - TIMED_STEPS)
        began = time.perf_counter()
        _code(packed.constants(TIMED_LANES), state, scratch, no_exchange(), lanes[at : at + TIMED_STEPS + 1])
        times.append(time.perf_counter() - began)
    return min(times[1:]) / TIMED_STEPS / TIMED_LANES * 1e6


def run(name: str, seed: int, seconds: float, texts: Texts) -> dict[str, Any]:
    """Train and measure an arm; return its figures."""
    arm = ARMS[name]
    vocabulary = texts.vocabulary(arm.shape.vocab_size, arm.is_word_bound)
    ids, start = texts.ids(arm, vocabulary, seed), vocabulary.tokens.index(b"\n")
    teacher = restore(default_model()) if arm.is_taught else None
    if teacher is not None:
        teacher.set_quantization("off")  # in float, as all arms
    train(new_network(arm, seed, start), arm, ids, seconds / 100, seed, teacher)  # what is slow the first time is not counted
    network = new_network(arm, seed, start)
    tokens, cpu_s = train(network, arm, ids, seconds, seed, teacher)
    held_out = tokens_of(stretches(texts.valid, VALID_BYTES, VALID_BYTES), vocabulary)
    kinds = [path.stem for path in sorted(texts.valid.glob("*.txt"))]
    by_kind = dict(zip(kinds, block_bits(network, None, held_out, 1).net / VALID_BYTES, strict=True))
    share = {kind: size for kind, size in texts.sizes().items() if kind in by_kind}
    figures = {
        "cpu_s": round(cpu_s, 1),
        "tokens": tokens,
        "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "multiply_adds": arm.multiply_adds,
        "bpb": round(mean(map(float, by_kind.values())), 4),
        "bpb_by_size": round(float(sum(by_kind[kind] * size for kind, size in share.items())) / sum(share.values()), 4),
        "bytes_per_token": round(held_out.raw_bytes / len(held_out.ids), 3),
        "coding_us": round(coding_us(network, vocabulary, held_out.ids), 2) if arm.is_runnable else None,
        "kinds": {kind: round(float(each), 4) for kind, each in by_kind.items()},
    }
    return {"arm": name, "seed": seed, **figures}


def markdown(lines: list[dict[str, Any]]) -> str:
    """Return the results as a table, the best first: of each arm and seed the last line."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for line in {(line["arm"], line["seed"]): line for line in lines}.values():
        arms.setdefault(line["arm"], []).append(line)
    found = {name: mean(line["bpb"] for line in each) for name, each in arms.items()}
    rows = []
    for name in sorted(arms, key=found.__getitem__):
        each = arms[name]
        timed = [line["coding_us"] for line in each if line["coding_us"] is not None]
        token_us = mean(timed) if timed else None
        rows.append(
            [
                ARMS[name].says,
                f"{each[0]['parameters'] / 1e6:.2f}",
                f"{mean(line['tokens'] for line in each) / 1e6:.2f}",
                spread([line["bpb"] for line in each]),
                f"{found[name] / found['base'] - 1:+.1%}" if name != "base" and "base" in found else "",
                f"{mean(line['bpb_by_size'] for line in each):.3f}",
                f"{each[0]['multiply_adds'] / 1e6:.2f}",
                f"{token_us:.1f}" if token_us else "",
                f"{token_us / each[0]['bytes_per_token']:.2f}" if token_us else "",
            ]
        )
    head = ["arm", "M parameters", "M tokens", "bits per byte", "against base", "kinds by size", "M multiply-adds"]
    return table([*head, "µs a token", "µs a byte"], rows)


def plan(arms: list[str], seeds: list[int] | None) -> list[tuple[str, int]]:
    """Return arms and seeds in turn: one seed of each, and by default the base again after a third and after two thirds.

    >>> plan(["base", "muon", "tied"], None)
    [('base', 0), ('base', 1), ('muon', 0), ('base', 2), ('tied', 0)]
    """
    runs = [(name, seed) for seed in seeds or [0] for name in arms]
    if seeds is None and "base" in arms:
        third = len(runs) // 3
        runs.insert(2 * third, ("base", 2))
        runs.insert(third, ("base", 1))
    return runs


def main(argv: list[str] | None = None) -> None:
    """Run what the command line says, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("train", type=Path, nargs="?")
    parser.add_argument("valid", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=150, help="of the processor, for each arm")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--work", type=Path, help="the folder for prepared text; by default a temporary one")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.table:
        print(markdown([json.loads(line) for line in (runner.RESULTS / f"{NAME}.jsonl").read_text().splitlines()]))
        return
    if arguments.train is None or arguments.valid is None:
        parser.error("give the folders of training and validation text")
    torch.set_num_threads(1)
    work = arguments.work or Path(tempfile.mkdtemp(prefix="nncomp-search-"))
    work.mkdir(parents=True, exist_ok=True)
    texts = Texts(arguments.train, arguments.valid, work)
    for name, seed in plan(arguments.arms, arguments.seeds):
        save_line(NAME, run(name, seed, arguments.seconds, texts))


if __name__ == "__main__":
    main()
